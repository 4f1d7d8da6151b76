"""A zip of PNGs as DFC2025 track 1 takes it: one band of class ids 0..8 a tile, named like the tile. Equal maps, equal bytes.

Class 0 is `unknown`: it is never predicted, and stands where radar saw nothing.
"""

import zlib
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from noldo.atomic import atomic_file

UNKNOWN = 0
"""Class id of no data in a submission."""

_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip can tell: the day of writing is none of its content."""


def class_ids(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The most probable class but the first; 0 where nothing was observed.

    Parameters
    ----------
    probabilities
        (C, Y, X); NaN where nothing was observed.

    Returns
    -------
    (Y, X). Of equal classes the first.
    """
    unobserved = np.isnan(probabilities).any(axis=0)
    found = 1 + probabilities[1:].argmax(axis=0)
    return np.where(unobserved, UNKNOWN, found).astype(np.uint8)


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """A grey PNG of 8 bits a pixel (W3C, Portable Network Graphics, third edition), without any other chunk.

    Parameters
    ----------
    pixels
        (Y, X).
    """
    height, width = pixels.shape
    # 8 bits a sample, colour type 0 (grey), the one compression and filter method that there is, no interlace.
    header = np.array([width, height], ">u4").tobytes() + bytes([8, 0, 0, 0, 0])
    # Each row begins with the number of its filter; 0 is none.
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return len(content).to_bytes(4, "big") + kind + content + checksum.to_bytes(4, "big")


def write_submission(path: Path, maps: Iterable[tuple[str, NDArray[np.uint8]]]) -> int:
    """Write the zip; it appears when all maps are in it.

    Parameters
    ----------
    maps
        Name of a tile, and its (Y, X) class ids.

    Returns
    -------
    Maps in it.

    Raises
    ------
    StoreError
        If it can't be written.
    """
    count = 0
    # PNGs are compressed already.
    with atomic_file(path) as file, ZipFile(file, "w", compression=ZIP_STORED) as archive:
        for name, pixels in maps:
            entry = ZipInfo(f"{name}.png", date_time=_FIRST_DATE)
            entry.create_system = 3  # Unix, wherever it is written
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, png_of(pixels))
            count += 1
    return count
