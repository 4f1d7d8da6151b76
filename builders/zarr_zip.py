"""A zipped Zarr group of a stranger: metadata are checked first, then only the chunks that are asked for are unpacked.

It is read without zarr-python, which trusts what it opens: see `builders.zarr_documents` and `builders.zarr_chunks`.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from builders.archive_files import ZipFiles
from builders.archive_members import MIB, ArchiveError
from builders.import_items import BadItemError
from builders.zarr_chunks import chunk_values, packed_limit
from builders.zarr_documents import MAX_METADATA_BYTES, ArrayFacts, array_facts, json_object
from noldo.errors import InputError

MAX_SMALL_BYTES = 64 * MIB
"""Of an array that is read whole: names, times, places."""

MAX_PART_BYTES = 512 * MIB
"""Read at once: a file of 64 locations is 464 MB."""

MAX_CHUNKS = 100_000
"""Read at once; a location has 4 to 208."""

_TEXT_BYTES = 64
"""About what a string of any length takes."""

_GROUP_FILES = {2: ".zgroup", 3: "zarr.json"}
_ARRAY_FILES = {2: ".zarray", 3: "zarr.json"}

Spans = Sequence[tuple[int, int]]
"""First index and stop along each axis."""


class ZarrZip:
    """One zipped group, opened for reading."""

    def __init__(self, path: Path, *, where: str) -> None:
        """Check the table of contents and the metadata of all arrays.

        Parameters
        ----------
        where
            Name within the data set, for messages.

        Raises
        ------
        InputError
            If the archive or an array is not safe, or there is no group.
        """
        self.where = where
        # zarr-python appends a document anew when it changes; the last one counts.
        self._files = ZipFiles(path, where=where, may_repeat=True)
        self._root, self._format = self._find_root()
        self.arrays: Mapping[str, ArrayFacts] = self._read_metadata()

    def _find_root(self) -> tuple[str, int]:
        """Folder in the zip that is the group, "" or ending with a slash, and its Zarr format."""
        names = set(self._files.names())
        folders = {
            name[: name.rfind("/") + 1] for name in names if name.rpartition("/")[2] in _GROUP_FILES.values()
        }
        if not folders:
            raise InputError(f"{self.where}: no Zarr group in this zip; give a zarr.zip of SSL4EO-S12 v1.1")
        root = min(folders, key=lambda folder: (len(folder), folder))
        return root, 3 if f"{root}{_GROUP_FILES[3]}" in names else 2

    def _read_metadata(self) -> dict[str, ArrayFacts]:
        group = self._document(_GROUP_FILES[self._format])
        if group.get("zarr_format") != self._format or group.get("node_type", "group") != "group":
            raise InputError(
                f"{self.where}: {self._root}{_GROUP_FILES[self._format]} is that of no group of Zarr {self._format}; "
                "fetch the file again"
            )
        if self._format == 2:
            self._document(".zattrs", optional=True)
        document = _ARRAY_FILES[self._format]
        return {
            name: self._facts(name, document)
            for name in self._files.children(self._root.rstrip("/"))
            if document in self._files.children(f"{self._root}{name}")
        }

    def _document(self, name: str, *, optional: bool = False) -> dict[str, Any]:
        try:
            return json_object(self._files.read(self._root + name, limit=MAX_METADATA_BYTES))
        except FileNotFoundError:
            if optional:
                return {}
            raise InputError(f"{self.where}: no {self._root}{name}; fetch the file again") from None
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{self.where}: {self._root}{name}: {error}; fetch the file again") from None

    def _facts(self, name: str, document: str) -> ArrayFacts:
        tree = self._document(f"{name}/{document}")
        attributes = self._document(f"{name}/.zattrs", optional=True) if self._format == 2 else None
        try:
            return array_facts(tree, attributes=attributes)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{self.where}: array {name} is stored in a way that is not read ({error}); fetch the file again"
            ) from None

    def whole(self, name: str) -> np.ndarray:
        """A small array.

        Raises
        ------
        InputError
            If it is not small, not there, or damaged.
        """
        facts = self.arrays.get(name)
        if facts is None:
            raise InputError(f"{self.where}: no array {name}; it has {', '.join(self.arrays)}")
        spans = [(0, side) for side in facts.shape]
        return self._read(name, spans, may_lack=True, limit=MAX_SMALL_BYTES)

    def part(self, name: str, first: int, stop: int) -> np.ndarray:
        """Some entries of the first axis of an array; a chunk that is not there is an error.

        Raises
        ------
        BadItemError
            If a chunk is missing or damaged.
        InputError
            If it is larger than any that is published.
        """
        spans = [(first, stop), *((0, side) for side in self.arrays[name].shape[1:])]
        return self._read(name, spans, may_lack=False, limit=MAX_PART_BYTES)

    def _read(self, name: str, spans: Spans, *, may_lack: bool, limit: int) -> np.ndarray:
        facts = self.arrays[name]
        shape = tuple(stop - first for first, stop in spans)
        self._check_size(name, spans, limit=limit)
        dtype = np.dtype(object) if facts.dtype is None else facts.dtype.newbyteorder("=")
        found = np.empty(shape, dtype)
        for place in _places(spans, facts.chunks):
            values = self._chunk(name, facts, place, may_lack=may_lack)
            target, source = _overlap(place, spans, facts.chunks)
            found[target] = facts.fill if values is None else values[source]
        return found

    def _check_size(self, name: str, spans: Spans, *, limit: int) -> None:
        facts = self.arrays[name]
        size = math.prod(stop - first for first, stop in spans) * (
            facts.dtype.itemsize if facts.dtype else _TEXT_BYTES
        )
        num_chunks = math.prod(len(one) for one in _ranges(spans, facts.chunks))
        if size > limit or num_chunks > MAX_CHUNKS:
            raise ArchiveError(
                f"{self.where}: array {name} has {size} bytes in {num_chunks} chunks to read at once, at most {limit} in "
                f"{MAX_CHUNKS} are read"
            )

    def _chunk(
        self, name: str, facts: ArrayFacts, place: tuple[int, ...], *, may_lack: bool
    ) -> np.ndarray | None:
        """Values of one chunk; None if it is not there and need not be."""
        key = f"{name}/{facts.chunk_name(place)}"
        try:
            content = self._files.read(self._root + key, limit=packed_limit(facts))
            return chunk_values(content, facts)
        except FileNotFoundError:
            if may_lack and facts.fill is not None:
                return None
            raise BadItemError("missing file", f"{self.where}: chunk {key}") from None
        except (ValueError, RuntimeError) as error:
            if isinstance(error, InputError) and not isinstance(error, ArchiveError):
                raise  # the disk's fault, not the chunk's
            reason = str(error).removeprefix(f"{self.where}: ")
            raise BadItemError("unreadable file", f"{self.where}: chunk {key} ({reason})") from None


def _ranges(spans: Spans, chunks: Sequence[int]) -> list[range]:
    """Of the chunk grid, along each axis."""
    return [
        range(first // side, (stop - 1) // side + 1)
        for (first, stop), side in zip(spans, chunks, strict=True)
    ]


def _places(spans: Spans, chunks: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Places in the chunk grid of the chunks that a block touches."""
    return itertools.product(*_ranges(spans, chunks))


def _overlap(
    place: Sequence[int], spans: Spans, chunks: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a chunk and a block meet: in the block, and in the chunk."""
    target, source = [], []
    for number, (first, stop), side in zip(place, spans, chunks, strict=True):
        start, end = max(first, number * side), min(stop, (number + 1) * side)
        target.append(slice(start - first, end - first))
        source.append(slice(start - number * side, end - number * side))
    return tuple(target), tuple(source)
