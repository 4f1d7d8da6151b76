"""What this project assumes about its imagery source: scenes, costs, limits, and the list of all checks.

Each is a pure check of what was observed. One that had nothing to look at says so; it does not pass.
"""

import re
import statistics
from collections import Counter
from collections.abc import Callable

from builders.check_result import CheckResult, judged
from builders.metadata import leading_product
from builders.pixel_checks import (
    check_baseline,
    check_copies_north,
    check_copies_south,
    check_dtypes,
    check_fill,
    check_s1_lattice,
    check_size_limit,
    check_stored_types,
)
from builders.records import DYNAMIC_WORLD, S1_GRD, S2_L2A
from builders.source_observations import Observations
from noldo.status import Status

DYNAMIC_WORLD_CLOUD_PERCENT = 35.0
"""Dynamic World is made of scenes up to this CLOUDY_PIXEL_PERCENTAGE (Earth Engine data catalogue)."""

MAX_MISSING_SHARE = 0.05
"""Scenes without an expected property are not chosen: more than a few would thin out the choice."""

MIN_TWIN_SHARE = 0.5
"""With fewer Dynamic World or L2A twins, most locations would lack a season."""


def all_checks(observed: Observations) -> list[CheckResult]:
    """Every check, in the order in which a reader wants them."""
    return [check(observed) for check in CHECKS]


def check_requests(observed: Observations) -> CheckResult:
    """No request of a build's kind is refused or garbled."""
    return judged(
        "requests",
        expected="every request is answered",
        problems=observed.problems,
        seen=f"{len(observed.records)} requests for {len(observed.reads)} locations",
        is_observed=bool(observed.reads),
    )


def check_metadata(observed: Observations) -> CheckResult:
    """One request tells the scenes of all its locations."""
    asked = [record for record in observed.records if record.kind == "metadata" and record.status == 200]
    bare = observed.num_searched - len({scene.location_id for scene in observed.scenes})
    return judged(
        "metadata",
        expected="one request names the scenes of all its locations",
        problems=[f"{bare} of {observed.num_searched} locations have no scene"]
        * (2 * bare > observed.num_searched),
        seen=f"{len(observed.scenes)} scenes of {observed.num_searched} locations, {bare} without any; "
        f"{len(asked)} metadata answers in all",
        is_observed=bool(observed.num_searched),
    )


def check_twins(observed: Observations) -> CheckResult:
    """Twins of an acquisition have the same `system:index`, and most acquisitions have them."""
    lead = leading_product(observed.config)
    clear = {
        (scene.location_id, scene.season, scene.index)
        for scene in observed.scenes
        if scene.product == lead
        and scene.cloud_percent is not None
        and scene.cloud_percent <= DYNAMIC_WORLD_CLOUD_PERCENT
    }
    twins = [DYNAMIC_WORLD, *([S2_L2A] if observed.config.products.needs_l2a and lead != S2_L2A else [])]
    shares: dict[str, float] = {}
    for product in twins if clear else ():
        names = {(s.location_id, s.season, s.index) for s in observed.scenes if s.product == product}
        shares[product] = len(clear & names) / len(clear)
    return judged(
        "twins",
        expected=f"scenes below {DYNAMIC_WORLD_CLOUD_PERCENT:g} % cloud have twins of the same name",
        problems=[
            f"{share:.0%} have one in {name}" for name, share in shares.items() if share < MIN_TWIN_SHARE
        ],
        seen=", ".join(f"{share:.0%} in {name}" for name, share in shares.items())
        + f" of {len(clear)} scenes",
        is_observed=bool(clear),
    )


def check_properties(observed: Observations) -> CheckResult:
    """Scenes have the properties by which they are chosen."""
    totals: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for scene in observed.scenes:
        totals[scene.product] += 1
        if scene.product == S1_GRD:
            absent = {"pass": not scene.orbit_pass, "relative orbit": not scene.relative_orbit}
        elif scene.product == DYNAMIC_WORLD:
            absent = {}
        else:
            absent = {
                "cloud percentage": scene.cloud_percent is None,
                "baseline": not scene.baseline,
                "tile": not scene.tile,
            }
        for name, is_absent in absent.items():
            missing[f"{scene.product}: {name}"] += is_absent
    lacking = {name: number for name, number in sorted(missing.items()) if number}
    return judged(
        "properties",
        expected=f"at most {MAX_MISSING_SHARE:.0%} of scenes lack cloud, baseline, tile, pass or orbit",
        problems=[
            f"{number} of {totals[name.split(':')[0]]} {name}"
            for name, number in lacking.items()
            if number > MAX_MISSING_SHARE * totals[name.split(":")[0]]
        ],
        seen=", ".join(f"{number} without {name}" for name, number in lacking.items()) or "none is missing",
        is_observed=bool(totals),
    )


def check_acceptance(observed: Observations) -> CheckResult:
    """Most first choices are good: each that is not costs a request more."""
    statuses = [status for read in observed.reads for status in read.statuses]
    kept = sum(status is Status.KEPT for status in statuses)
    counts = Counter(status.name.lower() for status in statuses)
    return judged(
        "acceptance",
        expected="at least half of the first choices are accepted by their pixels",
        problems=[f"{kept} of {len(statuses)} are: {dict(counts)}"] * (2 * kept < len(statuses)),
        seen=f"{kept} of {len(statuses)} seasons of {len(observed.reads)} locations",
        is_observed=bool(statuses),
    )


def eecu_seconds(profile: str) -> float | None:
    """Sum of the first column of a profile; None if there is no profile.

    The table has one line a computation; its first column is EECU-seconds, and may be empty or `-`.
    """
    numbers = [re.match(r"\s*(\d+(?:\.\d+)?)\s", line) for line in profile.splitlines()]
    found = [float(number[1]) for number in numbers if number]
    return sum(found) if found else None


def eecu_a_location(observed: Observations) -> float | None:
    """EECU-seconds of one location: its share of a metadata request and its pixels; None if not told."""
    pixels = [seconds for read in observed.reads if (seconds := eecu_seconds(read.profile)) is not None]
    if not pixels:
        return None
    search = eecu_seconds(observed.search_profile) or 0.0
    return statistics.fmean(pixels) + search / observed.num_searched


def check_eecu(observed: Observations) -> CheckResult:
    """How much of the compute quota a location costs. Measured, not judged: the tiers are the user's."""
    expected = "EECU-seconds a location; 14 for 250,000 locations are a Contributor's month"
    cost = eecu_a_location(observed)
    if cost is None:
        return CheckResult(
            "eecu",
            "not observed",
            expected,
            "the client got no profile; see Cloud Monitoring, earthengine.googleapis.com/project/cpu/usage_time, "
            "by the workload tags meta and pixels",
        )
    return CheckResult(
        "eecu", "pass", expected, f"{cost:.2f} EECU-seconds a location, from the client's profiles"
    )


def check_seconds(observed: Observations) -> CheckResult:
    """How long requests take, by kind."""
    words = []
    for kind in ("metadata", "pixels"):
        seconds = [
            record.seconds for record in observed.records if record.kind == kind and record.status == 200
        ]
        if seconds:
            words.append(
                f"{kind}: median {statistics.median(seconds):.2f}, longest {max(seconds):.2f} of {len(seconds)}"
            )
    return judged(
        "seconds",
        expected="seconds a request",
        problems=[],
        seen="; ".join(words),
        is_observed=bool(words),
    )


def check_too_many_requests(observed: Observations) -> CheckResult:
    """What a 429 looks like, if there was one: this many requests should cause none."""
    refused = [record for record in observed.records if record.status == 429]
    return judged(
        "too-many-requests",
        expected="no 429 at this pace",
        problems=[f"{len(refused)} times: {refused[-1].message}"] if refused else [],
        seen=f"none in {len(observed.records)} requests",
        is_observed=bool(observed.records),
    )


def check_restricted(observed: Observations) -> CheckResult:
    """The project is not in restricted mode."""
    return judged(
        "restricted",
        expected="the project's parallelism is not restricted",
        problems=["x-earth-engine-quota-status: parallelism_restricted=true"] if observed.restricted else [],
        seen="no answer said so",
        is_observed=bool(observed.records),
    )


def check_anonymous(observed: Observations) -> CheckResult:
    """A request without credentials is refused: what we pass on is what lets us in."""
    status = observed.anonymous_status
    expected = "a request without credentials is refused (401 or 403)"
    if status is None:
        return CheckResult("anonymous", "not observed", expected, "a server on loopback takes anyone")
    return judged(
        "anonymous",
        expected=expected,
        problems=[f"HTTP {status}"] if status not in {401, 403} else [],
        seen=f"HTTP {status}",
        is_observed=True,
    )


CHECKS: tuple[Callable[[Observations], CheckResult], ...] = (
    check_requests,
    check_metadata,
    check_properties,
    check_twins,
    check_acceptance,
    check_dtypes,
    check_stored_types,
    check_fill,
    check_size_limit,
    check_copies_north,
    check_copies_south,
    check_baseline,
    check_s1_lattice,
    check_eecu,
    check_seconds,
    check_too_many_requests,
    check_restricted,
    check_anonymous,
)
"""Items 1 to 14 of what only the real service can show."""
