"""Re-reads a whole subset: every chunk against its checksum, the index against the store, files against the plan.

Everything that is broken is named, not just the first thing.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noldo.errors import NoldoError, StoreError
from noldo.index import read_index
from noldo.manifest import read_manifest
from noldo.metadata import array_documents
from noldo.paths import SubsetPaths, find_subset
from noldo.products import NUM_DYNAMIC_WORLD_CLASSES
from noldo.reader import StoreReader
from noldo.rows import ROW_ARRAYS, SPLITS
from noldo.shard_scan import ShardName, all_shards, read_items
from noldo.status import Status

MAX_NAMED_ROWS = 5


@dataclass(frozen=True)
class Verification:
    """What was found."""

    problems: tuple[str, ...]
    """One line each; empty: all is well."""
    num_shards: int
    """Shards that the store must have."""


def verify(path: str | Path, *, progress: Callable[[int, int], None] | None = None) -> Verification:
    """Check a local subset.

    Parameters
    ----------
    path
        A results folder or its store.
    progress
        Called with (shards done, shards in all).

    Raises
    ------
    StoreError
        If there is no store at all.
    StoreFormatError
        If it is of another format.
    """
    paths = find_subset(path)
    reader = StoreReader.open(paths.store)
    problems = list(_check_files(reader, Path(paths.store)))
    rows, found = _read_rows(reader)
    problems += found
    index, found = _read_index(paths)
    problems += found
    if index is not None:
        problems += _compare_rows(index, rows)
    shards = all_shards(reader.layout)
    with ThreadPoolExecutor() as pool:
        scans = pool.map(lambda name: _scan(reader, name, rows.get("status"), index), shards)
        for done, lines in enumerate(scans, start=1):
            problems += lines
            if progress is not None:
                progress(done, len(shards))
    problems += _check_manifest(paths, reader, rows)
    return Verification(tuple(problems), len(shards))


def _check_files(reader: StoreReader, store: Path) -> Iterator[str]:
    """Files that should not be there; missing ones are found where they are read."""
    documents = array_documents(reader.layout)
    expected = {"zarr.json", *(f"{name}/zarr.json" for name in documents)}
    expected |= {name.file for name in all_shards(reader.layout)}
    small = [name for name in documents if name not in {spec.name for spec in reader.layout.specs}]
    expected |= {
        "/".join([name, "c", *["0"] * len(documents[name]["shape"])])
        for name in small
        if documents[name]["shape"]
    }
    there = {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}
    for name in sorted(there - expected):
        yield f"{store / name}: does not belong to the store; delete it"
    shard_files = {name.file for name in all_shards(reader.layout)}
    for name in sorted(expected - there - shard_files):
        yield f"{store / name}: missing; run the build again"


def _read_rows(reader: StoreReader) -> tuple[dict[str, np.ndarray], list[str]]:
    rows, problems = {}, []
    for row in ROW_ARRAYS:
        try:
            rows[row.name] = reader.row_values(row.name)
        except StoreError as error:
            problems.append(str(error))
    return rows, problems


def _read_index(paths: SubsetPaths) -> tuple[list[dict[str, Any]] | None, list[str]]:
    try:
        return read_index(paths.local(".parquet")).to_pylist(), []
    except StoreError as error:
        return None, [str(error)]


def _compare_rows(index: list[dict[str, Any]], rows: dict[str, np.ndarray]) -> Iterator[str]:
    """The index and the small arrays tell the same of every location."""
    if "id" in rows and len(index) != len(rows["id"]):
        yield f"index: {len(index)} rows, but the store has {len(rows['id'])} locations; run the build again"
        return
    words: dict[str, Callable[[dict[str, Any]], Any]] = {
        "id": lambda row: row["id"],
        "status": lambda row: Status[row["status"].upper()],
        "split": lambda row: SPLITS.index(row["split"]),
        "crs_epsg": lambda row: row["crs_epsg"],
        "x_ul": lambda row: row["x_ul"],
        "y_ul": lambda row: row["y_ul"],
    }
    for name, value in words.items():
        if name not in rows:
            continue
        wrong = [row["id"] for row, stored in zip(index, rows[name], strict=True) if value(row) != stored]
        if wrong:
            yield f"{name}: index and store differ for {_ids(wrong)}; run the build again"
    for name in ("time_s2", "time_s1"):
        if name not in rows:
            continue
        wrong = [
            row["id"]
            for row, stored in zip(index, rows[name], strict=True)
            if row["status"] == "kept" and _seconds(row[name]) != stored.tolist()
        ]
        if wrong:
            yield f"{name}: index and store differ for {_ids(wrong)}; run the build again"


def _seconds(times: list[Any]) -> list[int]:
    return [0 if time is None else int(time.timestamp()) for time in times]


def _ids(ids: list[int]) -> str:
    named = ", ".join(str(one) for one in ids[:MAX_NAMED_ROWS])
    return f"location {named}" + (
        f" and {len(ids) - MAX_NAMED_ROWS} more" if len(ids) > MAX_NAMED_ROWS else ""
    )


def _scan(
    reader: StoreReader, name: ShardName, status: np.ndarray | None, index: list[dict[str, Any]] | None
) -> list[str]:
    """Problems of one shard: its bytes first, then whether it holds what the index says."""
    rows = reader.layout.rows_of(name.shard)
    problems: list[str] = []
    try:
        for row, item in zip(rows, read_items(reader.files, name, reader.layout), strict=True):
            if status is not None and status[row] != Status.KEPT:
                if (item != name.spec.no_data).any():
                    problems.append(f"{reader.files.where}/{name.file}: row {row} is not kept but holds data")
            elif index is not None and name.spec.name == "dynamic_world_10m" and row < len(index):
                problems += _compare_labels(index[row], item, where=f"{reader.files.where}/{name.file}")
    except NoldoError as error:
        problems.append(str(error))
    return problems


def _compare_labels(row: dict[str, Any], item: np.ndarray, *, where: str) -> list[str]:
    counted = [
        np.bincount(season.ravel(), minlength=256)[:NUM_DYNAMIC_WORLD_CLASSES].tolist() for season in item
    ]
    if counted == row["class_counts"]:
        return []
    return [f"{where}: labels of location {row['id']} are not those that the index counted"]


def _check_manifest(paths: SubsetPaths, reader: StoreReader, rows: dict[str, np.ndarray]) -> Iterator[str]:
    try:
        manifest = read_manifest(paths.local(".json"))
    except StoreError as error:
        yield str(error)
        return
    where = paths.local(".json")
    stored = [spec.name for spec in reader.layout.specs]
    if [array.name for array in manifest.arrays] != stored:
        yield f"{where}: lists other arrays than the store has ({', '.join(stored)}); run the build again"
    if "status" in rows:
        kept = int((rows["status"] == Status.KEPT).sum())
        if manifest.locations_kept != kept:
            yield f"{where}: {manifest.locations_kept} locations kept, but the store has {kept}; run the build again"
