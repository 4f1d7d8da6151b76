"""Every chunk of one shard, checked and decoded: what `noldo verify` and `noldo digest` go through."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from noldo.errors import ChunkCorruptError, ShardMissingError
from noldo.files import Files
from noldo.metadata import codec_of, grid_of
from noldo.products import ArraySpec
from noldo.shard_paths import shard_file
from noldo.shards import ABSENT, ShardGrid, parse_index
from noldo.store import StoreLayout


@dataclass(frozen=True)
class ShardName:
    """One shard of one array."""

    spec: ArraySpec
    shard: int

    @property
    def file(self) -> str:
        """Path relative to the store."""
        return shard_file(self.spec.name, 5 if self.spec.bands else 4, self.shard)


def all_shards(layout: StoreLayout) -> list[ShardName]:
    """Every shard that the store must have, array by array."""
    return [ShardName(spec, shard) for spec in layout.specs for shard in range(layout.num_shards)]


def read_items(files: Files, name: ShardName, layout: StoreLayout) -> Iterator[np.ndarray]:
    """Locations of a shard, one at a time in row order: (season, band?, y, x) as stored.

    What is yielded is overwritten by the next one.

    Raises
    ------
    ShardMissingError
        If the file does not exist.
    ChunkCorruptError
        If bytes differ from a checksum, a chunk is absent, or bytes belong to no chunk.
    """
    for item, faults in scan_items(files, name, layout):
        if faults:
            raise faults[0]
        yield item


def scan_items(
    files: Files, name: ShardName, layout: StoreLayout
) -> Iterator[tuple[np.ndarray, list[ChunkCorruptError]]]:
    """As `read_items`, but damaged chunks are listed beside their location and the rest is read on.

    Raises
    ------
    ShardMissingError
        If the file does not exist.
    ChunkCorruptError
        If the shard's index is damaged, so that no chunk can be found.
    """
    where = f"{files.where}/{name.file}"
    grid = grid_of(name.spec, layout)
    codec = codec_of(name.spec, layout.codec)
    content = _content(files, name, where=where)
    num_rows = len(layout.rows_of(name.shard))
    entries = _entries(content, grid=grid, num_rows=num_rows, where=where)
    item = np.empty(grid.item_shape, dtype=name.spec.dtype)
    for row in range(num_rows):
        faults = []
        for part in range(grid.chunks_per_row):
            number = row * grid.chunks_per_row + part
            start, length = (int(value) for value in entries[number])
            seasons = slice(part * grid.seasons_per_chunk, (part + 1) * grid.seasons_per_chunk)
            try:
                codec.decode(content[start : start + length], item[seasons], where=f"{where}, chunk {number}")
            except ChunkCorruptError as error:
                faults.append(error)
        yield item, faults


def _content(files: Files, name: ShardName, *, where: str) -> memoryview:
    try:
        return memoryview(files.read(name.file))
    except FileNotFoundError:
        raise ShardMissingError(
            f"{where}: shard {name.shard} of {name.spec.name} is missing; run the build again, "
            "it rebuilds this one job"
        ) from None


def _entries(content: memoryview, *, grid: ShardGrid, num_rows: int, where: str) -> np.ndarray:
    """(chunk, 2) offsets and lengths; every row has its chunks, and every byte belongs to one."""
    entries = parse_index(bytes(content[-grid.index_bytes :]), grid=grid, where=where)
    used, unused = np.split(entries, [num_rows * grid.chunks_per_row])
    ends = np.cumsum(used[:, 1])
    well = (unused == ABSENT).all() and not (used == ABSENT).any()
    well = well and np.array_equal(used[:, 0], ends - used[:, 1])
    if not well or int(ends[-1]) + grid.index_bytes != len(content):
        raise ChunkCorruptError(
            f"{where}: its index does not describe its {len(content)} bytes; delete this shard and run the build again"
        )
    return entries
