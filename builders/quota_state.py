"""What all processes of a project know about its quota: one small JSON file, read before each request.

Jobs are separate processes, possibly on separate machines, and share one quota. When one of them is told
to slow down, that the day's quota is spent, or that its credentials are no good, the others learn it here
rather than by asking the provider the same question.
"""

import contextlib
import datetime as dt
import fcntl
import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from builders.config_sections import Source
from builders.layout import Layout
from noldo.atomic import atomic_file
from noldo.errors import StoreError

logger = logging.getLogger(__name__)

PACIFIC_STANDARD = dt.timezone(dt.timedelta(hours=-8))
"""Used where the machine has no time zone data: at most an hour late in summer, never early."""


@dataclass(frozen=True)
class QuotaState:
    """Why the processes of a project should wait or stop. Times are seconds since 1970-01-01 UTC."""

    cool_down_until: float = 0.0
    """No request starts before; set after a 429."""
    quota_spent_until: float = 0.0
    """No request starts before, and jobs stop rather than wait."""
    quota_reason: str = ""
    """What the provider said about the spent quota."""
    authentication: str = ""
    """What is wrong with the credentials; empty if nothing is known to be. Jobs stop until it is cleared."""


def state_path(layout: Layout, source: Source) -> Path:
    """File of the state that the processes asking for this source share.

    Endpoints of Earth Engine share their project's quota; a server on this machine has a quota of its own.
    """
    project = re.sub(r"[^A-Za-z0-9_.-]", "_", source.project) or "default"
    return layout.quota / f"{'loopback' if source.is_loopback else 'project'}-{project}.json"


def next_pacific_midnight(now: float) -> float:
    """When a daily quota that was found spent at `now` is renewed, in seconds since 1970-01-01 UTC.

    Daily quotas of Google Cloud are renewed at midnight Pacific time (Google Cloud, quotas overview).
    """
    zone: dt.tzinfo
    try:
        zone = ZoneInfo("America/Los_Angeles")
    except ZoneInfoNotFoundError:
        zone = PACIFIC_STANDARD
    day = dt.datetime.fromtimestamp(now, zone).date() + dt.timedelta(days=1)
    return dt.datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


class SharedQuotaState:
    """The state file, seen from one process. Thread-safe.

    Reading costs a `stat` unless the file changed. Writers exclude each other with a lock on a file
    beside it, and replace the state as a whole, so that readers need no lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._state = QuotaState()

    def read(self) -> QuotaState:
        """What is known now; the empty state if nothing was ever written."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return QuotaState()
        version = (status.st_mtime_ns, status.st_ino, status.st_size)
        if version != self._seen:
            self._state = self._load()
            self._seen = version
        return self._state

    def cool_down(self, until: float) -> None:
        """Let nobody start a request before `until`; never shortens a cool-down."""
        self._update(lambda state: replace(state, cool_down_until=max(until, state.cool_down_until)))

    def spend_quota(self, until: float, *, reason: str) -> None:
        """Stop all jobs until `until`, with the provider's words."""
        self._update(lambda state: replace(state, quota_spent_until=until, quota_reason=reason))

    def refuse_authentication(self, message: str) -> None:
        """Stop all jobs until someone has logged in and started a build again."""
        self._update(lambda state: replace(state, authentication=message))

    def clear_authentication(self) -> None:
        """Forget what was wrong with the credentials: whoever starts a build may have put it right."""
        if self.read().authentication:
            self._update(lambda state: replace(state, authentication=""))

    def clear(self) -> None:
        """Forget everything."""
        if self.path.exists():
            self._update(lambda state: QuotaState())

    def _update(self, change: Callable[[QuotaState], QuotaState]) -> None:
        with self._locked():
            text = json.dumps(asdict(change(self._load())), indent=1) + "\n"
            with atomic_file(self.path) as file:
                file.write(text.encode())

    def _load(self) -> QuotaState:
        try:
            tree = json.loads(self.path.read_text(encoding="utf-8"))
            return QuotaState(
                cool_down_until=float(tree["cool_down_until"]),
                quota_spent_until=float(tree["quota_spent_until"]),
                quota_reason=str(tree["quota_reason"]),
                authentication=str(tree["authentication"]),
            )
        except FileNotFoundError:
            return QuotaState()
        except (ValueError, TypeError, KeyError) as error:
            # Holds are only advice: the provider repeats them at the next request.
            logger.warning(
                "%s: not a quota state (%s); it is ignored and will be written anew", self.path, error
            )
            return QuotaState()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock_path = self.path.with_suffix(".lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = lock_path.open("w")
        except OSError as error:
            raise StoreError(
                f"{lock_path}: can't be written ({error.strerror}); the jobs of a build share their quota's "
                "state there: choose a writable folder, then run the same command again"
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def clear_holds(layout: Layout, source: Source) -> None:
    """Forget cool-down, spent quota and refused credentials of a source, e.g. after a quota was raised."""
    SharedQuotaState(state_path(layout, source)).clear()


def clear_authentication(layout: Layout, source: Source) -> None:
    """Forget refused credentials, at the start of a build; a spent quota stays spent."""
    SharedQuotaState(state_path(layout, source)).clear_authentication()
