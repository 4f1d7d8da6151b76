"""Published bytes and what they stand for: the rule by which SSL4EO-S12 and CromSS made uint8 of measured values.

u8 = trunc(clip((x - (mean - 2 std)) / (4 std) x 255, 0, 255)), a band at a time (CromSS repository, dataset code;
statistics of 50,000 locations of SSL4EO-S12). What was clipped is lost; the rest is known to within one step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from noldo.errors import StoreFormatError
from noldo.products import S1_BANDS, S2_L1C_BANDS, S2_L2A_BANDS

SSL4EO_UINT8 = "ssl4eo_uint8"
"""Name of the rule, as arrays carry it in their attribute `quantization`."""


@dataclass(frozen=True)
class BandRange:
    """Mean and standard deviation of a band, in the unit of the product: reflectance x 10,000, or dB."""

    mean: float
    std: float

    @property
    def low(self) -> float:
        """Value of byte 0."""
        return self.mean - 2 * self.std

    @property
    def step(self) -> float:
        """Difference between two bytes."""
        return 4 * self.std / 255


def _ranges(bands: Sequence[str], means: Sequence[float], stds: Sequence[float]) -> Mapping[str, BandRange]:
    return MappingProxyType(
        {band: BandRange(mean, std) for band, mean, std in zip(bands, means, stds, strict=True)}
    )


SSL4EO_RANGES: Mapping[str, Mapping[str, BandRange]] = MappingProxyType(
    {
        "s1_grd": _ranges(S1_BANDS, (-12.54847273, -20.19237134), (5.25697717, 5.91150917)),
        "s2_l1c": _ranges(
            S2_L1C_BANDS,
            (
                *(1605.57504906, 1390.78157673, 1314.8729939, 1363.52445545, 1549.44374991),
                *(2091.74883118, 2371.7172463, 2299.90463006, 2560.29504086, 830.06605044),
                *(22.10351321, 2177.07172323, 1524.06546312),
            ),
            (
                *(786.78685367, 850.34818441, 875.06484736, 1138.84957046, 1122.17775652),
                *(1161.59187054, 1274.39184232, 1248.42891965, 1345.52684884, 577.31607053),
                *(51.15431158, 1336.09932639, 1136.53823676),
            ),
        ),
        "s2_l2a": _ranges(
            S2_L2A_BANDS,
            (
                *(752.40087073, 884.29673756, 1144.16202635, 1297.47289228, 1624.90992062),
                *(2194.6423161, 2422.21248945, 2517.76053101, 2581.64687018, 2645.51888987),
                *(2368.51236873, 1805.06846033),
            ),
            (
                *(1108.02887453, 1155.15170768, 1183.6292542, 1368.11351514, 1370.265037),
                *(1355.55390699, 1416.51487101, 1474.78900051, 1439.3086061, 1582.28010962),
                *(1455.52084939, 1343.48379601),
            ),
        ),
    }
)
"""Product to band to its statistics."""


def band_ranges(quantization: str, *, product: str, bands: Sequence[str]) -> list[BandRange]:
    """Ranges of some bands of a product, in their order.

    Raises
    ------
    StoreFormatError
        If the rule or a band is not known here.
    """
    known = SSL4EO_RANGES.get(product, {}) if quantization == SSL4EO_UINT8 else {}
    if missing := [band for band in bands if band not in known]:
        raise StoreFormatError(
            f"bands {', '.join(missing)} of {product} are quantised by {quantization!r}, which this noldo does not "
            "know; upgrade noldo"
        )
    return [known[band] for band in bands]


def quantize(values: NDArray[np.floating], ranges: Sequence[BandRange]) -> NDArray[np.uint8]:
    """Bytes of measured values, as published: clipped, then truncated.

    Parameters
    ----------
    values
        (..., band, y, x) in the unit of the ranges.
    """
    low = np.array([one.low for one in ranges])[:, None, None]
    width = np.array([4 * one.std for one in ranges])[:, None, None]
    scaled: NDArray[np.floating] = np.clip((values - low) / width * 255.0, 0, 255)
    return scaled.astype(np.uint8)


def dequantize(stored: NDArray[np.uint8], ranges: Sequence[BandRange]) -> NDArray[np.float32]:
    """Values that bytes stand for, float32: the low end of each step; same axes (..., band, y, x)."""
    low = np.array([one.low for one in ranges], np.float32)[:, None, None]
    step = np.array([one.step for one in ranges], np.float32)[:, None, None]
    values: NDArray[np.float32] = low + step * stored
    return values
