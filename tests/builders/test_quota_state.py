import datetime as dt
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.config_sections import Source
from builders.layout import Layout
from builders.quota_state import (
    QuotaState,
    SharedQuotaState,
    clear_authentication,
    clear_holds,
    next_pacific_midnight,
    state_path,
)
from noldo.errors import StoreError

ROOT = Path(__file__).parents[2]


def utc(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "renewed"),
    [
        ("2021-01-10T07:59:59", "2021-01-10T08:00:00"),
        ("2021-01-10T08:00:00", "2021-01-11T08:00:00"),
        ("2021-07-10T06:59:59", "2021-07-10T07:00:00"),
        ("2021-03-14T09:00:00", "2021-03-15T07:00:00"),
        ("2021-11-07T08:00:00", "2021-11-08T08:00:00"),
    ],
)
def test_the_quota_is_renewed_at_midnight_pacific_time_across_daylight_saving(now: str, renewed: str):
    assert next_pacific_midnight(utc(now)) == utc(renewed)


@given(st.floats(min_value=0, max_value=4e9))
def test_the_quota_is_renewed_within_the_next_25_hours(now: float):
    assert 0 < next_pacific_midnight(now) - now <= 25 * 3600


def test_nothing_is_held_before_anything_was_written(tmp_path: Path):
    assert SharedQuotaState(tmp_path / "none.json").read() == QuotaState()


def test_what_one_writes_another_reads(tmp_path: Path):
    one, other = SharedQuotaState(tmp_path / "q.json"), SharedQuotaState(tmp_path / "q.json")
    assert other.read() == QuotaState()
    one.cool_down(100.0)
    assert other.read().cool_down_until == 100.0
    one.spend_quota(500.0, reason="daily limit")
    one.refuse_authentication("log in")
    assert other.read() == QuotaState(100.0, 500.0, "daily limit", "log in")


def test_a_cool_down_is_never_shortened(tmp_path: Path):
    state = SharedQuotaState(tmp_path / "q.json")
    state.cool_down(200.0)
    state.cool_down(100.0)
    assert state.read().cool_down_until == 200.0


def test_writers_in_many_threads_lose_nothing(tmp_path: Path):
    path = tmp_path / "q.json"
    writers = [
        threading.Thread(target=SharedQuotaState(path).cool_down, args=(float(until),))
        for until in range(1, 33)
    ] + [threading.Thread(target=SharedQuotaState(path).spend_quota, args=(7.0,), kwargs={"reason": "spent"})]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert SharedQuotaState(path).read() == QuotaState(32.0, 7.0, "spent", "")


def test_another_process_is_heard_at_the_next_look(tmp_path: Path):
    state = SharedQuotaState(tmp_path / "q.json")
    state.cool_down(1.0)
    assert state.read().cool_down_until == 1.0
    code = (
        "import sys; from pathlib import Path; from builders.quota_state import SharedQuotaState; "
        "SharedQuotaState(Path(sys.argv[1])).cool_down(9.0)"
    )
    subprocess.run([sys.executable, "-c", code, str(state.path)], check=True, cwd=ROOT)
    assert state.read().cool_down_until == 9.0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cool_down_until": "soon"}', "null"])
def test_a_broken_state_file_is_said_and_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str):
    path = tmp_path / "q.json"
    path.write_text(text)
    state = SharedQuotaState(path)
    assert state.read() == QuotaState()
    assert str(path) in caplog.text
    state.cool_down(3.0)
    assert json.loads(path.read_text())["cool_down_until"] == 3.0


def test_clearing_forgets_everything_and_a_new_build_only_the_refused_login(tmp_path: Path):
    layout, source = Layout("x", tmp_path), Source(url="http://127.0.0.1:1", project="p")
    state = SharedQuotaState(state_path(layout, source))
    state.spend_quota(9.0, reason="spent")
    state.refuse_authentication("log in")
    clear_authentication(layout, source)
    assert state.read() == QuotaState(0.0, 9.0, "spent", "")
    clear_holds(layout, source)
    assert state.read() == QuotaState()


def test_clearing_creates_no_file_where_nothing_is_held(tmp_path: Path):
    layout, source = Layout("x", tmp_path), Source()
    clear_holds(layout, source)
    clear_authentication(layout, source)
    assert not state_path(layout, source).exists()


def test_endpoints_of_one_project_share_a_state_and_loopback_has_its_own(tmp_path: Path):
    layout = Layout("x", tmp_path)
    standard = Source(url="https://earthengine.googleapis.com", project="a-project")
    fast = Source(url="https://earthengine-highvolume.googleapis.com", project="a-project")
    here = Source(url="http://127.0.0.1:8000", project="a-project")
    assert state_path(layout, standard) == state_path(layout, fast) != state_path(layout, here)
    strange = Source(url="http://127.0.0.1:8000", project="../a/b")
    assert state_path(layout, strange).parent == layout.quota


def test_an_unwritable_folder_is_one_clear_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"choose a writable folder"):
        SharedQuotaState(tmp_path / "file" / "q.json").cool_down(1.0)
