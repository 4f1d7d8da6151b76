"""What to do about each way a request can fail, and how long to wait before asking again.

The imagery provider's own client retries blindly and hides what happened; its retries are switched off,
and this table decides instead. 'No data' is never among the verdicts: only an empty answer means that.
"""

import json
import random
from dataclasses import dataclass
from enum import Enum

BASE_S = 1.0
CAP_S = 60.0
"""Longest wait between two attempts, in seconds."""


class GarbledAnswerError(ValueError):
    """An answer arrived whole but is not what was asked for, e.g. a broken array. It is asked for again."""


class CredentialsRefusedError(Exception):
    """The client could not log in before it asked anything."""


class Verdict(Enum):
    """What is done about a failed attempt. The value is the outcome in the request log."""

    BACK_OFF = "back_off"
    """Wait and ask again: a passing fault of this request."""
    COOL_DOWN = "cool_down"
    """The same, and no process of the project starts a request meanwhile: we are too fast."""
    QUOTA_SPENT = "quota_spent"
    """Stop everything until the daily quota is renewed."""
    AUTHENTICATION = "authentication"
    """Stop everything until someone logs in."""
    SPLIT = "split"
    """Ask in smaller parts."""
    NEXT_CANDIDATE = "next_candidate"
    """A scene can't be read; another one may."""
    QUARANTINE = "quarantine"
    """Our request was wrong: set the location aside with the message."""

    @property
    def is_transient(self) -> bool:
        """Asking the same again may succeed."""
        return self in {Verdict.BACK_OFF, Verdict.COOL_DOWN}


@dataclass(frozen=True)
class Failure:
    """One attempt that delivered nothing."""

    status: int | None
    """HTTP status; None if there was no whole answer."""
    message: str
    """What the provider or the operating system said, in one line."""
    reason: str = ""
    """Google's machine-readable reason, e.g. `rateLimitExceeded`; empty where it gave none."""
    error: BaseException | None = None
    """What was raised."""


_TOO_LARGE = ("total request size", "user memory limit exceeded", "computation timed out")
_SCENE_GONE = ("not found (does not exist or caller does not have access)", "no matching bands")
_DAY_IS_OVER = ("daily_eecu_usage_time", "custom quota", "per day")
_RATE_REASONS = ("rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED")


def classify(failure: Failure) -> Verdict:
    """What to do about a failed attempt: the HTTP status decides, the text only where it must.

    The texts are those that Earth Engine is known to send; an unknown 4xx is never retried.
    """
    if isinstance(failure.error, CredentialsRefusedError):
        return Verdict.AUTHENTICATION
    if failure.status is None or failure.status < 400:
        return Verdict.BACK_OFF
    text = failure.message.lower()
    if failure.status == 429:
        return Verdict.QUOTA_SPENT if _any_in(_DAY_IS_OVER, text) else Verdict.COOL_DOWN
    if failure.status >= 500 or failure.status == 408:
        return Verdict.BACK_OFF
    if failure.status == 403 and failure.reason in _RATE_REASONS:
        return Verdict.COOL_DOWN
    if failure.status in {401, 403}:
        return Verdict.AUTHENTICATION
    if failure.status in {400, 413} and _any_in(_TOO_LARGE, text):
        return Verdict.SPLIT
    if failure.status in {400, 404} and _any_in(_SCENE_GONE, text):
        return Verdict.NEXT_CANDIDATE
    return Verdict.QUARANTINE


def _any_in(phrases: tuple[str, ...], text: str) -> bool:
    return any(phrase in text for phrase in phrases)


def describe_error_body(body: bytes) -> tuple[str, str]:
    """(message, reason) of an HTTP error, from Google's JSON form or, failing that, the text as it is.

    One line of at most 500 characters; the reason is empty where the body has none.
    """
    try:
        error = json.loads(body)["error"]
        message = str(error["message"])
        details = [*error.get("errors", []), *error.get("details", [])]
        reason = next((str(one["reason"]) for one in details if "reason" in one), "")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, reason = body[:2000].decode(errors="replace") or "(empty answer)", ""
    return " ".join(message.split())[:500], reason


def back_off_s(attempt: int, *, rng: random.Random) -> float:
    """Seconds to wait after a failed attempt: full jitter below an exponential limit, capped at 60 s.

    Full jitter spreads retries best (M. Brooker, 'Exponential backoff and jitter', AWS architecture blog,
    2015). The draw decides when something is asked again, never what is stored.

    Parameters
    ----------
    attempt
        Failed attempts so far, from 1.
    """
    return rng.uniform(0.0, min(CAP_S, BASE_S * 2.0 ** min(attempt - 1, 30)))
