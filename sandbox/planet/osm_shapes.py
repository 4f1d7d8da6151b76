"""Elements of the synthetic OpenStreetMap: pieces of land as ways and multipolygons whose edges are pixel borders.

Burnt by pixel centre on the zone's own raster, with the smallest area on top, they give the pieces again, exactly:
edges are straight in the zone and short enough (`LONGEST_EDGE_PX`) to be so in degrees too, and rounding to 7 decimals
moves a corner by a centimetre, where the nearest pixel centre is 5 m away.

Some areas are drawn over what lies inside them: their holes are left out where everything in there is drawn as well.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from sandbox.osm_elements import Elements, Member, Node, Relation, Way
from sandbox.planet.lattice import PIXEL_M, row_origin_m, to_geographic
from sandbox.planet.noise import chance
from sandbox.planet.osm_parcels import CELL_PX, Cell, Parcels, parcels_of, zone_number

LONGEST_EDGE_PX = 50
"""Longer edges get a node at every multiple: 500 m leave a chord by 3 cm at most (at 80 degrees), 5 km by 3 m."""

MOST_NODES = 400
"""Longer rings are made of several ways. OpenStreetMap allows 2,000."""

DECIMALS = 7
"""Of coordinates in OpenStreetMap."""

_COVERED = 0.6
"""Share of the holes that may be left out which are."""

FIRST_CORNER, FIRST_PLACE, FIRST_WAY, FIRST_RELATION = 1 << 45, 1 << 46, 1 << 47, 1 << 48
"""Smallest ids of nodes on the raster, of other nodes, of ways and of relations. Below 2**53, which JSON's readers
keep; the first nodes below 2**47, which GDAL can read."""

_SLOTS = 1 << 16
_COLUMN_BITS, _ROW_BITS = 18, 21
NO_TAGS: Mapping[str, str] = MappingProxyType({})

Corner = tuple[int, int]
"""Column and row of the upper-left corner of a pixel of the zone."""

Ring = list[Corner]
"""Corners in order, each once."""


@dataclass(frozen=True)
class Outline:
    """The border of a piece."""

    number: int
    outer: Ring
    holes: list[Ring]


@dataclass(frozen=True)
class Area:
    """A piece as it is drawn."""

    number: int
    outer: Ring
    inner: list[tuple[Ring, int | None]]
    """Holes that are kept, each with the piece that fills it, if it is a single one that is drawn."""

    @property
    def is_way(self) -> bool:
        """Whether one closed way is enough."""
        return not self.inner and len(self.outer) <= MOST_NODES


class Sheet:
    """Elements of a cell while they are drawn."""

    def __init__(self, cell: Cell, *, first_spare: int) -> None:
        self.cell = cell
        self.corners: dict[Corner, None] = {}
        """Corners that are nodes, in the order of their first use."""
        self.ways: dict[int, Way] = {}
        self.relations: dict[int, Relation] = {}
        self._spare = first_spare

    def add_way(self, slot: int, corners: Ring, tags: Mapping[str, str]) -> Way:
        """Draw a line through corners."""
        self.corners.update(dict.fromkeys(corners))
        way = Way(
            way_id(self.cell, slot), tuple(corner_id(self.cell.crs_epsg, *one) for one in corners), tags
        )
        self.ways[way.id] = way
        return way

    def add_multipolygon(self, area: Area, tags: Mapping[str, str]) -> None:
        """Draw an area of several ways; where a hole is another area's closed way, that way is used again."""
        members = self._members("outer", area.outer)
        for ring, filling in area.inner:
            shared = None if filling is None else self.ways.get(way_id(self.cell, filling))
            members += [Member("way", shared.id, "inner")] if shared else self._members("inner", ring)
        id_ = FIRST_RELATION + self.cell.code * _SLOTS + area.number
        tags = MappingProxyType({"type": "multipolygon", **tags})
        self.relations[id_] = Relation(id_, tuple(members), tags)

    def _members(self, role: str, ring: Ring) -> list[Member]:
        members = []
        for part in _parts(ring):
            members.append(Member("way", self.add_way(self._spare, part, NO_TAGS).id, role))
            self._spare += 1
        return members


def corner_id(crs_epsg: int, column: int, row: int) -> int:
    """Id of the node at a pixel's upper-left corner."""
    place = (column + (1 << _COLUMN_BITS - 2)) | (row + (1 << _ROW_BITS - 1)) << _COLUMN_BITS
    return FIRST_CORNER + (zone_number(crs_epsg) << _COLUMN_BITS + _ROW_BITS) + place


def way_id(cell: Cell, slot: int) -> int:
    """Id of a way of a cell."""
    assert 0 <= slot < _SLOTS, f"{cell}: more than {_SLOTS} ways"
    return FIRST_WAY + cell.code * _SLOTS + slot


@lru_cache(maxsize=20)
def areas_of(cell: Cell, *, seed: int) -> Elements:
    """All areas of a cell that have a land-use class, with the nodes and ways that they are made of."""
    parcels = parcels_of(cell, seed=seed)
    areas = _areas(cell, {one.number: one for one in _outlines(cell, parcels)}, seed)
    sheet = Sheet(cell, first_spare=int(parcels.numbers.max()) + 1)
    for area in areas:
        if area.is_way:
            sheet.add_way(area.number, [*area.outer, area.outer[0]], parcels.uses[area.number].tags)
    for area in areas:
        if not area.is_way:
            sheet.add_multipolygon(area, parcels.uses[area.number].tags)
    return Elements(_nodes(sheet), sheet.ways, sheet.relations)


def _areas(cell: Cell, outlines: Mapping[int, Outline], seed: int) -> list[Area]:
    """Pieces without the holes that are left out, and with nodes on long edges."""
    fillings = _fillings(outlines)
    covered = _covered(cell, outlines, fillings, seed)
    areas = []
    for number, outline in outlines.items():
        kept = [(i, hole) for i, hole in enumerate(outline.holes) if (number, i) not in covered]
        inner = [(_dense(hole), fillings.get((number, i))) for i, hole in kept]
        areas.append(Area(number, _dense(outline.outer), inner))
    return areas


def _outlines(cell: Cell, parcels: Parcels) -> Iterator[Outline]:
    """Borders of the pieces that are drawn, by number."""
    from rasterio.features import shapes

    numbers = parcels.numbers
    drawn = np.zeros(int(numbers.max()) + 1, bool)
    drawn[list(parcels.uses)] = True
    found = shapes(numbers, mask=drawn[numbers], connectivity=4)
    for shape, number in sorted(found, key=lambda one: int(one[1])):
        outer, *holes = [_ring(cell, ring) for ring in shape["coordinates"]]
        yield Outline(int(number), outer, sorted(holes, key=_reading_order))


def _ring(cell: Cell, coordinates: Iterable[tuple[float, float]]) -> Ring:
    """Corners of the zone's raster, from the first one in reading order on: GDAL may begin anywhere."""
    left, top = cell.column * CELL_PX, cell.row * CELL_PX
    ring = [(left + int(x), top + int(y)) for x, y in coordinates][:-1]
    first = min(range(len(ring)), key=lambda i: (ring[i][1], ring[i][0]))
    ring = ring[first:] + ring[:first]
    return ring if ring[1][1] == ring[0][1] else [ring[0], *ring[:0:-1]]


def _reading_order(ring: Ring) -> tuple[int, int]:
    return ring[0][1], ring[0][0]


def _fillings(outlines: Mapping[int, Outline]) -> dict[tuple[int, int], int]:
    """(piece, hole) to the piece that fills the hole, where it is a single one that is drawn."""
    by_corners = {frozenset(one.outer): one.number for one in outlines.values()}
    return {
        (one.number, i): by_corners[corners]
        for one in outlines.values()
        for i, hole in enumerate(one.holes)
        if (corners := frozenset(hole)) in by_corners
    }


def _covered(
    cell: Cell, outlines: Mapping[int, Outline], fillings: Mapping[tuple[int, int], int], seed: int
) -> set[tuple[int, int]]:
    """Holes (piece, hole) that are left out, because smaller areas cover every pixel in them."""
    complete: dict[int, bool] = {}

    def is_complete(number: int) -> bool:
        if number not in complete:
            holes = [fillings.get((number, i)) for i in range(len(outlines[number].holes))]
            complete[number] = all(one is not None and is_complete(one) for one in holes)
        return complete[number]

    return {
        (number, i)
        for (number, i), filling in fillings.items()
        if chance(seed, 94, cell.code, number, i) < _COVERED and is_complete(filling)
    }


def _dense(ring: Ring) -> Ring:
    """The ring with nodes on its long edges, at multiples of `LONGEST_EDGE_PX` of the zone's raster."""
    dense: Ring = []
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        dense.append((x0, y0))
        if abs(x1 - x0) + abs(y1 - y0) > LONGEST_EDGE_PX:
            dense += [(x, y0) for x in _multiples(x0, x1)] + [(x0, y) for y in _multiples(y0, y1)]
    return dense


def _multiples(start: int, end: int) -> list[int]:
    """Multiples of `LONGEST_EDGE_PX` between two numbers, both excluded, from the first to the second."""
    low, high = min(start, end), max(start, end)
    between = list(range((low // LONGEST_EDGE_PX + 1) * LONGEST_EDGE_PX, high, LONGEST_EDGE_PX))
    return between if start < end else between[::-1]


def _parts(ring: Ring) -> Iterator[Ring]:
    """A ring as one closed line, or as several that continue each other."""
    closed = [*ring, ring[0]]
    for start in range(0, len(ring), MOST_NODES):
        yield closed[start : start + MOST_NODES + 1]


def _nodes(sheet: Sheet) -> dict[int, Node]:
    """A node for each corner in use."""
    if not sheet.corners:
        return {}
    crs_epsg = sheet.cell.crs_epsg
    corners = np.array(list(sheet.corners), np.int64)
    x, y = PIXEL_M * corners[:, 0], row_origin_m(crs_epsg) - PIXEL_M * corners[:, 1]
    lon, lat = (np.asarray(one).round(DECIMALS).tolist() for one in to_geographic(crs_epsg).transform(x, y))
    ids = [corner_id(crs_epsg, *corner) for corner in sheet.corners]
    return {ids[i]: Node(ids[i], lon[i], lat[i], NO_TAGS) for i in range(len(ids))}
