"""Re-reads whole subsets: every chunk against its checksum, the index against the store, files against the plan.

Everything that is broken is named, not just the first thing.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noldo.by_zarr import plain
from noldo.codecs import LABEL_CODEC
from noldo.errors import StoreError
from noldo.index_columns import IndexColumns, compare, read_index_columns
from noldo.manifest import Manifest, read_manifest
from noldo.metadata import array_documents, coordinates
from noldo.paths import SubsetPaths, find_subsets
from noldo.products import CLEAN_LABELS, PREDICTED_LABELS, UNLABELLED
from noldo.reader import StoreReader
from noldo.rows import ROW_ARRAYS, SPLITS
from noldo.shard_scan import ShardName, all_shards, scan_items
from noldo.status import Status

LABELS = "dynamic_world_10m"
"""Array whose classes the index counts, season by season."""


@dataclass(frozen=True)
class Verification:
    """What was found."""

    problems: tuple[str, ...]
    """One line each; empty: all is well."""
    num_shards: int
    """Shards that the store must have."""


@dataclass(frozen=True)
class _Evidence:
    """What the shards are held against: as much of it as could be read."""

    rows: Mapping[str, np.ndarray]
    """The small arrays, by name."""
    index: IndexColumns | None


def verify(path: str | Path, *, progress: Callable[[int, int], None] | None = None) -> Verification:
    """Check all subsets of a local folder, or one.

    Parameters
    ----------
    path
        A results folder or one store.
    progress
        Called with (shards done, shards in all).

    Raises
    ------
    StoreError
        If there is no store at all.
    StoreFormatError
        If it is of another format.
    MissingExtraError
        If pyarrow is not installed.
    """
    found = [_verify(paths, progress) for paths in find_subsets(path)]
    return Verification(
        tuple(problem for one in found for problem in one.problems), sum(one.num_shards for one in found)
    )


def _verify(paths: SubsetPaths, progress: Callable[[int, int], None] | None) -> Verification:
    index_path, manifest_path = paths.local(".parquet"), paths.local(".json")
    reader = StoreReader.open(paths.store)
    problems = [*_check_files(reader, Path(paths.store)), *_check_axes(reader)]
    rows, lines = _read_rows(reader)
    problems += lines
    index: IndexColumns | None = None
    try:
        index = read_index_columns(index_path, num_seasons=len(reader.layout.season_names))
        problems += compare(index, rows, reader.layout)
    except StoreError as error:
        problems.append(str(error))
    problems += (
        f"{paths.store}/{name}: stored otherwise than by this format, so its bytes can't be checked; what is read of it is zarr's"
        for name in sorted(reader.by_zarr)
    )
    evidence = _Evidence(rows, index if index and len(index) == reader.layout.num_locations else None)
    problems += _check_shards(reader, evidence, progress)
    try:
        manifest = read_manifest(manifest_path)
        problems += (f"{manifest_path}: {line}" for line in _check_manifest(manifest, reader, evidence))
    except StoreError as error:
        problems.append(str(error))
    return Verification(tuple(problems), len(all_shards(reader.layout)))


def _check_files(reader: StoreReader, store: Path) -> Iterator[str]:
    """Files that should not be there, and metadata; other missing files are found where they are read."""
    documents = array_documents(reader.layout)
    expected = {"zarr.json", *(f"{name}/zarr.json" for name in documents)}
    expected |= {name.file for name in all_shards(reader.layout)}
    whole = documents.keys() - {spec.name for spec in reader.layout.specs}
    expected |= {_whole_file(name, len(documents[name]["shape"])) for name in whole}
    there = {path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()}
    for name in sorted(one for one in there - expected if one.split("/")[0] not in reader.by_zarr):
        yield f"{store / name}: does not belong to the store; delete it"
    consolidated = json.loads((store / "zarr.json").read_bytes())["consolidated_metadata"]["metadata"]
    for name in documents:
        path = store / name / "zarr.json"
        if not path.is_file():
            yield f"{path}: missing; run the build again"
        elif plain(_document(path)) != plain(consolidated.get(name)):
            yield f"{path}: differs from its copy in the group's zarr.json; delete both and run the build again"


def _whole_file(name: str, num_axes: int) -> str:
    return "/".join([name, "c", *["0"] * num_axes])


def _document(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def _check_axes(reader: StoreReader) -> Iterator[str]:
    for axis in coordinates(reader.layout):
        file = _whole_file(axis.name, 1)
        where = f"{reader.files.where}/{file}"
        values = np.empty_like(axis.values)
        try:
            LABEL_CODEC.decode(reader.files.read(file), values, where=where)
        except FileNotFoundError:
            yield f"{where}: missing; run the build again"
        except StoreError as error:
            yield str(error)
        else:
            if not np.array_equal(values, axis.values):
                yield f"{where}: not the positions of this format; delete it and run the build again"


def _read_rows(reader: StoreReader) -> tuple[dict[str, np.ndarray], list[str]]:
    rows, problems = {}, []
    for row in ROW_ARRAYS:
        try:
            rows[row.name] = reader.row_values(row.name)
        except StoreError as error:
            problems.append(str(error))
    return rows, problems


def _check_shards(
    reader: StoreReader, evidence: _Evidence, progress: Callable[[int, int], None] | None
) -> list[str]:
    problems: list[str] = []
    shards = [one for one in all_shards(reader.layout) if one.spec.name not in reader.by_zarr]
    # A thread holds one shard file and one location; decoding lets the others run.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done, lines in enumerate(pool.map(lambda name: _scan(reader, name, evidence), shards), start=1):
            problems += lines
            if progress is not None:
                progress(done, len(shards))
    return problems


def _scan(reader: StoreReader, name: ShardName, evidence: _Evidence) -> list[str]:
    """Problems of one shard: its bytes first, then whether it holds what the index says."""
    where = f"{reader.files.where}/{name.file}"
    rows = reader.layout.rows_of(name.shard)
    problems: list[str] = []
    try:
        for row, (item, faults) in zip(rows, scan_items(reader.files, name, reader.layout), strict=True):
            if faults:
                problems += (str(fault) for fault in faults)
            elif line := _contradiction(name, row, item, evidence):
                problems.append(f"{where}: {line}; delete this shard and run the build again")
    except StoreError as error:
        problems.append(str(error))
    return problems


def _contradiction(name: ShardName, row: int, item: np.ndarray, evidence: _Evidence) -> str:
    """What a row of a shard holds against what is told of it; empty if they agree."""
    status = evidence.rows.get("status")
    if status is None:
        return ""
    if int(status[row]) != Status.KEPT:  # a number of NumPy asks the enumeration what it is, at length
        return f"row {row} was not kept, but holds data" if (item != name.spec.no_data).any() else ""
    if name.spec.name == LABELS and evidence.index is not None:
        expected = evidence.index.class_counts[row]
        counted = [np.bincount(season.ravel(), minlength=256) for season in item]
        if not np.array_equal([one[: expected.shape[1]] for one in counted], expected):
            return f"labels of row {row} are not those that the index counted"
    return _label_contradiction(name, row, item, evidence)


def _label_contradiction(name: ShardName, row: int, item: np.ndarray, evidence: _Evidence) -> str:
    """Clean labels of a kept row against the index, and against the window that they must lie in."""
    if name.spec.product not in CLEAN_LABELS and name.spec.product not in PREDICTED_LABELS:
        return ""
    if (window := evidence.rows.get("window")) is not None:
        top, bottom, left, right = window[row]
        outside = (item != UNLABELLED).sum() - (item[:, top:bottom, left:right] != UNLABELLED).sum()
        if outside:
            return f"row {row} has {outside} labels outside its window"
    counts = None if evidence.index is None else evidence.index.label_counts.get(name.spec.product)
    if counts is not None:
        counted = np.bincount(item.ravel(), minlength=256)[: counts.shape[1]]
        if not np.array_equal(counted, counts[row]):
            return f"labels of row {row} are not those that the index counted"
    return ""


def _check_manifest(manifest: Manifest, reader: StoreReader, evidence: _Evidence) -> Iterator[str]:
    layout = reader.layout
    facts: list[tuple[str, object, object]] = [
        ("arrays", [array.name for array in manifest.arrays], [spec.name for spec in layout.specs]),
        ("seasons", [season.name for season in manifest.seasons], list(layout.season_names)),
        ("patch_size_px", manifest.patch_size_px, layout.patch_size_px),
        ("locations_tried", manifest.locations_tried, layout.num_locations),
    ]
    if "status" in evidence.rows:
        status = evidence.rows["status"]
        kept = status == Status.KEPT
        counts = {one.name.lower(): int((status == one).sum()) for one in Status}
        facts.append(("locations_kept", manifest.locations_kept, int(kept.sum())))
        facts.append(("status_counts", _nonzero(manifest.status_counts), _nonzero(counts)))
        if "split" in evidence.rows:
            split = evidence.rows["split"][kept]
            counts = {name: int((split == code).sum()) for code, name in enumerate(SPLITS)}
            facts.append(("split_counts", _nonzero(manifest.split_counts), _nonzero(counts)))
        has_labels = any(spec.name == LABELS for spec in layout.specs)
        if evidence.index is not None and has_labels:
            totals = evidence.index.class_counts[kept].sum(axis=0).tolist()
            seasons = manifest.class_counts.get(LABELS, {})
            counted = [list(seasons.get(name, ())) for name in layout.season_names]
            facts.append((f"class_counts of {LABELS}", counted, totals))
    for what, told, found in facts:
        if told != found:
            yield f"{what} is {told}, but the store has {found}; run the build again"


def _nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number}
