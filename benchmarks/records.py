"""What every benchmark leaves behind: a dated page and its numbers, with the hardware in the name."""

import datetime
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parent / "records"


def machine(accelerator: str | None = None) -> dict[str, Any]:
    """Facts for a record; the name of an accelerator, if one is measured, goes into the hardware."""
    cores = f"{len(os.sched_getaffinity(0))}-cores"
    return {
        "date": datetime.date.today().isoformat(),
        "hardware": cores if accelerator is None else f"{cores}-{_as_file_name(accelerator)}",
        "processor": _processor(),
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def headline(record: Mapping[str, Any], *, title: str) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    return (
        f"# {title}\n\n{record['date']}, {record['hardware']} ({record['processor']}), Python {record['python']}, "
        f"{packages}.\n\n`{record['command']}`"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def keep(record: Mapping[str, Any], text: str, *, name: str) -> Path:
    """Write both files; a record of the same day, hardware and name is replaced."""
    stem = f"{record['date']}-{record['hardware']}-{name}"
    RECORDS.mkdir(exist_ok=True)
    path = RECORDS / f"{stem}.md"
    path.write_text(text)
    path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    return path


def _as_file_name(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")
