"""Where and when experts label the synthetic Earth: places with several classes, and a clear scene of each.

A site is searched for by drawing places until one has all that is wanted of it, cheap conditions first.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from shapely import Polygon, box, segmentize

from noldo.errors import InputError
from noldo.grids import Grid, utm_epsg
from noldo.products import NUM_DYNAMIC_WORLD_CLASSES, UNLABELLED
from sandbox.catalogue import SceneRecord
from sandbox.planet import SyntheticEarth
from sandbox.planet.annotations import clarity_of
from sandbox.planet.lattice import PIXEL_M, Window, to_zone, window_of
from sandbox.planet.optical_scenes import L1C, L2A, QUARTER_DAYS, Take, is_silent, take_named
from sandbox.planet.orbits import DAY_MS
from sandbox.planet.osm import expected_osm
from sandbox.planet.osm_parcels import Region, lies_in_one_region, region_of
from sandbox.planet.radar_scenes import S1_GRD
from sandbox.planet.tiles import tile_named, tiles_near, to_degrees
from sandbox.planet.truth import SNOW

Sight = Literal["clear", "partly", "cloudy", "no_l2a", "alone", "silent", "early"]
"""What there is to label: a clear scene; one with some cloud over the tile; one with more than 20 % cloud, most of it
elsewhere; one without a Level-2A twin; one
with no other near it in time; none, because nothing was taken for months; none, because Sentinel-2 did not fly yet."""

MOST_CLOUD_PERCENT = 20.0
"""A scene with more is no usual choice (CromSS takes none)."""

PAIR_DAYS = 15
"""Longest time from an optical scene to the radar pass that is paired with it (CromSS)."""

OSM_SHARES: dict[Region, tuple[float, float]] = {
    "mapped": (0.5, 1.0),
    "outdated": (0.5, 1.0),
    "sparse": (0.02, 0.35),
    "unmapped": (0.0, 0.0),
}
"""Least and largest share of a tile that OpenStreetMap knows, by how well its region is mapped."""

_TRIES = 4000
_MARGIN_DEG = 0.04
"""Between a tile and the border of its region: more than a cell of the map, so that no cell of another region shows."""

_APART_DEG = 0.2
_LEAST_CLEAR_LAND, _LEAST_CLEAR = 0.72, 0.64
"""Share of a tile that an expert could tell, by its land alone and with the scene's clouds."""

_LEAST_CLASSES, _LEAST_CLASS_SHARE, _MOST_SNOW = 3, 0.01, 0.05
_CLOUD_PERCENT = {"cloudy": (MOST_CLOUD_PERCENT + 2, 60.0)}
_CLOUD_HERE = {"cloudy": (0.02, 0.15), "partly": (0.01, 0.15)}
_SPAN: dict[str, tuple[dt.date, dt.date]] = {
    "no_l2a": (dt.date(2017, 6, 1), dt.date(2018, 11, 20)),
    "early": (dt.date(2015, 1, 15), dt.date(2015, 4, 30)),
}
_USUAL_SPAN = (dt.date(2018, 12, 20), dt.date(2020, 11, 30))
_SEARCH_DAYS = 20
_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class Wanted:
    """What a site has to have."""

    region: Region
    sight: Sight
    size_px: int
    southern: bool
    at_zone_border: bool
    """Whether the tile reaches over the border of its UTM zone (its middle never does)."""


@dataclass(frozen=True)
class Site:
    """A place and what an expert labels there."""

    window: Window
    """Its pixels, at any offset of the 10 m lattice."""
    date: dt.date
    take: Take | None
    """The scene that is labelled; None where there is none."""
    shares: tuple[float, ...]
    """Share of each class of the truth."""


def find_site(wanted: Wanted, *, rng: np.random.Generator, occupied: Sequence[Site], seed: int) -> Site:
    """The first place drawn that has what is wanted, and lies apart from those that are occupied.

    Raises
    ------
    InputError
        If none is found: with another seed there will be one.
    """
    for _ in range(_TRIES):
        window = _drawn(wanted, rng)
        day = _day(wanted.sight, rng)
        if window is None or not _lies_well(window, wanted.region, seed) or _is_near(window, occupied):
            continue
        if site := _site(window, day, wanted, seed):
            return site
    raise InputError(f"seed {seed}: no place for an expert tile with {wanted} was found; choose another seed")


def _site(window: Window, day: int, wanted: Wanted, seed: int) -> Site | None:
    """What there is to label at a place around a day, if it is worth it and OpenStreetMap knows as much as wanted."""
    if wanted.sight == "silent" and not (day := _silent_day(window, seed) or 0):
        return None
    shares = _shares(window, seed)
    if not _is_worth_labelling(window, shares, seed):
        return None
    take = None
    date = _EPOCH + dt.timedelta(days=day)
    if wanted.sight not in ("silent", "early"):
        take = _labelled_take(window, day, wanted.sight, seed)
        if take is None:
            return None
        date = dt.datetime.fromtimestamp(take.start_ms / 1000, dt.UTC).date()
    return Site(window, date, take, shares) if _is_known(window, wanted.region, seed) else None


def bounds_m(window: Window) -> tuple[int, int, int, int]:
    """x_min, y_min, x_max, y_max in metres of the zone."""
    bottom = window.y_ul - PIXEL_M * window.height
    return window.x_ul, bottom, window.x_ul + PIXEL_M * window.width, window.y_ul


def centre_of(window: Window) -> tuple[float, float]:
    """Longitude and latitude of the middle of a window in degrees."""
    x_min, y_min, x_max, y_max = bounds_m(window)
    lon, lat = to_degrees(window.crs_epsg, np.array([(x_min + x_max) / 2, (y_min + y_max) / 2])).tolist()
    return lon, lat


def outline_of(window: Window, *, margin_m: float = 0.0) -> Polygon:
    """Border of a window in degrees, with a margin."""
    dense = segmentize(box(*bounds_m(window)).buffer(margin_m, join_style="mitre"), 1000.0)
    return Polygon(to_degrees(window.crs_epsg, np.array(dense.exterior.coords)))


def grid_of(window: Window) -> Grid:
    """The window as a patch grid."""
    return Grid(window.crs_epsg, window.x_ul, window.y_ul, window.width)


def _drawn(wanted: Wanted, rng: np.random.Generator) -> Window | None:
    """A place with the wanted position, drawn evenly over the sphere between 50 south and 66 north."""
    low, high = np.sin(np.deg2rad((-50.0, -1.0) if wanted.southern else (1.0, 66.0)))
    lat = float(np.rad2deg(np.arcsin(rng.uniform(low, high))))
    lon = float(rng.uniform(-178.0, 178.0))
    east, north = rng.uniform(-0.5, 0.5, 2)
    if wanted.at_zone_border:
        lon = round(lon / 6.0) * 6.0 + 0.015 * (1 if east > 0 else -1)
        lat = min(lat, 50.0)
    if abs(lon) > 178.0:
        return None
    crs_epsg = utm_epsg(lon, lat)
    x, y = to_zone(crs_epsg).transform(lon, lat)
    half = wanted.size_px * PIXEL_M / 2
    corner = PIXEL_M * round((x - half) / PIXEL_M), PIXEL_M * round((y + half + north) / PIXEL_M)
    return window_of(Grid(crs_epsg, *corner, wanted.size_px))


def _day(sight: Sight, rng: np.random.Generator) -> int:
    first, last = _SPAN.get(sight, _USUAL_SPAN)
    return (first - _EPOCH).days + int(rng.integers((last - first).days))


def _lies_well(window: Window, region: Region, seed: int) -> bool:
    """Whether a window lies well inside a region of this kind."""
    lon_min, lat_min, lon_max, lat_max = outline_of(window).bounds
    lat = (lat_min + lat_max) / 2
    wide = _MARGIN_DEG / float(np.cos(np.deg2rad(lat)))
    inside = lies_in_one_region(lon_min - wide, lat_min - _MARGIN_DEG, lon_max + wide, lat_max + _MARGIN_DEG)
    return inside and region_of((lon_min + lon_max) / 2, lat, seed=seed) == region


def _is_near(window: Window, occupied: Sequence[Site]) -> bool:
    lon, lat = centre_of(window)
    for site in occupied:
        other_lon, other_lat = centre_of(site.window)
        across = abs((lon - other_lon + 180.0) % 360.0 - 180.0) * np.cos(np.deg2rad(lat))
        if max(across, abs(lat - other_lat)) < _APART_DEG:
            return True
    return False


def _shares(window: Window, seed: int) -> tuple[float, ...]:
    truth = clarity_of(window, take=None, seed=seed).truth
    counts: npt.NDArray[np.intp] = np.bincount(truth.ravel(), minlength=NUM_DYNAMIC_WORLD_CLASSES)
    return tuple((counts / truth.size).tolist())


def _is_worth_labelling(window: Window, shares: Sequence[float], seed: int) -> bool:
    """Several classes, not too patchy, and hardly any snow, for which OpenStreetMap has no class."""
    several = sum(share >= _LEAST_CLASS_SHARE for share in shares) >= _LEAST_CLASSES
    clear = clarity_of(window, take=None, seed=seed).clear.mean()
    return several and shares[SNOW] <= _MOST_SNOW and bool(clear >= _LEAST_CLEAR_LAND)


def _is_known(window: Window, region: Region, seed: int) -> bool:
    least, most = OSM_SHARES[region]
    known = (expected_osm(grid_of(window), seed=seed) != UNLABELLED).mean()
    return bool(least <= known <= most)


def _labelled_take(window: Window, day: int, sight: Sight, seed: int) -> Take | None:
    """The scene nearest to a day that is as wanted and has a radar pass to pair with."""
    earth = SyntheticEarth(seed)
    around = outline_of(window, margin_m=100.0)
    start_ms, end_ms = ((day + sign * _SEARCH_DAYS) * DAY_MS for sign in (-1, 1))
    records = [
        record
        for record in earth.find(L1C, bounds=around.bounds, start_ms=start_ms, end_ms=end_ms)
        if _zone(record) == window.crs_epsg
    ]
    for record in sorted(records, key=lambda one: abs(one.time_start_ms - day * DAY_MS)):
        if not (record.footprint.covers(around) and _has_sight(record, records, sight, earth)):
            continue
        take = take_named(record.index, seed=seed)
        if take and _is_clear_here(window, take, sight, seed) and _has_radar(around, record, earth):
            return take
    return None


def _has_sight(
    record: SceneRecord, records: Sequence[SceneRecord], sight: Sight, earth: SyntheticEarth
) -> bool:
    least, most = _CLOUD_PERCENT.get(sight, (0.0, MOST_CLOUD_PERCENT - 2))
    cloud = record.properties.get("CLOUDY_PIXEL_PERCENTAGE")
    if not (isinstance(cloud, float) and least <= cloud <= most):
        return False
    start, _, tile = record.index.split("_")
    if sum(one.index.startswith(start) and one.index.endswith(tile) for one in records) > 1:
        return False  # a split datatake: its product id would name two scenes
    if sight == "alone":
        return sum(abs(one.time_start_ms - record.time_start_ms) < DAY_MS for one in records) == 1
    return (earth.scene(L2A, record.index) is None) == (sight == "no_l2a")


def _is_clear_here(window: Window, take: Take, sight: Sight, seed: int) -> bool:
    seen = clarity_of(window, take=take, seed=seed)
    least, most = _CLOUD_HERE.get(sight, (0.0, 0.15))
    return bool(seen.clear.mean() >= _LEAST_CLEAR and least <= seen.cloudy.mean() <= most)


def _has_radar(around: Polygon, record: SceneRecord, earth: SyntheticEarth) -> bool:
    """Whether a pass in IW with both polarisations covers the place within `PAIR_DAYS` of a scene."""
    reach = PAIR_DAYS * DAY_MS
    start_ms, end_ms = record.time_start_ms - reach, record.time_start_ms + reach
    return any(
        one.properties["instrumentMode"] == "IW"
        and one.properties["transmitterReceiverPolarisation"] == ["VV", "VH"]
        and one.footprint.covers(around)
        for one in earth.find(S1_GRD, bounds=around.bounds, start_ms=start_ms, end_ms=end_ms)
    )


def _silent_day(window: Window, seed: int) -> int | None:
    """The middle of a quarter without a scene in any tile of any zone, or None."""
    tiles = tiles_near(outline_of(window).bounds)
    first, last = ((day - _EPOCH).days // QUARTER_DAYS for day in _USUAL_SPAN)
    middles = (quarter * QUARTER_DAYS + QUARTER_DAYS // 2 for quarter in range(first + 1, last))
    return next((day for day in middles if all(is_silent(tile, day, seed=seed) for tile in tiles)), None)


@lru_cache(maxsize=4096)
def _zone_of_tile(name: str) -> int:
    tile = tile_named(name)
    return tile.crs_epsg if tile else 0


def _zone(record: SceneRecord) -> int:
    return _zone_of_tile(record.index[-5:])
