"""Every chunk of one shard, checked and decoded: what `noldo verify` and `noldo digest` go through."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from noldo.errors import ChunkCorruptError, ShardMissingError
from noldo.metadata import codec_of, grid_of
from noldo.products import ArraySpec
from noldo.reader import Files
from noldo.shard_paths import shard_file
from noldo.shards import ABSENT, parse_index
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

    Raises
    ------
    ShardMissingError
        If the file does not exist.
    ChunkCorruptError
        If bytes differ from a checksum, a chunk is absent, or bytes belong to no chunk.
    """
    where = f"{files.where}/{name.file}"
    grid = grid_of(name.spec, layout)
    codec = codec_of(name.spec, layout.codec)
    try:
        content = memoryview(files.read(name.file))
    except FileNotFoundError:
        raise ShardMissingError(f"{where}: missing; run the build again, it rebuilds this one job") from None
    entries = parse_index(bytes(content[-grid.index_bytes :]), grid=grid, where=where)
    wanted = len(layout.rows_of(name.shard)) * grid.chunks_per_row
    lengths = entries[:wanted, 1]
    if (entries[:wanted] == ABSENT).any() or int(lengths.sum()) + grid.index_bytes != len(content):
        raise ChunkCorruptError(
            f"{where}: its index does not describe its {len(content)} bytes; delete this shard and run the build again"
        )
    item = np.empty(grid.item_shape, dtype=name.spec.dtype)
    for row in range(len(layout.rows_of(name.shard))):
        for part in range(grid.chunks_per_row):
            number = row * grid.chunks_per_row + part
            start, length = (int(value) for value in entries[number])
            seasons = slice(part * grid.seasons_per_chunk, (part + 1) * grid.seasons_per_chunk)
            codec.decode(content[start : start + length], item[seasons], where=f"{where}, chunk {number}")
        yield item
