"""Fetch, judge and stage the pixels of one job: every location ends as one staged file or one clear stop.

What becomes of a location depends on its plan and on its pixels only: not on how many are fetched at once,
nor on faults that the source gets over, nor on how often the job was killed.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from builders.build import cut_of
from builders.config import BuildConfig
from builders.crew import in_threads
from builders.layout import Layout
from builders.outcome_table import write_outcomes
from builders.records import LocationOutcome, LocationPlan
from builders.scene_tables import read_plans
from builders.sources import ImagerySource
from builders.spool import location_key, stage, staged_outcome, staged_path, sweep_partial
from builders.trial import fetch_location
from noldo.atomic import atomic_file
from noldo.status import Status

logger = logging.getLogger(__name__)

PROGRESS_S = 10.0
"""A progress line at most this often, in seconds."""


def run_fetch(
    config: BuildConfig, source: ImagerySource, layout: Layout, *, job: int, concurrency: int
) -> None:
    """Stage all locations of a job, then write its outcomes and its `ready` file.

    Parameters
    ----------
    concurrency
        Locations to work on at once, so that at most so many requests are in flight, and a kill costs no more answers.

    Raises
    ------
    SourceError
        If the source can't go on (quota, credentials, a long outage); what is staged stays, and the same
        call asks only for the rest.
    StoreError
        If the disk is full or not writable; what is staged stays.
    InputError
        If the scene or location table can't be used.
    """
    from builders.location_table import read_locations

    cut = cut_of(config)
    rows = cut.rows_of_job(job)
    locations = read_locations(layout.locations, rows.start, rows.stop)
    plans = read_plans(layout.scenes(cut.search_of_job(job)), locations)
    outcomes = fetch_plans(config, source, plans, layout=layout, job=job, concurrency=concurrency)
    write_outcomes(layout.outcomes(job), outcomes)
    with atomic_file(layout.ready(job)):
        pass


def fetch_plans(
    config: BuildConfig,
    source: ImagerySource,
    plans: Sequence[LocationPlan],
    *,
    layout: Layout,
    job: int,
    concurrency: int,
    grace_s: float = 30.0,
) -> list[LocationOutcome]:
    """Stage these locations, at most `concurrency` at once.

    Returns
    -------
    Outcomes in the order of the plans.

    Raises
    ------
    SourceError
        If the source can't go on; requests in flight get `grace_s` seconds to end well.
    StoreError
        If the disk is full or not writable.
    """
    if swept := sweep_partial(layout, job):
        logger.info("%s: %d half-written files of an earlier run deleted", layout.spool(job), swept)
    progress = _Progress(total=len(plans))
    done: dict[int, _Done] = {}

    def work(plan: LocationPlan) -> _Done:
        return _fetch_and_stage(config, source, plan, layout=layout, job=job)

    try:
        for one in in_threads(work, plans, concurrency=concurrency, tick=progress.tick, grace_s=grace_s):
            done[one.outcome.location_id] = one
            progress.count(one)
    finally:
        progress.report()
    return [done[plan.location.id].outcome for plan in plans]


@dataclass(frozen=True)
class _Done:
    """A location that is finished, now or before."""

    outcome: LocationOutcome
    num_requests: int
    resumed: bool


def _fetch_and_stage(
    config: BuildConfig, source: ImagerySource, plan: LocationPlan, *, layout: Layout, job: int
) -> _Done:
    if plan.refusal:
        status = Status.REFUSED if plan.refused else Status.NO_SCENE
        if plan.location.refusal:
            status = Status.BAD_LABELS
        outcome = LocationOutcome(plan.location.id, status, plan.refusal)
        return _Done(outcome, num_requests=0, resumed=False)
    path = staged_path(layout, job, plan.location.id)
    key = location_key(config, plan)
    earlier = staged_outcome(path, key=key)
    if earlier is not None:
        return _Done(earlier, num_requests=0, resumed=True)
    fetched = fetch_location(config, source, plan)
    stage(path, key=key, outcome=fetched.outcome, arrays=fetched.arrays)
    return _Done(fetched.outcome, num_requests=fetched.num_requests, resumed=False)


class _Progress:
    """Counts for people, logged every few seconds."""

    def __init__(self, *, total: int) -> None:
        self._total = total
        self._counts = dict.fromkeys(Status, 0)
        self._resumed = 0
        self._requests = 0
        self._next_at = time.monotonic() + PROGRESS_S

    def count(self, one: _Done) -> None:
        self._counts[one.outcome.status] += 1
        self._resumed += one.resumed
        self._requests += one.num_requests
        if one.outcome.status is not Status.KEPT:
            outcome = one.outcome
            logger.info("location %d: %s: %s", outcome.location_id, outcome.status.name, outcome.reason)

    def tick(self) -> None:
        if time.monotonic() >= self._next_at:
            self.report()

    def report(self) -> None:
        self._next_at = time.monotonic() + PROGRESS_S
        words = ", ".join(
            f"{number} {status.name.lower()}" for status, number in self._counts.items() if number
        )
        logger.info(
            "%d of %d locations done (%d from an earlier run): %s; %d read requests",
            sum(self._counts.values()),
            self._total,
            self._resumed,
            words or "nothing yet",
            self._requests,
        )
