"""A store for people who live elsewhere: GeoTIFFs, one an array and season, and a STAC catalogue over them.

A location is finished when its item is there: items are written last, with size and checksum of every file. So an export
that was killed goes on with the same command, and one that is repeated writes nothing.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from builders.crew import in_threads
from builders.encoders import encoders
from builders.export_documents import read_document, to_bytes
from builders.export_item import Document, is_timeless
from builders.export_layout import ExportLayout
from builders.export_location import ExportedLocation, ExportSource, write_location
from builders.export_plan import ExportPlan, PlannedLocation, named, planned_files, planned_locations
from builders.export_rows import write_rows_table
from builders.export_stac import Coverage, catalog_document, collection_document, coverage_of, extent_of
from builders.export_table import write_items_table
from noldo.atomic import write_if_changed
from noldo.errors import StoreError
from noldo.index import read_index
from noldo.manifest import read_manifest
from noldo.paths import SubsetPaths, find_subset
from noldo.reader import StoreReader
from noldo.rows import ROW_ARRAYS
from noldo.status import Status

logger = logging.getLogger(__name__)

FILES_WORTH_A_PROCESS = 500
"""From so many GeoTIFFs on it pays to start other processes: a second each."""

PROGRESS_S = 10.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True)
class ExportSummary:
    """What an export did, for people."""

    target: ExportLayout
    num_locations: int
    """Locations that were asked for."""
    num_files: int
    """GeoTIFFs of them."""
    num_written: int
    """GeoTIFFs that were not there yet."""
    bytes_written: int
    nowhere: tuple[int, ...]
    """Ids of locations without a known place."""
    timeless: tuple[int, ...]
    """Ids of locations of which not even a season's date is known."""

    def render(self) -> str:
        """Some lines of text."""
        lines = [
            f"{self.target.folder}: {self.num_locations:,} locations, {self.num_files:,} GeoTIFFs, "
            f"{self.num_written:,} of them written now ({self.bytes_written / 1e6:,.1f} MB)"
        ]
        if self.nowhere:
            lines.append(
                f"  without a known place, so without CRS, geometry and a row of items.parquet: {len(self.nowhere):,} "
                f"({named(self.nowhere)})"
            )
        if self.timeless:
            lines.append(
                f"  without a known date, shown as 1970-01-01: {len(self.timeless):,} ({named(self.timeless)})"
            )
        return "\n".join(lines)


def run_export(
    source: str | Path,
    out: Path,
    *,
    subset: str = "nol",
    products: Sequence[str] | None = None,
    ids: Sequence[int] | None = None,
    processes: int = 1,
) -> ExportSummary:
    """Write GeoTIFFs and catalogue of a finished subset.

    Parameters
    ----------
    source
        A results folder or its store.
    out
        Folder of the catalogue; may hold other subsets.
    products
        Only these; None: all. Others that were exported before stay, and stay in the catalogue.
    ids
        Only these locations; None: all that were kept.
    processes
        Processes that make GeoTIFFs, if there are many to be made; more than 1 only where the main module may be imported
        again, as that of the command line.

    Raises
    ------
    StoreError
        If the subset is not finished or damaged, an id has no pixels, the folder holds an export of another store, or the
        disk is full.
    ConfigError
        If a product is not in the store.
    """
    paths = find_subset(source, subset=subset)
    found = _open(paths)
    layout = found.reader.layout
    plan = ExportPlan(
        files=planned_files(layout, products=products),
        locations=planned_locations(
            layout, found.rows, subset=paths.subset, where=found.reader.files.where, ids=ids
        ),
    )
    target = ExportLayout(out, paths.subset)
    _copy_documents(paths, found, target)
    done = _write_locations(found, plan, target, processes=processes)
    _write_catalogue(found, target)
    summary = ExportSummary(
        target,
        num_locations=len(plan.locations),
        num_files=len(plan.locations) * len(plan.files),
        num_written=sum(one.num_written for one in done),
        bytes_written=sum(one.bytes_written for one in done),
        nowhere=tuple(one.id for one in plan.locations if one.grid is None),
        timeless=tuple(
            one.id
            for one in plan.locations
            if is_timeless(found.manifest, [found.rows[name][one.row] for name in ("time_s2", "time_s1")])
        ),
    )
    return summary


def _open(paths: SubsetPaths) -> ExportSource:
    manifest = read_manifest(paths.local(".json"))
    reader = StoreReader.open(paths.store)
    index = read_index(paths.local(".parquet"))
    if index.num_rows != reader.layout.num_locations:
        raise StoreError(
            f"{paths.local('.parquet')}: {index.num_rows} rows, but the store has {reader.layout.num_locations} "
            "locations; run the build again"
        )
    return ExportSource(
        reader, {row.name: reader.row_values(row.name) for row in ROW_ARRAYS}, index, manifest
    )


def _copy_documents(paths: SubsetPaths, source: ExportSource, target: ExportLayout) -> None:
    """Copy what describes the whole subset; a folder that holds another store's is refused."""
    copies = {
        target.group: Path(paths.store) / "zarr.json",
        target.index: paths.local(".parquet"),
        target.manifest: paths.local(".json"),
    }
    for copy, original in copies.items():
        if copy.is_file() and copy.read_bytes() != original.read_bytes():
            raise StoreError(
                f"{copy}: differs from {original}, so {target.folder} holds an export of another store; delete that "
                "folder or choose another one"
            )
    for copy, original in copies.items():
        write_if_changed(copy, original.read_bytes())
    run = paths.local(".run.json")
    if run.is_file():  # the record of the run is no part of the data, and need not travel with it
        write_if_changed(target.run, run.read_bytes())
    if not target.rows.is_file():
        write_rows_table(target.rows, source.rows)


def _write_locations(
    source: ExportSource, plan: ExportPlan, target: ExportLayout, *, processes: int
) -> list[ExportedLocation]:
    every_file = planned_files(source.reader.layout)
    processes = processes if len(plan.locations) * len(plan.files) >= FILES_WORTH_A_PROCESS else 1
    done: list[ExportedLocation] = []
    next_at = time.monotonic() + PROGRESS_S

    def tick() -> None:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + PROGRESS_S
            written = sum(one.num_written for one in done)
            logger.info("%d of %d locations, %d files written", len(done), len(plan.locations), written)

    with encoders(processes) as encode:

        def work(location: PlannedLocation) -> ExportedLocation:
            return write_location(location, source, plan.files, every_file, target, encode=encode)

        # A thread a process: it reads the next pixels' chunks and writes files while another one's pixels are encoded.
        for one in in_threads(work, plan.locations, concurrency=processes, tick=tick):
            done.append(one)  # noqa: PERF402 - `tick` looks at it meanwhile
    return done


def _write_catalogue(source: ExportSource, target: ExportLayout) -> None:
    """Write table, collection and catalogue over all items that are there, of this run or an earlier one."""
    ids = source.rows["id"][source.rows["status"] == Status.KEPT].tolist()
    there = [one for one in ids if target.item(one).is_file()]
    covered: list[Coverage] = []

    def with_geometry() -> Iterator[Document]:
        for one in there:
            item = read_document(target.item(one))
            covered.append(coverage_of(item))
            if item.get("geometry"):
                yield item

    write_items_table(target.items_table, with_geometry())
    document = collection_document(
        source.manifest,
        planned_files(source.reader.layout),
        target=target,
        item_ids=there,
        extent=extent_of(covered),
    )
    write_if_changed(target.collection, to_bytes(document))
    write_if_changed(target.catalog, to_bytes(catalog_document(target.root)))
