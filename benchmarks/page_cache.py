"""Cold files without root: their pages are dropped, and what a process then reads from the disk itself is counted."""

import os
from collections.abc import Iterable
from pathlib import Path


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def drop(paths: Iterable[Path]) -> None:
    """Ask the system to forget the pages of files.

    They are written out first, for pages that the disk lacks are kept; so are pages that a process has mapped. File systems that have no
    disk ignore it all: see `bytes_from_disk`.
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def bytes_from_disk(process_id: int | None = None) -> int:
    """Bytes that a process has caused to be fetched from storage so far; None: this one. Nothing comes from the disk that was cached."""
    facts = Path(f"/proc/{process_id or 'self'}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in facts)["read_bytes"])
