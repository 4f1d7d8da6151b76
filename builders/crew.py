"""A bounded crew of threads for requests: results as they come, one clean stop, no wait on an interrupt."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

GRACE_S = 30.0
"""How long requests in flight may still end well after another one failed for good, in seconds."""

TICK_S = 1.0
"""How often the waiting thread looks up, in seconds."""


def in_threads(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    concurrency: int,
    tick: Callable[[], None] | None = None,
    grace_s: float = GRACE_S,
) -> Iterator[Result]:
    """Do the work on all items, at most `concurrency` at once.

    Parameters
    ----------
    work
        Called in threads; what it raises ends the whole.
    items
        Taken one by one, when a thread is free.
    tick
        Called in the caller's thread at least every second, also while nothing ends.
    grace_s
        After a failure, how long to wait for what is in flight.

    Yields
    ------
    Results in the order in which they end.

    Raises
    ------
    BaseException
        The first exception of any work, once what was in flight has ended or the grace is over. No item is
        taken after it.
    """
    crew = _Crew(work, items)
    crew.start(concurrency)
    try:
        yield from crew.results(tick=tick, grace_s=grace_s)
    finally:
        crew.stop.set()
    if crew.failure is not None:
        raise crew.failure


class _Crew(Generic[Item, Result]):
    """Threads that take items until there are none, or one fails, or the crew is told to stop.

    They are daemons: an interrupted process must not wait minutes for answers that it will not use. That is
    safe because whatever they write appears by rename.
    """

    def __init__(self, work: Callable[[Item], Result], items: Iterable[Item]) -> None:
        self._work = work
        self._items = iter(items)
        self._lock = threading.Lock()
        self._ended: queue.SimpleQueue[list[Result]] = queue.SimpleQueue()
        """One result each; an empty list: a thread went home."""
        self._at_work = 0
        self.stop = threading.Event()
        self.failure: BaseException | None = None

    def start(self, num_threads: int) -> None:
        self._at_work = num_threads
        for number in range(num_threads):
            threading.Thread(target=self._labour, name=f"crew-{number}", daemon=True).start()

    def results(self, *, tick: Callable[[], None] | None, grace_s: float) -> Iterator[Result]:
        give_up_at = float("inf")
        while self._at_work and time.monotonic() < give_up_at:
            try:
                result = self._ended.get(timeout=TICK_S)
            except queue.Empty:
                result = None
            if result:
                yield result[0]
            elif result is not None:
                self._at_work -= 1
            if tick is not None:
                tick()
            if self.failure is not None:
                give_up_at = min(give_up_at, time.monotonic() + grace_s)
        if self._at_work:
            logger.warning("left %d requests in flight behind", self._at_work)

    def _labour(self) -> None:
        try:
            while not self.stop.is_set() and (item := self._take()):
                self._ended.put([self._work(item[0])])
        except BaseException as error:  # noqa: BLE001 - the waiting thread raises it again
            self._fail(error)
        finally:
            self._ended.put([])

    def _take(self) -> list[Item]:
        with self._lock:
            for item in self._items:
                return [item]
            return []

    def _fail(self, error: BaseException) -> None:
        self.stop.set()
        with self._lock:
            if self.failure is None:
                self.failure = error
            else:
                logger.info("another request failed while stopping: %s", error)
