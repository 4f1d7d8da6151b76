"""Images of bytes that others published as GeoTIFFs: their modalities, bands, and what stands for no data.

Networks take them divided by 255. Axes: B band, Y row, X column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ByteImage:
    """One modality of uint8."""

    bands: tuple[str, ...]
    """Names along the band axis, in the order of the files."""
    fill: tuple[float, ...]
    """Mean of each band, 0..1: what networks see where there is no data."""
    source: str
    """Whose mean it is."""


BYTE_IMAGES: Mapping[str, ByteImage] = MappingProxyType(
    {
        "rgb": ByteImage(
            ("R", "G", "B"),
            (123.675 / 255, 116.28 / 255, 103.53 / 255),
            "ImageNet, as the DFC2025 winner normalises",
        ),
        "aerial": ByteImage(("NIR", "R", "G", "B"), (0.5, 0.5, 0.5, 0.5), "none is published: the middle"),
        "sar_amplitude": ByteImage(
            ("amplitude",), (46.2651 / 255,), "OpenEarthMap-SAR, configs of its domain adaptation"
        ),
    }
)
"""Modality to what its files hold."""


def observed_key(modality: str) -> str:
    """Key of a sample: (Y, X) bool, where this modality has data."""
    return f"{modality}_observed"


def observed(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where an image has data: not in black areas.

    A pixel is black if all bands are 0. Black pixels that are in no square of 3 x 3 black ones are values (a dark pixel of a radar
    image), not gaps: the black area is opened by such a square. Beyond the border anything may be black.

    Parameters
    ----------
    image
        (B, Y, X).

    Returns
    -------
    (Y, X), False: no data.
    """
    black: NDArray[np.bool_] = (image == 0).all(axis=0)
    if not black.any():
        return ~black
    core = _both(np.pad(black, 1, constant_values=True), np.logical_and)
    area = _both(np.pad(core, 1, constant_values=False), np.logical_or)
    return ~area


def _both(padded: NDArray[np.bool_], joined: np.ufunc) -> NDArray[np.bool_]:
    """Each pixel and its eight neighbours joined, without the padding of one pixel."""
    rows = joined(joined(padded[:-2], padded[1:-1]), padded[2:])
    found: NDArray[np.bool_] = joined(joined(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return found
