"""Areas for many patches from OpenStreetMap extracts: one pass an extract, whatever the number of patches.

`collect_areas` reads an extract and leaves a folder in `out`, named as the extract, that appears whole: a file of
areas a job (`builders.area_spool`) and a receipt (`builders.osm_report`). `read_areas` gives a job the areas of all
extracts.
"""

import hashlib
import logging
import resource
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import shapely

from builders import versions
from builders.area_spool import SpoolWriter, read_spool, record
from builders.areas import Area
from builders.config_labels import spool_name
from builders.osm_reader import AreaBatch, AreaReader, NodeIndex, Tally, choose_node_index, data_timestamp
from builders.osm_report import (
    RECEIPT,
    ExtractReport,
    Purpose,
    Receipt,
    describe,
    is_same_file,
    read_receipt,
    write_receipt,
)
from builders.surroundings import cut, surroundings
from builders.tag_table import TagTable
from noldo.atomic import write_errors
from noldo.errors import InputError
from noldo.grids import Grid

logger = logging.getLogger(__name__)

PER_JOB = 256
"""Consecutive patches in a job by default, as many as in a fetch job."""

Patches = Sequence[tuple[int, Grid]]
"""(id, grid) of each patch, in the order of the store's rows."""

Progress = Callable[[int], None]
"""Called now and then with the number of areas read so far."""


def collect_areas(
    extract: Path,
    patches: Patches,
    table: TagTable,
    out: Path,
    *,
    per_job: int = PER_JOB,
    node_index: NodeIndex = "auto",
    progress: Progress | None = None,
) -> ExtractReport:
    """Read an extract once and spool the areas that meet each patch, cut to its surroundings.

    An extract that was collected before, for the same patches and tags, is not read again. If the process was
    killed, the extract that it was reading is read from its start; others are not touched. Memory holds the boxes of
    all patches (0.9 kB each), node positions if the index is in memory, one batch of areas and
    `builders.area_spool.BUFFER_BYTES` of records.

    Parameters
    ----------
    extract
        `.osm.pbf`, sorted as extracts are published: nodes, ways, relations. Its name becomes that of its folder,
        so the extracts of one build need different names.
    patches
        In row order; every `per_job` of them make a job.
    out
        Folder for the spools of all extracts of a build, and for a node file while it is needed.
    node_index
        Where node positions are kept; `auto`: `builders.osm_reader.choose_node_index` decides.

    Raises
    ------
    InputError
        If the file is missing or damaged, or is no .osm.pbf.
    StoreError
        If the disk is full, or `out` can't be written to.
    """
    timestamp = data_timestamp(extract)
    purpose = purpose_of(patches, table, per_job=per_job)
    folder = out / spool_name(extract)
    receipt = read_receipt(folder)
    if receipt is not None and receipt.purpose == purpose and is_same_file(extract, receipt.report.extract):
        logger.info("%s: collected before, not read again", extract.name)
        return receipt.report
    with _appearing(folder) as partial:
        receipt = _collect(
            AreaReader(extract, table, node_index=_index(extract, node_index), scratch=partial),
            _Sorter(patches, SpoolWriter(partial), per_job=per_job),
            purpose=purpose,
            timestamp=timestamp,
            progress=progress,
        )
        write_receipt(partial, receipt)
    _tell(receipt.report)
    return receipt.report


def read_areas(out: Path, job: int, *, extracts: Sequence[Path] | None = None) -> dict[int, list[Area]]:
    """Areas of each patch of a job, from all extracts, each area once.

    Where extracts overlap, an area (type and id) is taken from the extract with the newest data; among equally new
    or undated ones, the larger copy, as some extracts cut areas at their border; then from the extract whose name
    comes last. The choice is the same for every patch.

    Parameters
    ----------
    extracts
        The files that were collected; None: whatever is in `out`.

    Returns
    -------
    Patch id to areas, in `Area.order`. Patches without any are left out.

    Raises
    ------
    InputError
        If an extract has not been collected, or spools were made for different patches or tags.
    ChunkCorruptError
        If a file is damaged.
    """
    best: dict[int, dict[tuple[str, int], tuple[tuple[str, float], Area]]] = defaultdict(dict)
    num_copies = 0
    for folder, receipt in _receipts(out, extracts):
        for patch_id, area in read_spool(folder, job, receipt.files):
            rank = receipt.report.extract.timestamp, area.area_m2
            known = best[patch_id].get((area.osm_type, area.osm_id))
            num_copies += known is not None
            if known is None or rank >= known[0]:
                best[patch_id][area.osm_type, area.osm_id] = rank, area
    if num_copies:
        logger.info("job %s: %s areas were in several extracts, and were used once", job, num_copies)
    return {
        patch_id: sorted((area for _, area in found.values()), key=lambda area: area.order)
        for patch_id, found in sorted(best.items())
    }


def sum_areas(extract: Path, table: TagTable, *, node_index: NodeIndex = "auto") -> Tally:
    """Count and measure the areas of a whole extract by class, without any patch.

    Raises
    ------
    InputError
        If the file is missing or damaged, or is no .osm.pbf.
    """
    data_timestamp(extract)  # for its checks
    with TemporaryDirectory(prefix="noldo-") as scratch:
        reader = AreaReader(extract, table, node_index=_index(extract, node_index), scratch=Path(scratch))
        for _ in reader:
            pass
    return reader.tally


def purpose_of(patches: Patches, table: TagTable, *, per_job: int) -> Purpose:
    """What a spool is made for."""
    lines = (
        f"{patch_id} {grid.crs_epsg} {grid.x_ul} {grid.y_ul} {grid.size_px}\n" for patch_id, grid in patches
    )
    return Purpose(
        version=versions.OSM_SPOOL,
        table_digest=table.digest,
        patches_digest=hashlib.sha256("".join(lines).encode()).hexdigest(),
        per_job=per_job,
    )


def _index(extract: Path, asked: NodeIndex) -> NodeIndex:
    return choose_node_index(extract.stat().st_size) if asked == "auto" else asked


class _Sorter:
    """Gives areas to the patches they meet."""

    def __init__(self, patches: Patches, writer: SpoolWriter, *, per_job: int) -> None:
        self.ids = [patch_id for patch_id, _ in patches]
        self.boxes = surroundings([grid for _, grid in patches])
        self.tree = shapely.STRtree(self.boxes)
        self.writer = writer
        self.per_job = per_job
        self.met = np.zeros(len(patches), dtype=bool)
        self.num_areas_met = 0

    def add(self, batch: AreaBatch) -> None:
        """Write what of each area lies in the surroundings of each patch."""
        rows, patches = self.tree.query(batch.geometries, predicate="intersects")
        pieces = cut(batch.geometries[rows], self.boxes[patches])
        there = ~shapely.is_missing(pieces)
        self.met[patches[there]] = True
        self.num_areas_met += len(np.unique(rows[there]))
        wkb = shapely.to_wkb(pieces[there], output_dimension=2, byte_order=1)
        for row, patch, piece in zip(rows[there].tolist(), patches[there].tolist(), wkb, strict=True):
            content = record(
                self.ids[patch],
                is_relation=bool(batch.is_relation[row]),
                osm_id=int(batch.osm_ids[row]),
                class_id=int(batch.class_ids[row]),
                area_m2=float(batch.areas_m2[row]),
                wkb=piece,
            )
            self.writer.add(patch // self.per_job, content)


def _collect(
    reader: AreaReader, sorter: _Sorter, *, purpose: Purpose, timestamp: str, progress: Progress | None
) -> Receipt:
    started = time.perf_counter(), time.process_time()
    num_areas = 0
    for batch in reader:
        sorter.add(batch)
        num_areas += len(batch.osm_ids)
        if progress is not None:
            progress(num_areas)
    sorter.writer.flush()
    report = ExtractReport(
        extract=describe(reader.extract, timestamp=timestamp),
        table=reader.table.name,
        table_digest=reader.table.digest,
        tally=reader.tally,
        num_patches=len(sorter.ids),
        num_patches_met=int(sorter.met.sum()),
        num_areas_met=sorter.num_areas_met,
        num_hits=sum(file.num_records for file in sorter.writer.files.values()),
        node_index=reader.node_index,
        seconds=round(time.perf_counter() - started[0], 3),
        cpu_seconds=round(time.process_time() - started[1], 3),
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
    return Receipt(purpose=purpose, report=report, files=sorter.writer.files)


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """An empty folder that gets its name when the block ends well, in place of one that had it for another purpose.

    What a killed process left under the temporary name goes first.
    """
    partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    with write_errors(partial):
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    with write_errors(folder):
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _receipts(out: Path, extracts: Sequence[Path] | None) -> list[tuple[Path, Receipt]]:
    if extracts is None:
        names = [path.parent.name for path in out.glob(f"*/{RECEIPT}")]
    else:
        names = [spool_name(extract) for extract in extracts]
    found = []
    for name in sorted(names):
        receipt = read_receipt(out / name)
        if receipt is None:
            raise InputError(f"{out / name}: this extract has not been collected; run the build again")
        found.append((out / name, receipt))
    for folder, receipt in found:
        if receipt.purpose != found[0][1].purpose:
            raise InputError(
                f"{folder}: collected for other patches or tags than {found[0][0]}; delete the older folder "
                "and run the build again"
            )
    if not found:
        raise InputError(f"{out}: no extract has been collected; run the build again")
    return found


def _tell(report: ExtractReport) -> None:
    tally = report.tally
    logger.info(
        "%s: %s areas, %s of them in %s patches; %s repaired, %s invalid, %.0f s, peak %.0f MB",
        report.extract.name,
        sum(tally.num_areas),
        report.num_areas_met,
        report.num_patches_met,
        tally.num_repaired,
        tally.num_invalid,
        report.seconds,
        report.peak_bytes / 1e6,
    )
    if cut_off := tally.num_cut_off_ways + tally.num_cut_off_relations:
        logger.warning(
            "%s: %s areas are cut off at the border of the extract and were left out (%s%s); use an extract that "
            "reaches further if patches lie there",
            report.extract.name,
            cut_off,
            ", ".join(tally.cut_off[:5]),
            ", ..." if cut_off > 5 else "",
        )
