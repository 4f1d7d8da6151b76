"""Every request that was answered: counters, and a line of JSON each."""

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RECORDS_KEPT = 10_000
"""Latest records that `/control/log` can show; the file holds all."""


@dataclass(frozen=True)
class RequestRecord:
    """One answered request."""

    endpoint: str
    """E.g. `value:compute`."""
    status: int
    """HTTP status; 0 if there was no answer."""
    start_up: bool
    """Discovery or algorithms."""
    number: int = 0
    """Counts requests, without start-up and control; 0 at start-up."""
    fault: str = ""
    """Name of the fault it met; empty if none."""
    functions: Mapping[str, int] = field(default_factory=dict)
    """How often each function is written in the graph."""
    workload_tag: str = ""
    counted_bytes: int = 0
    """Earth Engine's accounting: width x height x sum(bytes a sample + 1); 0 for anything but pixels."""
    received_bytes: int = 0
    sent_bytes: int = 0
    seconds: float = 0.0
    """Until the answer was ready; sending it is not included."""
    in_flight: int = 0
    """Requests in flight when it came, itself included."""
    message: str = ""
    """Of an error."""


class RequestLog:
    """Counts and records. Thread-safe."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = None if path is None else path.open("a", encoding="utf-8", buffering=1)
        self._in_flight = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything but the file."""
        with self._lock:
            self._records: deque[RequestRecord] = deque(maxlen=RECORDS_KEPT)
            self._number = 0
            self._counts: dict[str, Counter[str]] = {
                key: Counter()
                for key in ("endpoints", "statuses", "faults", "functions", "workload_tags", "components")
            }
            self._totals: Counter[str] = Counter()
            self._largest_bytes = 0
            self._max_concurrent = 0

    def arrived(self, *, counts: bool) -> tuple[int, int]:
        """Register a request in flight; its number (0 if it does not count) and how many are in flight."""
        with self._lock:
            self._in_flight += 1
            if counts:
                self._number += 1
                self._max_concurrent = max(self._max_concurrent, self._in_flight)
            return (self._number if counts else 0), self._in_flight

    def finished(self, record: RequestRecord, *, components: Mapping[str, int] | None = None) -> None:
        """Record the answer to a request that `arrived`, before it is sent: who has it finds it in the log.

        Parameters
        ----------
        components
            How often each kind of search stands in an Overpass query. Counted, but not kept with the record: a
            query has hundreds.
        """
        line = json.dumps({"time": round(time.time(), 3), **asdict(record)}, separators=(",", ":"))
        with self._lock:
            self._records.append(record)
            self._count(record)
            self._counts["components"].update(components or {})
            if self._file is not None and not self._file.closed:
                self._file.write(line + "\n")

    def left(self) -> None:
        """The answer is sent, or given up."""
        with self._lock:
            self._in_flight -= 1

    def _count(self, record: RequestRecord) -> None:
        counts = self._counts
        counts["endpoints"][record.endpoint] += 1
        counts["statuses"][str(record.status)] += 1
        if record.fault:
            counts["faults"][record.fault] += 1
        if record.workload_tag:
            counts["workload_tags"][record.workload_tag] += 1
        counts["functions"].update(record.functions)
        self._totals["start_up" if record.start_up else "requests"] += 1
        self._totals["counted_bytes"] += record.counted_bytes
        self._totals["sent_bytes"] += record.sent_bytes
        self._largest_bytes = max(self._largest_bytes, record.counted_bytes)

    def summary(self, *, records: int = 0) -> dict[str, Any]:
        """Counters since the start or the last `clear`, and the latest records."""
        with self._lock:
            latest = list(self._records)[-records:] if records > 0 else []
            return {
                "requests": self._totals["requests"],
                "start_up": self._totals["start_up"],
                "in_flight": self._in_flight,
                "max_concurrent": self._max_concurrent,
                "largest_bytes": self._largest_bytes,
                "counted_bytes": self._totals["counted_bytes"],
                "sent_bytes": self._totals["sent_bytes"],
                **{key: dict(sorted(counter.items())) for key, counter in self._counts.items()},
                "records": [asdict(record) for record in latest],
            }

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
