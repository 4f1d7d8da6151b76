"""The last step before the report: index, small arrays, manifest and the record of the run.

Rows are written a job at a time, so that a quarter of a million locations need no more memory than a few.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from builders.build import cut_of
from builders.config import BuildConfig
from builders.cut import Cut
from builders.layout import SUBSET, Layout
from builders.licences import source_records
from builders.location_table import read_locations
from builders.outcome_table import read_outcomes
from builders.outlines import outlines
from builders.pack import store_attributes, store_layout
from builders.records import (
    COLLECTIONS,
    DYNAMIC_WORLD,
    S1_GRD,
    S2_L1C,
    S2_L2A,
    Location,
    LocationOutcome,
    SeasonOutcome,
)
from builders.run_record import write_run_record
from noldo.atomic import atomic_file
from noldo.errors import InputError
from noldo.index import index_schema
from noldo.legend import DYNAMIC_WORLD as DYNAMIC_WORLD_LEGEND
from noldo.manifest import (
    ArrayRecord,
    BandStatistics,
    LegendRecord,
    Manifest,
    SeasonRecord,
    write_manifest,
)
from noldo.products import FORMAT_VERSION
from noldo.rows import NO_TIME, ROW_ARRAYS, SPLITS
from noldo.status import Status
from noldo.store import create_store, write_rows

logger = logging.getLogger(__name__)


def run_index(config: BuildConfig, layout: Layout) -> None:
    """Write everything that describes the shards.

    The manifest comes last: a folder that has one is complete.

    Raises
    ------
    InputError
        If tables of the build are missing or disagree.
    StoreError
        If a file can't be written.
    """
    tally = _Tally(config)
    _write_parquet(config, layout, tally)
    write_rows(layout.store, tally.rows())
    write_run_record(config, layout)
    manifest = describe(config, layout, tally)
    # Statistics travel with the store too, for readers that never see the manifest.
    statistics = {name: [band.model_dump() for band in bands] for name, bands in manifest.statistics.items()}
    create_store(
        layout.store,
        store_layout(config),
        attributes=store_attributes(config) | {"statistics": statistics},
    )
    write_manifest(layout.manifest, manifest)
    logger.info("%d of %d locations kept", manifest.locations_kept, manifest.locations_tried)


class _Tally:
    """The small arrays and the counts, gathered while rows go by."""

    def __init__(self, config: BuildConfig) -> None:
        shape = {"num_locations": config.locations.count, "num_seasons": len(config.seasons)}
        self._rows = {row.name: np.full(row.shape(**shape), row.fill, row.dtype) for row in ROW_ARRAYS}
        self._patch_size_px = config.patch_size_px
        self.status: Counter[str] = Counter()
        self.splits: Counter[str] = Counter()

    def add(self, row: int, location: Location, outcome: LocationOutcome) -> None:
        values: dict[str, Any] = {
            "id": location.id,
            "status": outcome.status,
            "split": SPLITS.index(location.split),
            "crs_epsg": location.grid.crs_epsg,
            "x_ul": location.grid.x_ul,
            "y_ul": location.grid.y_ul,
            "window": (0, self._patch_size_px, 0, self._patch_size_px),
        }
        kept = outcome.status == Status.KEPT
        if kept:
            values["time_s2"] = [one.choice.time_s2_ms // 1000 for one in outcome.seasons]
            values["time_s1"] = [one.choice.time_s1_ms // 1000 or NO_TIME for one in outcome.seasons]
            self.splits[location.split] += 1
        for name, value in values.items():
            self._rows[name][row] = value
        self.status[outcome.status.name.lower()] += 1

    def rows(self) -> dict[str, np.ndarray]:
        return self._rows


def _write_parquet(config: BuildConfig, layout: Layout, tally: _Tally) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = index_schema()
    with (
        atomic_file(layout.index) as file,
        pq.ParquetWriter(file, schema, compression="zstd", version="2.6", write_page_checksum=True) as writer,
    ):
        for first, locations, outcomes in _jobs(config, layout):
            rows = list(_index_rows(config, first, locations, outcomes))
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            for offset, (location, outcome) in enumerate(zip(locations, outcomes, strict=True)):
                tally.add(first + offset, location, outcome)


def _jobs(config: BuildConfig, layout: Layout) -> Iterator[tuple[int, list[Location], list[LocationOutcome]]]:
    """First row, locations and outcomes of each job."""
    cut: Cut = cut_of(config)
    for job in cut.jobs:
        rows = cut.rows_of_job(job)
        locations = read_locations(layout.locations, rows.start, rows.stop)
        outcomes = read_outcomes(layout.outcomes(job))
        if [location.id for location in locations] != [outcome.location_id for outcome in outcomes]:
            raise InputError(
                f"{layout.outcomes(job)}: is not about the locations of job {job}; delete it and run the build again"
            )
        yield rows.start, locations, outcomes


def _index_rows(
    config: BuildConfig, first: int, locations: Sequence[Location], outcomes: Sequence[LocationOutcome]
) -> Iterator[dict[str, Any]]:
    import shapely

    shapes = shapely.to_wkb(outlines([location.grid for location in locations]))
    for row, (location, outcome, shape) in enumerate(
        zip(locations, outcomes, shapes, strict=True), start=first
    ):
        yield {
            "id": location.id,
            "status": outcome.status.name.lower(),
            "reason": outcome.reason,
            "split": location.split,
            "place": location.place,
            "lon": location.lon,
            "lat": location.lat,
            "crs_epsg": location.grid.crs_epsg,
            "x_ul": location.grid.x_ul,
            "y_ul": location.grid.y_ul,
            "transform": [float(value) for value in location.grid.transform()],
            "shard": row // config.jobs.locations_per_shard,
            "row": row,
            "geometry": shape,
            **_season_columns(outcome.seasons),
        }


def _season_columns(seasons: Sequence[SeasonOutcome]) -> dict[str, list[Any]]:
    """One list a column, in the order of the seasons that were read."""
    choices = [one.choice for one in seasons]

    def asset(product: str, indices: Sequence[str]) -> list[str | None]:
        return [f"{COLLECTIONS[product]}/{index}" if index else None for index in indices]

    s2, s1 = [choice.s2_index for choice in choices], [choice.s1_index for choice in choices]
    return {
        "time_s2": [choice.time_s2_ms for choice in choices],
        "time_s1": [choice.time_s1_ms if choice.s1_index else None for choice in choices],
        "scene_s2_l1c": asset(S2_L1C, s2),
        "scene_s2_l2a": asset(S2_L2A, s2),
        "scene_dynamic_world": asset(DYNAMIC_WORLD, s2),
        "scene_s1_grd": asset(S1_GRD, s1),
        "cloud_percent": [choice.cloud_percent for choice in choices],
        "coverage_s2": [one.coverage_s2 for one in seasons],
        "coverage_s1": [one.coverage_s1 for one in seasons],
        "label_share": [one.label_share for one in seasons],
        "class_counts": [list(one.class_counts) for one in seasons],
        "rank": [choice.rank for choice in choices],
        "tile": [choice.tile for choice in choices],
        "baseline": [choice.baseline for choice in choices],
        "offset_removed": [choice.offset_removed for choice in choices],
        "off_zone": [choice.off_zone for choice in choices],
        "off_lattice": [one.off_lattice for one in seasons],
        "orbit_pass": [choice.orbit_pass for choice in choices],
        "relative_orbit": [choice.relative_orbit for choice in choices],
        "choice_reason": [choice.reason for choice in choices],
    }


def describe(config: BuildConfig, layout: Layout, tally: _Tally) -> Manifest:
    """The manifest: what the data are, without a word about when or on what machine they were made."""
    statistics = _read_statistics(layout)
    store = store_layout(config)
    labels = statistics["classes"]
    return Manifest(
        format_version=FORMAT_VERSION,
        subset=SUBSET,
        name=config.name,
        synthetic=config.synthetic,
        config=config.identity(),
        config_digest=config.digest(),
        patch_size_px=config.patch_size_px,
        seasons=tuple(
            SeasonRecord(name=season.name, date=season.date, window_days=season.window_days)
            for season in config.seasons
        ),
        products={name: bands for name, bands in config.products.selected().items() if bands},
        arrays=tuple(ArrayRecord.of(spec, store) for spec in store.specs),
        legends={"dynamic_world": LegendRecord.of(DYNAMIC_WORLD_LEGEND)},
        statistics={
            name: tuple(BandStatistics(**band) for band in bands)
            for name, bands in statistics["arrays"].items()
        },
        class_counts=labels,
        class_shares=_shares(labels.get("dynamic_world_10m", {})),
        locations_kept=tally.status["kept"],
        locations_tried=config.locations.count,
        status_counts={status.name.lower(): tally.status[status.name.lower()] for status in Status},
        split_counts={name: tally.splits[name] for name in SPLITS},
        sources=source_records(config),
        locations_per_shard=config.jobs.locations_per_shard,
        codec=config.codec,
        files={"store": layout.store.name, "index": layout.index.name, "run": layout.run.name},
    )


def _read_statistics(layout: Layout) -> dict[str, Any]:
    try:
        tree: dict[str, Any] = json.loads(layout.statistics.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        raise InputError(
            f"{layout.statistics}: missing or damaged; delete it and run the build again"
        ) from None
    return tree


def _shares(by_season: dict[str, Sequence[int]]) -> dict[str, float]:
    """Class name to its share of all labelled pixels; zeros where nothing is labelled."""
    totals = [sum(counts) for counts in zip(*by_season.values(), strict=True)]
    labelled = sum(totals)
    names = DYNAMIC_WORLD_LEGEND.classes
    if not labelled:
        return dict.fromkeys(names, 0.0)
    return {name: total / labelled for name, total in zip(names, totals, strict=True)}
