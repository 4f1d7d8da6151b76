"""A folder of copies of files, of bounded size, for any number of processes and threads at once.

```
room            locked while room is made, and while a copy gets its name
claims/3f       locked by whoever makes a copy whose name begins like that
3f0a...         a copy, whole
3f0a....partial a copy that is being made, at its full length from the beginning
```

Locks are the system's (`flock`): those of a process that was killed are free at once, and what it left is overwritten or removed.
Nobody waits for a claim while holding `room`.
"""

import errno
import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from noldo.atomic import write_errors
from noldo.files import Cache, Descriptor

SUBFOLDER = "noldo-copies"
"""Of the folder that users name: nothing else of theirs is touched."""

_PARTIAL = ".partial"
_NAME = re.compile(r"[0-9a-f]{32}(\.partial)?")


class NoCopyError(Exception):
    """A copy can't be made here: no room, or the disk refuses. The file itself can still be read."""


@dataclass(frozen=True)
class Copy:
    """One file of the folder."""

    name: str
    num_bytes: int
    used_ns: int
    """When it was opened last."""


def to_evict(copies: Sequence[Copy], *, max_bytes: int) -> list[str] | None:
    """Names of the copies to remove, least recently used first, so that the others fit; None: `max_bytes` is less than nothing.

    Parameters
    ----------
    max_bytes
        What the copies that stay may have together.
    """
    if max_bytes < 0:
        return None
    total, names = sum(one.num_bytes for one in copies), []
    for one in sorted(copies, key=lambda one: (one.used_ns, one.name)):
        if total <= max_bytes:
            break
        names.append(one.name)
        total -= one.num_bytes
    return names


class CopyFolder:
    """Makes, finds and removes copies. Names are 32 hexadecimal digits, which stand for the content."""

    def __init__(self, cache: Cache) -> None:
        """Make the folder.

        Raises
        ------
        StoreError
            If it can't be written to.
        """
        self.path = Path(cache.folder) / SUBFOLDER
        self._max_bytes = cache.max_bytes
        with write_errors(self.path):
            (self.path / "claims").mkdir(parents=True, exist_ok=True)
            (self.path / "room").touch()

    def copy(self, name: str, *, size: int, pieces: Iterable[bytes]) -> Descriptor:
        """A copy, opened for reading; made unless it is there. Whoever wants the same one waits meanwhile.

        An open copy may be removed: its bytes stay as long as it is open.

        Parameters
        ----------
        size
            Of the whole file, in bytes; a copy of another length is none.
        pieces
            Its bytes, in order; asked for only if they are needed.

        Raises
        ------
        NoCopyError
            If there is no room, or the folder can't be written or read. What `pieces` raises is passed on.
        """
        with _refusals():
            found = self._find(name, size)
        if found is not None:
            return found
        with _locked(self._claim(name)):
            with _refusals():
                found = self._find(name, size)
            return self._make(name, size, pieces) if found is None else found

    def drop(self, name: str) -> None:
        """Remove a copy, if it is there."""
        with suppress(OSError):
            (self.path / name).unlink()

    def _claim(self, name: str) -> Path:
        return self.path / "claims" / name[:2]

    def _find(self, name: str, size: int) -> Descriptor | None:
        try:
            found = Descriptor(str(self.path / name))
        except FileNotFoundError:
            return None
        if os.fstat(found.number).st_size != size:
            return None
        _use(found)
        return found

    def _make(self, name: str, size: int, pieces: Iterable[bytes]) -> Descriptor:
        partial = self.path / (name + _PARTIAL)
        try:
            with _refusals(), _locked(self.path / "room"):
                self._make_room(name, size)
                _allocate(partial, size)
            self._write(partial, size, pieces)
            with _refusals(), _locked(self.path / "room"):
                found = Descriptor(str(partial))
                _use(found)
                partial.replace(self.path / name)
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                partial.unlink()
            raise
        return found

    def _write(self, partial: Path, size: int, pieces: Iterable[bytes]) -> None:
        with _refusals():
            file = partial.open("r+b")
        num_bytes = 0
        try:
            for piece in pieces:
                num_bytes += len(piece)
                with _refusals():
                    file.write(piece)
        finally:
            with _refusals():
                file.close()
        if num_bytes != size:
            raise NoCopyError(f"{num_bytes} bytes came, expected {size}")

    def _make_room(self, name: str, size: int) -> None:
        """Remove what is in the way; `room` is locked."""
        found = [one for one in self._listed() if one.name != name + _PARTIAL]
        whole = [one for one in found if not one.name.endswith(_PARTIAL)]
        taken = sum(one.num_bytes for one in found if one.name.endswith(_PARTIAL) and self._is_made(one.name))
        names = to_evict(whole, max_bytes=self._max_bytes - taken - size)
        if names is None:
            raise NoCopyError(
                f"{size:,} bytes and {taken:,} of copies that are being made are more than the {self._max_bytes:,} allowed"
            )
        for one in names:
            (self.path / one).unlink(missing_ok=True)

    def _is_made(self, partial: str) -> bool:
        """Whether somebody is making it; what a killed process left is removed."""
        with self._claim(partial).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            (self.path / partial).unlink(missing_ok=True)
            return False

    def _listed(self) -> list[Copy]:
        found = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):  # somebody gave it up just now
                        facts = entry.stat()
                        found.append(Copy(entry.name, facts.st_size, facts.st_mtime_ns))
        return found


def _use(file: Descriptor) -> None:
    """Note when a copy was opened; the system's own clock of files is too coarse to tell two of them apart."""
    now_ns = time.time_ns()
    os.utime(file.number, ns=(now_ns, now_ns))


def _allocate(path: Path, size: int) -> None:
    """An empty file of that length, whose room on the disk is taken: a full disk is noticed before anything is fetched."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate") and size:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
        file.truncate(size)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with _refusals():
        file = path.open("ab")
    with file:
        with _refusals():
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _refusals() -> Iterator[None]:
    """What the system refuses in the block is no copy."""
    try:
        yield
    except OSError as error:
        raise NoCopyError(f"{error.strerror or error}") from error
