"""The end of an import: index, small arrays, statistics, run record, and last the manifest.

Rows come from the notes of the shards, a few shards at a time, so that a quarter of a million items need little memory.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np

from builders.import_items import Georeference, ImportPlan
from builders.import_paths import ImportPaths, run_report
from builders.import_rows import Row, read_note, schema_of
from builders.index import ROWS_PER_GROUP
from builders.manifest_writer import RowTotals, class_shares
from builders.statistics import StoreStatistics, store_statistics
from noldo.atomic import atomic_file
from noldo.crops import imagery_sides_px
from noldo.errors import StoreError
from noldo.legend import LEGEND_OF_PRODUCT
from noldo.manifest import ArrayRecord, LegendRecord, Manifest, write_manifest, write_run_report
from noldo.products import FORMAT_VERSION
from noldo.rows import NO_TIME, ROW_ARRAYS, SPLITS
from noldo.status import Status
from noldo.store import StoreLayout, create_store, write_rows


@dataclass(frozen=True)
class Imported:
    """What the rows of a finished import add up to."""

    totals: RowTotals
    reasons: Mapping[str, int]
    """Kind of fault (the reason up to its colon, or another status) to rows that were not kept."""
    counted: Mapping[str, int]
    """What was changed on the way, in words, to pixels."""
    georeference: Georeference
    """The worst of all kept rows."""


def finish_import(plan: ImportPlan, layout: StoreLayout, paths: ImportPaths, *, threads: int) -> Imported:
    """Write all that is written last.

    Parameters
    ----------
    threads
        Shards in memory at once while statistics are computed.

    Raises
    ------
    StoreError
        If a file can't be written, or the note of a shard is gone.
    """
    arrays = _empty_rows(layout)
    imported = _write_index(plan, layout, paths, arrays)
    write_rows(paths.store, arrays)
    kept = arrays["status"] == Status.KEPT
    statistics = store_statistics(
        paths.store, kept=kept, sides_px=imagery_sides_px(layout, arrays["window"]), threads=threads
    )
    bands = {name: [band.model_dump() for band in table] for name, table in statistics.bands.items()}
    create_store(paths.store, layout, attributes={**store_attributes(plan), "statistics": bands})
    write_run_report(paths.run, run_report(paths, num_shards=layout.num_shards))
    write_manifest(paths.manifest, _manifest(plan, layout, paths, statistics, imported))
    return imported


def store_attributes(plan: ImportPlan) -> dict[str, object]:
    """What the group says about its content, besides its format."""
    return {
        "subset": plan.subset,
        "synthetic": False,
        "config_digest": plan.config_digest(),
        "license": "; ".join(dict.fromkeys(source.licence for source in plan.sources)),
    }


def _empty_rows(layout: StoreLayout) -> dict[str, np.ndarray]:
    num_locations, num_seasons = layout.num_locations, len(layout.season_names)
    return {
        row.name: np.full(
            row.shape(num_locations=num_locations, num_seasons=num_seasons), row.fill, row.dtype
        )
        for row in ROW_ARRAYS
    }


def _write_index(
    plan: ImportPlan, layout: StoreLayout, paths: ImportPaths, arrays: Mapping[str, np.ndarray]
) -> Imported:
    """Write the index, and fill the small arrays on the way."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = schema_of(plan)
    statuses: Counter[tuple[Status, str]] = Counter()
    reasons: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    places: set[Georeference] = set()
    options = {"compression": "zstd", "version": "2.6", "write_page_checksum": True}
    with atomic_file(paths.index) as file, pq.ParquetWriter(file, schema, **options) as writer:
        for group in _groups(plan, layout, paths, counted):
            writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=ROWS_PER_GROUP)
            for row in group:
                status = Status[row["status"].upper()]
                statuses[status, row["split"]] += 1
                _fill_row(arrays, row, status)
                if status == Status.KEPT:
                    places.add(row["georeference"])
                elif status == Status.BAD_SOURCE:
                    reasons[row["reason"].split(":")[0]] += 1
                else:
                    reasons[row["status"]] += 1
    worst: Georeference = max(places, key=get_args(Georeference).index) if places else "none"
    return Imported(RowTotals(statuses), dict(reasons.most_common()), dict(sorted(counted.items())), worst)


def _groups(
    plan: ImportPlan, layout: StoreLayout, paths: ImportPaths, counted: Counter[str]
) -> Iterator[list[Row]]:
    """All rows in lists of `ROWS_PER_GROUP`; adds up what the shards counted."""
    pending: list[Row] = []
    for shard in range(layout.num_shards):
        note = read_note(paths.note(shard), plan)
        if note is None:
            raise StoreError(f"{paths.note(shard)}: gone or damaged; run the same command again")
        counted.update(note.counted)
        pending += note.rows
        while len(pending) >= ROWS_PER_GROUP:
            yield pending[:ROWS_PER_GROUP]
            pending = pending[ROWS_PER_GROUP:]
    if pending:
        yield pending


def _fill_row(arrays: Mapping[str, np.ndarray], row: Row, status: Status) -> None:
    """Write a row of the index into the small arrays; times and window are those of pixels."""
    at = row["row"]
    for name in ("id", "crs_epsg", "x_ul", "y_ul"):
        arrays[name][at] = row[name]
    arrays["status"][at] = status
    arrays["split"][at] = SPLITS.index(row["split"])
    if status != Status.KEPT:
        return
    arrays["window"][at] = row["window"]
    for name in ("time_s2", "time_s1"):
        times: list[dt.datetime | None] = row[name] or []
        for season, when in enumerate(times):
            arrays[name][at, season] = NO_TIME if when is None else int(when.timestamp())


def _manifest(
    plan: ImportPlan, layout: StoreLayout, paths: ImportPaths, statistics: StoreStatistics, imported: Imported
) -> Manifest:
    totals = imported.totals
    return Manifest(
        format_version=FORMAT_VERSION,
        subset=plan.subset,
        name=paths.out.resolve().name,
        synthetic=False,
        config=plan.config(),
        config_digest=plan.config_digest(),
        patch_size_px=layout.patch_size_px,
        seasons=plan.seasons,
        products=_stored_bands(plan),
        arrays=tuple(ArrayRecord.of(spec, layout) for spec in layout.specs),
        legends={
            spec.product: LegendRecord.of(LEGEND_OF_PRODUCT[spec.product])
            for spec in layout.specs
            if spec.product in LEGEND_OF_PRODUCT
        },
        statistics=statistics.bands,
        class_counts=statistics.class_counts,
        class_shares=class_shares(statistics, product=plan.label_product) if plan.label_product else {},
        locations_kept=totals.kept,
        locations_tried=totals.tried,
        status_counts={
            status.name.lower(): totals.of_status(status)
            for status in Status
            if status == Status.KEPT or totals.of_status(status)
        },
        split_counts={split: totals.counts[Status.KEPT, split] for split in SPLITS},
        sources=plan.sources,
        locations_per_shard=layout.locations_per_shard,
        codec=layout.codec,
        files={"store": paths.store.name, "index": paths.index.name, "run": paths.run.name},
        georeference=imported.georeference,
        notes=(*plan.notes, *(f"{text}: {number} pixels." for text, number in imported.counted.items())),
    )


def _stored_bands(plan: ImportPlan) -> dict[str, tuple[str, ...]]:
    """Product to its bands in the order of its arrays."""
    bands: dict[str, tuple[str, ...]] = {}
    for spec in plan.specs:
        bands[spec.product] = bands.get(spec.product, ()) + (spec.bands or (spec.product,))
    return bands
