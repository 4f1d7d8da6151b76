"""Expert tiles on disk, as Dynamic World publishes them, made of a few numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine


def write_label(
    path: Path,
    published: np.ndarray,
    *,
    x: float = 600_000.0,
    y: float = 5_300_000.0,
    crs: str | None = "EPSG:32632",
    pixel_m: float = 10.0,
    descriptions: Sequence[str] = (),
) -> Path:
    """A label GeoTIFF: (y, x), or (band, y, x) with names."""
    bands = published if published.ndim == 3 else published[np.newaxis]
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=bands.shape[2],
        height=bands.shape[1],
        count=len(bands),
        dtype=bands.dtype,
        crs=crs,
        transform=Affine(pixel_m, 0, x, 0, -pixel_m, y),
    ) as image:
        image.write(bands)
        image.descriptions = tuple(descriptions) or (None,) * len(bands)
    return path


def marked(side: int = 510, *, seed: int = 0) -> np.ndarray:
    """Published numbers 0..10 of a tile."""
    return np.random.default_rng(seed).integers(0, 11, (side, side)).astype(np.uint8)
