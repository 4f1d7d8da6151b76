"""OpenStreetMap extracts that are made up: seeded, of any size, with the difficulties that real ones have."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import osmium

Point = tuple[float, float]
"""Longitude and latitude in degrees."""
Tags = dict[str, str]


@dataclass(frozen=True)
class Member:
    """A way of a relation; the way need not exist."""

    way: int
    role: str = "outer"


@dataclass
class MadeUpExtract:
    """Objects in the order they were added; ids count up from 1 for each kind."""

    lon: array = field(default_factory=lambda: array("d"))
    lat: array = field(default_factory=lambda: array("d"))
    ways: list[tuple[Sequence[int], Tags]] = field(default_factory=list)
    relations: list[tuple[Sequence[Member], Tags]] = field(default_factory=list)

    def nodes(self, points: Sequence[Point]) -> range:
        """Add nodes; their ids."""
        first = len(self.lon) + 1
        for lon, lat in points:
            self.lon.append(lon)
            self.lat.append(lat)
        return range(first, len(self.lon) + 1)

    def way(self, points: Sequence[Point], **tags: str) -> int:
        """Add a way through new nodes; its id."""
        return self.way_of(self.nodes(points), **tags)

    def ring(self, points: Sequence[Point], **tags: str) -> int:
        """Add a closed way through new nodes; its id."""
        nodes = self.nodes(points)
        return self.way_of(array("q", [*nodes, nodes[0]]), **tags)

    def way_of(self, nodes: Sequence[int], **tags: str) -> int:
        """Add a way through nodes that may or may not exist; its id."""
        self.ways.append((nodes, tags))
        return len(self.ways)

    def relation(self, members: Sequence[Member], **tags: str) -> int:
        """Add a relation, a multipolygon unless `type` says otherwise; its id."""
        self.relations.append((members, {"type": "multipolygon"} | tags))
        return len(self.relations)

    def write(self, path: Path, *, timestamp: str = "2026-01-01T00:00:00Z") -> Path:
        """Write an .osm.pbf, sorted as extracts are published."""
        header = osmium.io.Header()
        header.set("generator", "made up")
        if timestamp:
            header.set("osmosis_replication_timestamp", timestamp)
        mutable = osmium.osm.mutable
        with osmium.SimpleWriter(str(path), header=header, overwrite=True) as writer:
            for number, point in enumerate(zip(self.lon, self.lat, strict=True), start=1):
                writer.add_node(mutable.Node(id=number, location=point))
            for number, (nodes, tags) in enumerate(self.ways, start=1):
                writer.add_way(mutable.Way(id=number, nodes=nodes, tags=tags))
            for number, (members, tags) in enumerate(self.relations, start=1):
                parts = [("w", member.way, member.role) for member in members]
                writer.add_relation(mutable.Relation(id=number, members=parts, tags=tags))
        return path


def box(lon: float, lat: float, *, width: float, height: float | None = None) -> list[Point]:
    """Corners of a box around a place, in degrees, counter-clockwise."""
    x, y = width / 2, (width if height is None else height) / 2
    return [(lon - x, lat - y), (lon + x, lat - y), (lon + x, lat + y), (lon - x, lat + y)]


@dataclass(frozen=True)
class Difficulties:
    """An extract with one of each, and where to find it: `way 1` or `relation 1` by what it is."""

    extract: MadeUpExtract
    names: dict[str, str]


def difficulties(lon: float, lat: float) -> Difficulties:
    """Everything that is hard about real extracts, within a hundredth of a degree of a place, and some of it wider."""
    extract = MadeUpExtract()
    ring, relation = extract.ring, extract.relation
    names = {
        "enclosing": f"way {ring(box(lon, lat, width=2.0), landuse='farmland')}",
        "wood": f"way {ring(box(lon, lat, width=0.01), natural='wood')}",
        "lake in the wood": f"way {ring(box(lon, lat, width=0.004), natural='water')}",
        "crossing itself": f"way {ring(_bow_tie(lon + 0.008, lat), landuse='meadow')}",
        "around the antimeridian": f"way {ring(_across(lat), natural='scrub')}",
        "not listed": f"way {ring(box(lon, lat, width=0.001), building='yes')}",
        "cliff": f"way {ring(box(lon, lat, width=0.002), natural='cliff')}",
        "no area": f"way {ring(box(lon, lat, width=0.002), landuse='grass', area='no')}",
        "two tags": f"way {ring(box(lon - 0.008, lat, width=0.002), leisure='park', landuse='forest')}",
        "open": f"way {extract.way(box(lon, lat, width=0.002), landuse='grass')}",
        "flat": f"way {ring([(lon, lat), (lon + 0.001, lat), (lon + 0.002, lat)], landuse='grass')}",
        "too short": f"way {ring([(lon, lat), (lon + 0.001, lat)], landuse='grass')}",
    }
    gone = 10**9
    torn = [*extract.nodes(box(lon, lat, width=0.003)[:3]), gone]
    names["cut off way"] = f"way {extract.way_of([*torn, torn[0]], landuse='grass')}"
    holed = Member(ring(box(lon, lat + 0.008, width=0.004)))
    hole = Member(ring(box(lon, lat + 0.008, width=0.002)), "inner")
    here = Member(ring(box(lon, lat - 0.008, width=0.002)))
    crossing = Member(ring(box(lon + 0.001, lat - 0.007, width=0.002)))
    names |= {
        "holed": f"relation {relation([holed, hole], landuse='orchard')}",
        "cut off": f"relation {relation([here, Member(gone)], landuse='forest')}",
        "cut off by nodes": f"relation {relation([here, Member(extract.way_of([*torn, torn[0]]))], landuse='forest')}",
        "rings that cross": f"relation {relation([here, crossing], landuse='quarry')}",
        "without ways": f"relation {relation([], landuse='quarry')}",
        "of another type": f"relation {relation([here], landuse='quarry', type='site')}",
    }
    return Difficulties(extract=extract, names=names)


def _bow_tie(lon: float, lat: float) -> list[Point]:
    south_west, south_east, north_east, north_west = box(lon, lat, width=0.002)
    return [south_west, north_east, north_west, south_east]


def _across(lat: float) -> list[Point]:
    return [(179.9, lat - 0.1), (-179.9, lat - 0.1), (-179.9, lat + 0.1), (179.9, lat + 0.1)]


LISTED = (
    {"landuse": "forest"},
    {"landuse": "farmland"},
    {"landuse": "residential"},
    {"landuse": "meadow"},
    {"natural": "water"},
    {"leisure": "park"},
)
"""Tags of bulk areas, in turn."""


def bulk(
    num_areas: int, *, seed: int, south_west: Point = (9.0, 48.0), per_degree: int = 20_000
) -> MadeUpExtract:
    """Many areas of 12 to 60 points at random places, every tenth with a hole, and four buildings for each.

    Parameters
    ----------
    per_degree
        Areas in a square degree: a larger extract covers more land, not the same land more often.
    """
    generator = np.random.default_rng(seed)
    extract = MadeUpExtract()
    side = (num_areas / per_degree) ** 0.5
    centres = np.asarray(south_west) + side * generator.random((num_areas, 2))
    for number, centre in enumerate(centres):
        tags = LISTED[number % len(LISTED)]
        radius = 0.0005 * (1 + generator.pareto(2.0))
        outline = star(generator, centre, radius)
        if number % 10:
            extract.ring(outline, **tags)
        else:
            outer = Member(extract.ring(outline))
            inner = Member(extract.ring(star(generator, centre, radius / 4)), "inner")
            extract.relation([outer, inner], **tags)
        for corner in centre + radius * generator.standard_normal((4, 2)):
            extract.ring(box(*corner.tolist(), width=0.0001), building="yes")
    return extract


def star(generator: np.random.Generator, centre: np.ndarray, radius: float) -> list[Point]:
    """A ring that goes once around its centre, at half to all of the radius."""
    num_points = int(generator.integers(12, 60))
    angles = np.linspace(0.0, 2 * np.pi, num_points, endpoint=False)
    reach = radius * generator.uniform(0.5, 1.0, num_points)
    points = centre + np.stack([reach * np.cos(angles), reach * np.sin(angles)], axis=1)
    return [tuple(point) for point in np.round(points, 7).tolist()]
