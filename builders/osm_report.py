"""What a pass over an extract found and cost, and the receipt that says a spool is finished: plain values in JSON."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builders.area_spool import SpoolFile
from builders.osm_reader import NodeIndex, Tally
from noldo.atomic import write_if_changed

RECEIPT = "collected.json"
"""Name of the receipt in the folder of an extract."""


@dataclass(frozen=True)
class Extract:
    """Which file was read."""

    name: str
    """File name without its folder."""
    size_bytes: int
    mtime_ns: int
    """When it was last changed, nanoseconds since 1970-01-01 UTC."""
    sha256: str
    timestamp: str
    """Up to when it has OpenStreetMap's changes (ISO 8601); empty if its header does not say."""


@dataclass(frozen=True)
class ExtractReport:
    """What a pass over an extract found, and what it cost."""

    extract: Extract
    table: str
    """Name of the tag table."""
    table_digest: str
    tally: Tally
    num_patches: int
    num_patches_met: int
    """Patches with at least one area."""
    num_areas_met: int
    """Areas that met at least one patch."""
    num_hits: int
    """Areas times the patches each met: records in the spool."""
    node_index: NodeIndex
    seconds: float
    """From the start until all records were on disk."""
    cpu_seconds: float
    """The same, of all threads of the process."""
    peak_bytes: int
    """Most memory that the process ever had resident, earlier work included; and pages of a node file, which the
    system takes back when it needs them."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, which `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "ExtractReport":
        """The report that `to_json` was asked of."""
        tally: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain["tally"].items()
        }
        return cls(**{**plain, "extract": Extract(**plain["extract"]), "tally": Tally(**tally)})


@dataclass(frozen=True)
class Purpose:
    """What a spool was made for; spools of another purpose are of no use."""

    version: int
    """`builders.versions.OSM_SPOOL`."""
    table_digest: str
    patches_digest: str
    """Of ids and grids, in their order."""
    per_job: int
    """Patches in a job."""


@dataclass(frozen=True)
class Receipt:
    """A finished spool."""

    purpose: Purpose
    report: ExtractReport
    files: Mapping[int, SpoolFile]
    """By job; a job that is not there has no areas in this extract."""


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Write the receipt of a folder.

    Raises
    ------
    StoreError
        If it can't be written.
    """
    plain = {
        "purpose": asdict(receipt.purpose),
        "report": receipt.report.to_json(),
        "files": {str(job): asdict(file) for job, file in sorted(receipt.files.items())},
    }
    write_if_changed(folder / RECEIPT, (json.dumps(plain, indent=1) + "\n").encode())


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt of a folder; None if there is none, or it is of another make."""
    try:
        plain = json.loads((folder / RECEIPT).read_bytes())
        return Receipt(
            purpose=Purpose(**plain["purpose"]),
            report=ExtractReport.from_json(plain["report"]),
            files={int(job): SpoolFile(**file) for job, file in plain["files"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe(extract: Path, *, timestamp: str) -> Extract:
    """Identify a file by its size, its time and its SHA-256."""
    stat = extract.stat()
    return Extract(
        name=extract.name,
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        sha256=_sha256(extract),
        timestamp=timestamp,
    )


def is_same_file(extract: Path, described: Extract) -> bool:
    """Whether a file is the one described; it is read only if its time differs but its size does not."""
    stat = extract.stat()
    if stat.st_size != described.size_bytes:
        return False
    return stat.st_mtime_ns == described.mtime_ns or _sha256(extract) == described.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
