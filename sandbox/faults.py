"""What goes wrong on request: answers queued by hand, random faults by seed, outages, spent quotas.

Faults never touch discovery, the algorithms list (but for `authentication_at_start_up`) or the control
paths. A random fault is decided by a hash of the seed and the number of the request, so the same numbers meet
the same faults in every run.
"""

import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from noldo.errors import ConfigError
from sandbox.refusals import (
    BAD_CREDENTIALS,
    DAILY_QUOTA_SPENT,
    NO_PERMISSION,
    SERVER_ERRORS,
    TOO_MANY_REQUESTS,
    Refusal,
)

Kind = Literal[
    "429",
    "500",
    "502",
    "503",
    "truncate",
    "garble",
    "hang",
    "reset",
    "slow",
    "504",
    "remark",
    "not_json",
    "busy",
]
"""`truncate`: half a body, then the connection closes. `garble`: a whole body that can't be parsed (pixels
only). `hang`: no answer. `reset`: the connection is reset. `slow`: the body trickles. Of Overpass only: `remark`:
part of the answer, and a remark that says so. `not_json`: a page of HTML with status 200. `busy`: the status says
`message` where free slots would be announced."""

KIND_ENDPOINTS: dict[str, str] = {
    "remark": "overpass:interpreter",
    "not_json": "overpass:interpreter",
    "busy": "overpass:status",
}
"""Kinds that only one endpoint can meet; on all others they wait."""


class Queued(BaseModel):
    """One answer that the next request gets instead of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: int | None = Field(default=None, ge=400, le=599, description="HTTP status of the error.")
    message: str = Field(default="", description="Message of the error or remark; empty: the usual one.")
    kind: Kind | None = Field(default=None, description="A fault of the connection instead of an error.")
    endpoint: str = Field(default="", description="Only for this endpoint, e.g. image:computePixels.")
    html: bool = Field(default=False, description="Send the message as HTML instead of JSON.")
    times: int = Field(default=1, ge=1, description="How many answers it replaces.")

    @model_validator(mode="after")
    def _one_of_both(self) -> "Queued":
        if (self.status is None) == (self.kind is None):
            raise ValueError("give either a status or a kind")
        return self


class Outage(BaseModel):
    """A time in which every answer is 503."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float = Field(ge=0, description="How long it lasts, from the first request that meets it.")
    after_requests: int = Field(default=0, ge=0, description="Requests that are still answered before it.")


class FaultSettings(BaseModel):
    """Everything that can be made to go wrong. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0, description="Seed of the random faults.")
    rates: dict[Kind, float] = Field(default={}, description="Share of requests that meet each fault (0..1).")
    endpoints: tuple[str, ...] = Field(
        default=(), description="Random faults only here, e.g. image:computePixels; empty: everywhere."
    )
    max_faults_per_body: int | None = Field(
        default=None, ge=0, description="How often the same request may meet a random fault; null: always."
    )
    next: tuple[Queued, ...] = Field(
        default=(), description="Answers to the next requests; added to the queue."
    )
    outage: Outage | None = Field(default=None, description="A time in which every answer is 503.")
    daily_quota: int | None = Field(
        default=None, ge=0, description="Pixel requests until the daily quota is spent; null: lifted."
    )
    authentication: Literal[401, 403] | None = Field(
        default=None, description="Every request is refused with this status."
    )
    authentication_at_start_up: bool = Field(
        default=False, description="The algorithms list is refused too, so that clients fail at start-up."
    )
    missing_scenes: tuple[str, ...] = Field(
        default=(), description="Ids or system:index values that searches list but that can't be read."
    )
    latency_s: float = Field(default=0.0, ge=0, description="Added to every answer, in seconds.")
    hang_s: float = Field(default=600.0, gt=0, description="A hanging request is dropped after this time.")
    slow_s: float = Field(default=2.0, ge=0, description="How long the body of a slow answer takes.")
    restricted: bool = Field(default=False, description="Send the header of a restricted project.")

    @model_validator(mode="after")
    def _shares(self) -> "FaultSettings":
        if any(rate < 0 for rate in self.rates.values()) or sum(self.rates.values()) > 1:
            raise ValueError("rates must not be negative, and add up to at most 1")
        return self


def parse_faults(tree: object, *, where: str) -> FaultSettings:
    """Validate settings given as JSON.

    Raises
    ------
    ConfigError
        With every wrong key, in one line.
    """
    try:
        return FaultSettings.model_validate(tree)
    except ValidationError as error:
        parts = [f"{'.'.join(map(str, item['loc'])) or 'faults'}: {item['msg']}" for item in error.errors()]
        known = ", ".join(FaultSettings.model_fields)
        raise ConfigError(f"{where}: {'; '.join(parts)}; known keys are {known}") from None


@dataclass(frozen=True)
class Fault:
    """What happens to one answer."""

    name: str
    """For the log."""
    refusal: Refusal | None = None
    """Answered instead of the request's own answer."""
    html: bool = False
    kind: str = ""
    """A fault of the connection: one of `Kind` that is no status."""
    message: str = ""
    """What a remark or a busy status says; empty: the usual."""


def chance(seed: int, number: int) -> float:
    """A number in [0, 1) that only depends on the seed and the number of the request."""
    digest = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def random_kind(settings: FaultSettings, number: int) -> Kind | None:
    """The random fault that a request of this number meets, if any."""
    position = chance(settings.seed, number)
    for kind in get_args(Kind):
        position -= settings.rates.get(kind, 0.0)
        if position < 0:
            return kind  # type: ignore[no-any-return]  # get_args() does not keep the type
    return None


@dataclass
class FaultPlan:
    """The current settings and what they have done. Thread-safe."""

    settings: FaultSettings = field(default_factory=FaultSettings)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._bodies: Counter[str] = Counter()
        self._queue: deque[Queued] = deque()
        self._pixels = 0
        self._until_outage = 0
        self._outage_ends: float | None = None
        self._adopt(self.settings, set(self.settings.model_fields_set))

    def update(self, changes: dict[str, Any]) -> FaultSettings:
        """Change some settings and keep the others; `next` adds to the queue, `outage` starts anew.

        Raises
        ------
        ConfigError
            If a key or value is wrong; nothing changes then.
        """
        with self._lock:
            kept = {key: value for key, value in self.settings.model_dump().items() if key != "next"}
            settings = parse_faults({**kept, **changes}, where="POST /control/faults")
            self._adopt(settings, set(changes))
            return settings

    def reset(self, settings: FaultSettings) -> None:
        """Start again with these settings."""
        with self._lock:
            self._bodies.clear()
            self._queue.clear()
            self._adopt(settings, set(FaultSettings.model_fields))

    def _adopt(self, settings: FaultSettings, given: set[str]) -> None:
        self.settings = settings
        if "next" in given:
            self._queue.extend(queued for queued in settings.next for _ in range(queued.times))
        if "outage" in given:
            self._until_outage = settings.outage.after_requests if settings.outage is not None else 0
            self._outage_ends = None
        if "daily_quota" in given:
            self._pixels = 0

    def authentication(self, project: str) -> Fault | None:
        """The refusal of everyone, if that is set."""
        status = self.settings.authentication
        if status is None:
            return None
        message = BAD_CREDENTIALS if status == 401 else NO_PERMISSION.format(project=project)
        return Fault(str(status), Refusal(message, status=status))

    def decide(self, *, number: int, endpoint: str, body: bytes, pixels: bool) -> Fault | None:
        """The fault that a request meets, if any.

        Parameters
        ----------
        number
            Counts requests, without start-up and control.
        endpoint
            E.g. `image:computePixels`.
        body
            Of the request; equal bodies share `max_faults_per_body`.
        pixels
            Whether the request counts for the daily quota.
        """
        with self._lock:
            if self._in_outage():
                return Fault("outage", Refusal(SERVER_ERRORS[503], status=503))
            if queued := self._next_for(endpoint):
                return queued
            if (spent := self._quota_spent(pixels=pixels)) is not None:
                return spent
            return self._random(number, endpoint, body, pixels=pixels)

    def _in_outage(self) -> bool:
        outage = self.settings.outage
        if outage is None:
            return False
        if self._until_outage > 0:
            self._until_outage -= 1
            return False
        if self._outage_ends is None:
            self._outage_ends = self.clock() + outage.seconds
        return self.clock() < self._outage_ends

    def _next_for(self, endpoint: str) -> Fault | None:
        for queued in self._queue:
            if queued.endpoint in {"", endpoint} and _can_meet(queued.kind, endpoint):
                self._queue.remove(queued)
                return _fault_of(queued)
        return None

    def _quota_spent(self, *, pixels: bool) -> Fault | None:
        limit = self.settings.daily_quota
        if limit is None:
            return None
        if self._pixels < limit:
            self._pixels += pixels
            return None
        return Fault("daily quota", Refusal(DAILY_QUOTA_SPENT, status=429))

    def _random(self, number: int, endpoint: str, body: bytes, *, pixels: bool) -> Fault | None:
        settings = self.settings
        kind = random_kind(settings, number)
        if kind is None or (settings.endpoints and endpoint not in settings.endpoints):
            return None
        if not _can_meet(kind, endpoint) or (kind == "garble" and not pixels):
            return None
        if settings.max_faults_per_body is not None:
            key = hashlib.sha256(endpoint.encode() + b"\0" + body).hexdigest()
            if self._bodies[key] >= settings.max_faults_per_body:
                return None
            self._bodies[key] += 1
        return _fault_of(Queued(status=int(kind)) if kind.isdigit() else Queued(kind=kind))


def _can_meet(kind: str | None, endpoint: str) -> bool:
    return KIND_ENDPOINTS.get(kind or "", endpoint) == endpoint


def _fault_of(queued: Queued) -> Fault:
    if queued.kind is not None and not queued.kind.isdigit():
        return Fault(queued.kind, kind=queued.kind, message=queued.message)
    status = queued.status or int(queued.kind or 500)
    usual = TOO_MANY_REQUESTS if status == 429 else SERVER_ERRORS.get(status, "Fault on request.")
    return Fault(str(status), Refusal(queued.message or usual, status=status), html=queued.html)
