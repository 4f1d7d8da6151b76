"""From stored integers to floats of one size, for those who want one tensor a modality.

Axes: S season, B band, Y row, X column; leading axes are kept as they are. Works on any device.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from noldo.bands import BandChoice, chosen_bands
from noldo.errors import ConfigError
from noldo.products import (
    DB_PER_STEP,
    NO_DATA_DB,
    NO_DATA_UINT16,
    S1_BANDS,
    S2_L1C_BANDS,
    S2_L2A_BANDS,
    S2_RESOLUTION_M,
)
from noldo.quantization import SSL4EO_UINT8, band_ranges

REFLECTANCE_PER_STEP = 1e-4
FINEST_M = 10

Place = Callable[[torch.Tensor, int], torch.Tensor]
"""From stored values (..., Y, X), one pixel of which is so many rows and columns of the 10 m grid, to that grid or a part of it."""


def reflectance(stored: torch.Tensor) -> torch.Tensor:
    """Stored uint16 to reflectance, float32, same axes; no data becomes NaN."""
    steps = stored.to(torch.int32)
    return torch.where(steps == NO_DATA_UINT16, torch.nan, steps * REFLECTANCE_PER_STEP)


def decibels(stored: torch.Tensor) -> torch.Tensor:
    """Stored int16 to dB, float32, same axes; no data becomes NaN."""
    steps = stored.to(torch.int32)
    return torch.where(steps == NO_DATA_DB, torch.nan, steps * DB_PER_STEP)


def upsample(coarse: torch.Tensor, *, factor: int) -> torch.Tensor:
    """Repeat each pixel `factor` times in y and x: (..., Y, X) to (..., factor Y, factor X)."""
    return coarse.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def on_one_grid(
    sample: Mapping[str, torch.Tensor],
    modality: str = "s2_l1c",
    *,
    bands: BandChoice = None,
    place: Place | None = None,
) -> torch.Tensor:
    """All bands of a modality on the 10 m grid, in physical units.

    Parameters
    ----------
    sample
        A sample or batch of `NoldoS12` that was loaded with these bands.
    modality
        `s2_l1c`, `s2_l2a` or `s1_grd`.
    bands
        As in `NoldoS12`, and in the order of the result; None: all in the sample, spectral order.
    place
        Which pixels of the grid are wanted, asked of stored values: a crop costs what it has, not what the patch has. None: all.

    Returns
    -------
    (..., B, Y, X) float32: reflectance, or dB; NaN is no data. Coarse pixels are repeated, as Earth Engine does. Imported
    bytes become the low end of the step that they stand for.

    Raises
    ------
    ConfigError
        If the sample lacks the modality or its arrays do not hold the bands asked for.
    """
    if (published := _published(sample, modality)) is not None:
        return _published_on_one_grid(published, modality, bands, place)
    if modality == "s1_grd":
        return decibels(_placed(_array(sample, "s1_grd_10m"), 1, place))
    wanted = chosen_bands(bands, product=modality, stored=_loaded(sample, modality, bands))
    planes: dict[str, torch.Tensor] = {}
    for resolution_m in (10, 20, 60):
        group = [
            band for band, native in S2_RESOLUTION_M.items() if native == resolution_m and band in wanted
        ]
        if not group:
            continue
        array = _array(sample, f"{modality}_{resolution_m}m")
        if array.shape[-3] != len(group):
            raise ConfigError(
                f"{modality}_{resolution_m}m has {array.shape[-3]} bands, expected {len(group)} "
                f"({', '.join(group)}); give the bands that the data set was made with"
            )
        factor = resolution_m // FINEST_M
        if place is None:
            fine = upsample(reflectance(array), factor=factor)
        else:
            fine = reflectance(place(array, factor))
        planes |= {band: fine[..., position, :, :] for position, band in enumerate(group)}
    return torch.stack([planes[band] for band in wanted], dim=-3)


def torchgeo_sample(
    sample: Mapping[str, torch.Tensor], modality: str = "s2_l1c", *, bands: BandChoice = None
) -> dict[str, torch.Tensor]:
    """A sample with torchgeo's keys: `image` of one modality (as `on_one_grid`), and `mask`, `crs`, `bounds` as they are."""
    rest = {key: sample[key] for key in ("mask", "crs", "bounds") if key in sample}
    return {"image": on_one_grid(sample, modality, bands=bands), **rest}


def _published(sample: Mapping[str, torch.Tensor], modality: str) -> tuple[str, torch.Tensor] | None:
    """Rule of quantisation and array of imported bands on one grid; None if the sample has none of this modality."""
    for kind, quantization in (("uint8", SSL4EO_UINT8), ("resampled", "")):
        array = sample.get(f"{modality}_{kind}_10m")
        if array is not None:
            return quantization, array
    return None


def _placed(array: torch.Tensor, factor: int, place: Place | None) -> torch.Tensor:
    return array if place is None else place(array, factor)


def _published_on_one_grid(
    published: tuple[str, torch.Tensor], modality: str, bands: BandChoice, place: Place | None
) -> torch.Tensor:
    quantization, array = published[0], _placed(published[1], 1, place)
    everything = S1_BANDS if modality == "s1_grd" else S2_L2A_BANDS if modality == "s2_l2a" else S2_L1C_BANDS
    wanted = everything if bands is None else chosen_bands(bands, product=modality, stored=everything)
    loaded = [band for band in everything if band in wanted]  # the loader keeps the stored order
    if array.shape[-3] != len(loaded):
        raise ConfigError(
            f"{modality} has {array.shape[-3]} bands, expected {len(loaded)} ({', '.join(loaded)}); give the bands "
            "that the data set was made with"
        )
    if quantization:
        ranges = zip(wanted, band_ranges(quantization, product=modality, bands=wanted), strict=True)
        # As `noldo.quantization.dequantize`; numbers of a band go along with a kernel, a tensor of them would be waited for.
        values = torch.stack(
            [one.low + one.step * array[..., loaded.index(band), :, :] for band, one in ranges], dim=-3
        )
        return values if modality == "s1_grd" else values * REFLECTANCE_PER_STEP
    values = decibels(array) if modality == "s1_grd" else reflectance(array)
    if loaded == list(wanted):
        return values
    return torch.stack([values[..., loaded.index(band), :, :] for band in wanted], dim=-3)


def _loaded(sample: Mapping[str, torch.Tensor], modality: str, bands: BandChoice) -> Sequence[str]:
    """Bands that the sample may hold: those asked for, or all of the resolutions that are there."""
    if bands is not None:
        return tuple(S2_RESOLUTION_M)
    present = [
        band
        for band, native in S2_RESOLUTION_M.items()
        if f"{modality}_{native}m" in sample and not (modality == "s2_l2a" and band == "B10")
    ]
    if not present:
        raise ConfigError(f"modality {modality!r} is not in the sample, which has {', '.join(sample)}")
    return present


def _array(sample: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    try:
        return sample[name]
    except KeyError:
        raise ConfigError(f"{name} is not in the sample, which has {', '.join(sample)}") from None


__all__ = ["decibels", "on_one_grid", "reflectance", "torchgeo_sample", "upsample"]
