"""Unpacking an archive of a stranger: only plain files, only below the target, only as much as allowed."""

import bz2
import gzip
import logging
import lzma
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from builders.archive_members import (
    DAMAGED,
    LIMITS,
    MIB,
    ArchiveError,
    ForwardReads,
    Limits,
    TarMembers,
    format_of,
    zip_members,
)
from noldo.atomic import write_errors
from noldo.errors import InputError

logger = logging.getLogger(__name__)

MARK = ".unpacking"
"""File in the target while it is being filled: what a killed run left is deleted by the next one."""

PIECE_BYTES = MIB


@dataclass(frozen=True)
class Extracted:
    """What was unpacked."""

    num_files: int
    num_bytes: int


def extract_archive(path: Path, target: Path, *, limits: Limits = LIMITS) -> Extracted:
    """Unpack a zip or a tar (plain, gzip, bzip2, xz) into a folder of its own.

    Names and sizes are checked as `builders.archive_members` says; bytes are counted as they come, whatever headers tell.
    Nothing outside of `target` is touched, and nothing that was there before.

    Parameters
    ----------
    target
        Does not exist yet, is empty, or is what a killed run left.

    Raises
    ------
    InputError
        If the archive can't be used; the target is then as if nothing had happened.
    StoreError
        If the disk is full, or the target can't be written to.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such archive; give an existing file")
    existed = _prepare(target)
    try:
        extracted = _Unpacking(path, target, limits).run()
    except BaseException:
        _clear(target)
        if not existed:
            target.rmdir()
        raise
    with write_errors(target):
        (target / MARK).unlink()
    logger.info("%s: %s files, %.1f MB unpacked", target, extracted.num_files, extracted.num_bytes / 1e6)
    return extracted


def _prepare(target: Path) -> bool:
    """Make room; whether the folder was there before."""
    existed = target.is_dir()
    with write_errors(target):
        if existed and (target / MARK).is_file() and not target.is_symlink():
            _clear(target)
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise InputError(f"{target}: not empty; give a folder that does not exist yet")
        (target / MARK).touch()
    return existed


def _clear(target: Path) -> None:
    for child in target.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


class _Unpacking:
    """One archive on its way to disk."""

    def __init__(self, path: Path, target: Path, limits: Limits) -> None:
        self._path = path
        self._target = target
        self._limits = limits
        self._packed = path.stat().st_size
        self._num_files = 0
        self._num_bytes = 0

    def run(self) -> Extracted:
        try:
            found = format_of(self._path)
            if found == "zip":
                self._unzip()
            else:
                self._untar(found)
        except DAMAGED as error:
            raise ArchiveError(f"{self._path}: damaged ({error}); fetch it again") from None
        except OSError as error:
            # What is written has errors of its own; gzip and bzip2 tell damage so, without a number.
            if error.errno is None:
                raise ArchiveError(f"{self._path}: damaged ({error}); fetch it again") from None
            raise InputError(f"{self._path}: can't be read ({error.strerror}); check the disk") from None
        return Extracted(self._num_files, self._num_bytes)

    def _unzip(self) -> None:
        with zipfile.ZipFile(self._path) as archive:
            for name, info in zip_members(archive, where=str(self._path), limits=self._limits).items():
                with archive.open(info) as file:
                    self._write(name, file, size=info.file_size)

    def _untar(self, compression: str) -> None:
        with _unpacked(self._path, compression) as file:
            for member in TarMembers(file, where=str(self._path), limits=self._limits):
                if member.is_folder:
                    with write_errors(self._target):
                        (self._target / member.name).mkdir(parents=True, exist_ok=True)
                else:
                    file.seek(member.offset)
                    self._write(member.name, file, size=member.size)

    def _write(self, name: str, file: IO[bytes], *, size: int) -> None:
        """Copy a member of so many bytes; a zip's member must end there."""
        path = self._target / name
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            copy = path.open("xb")
        with copy:
            rest = size
            while rest:
                piece = file.read(min(PIECE_BYTES, rest))
                if not piece:
                    raise ArchiveError(f"{self._path}: {name!r}: the archive ends within it; fetch it again")
                rest -= len(piece)
                self._count(name, len(piece))
                with write_errors(path):
                    copy.write(piece)
            if isinstance(file, zipfile.ZipExtFile) and file.read(1):
                raise ArchiveError(f"{self._path}: {name!r}: more than the {size} bytes of its header")
        self._num_files += 1

    def _count(self, name: str, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        limits = self._limits
        if self._num_bytes > limits.total_bytes or limits.expands_too_much(self._num_bytes, self._packed):
            raise ArchiveError(
                f"{self._path}: {name!r}: {self._packed} bytes have become {self._num_bytes}; don't use this archive"
            )


@contextmanager
def _unpacked(path: Path, compression: str) -> Iterator[IO[bytes]]:
    openers = {"": open, "gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    if compression not in openers:
        raise InputError(f"{path}: a {compression} archive; unpack it with another tool and give the folder")
    with openers[compression](path, "rb") as file:  # type: ignore[operator]
        yield cast("IO[bytes]", ForwardReads(file))
