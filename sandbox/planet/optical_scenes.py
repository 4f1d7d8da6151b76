"""Scenes of Sentinel-2 and of Dynamic World: which exist, where, when and with which properties.

One *take* is what a satellite saw of one tile on one pass. Its three images (Level-1C, Level-2A,
Dynamic World) share a `system:index`, or are missing.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache

import numpy as np
from shapely import Polygon, box
from shapely.geometry.base import BaseGeometry

from noldo.legend import DYNAMIC_WORLD as LEGEND
from noldo.products import S2_L1C_BANDS, S2_L2A_BANDS, S2_RESOLUTION_M
from sandbox.catalogue import Band, SceneRecord
from sandbox.planet import orbits
from sandbox.planet.footprints import Shape, shape_of
from sandbox.planet.lattice import Doubles, Floats, central_meridian, on_sphere, to_zone, unwrapped
from sandbox.planet.noise import chance, word
from sandbox.planet.orbits import DAY_MS, SENTINEL2, date_ms
from sandbox.planet.sky import depth, depths
from sandbox.planet.tiles import TILE_M, Tile, tile_named, to_degrees

L1C, L2A = "COPERNICUS/S2_HARMONIZED", "COPERNICUS/S2_SR_HARMONIZED"
DYNAMIC_WORLD = "GOOGLE/DYNAMICWORLD/V1"
COLLECTIONS = (L1C, L2A, DYNAMIC_WORLD)

MAX_DYNAMIC_WORLD_CLOUD_PERCENT = 35.0
"""Dynamic World is made up to this cloud percentage (Earth Engine catalogue)."""

_FIRST_MS = date_ms(2015, 6, 27)
_SECOND_SATELLITE_MS = date_ms(2017, 3, 15)
_L2A_FIRST_MS, _L2A_GLOBAL_MS = date_ms(2017, 3, 28), date_ms(2018, 12, 13)
_BASELINES = (
    (date_ms(2015, 6, 1), "02.04"),
    (date_ms(2017, 5, 23), "02.05"),
    (date_ms(2017, 10, 23), "02.06"),
    (date_ms(2018, 11, 6), "02.07"),
    (date_ms(2019, 7, 8), "02.08"),
    (date_ms(2020, 2, 4), "02.09"),
    (date_ms(2021, 3, 30), "03.00"),
    (date_ms(2021, 7, 1), "03.01"),
    (date_ms(2022, 1, 25), "04.00"),
    (date_ms(2022, 12, 6), "05.09"),
    (date_ms(2023, 12, 13), "05.10"),
    (date_ms(2024, 7, 23), "05.11"),
)
"""First day of each processing baseline (ESA, Sentinel-2 processing baseline history; abridged)."""

QUARTER_DAYS = 91
"""Quarters count from 1970-01-01."""

_LOST, _SPLIT, _NO_L2A, _EARLY_NO_L2A, _NO_LABELS, _NO_PROPERTY, _SILENT = (
    0.03,
    0.02,
    0.015,
    0.65,
    0.03,
    0.004,
    0.02,
)
"""Shares of takes that are lost, split, without Level-2A (later; before it was global), without labels,
without a given property, and of regions without any scene for a quarter of a year."""

_SILENT_BLOCK_M = 400_000
_LEAST_SHARE_OF_TILE = 0.01
_START_TO_EQUATOR_MS = 22 * 60 * 1000
_TO_PRODUCT_MS = 2 * 3600 * 1000
_CLOUD_SAMPLES = 10
_CLOUD_BLOCK_DAYS = 50
_SCENE_OPTIONAL = ("MGRS_TILE", "CLOUDY_PIXEL_PERCENTAGE", "PROCESSING_BASELINE")


@dataclass(frozen=True)
class Take:
    """What one pass saw of one tile."""

    tile: Tile
    track: int
    day: int
    """Days since 1970-01-01 of the pass, in the count of `orbits`."""
    part: int
    """0 if whole, else 1 (north) or 2 (south) of a datatake that was processed in two pieces."""

    @property
    def number(self) -> int:
        """The datatake, the same for all its tiles."""
        return self.day * 1000 + self.track

    @cached_property
    def start_ms(self) -> int:
        """Start of the datatake, milliseconds since 1970-01-01 UTC."""
        return orbits.crossing_ms(SENTINEL2, track=self.track, day=self.day) - _START_TO_EQUATOR_MS

    @cached_property
    def sensed_ms(self) -> int:
        """Time at which the tile was seen."""
        return self.start_ms + _START_TO_EQUATOR_MS + _delay_ms(self.tile) + 3000 * self.part

    @property
    def day_of_year(self) -> int:
        """1..366, of the datatake."""
        return datetime.fromtimestamp(self.start_ms / 1000, UTC).timetuple().tm_yday

    @cached_property
    def index(self) -> str:
        """`system:index`: datatake, granule, tile."""
        granule = self.start_ms + 60_000 + 3000 * self.part
        return f"{orbits.stamp(self.start_ms)}_{orbits.stamp(granule)}_T{self.tile.name}"


def scenes_of(tile: Tile, collection: str, *, start_ms: int, end_ms: int, seed: int) -> list[SceneRecord]:
    """Scenes of a tile that start in [start_ms, end_ms), in no order."""
    return [
        record
        for take in takes_of(tile, start_ms=start_ms, end_ms=end_ms, seed=seed)
        if start_ms <= take.sensed_ms < end_ms and (record := record_of(take, collection, seed=seed))
    ]


def takes_of(tile: Tile, *, start_ms: int, end_ms: int, seed: int) -> list[Take]:
    """Takes of a tile around an interval (up to two days outside it)."""
    found: list[Take] = []
    for track in _tracks(tile):
        for day, second in orbits.days_between(SENTINEL2, track=track, start_ms=start_ms, end_ms=end_ms):
            found += _takes(tile, track, day, second, seed)
    return found


def is_silent(tile: Tile, day: int, *, seed: int) -> bool:
    """Whether nothing was taken of a tile and its neighbours for a whole quarter (`QUARTER_DAYS`) of a year."""
    north = tile.y_ul // _SILENT_BLOCK_M
    return chance(seed, 61, tile.crs_epsg, north, day // QUARTER_DAYS) < _SILENT


def product_id(take: Take) -> str:
    """ESA's name of the Level-1C product, after its naming convention since December 2016.

    The two pieces of a split datatake differ in the last word only, when they were made.
    """
    cycle = SENTINEL2.cycle_days
    second = (take.day - orbits.phase(SENTINEL2, take.track)) % cycle == cycle // 2
    baseline = _baseline(take).replace(".", "")
    made = orbits.stamp(take.start_ms + _TO_PRODUCT_MS + 60_000 * take.part)
    start, track = orbits.stamp(take.start_ms), take.track + 1
    return f"S2{'AB'[second]}_MSIL1C_{start}_N{baseline}_R{track:03d}_T{take.tile.name}_{made}"


def take_named(index: str, *, seed: int) -> Take | None:
    """The take of a `system:index`, or None."""
    words = index.split("_")
    if len(words) != 3 or words[2][:1] != "T":
        return None
    start_ms, tile = orbits.time_ms_of(words[0]), tile_named(words[2][1:])
    if start_ms is None or tile is None:
        return None
    takes = takes_of(tile, start_ms=start_ms - DAY_MS, end_ms=start_ms + DAY_MS, seed=seed)
    return next((take for take in takes if take.index == index), None)


@lru_cache(maxsize=60_000)
def record_of(take: Take, collection: str, *, seed: int) -> SceneRecord | None:
    """The image of a take in a collection, or None if it was never made."""
    percent = cloud_percent(take, seed=seed)
    if not _was_made(take, collection, percent, seed):
        return None
    return SceneRecord(
        collection=collection,
        index=take.index,
        time_start_ms=take.sensed_ms,
        footprint=_outline(take.tile, take.track, _cut_m(take, seed), take.part),
        properties=_properties(take, collection, percent, seed),
    )


def cloud_percent(take: Take, *, seed: int) -> float:
    """Share of cloud over the take's footprint in percent, from a raster of sample points."""
    if take.part:
        return _cloud_percent_of_part(take, seed)
    return _cloud_percents(take.tile, take.track, take.day // _CLOUD_BLOCK_DAYS, seed)[take.day]


@lru_cache(maxsize=4096)
def _cloud_percent_of_part(take: Take, seed: int) -> float:
    lat, points = _samples(shape_of_take(take, seed=seed))
    deep = depth(points, lat, take=take.number, day_of_year=take.day_of_year, seed=seed)
    return _percent(deep)


@lru_cache(maxsize=20_000)
def _cloud_percents(tile: Tile, track: int, block: int, seed: int) -> dict[int, float]:
    """By day, for all possible takes of a tile in a block of days: together they cost little more than one."""
    first_ms = block * _CLOUD_BLOCK_DAYS * DAY_MS
    days = orbits.days_between(
        SENTINEL2, track=track, start_ms=first_ms, end_ms=first_ms + _CLOUD_BLOCK_DAYS * DAY_MS
    )
    takes = [Take(tile, track, day, 0) for day, _ in days]
    lat, points = _samples(shape_of_take(takes[0], seed=seed))
    deep = depths(
        points,
        lat,
        takes=[take.number for take in takes],
        days_of_year=[take.day_of_year for take in takes],
        seed=seed,
    )
    return {take.day: _percent(row) for take, row in zip(takes, deep, strict=True)}


def _samples(shape: Shape) -> tuple[Doubles, Doubles]:
    """Latitudes (n,) and places on the sphere (3, n) of a raster over a shape."""
    where = to_degrees(shape.crs_epsg, shape.samples(_CLOUD_SAMPLES))
    return where[:, 1], on_sphere(where[:, 0], where[:, 1])


def _percent(deep: Floats) -> float:
    return round(100.0 * float((deep >= 0).mean()), 4) if deep.size else 0.0


def shape_of_take(take: Take, *, seed: int) -> Shape:
    """What was seen, in metres of the tile's zone."""
    shape = _shape(take.tile, take.track, _cut_m(take, seed), take.part)
    assert shape is not None, "takes are made only where the swath meets the tile"
    return shape


@lru_cache(maxsize=4096)
def bands_of(tile: Tile, collection: str) -> tuple[Band, ...]:
    """Bands of a collection's images of a tile, in the collection's order."""
    if collection == DYNAMIC_WORLD:
        kinds = [(name, "float32", 10) for name in LEGEND.classes] + [("label", "uint8", 10)]
    else:
        names = S2_L1C_BANDS if collection == L1C else S2_L2A_BANDS
        kinds = [(name, "uint16", S2_RESOLUTION_M[name]) for name in names]
        kinds += [("SCL", "uint8", 20)] if collection == L2A else []
    return tuple(
        Band(
            name=name,
            dtype=dtype,
            crs_epsg=tile.crs_epsg,
            transform=(step, 0.0, tile.x_ul, 0.0, -step, tile.y_ul),
            width=TILE_M // step,
            height=TILE_M // step,
        )
        for name, dtype, step in kinds
    )


@lru_cache(maxsize=20_000)
def _takes(tile: Tile, track: int, day: int, second: bool, seed: int) -> tuple[Take, ...]:
    time_ms = orbits.crossing_ms(SENTINEL2, track=track, day=day)
    if time_ms < (_SECOND_SATELLITE_MS if second else _FIRST_MS):
        return ()
    if is_silent(tile, day, seed=seed):
        return ()
    if chance(seed, 62, word(tile.name), track, day) < _LOST:
        return ()
    split = chance(seed, 63, word(tile.name), track, day) < _SPLIT
    takes = [Take(tile, track, day, part) for part in ((1, 2) if split else (0,))]
    return tuple(take for take in takes if _shape(tile, track, _cut_m(take, seed), take.part))


def _cut_m(take: Take, seed: int) -> int:
    """Northing at which a take in two pieces is cut, in metres; on the 60 m lattice."""
    if not take.part:
        return 0
    share = 0.3 + 0.4 * chance(seed, 64, word(take.tile.name), take.track, take.day)
    return take.tile.y_ul - round(share * TILE_M / 60) * 60


@lru_cache(maxsize=20_000)
def _tracks(tile: Tile) -> tuple[int, ...]:
    lon, lat = _centre(tile)
    near = orbits.tracks_over(SENTINEL2, lon=lon, lat=lat, reach_m=0.75 * TILE_M)
    return tuple(track for track in near if _shape(tile, track, 0, 0))


@lru_cache(maxsize=20_000)
def _delay_ms(tile: Tile) -> int:
    return orbits.delay_ms(SENTINEL2, _centre(tile)[1])


@lru_cache(maxsize=20_000)
def _centre(tile: Tile) -> tuple[float, float]:
    lon, lat = to_degrees(tile.crs_epsg, np.array(tile.centre_m))
    return float(lon), float(lat)


@lru_cache(maxsize=60_000)
def _shape(tile: Tile, track: int, cut_m: int, part: int) -> Shape | None:
    """Tile and swath in common; None if they hardly meet."""
    seen = tile.outline_m.intersection(_swath(tile, track))
    if part:
        x_min, y_min, x_max, y_max = tile.outline_m.bounds
        seen = seen.intersection(
            box(x_min, cut_m, x_max, y_max) if part == 1 else box(x_min, y_min, x_max, cut_m)
        )
    if not isinstance(seen, Polygon) or seen.area < _LEAST_SHARE_OF_TILE * TILE_M**2:
        return None
    return shape_of(tile.crs_epsg, seen)


@lru_cache(maxsize=60_000)
def _outline(tile: Tile, track: int, cut_m: int, part: int) -> Polygon:
    shape = _shape(tile, track, cut_m, part)
    assert shape is not None, "takes are made only where the swath meets the tile"
    return shape.outline()


def _swath(tile: Tile, track: int) -> BaseGeometry:
    """The swath over a tile, its edges straight in the tile's zone; empty where an orbit turns."""
    lon, lat = _centre(tile)
    lats = np.array([lat - 0.75, lat + 0.75])
    if np.abs(lats).max() > 180.0 - SENTINEL2.inclination_deg:
        lats = np.clip(lats, SENTINEL2.inclination_deg - 180.0, 180.0 - SENTINEL2.inclination_deg)
        if np.ptp(lats) == 0:
            return Polygon()
    edges = []
    for edge in orbits.edge_lons(SENTINEL2, track, lats):
        near = unwrapped(edge, around=lon)
        x, y = to_zone(tile.crs_epsg).transform(unwrapped(near, around=central_meridian(tile.crs_epsg)), lats)
        ends = np.stack([x, y], axis=1)
        reach = ends[1] - ends[0]
        edges.append([ends[0] - reach, ends[1] + reach])
    corners = np.array([*edges[0], *edges[1][::-1]])
    return Polygon(corners).convex_hull if np.isfinite(corners).all() else Polygon()


def _was_made(take: Take, collection: str, percent: float, seed: int) -> bool:
    name = word(take.index)
    if collection == L2A:
        if take.sensed_ms < _L2A_FIRST_MS:
            return False
        return chance(seed, 65, name) >= (_EARLY_NO_L2A if take.sensed_ms < _L2A_GLOBAL_MS else _NO_L2A)
    if collection == DYNAMIC_WORLD:
        return percent <= MAX_DYNAMIC_WORLD_CLOUD_PERCENT and chance(seed, 66, name) >= _NO_LABELS
    return True


def _baseline(take: Take) -> str:
    return [name for since, name in _BASELINES if since <= take.sensed_ms][-1]


def _properties(
    take: Take, collection: str, percent: float, seed: int
) -> dict[str, str | int | float | list[str] | None]:
    if collection == DYNAMIC_WORLD:
        return {"dynamicworld_algorithm_version": "3.5.0", "qa_algorithm_version": "2.0.0"}
    found: dict[str, str | int | float | list[str] | None] = {
        "MGRS_TILE": take.tile.name,
        "CLOUDY_PIXEL_PERCENTAGE": percent,
        "PROCESSING_BASELINE": _baseline(take),
        "SENSING_ORBIT_NUMBER": take.track + 1,
        "SENSING_ORBIT_DIRECTION": "DESCENDING",
    }
    name = word(take.index + collection)
    lost = [item for i, item in enumerate(_SCENE_OPTIONAL) if chance(seed, 67, i, name) < _NO_PROPERTY]
    return {item: value for item, value in found.items() if item not in lost}
