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
from builders.records import Location
from builders.scene_tables import Candidates, read_candidates, write_candidates
from builders.sources import ImagerySource
from noldo.errors import InputError, RequestRefusedError, RequestTooLargeError, SourceError

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
    locations = [
        place for place in read_locations(layout.locations, rows.start, rows.stop) if not place.refusal
    ]
    spool = search_spool(layout, search)
    found = search_locations(config, source, locations, spool=spool, concurrency=concurrency)
    write_candidates(out, found.scenes, refusals=found.refusals)
    shutil.rmtree(spool, ignore_errors=True)


def search_spool(layout: Layout, search: int) -> Path:
    """Folder of the answers of a search job that has not ended; no declared output, so it survives a kill."""
    return layout.steps / "search_spool" / str(search)


def search_locations(
    config: BuildConfig,
    source: ImagerySource,
    locations: Sequence[Location],
    *,
    spool: Path,
    concurrency: int,
    grace_s: float = 30.0,
) -> Candidates:
    """Candidates of all locations, in the locations' order whatever the order of the answers.

    A request that the provider refuses is asked in halves, until the location that it refuses stands alone:
    that one gets the provider's words, and the others their scenes.

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
    answers = [Candidates([], {}) for _ in parts]
    progress = _Progress(total=len(parts))

    def work(number: int) -> tuple[int, Candidates]:
        return number, _ask_once(config, source, parts[number], spool=spool)

    for number, answer in in_threads(
        work,
        range(len(parts)),
        concurrency=min(concurrency, max(1, len(parts))),
        tick=progress.tick,
        grace_s=grace_s,
    ):
        answers[number] = answer
        progress.num_done += 1
    found = _joined(answers)
    searched = {scene.location_id for scene in found.scenes} | set(found.refusals)
    logger.info(
        "%d locations searched in %d batches: %d candidates; %d locations have none, %d were refused",
        len(locations),
        len(parts),
        len(found.scenes),
        len(locations) - len(searched),
        len(found.refusals),
    )
    return found


def _joined(answers: Sequence[Candidates]) -> Candidates:
    return Candidates(
        scenes=[scene for answer in answers for scene in answer.scenes],
        refusals={place: words for answer in answers for place, words in answer.refusals.items()},
    )


def batches(locations: Sequence[Location], *, largest: int) -> list[Sequence[Location]]:
    """Cut locations into as few parts as fit, of sizes that differ by at most one.

    64 locations with 50 a request are 32 + 32: two answers of equal weight end sooner than 50 + 14.
    """
    num_parts = -(-len(locations) // largest)
    edges = [part * len(locations) // num_parts for part in range(num_parts)] + [len(locations)]
    return [locations[start:stop] for start, stop in itertools.pairwise(edges)]


def _ask_once(
    config: BuildConfig, source: ImagerySource, locations: Sequence[Location], *, spool: Path
) -> Candidates:
    kept = spool / f"{batch_key(config, locations)}.parquet"
    if kept.exists():
        try:
            return read_candidates(kept)
        except InputError as error:
            logger.warning("%s; asked again", error)
    answer = _ask(config, source, locations, spool=spool)
    write_candidates(kept, answer.scenes, refusals=answer.refusals)
    return answer


def _ask(
    config: BuildConfig, source: ImagerySource, locations: Sequence[Location], *, spool: Path
) -> Candidates:
    """One metadata request, or two of half the size where the provider refuses it."""
    try:
        scenes = source.search(locations)
    except (RequestRefusedError, RequestTooLargeError) as error:
        if len(locations) == 1:
            logger.warning("location %d: the provider refused the search: %s", locations[0].id, error)
            return Candidates([], {locations[0].id: str(error)})
        middle = len(locations) // 2
        logger.info("a search of %d locations was refused (%s); asked in halves", len(locations), error)
        halves = (locations[:middle], locations[middle:])
        return _joined([_ask_once(config, source, half, spool=spool) for half in halves])
    asked = {location.id for location in locations}
    if strange := sorted({scene.location_id for scene in scenes} - asked):
        raise SourceError(
            f"search: the answer has scenes of location {strange[0]}, which was not asked for; "
            "this is a defect of the source's reader: please report it"
        )
    return Candidates(scenes, {})


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
            logger.info("%d of %d batches searched", self.num_done, self._total)
