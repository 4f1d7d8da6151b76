"""One hash of what a subset holds: equal data give equal digests, in whatever order they were built.

Pixels are hashed decoded, so the digest depends neither on the compressor's version nor on the codec. What a
build did (counters, times, versions) is not in it.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from noldo.errors import StoreError
from noldo.index import read_index
from noldo.paths import find_subset
from noldo.reader import StoreReader
from noldo.rows import ROW_ARRAYS
from noldo.shard_scan import ShardName, all_shards, read_items


def digest(path: str | Path, *, progress: Callable[[int, int], None] | None = None) -> str:
    """SHA-256 of arrays and index, as 64 hex digits.

    Parameters
    ----------
    path
        A results folder or its store.
    progress
        Called with (shards done, shards in all).

    Raises
    ------
    StoreError
        If something is missing or damaged.
    """
    paths = find_subset(path)
    reader = StoreReader.open(paths.store)
    whole = hashlib.sha256(_description(reader))
    shards = all_shards(reader.layout)
    for done, name in enumerate(shards):
        if progress is not None:
            progress(done, len(shards))
        whole.update(_shard_hash(reader, name))
    for row in ROW_ARRAYS:
        whole.update(row.name.encode() + reader.row_values(row.name).tobytes())
    whole.update(_index_hash(paths.local(".parquet")))
    return whole.hexdigest()


def _description(reader: StoreReader) -> bytes:
    layout = reader.layout
    arrays = [[spec.name, spec.bands, spec.dtype, spec.no_data, spec.scale] for spec in layout.specs]
    what = [arrays, layout.num_locations, layout.season_names, layout.patch_size_px]
    return json.dumps(what).encode()


def _shard_hash(reader: StoreReader, name: ShardName) -> bytes:
    part = hashlib.sha256(name.spec.name.encode())
    for item in read_items(reader.files, name, reader.layout):
        part.update(item.data)
    return part.digest()


def _index_hash(path: Path) -> bytes:
    """Of the index's values, row by row; how the file is cut and compressed plays no part."""
    part = hashlib.sha256()
    table = read_index(path)
    part.update(json.dumps(table.schema.names).encode())
    for batch in table.to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            part.update(json.dumps(row, default=_plain, sort_keys=True).encode())
    return part.digest()


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise StoreError(f"the index holds a {type(value).__name__}, which format 1 does not know; upgrade noldo")
