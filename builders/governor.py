"""How fast one process may ask: its share of the project's concurrency and rate, and the holds all share.

A job claims some of the project's concurrent requests (the workflow engine keeps the sum of claims within
the quota) and gets the same share of the request rate. Whatever the provider says to one process about
slowing down or stopping, all learn through `builders.quota_state`.
"""

import contextlib
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from builders.config_sections import Source
from builders.quota_state import QuotaState, SharedQuotaState, next_pacific_midnight
from noldo.errors import AuthenticationError, ConfigError, QuotaSpentError

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 1.0
"""Longest sleep before the shared state is consulted again while waiting."""


class Governor:
    """Decides when a request may start. Thread-safe; one a process and source.

    Parameters
    ----------
    claim
        Requests this process may have in flight, 1 .. `source.max_concurrent`.
    source
        Gives the project's quota, of which the claim is a part.
    state
        File of the shared state (`builders.quota_state.state_path`).
    clock
        Monotonic seconds, for the request rate.
    wall
        Seconds since 1970-01-01 UTC, for what is shared between processes.
    sleep
        Waits for seconds.

    Raises
    ------
    ConfigError
        If the claim is not within the quota.
    """

    def __init__(
        self,
        claim: int,
        source: Source,
        state: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 1 <= claim <= source.max_concurrent:
            raise ConfigError(
                f"concurrency {claim}: expected 1 .. source.max_concurrent ({source.max_concurrent}), "
                "of which it is the share of one job"
            )
        self.claim = claim
        self.per_second = source.max_per_second * claim / source.max_concurrent
        self._shared = SharedQuotaState(state)
        self._clock, self._wall, self._sleep = clock, wall, sleep
        self._limit = claim
        self._in_flight = 0
        self._changed = threading.Condition()
        self._next_start = float("-inf")

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Wait until one more request may start, and count it as in flight while in the block.

        Starts are spaced evenly at the job's rate: a burst at the start of every job would break the
        project's limit as soon as two jobs begin in the same second.

        Raises
        ------
        QuotaSpentError
            If the daily quota is known to be spent.
        AuthenticationError
            If the credentials are known to be refused.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight < self._limit)
            self._in_flight += 1
        try:
            self._wait_for_start()
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify()

    def cool_down(self, seconds: float) -> None:
        """Keep every process of the project from starting requests for a while (after a 429)."""
        self._shared.cool_down(self._wall() + seconds)

    def quota_spent(self, reason: str) -> QuotaSpentError:
        """Stop every process until the daily quota is renewed; the error to raise here."""
        until = next_pacific_midnight(self._wall())
        self._shared.spend_quota(until, reason=reason)
        return _quota_error(reason, until)

    def authentication_refused(self, reason: str) -> AuthenticationError:
        """Stop every process until a build is started anew; the error to raise here."""
        self._shared.refuse_authentication(reason)
        return AuthenticationError(reason)

    def restrict(self) -> None:
        """Ask one request at a time from now on: the provider has put the project into restricted mode.

        How many it then allows is not documented, so each process takes the least; 429s do the rest.
        """
        with self._changed:
            if self._limit == 1:
                return
            self._limit = 1
        logger.warning(
            "Earth Engine restricts this project's parallelism (its compute quota of the month is spent); "
            "this job goes on with 1 request at a time instead of %s. See "
            "https://developers.google.com/earth-engine/guides/noncommercial_tiers",
            self.claim,
        )

    def _wait_for_start(self) -> None:
        self._wait_for_holds()
        with self._changed:
            start = max(self._clock(), self._next_start)
            self._next_start = start + 1.0 / self.per_second
        while (left := start - self._clock()) > 0:
            self._sleep(left)
        self._wait_for_holds()

    def _wait_for_holds(self) -> None:
        while (left := self._hold(self._shared.read())) > 0:
            self._sleep(min(left, LOOK_AGAIN_S))

    def _hold(self, state: QuotaState) -> float:
        """Seconds to wait for the cool-down; raises for what is not worth waiting for."""
        if state.authentication:
            raise AuthenticationError(state.authentication)
        now = self._wall()
        if state.quota_spent_until > now:
            raise _quota_error(state.quota_reason, state.quota_spent_until)
        return state.cool_down_until - now


def _quota_error(reason: str, until: float) -> QuotaSpentError:
    utc = dt.datetime.fromtimestamp(until, dt.UTC)
    return QuotaSpentError(
        f"Earth Engine's daily quota of this project is spent ({reason}); what was fetched is kept: run the same "
        f"command again after {utc:%Y-%m-%d %H:%M} UTC ({utc.astimezone():%Y-%m-%d %H:%M %Z} here), or raise the "
        "quota and run `python -m builders clear-quota --config <config>`"
    )
