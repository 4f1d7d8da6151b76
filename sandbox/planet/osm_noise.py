"""Elements of the synthetic OpenStreetMap that are no land use: whoever reads land use has to pass over them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from sandbox.osm_elements import Elements, Node, Way
from sandbox.planet.lattice import PIXEL_M, to_geographic
from sandbox.planet.noise import chance
from sandbox.planet.osm_parcels import CELL_PX, Cell
from sandbox.planet.osm_shapes import DECIMALS, FIRST_PLACE, NO_TAGS, way_id

_KINDS: tuple[tuple[float, str, Mapping[str, str], bool], ...] = (
    (0.9, "line", MappingProxyType({"highway": "track"}), False),
    (0.5, "small", MappingProxyType({"building": "yes"}), True),
    (0.3, "line", MappingProxyType({"natural": "cliff"}), False),
    (0.2, "large", MappingProxyType({"natural": "cliff"}), True),
    (0.2, "large", MappingProxyType({"landuse": "military"}), True),
    (0.1, "large", MappingProxyType({"leisure": "nature_reserve"}), True),
)
"""How often there is one in a cell, its size, its tags, and whether it is closed. A closed way with natural=cliff is
a line all the same, and the last two have keys of land use, but values of no class."""

_SIZE_M = {"line": 900.0, "small": 14.0, "large": 700.0}
_TREES = 3
_NODES = 1 << 8
_LAST_SLOT = (1 << 16) - 1


def noise_of(cell: Cell, *, seed: int) -> Elements:
    """Trees, tracks, buildings, cliffs and reserves of a cell."""
    tree: Mapping[str, str] = MappingProxyType({"natural": "tree"})
    places = [(_place(cell, i, seed), tree) for i in range(_TREES)]
    lines: list[tuple[list[int], Mapping[str, str]]] = []
    for kind, (often, size, tags, closed) in enumerate(_KINDS):
        if chance(seed, 95, cell.code, kind) >= often:
            continue
        x, y = _place(cell, _TREES + kind, seed)
        reach = _SIZE_M[size] / 2
        corners = [(-reach, -reach), (reach, -reach * 0.8), (reach * 0.9, reach), (-reach, reach * 0.7)]
        first = len(places)
        places += [((x + east, y + north), NO_TAGS) for east, north in corners]
        numbers = list(range(first, len(places)))
        lines.append(([*numbers, first] if closed else numbers, tags))
    nodes = _nodes(cell, places)
    ids = list(nodes)
    ways = [
        Way(way_id(cell, _LAST_SLOT - i), tuple(ids[number] for number in numbers), tags)
        for i, (numbers, tags) in enumerate(lines)
    ]
    return Elements(nodes, {way.id: way for way in ways}, {})


def _place(cell: Cell, number: int, seed: int) -> tuple[float, float]:
    """A place in the middle three fifths of the cell, in metres of the zone."""
    size_m = PIXEL_M * CELL_PX
    east, north = (size_m * (0.2 + 0.6 * chance(seed, 96 + axis, cell.code, number)) for axis in range(2))
    return cell.window.x_ul + east, cell.window.y_ul - north


def _nodes(cell: Cell, places: Sequence[tuple[tuple[float, float], Mapping[str, str]]]) -> dict[int, Node]:
    x, y = np.array([place for place, _ in places]).T
    lon, lat = (
        np.asarray(one).round(DECIMALS).tolist() for one in to_geographic(cell.crs_epsg).transform(x, y)
    )
    assert len(places) <= _NODES, "more nodes than ids"
    first = FIRST_PLACE + cell.code * _NODES
    return {first + i: Node(first + i, lon[i], lat[i], tags) for i, (_, tags) in enumerate(places)}
