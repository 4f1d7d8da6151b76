"""Chunks of a Zarr array, from bytes of a stranger: never more is unpacked than the array's metadata say.

The length that a compressed chunk tells must be that of the chunk, and it is unpacked into a buffer of that length.
"""

import math

import numcodecs
import numpy as np

from builders.archive_members import MIB
from builders.zarr_documents import ArrayFacts

MAX_TEXT_BYTES = 64 * MIB
"""Of one chunk of strings of any length."""

_BLOSC_HEADER_BYTES = 16
_LENGTH_BYTES = 4
_LAST_CHARACTER = 0x10FFFF
"""Of Unicode; 0xD800 .. 0xDFFF are surrogates, which stand for nothing alone."""


def packed_limit(facts: ArrayFacts) -> int:
    """Bytes that a chunk may have as stored: compressed data are at most a little longer than what they were made from."""
    unpacked = facts.chunk_bytes or MAX_TEXT_BYTES
    return unpacked + unpacked // 8 + MIB


def chunk_values(content: bytes, facts: ArrayFacts) -> np.ndarray:
    """Values of one chunk, in the shape of `facts.chunks`; strings of any length as objects.

    Raises
    ------
    ValueError, RuntimeError
        If it is damaged, or of another length than the metadata say.
    """
    if facts.dtype is None:
        texts = np.empty(math.prod(facts.chunks), object)
        texts[:] = _texts(_unpacked(content, facts.compressor, expected=None), count=len(texts))
        return texts.reshape(facts.chunks, order=facts.order)
    flat = np.frombuffer(_unpacked(content, facts.compressor, expected=facts.chunk_bytes), facts.dtype)
    if facts.dtype.kind == "U":
        _refuse_no_characters(flat)
    return flat.reshape(facts.chunks, order=facts.order)


def _refuse_no_characters(texts: np.ndarray) -> None:
    """NumPy would trip over such numbers later, and files that are written over surrogates."""
    codes = texts.view(texts.dtype.str[0] + "u4")
    if ((codes > _LAST_CHARACTER) | ((codes >= 0xD800) & (codes < 0xE000))).any():
        raise ValueError("it holds numbers that are no characters")


def _unpacked(content: bytes, compressor: str | None, *, expected: int | None) -> memoryview:
    told = _told_bytes(content, compressor)
    if told != expected if expected is not None else not 0 < told <= MAX_TEXT_BYTES:
        wanted = f"at most {MAX_TEXT_BYTES}" if expected is None else expected
        raise ValueError(f"it unpacks to {told} bytes, expected {wanted}")
    if compressor is None:
        return memoryview(content)
    buffer = np.empty(told, np.uint8)
    numcodecs.get_codec({"id": compressor}).decode(content, out=buffer)
    return buffer.data


def _told_bytes(content: bytes, compressor: str | None) -> int:
    """Length that a chunk tells of what is in it; -1 where it tells none."""
    if compressor == "blosc":
        return _blosc_bytes(content)
    if compressor == "lz4":
        return int.from_bytes(content[:_LENGTH_BYTES], "little")
    if compressor == "zstd":
        return _zstd_bytes(content)
    return len(content)


def _blosc_bytes(content: bytes) -> int:
    """c-blosc, README_CHUNK_FORMAT: `nbytes` at 4, `cbytes` at 12, beyond which the library reads on if there is less."""
    if len(content) < _BLOSC_HEADER_BYTES or int.from_bytes(content[12:16], "little") != len(content):
        return -1
    return int.from_bytes(content[4:8], "little")


def _zstd_bytes(content: bytes) -> int:
    """Frame_Content_Size of the first frame (RFC 8878, 3.1.1.1); further frames do not fit into the buffer."""
    if len(content) < 6 or content[:4] != b"\x28\xb5\x2f\xfd":
        return -1
    descriptor = content[4]
    is_single = bool(descriptor & 0x20)
    length = (1 if is_single else 0, 2, 4, 8)[descriptor >> 6]
    start = 5 + (not is_single) + (0, 1, 2, 4)[descriptor & 3]
    size = int.from_bytes(content[start : start + length], "little")
    return (size + 256 if length == 2 else size) if length else -1


def _texts(content: memoryview, *, count: int) -> list[str]:
    """Strings as the codec `vlen-utf8` stores them: their number, then each with its length, all little-endian uint32."""
    told = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if told != count:
        raise ValueError(f"it holds {told} strings, expected {count}")
    found: list[str] = []
    at = _LENGTH_BYTES
    for _ in range(count):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[at:start], "little")
        if start > len(content) or at > len(content):
            raise ValueError(f"it ends within string {len(found)} of {count}")
        found.append(str(content[start:at], "utf-8"))
    return found
