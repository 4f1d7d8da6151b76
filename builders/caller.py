"""One request from start to end: wait for its turn, try, log each attempt, and decide about failures.

Knows nothing of the provider's client: it is handed a function that makes one attempt.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from builders.governor import Governor
from builders.request_log import OK, Kind, RequestLog, RequestRecord
from builders.retries import Failure, GarbledAnswerError, Verdict, back_off_s, classify
from builders.transport import Exchange
from noldo.errors import (
    RequestRefusedError,
    RequestTooLargeError,
    SceneUnavailableError,
    SourceError,
    SourceUnavailableError,
    StoreError,
)

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

REPEATED = "repeated"
"""Outcome of an exchange that the client itself made again, with renewed credentials."""


class AttemptFailedError(Exception):
    """One attempt delivered nothing; says how it failed in terms that `builders.retries` understands."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Caller:
    """Makes requests under the project's quota. Thread-safe.

    Parameters
    ----------
    take_exchanges
        HTTP exchanges of the calling thread since the last call (`Transport.take_exchanges`).
    patience_s
        How long transient faults of one request are met with another attempt, counted from the first fault.
    login_advice
        What to do when access is refused, for the message.
    rng
        Draws the waits between attempts; decides nothing else.
    """

    def __init__(
        self,
        governor: Governor,
        log: RequestLog,
        *,
        take_exchanges: Callable[[], Sequence[Exchange]],
        patience_s: float,
        login_advice: str,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._governor = governor
        self._log = log
        self._take_exchanges = take_exchanges
        self._patience_s = patience_s
        self._login_advice = login_advice
        self._rng, self._clock, self._sleep = rng, clock, sleep

    def call(self, attempt: Callable[[], Answer], *, kind: Kind, bytes_counted: int = 0) -> Answer:
        """Attempt until there is an answer or the failure is final.

        Parameters
        ----------
        attempt
            Makes one attempt; raises `AttemptFailedError` or `GarbledAnswerError` if it delivers nothing.
        kind
            For the request log.
        bytes_counted
            Size of the request by Earth Engine's accounting, for the request log.

        Raises
        ------
        SourceError
            One of its subclasses, by the table of `builders.retries.classify`.
        StoreError
            If an earlier request still can't be logged, before anything is asked.
        """
        number = 0
        give_up_at = float("inf")
        while True:
            number += 1
            self._log.catch_up()  # no request goes out while what was asked before can't be noted
            with self._governor.slot():
                self._take_exchanges()
                answer, failure = _try(attempt)
                exchanges = self._take_exchanges()
            verdict = None if failure is None else classify(failure)
            self._record(exchanges, failure, verdict, kind=kind, number=number, bytes_counted=bytes_counted)
            if failure is None or verdict is None:
                return answer[0]
            if not verdict.is_transient:
                raise self._final(verdict, failure)
            give_up_at = min(give_up_at, self._clock() + self._patience_s)
            self._wait(verdict, failure, number=number, left_s=give_up_at - self._clock())

    def _wait(self, verdict: Verdict, failure: Failure, *, number: int, left_s: float) -> None:
        if left_s <= 0:
            raise SourceUnavailableError(
                f"the imagery source failed {number} times in {self._patience_s:.0f} s, last with "
                f"{_describe(failure)}; what was fetched is kept: run the same command again once it is back, "
                "or raise source.patience_s"
            ) from failure.error
        wait = min(left_s, back_off_s(number, rng=self._rng))
        logger.info("attempt %d: %s; next in %.1f s", number, _describe(failure), wait)
        if verdict is Verdict.COOL_DOWN:
            self._governor.cool_down(wait)
        self._sleep(wait)

    def _final(self, verdict: Verdict, failure: Failure) -> SourceError:
        if verdict is Verdict.QUOTA_SPENT:
            return self._governor.quota_spent(failure.message)
        if verdict is Verdict.AUTHENTICATION:
            return self._governor.authentication_refused(
                f"access was refused ({_describe(failure)}); {self._login_advice}"
            )
        kinds: dict[Verdict, type[SourceError]] = {
            Verdict.SPLIT: RequestTooLargeError,
            Verdict.NEXT_CANDIDATE: SceneUnavailableError,
        }
        return kinds.get(verdict, RequestRefusedError)(_describe(failure))

    def _record(
        self,
        exchanges: Sequence[Exchange],
        failure: Failure | None,
        verdict: Verdict | None,
        *,
        kind: Kind,
        number: int,
        bytes_counted: int,
    ) -> None:
        """One line an exchange. The last one bears the outcome; those before it were steps on the way."""
        if not exchanges:
            return
        outcomes = [(OK if one.status < 400 else REPEATED, "") for one in exchanges[:-1]]
        outcomes.append((OK, "") if failure is None or verdict is None else (verdict.value, failure.message))
        for exchange, (outcome, message) in zip(exchanges, outcomes, strict=True):
            record = RequestRecord(
                kind=kind,
                attempt=number,
                outcome=outcome,
                status=exchange.status,
                bytes_counted=bytes_counted,
                bytes_received=exchange.bytes_received,
                seconds=round(exchange.seconds, 4),
                message=message,
            )
            try:
                self._log.append(record)
            except (
                StoreError
            ) as error:  # an answer that is here is not thrown away: the next request meets it
                logger.warning("%s", error)


def _try(attempt: Callable[[], Answer]) -> tuple[tuple[Answer, ...], Failure | None]:
    try:
        return (attempt(),), None
    except AttemptFailedError as error:
        return (), error.failure
    except GarbledAnswerError as error:
        return (), Failure(status=200, message=f"garbled answer: {error}", error=error)


def _describe(failure: Failure) -> str:
    if failure.status is None or failure.status < 400:
        return failure.message
    return f"HTTP {failure.status}: {failure.message}"
