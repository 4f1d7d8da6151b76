import threading
import time

import pytest

from builders.crew import in_threads


def test_every_item_is_worked_on_once():
    assert sorted(in_threads(lambda n: n * n, range(20), concurrency=4)) == [n * n for n in range(20)]


def test_no_items_are_no_results():
    assert list(in_threads(str, [], concurrency=3)) == []


def test_never_more_at_once_than_asked():
    lock, at_once, most = threading.Lock(), 0, 0

    def work(number: int) -> int:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.005)
        with lock:
            at_once -= 1
        return number

    assert len(list(in_threads(work, range(20), concurrency=3))) == 20
    assert most == 3


def test_the_first_failure_is_raised_and_nothing_new_is_taken():
    taken = []

    def work(number: int) -> int:
        taken.append(number)
        if number == 2:
            raise ValueError("two")
        time.sleep(0.01)
        return number

    with pytest.raises(ValueError, match="two"):
        list(in_threads(work, range(100), concurrency=2))
    assert len(taken) < 10


def test_work_in_flight_ends_well_before_a_failure_is_raised():
    both_at_work = threading.Barrier(2, timeout=20)
    ended = []

    def work(number: int) -> None:
        both_at_work.wait()
        if number == 0:
            raise ValueError("zero")
        time.sleep(0.05)
        ended.append(number)

    with pytest.raises(ValueError, match="zero"):
        list(in_threads(work, range(2), concurrency=2))
    assert ended == [1]


def test_the_grace_for_work_in_flight_is_bounded():
    hang = threading.Event()

    def work(number: int) -> None:
        if number == 0:
            raise ValueError("zero")
        hang.wait(30)

    started = time.monotonic()
    with pytest.raises(ValueError, match="zero"):
        list(in_threads(work, range(2), concurrency=2, grace_s=0.0))
    assert time.monotonic() - started < 10
    hang.set()


def test_a_consumer_that_leaves_stops_the_crew():
    taken = []

    def work(number: int) -> int:
        taken.append(number)
        time.sleep(0.005)
        return number

    results = in_threads(work, range(1000), concurrency=2)
    next(results)
    results.close()
    time.sleep(0.1)
    at_the_end = len(taken)
    time.sleep(0.1)
    assert len(taken) == at_the_end < 100


def test_the_waiting_thread_looks_up_while_nothing_ends():
    ticks = []
    release = threading.Event()

    def tick() -> None:
        ticks.append(threading.current_thread())
        release.set()

    assert list(in_threads(lambda n: release.wait(20), [0], concurrency=1, tick=tick)) == [True]
    assert set(ticks) == {threading.current_thread()}
