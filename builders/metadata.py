"""What is asked about scenes, and how the answer becomes `Scene` records. Pure: no client, no network.

One request asks for all scenes of about fifty patches: for each season and product the answer has a list of
rows, and for the leading product and Sentinel-1 a list of the names of the scenes whose footprint contains the
whole patch. Twins are the same acquisition and are taken to cover what the leading scene covers. A property that
the provider does not have arrives as null or not at all; neither is ever a reason to fail.
"""

import datetime as dt
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from builders.config import BuildConfig
from builders.config_sections import Season
from builders.records import DYNAMIC_WORLD, S1_GRD, S2_L1C, S2_L2A, Location, Scene
from builders.retries import GarbledAnswerError

MAX_S2_SCENES = 60
"""Scenes of one season and location, clearest first (of tiles: nearest first). Five-day repeats in 91 days give 19 an orbit and tile."""

MAX_S1_SCENES = 200
"""Passes of one season and location, closest to the reference date first."""

DAY_MS = 86_400_000

INDEX, TIME, ID = "i", "t", "id"
"""Keys of a row: `system:index` and `system:time_start`, which every scene has; key of a location."""

DAY = "day"
"""Key of the beginning of a location's own reference day, in milliseconds since 1970-01-01 UTC."""

_S2_PROPERTIES = {
    "c": "CLOUDY_PIXEL_PERCENTAGE",
    "m": "MGRS_TILE",
    "b": "PROCESSING_BASELINE",
    "o": "radiometric_offset",
}
PROPERTIES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        S2_L1C: _S2_PROPERTIES,
        S2_L2A: _S2_PROPERTIES,
        S1_GRD: {"p": "orbitProperties_pass", "r": "relativeOrbitNumber_start"},
        DYNAMIC_WORLD: {},
    }
)
"""Short key of a row to the provider's property, besides index and time. `radiometric_offset` is what archives
of one's own say about the +1000 of baseline 04.00; Earth Engine has none."""

EXPECTED = frozenset({"c", "b", "p", "r"})
"""Properties that Earth Engine's scenes should have: their absence is counted and logged."""

_TILE = re.compile(r"(\d{2})([C-HJ-NP-X])([A-HJ-NP-Z]{2})")
_TILE_OF_INDEX = re.compile(r"_T(\d{2}[C-HJ-NP-X][A-HJ-NP-Z]{2})$")

HARMONIZED_BASELINE = 4.0
"""From processing baseline 04.00 on (2022-01-25), Sentinel-2 numbers carry +1000, which the HARMONIZED
collections take off (ESA, Sentinel-2 processing baseline; Earth Engine data catalogue)."""


@dataclass(frozen=True)
class Window:
    """When scenes of a season may have been taken. Milliseconds since 1970-01-01 UTC."""

    start_ms: int
    end_ms: int
    """Not in the window."""
    reference_ms: int
    """Noon of the reference date."""


def reference_date(season: Season, location: Location) -> dt.date:
    """The date that a season of a location is about: the location's own, where it has one."""
    date = location.date or season.date
    assert date is not None, f"location {location.id}: no date, and neither has season {season.name}"
    return date


def midnight_ms(date: dt.date) -> int:
    """Beginning of a day, in milliseconds since 1970-01-01 UTC."""
    return int(dt.datetime(date.year, date.month, date.day, tzinfo=dt.UTC).timestamp()) * 1000


def s2_window(season: Season, date: dt.date) -> Window:
    """Whole days from `window_days` before the reference date to as many after it."""
    return window_around(midnight_ms(date), season)


def window_around(day_ms: int, season: Season) -> Window:
    """The same, given the beginning of the reference day."""
    return Window(
        start_ms=day_ms - season.window_days * DAY_MS,
        end_ms=day_ms + (season.window_days + 1) * DAY_MS,
        reference_ms=day_ms + DAY_MS // 2,
    )


def widened(window: Window, *, days: float) -> Window:
    """The window with some days more at both ends."""
    margin_ms = round(days * DAY_MS)
    return replace(window, start_ms=window.start_ms - margin_ms, end_ms=window.end_ms + margin_ms)


def leading_product(config: BuildConfig) -> str:
    """The Sentinel-2 product whose scenes are searched; its twins are looked up by their equal names."""
    return S2_L1C if config.products.s2_l1c else S2_L2A


def searched_cloud_percent(config: BuildConfig) -> float:
    """Scenes with more clouds are not asked for. Labels of a location's own may be of a cloudy scene: all are asked for."""
    return 100.0 if config.subset != "nol" else config.clouds.max_scene_percent


def prefers_clear(config: BuildConfig) -> bool:
    """Where a list of scenes is cut, the clearest stay; with labels of its own, a location keeps the nearest in time."""
    return config.subset == "nol"


def searched_products(config: BuildConfig) -> tuple[str, ...]:
    """Products whose scenes are asked for, the leading one first."""
    lead = leading_product(config)
    twins = (S2_L2A,) if config.products.needs_l2a and lead != S2_L2A else ()
    return (lead, *twins, *((S1_GRD,) if config.products.s1_grd else ()), DYNAMIC_WORLD)


def has_own_covering(product: str, *, config: BuildConfig) -> bool:
    """Whether the answer says of this product which scenes contain the patch; twins follow the leading one."""
    return product in {leading_product(config), S1_GRD}


def rows_key(season: int, product: str) -> str:
    """Property of a location in the answer: its scenes of a season and product."""
    return f"s{season}_{product}"


def covering_key(season: int, product: str) -> str:
    """Property of a location in the answer: names of those of its scenes that contain the patch."""
    return f"s{season}_{product}_in"


def tile_of(mgrs_tile: str, index: str) -> str:
    """MGRS tile of a scene, from its property or else from the end of its name; empty if neither has one."""
    if _TILE.fullmatch(mgrs_tile):
        return mgrs_tile
    found = _TILE_OF_INDEX.search(index)
    return found[1] if found else ""


def epsg_of_tile(tile: str) -> int:
    """UTM zone of an MGRS tile as EPSG code; 0 for what is no tile. Bands C..M are south, N..X north."""
    parts = _TILE.fullmatch(tile)
    if parts is None or not 1 <= int(parts[1]) <= 60:
        return 0
    return (32600 if parts[2] >= "N" else 32700) + int(parts[1])


def epsg_of_crs(crs: object) -> int:
    """Number of an `EPSG:` code; 0 for anything else."""
    found = re.fullmatch(r"EPSG:(\d{4,6})", crs) if isinstance(crs, str) else None
    return int(found[1]) if found else 0


def offset_removed(baseline: str, radiometric_offset: object) -> bool:
    """Whether the provider took the +1000 off: what the scene says of it, or else its baseline."""
    offset = _number(radiometric_offset)
    if offset is not None:
        return offset != 0
    try:
        return float(baseline) >= HARMONIZED_BASELINE
    except ValueError:
        return False


@dataclass(frozen=True)
class Answer:
    """One metadata answer, read."""

    scenes: tuple[Scene, ...]
    """By location, season, product, then as the provider sorted them."""
    missing: Mapping[str, int]
    """How many scenes lack an expected property, by `product.property`."""
    full_lists: int
    """Lists that are as long as they may be, so that the provider may know more scenes."""


def read_answer(answer: object, locations: Sequence[Location], *, config: BuildConfig) -> Answer:
    """Scenes of all locations of a request.

    Parameters
    ----------
    answer
        The JSON that came back: a feature collection, one feature a location, in any order.

    Raises
    ------
    GarbledAnswerError
        If a location or a list is missing, or a row has no name or time.
    """
    by_position = _by_position(answer, num_locations=len(locations))
    missing: Counter[str] = Counter()
    scenes: list[Scene] = []
    full_lists = 0
    for location, properties in zip(locations, by_position, strict=True):
        for season in range(len(config.seasons)):
            for product in searched_products(config):
                found = _read_list(
                    properties, location, season=season, product=product, missing=missing, config=config
                )
                limit = MAX_S1_SCENES if product == S1_GRD else MAX_S2_SCENES
                full_lists += len(found) >= limit
                scenes += found
    return Answer(tuple(scenes), dict(missing), full_lists)


def _by_position(answer: object, *, num_locations: int) -> list[Mapping[str, Any]]:
    try:
        features: Sequence[Any] = answer["features"]  # type: ignore[index]  # checked by the except
        found = {int(one["properties"][ID]): one["properties"] for one in features}
    except (TypeError, KeyError, ValueError) as error:
        raise GarbledAnswerError(f"no feature collection of locations ({error!r})") from error
    if sorted(found) != list(range(num_locations)):
        raise GarbledAnswerError(f"{len(found)} locations answered, expected {num_locations}")
    return [found[position] for position in range(num_locations)]


def _read_list(
    properties: Mapping[str, Any],
    location: Location,
    *,
    season: int,
    product: str,
    missing: Counter[str],
    config: BuildConfig,
) -> list[Scene]:
    key = rows_key(season, product)
    told_by = product if has_own_covering(product, config=config) else leading_product(config)
    try:
        rows = [row["properties"] for row in properties[key]]
        covering = frozenset(properties[covering_key(season, told_by)])
        scenes = [_scene(row, location, season=season, product=product, covering=covering) for row in rows]
    except (TypeError, KeyError, ValueError) as error:
        raise GarbledAnswerError(
            f"location {location.id}, {key}: not a list of scenes ({error!r})"
        ) from error
    for row in rows:
        missing.update(
            f"{product}.{name}"
            for short, name in PROPERTIES[product].items()
            if short in EXPECTED and row.get(short) is None
        )
    return scenes


def _scene(
    row: Mapping[str, Any], location: Location, *, season: int, product: str, covering: frozenset[str]
) -> Scene:
    index = str(row[INDEX])
    tile = "" if product == S1_GRD else tile_of(_text(row.get("m")), index)
    baseline = _text(row.get("b"))
    return Scene(
        location_id=location.id,
        season=season,
        product=product,
        index=index,
        time_ms=int(row[TIME]),
        covers=index in covering,
        crs_epsg=epsg_of_tile(tile),
        tile=tile,
        cloud_percent=_number(row.get("c")),
        baseline=baseline,
        offset_removed=offset_removed(baseline, row.get("o")),
        orbit_pass=_text(row.get("p")),
        relative_orbit=int(_number(row.get("r")) or 0),
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def without_zone(scenes: Sequence[Scene]) -> list[tuple[str, str]]:
    """(product, index) of the Sentinel-2 scenes whose zone neither property nor name tells, each once, sorted.

    Earth Engine's scenes all tell; archives of one's own may not, and are then asked for their projection.
    """
    return sorted(
        {(scene.product, scene.index) for scene in scenes if scene.product != S1_GRD and not scene.crs_epsg}
    )


def with_zones(scenes: Sequence[Scene], zones: Mapping[tuple[str, str], int]) -> list[Scene]:
    """The scenes with the zones that were asked for, by (product, index)."""
    return [
        replace(scene, crs_epsg=zones[scene.product, scene.index])
        if (scene.product, scene.index) in zones
        else scene
        for scene in scenes
    ]
