"""GeoTIFF files of single patches: stored numbers with all that tells what they are, and back again.

Files are made in memory and have the same bytes for the same pixels (and the same GDAL): no times, no versions.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from builders.export_bands import bands_of, legend_of, unit_of
from noldo.errors import StoreError
from noldo.grids import Grid
from noldo.products import ArraySpec

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

LARGEST_BLOCK_PX = 512
"""A patch up to this side is one block: it is always read whole."""

BLOCK_PX = 256
"""Side of the blocks of larger ones; TIFF wants multiples of 16."""


def encode(pixels: np.ndarray, spec: ArraySpec, *, grid: Grid | None) -> bytes:
    """One season of one array of one location as a GeoTIFF.

    Parameters
    ----------
    pixels
        (band?, y, x) as stored.
    grid
        Where it lies: UTM zone and upper-left corner; the size is that of the pixels. None: not known.

    Returns
    -------
    Tiled, deflated, with band names, scale, offset, unit, no-data value, and a colour table for classes.
    """
    from rasterio.io import MemoryFile

    planes = pixels if spec.bands else pixels[None]
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", **_profile(planes, spec, grid)) as file:
            _describe(file, spec)  # before the pixels: a palette can't be added behind them
            file.write(planes)
        return bytes(memory.getbuffer())


def _profile(planes: np.ndarray, spec: ArraySpec, grid: Grid | None) -> dict[str, Any]:
    num_bands, height, width = planes.shape
    block = -(-width // 16) * 16 if width <= LARGEST_BLOCK_PX else BLOCK_PX
    profile: dict[str, Any] = {
        "width": width,
        "height": height,
        "count": num_bands,
        "dtype": spec.dtype,
        "tiled": True,
        "blockxsize": block,
        "blockysize": block,
        "compress": "deflate",
        "predictor": 1 if spec.is_label else 2,  # neighbouring classes have no small differences
        "interleave": "band",
    }
    if spec.has_no_data:
        profile["nodata"] = spec.no_data
    if grid is not None:
        profile |= {"crs": _crs(grid), "transform": _transform(grid, spec)}
    return profile


def _crs(grid: Grid) -> Any:
    from rasterio.crs import CRS

    return CRS.from_epsg(grid.crs_epsg)


def _transform(grid: Grid, spec: ArraySpec) -> Any:
    from rasterio.transform import Affine

    return Affine(*grid.transform(spec.resolution_m))


def _describe(file: Any, spec: ArraySpec) -> None:
    bands = bands_of(spec)
    for number, band in enumerate(bands, start=1):
        file.set_band_description(number, band.name)
    legend = legend_of(spec)
    if legend is not None:
        file.write_colormap(1, {value: (*rgb, 255) for value, rgb in enumerate(legend.rgb())})
        return
    file.colorinterp = _colours(file, [band.common_name for band in bands])
    file.scales = [band.scale for band in bands]
    file.offsets = [band.offset for band in bands]
    file.units = [unit_of(spec)] * len(bands)


def _colours(file: Any, common_names: list[str]) -> list[Any]:
    """Red, green and blue where there are all three, so that the file opens in true colour."""
    from rasterio.enums import ColorInterp

    rgb = {name: ColorInterp[name] for name in ("red", "green", "blue")}
    if not rgb.keys() <= set(common_names):
        return list(file.colorinterp)
    return [rgb.get(name, ColorInterp.undefined) for name in common_names]


def decode(content: bytes, spec: ArraySpec, *, grid: Grid | None, side_px: int, where: str) -> np.ndarray:
    """Read back what `encode` wrote, after checking that it is of this array and place.

    Parameters
    ----------
    side_px
        Pixels along one side.
    where
        Name of the file, for messages.

    Returns
    -------
    (band?, y, x) as stored.

    Raises
    ------
    StoreError
        If it is no GeoTIFF, or differs in shape, dtype, CRS, position or no-data value.
    """
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile

    if not content:  # rasterio would take it for a file to be written
        raise StoreError(f"{where}: not a readable GeoTIFF (empty); delete it and export it again")
    try:
        with MemoryFile(content) as memory, memory.open(driver="GTiff") as file:
            _require_fit(file, spec, grid=grid, side_px=side_px, where=where)
            planes: np.ndarray = file.read()
    except RasterioError as error:
        reason = str(error).splitlines()[0] if str(error) else "it can't be opened"
        raise StoreError(f"{where}: not a readable GeoTIFF ({reason}); export it again") from None
    return planes if spec.bands else planes[0]


def _require_fit(
    file: "DatasetReader", spec: ArraySpec, *, grid: Grid | None, side_px: int, where: str
) -> None:
    expected: dict[str, object] = {
        "shape (band, y, x)": (len(spec.bands) or 1, side_px, side_px),
        "dtype": (spec.dtype,) * (len(spec.bands) or 1),
        "no-data value": spec.no_data if spec.has_no_data else None,
        "CRS": _crs(grid) if grid is not None else None,
    }
    found: dict[str, object] = {
        "shape (band, y, x)": (file.count, file.height, file.width),
        "dtype": tuple(file.dtypes),
        "no-data value": file.nodata,
        "CRS": file.crs,
    }
    if grid is not None:
        expected["transform"] = _transform(grid, spec)
        found["transform"] = file.transform
    for what, wanted in expected.items():
        if found[what] != wanted:
            raise StoreError(
                f"{where}: {what} is {_one_line(found[what])}, expected {_one_line(wanted)}; it was edited or is of "
                "another export: export it again"
            )


def _one_line(value: object) -> str:
    return " ".join(str(value).split())


@contextmanager
def quiet_without_place() -> Iterator[None]:
    """No warning of rasterio for each file that has no place: they are counted and named once."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
        yield
