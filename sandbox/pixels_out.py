"""Pixels as bytes: what a request may ask for, Earth Engine's size accounting, NPY, GeoTIFF and PNG.

A masked pixel is sent as 0 in every format but PNG, where it is transparent.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from sandbox.functions.bands import select
from sandbox.functions.geometry import affine_of
from sandbox.functions.pictures import visualize
from sandbox.geometries import Projection
from sandbox.images import Image, LazyBand, PixelGrid, Pixels
from sandbox.refusals import Refusal

MAX_SIDE_PX = 32_768
MAX_BANDS = 1024
MAX_BYTES = 50_331_648
"""Limits of computePixels and getPixels (REST reference, projects.image.computePixels)."""

MAX_DOWNLOAD_SIDE_PX = 10_000
MAX_DOWNLOAD_BYTES = 33_554_432
"""Limits of getDownloadURL (API reference, ee.Image.getDownloadURL)."""

ROWS_AT_ONCE = 8
"""Rows of the interleaved array written together: few enough to stay in the cache of a core."""

Body = bytes | memoryview


@dataclass(frozen=True)
class Encoded:
    """An answer made of pixels."""

    body: Body
    content_type: str
    counted_bytes: int
    """By Earth Engine's accounting."""


def grid_of(tree: object) -> PixelGrid:
    """The `grid` of a request.

    Raises
    ------
    Refusal
        If it does not say which pixels are meant: whole images are never served.
    """
    if not isinstance(tree, dict):
        raise Refusal("A 'grid' with dimensions, affineTransform and crsCode is required.")
    size, transform, crs = (tree.get(key) for key in ("dimensions", "affineTransform", "crsCode"))
    if not size or not transform or not crs:
        raise Refusal(
            "The grid needs 'dimensions', 'affineTransform' and 'crsCode': whole images are not served."
        )
    names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    affine = affine_of([transform.get(name, 0) for name in names])
    width, height = int(size.get("width", 0)), int(size.get("height", 0))
    if width <= 0 or height <= 0 or affine[0] * affine[4] - affine[1] * affine[3] == 0:
        raise Refusal(f"Pixel grid dimensions ({width}x{height}) and scale must not be zero.")
    return PixelGrid(Projection(str(crs), affine), width, height)


def band_choice(tree: Mapping[str, Any], image: Image) -> Image:
    """The image with the `bandIds` and `visualizationOptions` of a request applied."""
    ids = [item if isinstance(item, str) else item["id"] for item in tree.get("bandIds") or ()]
    chosen = select(image, ids) if ids else image
    options = tree.get("visualizationOptions")
    if not options:
        return chosen
    ranges = options.get("ranges") or []
    return visualize(
        chosen,
        min_=[one.get("min", 0) for one in ranges] or None,
        max_=[one.get("max", 1) for one in ranges] or None,
        gamma=(options.get("gamma") or {}).get("value"),
        palette=options.get("paletteColors"),
    )


def counted_bytes(bands: Sequence[LazyBand], grid: PixelGrid) -> int:
    """Size of an answer as Earth Engine counts it: each band has one byte of mask more than its type."""
    return grid.width * grid.height * sum(np.dtype(band.dtype).itemsize + 1 for band in bands)


def check_size(
    bands: Sequence[LazyBand], grid: PixelGrid, *, max_side: int = MAX_SIDE_PX, max_bytes: int = MAX_BYTES
) -> int:
    """Counted bytes of a request.

    Raises
    ------
    Refusal
        If a limit is exceeded; side before bands before bytes.
    """
    if max(grid.width, grid.height) > max_side:
        raise Refusal(
            f"Pixel grid dimensions ({grid.width}x{grid.height}) must be less than or equal to {max_side}."
        )
    if len(bands) > MAX_BANDS:
        raise Refusal(f"Number of bands ({len(bands)}) must be less than or equal to {MAX_BANDS}.")
    if not bands:
        raise Refusal("Image has no bands.")
    counted = counted_bytes(bands, grid)
    if counted > max_bytes:
        raise Refusal(
            f"Total request size ({counted} bytes) must be less than or equal to {max_bytes} bytes."
        )
    return counted


def encode(
    image: Image, grid: PixelGrid, file_format: str, *, download: bool = False, name: str = "download"
) -> Encoded:
    """Pixels of an image in a format of the API.

    Raises
    ------
    Refusal
        If a limit is exceeded, the format is not served, or reading a band fails.
    """
    bands = image.bands
    if download:
        counted = check_size(bands, grid, max_side=MAX_DOWNLOAD_SIDE_PX, max_bytes=MAX_DOWNLOAD_BYTES)
    else:
        counted = check_size(bands, grid)
    if file_format == "NPY":
        return Encoded(npy(bands, grid), "application/octet-stream", counted)
    if file_format == "GEO_TIFF":
        return Encoded(geo_tiff(bands, grid), "image/tiff", counted)
    if file_format in {"ZIPPED_GEO_TIFF", "ZIPPED_GEO_TIFF_PER_BAND"}:
        groups = (
            {name: bands} if file_format == "ZIPPED_GEO_TIFF" else {f"{name}.{b.name}": (b,) for b in bands}
        )
        return Encoded(_zipped(groups, grid), "application/zip", counted)
    if file_format in {"PNG", "AUTO_JPEG_PNG", "IMAGE_FILE_FORMAT_UNSPECIFIED"}:
        return Encoded(png(picture(image, grid)), "image/png", counted)
    raise Refusal(f"The sandbox does not write the file format '{file_format}'.")


def _plain(pixels: Pixels) -> npt.NDArray[Any]:
    seen = pixels.mask > 0
    return pixels.values if seen.all() else np.where(seen, pixels.values, 0)


@lru_cache(maxsize=64)
def _npy_header(fields: tuple[tuple[str, str], ...], height: int, width: int) -> bytes:
    target = io.BytesIO()
    tree = {"descr": list(fields), "fortran_order": False, "shape": (height, width)}
    np.lib.format.write_array_header_1_0(target, tree)
    return target.getvalue()


def npy(bands: Sequence[LazyBand], grid: PixelGrid) -> memoryview:
    """An .npy file of one little-endian structured array (height, width), a field for each band."""
    dtype = np.dtype([(band.name, np.dtype(band.dtype).newbyteorder("<")) for band in bands])
    header = _npy_header(
        tuple((name, dtype[name].str) for name in dtype.names or ()), grid.height, grid.width
    )
    planes = [_plain(band.read(grid)) for band in bands]
    file = np.empty(len(header) + grid.width * grid.height * dtype.itemsize, np.uint8)
    file[: len(header)] = np.frombuffer(header, np.uint8)
    pixels = file[len(header) :].view(dtype).reshape(grid.height, grid.width)
    fields = [pixels[band.name] for band in bands]
    for top in range(0, grid.height, ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        for field, plane in zip(fields, planes, strict=True):
            field[rows] = plane[rows]
    return file.data


def geo_tiff(bands: Sequence[LazyBand], grid: PixelGrid) -> bytes:
    """A GeoTIFF whose band descriptions are the band names.

    Raises
    ------
    Refusal
        If the bands are of different types.
    """
    import rasterio
    from rasterio.io import MemoryFile

    types = {band.dtype for band in bands}
    if len(types) > 1:
        found = ", ".join(sorted(type_.capitalize() for type_ in types))
        raise Refusal(f"Exported bands must have compatible data types; found inconsistent types: {found}.")
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=grid.width,
            height=grid.height,
            count=len(bands),
            dtype=types.pop(),
            crs=grid.projection.crs,
            transform=rasterio.Affine(*grid.projection.transform),
            compress="lzw",
        ) as target:
            for number, band in enumerate(bands, start=1):
                target.write(_plain(band.read(grid)), number)
                target.set_band_description(number, band.name)
        return bytes(memory.read())


def _zipped(groups: Mapping[str, Sequence[LazyBand]], grid: PixelGrid) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, bands in groups.items():
            archive.writestr(f"{name}.tif", geo_tiff(bands, grid))
    return target.getvalue()


def picture(image: Image, grid: PixelGrid) -> npt.NDArray[np.uint8]:
    """Red, green, blue and opacity of an image: (height, width, 4). Bands that are no bytes are stretched."""
    ready = len(image.bands) in {1, 3} and all(band.dtype == "uint8" for band in image.bands)
    layers = [band.read(grid) for band in (image if ready else visualize(image)).bands]
    opacity = np.minimum.reduce([layer.mask for layer in layers])
    channels = [layer.values for layer in layers] * (3 if len(layers) == 1 else 1)
    return np.stack([*channels, np.rint(opacity * 255.0)], axis=-1).astype(np.uint8)


def png(rgba: npt.NDArray[np.uint8]) -> bytes:
    """A PNG of 8-bit red, green, blue and opacity (height, width, 4); ISO/IEC 15948, filter 0."""
    height, width, _ = rgba.shape
    lines = np.zeros((height, 1 + width * 4), np.uint8)
    lines[:, 1:] = rgba.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 1)), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
