"""Areas between the pass over an extract and the jobs that burn them: one file a job, appended to during the pass.

A record says to which patch it belongs, and holds the area as it was cut for that patch:

    8 bytes  id of the patch               signed, little endian, as all that follows
    1 byte   1 for a relation, 0 for a way
    8 bytes  id of the way or relation
    1 byte   class id
    8 bytes  equal-area surface of the whole polygon in m2, double
    4 bytes  length of the WKB, unsigned
             WKB: Polygon or MultiPolygon in degrees

Length and CRC-32 of each file are in the receipt of the pass (`builders.osm_extract`), so a file that was cut short or
changed is noticed.
"""

import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely

from builders.areas import Area
from noldo.atomic import write_errors
from noldo.errors import ChunkCorruptError

RECORD = struct.Struct("<qBqBdI")

BUFFER_BYTES = 64_000_000
"""Records held in memory, over all jobs, before they are appended to the files."""


@dataclass(frozen=True)
class SpoolFile:
    """What a complete file of one job holds."""

    num_records: int
    num_bytes: int
    crc32: int
    """Of all its bytes."""


def spool_path(folder: Path, job: int) -> Path:
    """File of one job."""
    return folder / f"{job}.areas"


def record(
    patch_id: int, *, is_relation: bool, osm_id: int, class_id: int, area_m2: float, wkb: bytes
) -> bytes:
    """One area as it was cut for one patch; the WKB is little endian and of two dimensions."""
    return RECORD.pack(patch_id, is_relation, osm_id, class_id, area_m2, len(wkb)) + wkb


class SpoolWriter:
    """Appends records to the files of many jobs; between the calls no file is open."""

    def __init__(self, folder: Path, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.folder = folder
        self.buffer_bytes = buffer_bytes
        self.files: dict[int, SpoolFile] = {}
        """What has been given for each job; on disk after `flush`."""
        self._buffers: dict[int, bytearray] = defaultdict(bytearray)
        self._buffered = 0

    def add(self, job: int, content: bytes) -> None:
        """Add one record.

        Raises
        ------
        StoreError
            If the disk is full, or the folder can't be written to.
        """
        before = self.files.get(job, SpoolFile(0, 0, 0))
        self.files[job] = SpoolFile(
            num_records=before.num_records + 1,
            num_bytes=before.num_bytes + len(content),
            crc32=zlib.crc32(content, before.crc32),
        )
        self._buffers[job] += content
        self._buffered += len(content)
        if self._buffered >= self.buffer_bytes:
            self.flush()

    def flush(self) -> None:
        """Append what is held in memory.

        Raises
        ------
        StoreError
            If the disk is full, or the folder can't be written to.
        """
        for job, content in self._buffers.items():
            path = spool_path(self.folder, job)
            with write_errors(path), path.open("ab") as file:
                file.write(content)
        self._buffers.clear()
        self._buffered = 0


def read_spool(folder: Path, job: int, files: Mapping[int, SpoolFile]) -> Iterator[tuple[int, Area]]:
    """(patch id, area) of each record of a job, in the order they were written; nothing if there is no file.

    Raises
    ------
    ChunkCorruptError
        If the file is not the one that was written.
    """
    if job not in files:
        return
    path = spool_path(folder, job)
    content = path.read_bytes() if path.is_file() else b""
    expected = files[job]
    if (len(content), zlib.crc32(content)) != (expected.num_bytes, expected.crc32):
        raise ChunkCorruptError(
            f"{path}: {len(content)} bytes that are not the {expected.num_bytes} that were written; "
            f"delete {folder} and run the build again: this extract is read again"
        )
    start = 0
    while start < len(content):
        patch_id, is_relation, osm_id, class_id, area_m2, num_bytes = RECORD.unpack_from(content, start)
        start += RECORD.size
        geometry: Any = shapely.from_wkb(content[start : start + num_bytes])
        start += num_bytes
        yield patch_id, Area("relation" if is_relation else "way", osm_id, class_id, area_m2, geometry)
