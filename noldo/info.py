"""A summary of a subset, for people and for scripts."""

from pathlib import Path
from typing import Any

from noldo.errors import StoreError
from noldo.manifest import Manifest, RunReport, parse_manifest, parse_run_report
from noldo.paths import SubsetPaths, find_finished, find_subset
from noldo.remote import RemoteFiles


def info(path: str | Path, *, subset: str = "nol") -> dict[str, Any]:
    """What a subset holds and what it cost.

    Returns
    -------
    JSON values. At least `subset`, `name`, `format_version`, `synthetic`, `locations` (kept), `locations_tried`,
    `status`, `splits`, `seasons`, `patch_size_px`, `bands` (product to names), `class_shares` (0..1), `bytes` (of the
    store) and `requests`.

    Raises
    ------
    StoreError
        If there is no finished subset.
    StoreFormatError
        If it is of another format.
    """
    return _summary(find_subset(path, subset=subset))


def info_of_all(path: str | Path) -> dict[str, dict[str, Any]]:
    """Subset to its summary, of all subsets of a folder, or of the one whose store is named.

    Raises
    ------
    StoreError
        If there is no finished subset.
    StoreFormatError
        If one is of another format.
    """
    return {paths.subset: _summary(paths) for paths in find_finished(path)}


def _summary(paths: SubsetPaths) -> dict[str, Any]:
    manifest = read_manifest_of(paths)
    run = _read_run(paths)
    return {
        "subset": manifest.subset,
        "name": manifest.name,
        "format_version": manifest.format_version,
        "synthetic": manifest.synthetic,
        "locations": manifest.locations_kept,
        "locations_tried": manifest.locations_tried,
        "status": manifest.status_counts,
        "splits": manifest.split_counts,
        "seasons": [season.name for season in manifest.seasons],
        "patch_size_px": manifest.patch_size_px,
        "bands": {product: list(bands) for product, bands in manifest.products.items()},
        "class_shares": manifest.class_shares,
        "bytes": _stored_bytes(paths),
        "requests": run.requests.model_dump(),
    }


def read_manifest_of(paths: SubsetPaths) -> Manifest:
    """The manifest of a subset in a folder or behind a URL.

    Raises
    ------
    StoreError
        If there is none: the build is not finished.
    StoreFormatError
        If it is of another format.
    """
    where = f"{paths.root}/{paths.subset}.json"
    try:
        content = paths.files().read(f"{paths.subset}.json")
    except FileNotFoundError:
        raise StoreError(f"{where}: missing, so the build is not finished; run it again") from None
    return parse_manifest(content, where=where)


def _read_run(paths: SubsetPaths) -> RunReport:
    name = f"{paths.subset}.run.json"
    try:
        return parse_run_report(paths.files().read(name), where=f"{paths.root}/{name}")
    except FileNotFoundError:
        return RunReport()  # the record of the run is no part of the data, and need not travel with it


def _stored_bytes(paths: SubsetPaths) -> int:
    if paths.is_remote:
        return sum(RemoteFiles(paths.store).sizes().values())
    return sum(path.stat().st_size for path in Path(paths.store).rglob("*") if path.is_file())


def render(summary: dict[str, Any]) -> str:
    """The summary as lines of text."""
    title = f"{summary['name']} ({summary['subset']}), format {summary['format_version']}"
    if summary["synthetic"]:
        title += "  ** synthetic: not real imagery **"
    facts = _facts(summary)
    width = max(len(name) for name, _ in facts)
    return "\n".join([title, *(f"  {name:<{width}}  {text}" for name, text in facts)])


def _facts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    requests = summary["requests"]
    kept, tried = summary["locations"], summary["locations_tried"]
    refused = ", ".join(
        f"{number:,} {status}" for status, number in summary["status"].items() if status != "kept" and number
    )
    shares = sorted(summary["class_shares"].items(), key=lambda item: -item[1])
    return [
        ("locations", f"{kept:,} kept of {tried:,} tried" + (f" ({refused})" if refused else "")),
        ("splits", ", ".join(f"{name} {number:,}" for name, number in summary["splits"].items()) or "-"),
        ("seasons", ", ".join(summary["seasons"])),
        ("patch", f"{summary['patch_size_px']} px of 10 m"),
        *((product, " ".join(bands)) for product, bands in summary["bands"].items() if bands),
        ("classes", ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares)),
        ("store", f"{summary['bytes'] / 1e6:,.1f} MB"),
        (
            "requests",
            f"{requests['metadata']:,} metadata, {requests['pixels']:,} pixels, {requests['fallback']:,} fallback, "
            f"{requests['retried']:,} retried, {requests['start_up']:,} start-up; "
            f"largest {requests['largest_bytes'] / 2**20:.1f} of 48 MB",
        ),
    ]
