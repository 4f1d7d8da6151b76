"""Reading a store, without torch and without zarr-python.

Local files and object stores are read by the same code: a shard's index once, then only the bytes of
the chunks asked for, decoded straight into the caller's array. Local files stay open, some dozens of them, and are read at
positions: a reader may be used by threads, pickled or forked at any time. A lost shard and a damaged chunk are errors;
neither ever reads as no data. Arrays that are stored otherwise than by this format are left to zarr-python (`noldo.by_zarr`).
"""

import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from noldo.by_zarr import ByZarr, is_stored_alike
from noldo.codecs import LABEL_CODEC, ChunkCodec
from noldo.errors import ChunkCorruptError, ShardMissingError, StoreError, StoreFormatError
from noldo.files import ByteRange, Cache, Files, LocalFiles, Source
from noldo.metadata import array_documents, codec_of, grid_of
from noldo.pixel_reads import PixelRead
from noldo.products import ArraySpec
from noldo.rows import ROW_ARRAYS
from noldo.shard_paths import shard_file
from noldo.shard_scan import ShardName, read_items
from noldo.shards import ABSENT, ShardGrid, parse_index
from noldo.store import StoreLayout, parse_layout

_LOG = logging.getLogger(__name__)

MAX_CACHED_INDEXES = 4096
"""Shard indexes kept in memory: 4 kB each at 64 locations and 4 seasons."""


def open_files(path_or_url: str | Path, *, cache: Cache | None = None) -> Files:
    """Files of a local store, or of one on S3 or GCS (`s3://`, `gs://`; needs obstore).

    Parameters
    ----------
    cache
        Where whole copies of shards are kept, and read from; None: shards are read where they are.

    Raises
    ------
    StoreError
        If the cache can't be written to.
    """
    files: Source
    if "://" in str(path_or_url):
        from noldo.remote import RemoteFiles

        files = RemoteFiles(str(path_or_url))
    else:
        files = LocalFiles(Path(path_or_url))
    if cache is None:
        return files
    from noldo.staging import StagedFiles

    return StagedFiles(files, cache)


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
        self.by_zarr = _stored_otherwise(self._group, self.layout, where=files.where)
        """Names of arrays that are stored otherwise than by this format."""
        self._zarr = ByZarr(files.where)
        for name in sorted(self.by_zarr):
            _LOG.warning(
                "%s/%s: stored otherwise than by this format, so zarr-python reads it where it is, more slowly; chunks that are not there are no data",
                files.where, name,
            )  # fmt: skip
        self._arrays: dict[str, _Array] = {}
        self._indexes: OrderedDict[tuple[str, int], tuple[str, list[tuple[int, int]]]] = OrderedDict()

    @classmethod
    def open(cls, path_or_url: str | Path, *, cache: Cache | None = None) -> "StoreReader":
        """Open a local `nol.zarr`, or one on S3 or GCS; see `open_files`."""
        return cls(open_files(path_or_url, cache=cache))

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
        if name in self.by_zarr:
            return self._zarr.whole(name)
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
        out = np.empty((len(seasons), *self.patch_shape(spec)), dtype=spec.dtype)
        self.read_all([PixelRead(out, spec, row, seasons)])
        return out

    def items(self, name: ShardName) -> Iterator[np.ndarray]:
        """Locations of a shard, one at a time in row order: (season, band?, y, x) as stored; see `read_items`.

        Raises
        ------
        ShardMissingError, ChunkCorruptError, StoreError
            If something is missing or damaged.
        """
        if name.spec.name not in self.by_zarr:
            return read_items(self.files, name, self.layout)
        seasons = range(len(self.layout.season_names))
        rows = self.layout.rows_of(name.shard)
        return (self.pixels(name.spec, row=row, seasons=seasons) for row in rows)

    def patch_shape(self, spec: ArraySpec) -> tuple[int, ...]:
        """(band?, y, x) of one season of one location."""
        return self._array(spec).grid.chunk_shape[1:]

    def read_all(self, reads: Sequence[PixelRead]) -> None:
        """Pixels of many places, each into memory that is there already; see `pixels` for what it raises.

        It is planned what is read of which file, and only then read and decoded: what happens between two chunks costs most, because decoding
        has pushed everything else out of the processor's caches.
        """
        since = time.monotonic()
        scratch: dict[str, np.ndarray] = {}
        chunks = []
        for read in reads:
            try:
                chunk = self._one_chunk(read, scratch)
            except ChunkCorruptError:
                if not self._is_renewed(read, since):
                    raise
                chunk = self._one_chunk(read, scratch)
            if chunk is not None:
                chunks.append(chunk)
                continue
            try:
                self._read_alone(read)
            except ChunkCorruptError:
                if not self._is_renewed(read, since):
                    raise
                self._read_alone(read)
        where = self.files.where
        views = self.files.view_ranges([chunk.place for chunk in chunks])
        for chunk, stored in zip(chunks, views, strict=True):
            read, number, place, codec, target, picked = chunk
            try:
                codec.decode(stored, target, where=_ChunkName(where, place.name, number))
            except ChunkCorruptError:
                if not self._is_renewed(read, since):
                    raise
                self._read_alone(read)
                continue
            if target is not read.out:
                read.cut(target if picked is None else target[picked])

    def _one_chunk(self, read: PixelRead, scratch: dict[str, np.ndarray]) -> "_ChunkRead | None":
        """The chunk that holds all that is asked for; None: there is no such.

        Parameters
        ----------
        scratch
            Array to memory for a whole chunk of it, of those that are not decoded where they are to go.
        """
        out, spec, row, seasons, bands, box = read
        if not seasons or (self.by_zarr and spec.name in self.by_zarr):
            return None
        array = self._array(spec)
        step = array.grid.seasons_per_chunk
        picked = None
        if step > 1 or len(seasons) > 1:
            if any(season // step != seasons[0] // step for season in seasons):
                return None
            picked = [season % step for season in seasons]
            picked = None if picked == list(range(step)) else picked
        shard, row_in_shard = divmod(row, self.layout.locations_per_shard)
        number = array.grid.chunk_number(row_in_shard, seasons[0])
        file, index = self._index(array, shard)
        start, length = index[number]
        if ABSENT in (start, length):
            raise _absent(_ChunkName(self.files.where, file, number))
        if picked is not None or bands is not None or box is not None:
            if spec.name not in scratch:
                scratch[spec.name] = np.empty(array.grid.chunk_shape, spec.dtype)
            out = scratch[spec.name]
        return _ChunkRead(read, number, ByteRange(file, start, length), array.codec, out, picked)

    def _read_alone(self, read: PixelRead) -> None:
        """Whatever chunks it takes."""
        if read.spec.name in self.by_zarr:
            read.cut(self._zarr.pixels(read.spec.name, row=read.row, seasons=read.seasons))
        elif read.is_of_whole_patches:
            self._read_patches(read, read.out)
        else:
            whole = np.empty((len(read.seasons), *self.patch_shape(read.spec)), read.spec.dtype)
            self._read_patches(read, whole)
            read.cut(whole)

    def _read_patches(self, read: PixelRead, out: np.ndarray) -> None:
        """(season, band?, y, x), whole."""
        array = self._array(read.spec)
        shard, row = divmod(read.row, self.layout.locations_per_shard)
        step = array.grid.seasons_per_chunk
        if step == 1:
            self._decode(array, shard, [array.grid.chunk_number(row, season) for season in read.seasons], out)
            return
        # One chunk holds several seasons (all of them, in this format).
        numbers = sorted({array.grid.chunk_number(row, season) for season in read.seasons})
        chunks = np.empty((len(numbers), *array.grid.chunk_shape), dtype=array.spec.dtype)
        self._decode(array, shard, numbers, chunks)
        stored = [number * step + season for number in numbers for season in range(step)]
        wanted = [row * array.grid.num_seasons + season for season in read.seasons]
        found = chunks.reshape(-1, *array.grid.chunk_shape[1:])
        np.take(found, [stored.index(one) for one in wanted], axis=0, out=out)

    def _is_renewed(self, read: PixelRead, since: float) -> bool:
        """Told that what was read of a shard since then is damaged: whether reading it again may give something else."""
        array = self._array(read.spec)
        shard = read.row // self.layout.locations_per_shard
        if not self.files.forget(shard_file(read.spec.name, array.num_axes, shard), since=since):
            return False
        self._indexes.pop((read.spec.name, shard), None)
        return True

    def _array(self, spec: ArraySpec) -> "_Array":
        found = self._arrays.get(spec.name)
        if found is None:
            found = _Array(spec, grid_of(spec, self.layout), codec_of(spec, self.layout.codec))
            self._arrays[spec.name] = found
        return found

    def _decode(self, array: "_Array", shard: int, numbers: Sequence[int], out: np.ndarray) -> None:
        """Chunks of a shard, by number, into (chunk, ...)."""
        file, _ = self._index(array, shard)
        for number, stored, into in zip(numbers, self._chunks(array, shard, numbers), out, strict=True):
            array.codec.decode(stored, into, where=_ChunkName(self.files.where, file, number))

    def _chunks(
        self, array: "_Array", shard: int, numbers: Sequence[int]
    ) -> Iterator[bytes | memoryview | np.ndarray]:
        """Stored bytes of chunks, each until the next one; read at once where they follow each other."""
        file, index = self._index(array, shard)
        entries = [index[number] for number in numbers]
        for number, entry in zip(numbers, entries, strict=True):
            if ABSENT in entry:
                raise _absent(_ChunkName(self.files.where, file, number))
        ends = [start + length for start, length in entries]
        if ends[:-1] != [start for start, _ in entries[1:]]:
            yield from self.files.view_ranges([ByteRange(file, *entry) for entry in entries])
            return
        first = entries[0][0]
        (content,) = self.files.view_ranges([ByteRange(file, first, ends[-1] - first)])
        for (start, _), end in zip(entries, ends, strict=True):
            yield content[start - first : end - first]

    def _index(self, array: "_Array", shard: int) -> tuple[str, list[tuple[int, int]]]:
        """Name of a shard's file; offset and length of each of its chunks."""
        key = array.spec.name, shard
        found = self._indexes.get(key)
        if found is None:
            file = shard_file(array.spec.name, array.num_axes, shard)
            found = self._indexes[key] = file, self._read_index(array, shard, file)
            while len(self._indexes) > MAX_CACHED_INDEXES:
                self._indexes.popitem(last=False)
        return found

    def _read_index(self, array: "_Array", shard: int, file: str) -> list[tuple[int, int]]:
        where = f"{self.files.where}/{file}"
        try:
            tail = self.files.read_tail(file, length=array.grid.index_bytes)
        except FileNotFoundError:
            raise ShardMissingError(
                f"{where}: shard {shard} of {array.spec.name} is missing; run the build again, "
                "it rebuilds this one job"
            ) from None
        return list(map(tuple, parse_index(tail, grid=array.grid, where=where).tolist()))


def _stored_otherwise(group: bytes, layout: StoreLayout, *, where: str) -> frozenset[str]:
    """Names of arrays; what they hold has to be of this format all the same."""
    found = json.loads(group)["consolidated_metadata"]["metadata"]
    names = set()
    for name, document in array_documents(layout).items():
        if name not in found or is_stored_alike(found[name], document):
            continue
        for key in ("shape", "data_type", "fill_value"):
            if found[name].get(key) != document[key]:
                raise StoreFormatError(
                    f"{where}/{name}: {key} {found[name].get(key)}, but this format has {document[key]}; store it anew with the same "
                    "shape, data type, fill value and attributes"
                )
        names.add(name)
    return frozenset(names)


@dataclass(frozen=True)
class _Array:
    """One array, with what does not change from chunk to chunk."""

    spec: ArraySpec
    grid: ShardGrid
    codec: ChunkCodec

    @property
    def num_axes(self) -> int:
        return 5 if self.spec.bands else 4


class _ChunkName(NamedTuple):
    """Names a chunk in messages: put into words only when there is one."""

    store: str
    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.store}/{self.file}, chunk {self.number}"


class _ChunkRead(NamedTuple):
    """One chunk, and what becomes of it."""

    read: PixelRead
    number: int
    place: ByteRange
    codec: ChunkCodec
    target: np.ndarray
    """What it is decoded into, of its size: where the pixels are to go, or memory that the next chunk uses again."""
    picked: list[int] | None
    """Its seasons that are asked for; None: all."""


def _absent(name: _ChunkName) -> ChunkCorruptError:
    return ChunkCorruptError(f"{name}: not in the shard; delete this shard and run the build again")
