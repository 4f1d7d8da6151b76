"""Where each file of an import lies, and what it took."""

import datetime as dt
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builders.run_record import Span, covered_seconds, installed_versions
from noldo.atomic import write_if_changed
from noldo.manifest import RunReport


@dataclass(frozen=True)
class ImportPaths:
    """Where each file of an import lies."""

    out: Path
    """The results folder; nothing else is written to."""
    subset: str

    @property
    def store(self) -> Path:
        """The Zarr group."""
        return self.out / f"{self.subset}.zarr"

    @property
    def index(self) -> Path:
        """GeoParquet: one row an item."""
        return self.out / f"{self.subset}.parquet"

    @property
    def manifest(self) -> Path:
        """What the data is."""
        return self.out / f"{self.subset}.json"

    @property
    def run(self) -> Path:
        """What the import did."""
        return self.out / f"{self.subset}.run.json"

    @property
    def work(self) -> Path:
        """What is needed to go on; no reader looks at it, and it may be deleted once the manifest is there."""
        return self.out / f".{self.subset}.import"

    @property
    def claim(self) -> Path:
        """Which import this folder belongs to."""
        return self.work / "import.json"

    def note(self, shard: int) -> Path:
        """Rows of the index and counts of one shard."""
        return self.work / "rows" / f"{shard}.parquet"

    def span(self, shard: int) -> Path:
        """When the shard was written."""
        return self.work / "times" / f"{shard}.json"

    @property
    def staging(self) -> Path:
        """Raw arrays of the shard that is being read."""
        return self.work / "staging"


@contextmanager
def timed_shard(paths: ImportPaths, shard: int) -> Iterator[None]:
    """Note when a shard was written, if that ends well."""
    began = time.time()
    yield
    write_if_changed(paths.span(shard), (json.dumps([began, time.time()]) + "\n").encode())


def run_report(paths: ImportPaths, *, num_shards: int) -> RunReport:
    """The record of an import, up to now: also of the runs that were killed."""
    spans: list[Span] = []
    for shard in range(num_shards):
        if paths.span(shard).is_file():
            began, ended = json.loads(paths.span(shard).read_bytes())
            spans.append((began, ended))
    started = min((began for began, _ in spans), default=time.time())
    return RunReport(
        started=_utc(started),
        finished=_utc(time.time()),
        seconds={"import": round(covered_seconds(spans), 3)},
        num_cores=os.cpu_count() or 0,
        versions=installed_versions(),
    )


def _utc(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(round(seconds), dt.UTC)
