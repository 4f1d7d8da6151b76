"""A zipped Zarr group of a stranger: metadata are checked first, then only the chunks that are asked for are unpacked.

zarr-python decodes, but from memory, and sees nothing that was not checked: dtypes and codecs that could run code or unpack
without bound are refused, and the length that a compressed chunk tells must be that of the chunk.
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from builders.archive_files import ZipFiles
from builders.archive_members import MIB, ArchiveError
from builders.import_items import BadItemError
from noldo.errors import InputError

MAX_METADATA_BYTES = MIB
MAX_SMALL_BYTES = 64 * MIB
"""Of an array that is read whole: names, times, places."""

MAX_CHUNK_BYTES = 512 * MIB
MAX_AXES = 6

_CODECS = (None, "blosc", "lz4", "zstd")
"""Compressors whose chunks tell their unpacked length."""

_V3_CODECS = ("bytes", "blosc", "zstd", "vlen-utf8")
_KINDS = "iufbMmUS"
_GROUP_FILES = ("zarr.json", ".zgroup")


@dataclass(frozen=True)
class ArrayFacts:
    """What the metadata of an array tell."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any] | None
    """None: strings of any length."""
    compressor: str | None
    dimensions: tuple[str, ...]
    """Names of the axes; empty if there are none."""
    attributes: Mapping[str, Any]

    @property
    def chunk_bytes(self) -> int:
        """Of one unpacked chunk; 0 for strings of any length."""
        return 0 if self.dtype is None else math.prod(self.chunks) * self.dtype.itemsize


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
        import zarr

        self.where = where
        # zarr-python appends a document anew when it changes; the last one counts.
        self._files = ZipFiles(path, may_repeat=True)
        self._root = self._find_root()
        self._memory: dict[str, Any] = {}
        self.arrays: Mapping[str, ArrayFacts] = self._read_metadata()
        store = zarr.storage.MemoryStore(self._memory, read_only=True)
        # Consolidated metadata would be a second, unchecked description.
        self._group = zarr.open_group(store, mode="r", use_consolidated=False)

    def _find_root(self) -> str:
        """Folder in the zip that is the group; "" or ending with a slash."""
        roots = [
            name.rpartition("/") for name in self._files.names() if name.rpartition("/")[2] in _GROUP_FILES
        ]
        folders = sorted({folder + slash for folder, slash, _ in roots}, key=len)
        if not folders:
            raise InputError(f"{self.where}: no Zarr group in this zip; give a zarr.zip of SSL4EO-S12 v1.1")
        return folders[0]

    def _read_metadata(self) -> dict[str, ArrayFacts]:
        found = {}
        for name in self._files.children(self._root.rstrip("/")):
            if name in (".zgroup", ".zattrs", "zarr.json"):
                self._load(name, limit=MAX_METADATA_BYTES)
                continue
            for document in (".zarray", "zarr.json"):
                if document in self._files.children(f"{self._root}{name}"):
                    found[name] = self._facts(name, document)
                    self._load(f"{name}/{document}", limit=MAX_METADATA_BYTES)
        return found

    def _load(self, name: str, *, limit: int) -> bytes:
        from zarr.core.buffer import default_buffer_prototype

        content = self._files.read(self._root + name, limit=limit)
        self._memory[name] = default_buffer_prototype().buffer.from_bytes(content)
        return content

    def _json(self, name: str) -> dict[str, Any]:
        try:
            tree = json.loads(self._files.read(self._root + name, limit=MAX_METADATA_BYTES))
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError):
            tree = None
        if not isinstance(tree, dict):
            raise InputError(f"{self.where}: {name} is no JSON object; fetch the file again")
        return tree

    def _facts(self, name: str, document: str) -> ArrayFacts:
        tree = self._json(f"{name}/{document}")
        try:
            facts = (
                _facts_v2(tree, self._json(f"{name}/.zattrs")) if document == ".zarray" else _facts_v3(tree)
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"{self.where}: array {name} is stored in a way that is not read ({error}); fetch the file again"
            ) from None
        sides = (*facts.shape, *facts.chunks)
        if len(facts.shape) > MAX_AXES or any(not 0 < side <= 1 << 31 for side in sides):
            raise ArchiveError(
                f"{self.where}: array {name} has shape {facts.shape} in chunks of {facts.chunks}"
            )
        if facts.chunk_bytes > MAX_CHUNK_BYTES:
            raise ArchiveError(
                f"{self.where}: array {name} has chunks of {facts.chunk_bytes} bytes, at most {MAX_CHUNK_BYTES} are read"
            )
        return facts

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
        size = math.prod(facts.shape) * (facts.dtype.itemsize if facts.dtype else 64)
        if size > MAX_SMALL_BYTES:
            raise ArchiveError(
                f"{self.where}: array {name} has {size} bytes, at most {MAX_SMALL_BYTES} are read"
            )
        return self._read(name, tuple((0, side) for side in facts.shape), strict=False)

    def part(self, name: str, first: int, stop: int) -> np.ndarray:
        """Some entries of the first axis of an array; a chunk that is not there is an error.

        Raises
        ------
        BadItemError
            If a chunk is missing or damaged.
        """
        facts = self.arrays[name]
        spans = ((first, stop), *((0, side) for side in facts.shape[1:]))
        return self._read(name, spans, strict=True)

    def _read(self, name: str, spans: Sequence[tuple[int, int]], *, strict: bool) -> np.ndarray:
        facts = self.arrays[name]
        keys: list[str] = []
        try:
            array: Any = self._group[name]
            places = _chunks_of(spans, facts.chunks)
            keys = [f"{name}/{array.metadata.encode_chunk_key(place)}" for place in places]
            for key in keys:
                self._load_chunk(key, facts, strict=strict)
            found: np.ndarray = np.asarray(array[tuple(slice(*span) for span in spans)])
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, InputError):
                raise
            raise BadItemError("unreadable file", f"{self.where}: array {name} ({error})") from None
        finally:
            for key in keys:
                self._memory.pop(key, None)
        return found

    def _load_chunk(self, key: str, facts: ArrayFacts, *, strict: bool) -> None:
        # Compressed data are at most a little longer than what they were made from.
        limit = facts.chunk_bytes + facts.chunk_bytes // 8 + MIB if facts.chunk_bytes else MAX_SMALL_BYTES
        try:
            content = self._load(key, limit=limit)
        except FileNotFoundError:
            if strict:
                raise BadItemError("missing file", f"{self.where}: chunk {key}") from None
            return
        except InputError as error:
            raise BadItemError("unreadable file", f"{self.where}: chunk {key} ({error})") from None
        told = _unpacked_bytes(content, facts.compressor)
        if (facts.chunk_bytes and told != facts.chunk_bytes) or told > MAX_SMALL_BYTES + facts.chunk_bytes:
            raise BadItemError(
                "unreadable file",
                f"{self.where}: chunk {key} unpacks to {told} bytes, expected {facts.chunk_bytes}",
            )


def _facts_v2(tree: Mapping[str, Any], attributes: Mapping[str, Any]) -> ArrayFacts:
    compressor = (tree["compressor"] or {}).get("id")
    filters = [one["id"] for one in tree.get("filters") or ()]
    is_text = tree["dtype"] == "|O" and filters == ["vlen-utf8"]
    if compressor not in _CODECS:
        raise ValueError(f"compressor {compressor!r}, expected {', '.join(map(str, _CODECS))}")
    if filters and not is_text:
        raise ValueError(f"filters {', '.join(filters)}")
    dimensions = attributes.get("_ARRAY_DIMENSIONS") or ()
    return ArrayFacts(
        shape=tuple(map(int, tree["shape"])),
        chunks=tuple(map(int, tree["chunks"])),
        dtype=None if is_text else _plain_dtype(tree["dtype"]),
        compressor=compressor,
        dimensions=tuple(map(str, dimensions)),
        attributes=attributes,
    )


def _facts_v3(tree: Mapping[str, Any]) -> ArrayFacts:
    codecs = [one["name"] if isinstance(one, dict) else one for one in tree["codecs"]]
    if strange := [name for name in codecs if name not in _V3_CODECS]:
        raise ValueError(f"codecs {', '.join(strange)}")
    packers = [name for name in codecs if name in _CODECS]
    is_text = tree["data_type"] == "string"
    grid = tree["chunk_grid"]
    if grid["name"] != "regular":
        raise ValueError(f"chunk grid {grid['name']}")
    return ArrayFacts(
        shape=tuple(map(int, tree["shape"])),
        chunks=tuple(map(int, grid["configuration"]["chunk_shape"])),
        dtype=None if is_text else _v3_dtype(tree["data_type"]),
        compressor=packers[0] if packers else None,
        dimensions=tuple(str(name) for name in tree.get("dimension_names") or ()),
        attributes=tree.get("attributes", {}),
    )


def _plain_dtype(name: Any) -> "np.dtype[Any]":
    if not isinstance(name, str):
        raise ValueError("values of several fields")
    dtype = np.dtype(name)
    if dtype.kind not in _KINDS or dtype.hasobject or dtype.itemsize > 4096:
        raise ValueError(f"dtype {name}")
    return dtype


def _v3_dtype(name: Any) -> "np.dtype[Any]":
    if isinstance(name, dict) and name.get("name") == "fixed_length_utf32":
        return _plain_dtype(f"<U{int(name['configuration']['length_bytes']) // 4}")
    if isinstance(name, dict) and name.get("name") == "numpy.datetime64":
        return _plain_dtype("<M8[ns]")
    return _plain_dtype(name)


def _chunks_of(spans: Sequence[tuple[int, int]], chunks: Sequence[int]) -> list[tuple[int, ...]]:
    """Places in the chunk grid of the chunks that a block touches."""
    ranges = (
        range(first // side, (stop - 1) // side + 1)
        for (first, stop), side in zip(spans, chunks, strict=True)
    )
    return list(itertools.product(*ranges))


def _unpacked_bytes(content: bytes, compressor: str | None) -> int:
    """Length that a compressed chunk tells of what is in it; -1 where it tells none."""
    if compressor == "blosc":
        # c-blosc, README_CHUNK_FORMAT: 16 bytes of header, `nbytes` at 4.
        return int.from_bytes(content[4:8], "little") if len(content) >= 16 else -1
    if compressor == "lz4":
        return int.from_bytes(content[:4], "little")
    if compressor == "zstd":
        return _zstd_bytes(content)
    return len(content)


def _zstd_bytes(content: bytes) -> int:
    """Frame_Content_Size of the first frame (RFC 8878, 3.1.1.1)."""
    if len(content) < 6 or content[:4] != b"\x28\xb5\x2f\xfd":
        return -1
    descriptor = content[4]
    is_single = bool(descriptor & 0x20)
    length = (1 if is_single else 0, 2, 4, 8)[descriptor >> 6]
    start = 5 + (not is_single) + (0, 1, 2, 4)[descriptor & 3]
    size = int.from_bytes(content[start : start + length], "little")
    return (size + 256 if length == 2 else size) if length else -1
