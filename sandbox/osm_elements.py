"""OpenStreetMap's three kinds of elements, and the contract of whoever has some: what an Overpass server serves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shapely.geometry.base import BaseGeometry

Tags = Mapping[str, str]


@dataclass(frozen=True)
class Node:
    """A point."""

    id: int
    lon: float
    """Degrees WGS84, at most 7 decimals."""
    lat: float
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True)
class Way:
    """A line through nodes; an area if it is closed and its tags say so."""

    id: int
    nodes: tuple[int, ...]
    """Ids of its nodes; first and last are the same where it is closed."""
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True)
class Member:
    """Part of a relation."""

    type: str
    """`node`, `way` or `relation`."""
    ref: int
    role: str
    """`outer` or `inner` in a multipolygon; may be empty."""


@dataclass(frozen=True)
class Relation:
    """Several elements that belong together, e.g. the rings of a multipolygon."""

    id: int
    members: tuple[Member, ...]
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True)
class Elements:
    """A piece of OpenStreetMap, each kind by id. It may lack what lies outside, as extracts do."""

    nodes: Mapping[int, Node]
    ways: Mapping[int, Way]
    relations: Mapping[int, Relation]


class OsmData(Protocol):
    """Where elements come from. Calls are thread-safe."""

    def near(self, polygon: BaseGeometry) -> Elements:
        """Every element that touches the polygon (degrees, lon lat), everything its ways and relations are made of,
        and perhaps some elements that do not touch it."""
        ...
