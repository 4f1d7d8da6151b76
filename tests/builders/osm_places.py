"""A patch and made-up OpenStreetMap around it, in metres; a table of tags; ways to ask a server and to disturb it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pyproj import Transformer

from builders.overpass import Overpass
from builders.overpass_access import OverpassAccess
from builders.overpass_server import OverpassServer
from builders.tag_table import TagTable
from noldo.grids import Grid
from sandbox.server import SandboxServer
from tests.sandbox.fake_osm import FakeOsm
from tests.sandbox.loopback import call

PATCH = Grid(crs_epsg=32632, x_ul=600_000, y_ul=5_300_040, size_px=264)
SIDE_M = 2_640


def table_of(name: str, keys: tuple[str, ...], classes: Mapping[tuple[str, str], int]) -> TagTable:
    """A table of tags that comes from no file."""
    return TagTable(name, "", "", keys, classes, priorities={}, text="")


SMALL_TABLE = table_of(
    "small",
    ("landuse", "natural", "leisure"),
    {
        ("landuse", "forest"): 8,
        ("landuse", "meadow"): 7,
        ("natural", "water"): 13,
        ("natural", "cliff"): 10,
        ("leisure", "park"): 4,
    },
)


class Country(FakeOsm):
    """OpenStreetMap in metres from the upper-left corner of a patch: x to the east, y to the south."""

    def __init__(self, patch: Grid = PATCH) -> None:
        super().__init__()
        self._patch = patch
        self._degrees = Transformer.from_crs(patch.crs_epsg, "OGC:CRS84", always_xy=True)

    def at(self, x: float, y: float) -> tuple[float, float]:
        lon, lat = self._degrees.transform(self._patch.x_ul + x, self._patch.y_ul - y)
        return float(np.round(lon, 7)), float(np.round(lat, 7))

    def line(self, ref: int, *places: tuple[float, float], closed: bool = False, **tags: str) -> int:
        return self.way(ref, [self.at(x, y) for x, y in places], closed=closed, **tags)

    def field(self, ref: int, x: float, y: float, width: float, height: float, **tags: str) -> int:
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        return self.line(ref, *corners, closed=True, **tags)


@dataclass
class Time:
    """Seconds that pass only while someone sleeps."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def source(
    server: SandboxServer | str,
    passing: Time | None = None,
    *,
    table: TagTable = SMALL_TABLE,
    margin_m: float = 1000,
    **options: Any,
) -> Overpass:
    """Areas from a server; nobody sleeps."""
    url = server if isinstance(server, str) else server.overpass_url
    passing = passing or Time()
    access = OverpassAccess(
        OverpassServer(url, **options), rng=random.Random(1), clock=passing.clock, sleep=passing.sleep
    )
    return Overpass(access, table=table, margin_m=margin_m)


def inject(server: SandboxServer, **changes: Any) -> None:
    assert call(server.url + "/control/faults", changes).status == 200


def counted(server: SandboxServer, what: str = "endpoints") -> dict[str, int]:
    counts: dict[str, int] = call(server.url + "/control/log").json()[what]
    return counts
