"""A small build whose pixels come from a random generator: everything up to packing, without any request."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builders.build import cut_of
from builders.config import BuildConfig
from builders.index import run_index
from builders.layout import Layout
from builders.location_table import write_locations
from builders.outcome_table import write_outcomes
from builders.pack import run_create_store, run_pack
from builders.records import Location, LocationOutcome, SeasonChoice, SeasonOutcome
from builders.spool import stage, staged_path
from builders.statistics import run_statistics
from builders.sweep import run_sweep
from noldo.grids import Grid, snapped_grid
from noldo.products import ArraySpec, array_specs
from noldo.status import Status

REASONS = {
    Status.KEPT: "",
    Status.NO_SCENE: "no usable scene in winter (3 scenes: 3 cloud >= 20 %)",
    Status.NO_COVERAGE: "winter: 20201221T101031_T32TPT: Sentinel-2 observed 71.2 % of the patch, 100 % wanted",
    Status.NO_LABELS: "summer: 20210621T101031_T32TPT: 12.0 % of the patch labelled, 50.0 % wanted",
    Status.REFUSED: "HTTP 400: Image.select: <no such band> & more",
}

MIXED = (
    Status.KEPT,
    Status.NO_SCENE,
    Status.KEPT,
    Status.NO_COVERAGE,
    Status.KEPT,
    Status.NO_LABELS,
    Status.REFUSED,
    Status.KEPT,
    Status.NO_SCENE,
    Status.NO_SCENE,
)
"""What becomes of ten locations; shards of three: one of them holds nothing."""


@dataclass(frozen=True)
class MadeUpBuild:
    """A build that is fetched but not packed."""

    config: BuildConfig
    layout: Layout
    locations: tuple[Location, ...]
    outcomes: tuple[LocationOutcome, ...]
    arrays: tuple[Mapping[str, np.ndarray], ...]
    """Staged pixels of each location; empty unless it was kept."""


def made_up_config(num_locations: int = 10, **changes: object) -> BuildConfig:
    """Two seasons, patches of 12 px, shards of 3 and jobs of 6 locations."""
    tree: dict[str, object] = {
        "name": "made_up",
        "source": {"url": "sandbox", "credentials": "anonymous"},
        "locations": {"count": num_locations},
        "patch_size_px": 12,
        "seasons": [{"name": "winter", "date": "2020-12-21"}, {"name": "summer", "date": "2021-06-21"}],
        "jobs": {"locations_per_shard": 3, "locations_per_job": 6, "locations_per_search": 12},
    }
    return BuildConfig.model_validate(tree | changes)


def make_up(
    root: Path, *, config: BuildConfig | None = None, statuses: Sequence[Status] = MIXED, seed: int = 0
) -> MadeUpBuild:
    """Write locations, outcomes and staged pixels of a build below `root`."""
    config = config or made_up_config(len(statuses))
    layout = Layout(config.name, root)
    generator = np.random.default_rng(seed)
    locations = [_location(number, config) for number in range(len(statuses))]
    made = [
        _fetched(location, status, config, generator)
        for location, status in zip(locations, statuses, strict=True)
    ]
    write_locations(locations, layout.locations)
    cut = cut_of(config)
    for job in cut.jobs:
        rows = cut.rows_of_job(job)
        write_outcomes(layout.outcomes(job), [made[row][0] for row in rows])
        layout.spool(job).mkdir(parents=True)
        for row in rows:
            outcome, arrays = made[row]
            stage(staged_path(layout, job, outcome.location_id), key="k", outcome=outcome, arrays=arrays)
    outcomes, arrays_of_all = zip(*made, strict=True)
    return MadeUpBuild(config, layout, tuple(locations), outcomes, arrays_of_all)


def finish(build: MadeUpBuild, *, threads: int = 2) -> None:
    """All steps from packing to the index."""
    pack_all(build)
    for job in cut_of(build.config).jobs:
        run_sweep(build.config, build.layout, job=job)
    run_statistics(build.config, build.layout, threads=threads)
    run_index(build.config, build.layout)


def pack_all(build: MadeUpBuild) -> None:
    """Create the store and write every shard."""
    run_create_store(build.config, build.layout)
    for shard in cut_of(build.config).shards:
        run_pack(build.config, build.layout, shard=shard)


def specs_of(build: MadeUpBuild) -> tuple[ArraySpec, ...]:
    """Arrays of the build."""
    return array_specs(build.config.products.selected())


def expected_array(build: MadeUpBuild, spec: ArraySpec) -> np.ndarray:
    """What the whole array must hold: staged pixels in kept rows, no data elsewhere."""
    shape = spec.item_shape(len(build.config.seasons), build.config.patch_size_px)
    rows = [arrays.get(spec.name, np.full(shape, spec.no_data, spec.dtype)) for arrays in build.arrays]
    return np.stack(rows)


def _location(number: int, config: BuildConfig) -> Location:
    grid: Grid = snapped_grid(
        600_000.0 + 9_000 * number, 5_300_000.0, crs_epsg=32632, size_px=config.patch_size_px
    )
    return Location(
        id=100 + 7 * number,
        lon=10.3 + 0.12 * number,
        lat=47.8,
        grid=grid,
        place=f"Ort & Stelle {number}",
        split=("train", "train", "val")[number % 3],
    )


def _fetched(
    location: Location, status: Status, config: BuildConfig, generator: np.random.Generator
) -> tuple[LocationOutcome, Mapping[str, np.ndarray]]:
    specs = array_specs(config.products.selected())
    arrays = {spec.name: _pixels(spec, config, generator) for spec in specs}
    if status in (Status.NO_SCENE, Status.REFUSED):
        return LocationOutcome(location.id, status, REASONS[status]), {}
    labels = arrays["dynamic_world_10m"]
    seasons = [_season(location, number, labels[number], config) for number in range(len(config.seasons))]
    # Before a refusal for coverage, only the second season was read.
    read = tuple(seasons[1:] if status == Status.NO_COVERAGE else seasons)
    outcome = LocationOutcome(location.id, status, REASONS[status], read)
    return outcome, arrays if status == Status.KEPT else {}


def _pixels(spec: ArraySpec, config: BuildConfig, generator: np.random.Generator) -> np.ndarray:
    shape = spec.item_shape(len(config.seasons), config.patch_size_px)
    low, high = {
        "uint16": (0, 12_000),
        "int16": (-3_500, 900),
        "uint8": (0, 9 if spec.is_label else 255),
    }[spec.dtype]
    values = generator.integers(low, high, shape).astype(spec.dtype)
    values[generator.random(shape) < 0.05] = spec.no_data
    return values


def _season(location: Location, number: int, labels: np.ndarray, config: BuildConfig) -> SeasonOutcome:
    date = config.seasons[number].date
    noon = dt.datetime(date.year, date.month, date.day, 10, 10, 31, tzinfo=dt.UTC)
    time_ms = int(noon.timestamp() * 1000) + 86_400_000 * (location.id % 11 - 5)
    choice = SeasonChoice(
        location_id=location.id,
        season=number,
        rank=location.id % 2,
        s2_index=f"{date:%Y%m%d}T101031_{location.id}_T32TPT",
        s1_index=f"S1A_IW_{date:%Y%m%d}_{location.id}",
        time_s2_ms=time_ms,
        time_s1_ms=time_ms + 3_600_000 * (location.id % 90),
        cloud_percent=float(location.id % 19),
        crs_epsg=32632,
        tile="32TPT",
        baseline="02.09",
        offset_removed=False,
        orbit_pass="DESCENDING",
        relative_orbit=66,
        off_zone=False,
        reason="covers the patch",
    )
    counts = np.bincount(labels.ravel(), minlength=256)[:9]
    return SeasonOutcome(
        choice=choice,
        coverage_s2=1.0,
        coverage_s1=1.0,
        label_share=float(counts.sum() / labels.size),
        class_counts=tuple(counts.tolist()),
        off_lattice=False,
    )
