"""Bytes of one shard file: chunks one after another, then an index with a checksum.

This is the `sharding_indexed` codec of the Zarr v3 specification with the index at the end. Chunks
follow each other without gaps, in C order of the chunk grid; rows beyond the last location have no
chunk. A shard is written in one pass, one chunk in memory at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from noldo.codecs import CHECKSUM_BYTES, ChunkCodec, with_checksum, without_checksum
from noldo.errors import ChunkCorruptError

ABSENT = 2**64 - 1
"""Offset and length of a chunk that does not exist (Zarr v3, sharding_indexed)."""

INDEX_DTYPE = np.dtype("<u8")


@dataclass(frozen=True)
class ShardGrid:
    """How the chunks of a shard are cut."""

    num_rows: int
    """Locations a full shard holds."""
    num_seasons: int
    """Length of the season axis."""
    item_shape: tuple[int, ...]
    """Shape of one location: (season, band?, y, x)."""
    seasons_per_chunk: int
    """1 for images, all for labels. Must divide the number of seasons."""

    @property
    def chunks_per_row(self) -> int:
        """Chunks of one location."""
        return self.num_seasons // self.seasons_per_chunk

    @property
    def num_chunks(self) -> int:
        """Entries of the index."""
        return self.num_rows * self.chunks_per_row

    @property
    def index_bytes(self) -> int:
        """Length of the index with its checksum."""
        return self.num_chunks * 2 * INDEX_DTYPE.itemsize + CHECKSUM_BYTES

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Shape of one chunk of one location: (season, band?, y, x)."""
        return (self.seasons_per_chunk, *self.item_shape[1:])

    def chunk_number(self, row: int, season: int) -> int:
        """Place in the index of the chunk that holds a season of a row of the shard."""
        return row * self.chunks_per_row + season // self.seasons_per_chunk


def write_chunks(file: BinaryIO, items: np.ndarray, *, grid: ShardGrid, codec: ChunkCodec) -> None:
    """Write a whole shard.

    Parameters
    ----------
    file
        Open for writing, at its beginning.
    items
        (row, season, band?, y, x); fewer rows than `grid.num_rows` in the last shard only.
    """
    index = np.full((grid.num_chunks, 2), ABSENT, dtype=INDEX_DTYPE)
    offset = 0
    for number, chunk in _chunks(items, grid=grid):
        stored = codec.encode(chunk)
        file.write(stored)
        index[number] = offset, len(stored)
        offset += len(stored)
    file.write(with_checksum(index.tobytes()))


def _chunks(items: np.ndarray, *, grid: ShardGrid) -> Iterator[tuple[int, np.ndarray]]:
    step = grid.seasons_per_chunk
    for row, item in enumerate(items):
        for season in range(0, grid.num_seasons, step):
            yield grid.chunk_number(row, season), item[season : season + step]


def parse_index(tail: bytes, *, grid: ShardGrid, where: str) -> np.ndarray:
    """Check and read the index.

    Parameters
    ----------
    tail
        The last `grid.index_bytes` bytes of the file.

    Returns
    -------
    (chunk, 2) offsets and lengths in bytes.

    Raises
    ------
    ChunkCorruptError
        If the file is shorter than an index, or the checksum does not fit.
    """
    if len(tail) < grid.index_bytes:
        raise ChunkCorruptError(
            f"{where}: {len(tail)} bytes, shorter than its index of {grid.index_bytes}; "
            "delete this shard and run the build again"
        )
    payload = without_checksum(tail, where=f"{where}, index")
    return np.frombuffer(payload, dtype=INDEX_DTYPE).reshape(grid.num_chunks, 2)
