"""`check-source`: ten locations of a build, asked for before the quota is spent on a quarter of a million.

A pass or fail for every assumption about the source, as lines in the log and as `check-source.json` beside the
results. Nothing of it enters a build: it works in a folder of its own.
"""

import contextlib
import datetime as dt
import json
import logging
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from builders.check_result import CheckResult
from builders.config import BuildConfig
from builders.credentials import project_of
from builders.layout import Layout
from builders.records import Location
from builders.request_log import read_records
from builders.source_checks import all_checks, eecu_a_location
from builders.source_observations import NUM_LOCATIONS, Observations, observe, with_baseline_season
from builders.transport import Transport
from noldo.atomic import write_if_changed

logger = logging.getLogger(__name__)

CONCURRENCY = 4
"""Requests in flight: enough to see several at once, far from any limit."""


def run_check_source(config: BuildConfig, layout: Layout) -> bool:
    """Check the source of a build and write `results/<name>/check-source.json`.

    Returns
    -------
    Whether no check failed.

    Raises
    ------
    SourceError
        If quota or credentials end, or transient faults outlast the patience.
    NoldoError
        If the locations can't be planned, or the record can't be written.
    """
    own = Layout(f"{config.name}.check-source", root=layout.root)
    shutil.rmtree(own.work, ignore_errors=True)
    with _source_url(config, own) as url:
        observed = _observe(config, own, url=url)
    results = all_checks(observed)
    write_record(record_path(layout), config, observed, results)
    for line in render(results):
        logger.info("%s", line)
    return not any(one.result == "fail" for one in results)


def record_path(layout: Layout) -> Path:
    """Where the record of the checks of a build lies."""
    return layout.results / "check-source.json"


@contextlib.contextmanager
def _source_url(config: BuildConfig, layout: Layout) -> Iterator[str]:
    """Address of the source; a sandbox is started for the time of the check."""
    from builders.sandbox_process import source_url, start_sandbox, stop_sandbox

    sandbox: subprocess.Popen[bytes] | None = None
    if config.source.is_sandbox:
        basedir = Path(__file__).resolve().parents[1]
        sandbox = start_sandbox(config, layout, basedir=basedir, log=layout.work / "sandbox.log")
    try:
        yield source_url(config, layout)
    finally:
        if sandbox is not None:
            stop_sandbox(sandbox)


def _observe(config: BuildConfig, layout: Layout, *, url: str) -> Observations:
    from builders.earth_engine import EarthEngine

    config = with_baseline_season(config)
    locations = check_locations(config)
    concurrency = min(CONCURRENCY, config.source.max_concurrent)
    source = EarthEngine.connect(
        config, url=url, claim=concurrency, stage="check", job="source", layout=layout
    )
    try:
        observed = observe(config, source, locations, concurrency=concurrency)
    finally:
        source.close()
    return replace(
        observed,
        records=tuple(read_records(layout.requests)),
        anonymous_status=None if config.source.is_loopback else anonymous_status(config, url=url),
    )


def check_locations(config: BuildConfig) -> list[Location]:
    """Locations to search: the first of the build, as many as one metadata request asks about.

    Those of both hemispheres take turns at the front, because pixels are asked for of the first ten only.
    """
    from builders.locations import plan_locations

    wanted = min(config.locations.count, max(NUM_LOCATIONS, config.jobs.locations_per_request))
    if config.locations.points is None:
        places = config.locations.model_copy(update={"count": wanted})
        config = config.model_copy(update={"locations": places})
    return by_hemisphere(plan_locations(config)[:wanted])


def by_hemisphere(locations: Sequence[Location]) -> list[Location]:
    """One of the north, one of the south, and so on; then the rest."""
    sides: dict[bool, list[Location]] = {True: [], False: []}
    for place in locations:
        sides[place.lat >= 0].append(place)
    turns = min(len(side) for side in sides.values())
    pairs = [place for both in zip(sides[True], sides[False], strict=False) for place in both]
    return [*pairs, *sides[True][turns:], *sides[False][turns:]]


def anonymous_status(config: BuildConfig, *, url: str) -> int:
    """HTTP status of the smallest computation, asked for without credentials."""
    transport = Transport(url, pool_size=1, deadline_s=config.source.deadline_s, on_restricted=lambda: None)
    body = json.dumps({"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}})
    try:
        answer, _ = transport.request(
            f"{url.rstrip('/')}/v1/projects/{project_of(config.source)}/value:compute",
            "POST",
            body=body,
            headers={"Content-Type": "application/json"},
        )
    finally:
        transport.close()
    return int(answer.status)


def render(results: Sequence[CheckResult]) -> list[str]:
    """One line a check, and one that counts them."""
    lines = [
        f"{one.result.upper():12}  {one.name:18} {one.found}"
        + (f"; expected: {one.expected}" if one.result != "pass" else "")
        for one in results
    ]
    counts = [
        f"{sum(one.result == kind for one in results)} {kind}" for kind in ("pass", "fail", "not observed")
    ]
    return [*lines, ", ".join(counts)]


def write_record(
    path: Path, config: BuildConfig, observed: Observations, results: Sequence[CheckResult]
) -> None:
    """Write the record for machines: what was asked of whom, when, and every check.

    Raises
    ------
    StoreError
        If it can't be written.
    """
    record = {
        "build": config.name,
        "source": config.source.url,
        "synthetic": config.synthetic,
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "locations_searched": observed.num_searched,
        "locations_read": len(observed.reads),
        "requests": len(observed.records),
        "eecu_seconds_a_location": eecu_a_location(observed),
        "checks": [asdict(one) for one in results],
    }
    write_if_changed(path, (json.dumps(record, indent=2) + "\n").encode())
