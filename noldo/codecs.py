"""How one chunk becomes bytes: compressed, then followed by its checksum.

Both steps are codecs of the Zarr v3 specification, so every Zarr v3 reader undoes them. They are
applied here rather than by zarr-python, so that stored bytes depend neither on its version nor on its
threads, and so that damage can be told chunk by chunk.
"""

import struct
import sys
from dataclasses import dataclass
from typing import Any, Literal, Self

import google_crc32c
import numcodecs
import numpy as np
from numcodecs import blosc, zstd

from noldo.errors import ChunkCorruptError, StoreFormatError

if sys.byteorder != "little":  # pragma: no cover - no such machine runs torch
    raise ImportError("noldo reads and writes little-endian chunks only")

# Blosc's own threads write blocks in the order they end: bytes would differ from run to run.
# zarr-python sets the same switch on import.
blosc.use_threads = False

_U32 = struct.Struct("<I")

CHECKSUM_BYTES = _U32.size
"""Length of a crc32c, stored little-endian behind what it covers."""

CodecName = Literal["small", "fast"]


@dataclass(frozen=True)
class ChunkCodec:
    """Compressor of the chunks of one array."""

    name: Literal["blosc", "zstd"]
    level: int
    """Compression level of the compressor."""
    compressor: str = ""
    """Blosc only: what it wraps, `zstd` or `lz4`."""
    shuffle: Literal["", "shuffle", "bitshuffle"] = ""
    """Blosc only: bytes or bits of equal significance are stored together."""
    typesize: int = 1
    """Blosc only: bytes of one value."""

    def metadata(self) -> list[dict[str, Any]]:
        """Entries of the `codecs` list of `zarr.json`."""
        if self.name == "zstd":
            configuration: dict[str, Any] = {"level": self.level, "checksum": False}
        else:
            configuration = {
                "typesize": self.typesize,
                "cname": self.compressor,
                "clevel": self.level,
                "shuffle": self.shuffle,
                "blocksize": 0,
            }
        return [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": self.name, "configuration": configuration},
            {"name": "crc32c"},
        ]

    @classmethod
    def from_metadata(cls, codecs: list[dict[str, Any]], *, where: str) -> Self:
        """Read what `metadata` wrote.

        Raises
        ------
        StoreFormatError
            If the list is not of this format; `where` names the array.
        """
        names = [codec.get("name") for codec in codecs]
        if names not in (["bytes", "blosc", "crc32c"], ["bytes", "zstd", "crc32c"]):
            raise StoreFormatError(
                f"{where}: chunks are stored with {names}, but this format has bytes, blosc or zstd, and "
                "crc32c; read it with zarr, or rebuild it"
            )
        configuration = codecs[1]["configuration"]
        if codecs[1]["name"] == "zstd":
            return cls(name="zstd", level=configuration["level"])
        return cls(
            name="blosc",
            level=configuration["clevel"],
            compressor=configuration["cname"],
            shuffle=configuration["shuffle"],
            typesize=configuration["typesize"],
        )

    def encode(self, values: np.ndarray) -> bytes:
        """Compress a chunk and append its checksum."""
        source = np.ascontiguousarray(values)
        if self.name == "zstd":
            payload = numcodecs.Zstd(level=self.level).encode(source)
        else:
            payload = blosc.compress(
                source,
                self.compressor.encode(),
                self.level,
                blosc.BITSHUFFLE if self.shuffle == "bitshuffle" else blosc.SHUFFLE,
                blosc.AUTOBLOCKS,
                self.typesize,
            )
        return with_checksum(bytes(payload))

    def decode(self, stored: bytes | memoryview | np.ndarray, out: np.ndarray, *, where: object) -> None:
        """Check and decompress a chunk into a contiguous array of its dtype and shape.

        Other threads run meanwhile: the decoders let go of the interpreter's lock.

        Parameters
        ----------
        stored
            Bytes, or (byte,) uint8.
        where
            What names the chunk, if it is written out.

        Raises
        ------
        ChunkCorruptError
            If bytes differ from their checksum or are not a chunk of this size; `where` names the chunk.
        """
        payload = without_checksum(stored, where=where)
        try:
            if self.name == "zstd":
                length = _zstd_length(payload[:MAX_ZSTD_HEADER_BYTES].tobytes())
                decompress = zstd.decompress
            else:
                length = _blosc_length(payload)
                decompress = blosc.decompress
            if length != out.nbytes:
                raise ValueError(f"it holds {length} bytes, expected {out.nbytes}")
            decompress(payload, out)
        except (RuntimeError, ValueError) as error:
            raise ChunkCorruptError(
                f"{where}: checksum is right but the chunk can't be decoded to {out.shape} {out.dtype} "
                f"({error}); delete this shard and run the build again"
            ) from error


def _blosc_length(payload: np.ndarray) -> int:
    """Bytes of the decoded chunk, from its header (c-blosc, README_CHUNK_FORMAT: `nbytes`)."""
    return int(_U32.unpack_from(payload.data, 4)[0]) if len(payload) >= 8 else 0


MAX_ZSTD_HEADER_BYTES = 18
"""RFC 8878, section 3.1.1: 4 of the magic number, 2 to 14 of the frame's header."""


def _zstd_length(header: bytes) -> int:
    """Bytes of the decoded chunk, from the header of its frame (RFC 8878, section 3.1.1.1).

    Raises
    ------
    ValueError
        If it is no frame, or does not tell.
    """
    if header[:4] != b"\x28\xb5\x2f\xfd" or len(header) < 6:
        raise ValueError("not a frame of zstd")
    descriptor = header[4]
    is_single_segment = bool(descriptor & 0x20)
    size_flag, dictionary_bytes = descriptor >> 6, (0, 1, 2, 4)[descriptor & 3]
    num_bytes = (1 if is_single_segment else 0, 2, 4, 8)[size_flag]
    if not num_bytes:
        raise ValueError("its frame of zstd does not tell its size")
    start = 5 + (not is_single_segment) + dictionary_bytes
    found = int.from_bytes(header[start : start + num_bytes], "little")
    return found + 256 if num_bytes == 2 else found


def image_codec(name: CodecName, *, dtype: str) -> ChunkCodec:
    """Codec of measured values.

    `small` is blosc(zstd 5, byte shuffle): of real L1C it makes 1 byte of 1.57, and decodes 2.2 GB/s a core (levels
    below 5 decode slower: their blocks are smaller). `fast` is blosc(lz4, bit shuffle): 1 of 1.28, and 4.8 GB/s.
    """
    typesize = np.dtype(dtype).itemsize
    if name == "fast":
        return ChunkCodec("blosc", level=5, compressor="lz4", shuffle="bitshuffle", typesize=typesize)
    return ChunkCodec("blosc", level=5, compressor="zstd", shuffle="shuffle", typesize=typesize)


LABEL_CODEC = ChunkCodec("zstd", level=9)
"""Codec of class maps and of the small arrays: runs of equal values need no shuffle."""


def with_checksum(payload: bytes) -> bytes:
    """Append the crc32c (Castagnoli, RFC 3720) of the payload."""
    checksum: int = google_crc32c.value(payload)
    return payload + _U32.pack(checksum)


def without_checksum(stored: bytes | memoryview | np.ndarray, *, where: object) -> np.ndarray:
    """Check the crc32c at the end and strip it.

    Parameters
    ----------
    stored
        Bytes, or (byte,) uint8.

    Returns
    -------
    (byte,) uint8, those before it, not copied.

    Raises
    ------
    ChunkCorruptError
        If it does not fit; `where` names the chunk.
    """
    content = stored if isinstance(stored, np.ndarray) else np.frombuffer(stored, np.uint8)
    payload = content[:-CHECKSUM_BYTES]
    found = google_crc32c.value(payload)
    expected = _U32.unpack_from(content.data, len(payload))[0] if len(content) >= CHECKSUM_BYTES else None
    if found != expected:
        told = "none" if expected is None else f"{expected:08x}"
        raise ChunkCorruptError(
            f"{where}: bytes do not match their checksum (crc32c {found:08x}, expected {told}); "
            "delete this shard and run the build again"
        )
    return payload
