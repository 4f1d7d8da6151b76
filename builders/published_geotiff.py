"""GeoTIFFs of strangers, from their bytes: sizes are looked at before anything is unpacked.

Only GDAL's GeoTIFF driver is asked, on bytes in memory, so that a file that pretends to be a GeoTIFF can't make GDAL open
others, or a network.
"""

import logging
import warnings
from dataclasses import dataclass

import numpy as np

from builders.import_items import BadItemError
from noldo.errors import InputError, one_line

MAX_FILE_BYTES = 256 << 20
"""The largest file that is read; 13 bands of 512 px of 8 bytes are 27 MB."""

MAX_SIDE_PX = 4096
MAX_BANDS = 32
MAX_RASTER_BYTES = 256 << 20
"""Of all pixels together: a sparse file of a few kilobytes may claim any number."""

MAX_BLOCK_BYTES = 128 << 20
"""A block is unpacked whole, however small the image is."""

MAX_NAME = 80
"""Letters of a band's name that are kept: names stand in messages."""

MAX_CRS = 4096
"""Letters of a CRS in WKT that are kept."""


@dataclass(frozen=True)
class Raster:
    """One file."""

    values: np.ndarray
    """(band, y, x) as published."""
    crs: str
    """E.g. `EPSG:32632`, or the CRS in WKT; empty if there is none."""
    transform: tuple[float, ...]
    """Affine (a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f."""
    bands: tuple[str, ...]
    """Descriptions of the bands; empty strings where there are none."""
    no_data: float | None

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(x_min, y_min, x_max, y_max) of a raster that is north up, in units of its CRS."""
        a, _, c, _, e, f = self.transform
        height, width = self.values.shape[-2:]
        x, y = sorted((c, c + a * width)), sorted((f, f + e * height))
        return x[0], y[0], x[1], y[1]


def read_geotiff(content: bytes, *, where: str) -> Raster:
    """Read a GeoTIFF whole, as a file of an item.

    Parameters
    ----------
    where
        Its name within the data set, for the reason in the index.

    Raises
    ------
    BadItemError
        If it can't be read, or is larger than any that is published.
    """
    try:
        return raster_of(content)
    except InputError as error:
        raise BadItemError("unreadable file", f"{where} ({error})") from None


def raster_of(content: bytes) -> Raster:
    """Read a GeoTIFF whole.

    Raises
    ------
    InputError
        If it can't be read, or is larger than any that is published; says why in a few words, for the caller to say of
        which file.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError
    from rasterio.io import MemoryFile

    if not content:  # rasterio would take it for a file to be written
        raise InputError("empty")
    # Our own message says which file and why.
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with (
                rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
                MemoryFile(content) as memory,
                memory.open(driver="GTiff") as image,
            ):
                _check_sizes(image)
                return Raster(
                    values=image.read(),
                    crs=_crs_name(image.crs),
                    transform=tuple(image.transform)[:6],
                    bands=tuple(one_line(name or "", limit=MAX_NAME) for name in image.descriptions),
                    no_data=image.nodata,
                )
    except (RasterioError, ValueError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        reason = one_line((str(error).splitlines() or ["no reason given"])[0])
        raise InputError(_without_memory_name(reason)) from None


def _without_memory_name(reason: str) -> str:
    """GDAL names the file in memory by a random number, which would be in the index."""
    return " ".join("it" if "/vsimem/" in word else word for word in reason.split())


def _check_sizes(image: object) -> None:
    width, height, count = image.width, image.height, image.count  # type: ignore[attr-defined]
    kinds = sorted(set(image.dtypes))  # type: ignore[attr-defined]
    if any(kind.startswith("complex") for kind in kinds):  # numpy has no word for some of them
        raise InputError(f"pixels of {', '.join(kinds)}, expected whole or real numbers")
    item_bytes = max(np.dtype(kind).itemsize for kind in kinds)
    block = max(rows * columns for rows, columns in image.block_shapes)  # type: ignore[attr-defined]
    fits = (
        max(width, height) <= MAX_SIDE_PX
        and count <= MAX_BANDS
        and width * height * count * item_bytes <= MAX_RASTER_BYTES
        and block * count * item_bytes <= MAX_BLOCK_BYTES
    )
    if not fits:
        raise InputError(
            f"{width} x {height} px, {count} bands of {item_bytes} bytes, blocks of {block} px: larger than any that is "
            "published"
        )


def _crs_name(crs: object) -> str:
    if not crs:
        return ""
    epsg = crs.to_epsg()  # type: ignore[attr-defined]
    return f"EPSG:{epsg}" if epsg else one_line(str(crs), limit=MAX_CRS)
