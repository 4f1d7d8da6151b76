"""Ask for every scene of one search job: batches of locations, several in flight, none asked for twice."""

import hashlib
import itertools
import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from builders import versions
from builders.build import cut_of
from builders.config import BuildConfig
from builders.crew import in_threads
from builders.layout import Layout
from builders.records import Location, Scene
from builders.scene_tables import read_candidates, write_candidates
from builders.sources import ImagerySource
from noldo.errors import InputError, SourceError

logger = logging.getLogger(__name__)

PROGRESS_S = 10.0
"""A progress line at most this often, in seconds."""


def run_search(
    config: BuildConfig,
    source: ImagerySource,
    layout: Layout,
    *,
    search: int,
    concurrency: int,
    out: Path,
) -> None:
    """Write every candidate of the locations of a search job.

    Raises
    ------
    SourceError
        If the source can't go on; answers that were received stay, and the same call asks for the rest.
    StoreError
        If the disk is full or not writable.
    InputError
        If the location table can't be used.
    """
    from builders.location_table import read_locations

    rows = cut_of(config).rows_of_search(search)
    locations = read_locations(layout.locations, rows.start, rows.stop)
    spool = search_spool(layout, search)
    scenes = search_locations(config, source, locations, spool=spool, concurrency=concurrency)
    write_candidates(out, scenes)
    shutil.rmtree(spool, ignore_errors=True)


def search_spool(layout: Layout, search: int) -> Path:
    """Folder of the answers of a search job that has not ended; no declared output, so it survives a kill."""
    return layout.work / "search_spool" / str(search)


def search_locations(
    config: BuildConfig,
    source: ImagerySource,
    locations: Sequence[Location],
    *,
    spool: Path,
    concurrency: int,
    grace_s: float = 30.0,
) -> list[Scene]:
    """Candidates of all locations, in the locations' order whatever the order of the answers.

    Parameters
    ----------
    spool
        Folder in which each answer is kept as soon as it is there.

    Raises
    ------
    SourceError
        If the source can't go on, or names a scene of a location that was not asked for.
    StoreError
        If an answer can't be kept.
    """
    parts = batches(locations, largest=config.jobs.locations_per_request)
    answers: list[list[Scene]] = [[] for _ in parts]
    progress = _Progress(total=len(parts))

    def work(number: int) -> tuple[int, list[Scene]]:
        return number, _ask_once(config, source, parts[number], spool=spool)

    for number, scenes in in_threads(
        work,
        range(len(parts)),
        concurrency=min(concurrency, max(1, len(parts))),
        tick=progress.tick,
        grace_s=grace_s,
    ):
        answers[number] = scenes
        progress.num_done += 1
    scenes = [scene for answer in answers for scene in answer]
    found = {scene.location_id for scene in scenes}
    logger.info(
        "%d locations searched in %d requests: %d candidates; %d locations have none",
        len(locations),
        len(parts),
        len(scenes),
        len(locations) - len(found),
    )
    return scenes


def batches(locations: Sequence[Location], *, largest: int) -> list[Sequence[Location]]:
    """Cut locations into as few parts as fit, of sizes that differ by at most one.

    64 locations with 50 a request are 32 + 32: two answers of equal weight end sooner than 50 + 14.
    """
    num_parts = -(-len(locations) // largest)
    edges = [part * len(locations) // num_parts for part in range(num_parts)] + [len(locations)]
    return [locations[start:stop] for start, stop in itertools.pairwise(edges)]


def _ask_once(
    config: BuildConfig, source: ImagerySource, locations: Sequence[Location], *, spool: Path
) -> list[Scene]:
    kept = spool / f"{batch_key(config, locations)}.parquet"
    if kept.exists():
        try:
            return read_candidates(kept)
        except InputError as error:
            logger.warning("%s; asked again", error)
    scenes = source.search(locations)
    asked = {location.id for location in locations}
    if strange := sorted({scene.location_id for scene in scenes} - asked):
        raise SourceError(
            f"search: the answer has scenes of location {strange[0]}, which was not asked for; "
            "this is a defect of the source's reader: please report it"
        )
    write_candidates(kept, scenes)
    return scenes


def batch_key(config: BuildConfig, locations: Sequence[Location]) -> str:
    """What decides the answer to one metadata request, as 64 hex digits."""
    parts = [versions.SEARCH, config.digest(), [[place.id, asdict(place.grid)] for place in locations]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class _Progress:
    """A line for people every few seconds."""

    def __init__(self, *, total: int) -> None:
        self.num_done = 0
        self._total = total
        self._next_at = time.monotonic() + PROGRESS_S

    def tick(self) -> None:
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + PROGRESS_S
            logger.info("%d of %d metadata requests done", self.num_done, self._total)
