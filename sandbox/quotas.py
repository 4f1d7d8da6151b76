"""The project's quota: requests in flight, and requests a second (Earth Engine, usage guide)."""

import threading
import time
from collections.abc import Callable

MAX_CONCURRENT = 40
MAX_PER_SECOND = 100.0


class Quota:
    """A count of requests in flight and a bucket of tokens that holds one second's worth. Thread-safe."""

    def __init__(
        self,
        *,
        max_concurrent: int = MAX_CONCURRENT,
        max_per_second: float = MAX_PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_concurrent = max_concurrent
        self._max_per_second = max_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight = 0
        self._tokens = max_per_second
        self._filled = clock()

    def enter(self) -> bool:
        """Take a place and a token; False if there is none: answer 429, and do not `leave`."""
        with self._lock:
            now = self._clock()
            self._tokens = min(
                self._tokens + (now - self._filled) * self._max_per_second, max(self._max_per_second, 1.0)
            )
            self._filled = now
            if self._in_flight >= self._max_concurrent or self._tokens < 1:
                return False
            self._tokens -= 1
            self._in_flight += 1
            return True

    def leave(self) -> None:
        """Give the place back."""
        with self._lock:
            self._in_flight -= 1
