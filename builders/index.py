"""The index and all that is written last: a row for every location tried, kept or not.

Rows are gathered a job at a time and written in groups of a fixed size, so that a quarter of a million
locations need little memory, and the bytes do not depend on how the work was cut.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from builders.build import cut_of
from builders.config import BuildConfig
from builders.index_extras import Extras, extras_of
from builders.label_provenance import label_provenance
from builders.layout import Layout
from builders.location_table import read_locations
from builders.manifest_writer import RowTotals, manifest_of
from builders.outcome_table import read_outcomes
from builders.outlines import outlines
from builders.pack import store_attributes, store_layout
from builders.records import COLLECTIONS, Location, LocationOutcome, SeasonOutcome
from builders.run_record import run_report
from builders.splits import listed_splits
from builders.statistics import read_statistics
from noldo.atomic import atomic_file
from noldo.errors import InputError
from noldo.index import extended_schema
from noldo.manifest import write_manifest, write_run_report
from noldo.rows import NO_TIME, ROW_ARRAYS, SPLITS, UNSET
from noldo.status import Status
from noldo.store import create_store, write_rows

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

ROWS_PER_GROUP = 4096
"""Rows of one parquet row group: 2 MB, and fine enough to read a part of a large index."""

Row = dict[str, object]


@dataclass(frozen=True)
class Tried:
    """One location and what became of it."""

    row: int
    """Of the store."""
    location: Location
    outcome: LocationOutcome


def run_index(config: BuildConfig, layout: Layout) -> None:
    """Write the small arrays, the index, the record of the run, and last the manifest.

    Raises
    ------
    InputError
        If the tables of locations and outcomes disagree.
    StoreError
        If a file can't be written, or statistics are missing.
    """
    statistics = read_statistics(layout.statistics)
    bands = {name: [band.model_dump() for band in table] for name, table in statistics.bands.items()}
    attributes = {**store_attributes(config), "statistics": bands}
    create_store(layout.store, store_layout(config), attributes=attributes)
    extras = extras_of(config, layout)
    listed = _listed(config, layout)
    totals = RowTotals.none()
    arrays = _empty_rows(config)
    with atomic_file(layout.index) as file:
        import pyarrow.parquet as pq

        options = {"compression": "zstd", "version": "2.6", "write_page_checksum": True}
        with pq.ParquetWriter(file, extended_schema(extras.columns), **options) as writer:
            for group in _groups(config, layout, listed):
                writer.write_table(index_table(group, config, extras), row_group_size=ROWS_PER_GROUP)
                fill_rows(arrays, group, extras)
                totals = totals.plus([(one.outcome.status, one.location.split) for one in group])
    write_rows(layout.store, arrays)
    write_run_report(layout.run, run_report(config, layout))
    write_manifest(
        layout.manifest, manifest_of(config, statistics, totals, provenance=label_provenance(config, layout))
    )
    logger.info("index of %s locations written, %s of them kept", totals.tried, totals.kept)


def _listed(config: BuildConfig, layout: Layout) -> dict[int, str] | None:
    """Location to its split, where lists decide it; None where it was decided with the places.

    Lists come in last, so that correcting one changes the index and asks for no pixel again.
    """
    if config.split.by != "lists":
        return None
    places = [(location.id, location.place) for location in read_locations(layout.locations)]
    splits = listed_splits(config.split, places)
    return {id_: split for (id_, _), split in zip(places, splits, strict=True)}


def _groups(
    config: BuildConfig, layout: Layout, listed: Mapping[int, str] | None = None
) -> Iterator[list[Tried]]:
    """All locations in row order, in lists of `ROWS_PER_GROUP`."""
    cut = cut_of(config)
    pending: list[Tried] = []
    for job in cut.jobs:
        rows = cut.rows_of_job(job)
        locations = read_locations(layout.locations, rows.start, rows.stop)
        outcomes = read_outcomes(layout.outcomes(job))
        if [one.id for one in locations] != [one.location_id for one in outcomes]:
            raise InputError(
                f"{layout.outcomes(job)}: is about other locations than rows {rows.start} to {rows.stop - 1} of "
                f"{layout.locations}; delete it and run the build again: job {job} is redone"
            )
        if listed is not None:
            locations = [replace(one, split=listed[one.id]) for one in locations]
        pending += [
            Tried(row, *pair) for row, pair in zip(rows, zip(locations, outcomes, strict=True), strict=True)
        ]
        while len(pending) >= ROWS_PER_GROUP:
            yield pending[:ROWS_PER_GROUP]
            pending = pending[ROWS_PER_GROUP:]
    if pending:
        yield pending


def index_table(group: Sequence[Tried], config: BuildConfig, extras: Extras) -> "pa.Table":
    """Rows of the index, with the columns of `noldo.index.index_schema` and those of the subset."""
    import pyarrow as pa
    import shapely

    shapes = shapely.to_wkb(outlines([one.location.grid for one in group]))
    rows = [
        _row(one, geometry, config) | extras.row(one.location, one.outcome)
        for one, geometry in zip(group, shapes, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=extended_schema(extras.columns))


def _row(one: Tried, geometry: bytes, config: BuildConfig) -> Row:
    location, outcome = one.location, one.outcome
    grid = location.grid
    return {
        "id": location.id,
        "status": outcome.status.name.lower(),
        "reason": outcome.reason,
        "split": location.split,
        "place": location.place,
        "lon": location.lon,
        "lat": location.lat,
        "crs_epsg": grid.crs_epsg,
        "x_ul": grid.x_ul,
        "y_ul": grid.y_ul,
        "transform": grid.transform(),
        "shard": one.row // config.jobs.locations_per_shard,
        "row": one.row,
        "geometry": geometry,
        **_season_columns(outcome.seasons, config),
    }


def _season_columns(seasons: Sequence[SeasonOutcome], config: BuildConfig) -> Row:
    """Lists in the order of the season axis; null where a season was not read before the refusal."""
    if not seasons:
        return {}
    by_number = {season.choice.season: _season_values(season, config) for season in seasons}
    names = next(iter(by_number.values()))
    nothing: Row = dict.fromkeys(names)
    return {
        name: [by_number.get(number, nothing)[name] for number in range(len(config.seasons))]
        for name in names
    }


def _season_values(season: SeasonOutcome, config: BuildConfig) -> Row:
    choice = season.choice
    products = config.products
    return {
        "time_s2": choice.time_s2_ms,
        "time_s1": choice.time_s1_ms or None,
        "scene_s2_l1c": _asset("s2_l1c", choice.s2_index) if products.s2_l1c else None,
        "scene_s2_l2a": _asset("s2_l2a", choice.s2_index) if products.needs_l2a and choice.has_l2a else None,
        "scene_dynamic_world": _asset("dynamic_world", choice.s2_index) if choice.has_dynamic_world else None,
        "scene_s1_grd": _asset("s1_grd", choice.s1_index),
        "cloud_percent": choice.cloud_percent if choice.cloud_percent >= 0 else None,
        "coverage_s2": season.coverage_s2,
        "coverage_s1": season.coverage_s1,
        "label_share": season.label_share,
        "class_counts": season.class_counts,
        "rank": choice.rank,
        "tile": choice.tile,
        "baseline": choice.baseline,
        "offset_removed": choice.offset_removed,
        "off_zone": choice.off_zone,
        "off_lattice": season.off_lattice,
        "orbit_pass": choice.orbit_pass,
        "relative_orbit": choice.relative_orbit,
        "choice_reason": choice.reason,
    }


def _asset(product: str, index: str) -> str | None:
    """Full Earth Engine id of a scene."""
    return f"{COLLECTIONS[product]}/{index}" if index else None


def _empty_rows(config: BuildConfig) -> dict[str, np.ndarray]:
    num_locations, num_seasons = config.locations.count, len(config.seasons)
    return {
        row.name: np.full(
            row.shape(num_locations=num_locations, num_seasons=num_seasons), row.fill, row.dtype
        )
        for row in ROW_ARRAYS
    }


def fill_rows(arrays: Mapping[str, np.ndarray], group: Sequence[Tried], extras: Extras) -> None:
    """Write a group into the small arrays of the store (see `noldo.rows`), in place.

    Times and valid window are those of pixels, so rows that were not kept have none.
    """
    for one in group:
        location, outcome, grid = one.location, one.outcome, one.location.grid
        arrays["id"][one.row] = location.id
        arrays["status"][one.row] = outcome.status
        arrays["split"][one.row] = SPLITS.index(location.split) if location.split else UNSET
        arrays["crs_epsg"][one.row] = grid.crs_epsg
        arrays["x_ul"][one.row] = grid.x_ul
        arrays["y_ul"][one.row] = grid.y_ul
        if outcome.status != Status.KEPT:
            continue
        arrays["window"][one.row] = extras.window(location)
        for season in outcome.seasons:
            choice = season.choice
            arrays["time_s2"][one.row, choice.season] = choice.time_s2_ms // 1000
            arrays["time_s1"][one.row, choice.season] = choice.time_s1_ms // 1000 or NO_TIME
