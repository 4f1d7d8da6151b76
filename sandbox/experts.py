"""Expert tiles of the synthetic Earth: annotated scenes as Dynamic World publishes them, some of them unusable.

Of forty tiles eight are of the validation layout, the others of the training layout; a few have a fault that a builder
must refuse, and a few have one that it must live with. Tile number n is the same however many there are.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from shapely import Polygon

from noldo.grids import LATTICE_M, SOUTHERN_OFFSET_M, Grid
from noldo.products import UNLABELLED
from sandbox.expert_sites import (
    MOST_CLOUD_PERCENT,
    Sight,
    Site,
    Wanted,
    bounds_m,
    centre_of,
    find_site,
    grid_of,
    outline_of,
)
from sandbox.planet.annotations import CLOUD, UNMARKED, annotation
from sandbox.planet.labels import labels
from sandbox.planet.lattice import Window
from sandbox.planet.optical_scenes import L2A, Take, cloud_percent, product_id, record_of, take_named
from sandbox.planet.orbits import stamp
from sandbox.planet.osm_parcels import Region, region_of
from sandbox.planet.tiles import tiles_near

Layout = Literal["training", "validation"]
"""As PANGAEA 10.1594/PANGAEA.933475 has them, or as Zenodo 4766508."""

Outcome = Literal["kept", "missing_file", "unmarked", "unknown_class", "not_utm", "no_scene"]
"""What must become of a tile: kept, or why not. `missing_file`: a row of the table, but no file; `unmarked`: nothing but
0; `unknown_class`: a number above 10; `not_utm`: in degrees; `no_scene`: Sentinel-2 took nothing within months."""

TILE_PX: Mapping[Layout, int] = MappingProxyType({"training": 510, "validation": 512})
UNKNOWN_CLASS = 13
OFF_LATTICE_M = (3.7, -2.4)
"""How far a tile that is off the 10 m lattice lies from it, to the east and to the north."""

_CYCLE = 40


@dataclass(frozen=True)
class _Plan:
    """What a tile is to be."""

    outcome: Outcome = "kept"
    sight: Sight = "clear"
    region: Region = "mapped"
    off_lattice: bool = False
    other_scene: bool = False
    at_zone_border: bool = False


_PLANS: Mapping[int, _Plan] = MappingProxyType(
    {
        1: _Plan(at_zone_border=True),
        2: _Plan(region="outdated"),
        3: _Plan(off_lattice=True),
        4: _Plan(sight="partly"),
        5: _Plan("missing_file"),
        6: _Plan(sight="cloudy"),
        7: _Plan(region="unmapped"),
        8: _Plan(sight="no_l2a"),
        10: _Plan("unmarked"),
        11: _Plan(sight="alone", other_scene=True),
        12: _Plan(region="sparse"),
        13: _Plan("unknown_class"),
        14: _Plan(region="outdated"),
        15: _Plan("not_utm"),
        16: _Plan("no_scene", "early"),
        17: _Plan("no_scene", "silent"),
        18: _Plan(region="unmapped"),
        19: _Plan(sight="alone", other_scene=True),
        20: _Plan(region="sparse"),
        21: _Plan(sight="partly"),
        22: _Plan(region="outdated"),
        24: _Plan(region="unmapped"),
        26: _Plan(off_lattice=True),
        28: _Plan(sight="no_l2a"),
        33: _Plan(sight="partly"),
    }
)
"""By number in a cycle of forty; the others are faultless."""


@dataclass(frozen=True)
class ExpertTile:
    """One annotated tile."""

    id: str
    """`dw_<lon>_<lat>-YYYYMMDD`, in the validation layout with `p` for the decimal points."""
    number: int
    layout: Layout
    outcome: Outcome
    window: Window
    """The pixels of the 10 m lattice that hold the centres of its pixels."""
    offset_m: tuple[float, float]
    """How far its georeference lies east and north of that window in metres: 0 but for tiles off the lattice."""
    date: dt.date
    take: Take | None
    """The scene that was annotated; None where there is none."""
    product_id: str
    """`S2_PRODUCT_ID`, ESA's name of a scene: of the annotated one, unless that is what is wrong."""
    system_index: str
    """`s2_system_index`, Earth Engine's name of a scene: as above."""
    region: Region
    """How well OpenStreetMap is kept there."""
    at_zone_border: bool
    """Whether it reaches over the border of its UTM zone."""
    shares: tuple[float, ...]
    """Share of each class of the truth."""
    seed: int

    @property
    def scene(self) -> str | None:
        """`system:index` of the annotated scene."""
        return self.take.index if self.take else None

    @property
    def grid(self) -> Grid:
        """Its window as a patch grid, on which `SyntheticEarth.truth` is the truth of its pixels."""
        return grid_of(self.window)

    @property
    def crs_epsg(self) -> int:
        """UTM zone, of its middle."""
        return self.window.crs_epsg

    @property
    def corner_m(self) -> tuple[float, float]:
        """Easting and northing of the outer upper-left corner, as its file says."""
        return self.window.x_ul + self.offset_m[0], self.window.y_ul + self.offset_m[1]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max in metres, as its file says."""
        x_min, y_min, x_max, y_max = bounds_m(self.window)
        east, north = self.offset_m
        return x_min + east, y_min + north, x_max + east, y_max + north

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude in degrees."""
        return centre_of(self.window)

    @property
    def outline(self) -> Polygon:
        """Its border in degrees."""
        return outline_of(self.window)

    @property
    def is_on_60m_lattice(self) -> bool:
        """Whether its corner lies on the lattice of Sentinel-2's coarsest pixels."""
        x, y = self.corner_m
        offset = SOUTHERN_OFFSET_M if self.crs_epsg // 100 == 327 else 0
        return x % LATTICE_M == 0 and (y - offset) % LATTICE_M == 0

    @property
    def flags(self) -> tuple[str, ...]:
        """What a builder has to live with, sorted."""
        found = {
            "off_lattice": self.offset_m != (0.0, 0.0),
            "other_scene": self.take is not None and self.scene != self.system_index,
            "near_zone_border": self.at_zone_border,
        }
        if self.take is not None:
            found["no_l2a"] = record_of(self.take, L2A, seed=self.seed) is None
            found["cloudy_own_scene"] = cloud_percent(self.take, seed=self.seed) > MOST_CLOUD_PERCENT
        return tuple(sorted(name for name, holds in found.items() if holds))

    def markup(self) -> npt.NDArray[np.uint8]:
        """What is published: uint8 (y, x), 0 unmarked, 1..9 classes, 10 cloud; 13 where a tile is to be refused."""
        marks = annotation(self.window, take=self.take, seed=self.seed).copy()
        if self.outcome == "unmarked":
            marks[:] = UNMARKED
        elif self.outcome == "unknown_class":
            marks[: marks.shape[0] // 8] = UNKNOWN_CLASS
        return marks

    def model_label(self) -> npt.NDArray[np.uint8]:
        """Dynamic World's most probable class: uint8 (y, x), 0..8."""
        number = self.take.number if self.take else 0
        return labels(self.window, take=number, seed=self.seed)


def expected_labels(tile: ExpertTile) -> npt.NDArray[np.uint8]:
    """What a reader makes of a tile's annotation: uint8 (y, x), classes 0..8, 255 where there is none."""
    marks = tile.markup()
    unlabelled = (marks == UNMARKED) | (marks >= CLOUD)
    return np.where(unlabelled, UNLABELLED, marks - 1).astype(np.uint8)


@lru_cache(maxsize=8)
def expert_tiles(seed: int, count: int) -> tuple[ExpertTile, ...]:
    """The first tiles of a synthetic Earth.

    Raises
    ------
    InputError
        If a place is not found: another seed will have it.
    """
    sites: list[Site] = []
    tiles: list[ExpertTile] = []
    for number in range(count):
        plan = _PLANS.get(number % _CYCLE, _Plan())
        layout: Layout = "validation" if number % 5 == 4 else "training"
        wanted = Wanted(plan.region, plan.sight, TILE_PX[layout], number % 3 == 1, plan.at_zone_border)
        rng = np.random.default_rng(np.random.SeedSequence([seed, 97, number]))
        site = find_site(wanted, rng=rng, occupied=sites, seed=seed)
        sites.append(site)
        tiles.append(_tile(number, layout, plan, site, seed))
    return tuple(tiles)


def _tile(number: int, layout: Layout, plan: _Plan, site: Site, seed: int) -> ExpertTile:
    lon, lat = centre_of(site.window)
    product, index = _names(site, plan, seed)
    id_ = f"dw_{lon:.10f}_{lat:.10f}-{site.date:%Y%m%d}"
    return ExpertTile(
        id=id_.replace(".", "p") if layout == "validation" else id_,
        number=number,
        layout=layout,
        outcome=plan.outcome,
        window=site.window,
        offset_m=OFF_LATTICE_M if plan.off_lattice else (0.0, 0.0),
        date=site.date,
        take=site.take,
        product_id=product,
        system_index=index,
        region=region_of(lon, lat, seed=seed),
        at_zone_border=plan.at_zone_border,
        shares=site.shares,
        seed=seed,
    )


def _names(site: Site, plan: _Plan, seed: int) -> tuple[str, str]:
    """ESA's and Earth Engine's name of the scene that the tables name; of one that never was, where it is to be so."""
    if site.take is not None and not plan.other_scene:
        return product_id(site.take), site.take.index
    if site.take is not None:
        start_ms, tile = site.take.start_ms + 37_000, site.take.tile
        known = product_id(site.take)
        product = known.replace(known.split("_")[2], stamp(start_ms))
    else:
        noon = dt.datetime.combine(site.date, dt.time(10, 30, 21), dt.UTC)
        start_ms = int(noon.timestamp() * 1000)
        own = [
            one for one in tiles_near(outline_of(site.window).bounds) if one.crs_epsg == site.window.crs_epsg
        ]
        tile = own[0]
        product = f"S2A_MSIL1C_{stamp(start_ms)}_N0207_R051_T{tile.name}_{stamp(start_ms + 7_200_000)}"
    index = f"{stamp(start_ms)}_{stamp(start_ms + 60_000)}_T{tile.name}"
    assert take_named(index, seed=seed) is None, f"{index}: a scene of this Earth"
    return product, index
