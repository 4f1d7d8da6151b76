import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.layout import Layout
from builders.request_log import RequestLog, RequestRecord
from builders.run_record import covered_seconds, read_spans, run_report, timed
from tests.builders.made_up_build import made_up_config

seconds = st.floats(0, 1000, allow_nan=False)
spans = st.lists(st.tuples(seconds, seconds).map(lambda pair: (min(pair), max(pair))))


def test_requests_of_all_processes_are_added_up(tmp_path):
    layout = Layout("x", tmp_path)
    for stage in ("search", "fetch"):
        log = RequestLog(layout.requests, stage=stage, job="0")
        log.append(RequestRecord("start_up", 1, "ok", 200, 0, 10, 0.1))
        log.append(RequestRecord("metadata", 1, "ok", 200, 0, 100, 0.1))
        log.append(RequestRecord("pixels", 1, "retry", 503, 40_000_000, 0, 0.1))
        log.append(RequestRecord("pixels", 2, "ok", 200, 40_000_000, 7_000_000, 0.1))
    report = run_report(made_up_config(), layout)
    assert report.requests.metadata == 2
    assert report.requests.pixels == 2
    assert report.requests.retried == 2
    assert report.requests.start_up == 2
    assert report.requests.largest_bytes == 40_000_000
    assert report.received_bytes == 14_000_220
    assert report.synthetic


def test_steps_are_timed_once_a_job_and_listed_in_the_order_they_began(tmp_path):
    layout = Layout("x", tmp_path)
    for step, piece in (("search", 0), ("fetch", 0), ("fetch", 1), ("fetch", 0)):
        with timed(layout, step, piece=piece):
            pass
    assert {step: len(jobs) for step, jobs in read_spans(layout).items()} == {"fetch": 2, "search": 1}
    assert list(run_report(made_up_config(), layout).seconds) == ["search", "fetch"]


def test_a_job_that_fails_leaves_no_time(tmp_path):
    layout = Layout("x", tmp_path)
    with pytest.raises(KeyError), timed(layout, "pack"):
        raise KeyError
    assert read_spans(layout) == {}


def test_a_damaged_note_is_named_and_left_out(tmp_path, caplog):
    layout = Layout("x", tmp_path)
    with timed(layout, "pack"):
        pass
    (tmp_path / "work/x/nol/times/fetch-0.json").write_text("{")
    assert list(read_spans(layout)) == ["pack"]
    assert "fetch-0.json" in caplog.text


@given(spans)
def test_covered_time_is_at_most_the_sum_and_at_least_the_longest(jobs):
    covered = covered_seconds(jobs)
    lengths = [ended - began for began, ended in jobs]
    assert max(lengths, default=0.0) <= covered + 1e-9
    assert covered <= sum(lengths) + 1e-6
    assert covered_seconds([*jobs, *jobs]) == pytest.approx(covered)


def test_times_before_the_first_job_are_not_counted():
    assert covered_seconds([(10.0, 12.0), (11.0, 13.0), (20.0, 21.0)]) == 4.0


def test_versions_of_packages_and_steps_are_recorded(tmp_path):
    versions = run_report(made_up_config(), Layout("x", tmp_path)).versions
    assert versions["python"].startswith("3.")
    assert {"numpy", "step pixels", "step report"} <= set(versions)
    assert json.dumps(versions)
