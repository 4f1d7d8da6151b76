import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.caller import AttemptFailedError, Caller
from builders.config_sections import Source
from builders.governor import Governor
from builders.quota_state import SharedQuotaState
from builders.request_log import RequestLog, summarise
from builders.retries import Failure, GarbledAnswerError
from builders.transport import Exchange
from noldo.errors import (
    AuthenticationError,
    QuotaSpentError,
    RequestRefusedError,
    RequestTooLargeError,
    SceneUnavailableError,
    SourceError,
    SourceUnavailableError,
    StoreError,
)

PATIENCE_S = 100.0


class World:
    """A caller whose time passes only when it sleeps, and a provider that fails as it is told."""

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        self.now = 1_600_000_000.0
        self.sleeps: list[float] = []
        self.attempts = 0
        self.state = SharedQuotaState(folder / "q.json")
        self.requests = folder / "requests"
        governor = Governor(
            1,
            Source(url="http://127.0.0.1:1", max_per_second=1e9),
            self.state.path,
            clock=self.clock,
            wall=self.clock,
            sleep=self.sleep,
        )
        self.caller = Caller(
            governor,
            RequestLog(self.requests, stage="fetch", job="1"),
            take_exchanges=self.exchanges,
            patience_s=PATIENCE_S,
            login_advice="run `earthengine authenticate`",
            rng=random.Random(seed),
            clock=self.clock,
            sleep=self.sleep,
        )
        self._status = 0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    def exchanges(self) -> list[Exchange]:
        status, self._status = self._status, 0
        return [Exchange(status, 10, 0.1, b"")] if status else []

    def failing(self, *failures: Failure | Exception) -> Callable[[], str]:
        """An attempt that fails in these ways, one after the other, and then succeeds."""

        def attempt() -> str:
            self.attempts += 1
            if self.attempts > len(failures):
                self._status = 200
                return "answer"
            failure = failures[self.attempts - 1]
            if isinstance(failure, Failure):
                self._status = failure.status or 0
                raise AttemptFailedError(failure)
            self._status = 200
            raise failure

        return attempt


BUSY = Failure(503, "busy")
TOO_FAST = Failure(429, "Too Many Requests")


def test_an_answer_is_an_answer(tmp_path: Path):
    world = World(tmp_path)
    assert world.caller.call(world.failing(), kind="pixels", bytes_counted=7) == "answer"
    assert world.sleeps == []
    summary = summarise(world.requests)
    assert (summary["pixels"], summary["largest_bytes"], summary["retried"]) == (1, 7, 0)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from([BUSY, TOO_FAST, Failure(None, "slow"), GarbledAnswerError("no NPY")]), max_size=5
    ),
    st.integers(0, 100),
)
def test_transient_faults_are_outlasted(
    tmp_path_factory: pytest.TempPathFactory, failures: list[Failure | Exception], seed: int
):
    world = World(tmp_path_factory.mktemp("world"), seed=seed)
    assert world.caller.call(world.failing(*failures), kind="pixels") == "answer"
    assert world.attempts == len(failures) + 1


def test_only_a_429_makes_the_others_wait(tmp_path: Path):
    world = World(tmp_path)
    world.caller.call(world.failing(BUSY), kind="pixels")
    assert world.state.read().cool_down_until == 0
    world.attempts = 0
    world.caller.call(world.failing(TOO_FAST), kind="pixels")
    assert world.state.read().cool_down_until > 1_600_000_000


@pytest.mark.parametrize("seed", range(5))
def test_patience_is_counted_from_the_first_fault_and_ends_with_a_clear_line(tmp_path: Path, seed: int):
    world = World(tmp_path, seed=seed)
    began = world.now
    with pytest.raises(SourceUnavailableError, match=r"HTTP 503: busy.*run the same command again"):
        world.caller.call(world.failing(*[BUSY] * 1000), kind="pixels")
    assert world.now - began == pytest.approx(PATIENCE_S)
    assert max(world.sleeps) <= 60


def test_patience_is_a_requests_own(tmp_path: Path):
    world = World(tmp_path)
    for _ in range(20):
        world.attempts = 0
        world.now += PATIENCE_S
        assert world.caller.call(world.failing(BUSY, BUSY), kind="pixels") == "answer"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure(400, "Total request size (1 bytes) must be less than"), RequestTooLargeError),
        (
            Failure(400, "Image.load: X not found (does not exist or caller does not have access)."),
            SceneUnavailableError,
        ),
        (Failure(400, "Exported bands must have compatible data types"), RequestRefusedError),
        (Failure(403, "no rights"), AuthenticationError),
        (
            Failure(429, "exceeded the custom quota for 'earthengine.googleapis.com/daily_eecu_usage_time'"),
            QuotaSpentError,
        ),
    ],
)
def test_final_failures_are_asked_once(tmp_path: Path, failure: Failure, kind: type[SourceError]):
    world = World(tmp_path)
    with pytest.raises(kind) as caught:
        world.caller.call(world.failing(failure), kind="pixels")
    assert type(caught.value) is kind
    assert failure.message.split("'")[0] in str(caught.value)
    assert world.attempts == 1
    assert world.sleeps == []


def test_a_defect_of_ours_is_not_taken_for_a_fault_of_the_provider(tmp_path: Path):
    world = World(tmp_path)
    with pytest.raises(ZeroDivisionError):
        world.caller.call(lambda: 1 / 0, kind="pixels")


def test_each_attempt_is_a_line_with_its_outcome(tmp_path: Path):
    world = World(tmp_path)
    world.caller.call(world.failing(BUSY, TOO_FAST, GarbledAnswerError("no NPY")), kind="metadata")
    (path,) = world.requests.iterdir()
    lines = path.read_text().splitlines()
    for line, words in zip(
        lines,
        ['"back_off","status":503', '"cool_down","status":429', '"back_off","status":200', '"ok"'],
        strict=True,
    ):
        assert f'"outcome":{words}' in line
    assert '"message":"busy"' in lines[0]


def test_an_answer_is_not_lost_to_a_full_disk_and_nothing_more_is_asked_meanwhile(tmp_path, caplog):
    bench = World(tmp_path)
    bench.requests.touch()  # a file where the folder should be
    assert bench.caller.call(bench.failing(), kind="pixels") == "answer"
    assert "can't be written" in caplog.text
    with pytest.raises(StoreError, match="can't be written"):
        bench.caller.call(bench.failing(), kind="pixels")
    assert bench.attempts == 1
    bench.requests.unlink()
    assert bench.caller.call(bench.failing(), kind="pixels") == "answer"
    assert summarise(bench.requests)["pixels"] == 2
