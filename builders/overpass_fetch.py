"""Areas of many patches, a file each: what is in the spool is not asked for again.

A spool file is complete or absent, and knows which question it answers:

    line 1   JSON: `key` of the question, CRC-32 of line 2
    line 2   JSON: counts, and [type, id, class, m2, WKB in hex] of each area
"""

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import shapely
from shapely import MultiPolygon, Polygon

from builders.areas import Area
from builders.overpass import PatchAreas
from builders.records import Location
from noldo.atomic import atomic_file
from noldo.errors import ChunkCorruptError, ConfigError
from noldo.grids import Grid

logger = logging.getLogger(__name__)

MAX_PATCHES = 5_000
"""Patches that one may ask public servers for. Their rules call about 10,000 requests a day a user's fair share
(https://dev.overpass-api.de/overpass-doc/en/preface/commons.html), and a patch takes two: the status and the query."""

VERSION = 1
"""Raising it asks for everything again: the same answer would be read in another way."""

PROGRESS_S = 10.0
"""A progress line at most this often, in seconds."""


class AreaSource(Protocol):
    """Where areas come from, patch by patch. `builders.overpass.Overpass` is one."""

    def areas(self, grid: Grid) -> PatchAreas:
        """Areas that overlap a patch; none where the source says so. What it raises is final."""
        ...

    def identity(self) -> Mapping[str, object]:
        """What decides an answer besides the patch; JSON."""
        ...


@dataclass(frozen=True)
class AreaCounts:
    """What `fetch_areas` did."""

    num_patches: int = 0
    """Patches that have their areas."""
    num_resumed: int = 0
    """Of these, how many were in the spool already."""
    num_empty: int = 0
    """Patches without any area."""
    num_areas: int = 0
    """Areas of all patches; one that overlaps two patches counts twice."""
    num_beside: int = 0
    num_lines: int = 0
    num_broken: int = 0
    """These as `PatchAreas` says, summed over patches."""

    def plus(self, found: PatchAreas, *, resumed: bool) -> "AreaCounts":
        """The counts with one patch more."""
        return AreaCounts(
            num_patches=self.num_patches + 1,
            num_resumed=self.num_resumed + resumed,
            num_empty=self.num_empty + (not found.areas),
            num_areas=self.num_areas + len(found.areas),
            num_beside=self.num_beside + found.num_beside,
            num_lines=self.num_lines + found.num_lines,
            num_broken=self.num_broken + found.num_broken,
        )


def check_policy(num_patches: int, *, max_patches: int = MAX_PATCHES) -> None:
    """Refuse what public Overpass servers are not meant for.

    Raises
    ------
    ConfigError
        If there are more patches than a user should ask for in a day.
    """
    if num_patches > max_patches:
        raise ConfigError(
            f"{num_patches} patches are too many for an Overpass server: its rules allow about {max_patches} a day; "
            "take areas from extracts (.osm.pbf, e.g. of Geofabrik or the planet) instead"
        )


def fetch_areas(
    patches: Sequence[Location], source: AreaSource, spool: Path, *, max_patches: int | None = MAX_PATCHES
) -> AreaCounts:
    """Make sure that the spool has the areas of all patches; one after the other, asking for what it lacks.

    Parameters
    ----------
    spool
        Folder; one writer at a time.
    max_patches
        As in `check_policy`; None for a server of one's own.

    Raises
    ------
    ConfigError
        If there are too many patches; nothing has been asked then.
    SourceError
        If the source can't go on; what is in the spool stays, and the same call asks only for the rest.
    StoreError
        If the spool can't be written to; what is in it stays.
    """
    if max_patches is not None:
        check_policy(len(patches), max_patches=max_patches)
    counts = AreaCounts()
    next_report_at = time.monotonic() + PROGRESS_S
    try:
        for found, resumed in _each(patches, source, spool):
            counts = counts.plus(found, resumed=resumed)
            if time.monotonic() >= next_report_at:
                _report(counts, total=len(patches))
                next_report_at = time.monotonic() + PROGRESS_S
    finally:
        _report(counts, total=len(patches))
    return counts


def _each(patches: Sequence[Location], source: AreaSource, spool: Path) -> Iterator[tuple[PatchAreas, bool]]:
    identity = source.identity()
    for patch in patches:
        path, key = areas_path(spool, patch.id), areas_key(identity, patch.grid)
        kept = _kept(path, key=key)
        if kept is not None:
            yield kept, True
            continue
        found = source.areas(patch.grid)
        write_areas(path, found, key=key)
        yield found, False


def _report(counts: AreaCounts, *, total: int) -> None:
    logger.info(
        "%d of %d patches have their areas (%d from an earlier run): %d areas, %d patches without any; left out: "
        "%d beside their patch, %d points and lines, %d that make no polygon",
        counts.num_patches,
        total,
        counts.num_resumed,
        counts.num_areas,
        counts.num_empty,
        counts.num_beside,
        counts.num_lines,
        counts.num_broken,
    )


def areas_path(spool: Path, location_id: int) -> Path:
    """File of one patch."""
    return spool / f"{location_id}.areas"


def areas_key(identity: Mapping[str, object], grid: Grid) -> str:
    """What decides the areas of a patch, as 64 hex digits."""
    parts = json.dumps([VERSION, identity, asdict(grid)], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def write_areas(path: Path, found: PatchAreas, *, key: str) -> None:
    """Write the areas of one patch; they are on disk when this returns.

    Raises
    ------
    StoreError
        If the disk is full or the folder can't be written to.
    """
    rows = [
        [area.osm_type, area.osm_id, area.class_id, area.area_m2, shapely.to_wkb(area.geometry, hex=True)]
        for area in found.areas
    ]
    counts = {"num_beside": found.num_beside, "num_lines": found.num_lines, "num_broken": found.num_broken}
    body = json.dumps({"counts": counts, "areas": rows}, separators=(",", ":")).encode()
    head = json.dumps({"key": key, "crc32": zlib.crc32(body)}).encode()
    with atomic_file(path) as file:
        file.write(head + b"\n" + body)
        file.flush()
        os.fsync(file.fileno())


def read_areas(path: Path) -> tuple[PatchAreas, str]:
    """The areas of one patch, and the key of the question they answer.

    Raises
    ------
    FileNotFoundError
        If there are none yet.
    ChunkCorruptError
        If the file is damaged.
    """
    head, _, body = path.read_bytes().partition(b"\n")
    try:
        label = json.loads(head)
        if label["crc32"] != zlib.crc32(body):
            raise ValueError("its bytes do not match their checksum")
    except (ValueError, LookupError, TypeError) as error:
        raise ChunkCorruptError(
            f"{path}: no whole list of areas ({error}); delete it and run the same command again: "
            "only this patch is asked for again"
        ) from None
    tree = json.loads(body)
    areas = tuple(
        Area(osm_type, osm_id, class_id, area_m2, _geometry(wkb_hex))
        for osm_type, osm_id, class_id, area_m2, wkb_hex in tree["areas"]
    )
    return PatchAreas(areas, **tree["counts"]), str(label["key"])


def _geometry(wkb_hex: str) -> Polygon | MultiPolygon:
    geometry = shapely.from_wkb(wkb_hex)
    assert isinstance(geometry, Polygon | MultiPolygon)  # nothing else is written
    return geometry


def _kept(path: Path, *, key: str) -> PatchAreas | None:
    """What the spool has for this question. Damaged files and answers to other questions are named in the log."""
    try:
        found, answers = read_areas(path)
    except FileNotFoundError:
        return None
    except ChunkCorruptError as error:
        logger.warning("%s", error)
        return None
    if answers != key:
        logger.info("%s: answers another question; asked again", path)
        return None
    return found
