"""What was asked of the imagery provider: one JSON line an HTTP attempt, one file a process.

A line is written in one `write` when the attempt ends, so a killed process leaves whole lines and at most
one torn one, which readers skip.
"""

import datetime as dt
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from noldo.atomic import write_errors

logger = logging.getLogger(__name__)

Kind = Literal["start_up", "metadata", "pixels", "fallback"]
"""`start_up`: what the client asks when it connects. `metadata`, `pixels`: as planned. `fallback`: pixels
that were asked for again, with other scenes, at other pixel centres, or in parts."""

OK = "ok"
"""Outcome of an attempt that delivered; every other outcome is a kind of failure."""


@dataclass(frozen=True)
class RequestRecord:
    """One HTTP attempt."""

    kind: Kind
    attempt: int
    """1 for the first; more are retries."""
    outcome: str
    """`ok`, or what was decided about the failure (`builders.retries.Verdict`)."""
    status: int
    """HTTP status; 0 if there was no whole answer."""
    bytes_counted: int
    """Size of the request by Earth Engine's accounting; 0 where it has none."""
    bytes_received: int
    """Bytes of the body as they came over the wire."""
    seconds: float
    """From sending to the last byte."""
    message: str = ""
    """What the provider said about a failure, shortened."""


class RequestLog:
    """Appends records to a file of this process. Thread-safe."""

    def __init__(self, folder: Path, *, stage: str, job: str) -> None:
        started = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S")
        unique = time.monotonic_ns() % 1_000_000
        self.path = folder / f"{stage}-{job}-{os.getpid()}-{started}{unique:06d}.jsonl"
        self._lock = threading.Lock()
        self._unwritten = b""

    def append(self, record: RequestRecord) -> None:
        """Write one line.

        Raises
        ------
        StoreError
            If the disk is full or the folder can't be written to; the line is kept for `catch_up`.
        """
        line = {"at": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"), **asdict(record)}
        data = (json.dumps(line, separators=(",", ":")) + "\n").encode()
        with self._lock:
            self._unwritten += data
            self._write()

    def catch_up(self) -> None:
        """Write what could not be written before; does nothing if there is nothing.

        Raises
        ------
        StoreError
            If it still can't be written.
        """
        with self._lock:
            if self._unwritten:
                self._write()

    def _write(self) -> None:
        with write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:
                while self._unwritten:  # a disk that fills up takes part of a line; the rest follows
                    self._unwritten = self._unwritten[file.write(self._unwritten) :]


def summarise(folder: Path) -> dict[str, int | float]:
    """Count all attempts that are logged in a folder.

    Returns
    -------
    `metadata`, `pixels`, `fallback`: planned requests (first attempts) of each kind; `retried`: attempts
    beyond the first; `start_up`: attempts of the client's start-ups; `failed`: attempts that delivered
    nothing; `largest_bytes`: largest request by Earth Engine's accounting; `received_bytes`; `seconds`:
    sum over attempts, which overlap in time.
    """
    total: dict[str, int | float] = dict.fromkeys(
        (
            "metadata",
            "pixels",
            "fallback",
            "retried",
            "start_up",
            "failed",
            "largest_bytes",
            "received_bytes",
        ),
        0,
    )
    total["seconds"] = 0.0
    for record in read_records(folder):
        kind = record.kind if record.kind == "start_up" or record.attempt == 1 else "retried"
        total[kind] += 1
        total["failed"] += record.outcome != OK
        total["largest_bytes"] = max(total["largest_bytes"], record.bytes_counted)
        total["received_bytes"] += record.bytes_received
        total["seconds"] += record.seconds
    total["seconds"] = round(total["seconds"], 3)
    return total


def read_records(folder: Path) -> Iterator[RequestRecord]:
    """All attempts that are logged in a folder, file by file; torn lines are counted and skipped."""
    skipped = 0
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                tree = json.loads(line)
                tree.pop("at")
                yield RequestRecord(**tree)
            except (ValueError, TypeError, KeyError, AttributeError):
                skipped += 1
    if skipped:
        logger.warning(
            "%s: %s torn lines in request logs were skipped (a killed process leaves them)", folder, skipped
        )
