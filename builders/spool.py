"""Staged pixels: one file a location, between the fetch that fills it and the pack that empties it.

A staged file is complete or absent, survives a kill and a power cut, and knows which request it answers:

    8 bytes   magic
    4 bytes   length of the header, little endian
    header    JSON: key, outcome, and (name, dtype, shape) of each array
    arrays    raw, C order, little endian, one after the other
    4 bytes   CRC-32 of all bytes before, little endian

Nothing is compressed (the file lives for minutes) and nothing can be pickled.
"""

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from builders import versions
from builders.config import BuildConfig
from builders.layout import Layout
from builders.outcome_table import outcome_from_row, outcome_row
from builders.records import LocationOutcome, LocationPlan
from noldo.atomic import atomic_file
from noldo.errors import ChunkCorruptError

logger = logging.getLogger(__name__)

MAGIC = b"NOLDOsp1"

_PREFIX_BYTES = len(MAGIC) + 4
_CRC_BYTES = 4


@dataclass(frozen=True)
class Staged:
    """What a staged file holds."""

    key: str
    """`location_key` of the request it answers."""
    outcome: LocationOutcome
    arrays: Mapping[str, np.ndarray]
    """By array name, axes (season, band?, y, x), read-only; empty unless the location was kept."""


def location_key(config: BuildConfig, plan: LocationPlan) -> str:
    """What decides the pixels and the outcome of one location, as 64 hex digits.

    How the work is cut, the codec, the split and the name of the build are not in it; the version of the
    pixel step is.
    """
    pixels = config.identity()
    for other in ("name", "locations", "jobs", "split", "codec", "dw", "osm"):
        pixels.pop(other, None)
    seasons = [[asdict(choice) for choice in ranked] for ranked in plan.seasons]
    parts = [versions.PIXELS, pixels, plan.location.id, asdict(plan.location.grid), seasons]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def staged_path(layout: Layout, job: int, location_id: int) -> Path:
    """File of one location."""
    return layout.spool(job) / f"{location_id}.staged"


def stage(path: Path, *, key: str, outcome: LocationOutcome, arrays: Mapping[str, np.ndarray]) -> None:
    """Write one location; it is on disk, not just in the cache, when this returns.

    Raises
    ------
    StoreError
        If the disk is full or the folder can't be written to; what was staged before stays.
    """
    plain = {name: _plain(array) for name, array in arrays.items()}
    header = json.dumps(
        {
            "key": key,
            "outcome": outcome_row(outcome),
            "arrays": [[name, array.dtype.str, array.shape] for name, array in plain.items()],
        }
    ).encode()
    crc = 0
    with atomic_file(path) as file:
        prefix = MAGIC + len(header).to_bytes(4, "little") + header
        blocks: list[bytes | memoryview] = [prefix, *(array.data for array in plain.values())]
        for block in blocks:
            crc = zlib.crc32(block, crc)
            file.write(block)
        file.write(crc.to_bytes(_CRC_BYTES, "little"))
        file.flush()
        os.fsync(file.fileno())


def _plain(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def read_staged(path: Path) -> Staged:
    """Read and check one staged file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ChunkCorruptError
        If it is truncated, or its bytes differ from their checksum.
    """
    content = memoryview(path.read_bytes())
    body, crc = content[:-_CRC_BYTES], bytes(content[-_CRC_BYTES:])
    if len(content) < _PREFIX_BYTES + _CRC_BYTES or bytes(body[: len(MAGIC)]) != MAGIC:
        raise _damaged(path, f"{len(content)} bytes that are no staged location")
    if zlib.crc32(body).to_bytes(_CRC_BYTES, "little") != crc:
        raise _damaged(path, f"{len(content)} bytes that do not match their checksum")
    start = _PREFIX_BYTES + int.from_bytes(body[len(MAGIC) : _PREFIX_BYTES], "little")
    header: dict[str, Any] = json.loads(bytes(body[_PREFIX_BYTES:start]))
    return Staged(
        key=header["key"],
        outcome=outcome_from_row(header["outcome"]),
        arrays=_arrays(body[start:], header["arrays"]),
    )


def _arrays(raw: memoryview, entries: Sequence[tuple[str, str, list[int]]]) -> dict[str, np.ndarray]:
    arrays = {}
    offset = 0
    for name, dtype, shape in entries:
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(raw, dtype=dtype, count=count, offset=offset)
        arrays[name] = array.reshape(shape)
        offset += array.nbytes
    return arrays


def _damaged(path: Path, found: str) -> ChunkCorruptError:
    return ChunkCorruptError(
        f"{path}: {found}; delete it and the job's outcomes table, then run the build again: "
        "only this location is fetched again"
    )


def staged_outcome(path: Path, *, key: str) -> LocationOutcome | None:
    """The outcome of a location that needs no request any more, or None.

    A damaged file and one that answers another request are named in the log and count as absent.
    """
    try:
        staged = read_staged(path)
    except FileNotFoundError:
        return None
    except ChunkCorruptError as error:
        logger.warning("%s", error)
        return None
    if staged.key != key:
        logger.info("%s: staged for another config or other scenes; fetched again", path)
        return None
    return staged.outcome


def staged_arrays(layout: Layout, job: int, location_id: int) -> dict[str, np.ndarray] | None:
    """Pixels of one kept location, for packing.

    Returns
    -------
    By `noldo.products.ArraySpec.name`: read-only, axes (season, band?, y, x), stored dtype and no-data value.
    None if nothing is staged under this id, or the location was not kept.

    Raises
    ------
    ChunkCorruptError
        If the file is damaged.
    """
    try:
        staged = read_staged(staged_path(layout, job, location_id))
    except FileNotFoundError:
        return None
    return dict(staged.arrays) or None


def sweep_partial(layout: Layout, job: int) -> int:
    """Delete what a killed writer left half-written.

    Returns
    -------
    How many files were deleted.
    """
    partial = list(layout.spool(job).glob(".*.partial"))
    for path in partial:
        path.unlink(missing_ok=True)
    return len(partial)
