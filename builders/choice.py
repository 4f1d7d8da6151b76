"""Which scenes of a location are read, and why: a pure function of the candidates.

L1C, L2A and Dynamic World of one acquisition share their `system:index` and are joined by it, never by date.
A scene of the location's own zone comes before others, coverage before cloud, cloud before closeness to the season's
date; ties fall to the name, so that the order of the candidates decides nothing.

Whether a scene covers is told by its footprint, which providers simplify: a scene that should cover may lack pixels
(they are counted when they are there), and one that just covers may be refused as 'swath edge'.
"""

import datetime as dt
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builders.build import cut_of
from builders.config import BuildConfig
from builders.config_sections import Season
from builders.layout import Layout
from builders.metadata import DAY_MS, leading_product, reference_date, s2_window, searched_cloud_percent
from builders.records import (
    DYNAMIC_WORLD,
    S1_GRD,
    S2_L2A,
    Location,
    LocationPlan,
    Scene,
    SeasonChoice,
)
from builders.s1_pairing import Geometry, Match, common_geometry, matches, paired
from builders.scene_names import of_index
from builders.scene_tables import read_candidates, write_plans
from noldo.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Acquisition:
    """A Sentinel-2 scene that may be read, with the Sentinel-1 passes that may go with it."""

    scene: Scene
    cloud_percent: float
    off_zone: bool
    from_date_days: float
    """Time to noon of the reference date, in days, without sign."""
    s1: tuple[Match, ...]
    """Best first; empty if the build stores no Sentinel-1."""
    has_l2a: bool = True
    has_dynamic_world: bool = True
    is_labelled: bool = False
    """The location's own labels were drawn on it."""
    nearest_first: bool = False
    """The location has labels of its own: their date matters more than clouds."""

    @property
    def datatake(self) -> str:
        """What its neighbouring tiles share with it; its name if that does not tell."""
        found = of_index(self.scene.index)
        return found.datatake if found else self.scene.index

    @property
    def datatake_and_tile(self) -> tuple[str, str]:
        """What the parts of a split datatake share."""
        found = of_index(self.scene.index)
        return self.datatake, found.tile if found else ""

    @property
    def labelled_and_whole(self) -> tuple[bool, bool, bool]:
        """What counts first; smaller is better."""
        return not self.is_labelled, self.off_zone, not self.scene.covers

    @property
    def order(self) -> tuple[bool | float | str, ...]:
        """Smaller is better; ends with the name, so that no two are equal."""
        near_and_clear = self.from_date_days, self.cloud_percent
        preference = near_and_clear if self.nearest_first else near_and_clear[::-1]
        return *self.labelled_and_whole, *preference, self.scene.index


def run_choose(config: BuildConfig, layout: Layout, *, search: int, out: Path) -> None:
    """Choose the scenes of all locations of one search job.

    Raises
    ------
    InputError
        If the location or candidate table can't be used, or they do not belong together.
    StoreError
        If the table can't be written.
    """
    from builders.location_table import read_locations

    rows = cut_of(config).rows_of_search(search)
    locations = read_locations(layout.locations, rows.start, rows.stop)
    by_location: dict[int, list[Scene]] = {location.id: [] for location in locations}
    found = read_candidates(layout.candidates(search))
    named = [*(scene.location_id for scene in found.scenes), *found.refusals]
    if strange := [number for number in named if number not in by_location]:
        raise InputError(
            f"{layout.candidates(search)}: scenes of location {strange[0]}, which is none of this "
            "search job; delete it and run the build again: the search is repeated"
        )
    for scene in found.scenes:
        by_location[scene.location_id].append(scene)
    plans = [
        unsearched_plan(location, config=config)
        if location.refusal
        else refused_plan(location, config=config, words=found.refusals[location.id])
        if location.id in found.refusals
        else choose(location, by_location[location.id], config)
        for location in locations
    ]
    write_plans(out, plans)
    refused = [plan for plan in plans if plan.refusal]
    for plan in refused:
        logger.info("location %d: %s", plan.location.id, plan.refusal)
    logger.info("%d locations: %d with scenes in every season", len(plans), len(plans) - len(refused))


def unsearched_plan(location: Location, *, config: BuildConfig) -> LocationPlan:
    """Plan of a location that can't be built whatever the provider has."""
    return LocationPlan(location=location, seasons=((),) * len(config.seasons), refusal=location.refusal)


def refused_plan(location: Location, *, config: BuildConfig, words: str) -> LocationPlan:
    """Plan of a location whose search the provider refused: nothing is known of its scenes."""
    return LocationPlan(
        location=location,
        seasons=((),) * len(config.seasons),
        refusal=f"the provider refused the search for scenes: {words}",
        refused=True,
    )


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
        good, refused = _usable(scenes, season, location=location, config=config)
        ranked.append(good[: config.pairing.max_candidates])
        considered.append(_counted(len(good), refused) or _none_listed(config))
    # With one season of its own, a tile has no other to agree with: the nearest pass is paired.
    seasons = [season[0].s1 for season in ranked if season] if location.date is None else []
    geometry = common_geometry(seasons)
    empty = [
        f"{season.name} ({words})"
        for season, good, words in zip(config.seasons, ranked, considered, strict=True)
        if not good
    ]
    return LocationPlan(
        location=location,
        seasons=tuple(
            tuple(
                _choice(
                    one,
                    rank=rank,
                    position=position,
                    date=reference_date(season, location),
                    geometry=geometry,
                )
                for rank, one in enumerate(ranked[position])
            )
            for position, season in enumerate(config.seasons)
        ),
        refusal=f"no usable scene in {', '.join(empty)}" if empty else "",
        considered=tuple(considered),
    )


def _usable(
    scenes: Sequence[Scene], season: Season, *, location: Location, config: BuildConfig
) -> tuple[list[Acquisition], Counter[str]]:
    """Acquisitions that may be read, best first, and what was wrong with the others, by kind."""
    lead = leading_product(config)
    names = {
        product: {scene.index for scene in scenes if scene.product == product}
        for product in (S2_L2A, DYNAMIC_WORLD)
    }
    passes = [scene for scene in scenes if scene.product == S1_GRD]
    refused: Counter[str] = Counter()
    good: list[Acquisition] = []
    leading = sorted((scene for scene in scenes if scene.product == lead), key=lambda one: one.covers)
    noon_ms = s2_window(season, reference_date(season, location)).reference_ms
    for scene in {scene.index: scene for scene in leading}.values():  # named twice: counted once
        one = Acquisition(
            scene=scene,
            cloud_percent=100.0 if scene.cloud_percent is None else scene.cloud_percent,
            off_zone=not same_zone(scene.crs_epsg, location.grid.crs_epsg),
            from_date_days=abs(scene.time_ms - noon_ms) / DAY_MS,
            s1=matches(passes, scene, config=config) if config.products.s1_grd else (),
            has_l2a=scene.index in names[S2_L2A],
            has_dynamic_world=scene.index in names[DYNAMIC_WORLD],
            is_labelled=is_labelled_scene(scene.index, location.labelled_scene),
            nearest_first=location.date is not None,
        )
        if fault := _fault(one, config=config):
            refused[fault] += 1
        else:
            good.append(one)
    ranked = _ranked(good)
    if repeats := len(good) - len(ranked):
        refused["second part of a split datatake"] = repeats
    return ranked, refused


def is_labelled_scene(index: str, labelled: str) -> bool:
    """Whether a scene is the one that was labelled: of the same datatake and tile.

    Parameters
    ----------
    labelled
        `DATATAKE_TILE`, as `builders.records.Location.labelled_scene`.
    """
    found = of_index(index)
    return found is not None and labelled == found.text


def same_zone(first_epsg: int, second_epsg: int) -> bool:
    """Whether pixels of one are copies on the grid of the other.

    North and south of the equator a UTM zone is the same projection. Their northings differ by 10,000 km, and so do
    their Sentinel-2 lattices (`noldo.grids.SOUTHERN_OFFSET_M`): nothing is resampled there.
    """
    return {first_epsg // 100, second_epsg // 100} <= {326, 327} and first_epsg % 100 == second_epsg % 100


def _fault(one: Acquisition, *, config: BuildConfig) -> str:
    """Why a Sentinel-2 scene can't be used, in words that are counted; empty if it can."""
    limit = config.clouds.max_scene_percent
    if not one.scene.covers and config.clouds.min_coverage >= 1:
        return "swath edge"
    if one.off_zone and config.pairing.off_zone == "reject":
        return "other UTM zone"
    if one.scene.cloud_percent is None and not one.is_labelled:
        return "no cloud percentage"
    if one.cloud_percent >= limit and not one.is_labelled:
        return f"cloud >= {limit:g} %"
    if config.products.needs_l2a and not (one.has_l2a or config.twins_are_optional):
        return "no L2A twin"
    if not (one.has_dynamic_world or config.twins_are_optional):
        return "no Dynamic World twin"
    if config.products.s1_grd and not one.s1:
        return f"no Sentinel-1 within {config.pairing.max_s1_days:g} days"
    return ""


def _ranked(good: Sequence[Acquisition]) -> list[Acquisition]:
    """Best first, without the worse parts of split datatakes.

    Another tile of a datatake shows the same ground under the same clouds, so it comes after every scene of
    another day that is as good in zone and coverage: the next candidate should be a new chance.
    """
    parts: dict[tuple[str, str], Acquisition] = {}
    firsts: dict[str, Acquisition] = {}
    for one in sorted(good, key=lambda one: one.order):
        parts.setdefault(one.datatake_and_tile, one)
        firsts.setdefault(one.datatake, one)
    return sorted(
        parts.values(),
        key=lambda one: (
            *one.labelled_and_whole,
            firsts[one.datatake] is not one,
            *one.order[len(one.labelled_and_whole) :],
        ),
    )


def _choice(one: Acquisition, *, rank: int, position: int, date: dt.date, geometry: Geometry) -> SeasonChoice:
    scene = one.scene
    pair = paired(one.s1, geometry)
    radar = pair.scene if pair else None
    return SeasonChoice(
        location_id=scene.location_id,
        season=position,
        rank=rank,
        s2_index=scene.index,
        s1_index=radar.index if radar else "",
        time_s2_ms=scene.time_ms,
        time_s1_ms=radar.time_ms if radar else 0,
        cloud_percent=one.cloud_percent,
        crs_epsg=scene.crs_epsg,
        tile=scene.tile,
        baseline=scene.baseline,
        offset_removed=scene.offset_removed,
        orbit_pass=radar.orbit_pass if radar else "",
        relative_orbit=radar.relative_orbit if radar else 0,
        off_zone=one.off_zone,
        has_l2a=one.has_l2a,
        has_dynamic_world=one.has_dynamic_world,
        is_labelled_scene=one.is_labelled,
        reason=_reason(one, date=date, pair=pair, geometry=geometry),
    )


def _reason(one: Acquisition, *, date: dt.date, pair: Match | None, geometry: Geometry) -> str:
    parts = [
        *(["the labelled scene"] if one.is_labelled else []),
        "covers" if one.scene.covers else "covers in part",
        f"cloud {one.cloud_percent:.1f} %",
        f"{one.from_date_days:.1f} days from {date}",
    ]
    if one.off_zone:
        parts.append(f"zone EPSG:{one.scene.crs_epsg}")
    if pair is not None:
        parts += [
            f"S1 {pair.apart_ms / DAY_MS:.1f} days",
            _geometry_words(pair.scene, geometry, one_season=one.nearest_first),
        ]
    return ", ".join(parts)


def _geometry_words(radar: Scene, geometry: Geometry, *, one_season: bool) -> str:
    direction = radar.orbit_pass or "unknown direction"
    if one_season:
        return direction
    if not geometry.orbit_pass:
        return f"{direction} (no direction serves all seasons)"
    if radar.orbit_pass != geometry.orbit_pass:
        return f"{direction} (other seasons: {geometry.orbit_pass})"
    if geometry.relative_orbit and geometry.fits(radar):
        return f"{direction} orbit {geometry.relative_orbit} in all seasons"
    return f"{direction} in all seasons"


def _counted(num_usable: int, refused: Counter[str]) -> str:
    """E.g. `14 scenes: 2 usable, 9 cloud >= 20 %, 3 swath edge`; empty if there was none."""
    total = num_usable + refused.total()
    faults = sorted(refused.items(), key=lambda item: (-item[1], item[0]))
    counts = [f"{num_usable} usable"] * bool(num_usable)
    counts += [f"{number} {fault}" for fault, number in faults]
    return f"{total} scene{'s' * (total > 1)}: {', '.join(counts)}" if total else ""


def _none_listed(config: BuildConfig) -> str:
    limit = searched_cloud_percent(config)
    # The search may leave out what is too cloudy: then there may well have been scenes.
    return "no scene in the window" if limit >= 100 else f"no scene up to {limit:g} % cloud in the window"
