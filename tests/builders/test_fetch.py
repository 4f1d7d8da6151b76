import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.fetch import fetch_plans, run_fetch
from builders.layout import Layout
from builders.location_table import write_locations
from builders.outcome_table import read_outcomes
from builders.records import LocationOutcome, LocationPlan
from builders.scene_tables import write_plans
from builders.spool import staged_arrays, staged_path
from builders.trial import fetch_location
from noldo.errors import (
    AuthenticationError,
    NoldoError,
    QuotaSpentError,
    RequestTooLargeError,
    SourceUnavailableError,
)
from noldo.status import Status
from tests.builders.fake_source import (
    NUM_CANDIDATES,
    FakeSource,
    choice,
    expected_arrays,
    plan,
    refused_plan,
    small_config,
)

CONFIG = small_config()
ROOT = Path(__file__).parents[2]


def fetch(source: FakeSource, folder: Path, plans, *, concurrency=2, grace_s=30.0, config=CONFIG):
    layout = Layout("small", root=folder)
    return fetch_plans(config, source, plans, layout=layout, job=0, concurrency=concurrency, grace_s=grace_s)


def one(bad: dict[str, str], **config_changes):
    """Fetch location 3 from a source with these bad scenes."""
    config = small_config(**config_changes)
    source = FakeSource(config, bad=bad)
    return fetch_location(config, source, plan(3)), source


def ranks(outcome: LocationOutcome) -> list[int]:
    return [season.choice.rank for season in outcome.seasons]


# One location -------------------------------------------------------------------------------------------------


def test_a_good_location_takes_one_request():
    fetched, source = one({})
    assert fetched.outcome.status is Status.KEPT
    assert source.reads == [(3, ("3-s0-c0", "3-s1-c0"), False)]
    expected = expected_arrays([choice(3, 0, 0), choice(3, 1, 0)], config=CONFIG, bad={})
    assert fetched.arrays.keys() == expected.keys() - {"off_lattice"}
    for name, array in fetched.arrays.items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("fault", ["hole", "unlabelled", "gone"])
def test_only_the_bad_season_is_asked_for_again(fault):
    fetched, source = one({"3-s1-c0": fault})
    assert fetched.outcome.status is Status.KEPT
    assert ranks(fetched.outcome) == [0, 1]
    again = ("3-s0-c0", "3-s1-c1") if fault == "gone" else ("3-s1-c1",)
    assert source.reads == [(3, ("3-s0-c0", "3-s1-c0"), False), (3, again, True)]
    expected = expected_arrays([choice(3, 0, 0), choice(3, 1, 1)], config=CONFIG, bad={})
    for name, array in fetched.arrays.items():
        np.testing.assert_array_equal(array, expected[name])


def test_a_radar_pass_with_a_hole_is_replaced_with_its_season():
    fetched, _ = one({"3-s0-r0": "hole"})
    assert ranks(fetched.outcome) == [1, 0]


def test_candidates_are_tried_a_bounded_number_of_times():
    bad = {f"3-s1-c{rank}": "unlabelled" for rank in range(NUM_CANDIDATES)}
    fetched, source = one(bad)
    assert fetched.outcome.status is Status.NO_LABELS
    assert len(source.reads) == CONFIG.pairing.max_candidates == 3
    assert fetched.outcome.reason == (
        "summer: " + "; ".join(f"3-s1-c{n}: 0.0 % of the patch labelled, 50.0 % wanted" for n in range(3))
    )
    assert fetched.arrays == {}
    assert ranks(fetched.outcome) == [0, 2]


def test_the_bound_is_the_config_s():
    bad = {f"3-s0-c{rank}": "hole" for rank in range(NUM_CANDIDATES)}
    fetched, source = one(bad, pairing={"max_candidates": 1})
    assert (fetched.outcome.status, len(source.reads)) == (Status.NO_COVERAGE, 1)


def test_nothing_more_is_read_once_a_season_has_no_candidate_left():
    bad = {f"3-s0-c{rank}": "gone" for rank in range(NUM_CANDIDATES)} | {"3-s1-c0": "hole"}
    fetched, source = one(bad, pairing={"max_candidates": 2})
    assert fetched.outcome.status is Status.NO_SCENE
    assert fetched.outcome.reason == "spring: 3-s0-c0: 3-s0-c0 not found; 3-s0-c1: 3-s0-c1 not found"
    assert len(source.reads) == 2
    assert fetched.outcome.seasons == ()


def test_a_scene_that_is_known_to_be_bad_is_not_asked_for_with_another_candidate():
    config = small_config()
    shared = [
        LocationPlan(
            plan(3).location,
            tuple(
                tuple(replace_radar(one, "shared") if rank < 2 else one for rank, one in enumerate(ranked))
                for ranked in plan(3).seasons
            ),
            refusal="",
        )
    ]
    source = FakeSource(config, bad={"shared": "hole"})
    fetched = fetch_location(config, source, shared[0])
    assert ranks(fetched.outcome) == [2, 2]
    assert len(source.reads) == 2


def test_candidates_that_were_not_tried_are_counted():
    config = small_config()
    seasons = tuple(tuple(replace_radar(one, "shared") for one in ranked) for ranked in plan(3).seasons)
    source = FakeSource(config, bad={"shared": "hole"})
    fetched = fetch_location(config, source, LocationPlan(plan(3).location, seasons, refusal=""))
    assert fetched.outcome.status is Status.NO_COVERAGE
    assert "spring: 3-s0-c0: Sentinel-1 observed 99.3 % of the patch, 100 % wanted" in fetched.outcome.reason
    assert "; 2 more with one of these scenes" in fetched.outcome.reason


def replace_radar(one, index):
    return replace(one, s1_index=index)


def test_a_scene_that_is_not_named_costs_every_season_its_candidate():
    fetched, source = one({"3-s1-c0": "nameless"})
    assert fetched.outcome.status is Status.KEPT
    assert ranks(fetched.outcome) == [1, 1]
    assert len(source.reads) == 2


def test_a_refused_request_is_quarantined_with_the_provider_s_words():
    fetched, source = one({"3-s1-c0": "refused"})
    assert fetched.outcome == LocationOutcome(3, Status.REFUSED, "3-s1-c0 is not to our taste")
    assert len(source.reads) == 1


def test_a_refusal_on_the_way_keeps_what_was_read_before():
    fetched, _ = one({"3-s1-c0": "hole", "3-s1-c1": "refused"})
    assert fetched.outcome.status is Status.REFUSED
    assert ranks(fetched.outcome) == [0, 0]


def test_a_request_that_can_not_be_made_smaller_is_a_refusal():
    class TooLarge(FakeSource):
        def _refuse(self, name):
            raise RequestTooLargeError("User memory limit exceeded.")

    fetched = fetch_location(CONFIG, TooLarge(CONFIG), plan(3))
    assert fetched.outcome == LocationOutcome(3, Status.REFUSED, "User memory limit exceeded.")


faults = st.dictionaries(
    st.sampled_from([f"3-s{s}-{kind}{n}" for s in (0, 1) for kind in "cr" for n in range(NUM_CANDIDATES)]),
    st.sampled_from(["gone", "hole", "unlabelled", "nameless"]),
    max_size=8,
)


@settings(max_examples=200)
@given(faults, st.integers(1, NUM_CANDIDATES))
def test_whatever_is_bad_the_reads_are_bounded_and_kept_pixels_are_good(bad, bound):
    config = small_config(pairing={"max_candidates": bound})
    source = FakeSource(config, bad=bad)
    fetched = fetch_location(config, source, plan(3))
    tried = Counter(name for _, names, _ in source.reads for name in names)
    for season in (0, 1):
        assert len([name for name in tried if f"-s{season}-" in name]) <= bound
    assert [fallback for _, _, fallback in source.reads] == [n > 0 for n in range(len(source.reads))]
    assert fetched.num_requests == len(source.reads) <= 2 * bound
    if fetched.outcome.status is Status.KEPT:
        chosen = [season.choice for season in fetched.outcome.seasons]
        wrong = {"hole", "gone", "nameless"}
        assert not any(bad.get(one.s2_index) in wrong | {"unlabelled"} for one in chosen)
        assert not any(bad.get(one.s1_index) in wrong for one in chosen)
        expected = expected_arrays(chosen, config=config, bad={})
        assert all((fetched.arrays[name] == expected[name]).all() for name in fetched.arrays)
    else:
        assert fetched.outcome.reason
        assert fetched.arrays == {}


# A job --------------------------------------------------------------------------------------------------------

BAD = {
    "1-s0-c0": "hole",
    "2-s1-c0": "refused",
    **{f"4-s0-c{rank}": "unlabelled" for rank in range(NUM_CANDIDATES)},
    "5-s1-r0": "gone",
}
PLANS = [plan(0), plan(1), plan(2), refused_plan(3), plan(4), plan(5), plan(6), plan(7)]
STATUSES = [
    Status.KEPT,
    Status.KEPT,
    Status.REFUSED,
    Status.NO_SCENE,
    Status.NO_LABELS,
    Status.KEPT,
    Status.KEPT,
    Status.KEPT,
]


def spool_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Layout("small", root=folder).spool(0).iterdir()}


def test_every_location_ends_with_an_outcome_in_the_order_of_the_plans(tmp_path):
    source = FakeSource(CONFIG, bad=BAD)
    outcomes = fetch(source, tmp_path, PLANS)
    assert [outcome.location_id for outcome in outcomes] == list(range(8))
    assert [outcome.status for outcome in outcomes] == STATUSES
    assert outcomes[3] == LocationOutcome(3, Status.NO_SCENE, refused_plan(3).refusal)
    assert 3 not in {number for number, _, _ in source.reads}


def test_fetch_never_has_more_requests_in_flight_than_asked(tmp_path):
    source = FakeSource(CONFIG, delay_s=0.01)
    fetch(source, tmp_path, [plan(number) for number in range(12)], concurrency=3)
    assert source.most_in_flight == 3


def test_concurrency_changes_nothing(tmp_path):
    results = []
    for concurrency in (1, 2, 8):
        folder = tmp_path / str(concurrency)
        outcomes = fetch(FakeSource(CONFIG, bad=BAD), folder, PLANS, concurrency=concurrency)
        results.append((outcomes, spool_of(folder)))
    assert results[0] == results[1] == results[2]


def test_a_finished_job_is_not_asked_for_again(tmp_path):
    first = fetch(FakeSource(CONFIG, bad=BAD), tmp_path, PLANS)
    source = FakeSource(CONFIG, bad=BAD)
    assert fetch(source, tmp_path, PLANS) == first
    assert source.reads == []


class Killed(BaseException):
    """Stands for the end of the process."""


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 4))
def test_a_killed_job_goes_on_and_asks_nothing_twice(tmp_path_factory, kill_after, concurrency):
    folder = tmp_path_factory.mktemp("killed")
    served: Counter[int] = Counter()
    for reads_until_kill in kill_after:
        left = iter([None] * reads_until_kill)

        def kill(place, left=left) -> None:
            if next(left, Killed) is Killed:
                raise Killed

        source = FakeSource(CONFIG, before_read=kill)
        plans = [plan(number) for number in range(8)]
        with contextlib.suppress(Killed):
            fetch(source, folder, plans, concurrency=concurrency)
        served += source.served
    source = FakeSource(CONFIG)
    outcomes = fetch(source, folder, [plan(number) for number in range(8)])
    served += source.served
    assert served == dict.fromkeys(range(8), 1)
    assert {outcome.status for outcome in outcomes} == {Status.KEPT}


@pytest.mark.parametrize("error", [SourceUnavailableError, QuotaSpentError, AuthenticationError])
def test_a_final_failure_stops_the_job_and_keeps_what_is_staged(tmp_path, error):
    def fail(place):
        if place.id == 5:
            raise error("no more")

    stopped = FakeSource(CONFIG, bad=BAD, before_read=fail)
    with pytest.raises(error, match="no more"):
        fetch(stopped, tmp_path, PLANS, concurrency=1)
    assert sorted(spool_of(tmp_path)) == [f"{n}.staged" for n in (0, 1, 2, 4)]
    again = FakeSource(CONFIG, bad=BAD)
    outcomes = fetch(again, tmp_path, PLANS)
    assert {number for number, _, _ in again.reads} == {5, 6, 7}
    undisturbed = tmp_path / "undisturbed"
    assert outcomes == fetch(FakeSource(CONFIG, bad=BAD), undisturbed, PLANS)
    assert spool_of(tmp_path) == spool_of(undisturbed)


def test_a_damaged_staged_file_is_fetched_again(tmp_path, caplog):
    fetch(FakeSource(CONFIG), tmp_path, PLANS)
    before = spool_of(tmp_path)
    path = staged_path(Layout("small", root=tmp_path), 0, 6)
    path.write_bytes(path.read_bytes()[:-1])
    source = FakeSource(CONFIG)
    fetch(source, tmp_path, PLANS)
    assert [number for number, _, _ in source.reads] == [6]
    assert "6.staged" in caplog.text
    assert spool_of(tmp_path) == before


def test_a_spool_of_another_config_is_not_used(tmp_path):
    fetch(FakeSource(CONFIG), tmp_path, [plan(0)])
    other = small_config(clouds={"min_label_share": 0.1})
    source = FakeSource(other)
    fetch(source, tmp_path, [plan(0)], config=other)
    assert len(source.reads) == 1


def test_half_written_files_are_swept_at_the_start(tmp_path):
    spool = Layout("small", root=tmp_path).spool(0)
    spool.mkdir(parents=True)
    (spool / ".0.staged.partial").write_bytes(b"half")
    fetch(FakeSource(CONFIG), tmp_path, [plan(0)])
    assert list(spool_of(tmp_path)) == ["0.staged"]


def test_a_full_disk_stops_the_job_with_one_line(tmp_path, monkeypatch):
    fetch(FakeSource(CONFIG), tmp_path, [plan(0)])

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(NoldoError, match=r"spool/0/1\.staged: can't be written \(No space left on device\)"):
        fetch(FakeSource(CONFIG), tmp_path, [plan(0), plan(1)])
    assert list(spool_of(tmp_path)) == ["0.staged"]


def test_progress_says_how_far_and_what_became_of_them(tmp_path, caplog):
    caplog.set_level("INFO")
    fetch(FakeSource(CONFIG, bad=BAD), tmp_path, PLANS)
    assert (
        "8 of 8 locations done (0 from an earlier run): 5 kept, 1 no_scene, 1 no_labels, 1 refused; "
        "11 read requests" in caplog.text
    )
    assert "location 2: REFUSED: 2-s1-c0 is not to our taste" in caplog.text
    caplog.clear()
    fetch(FakeSource(CONFIG, bad=BAD), tmp_path, PLANS)
    assert "8 of 8 locations done (7 from an earlier run)" in caplog.text


def test_a_job_reads_its_rows_and_leaves_its_outcomes_and_its_ready_file(tmp_path):
    layout = Layout("small", root=tmp_path)
    config = small_config(jobs={"locations_per_shard": 2, "locations_per_job": 4, "locations_per_search": 8})
    write_locations([one.location for one in PLANS], layout.locations)
    write_plans(layout.scenes(0), PLANS)
    source = FakeSource(config, bad=BAD)
    run_fetch(config, source, layout, job=1, concurrency=2)
    outcomes = read_outcomes(layout.outcomes(1))
    assert [outcome.location_id for outcome in outcomes] == [4, 5, 6, 7]
    assert [outcome.status for outcome in outcomes] == STATUSES[4:]
    assert layout.ready(1).read_bytes() == b""
    assert staged_arrays(layout, 1, 4) is None
    assert staged_arrays(layout, 1, 5) is not None


SCRIPT = """
import sys, threading
from pathlib import Path
from builders.__main__ import _stop
from builders.fetch import fetch_plans
from builders.layout import Layout
from tests.builders.fake_source import FakeSource, plan, small_config
import signal
signal.signal(signal.SIGTERM, _stop)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if the tests themselves run in the background

def hang(place):
    if place.id == 2:
        print("hanging", flush=True)
        threading.Event().wait(60)

config = small_config()
fetch_plans(config, FakeSource(config, before_read=hang), [plan(n) for n in range(4)],
            layout=Layout("small", root=Path(sys.argv[1])), job=0, concurrency=1)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_job_at_once_and_keeps_what_is_staged(tmp_path, number):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"hanging\n"
        started = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=20) != 0
        assert time.monotonic() - started < 10
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert sorted(spool_of(tmp_path)) == ["0.staged", "1.staged"]


def test_requests_in_flight_end_well_when_another_fails(tmp_path):
    both = threading.Barrier(2, timeout=20)

    def meet(place):
        both.wait()
        if place.id == 0:
            raise QuotaSpentError("spent")
        time.sleep(0.05)

    with pytest.raises(QuotaSpentError):
        fetch(FakeSource(CONFIG, before_read=meet), tmp_path, [plan(0), plan(1)])
    assert list(spool_of(tmp_path)) == ["1.staged"]
