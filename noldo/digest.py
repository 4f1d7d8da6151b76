"""One hash of what a subset holds: equal data give equal digests, in whatever order they were built.

Hashed are decoded pixels, location by location, the small arrays, the index and what the manifest says of
the data. So the digest depends neither on the codec and its version nor on the size of shards. What
a build did (counters, times, versions), its name and its config are not in it.
"""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from noldo.errors import StoreError
from noldo.index import read_index
from noldo.manifest import read_manifest
from noldo.paths import SubsetPaths, find_subsets
from noldo.reader import StoreReader
from noldo.rows import ROW_ARRAYS
from noldo.shard_scan import ShardName, all_shards

DATA_KEYS = {
    "format_version",
    "subset",
    "synthetic",
    "patch_size_px",
    "seasons",
    "arrays",
    "legends",
    "statistics",
    "class_counts",
}
"""Keys of the manifest that are about the data rather than about how they came to be."""

CUT_COLUMNS = ("shard",)
"""Columns of the index that say how files are cut, not what they hold."""

BATCH_ROWS = 1024


def digest(path: str | Path, *, progress: Callable[[int, int], None] | None = None) -> str:
    """SHA-256 of arrays, index and manifest, as 64 hex digits; of a folder with several subsets, of their digests.

    Parameters
    ----------
    path
        A results folder or one store.
    progress
        Called with (shards done, shards in all).

    Raises
    ------
    StoreError
        If something is missing or damaged.
    MissingExtraError
        If pyarrow is not installed.
    """
    subsets = find_subsets(path)
    digests = [_digest(paths, progress) for paths in subsets]
    if len(digests) == 1:
        return digests[0]
    named = [f"{paths.subset} {one}" for paths, one in zip(subsets, digests, strict=True)]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()


def _digest(paths: SubsetPaths, progress: Callable[[int, int], None] | None) -> str:
    index_path, manifest_path = paths.local(".parquet"), paths.local(".json")
    reader = StoreReader.open(paths.store)
    whole = hashlib.sha256(_manifest_bytes(manifest_path))
    shards = all_shards(reader.layout)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done, hashes in enumerate(pool.map(lambda name: _location_hashes(reader, name), shards), start=1):
            whole.update(hashes)
            if progress is not None:
                progress(done, len(shards))
    for row in ROW_ARRAYS:
        whole.update(row.name.encode() + reader.row_values(row.name).tobytes())
    whole.update(_index_hash(index_path))
    return whole.hexdigest()


LATER_ARRAY_KEYS = {"quantization": "", "is_native": True}
"""Keys of an array that the first stores of the format do not have, and what they mean where they are absent."""


def _manifest_bytes(path: Path) -> bytes:
    tree = read_manifest(path).model_dump(mode="json", include=DATA_KEYS)
    for array in tree["arrays"]:
        for key, absent in LATER_ARRAY_KEYS.items():
            if array[key] == absent:
                del array[key]
    return json.dumps(tree, sort_keys=True).encode()


def _location_hashes(reader: StoreReader, name: ShardName) -> bytes:
    """One hash a location, in row order."""
    return b"".join(hashlib.sha256(item.data).digest() for item in reader.items(name))


def _index_hash(path: Path) -> bytes:
    """Of the index's values, row by row; how the file is cut and compressed plays no part."""
    table = read_index(path).drop_columns(list(CUT_COLUMNS))
    part = hashlib.sha256(json.dumps(table.schema.names).encode())
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        for row in batch.to_pylist():
            part.update(json.dumps(row, default=_plain, sort_keys=True).encode())
    return part.digest()


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise StoreError(f"the index holds a {type(value).__name__}, which format 1 does not know; upgrade noldo")
