"""A build that was fetched and nothing more: plans, outcomes and staged pixels that compress as real ones do."""

import datetime as dt
from collections.abc import Mapping

import numpy as np

from benchmarks.made_up_store import item
from builders.build import cut_of
from builders.config import BuildConfig
from builders.layout import Layout
from builders.location_table import write_locations
from builders.outcome_table import write_outcomes
from builders.pack import store_layout
from builders.records import Location, LocationOutcome, LocationPlan, SeasonChoice, SeasonOutcome
from builders.spool import location_key, stage, staged_path
from noldo.grids import snapped_grid
from noldo.status import Status

DATES = {"winter": "2020-12-21", "spring": "2021-03-20", "summer": "2021-06-21", "autumn": "2021-09-22"}
ZONE = 32_632
NUM_DIFFERENT = 8
"""Locations whose pixels are drawn; others repeat them, which no chunk can know."""


def made_up_config(num_locations: int, *, size_px: int = 264, **source: object) -> BuildConfig:
    """A build of four seasons and the default products, in shards of 64 locations."""
    return BuildConfig.model_validate(
        {
            "name": "made_up",
            "source": {"url": "sandbox", "credentials": "anonymous", **source},
            "locations": {"count": num_locations},
            "patch_size_px": size_px,
            "seasons": [{"name": name, "date": date} for name, date in DATES.items()],
        }
    )


def plans(config: BuildConfig) -> list[LocationPlan]:
    """One choice a season, of the location's own zone: pixels are asked for once."""
    seasons = range(len(config.seasons))
    locations = [_location(number, config) for number in range(config.locations.count)]
    return [
        LocationPlan(location, tuple((_choice(location, season, config),) for season in seasons), refusal="")
        for location in locations
    ]


def write(config: BuildConfig, layout: Layout, *, seed: int = 0) -> None:
    """Everything that packing needs; all locations are kept, and have all pixels."""
    planned = plans(config)
    write_locations([plan.location for plan in planned], layout.locations)
    store = store_layout(config)
    random = np.random.default_rng(seed)
    drawn = [
        {spec.name: item(spec, store, random) for spec in store.specs}
        for _ in range(min(NUM_DIFFERENT, len(planned)))
    ]
    cut = cut_of(config)
    for job in cut.jobs:
        layout.spool(job).mkdir(parents=True)
        outcomes = [
            _stage(planned[row], drawn[row % len(drawn)], config, layout, job=job)
            for row in cut.rows_of_job(job)
        ]
        write_outcomes(layout.outcomes(job), outcomes)


def _stage(
    plan: LocationPlan, arrays: Mapping[str, np.ndarray], config: BuildConfig, layout: Layout, *, job: int
) -> LocationOutcome:
    labels = arrays["dynamic_world_10m"]
    seasons = [_season(*ranked, labels[number]) for number, ranked in enumerate(plan.seasons)]
    outcome = LocationOutcome(plan.location.id, Status.KEPT, "", tuple(seasons))
    path = staged_path(layout, job, plan.location.id)
    stage(path, key=location_key(config, plan), outcome=outcome, arrays=arrays)
    return outcome


def _location(number: int, config: BuildConfig) -> Location:
    x, y = 600_000.0 + 3_000 * (number % 64), 5_300_000.0 + 3_000 * (number // 64)
    grid = snapped_grid(x, y, crs_epsg=ZONE, size_px=config.patch_size_px)
    return Location(number, lon=10.3 + number / 1000, lat=47.8, grid=grid, place="", split="train")


def _choice(location: Location, season: int, config: BuildConfig) -> SeasonChoice:
    date = config.seasons[season].date
    assert date is not None
    noon_ms = int(dt.datetime(date.year, date.month, date.day, 10, tzinfo=dt.UTC).timestamp() * 1000)
    return SeasonChoice(
        location_id=location.id,
        season=season,
        rank=0,
        s2_index=f"{date:%Y%m%d}T101031_{date:%Y%m%d}T101029_T32TPT",
        s1_index=f"S1A_IW_GRDH_1SDV_{date:%Y%m%d}T052000",
        time_s2_ms=noon_ms,
        time_s1_ms=noon_ms - 16_800_000,
        cloud_percent=3.0,
        crs_epsg=location.grid.crs_epsg,
        tile="32TPT",
        baseline="03.00",
        offset_removed=False,
        orbit_pass="DESCENDING",
        relative_orbit=66,
        off_zone=False,
        reason="covers the patch",
    )


def _season(choice: SeasonChoice, labels: np.ndarray) -> SeasonOutcome:
    counts = np.bincount(labels.ravel(), minlength=9)
    return SeasonOutcome(
        choice,
        coverage_s2=1.0,
        coverage_s1=1.0,
        label_share=1.0,
        class_counts=tuple(counts.tolist()),
        off_lattice=False,
    )
