"""What is drawn in the synthetic OpenStreetMap, as rasters: pieces of land, who left them out, and their uses.

The map is made in cells of `CELL_PX` on the 10 m raster of a UTM zone. A piece is what hangs together in a cell, of one
class of land (fields: of one kind of crop); it ends at the cell's border.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from noldo.products import UNLABELLED
from sandbox.planet.lattice import PIXEL_M, Window
from sandbox.planet.noise import chance
from sandbox.planet.osm_tags import Use, use_of
from sandbox.planet.tiles import to_degrees
from sandbox.planet.truth import (
    BARE,
    BUILT,
    CROPS,
    FLOODED,
    GRASS,
    NUM_STRAINS,
    SHRUB,
    SNOW,
    TREES,
    WATER,
    Classes,
    Ground,
    ground_of,
)

CELL_PX = 264
"""Edge of a cell in pixels of 10 m: small, so that a query reads little that it does not need."""

LEAST_PX = 5
"""Pieces of fewer pixels are too small for anybody to draw."""

Region = Literal["mapped", "sparse", "unmapped", "outdated"]
"""How well a neighbourhood is mapped; outdated: every piece is drawn as another class than it has."""

REGION_DEG = 0.5
"""Regions are squares of so many degrees. A border of UTM zones runs through the middle of one."""

_REGION_SHARES: Mapping[Region, float] = MappingProxyType(
    {"unmapped": 0.10, "sparse": 0.10, "outdated": 0.10}
)

OMITTED: Mapping[int, float] = MappingProxyType(
    {
        WATER: 0.10,
        TREES: 0.20,
        GRASS: 0.35,
        FLOODED: 0.25,
        CROPS: 0.35,
        SHRUB: 0.35,
        BUILT: 0.10,
        BARE: 0.25,
        SNOW: 0.20,
    }
)
"""Share of pieces that nobody has drawn yet, by class; drawn by hand, about a quarter in all."""

SPARSE_OMITTED = 0.70
"""The same in a sparse region, for all classes."""

OUTDATED: Mapping[int, int] = MappingProxyType(
    {
        WATER: CROPS,
        CROPS: SHRUB,
        SHRUB: BARE,
        BARE: FLOODED,
        FLOODED: TREES,
        TREES: GRASS,
        GRASS: BUILT,
        BUILT: SNOW,
        SNOW: WATER,
    }
)
"""Class to the one that it is drawn as where the map is outdated: a permutation that leaves none in its place."""

_ZONE_BITS, _ROW_BITS, _COLUMN_BITS = 7, 13, 10


@dataclass(frozen=True)
class Cell:
    """A square of the map."""

    crs_epsg: int
    """UTM zone: 326xx north, 327xx south."""
    column: int
    """First pixel column (easting / 10 m) / `CELL_PX`."""
    row: int
    """First pixel row (southwards, see `Window`) / `CELL_PX`."""

    @property
    def window(self) -> Window:
        """Its pixels."""
        return Window(self.crs_epsg, self.column * CELL_PX, self.row * CELL_PX, CELL_PX, CELL_PX)

    @property
    def code(self) -> int:
        """A number of its own, below 2**30."""
        column, row = self.column + (1 << _COLUMN_BITS - 2), self.row + (1 << _ROW_BITS - 1)
        assert 0 <= column < 1 << _COLUMN_BITS, f"{self}: far outside its zone"
        assert 0 <= row < 1 << _ROW_BITS, f"{self}: beyond the poles"
        return (zone_number(self.crs_epsg) << _ROW_BITS | row) << _COLUMN_BITS | column


@dataclass(frozen=True)
class Parcels:
    """Pieces of land of a cell."""

    numbers: npt.NDArray[np.int32]
    """(y, x): number of the piece of each pixel, from 1; by class and then by the first pixel."""
    uses: Mapping[int, Use]
    """Number to use, of the pieces that are drawn."""
    classes: Classes
    """(y, x): ids of `noldo.legend.OSM_LAND_USE`, 255 where nothing is drawn."""


def zone_number(crs_epsg: int) -> int:
    """0..119 for all zones, the southern ones after the northern."""
    return crs_epsg % 100 - 1 + 60 * int(crs_epsg // 100 == 327)


def region_of(lon: float, lat: float, *, seed: int) -> Region:
    """How well the map is kept at a place in degrees."""
    column = int((lon % 360.0 + REGION_DEG / 2) // REGION_DEG) % int(360 / REGION_DEG)
    draw = chance(seed, 91, column, int((lat + 90.0) // REGION_DEG))
    for region, share in _REGION_SHARES.items():
        if draw < share:
            return region
        draw -= share
    return get_args(Region)[0]  # type: ignore[no-any-return]  # "mapped", one of them


def lies_in_one_region(lon_min: float, lat_min: float, lon_max: float, lat_max: float) -> bool:
    """Whether a box in degrees crosses no border of regions."""
    columns = {
        (lon % 360.0 + REGION_DEG / 2) // REGION_DEG % (360 / REGION_DEG) for lon in (lon_min, lon_max)
    }
    rows = {(lat + 90.0) // REGION_DEG for lat in (lat_min, lat_max)}
    return len(columns) == len(rows) == 1


def cells_in(crs_epsg: int, *, columns: tuple[int, int], rows: tuple[int, int]) -> list[Cell]:
    """Cells that hold any of the pixels from first to last, both included."""
    return [
        Cell(crs_epsg, column, row)
        for row in range(rows[0] // CELL_PX, rows[1] // CELL_PX + 1)
        for column in range(columns[0] // CELL_PX, columns[1] // CELL_PX + 1)
    ]


@lru_cache(maxsize=20)
def parcels_of(cell: Cell, *, seed: int) -> Parcels:
    """Pieces of a cell. Where the cell lies on the date line nothing is drawn: areas do not cross it."""
    ground = ground_of(cell.window, seed=seed)
    numbers, class_of_number = _numbered(ground)
    where = to_degrees(cell.crs_epsg, np.array(_corners_m(cell.window)))
    uses: dict[int, Use] = {}
    if not _crosses_date_line(where[:, 0]):
        lon, lat = where.mean(axis=0).tolist()
        region = region_of(lon, lat, seed=seed)
        uses = _uses(cell, numbers, class_of_number, region, seed)
    lookup = np.full(class_of_number.size, UNLABELLED, np.uint8)
    for number, use in uses.items():
        lookup[number] = use.class_id
    return Parcels(numbers, MappingProxyType(uses), lookup[numbers])


def _numbered(ground: Ground) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Number of each pixel's piece, and the class of land by number (0 is no piece)."""
    num_classes = len(OMITTED)
    kinds = np.where(ground.truth == CROPS, num_classes + ground.code % NUM_STRAINS, ground.truth)
    numbers = np.zeros(kinds.shape, np.int32)
    classes = [0]
    for kind in np.unique(kinds).tolist():
        own, count = ndimage.label(kinds == kind)
        numbers[own > 0] = own[own > 0] + (len(classes) - 1)
        classes += [CROPS if kind >= num_classes else kind] * count
    return numbers, np.array(classes, np.uint8)


def _uses(
    cell: Cell,
    numbers: npt.NDArray[np.int32],
    class_of_number: npt.NDArray[np.uint8],
    region: Region,
    seed: int,
) -> dict[int, Use]:
    if region == "unmapped":
        return {}
    sizes = np.bincount(numbers.ravel(), minlength=class_of_number.size)
    in_town = _beside(numbers, class_of_number, BUILT)
    uses: dict[int, Use] = {}
    for number in np.flatnonzero(sizes >= LEAST_PX).tolist():
        own = int(class_of_number[number])
        omitted = SPARSE_OMITTED if region == "sparse" else OMITTED[own]
        if chance(seed, 92, cell.code, number) < omitted:
            continue
        drawn_as = OUTDATED[own] if region == "outdated" else own
        draw = chance(seed, 93, cell.code, number)
        uses[number] = use_of(drawn_as, draw=draw, beside_built=number in in_town)
    return uses


def _beside(
    numbers: npt.NDArray[np.int32], class_of_number: npt.NDArray[np.uint8], class_id: int
) -> frozenset[int]:
    """Numbers of the pieces that touch a class along an edge."""
    wanted = class_of_number[numbers] == class_id
    near = ndimage.binary_dilation(wanted)
    return frozenset(np.unique(numbers[near & ~wanted]).tolist())


def _corners_m(window: Window) -> list[tuple[int, int]]:
    right, bottom = window.x_ul + PIXEL_M * window.width, window.y_ul - PIXEL_M * window.height
    return [(window.x_ul, window.y_ul), (right, window.y_ul), (right, bottom), (window.x_ul, bottom)]


def _crosses_date_line(lon: npt.NDArray[np.float64]) -> bool:
    """Whether unwrapped longitudes lie on both sides of 180 degrees east or west."""
    return len(set(((lon + 180.0) // 360.0).tolist())) > 1
