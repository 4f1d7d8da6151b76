"""GeoTIFFs in and out: the only module of `noldo` that imports rasterio, loaded when a map is asked for, or tiles that others published.

Only GDAL's GeoTIFF driver is asked, so that a file that pretends to be one can't make GDAL open others, or a network.
"""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # what PROJ says; rasterio.errors has no name for it
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.transform import Affine
from rasterio.warp import transform as to_crs

from noldo.atomic import atomic_file, write_if_changed
from noldo.errors import RasterError, one_line
from noldo.legend import Legend
from noldo.legend_files import sidecars
from noldo.prediction.class_maps import Planes
from noldo.prediction.raster_facts import RasterFacts
from noldo.prediction.windows import Window
from noldo.products import PROBABILITY_STEPS, UNLABELLED

BLOCK_PX = 256
"""Side of the blocks of a map; TIFF wants multiples of 16."""

WriteRows = Callable[[int, Planes], None]
"""First row, and (band, y, x) of it and those below."""


@dataclass(frozen=True)
class Place:
    """Where a map lies."""

    height: int
    width: int
    crs: object
    """As rasterio has or takes it: its own object, or `EPSG:32632`; None: not known."""
    transform: tuple[float, ...] | None
    """Affine (a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f; None: not known."""


class Image:
    """An open GeoTIFF."""

    def __init__(self, dataset: Any, *, where: str) -> None:
        self._dataset = dataset
        self._where = where
        transform = tuple(dataset.transform)[:6]
        self.place = Place(
            dataset.height,
            dataset.width,
            dataset.crs,
            # GDAL's word for a file without one; written out, its first row would be the southern one.
            None if dataset.transform.is_identity else transform,
        )
        self.facts = RasterFacts(
            where=where,
            height=dataset.height,
            width=dataset.width,
            bands=tuple(one_line(name or "", limit=80) for name in dataset.descriptions),
            dtype=dataset.dtypes[0],
            scales=tuple(dataset.scales),
            offsets=tuple(dataset.offsets),
            metres_per_unit=_metres_per_unit(dataset.crs),
            has_crs=dataset.crs is not None,
            transform=transform,
        )

    def centre_lon_lat(self) -> tuple[float, float] | None:
        """Longitude and latitude of the centre in degrees; None: the file does not say where it lies.

        Raises
        ------
        RasterError
            If it lies where its CRS is not defined.
        """
        place = self.place
        if place.crs is None or place.transform is None:
            return None
        a, b, c, d, e, f = place.transform
        column, row = place.width / 2, place.height / 2
        x, y = a * column + b * row + c, d * column + e * row + f
        try:
            lon, lat = (float(one[0]) for one in to_crs(place.crs, "EPSG:4326", [x], [y]))
        except (RasterioError, CPLE_BaseError):
            lon = lat = math.inf
        if not (math.isfinite(lon) and math.isfinite(lat)):
            raise RasterError(
                f"{self._where}: its centre, {x:g} {y:g}, is outside of its CRS; give a file that says where it lies"
            )
        return lon, lat

    def read(self, numbers: Sequence[int], window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Numbers of some bands, and where the file says that there are data, both (band, y, x).

        Parameters
        ----------
        numbers
            Of the bands, from 1.

        Raises
        ------
        RasterError
            If the file is damaged.
        """
        flags = self._dataset.mask_flag_enums
        try:
            planes: NDArray[np.generic] = self._dataset.read(numbers, window=window.slices)
            if all(flags[number - 1] == [MaskFlags.all_valid] for number in numbers):
                observed = np.ones(planes.shape, bool)
            else:
                observed = self._dataset.read_masks(numbers, window=window.slices) != 0
        except RasterioError as error:
            raise RasterError(
                f"{self._where}: rows {window.top} to {window.top + window.height} can't be read ({_reason(error)}); the file "
                "is damaged or cut off: copy it again"
            ) from None
        return planes, observed


@contextmanager
def open_image(path: Path) -> Iterator[Image]:
    """Open a GeoTIFF.

    Raises
    ------
    RasterError
        If it can't be opened, or is none.
    """
    if not path.is_file():
        raise RasterError(f"{path}: no such file; give a GeoTIFF, or the folder or URL of a store")
    with _quiet():
        try:
            dataset = rasterio.open(path, driver="GTiff")
        except RasterioError as error:
            raise RasterError(f"{path}: not a GeoTIFF that can be read ({_reason(error)})") from None
        with dataset:
            yield Image(dataset, where=str(path))


def tags_of(path: Path) -> Mapping[str, str]:
    """Tags of a GeoTIFF; none if it can't be read."""
    try:
        with _quiet(), rasterio.open(path, driver="GTiff") as dataset:
            found: dict[str, str] = dataset.tags()
            return found
    except RasterioError:
        return {}


@contextmanager
def label_file(path: Path, *, place: Place, legend: Legend, tags: Mapping[str, str]) -> Iterator[WriteRows]:
    """Write a map: uint8 class ids, 255 no data, with colours; names of classes are in its tags and in files beside it.

    The map appears when the block ends well, after what lies beside it.

    Raises
    ------
    StoreError
        If it can't be written.
    """

    def describe(dataset: Any) -> None:
        dataset.write_colormap(1, {value: (*rgb, 255) for value, rgb in enumerate(legend.rgb())})
        dataset.set_band_description(1, legend.name)
        dataset.update_tags(**tags)
        dataset.update_tags(1, **{f"class_{value}": name for value, name in enumerate(legend.classes)})

    # Neighbouring classes have no small differences, probabilities have: hence the predictors.
    with _new_file(path, place, describe, count=1, nodata=UNLABELLED, predictor=1) as write:
        yield write
        for end, content in sidecars(legend).items():
            write_if_changed(path.with_suffix(end), content)


@contextmanager
def probability_file(
    path: Path, *, place: Place, legend: Legend, tags: Mapping[str, str]
) -> Iterator[WriteRows]:
    """Write probabilities: a band a class, uint8 steps of 1/254, 255 no data. It appears when the block ends well.

    Raises
    ------
    StoreError
        If it can't be written.
    """
    count = len(legend.classes)

    def describe(dataset: Any) -> None:
        dataset.descriptions = legend.classes
        dataset.scales = [1 / PROBABILITY_STEPS] * count
        dataset.update_tags(**tags)

    with _new_file(path, place, describe, count=count, nodata=255, predictor=2) as write:
        yield write


@contextmanager
def _new_file(
    path: Path, place: Place, describe: Callable[[Any], None], **profile: int
) -> Iterator[WriteRows]:
    """A GeoTIFF of bytes that appears when the block ends well, and was read back."""
    written: list[tuple[Window, int]] = []
    options: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": "uint8",
        "width": place.width,
        "height": place.height,
        "crs": place.crs,
        "tiled": True,
        "blockxsize": BLOCK_PX,
        "blockysize": BLOCK_PX,
        "compress": "deflate",
        "interleave": "band",
        "bigtiff": "if_safer",
        **profile,
    }
    if place.transform is not None:
        options["transform"] = Affine(*place.transform)
    # What rasterio can't write is an OSError, as of any file.
    with atomic_file(path) as file, _quiet():
        with rasterio.open(file.name, "w", **options) as dataset:
            describe(dataset)  # before the pixels: a palette can't be added behind them

            def write(top: int, planes: Planes) -> None:
                window = Window(top, 0, planes.shape[1], planes.shape[2])
                dataset.write(planes, window=window.slices)
                written.append((window, crc32(planes.tobytes())))

            yield write
        _require_whole(file.name, written)


def _require_whole(path: str, written: Sequence[tuple[Window, int]]) -> None:
    """GDAL keeps blocks until a file is closed, and a disk that is full by then is no error of rasterio's."""
    with rasterio.open(path, driver="GTiff") as dataset:
        for window, checksum in written:
            if crc32(dataset.read(window=window.slices).tobytes()) != checksum:
                raise OSError("pixels differ when read back")


@contextmanager
def _quiet() -> Iterator[None]:
    """Our own lines say which file and why; GDAL's would come before them."""
    logger = logging.getLogger("rasterio")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    finally:
        logger.setLevel(level)


def _metres_per_unit(crs: Any) -> float | None:
    return None if crs is None or not crs.is_projected else float(crs.linear_units_factor[1])


def _reason(error: Exception) -> str:
    return one_line((str(error).splitlines() or ["no reason given"])[0])
