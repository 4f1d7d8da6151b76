import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.config_sections import Source
from builders.governor import Governor
from builders.quota_state import SharedQuotaState, next_pacific_midnight
from noldo.errors import AuthenticationError, ConfigError, QuotaSpentError

ROOT = Path(__file__).parents[2]


SOURCE = Source(url="http://127.0.0.1:1", project="p")


class FakeClock:
    """Time that passes only when someone sleeps; two clocks in one, as seconds."""

    def __init__(self, now: float = 1_600_000_000.0) -> None:
        self.now = now
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.sleeps.append(seconds)
        self.now += seconds


def governor(state: Path, clock: FakeClock, *, claim: int = 8, source: Source = SOURCE) -> Governor:
    return Governor(claim, source, state, clock=clock, wall=clock, sleep=clock.sleep)


@settings(max_examples=30, deadline=None)
@given(
    claim=st.integers(1, 40),
    per_second=st.floats(0.5, 200),
    idle_s=st.lists(st.floats(0, 2), min_size=1, max_size=60),
)
def test_starts_never_exceed_the_jobs_share_of_the_rate(
    tmp_path_factory: pytest.TempPathFactory, claim: int, per_second: float, idle_s: list[float]
):
    clock = FakeClock()
    source = SOURCE.model_copy(update={"max_per_second": per_second})
    gate = governor(tmp_path_factory.mktemp("q") / "q.json", clock, claim=claim, source=source)
    starts = []
    for idle in idle_s:
        clock.now += idle
        with gate.slot():
            starts.append(clock.now)
    share = per_second * claim / 40
    for number, first in enumerate(starts):
        for later, last in enumerate(starts[number + 1 :], start=1):
            assert later <= share * (last - first) + 1e-3


def test_an_idle_gate_opens_at_once(tmp_path: Path):
    clock = FakeClock()
    with governor(tmp_path / "q.json", clock).slot():
        assert clock.sleeps == []


@pytest.mark.parametrize("claim", [1, 3, 8])
def test_no_more_than_the_claim_is_ever_in_flight(tmp_path: Path, claim: int):
    source = SOURCE.model_copy(update={"max_per_second": 1e6})
    gate = Governor(claim, source, tmp_path / "q.json")
    lock, now, most = threading.Lock(), 0, 0
    together = threading.Barrier(claim)

    def work() -> None:
        nonlocal now, most
        with gate.slot():
            with lock:
                now += 1
                most = max(most, now)
            together.wait(timeout=10)
            with lock:
                now -= 1

    threads = [threading.Thread(target=work) for _ in range(3 * claim)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == claim
    assert not together.broken


def test_a_slot_is_given_back_when_its_request_fails(tmp_path: Path):
    gate = governor(tmp_path / "q.json", FakeClock(), claim=1)
    for _ in range(3):
        with pytest.raises(ConnectionError), gate.slot():
            raise ConnectionError


def test_after_a_429_all_jobs_of_the_project_wait(tmp_path: Path):
    clock = FakeClock()
    one, other = (governor(tmp_path / "q.json", clock) for _ in range(2))
    began = clock.now
    one.cool_down(5.0)
    with other.slot():
        assert clock.now >= began + 5.0
    assert max(clock.sleeps) <= 1.0, "a waiting job looks again, in case the state changes"


def test_a_cool_down_set_while_waiting_for_the_rate_is_kept(tmp_path: Path):
    clock = FakeClock()
    gate = governor(
        tmp_path / "q.json", clock, claim=1, source=SOURCE.model_copy(update={"max_per_second": 4.0})
    )
    with gate.slot():
        pass
    began = clock.now
    sleep = clock.sleep

    def interrupted(seconds: float) -> None:
        if not clock.sleeps:
            gate.cool_down(30.0)
        sleep(seconds)

    gate._sleep = interrupted
    with gate.slot():
        assert clock.now >= began + 30.0


def test_two_processes_share_a_cool_down(tmp_path: Path):
    path = tmp_path / "q.json"
    code = (
        "import sys; from pathlib import Path; from builders.config_sections import Source; "
        "from builders.governor import Governor; "
        "Governor(1, Source(url='http://127.0.0.1:1'), Path(sys.argv[1])).cool_down(0.4)"
    )
    gate = Governor(1, SOURCE, path)
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=ROOT)
    until = SharedQuotaState(path).read().cool_down_until
    with gate.slot():
        assert time.time() >= until > 0


def test_a_spent_quota_stops_every_job_until_it_is_renewed(tmp_path: Path):
    clock = FakeClock()
    one, other = (governor(tmp_path / "q.json", clock) for _ in range(2))
    error = one.quota_spent("Your usage exceeded the custom quota")
    with pytest.raises(QuotaSpentError, match="custom quota") as caught, other.slot():
        pytest.fail("a request started")
    assert str(caught.value) == str(error)
    assert "2020-09-14 07:00 UTC" in str(error), "says when to go on"
    assert "clear-quota" in str(error)
    assert clock.sleeps == [], "jobs stop rather than wait for hours"
    clock.now = next_pacific_midnight(clock.now)
    with other.slot():
        pass


def test_refused_credentials_stop_every_job_until_cleared(tmp_path: Path):
    clock = FakeClock()
    one, other = (governor(tmp_path / "q.json", clock) for _ in range(2))
    one.authentication_refused("log in again")
    with pytest.raises(AuthenticationError, match="log in again"), other.slot():
        pytest.fail("a request started")
    SharedQuotaState(tmp_path / "q.json").clear_authentication()
    with other.slot():
        pass


def test_restricted_mode_leaves_one_request_at_a_time_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    gate = Governor(4, SOURCE, tmp_path / "q.json")
    gate.restrict()
    gate.restrict()
    assert len(caplog.records) == 1
    second_started = threading.Event()

    def second() -> None:
        with gate.slot():
            second_started.set()

    with gate.slot():
        thread = threading.Thread(target=second)
        thread.start()
        assert not second_started.wait(0.2)
    thread.join(5)
    assert second_started.is_set()


@pytest.mark.parametrize("claim", [0, 41, -1])
def test_a_claim_beyond_the_quota_is_refused(tmp_path: Path, claim: int):
    with pytest.raises(ConfigError, match=r"max_concurrent \(40\)"):
        Governor(claim, SOURCE, tmp_path / "q.json")
