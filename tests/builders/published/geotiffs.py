"""Small GeoTIFFs, as data sets publish them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio

UTM = ("EPSG:32632", (10.0, 0.0, 600_000.0, 0.0, -10.0, 5_300_040.0))


def write_tif(
    path: Path,
    values: np.ndarray,
    *,
    crs: str | None = UTM[0],
    transform: Sequence[float] = UTM[1],
    bands: Sequence[str] = (),
    no_data: float | None = None,
    **options: object,
) -> None:
    """Write (y, x) or (band, y, x)."""
    stack = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(stack),
        height=stack.shape[1],
        width=stack.shape[2],
        dtype=stack.dtype,
        crs=crs,
        transform=rasterio.Affine(*transform),
        nodata=no_data,
        **options,
    ) as image:
        image.write(stack)
        for number, name in enumerate(bands, start=1):
            image.set_band_description(number, name)
