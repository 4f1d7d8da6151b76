"""Reading a store, without torch and without zarr-python.

Local files and object stores are read by the same code: a shard's index once, then only the bytes of
the chunks asked for. No file stays open between calls, so a reader may be pickled or forked at any time.
A lost shard and a damaged chunk are errors; neither ever reads as no data.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from noldo.codecs import LABEL_CODEC
from noldo.errors import ChunkCorruptError, ShardMissingError, StoreError
from noldo.metadata import codec_of, grid_of
from noldo.products import ArraySpec
from noldo.rows import ROW_ARRAYS
from noldo.shard_paths import shard_file
from noldo.shards import ABSENT, ShardGrid, parse_index
from noldo.store import StoreLayout, parse_layout

MAX_CACHED_INDEXES = 4096
"""Shard indexes kept in memory: 4 kB each at 64 locations and 4 seasons."""


class Files(Protocol):
    """Read access to the files of a store, by their path relative to it.

    Every method raises `FileNotFoundError` if there is no such file, and `StoreError` if it can't be read.
    """

    where: str
    """Path or URL of the store, for messages."""

    def read(self, name: str) -> bytes:
        """The whole file."""
        ...

    def read_range(self, name: str, *, start: int, length: int) -> bytes:
        """Some bytes; fewer if the file ends before."""
        ...

    def read_tail(self, name: str, *, length: int) -> bytes:
        """The last bytes; fewer if the file is shorter."""
        ...


class LocalFiles:
    """Files of a store in a folder."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path

    def read(self, name: str) -> bytes:
        """See `Files`."""
        with self._open(name) as file:
            return file.read()

    def read_range(self, name: str, *, start: int, length: int) -> bytes:
        """See `Files`."""
        with self._open(name) as file:
            file.seek(start)
            return file.read(length)

    def read_tail(self, name: str, *, length: int) -> bytes:
        """See `Files`."""
        with self._open(name) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - length))
            return file.read()

    @contextmanager
    def _open(self, name: str) -> Iterator[FileIO]:
        # Unbuffered: exactly the bytes asked for are read.
        try:
            with FileIO(self._path / name) as file:
                yield file
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(
                f"{self.where}/{name}: can't be read ({error.strerror}); check the disk and the permissions"
            ) from error


def open_files(path_or_url: str | Path) -> Files:
    """Files of a local store, or of one on S3 or GCS (`s3://`, `gs://`; needs obstore)."""
    if "://" in str(path_or_url):
        from noldo.remote import RemoteFiles

        return RemoteFiles(str(path_or_url))
    return LocalFiles(Path(path_or_url))


class StoreReader:
    """One store, opened for reading."""

    def __init__(self, files: Files) -> None:
        """Read what the store is made of.

        Raises
        ------
        StoreError
            If there is no store.
        StoreFormatError
            If it is of another format.
        """
        self.files = files
        try:
            self._group = files.read("zarr.json")
        except FileNotFoundError:
            raise StoreError(f"{files.where}: no store here; give a folder that a build made") from None
        self.layout: StoreLayout = parse_layout(self._group, where=files.where)
        self._indexes: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()

    @classmethod
    def open(cls, path_or_url: str | Path) -> "StoreReader":
        """Open a local `nol.zarr`, or one on S3 or GCS."""
        return cls(open_files(path_or_url))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_indexes": OrderedDict()}

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the group."""
        attributes: dict[str, Any] = json.loads(self._group)["attributes"]
        return attributes

    def digest(self) -> str:
        """SHA-256 of what the store is made of and of its small arrays: id, status, place, time. Not of its pixels.

        Raises
        ------
        StoreError
            If a small array is not there.
        """
        found = hashlib.sha256(self._group)
        for row in ROW_ARRAYS:
            found.update(self.row_values(row.name).tobytes())
        return found.hexdigest()

    def row_values(self, name: str) -> np.ndarray:
        """One small array, whole; see `noldo.rows.ROW_ARRAYS` for names, axes and units.

        Raises
        ------
        StoreError
            If it is not there: the build is not finished.
        ChunkCorruptError
            If its bytes are damaged.
        """
        row = next(row for row in ROW_ARRAYS if row.name == name)
        layout = self.layout
        shape = row.shape(num_locations=layout.num_locations, num_seasons=len(layout.season_names))
        file = "/".join([name, "c", *["0"] * len(shape)])
        try:
            stored = self.files.read(file)
        except FileNotFoundError:
            raise StoreError(
                f"{self.files.where}/{file}: missing, so the build is not finished; run it again"
            ) from None
        values = np.empty(shape, dtype=row.dtype)
        LABEL_CODEC.decode(stored, values, where=f"{self.files.where}/{file}")
        return values

    def pixels(self, spec: ArraySpec, *, row: int, seasons: Sequence[int]) -> np.ndarray:
        """Pixels of one location.

        Parameters
        ----------
        spec
            One of `layout.specs`.
        row
            Row of the store, 0 .. num_locations - 1.
        seasons
            Positions on the season axis.

        Returns
        -------
        (season, band?, y, x) as stored, seasons in the order asked for.

        Raises
        ------
        ShardMissingError
            If the shard's file does not exist.
        ChunkCorruptError
            If its bytes are damaged.
        """
        grid = grid_of(spec, self.layout)
        shard, row_in_shard = divmod(row, self.layout.locations_per_shard)
        numbers = [grid.chunk_number(row_in_shard, season) for season in seasons]
        distinct = sorted(set(numbers))
        chunks = np.empty((len(distinct), *grid.chunk_shape), dtype=spec.dtype)
        codec = codec_of(spec, self.layout.codec)
        for position, stored in enumerate(self._chunks(spec, grid, shard, distinct)):
            codec.decode(stored, chunks[position], where=self._where(spec, shard, distinct[position]))
        found = chunks.reshape(-1, *grid.chunk_shape[1:])
        step = grid.seasons_per_chunk
        places = [
            distinct.index(number) * step + season % step
            for number, season in zip(numbers, seasons, strict=True)
        ]
        return found if places == list(range(len(found))) else found[places]

    def _where(self, spec: ArraySpec, shard: int, chunk: int) -> str:
        return f"{self.files.where}/{self._file(spec, shard)}, chunk {chunk}"

    @staticmethod
    def _file(spec: ArraySpec, shard: int) -> str:
        return shard_file(spec.name, 5 if spec.bands else 4, shard)

    def _chunks(
        self, spec: ArraySpec, grid: ShardGrid, shard: int, numbers: Sequence[int]
    ) -> list[bytes | memoryview]:
        """Stored bytes of chunks, read at once where they follow each other."""
        entries = self._index(spec, grid, shard)[list(numbers)]
        if (entries == ABSENT).any():
            absent = numbers[int((entries == ABSENT).any(axis=1).argmax())]
            raise ChunkCorruptError(
                f"{self._where(spec, shard, absent)}: not in the shard; "
                "delete this shard and run the build again"
            )
        offsets, lengths = entries[:, 0].tolist(), entries[:, 1].tolist()
        file = self._file(spec, shard)
        span = offsets[-1] + lengths[-1] - offsets[0]
        if span != sum(lengths):
            return [
                self.files.read_range(file, start=start, length=length)
                for start, length in zip(offsets, lengths, strict=True)
            ]
        block = memoryview(self.files.read_range(file, start=offsets[0], length=span))
        return [
            block[start - offsets[0] : start - offsets[0] + length]
            for start, length in zip(offsets, lengths, strict=True)
        ]

    def _index(self, spec: ArraySpec, grid: ShardGrid, shard: int) -> np.ndarray:
        key = spec.name, shard
        index = self._indexes.get(key)
        if index is None:
            index = self._read_index(spec, grid, shard)
            self._indexes[key] = index
            while len(self._indexes) > MAX_CACHED_INDEXES:
                self._indexes.popitem(last=False)
        return index

    def _read_index(self, spec: ArraySpec, grid: ShardGrid, shard: int) -> np.ndarray:
        file = self._file(spec, shard)
        where = f"{self.files.where}/{file}"
        try:
            tail = self.files.read_tail(file, length=grid.index_bytes)
        except FileNotFoundError:
            raise ShardMissingError(
                f"{where}: shard {shard} of {spec.name} is missing; run the build again, "
                "it rebuilds this one job"
            ) from None
        return parse_index(tail, grid=grid, where=where)
