"""Label rasters drawn by experts: read, checked, and put on the lattice of Sentinel-2.

A tile lies anywhere on the 10 m lattice of its UTM zone; the imagery around it is cut on the smallest square of the 60 m
lattice that contains it. Labels are copied to their pixels there. A tile that is off the 10 m lattice is resampled: each
lattice pixel whose centre the tile contains takes the class of the tile's pixel there (nearest neighbour), and the tile is
flagged. As both have pixels of 10 m, this moves the whole tile by at most 5 m in each direction. Class ids are never
interpolated.
"""

import hashlib
import math
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builders.import_places import REACH_M, utm_code
from builders.published_geotiff import MAX_FILE_BYTES, Raster, raster_of
from builders.published_labels import CLOUD, EXPERT_BAND, UNMARKED, expert_labels
from noldo.errors import InputError, one_line
from noldo.grids import LATTICE_M, SOUTHERN_OFFSET_M, Grid
from noldo.products import NUM_DYNAMIC_WORLD_CLASSES, UNLABELLED

PIXEL_M = 10
ON_LATTICE_M = 0.01
"""A corner nearer to the lattice than this lies on it: coordinates are rounded when files are written."""

Labels = NDArray[np.uint8]


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
    raster = _raster(path)
    published = raster.values[_label_band(raster.bands)]
    return place_label(
        published, epsg=_utm_epsg(raster.crs), transform=raster.transform, max_side_px=max_side_px
    )


def _raster(path: Path) -> Raster:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError("not a regular file")
        if found.st_size > MAX_FILE_BYTES:
            raise InputError(f"{found.st_size} bytes, expected at most {MAX_FILE_BYTES}")
        return raster_of(path.read_bytes())
    except OSError as error:
        raise InputError(f"label can't be read ({error.strerror})") from None
    except InputError as error:
        raise InputError(f"label can't be read ({error})") from None


def _utm_epsg(crs: str) -> int:
    epsg = utm_code(crs)
    if not epsg:
        raise InputError(
            f"label is in {one_line(crs) or 'no coordinate system'}, expected a UTM zone on WGS84"
        )
    return epsg


def _label_band(names: Sequence[str]) -> int:
    """Position of the experts' band."""
    if len(names) == 1:
        return 0
    if EXPERT_BAND not in names:
        raise InputError(
            f"label has {len(names)} bands ({', '.join(name or '?' for name in names)}), expected one, or one named "
            f"{EXPERT_BAND}"
        )
    return names.index(EXPERT_BAND)


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
        If pixels are not 10 m, the corner is in no UTM zone, a number is no class, or the grid would be too large.
    """
    a, b, x_left, d, e, y_top = (float(number) for number in transform)
    if (round(a, 6), round(b, 9), round(d, 9), round(e, 6)) != (PIXEL_M, 0, 0, -PIXEL_M):
        raise InputError(f"label has pixels ({a:g}, {b:g}, {d:g}, {e:g}), expected 10 m, north up")
    if not (abs(x_left) < REACH_M[0] and abs(y_top) < REACH_M[1]):  # also what is no number
        raise InputError(f"label has its corner at ({x_left:g}, {y_top:g}), expected metres of a UTM zone")
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
    classes: Labels = expert_labels().lookup[published.astype(np.uint8)]
    strange = (classes == UNLABELLED) & (published != UNMARKED) & (published != CLOUD)
    if strange.any():
        raise InputError(
            f"label holds class {int(published[strange].min())}, expected 0 (unmarked), 1 .. 9, or {CLOUD} (cloud)"
        )
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
