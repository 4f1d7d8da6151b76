"""Which scenes of a location are read, and why: a pure function of the candidates.

L1C, L2A and Dynamic World of one acquisition share their `system:index` and are joined by it, never by date.
A scene's own zone comes before coverage, coverage before cloud, cloud before closeness to the season's date; ties
fall to the name. Sentinel-1 is the pass nearest in time, in one orbit direction for all seasons where possible.
"""

import datetime as dt
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builders.build import cut_of
from builders.config import BuildConfig, Season
from builders.layout import Layout
from builders.records import (
    DYNAMIC_WORLD,
    S1_GRD,
    S2_L1C,
    S2_L2A,
    Location,
    LocationPlan,
    Scene,
    SeasonChoice,
)
from builders.scene_tables import read_candidates, write_plans

logger = logging.getLogger(__name__)

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Acquisition:
    """A Sentinel-2 scene that is good enough, with every Sentinel-1 pass near enough to it."""

    scene: Scene
    off_zone: bool
    from_date_days: float
    """Time to the season's reference date, in days, without sign."""
    passes: tuple[Scene, ...]
    """Sentinel-1 within the limit, nearest first; empty if the build stores none."""

    @property
    def order(self) -> tuple[bool, bool, float, float, str]:
        """Smaller is better; ends with the name, so that no two are equal."""
        scene = self.scene
        cloud = 101.0 if scene.cloud_percent is None else scene.cloud_percent
        return self.off_zone, not scene.covers, cloud, self.from_date_days, scene.index


@dataclass(frozen=True)
class Geometry:
    """The Sentinel-1 passes preferred for all seasons of a location."""

    orbit_pass: str = ""
    """ASCENDING or DESCENDING; empty: no direction serves all seasons."""
    relative_orbit: int = 0
    """0: no single orbit of this direction serves all seasons."""

    def fits(self, scene: Scene) -> bool:
        """A pass of this direction, and of this orbit if there is one."""
        return scene.orbit_pass == self.orbit_pass and self.relative_orbit in (0, scene.relative_orbit)


def run_choose(config: BuildConfig, layout: Layout, *, search: int, out: Path) -> None:
    """Choose the scenes of all locations of one search job.

    Raises
    ------
    InputError
        If the location or candidate table can't be used.
    StoreError
        If the table can't be written.
    """
    from builders.location_table import read_locations

    rows = cut_of(config).rows_of_search(search)
    locations = read_locations(layout.locations, rows.start, rows.stop)
    by_location: dict[int, list[Scene]] = {location.id: [] for location in locations}
    for scene in read_candidates(layout.candidates(search)):
        by_location[scene.location_id].append(scene)
    plans = [choose(location, by_location[location.id], config) for location in locations]
    write_plans(out, plans)
    refused = [plan for plan in plans if plan.refusal]
    for plan in refused:
        logger.info("location %d: %s", plan.location.id, plan.refusal)
    logger.info("%d locations: %d with scenes in every season", len(plans), len(plans) - len(refused))


def choose(location: Location, candidates: Sequence[Scene], config: BuildConfig) -> LocationPlan:
    """Rank the scenes of every season.

    Parameters
    ----------
    candidates
        All scenes of this location, in any order.

    Returns
    -------
    Up to `pairing.max_candidates` choices a season. Where a season has none, the plan's refusal names it and
    counts what was wrong with its scenes.
    """
    ranked: list[list[Acquisition]] = []
    considered: list[str] = []
    for position, season in enumerate(config.seasons):
        scenes = [scene for scene in candidates if scene.season == position]
        good, refused = _usable(scenes, season, location, config)
        ranked.append(good[: config.pairing.max_candidates])
        considered.append(_words(len(good), refused))
    geometry = _geometry([season[0] for season in ranked]) if all(ranked) else Geometry()
    empty = [
        f"{season.name}: {words}"
        for season, good, words in zip(config.seasons, ranked, considered, strict=True)
        if not good
    ]
    return LocationPlan(
        location=location,
        seasons=tuple(
            tuple(
                _choice(one, rank=rank, position=position, season=season, geometry=geometry)
                for rank, one in enumerate(ranked[position])
            )
            for position, season in enumerate(config.seasons)
        ),
        refusal=f"no usable scene in {'; '.join(empty)}" if empty else "",
        considered=tuple(considered),
    )


def _usable(
    scenes: Sequence[Scene], season: Season, location: Location, config: BuildConfig
) -> tuple[list[Acquisition], Counter[str]]:
    """Acquisitions that may be read, best first, and what was wrong with the others, by kind."""
    twins = {
        product: {s.index for s in scenes if s.product == product} for product in (S2_L2A, DYNAMIC_WORLD)
    }
    passes = [scene for scene in scenes if scene.product == S1_GRD]
    refused: Counter[str] = Counter()
    good: list[Acquisition] = []
    for scene in sorted((s for s in scenes if s.product == S2_L1C), key=lambda s: s.index):
        fault = _fault(scene, location, twins, config)
        near = _near(passes, scene, config)
        if not fault and config.products.s1_grd and not near:
            fault = f"no Sentinel-1 within {config.pairing.max_s1_days:g} days"
        if fault:
            refused[fault] += 1
            continue
        good.append(
            Acquisition(
                scene=scene,
                off_zone=scene.crs_epsg != location.grid.crs_epsg,
                from_date_days=abs(scene.time_ms - _noon_ms(season.date)) / DAY_MS,
                passes=tuple(near),
            )
        )
    good.sort(key=lambda one: one.order)
    kept = _without_repeats(good)
    if repeats := len(good) - len(kept):
        refused["the same acquisition again"] += repeats
    return kept, refused


def _fault(scene: Scene, location: Location, twins: dict[str, set[str]], config: BuildConfig) -> str:
    """Why a Sentinel-2 scene can't be used, in words that are counted; empty if it can."""
    limit = config.clouds.max_scene_percent
    if scene.cloud_percent is None:
        return "without a cloud percentage"
    if scene.cloud_percent >= limit:
        return f"cloud >= {limit:g} %"
    # Footprints are simplified polygons: a scene that covers may still lack pixels, which the pixels tell.
    if not scene.covers and config.clouds.min_coverage >= 1:
        return "swath or tile edge"
    if scene.index not in twins[DYNAMIC_WORLD]:
        return "no Dynamic World twin"
    if config.products.needs_l2a and scene.index not in twins[S2_L2A]:
        return "no L2A twin"
    if config.pairing.off_zone == "reject" and scene.crs_epsg != location.grid.crs_epsg:
        return "another UTM zone"
    return ""


def _near(passes: Sequence[Scene], scene: Scene, config: BuildConfig) -> list[Scene]:
    """Sentinel-1 passes that may be paired with a scene: covering ones first, then nearest in time."""
    limit_ms = config.pairing.max_s1_days * DAY_MS
    near = [
        one
        for one in passes
        if abs(one.time_ms - scene.time_ms) <= limit_ms and (one.covers or config.clouds.min_coverage < 1)
    ]
    return sorted(near, key=lambda one: (not one.covers, abs(one.time_ms - scene.time_ms), one.index))


def _without_repeats(good: Sequence[Acquisition]) -> list[Acquisition]:
    """One a tile and sensing time: a datatake may be split into two scenes of the same tile."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for one in good:
        key = one.scene.index.split("_", 1)[0], one.scene.tile or one.scene.index
        if key not in seen:
            seen.add(key)
            kept.append(one)
    return kept


def _geometry(firsts: Sequence[Acquisition]) -> Geometry:
    """The direction whose longest time to Sentinel-2 is shortest, then its orbit likewise, if they serve all seasons."""
    if not all(one.passes for one in firsts):
        return Geometry()
    directions = {scene.orbit_pass for one in firsts for scene in one.passes} - {""}
    direction = _best(firsts, [Geometry(name) for name in sorted(directions)])
    orbits = {
        scene.relative_orbit
        for one in firsts
        for scene in one.passes
        if scene.orbit_pass == direction.orbit_pass and scene.relative_orbit
    }
    orbit = _best(firsts, [Geometry(direction.orbit_pass, number) for number in sorted(orbits)])
    return orbit if orbit.orbit_pass else direction


def _best(firsts: Sequence[Acquisition], options: Sequence[Geometry]) -> Geometry:
    worst: list[tuple[int, Geometry]] = []
    for option in options:
        times = [
            min(
                (abs(scene.time_ms - one.scene.time_ms) for scene in one.passes if option.fits(scene)),
                default=None,
            )
            for one in firsts
        ]
        if None not in times:
            worst.append((max(time for time in times if time is not None), option))
    return min(worst, key=lambda item: item[0])[1] if worst else Geometry()


def _choice(
    one: Acquisition, *, rank: int, position: int, season: Season, geometry: Geometry
) -> SeasonChoice:
    scene = one.scene
    fitting = [candidate for candidate in one.passes if geometry.orbit_pass and geometry.fits(candidate)]
    radar = next(iter(fitting or one.passes), None)
    return SeasonChoice(
        location_id=scene.location_id,
        season=position,
        rank=rank,
        s2_index=scene.index,
        s1_index=radar.index if radar else "",
        time_s2_ms=scene.time_ms,
        time_s1_ms=radar.time_ms if radar else 0,
        cloud_percent=scene.cloud_percent if scene.cloud_percent is not None else -1.0,
        crs_epsg=scene.crs_epsg,
        tile=scene.tile,
        baseline=scene.baseline,
        offset_removed=scene.offset_removed,
        orbit_pass=radar.orbit_pass if radar else "",
        relative_orbit=radar.relative_orbit if radar else 0,
        off_zone=one.off_zone,
        reason=_reason(one, season, radar, geometry, in_all_seasons=bool(fitting)),
    )


def _reason(
    one: Acquisition, season: Season, radar: Scene | None, geometry: Geometry, *, in_all_seasons: bool
) -> str:
    parts = [
        "covers the patch" if one.scene.covers else "reaches into the patch",
        f"cloud {one.scene.cloud_percent:.1f} %",
        f"{one.from_date_days:.1f} days from {season.date}",
    ]
    if one.off_zone:
        parts.append("of another UTM zone")
    if radar is not None:
        days = abs(radar.time_ms - one.scene.time_ms) / DAY_MS
        parts.append(f"Sentinel-1 {days:.1f} days away, {radar.orbit_pass or 'direction unknown'}")
        if in_all_seasons:
            parts[-1] += f" orbit {geometry.relative_orbit}" if geometry.relative_orbit else ""
            parts[-1] += " in all seasons"
        else:
            parts[-1] += " (no one direction serves all seasons)"
    return ", ".join(parts)


def _words(num_usable: int, refused: Counter[str]) -> str:
    total = num_usable + refused.total()
    if not total:
        return "no scene in the window"
    faults = ", ".join(f"{number} {fault}" for fault, number in sorted(refused.items()))
    return f"{total} scenes" + (f": {faults}" if faults else "")


def _noon_ms(date: dt.date) -> int:
    return int(dt.datetime(date.year, date.month, date.day, 12, tzinfo=dt.UTC).timestamp() * 1000)
