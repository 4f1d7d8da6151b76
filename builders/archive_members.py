"""What an archive of a stranger may hold: checks of names, types and sizes, before anything is read or written.

Refused, with the name of the member: paths that lead out of the archive (`..`, absolute, drive letters, backslashes, control
characters), links, devices, pipes and other odd types, sparse members, two members of one name, a file that is also a folder,
encrypted members, members that overlap, and members that are larger than allowed or that expand too much.
"""

import io
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from noldo.errors import InputError

MIB = 1 << 20

HEADER_BYTES = MIB
"""The longest header that a tar may ask to be read at once: names and attributes are far shorter."""

NAME_BYTES = 255
"""Longest part of a path that file systems take."""

_DRIVE = re.compile(r"[A-Za-z]:")
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others are rare, and `zipfile` unpacks as much of them at once as comes."""

DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, struct.error),
    *(UnicodeDecodeError, OverflowError),
)
"""What `zipfile` and the decompressors raise for damaged, truncated and unknown contents; also `OSError` without a number."""

_LOCAL_HEADER_BYTES = 30
"""Fixed part of what stands before a member's bytes in a zip (APPNOTE.TXT, 4.3.7)."""


class ArchiveError(InputError):
    """An archive, or a member of it, is not safe to read."""


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold."""

    member_bytes: int = 4096 * MIB
    """Of one member, unpacked."""
    total_bytes: int = 8 * MIB * MIB
    """Of all members together, unpacked: 8 TiB."""
    members: int = 50_000_000
    ratio: int = 300
    """Bytes that one stored byte may become beyond the first `ratio_from_bytes`. Deflate makes 1,032 of it where all is
    zero; images stay below 10, class maps below 100."""
    ratio_from_bytes: int = 16 * MIB
    """A class map of one class is a few bytes, and no danger."""

    def expands_too_much(self, size: int, packed: int) -> bool:
        """Whether so many bytes may not come out of so few."""
        return size > self.ratio_from_bytes and size > self.ratio * max(packed, 1)


LIMITS = Limits()


_STARTS = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # one without members
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def format_of(path: Path) -> str:
    """`zip`, or the compression of a whole file; empty: none that is known, as of a tar.

    A file is what it begins as: `zipfile.is_zipfile` looks at its end, which in a tar may be that of a zip in it.

    Raises
    ------
    InputError
        If it can't be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}); check the disk and the permissions"
        ) from None
    return next((name for magic, name in _STARTS.items() if start.startswith(magic)), "")


def checked_name(name: str, *, where: str) -> str:
    """The path of a member, without `./` and doubled slashes.

    Raises
    ------
    ArchiveError
        If it is no relative path that stays within the archive.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    fault = ""
    if name.startswith("/") or _DRIVE.match(name):
        fault = "an absolute path"
    elif "\\" in name or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        fault = "a path with backslashes or control characters"
    elif ".." in parts:
        fault = "a path that leads out of the archive"
    elif not parts:
        fault = "an empty path"
    elif any(len(part.encode(errors="surrogateescape")) > NAME_BYTES for part in parts):
        fault = "a path that is too long"
    if fault:
        raise ArchiveError(f"{where}: {name!r}: {fault}; don't use this archive")
    return "/".join(parts)


class MemberCheck:
    """Checks members one by one against what came before."""

    def __init__(self, *, where: str, limits: Limits, may_repeat: bool = False) -> None:
        """Nothing was checked yet; `may_repeat` allows later members to replace earlier ones of their name."""
        self._where = where
        self._limits = limits
        self._may_repeat = may_repeat
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._total = 0

    def refuse(self, name: str, fault: str) -> ArchiveError:
        """The error that names a member."""
        return ArchiveError(f"{self._where}: {name!r}: {fault}; don't use this archive")

    def add_file(self, name: str, *, size: int, packed: int | None) -> str:
        """Check one file; returns its path.

        Raises
        ------
        ArchiveError
            If it is refused.
        """
        limits = self._limits
        path = checked_name(name, where=self._where)
        if path in self._files and not self._may_repeat:
            raise self.refuse(name, "a second member of this name")
        parents = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)]
        if path in self._folders or not self._files.isdisjoint(parents):
            raise self.refuse(name, "both a file and a folder")
        self._total += size
        if size < 0 or size > limits.member_bytes:
            raise self.refuse(name, f"{size} bytes unpacked, at most {limits.member_bytes} are read")
        if self._total > limits.total_bytes or len(self._files) >= limits.members:
            raise self.refuse(
                name, f"the archive holds more than {limits.total_bytes} bytes or {limits.members} files"
            )
        if packed is not None and limits.expands_too_much(size, packed):
            raise self.refuse(name, f"{packed} bytes that would become {size}")
        self._files.add(path)
        self._folders.update(parents)
        return path

    def add_folder(self, name: str) -> str:
        """Check one folder; returns its path, which is empty for the topmost."""
        if name.strip("./") == "" and ".." not in name and not name.startswith("/"):
            return ""
        path = checked_name(name, where=self._where)
        if path in self._files:
            raise self.refuse(name, "both a file and a folder")
        self._folders.add(path)
        return path


def zip_members(
    archive: zipfile.ZipFile, *, where: str, limits: Limits, may_repeat: bool = False
) -> dict[str, zipfile.ZipInfo]:
    """Path to entry of every file of a zip.

    Parameters
    ----------
    may_repeat
        The last of several members of a name counts, as for writers that replace what they wrote.

    Raises
    ------
    ArchiveError
        If one of them is refused, or another file stands before the first.
    """
    check = MemberCheck(where=where, limits=limits, may_repeat=may_repeat)
    found: dict[str, zipfile.ZipInfo] = {}
    # `zipfile` reads from the end, and takes whatever stands before for the start of a program.
    if before := min((info.header_offset for info in archive.infolist()), default=archive.start_dir):
        raise ArchiveError(
            f"{where}: {before} bytes of something else stand before the zip; don't use this archive"
        )
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.orig_filename.rstrip("\0") != info.filename:
            raise check.refuse(info.orig_filename, "a path with backslashes or control characters")
        if not info.filename:
            raise check.refuse("", "an empty path")
        if info.flag_bits & _ENCRYPTED:
            raise check.refuse(info.filename, "encrypted")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise check.refuse(info.filename, "neither a file nor a folder")
        if info.compress_type not in _METHODS:
            raise check.refuse(info.filename, f"packed by method {info.compress_type}, only deflate is read")
        if info.is_dir() or kind == stat.S_IFDIR:
            if info.file_size:
                raise check.refuse(info.filename, "a folder with bytes of its own")
            check.add_folder(info.filename)
            continue
        found[check.add_file(info.filename, size=info.file_size, packed=info.compress_size)] = info
    _refuse_overlaps(found, check)
    return found


def _refuse_overlaps(members: dict[str, zipfile.ZipInfo], check: MemberCheck) -> None:
    """Members that share bytes make small archives that never end (Fifield 2019, A better zip bomb)."""
    end = 0
    for name, info in sorted(members.items(), key=lambda pair: pair[1].header_offset):
        if info.header_offset < end:
            raise check.refuse(name, "its bytes are also those of another member")
        end = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size


@dataclass(frozen=True)
class TarMember:
    """One file or folder of a tar."""

    name: str
    is_folder: bool
    offset: int
    """First byte in the unpacked tar."""
    size: int


class TarMembers:
    """The members of a tar, in order, each checked before it is told.

    Iterating reads headers only; between two members, the bytes of the last one may be read with `read`.
    """

    def __init__(self, file: IO[bytes], *, where: str, limits: Limits, file_bytes: int | None = None) -> None:
        """Nothing is read yet.

        Parameters
        ----------
        file
            Seekable, and unpacked.
        file_bytes
            Length of the tar, where that is known: no member may reach beyond.
        """
        self._file = _ShortReads(file, where=where)
        self._where = where
        self._limits = limits
        self._file_bytes = file_bytes

    def __iter__(self) -> Iterator[TarMember]:
        """Files, and folders that have a header of their own.

        Raises
        ------
        ArchiveError
            If a member is refused, or the tar is damaged.
        """
        check = MemberCheck(where=self._where, limits=self._limits)
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                while (info := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # it would keep a kilobyte a member
                    member = self._checked(info, check)
                    if member is not None:
                        yield member
        except ArchiveError:
            raise
        # `tarfile` trips over numbers in extended headers that are none.
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise self._damaged(str(error)) from None
        # `tarfile` takes a damaged header for the end, which is a block of zeros.
        if self._file.last_block != bytes(tarfile.BLOCKSIZE):
            raise self._damaged("it ends without its end mark")

    def _damaged(self, fault: str) -> ArchiveError:
        return ArchiveError(f"{self._where}: not a whole tar ({fault}); fetch it again")

    def _checked(self, info: tarfile.TarInfo, check: MemberCheck) -> TarMember | None:
        if info.isdir():
            if info.size:
                raise check.refuse(info.name, "a folder with bytes of its own")
            path = check.add_folder(info.name)
            return TarMember(path, True, 0, 0) if path else None
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse():
            raise check.refuse(info.name, "neither a plain file nor a folder")
        path = check.add_file(info.name, size=info.size, packed=None)
        if self._file_bytes is not None and info.offset_data + info.size > self._file_bytes:
            raise check.refuse(info.name, "the archive ends within it")
        return TarMember(path, False, info.offset_data, info.size)


class _ShortReads(io.RawIOBase):
    """A file of which nothing long may be read at once: tar headers tell their own length, and may lie."""

    def __init__(self, file: IO[bytes], *, where: str) -> None:
        self._inner = file
        self._where = where
        self.last_block = b""

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > HEADER_BYTES:
            raise ArchiveError(
                f"{self._where}: a header of {size} bytes, at most {HEADER_BYTES} are read; don't use this archive"
            )
        content = self._inner.read(size)
        if size == tarfile.BLOCKSIZE:
            self.last_block = content
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()


class ForwardReads(io.RawIOBase):
    """A compressed file that is read once, from its beginning to its end.

    `tarfile` steps back by one byte between two members, for which a decompressor would begin anew.
    """

    def __init__(self, file: IO[bytes]) -> None:
        """Reads `file` from where it is, which counts as 0."""
        self._inner = file
        self._position = 0
        self._last = b""
        self._again = False

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        if size <= 0:
            return b""
        before, self._again = (self._last if self._again else b""), False
        content = before + self._inner.read(size - len(before))
        self._position += len(content)
        self._last = content[-1:] or self._last
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Forward, or back by the byte that was read last."""
        if offset == self._position - 1 and self._last and not self._again:
            self._again, self._position = True, offset
        while self._position < offset and self.read(min(HEADER_BYTES, offset - self._position)):
            pass
        if self._position > offset or whence != io.SEEK_SET:
            raise io.UnsupportedOperation("a compressed archive is read forward only")
        return self._position

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position
