"""Label rasters drawn by experts: read, checked, and put on the lattice of Sentinel-2.

A tile lies anywhere on the 10 m lattice of its UTM zone; the imagery around it is cut on the smallest square of the 60 m
lattice that contains it. Labels are copied to their pixels there. A tile that is off the 10 m lattice is resampled: each
lattice pixel whose centre the tile contains takes the class of the tile's pixel there (nearest neighbour), and the tile is
flagged. As both have pixels of 10 m, this moves the whole tile by at most 5 m in each direction. Class ids are never
interpolated.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noldo.errors import InputError
from noldo.grids import LATTICE_M, SOUTHERN_OFFSET_M, Grid
from noldo.products import NUM_DYNAMIC_WORLD_CLASSES, UNLABELLED

PIXEL_M = 10
LULC_BAND = "lulc"
"""Band of the experts' consensus in the validation tiles, beside the model's own `label` (Zenodo 4766508)."""

CLOUD = 10
UNMARKED = 0

MAX_SIDE_PX = 4096
"""Larger rasters are refused before they are read."""

ON_LATTICE_M = 0.01
"""A corner nearer to the lattice than this lies on it: coordinates are rounded when files are written."""

Labels = NDArray[np.uint8]


def class_table() -> Labels:
    """(256,): published value to class id. 1..9 are the classes 0..8, 0 is unmarked and 10 cloud (PANGAEA 933475).

    Every other value becomes 254, which is no class and no label.
    """
    table = np.full(256, _UNKNOWN, np.uint8)
    table[1 : NUM_DYNAMIC_WORLD_CLASSES + 1] = np.arange(NUM_DYNAMIC_WORLD_CLASSES)
    table[[UNMARKED, CLOUD]] = UNLABELLED
    return table


_UNKNOWN = 254


@dataclass(frozen=True)
class ExpertLabel:
    """One tile on its imagery grid."""

    grid: Grid
    """The smallest square of the 60 m lattice that contains the tile."""
    window: tuple[int, int, int, int]
    """First row, row stop, first column, column stop of the tile in the grid, in pixels of 10 m."""
    classes: Labels
    """(y, x) of the grid: class ids of Dynamic World, 255 where the experts marked none, and around the tile."""
    resampled: bool
    """The tile was off the 10 m lattice."""
    side_px: int
    """Larger side of the published raster: 510 for training tiles, 512 for validation tiles."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Pixels of each class."""
        counted = np.bincount(self.classes.ravel(), minlength=256)[:NUM_DYNAMIC_WORLD_CLASSES]
        return tuple(counted.tolist())

    @property
    def marked_share(self) -> float:
        """Share of the tile's pixels with a class (0..1)."""
        top, bottom, left, right = self.window
        return sum(self.counts) / ((bottom - top) * (right - left))

    def digest(self) -> str:
        """SHA-256 of grid and classes, as 64 hex digits."""
        return hashlib.sha256(repr((self.grid, self.window)).encode() + self.classes.tobytes()).hexdigest()


def label_files(folders: Iterable[Path]) -> dict[str, Path]:
    """Name of the tile to its GeoTIFF, of all files in some folders and the folders in them.

    Raises
    ------
    InputError
        If a folder does not exist, or two files are of one tile.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of labels; correct dw.labels")
        for path in sorted(folder.rglob("*.tif")):
            name = path.stem.removeprefix("label_")
            if name in found:
                raise InputError(f"{path}: {found[name]} is of the same tile; remove one of them")
            found[name] = path
    return found


def read_label(path: Path, *, max_side_px: int) -> ExpertLabel:
    """Read and check one label raster.

    Parameters
    ----------
    max_side_px
        Largest grid that the store has room for, in pixels of 10 m.

    Raises
    ------
    InputError
        If it can't be used; says why, without the path of the file.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(path) as image:
            if max(image.width, image.height) > MAX_SIDE_PX:
                raise InputError(
                    f"label of {image.width} x {image.height} px, expected at most {MAX_SIDE_PX}; tiles have 510 or 512"
                )
            epsg = _utm_epsg(image.crs)
            transform = tuple(image.transform)[:6]
            published = image.read(_label_band(image.count, image.descriptions))
    except (RasterioError, OSError) as error:
        raise InputError(f"label can't be read ({str(error).splitlines()[0]})") from None
    return place_label(published, epsg=epsg, transform=transform, max_side_px=max_side_px)


def _utm_epsg(crs: object) -> int:
    epsg = crs.to_epsg() if crs is not None and hasattr(crs, "to_epsg") else None
    if epsg is None or epsg // 100 not in (326, 327) or not 1 <= epsg % 100 <= 60:
        raise InputError(f"label is in {crs or 'no coordinate system'}, expected a UTM zone on WGS84")
    return int(epsg)


def _label_band(count: int, descriptions: Sequence[str | None]) -> int:
    if count == 1:
        return 1
    names = [name or "" for name in descriptions]
    if LULC_BAND not in names:
        raise InputError(
            f"label has {count} bands ({', '.join(name or '?' for name in names)}), expected one, or one named {LULC_BAND}"
        )
    return names.index(LULC_BAND) + 1


def place_label(
    published: np.ndarray, *, epsg: int, transform: Sequence[float], max_side_px: int
) -> ExpertLabel:
    """Put a published label on its imagery grid.

    Parameters
    ----------
    published
        (y, x) numbers as published, north up.
    transform
        Affine (a, b, c, d, e, f) of the raster in metres of the zone.

    Raises
    ------
    InputError
        If pixels are not 10 m, a number is no class, or the grid would be too large.
    """
    a, b, x_left, d, e, y_top = (float(number) for number in transform)
    if (round(a, 6), round(b, 9), round(d, 9), round(e, 6)) != (PIXEL_M, 0, 0, -PIXEL_M):
        raise InputError(f"label has pixels ({a:g}, {b:g}, {d:g}, {e:g}), expected 10 m, north up")
    classes = _classes(published)
    x_lattice, y_lattice = _nearest(x_left), -_nearest(-y_top)
    grid = _grid_around(x_lattice, y_lattice, published.shape, epsg=epsg)
    if grid.size_px > max_side_px:
        raise InputError(
            f"label of {published.shape[1]} x {published.shape[0]} px needs {grid.size_px} px of imagery, "
            f"but dw.size_px is {max_side_px}"
        )
    top, left = (grid.y_ul - y_lattice) // PIXEL_M, (x_lattice - grid.x_ul) // PIXEL_M
    bottom, right = top + published.shape[0], left + published.shape[1]
    placed = np.full(grid.shape(), UNLABELLED, np.uint8)
    placed[top:bottom, left:right] = classes
    return ExpertLabel(
        grid=grid,
        window=(top, bottom, left, right),
        classes=placed,
        resampled=max(abs(x_left - x_lattice), abs(y_top - y_lattice)) > ON_LATTICE_M,
        side_px=max(published.shape),
    )


def _classes(published: np.ndarray) -> Labels:
    if published.ndim != 2 or published.dtype.kind not in "iu":
        raise InputError(f"label holds {published.dtype}, expected whole numbers")
    if ((published < 0) | (published > 255)).any():
        raise InputError(f"label holds {int(published.max())}, expected 0 .. {CLOUD}")
    classes: Labels = class_table()[published.astype(np.uint8)]
    if (classes == _UNKNOWN).any():
        strange = int(published[classes == _UNKNOWN].min())
        raise InputError(f"label holds class {strange}, expected 0 (unmarked), 1 .. 9, or {CLOUD} (cloud)")
    return classes


def _nearest(metres: float) -> int:
    """The first edge of the lattice whose pixel has its centre behind this edge of the tile: at most 5 m away."""
    return PIXEL_M * math.ceil(round(metres - PIXEL_M / 2, 6) / PIXEL_M)


def _grid_around(x_left: int, y_top: int, shape: tuple[int, ...], *, epsg: int) -> Grid:
    """The smallest square on the 60 m lattice of Sentinel-2 that contains some pixels of the 10 m lattice."""
    offset = SOUTHERN_OFFSET_M if epsg // 100 == 327 else 0
    x_ul = x_left // LATTICE_M * LATTICE_M
    y_ul = _up(y_top - offset) + offset
    height, width = shape
    reach_m = max(x_left + PIXEL_M * width - x_ul, y_ul - (y_top - PIXEL_M * height))
    return Grid(epsg, x_ul, y_ul, _up(reach_m) // PIXEL_M)


def _up(metres: int) -> int:
    """The next multiple of 60 m that is not less."""
    return -(-metres // LATTICE_M) * LATTICE_M
