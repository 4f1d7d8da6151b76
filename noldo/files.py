"""The files of a store, as its reader sees them: in a folder here; behind a URL in `noldo.remote`, by way of copies in `noldo.staging`."""

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from noldo.errors import StoreError

MAX_OPEN_FILES = 64
"""Shard files of one store that stay open: a process may have 1024 files in all, and many stores."""

RANGES_AHEAD = 16
"""Ranges that the disk is asked for together, when the first of them was not cached: as many files may be open besides, for each thread."""

MIN_BUFFER_BYTES = 2**20
"""Memory that each thread reads into."""


class ByteRange(NamedTuple):
    """Some bytes of a file."""

    name: str
    start: int
    length: int


class Files(Protocol):
    """Read access to the files of a store, by their path relative to it.

    Every method raises `FileNotFoundError` if there is no such file, and `StoreError` if it can't be read.
    """

    where: str
    """Path or URL of the store, for messages."""

    def read(self, name: str) -> bytes:
        """The whole file."""
        ...

    def read_range(self, name: str, *, start: int, length: int) -> bytes:
        """Some bytes; fewer if the file ends before."""
        ...

    def view_ranges(self, ranges: Sequence[ByteRange]) -> Iterator[bytes | np.ndarray]:
        """The same of many, one after another, as bytes or (byte,) uint8: in memory that is used again for the next one of this thread."""
        ...

    def read_tail(self, name: str, *, length: int) -> bytes:
        """The last bytes; fewer if the file is shorter."""
        ...

    def forget(self, name: str, *, since: float) -> bool:
        """Told that bytes of the file were damaged that were read since then (`time.monotonic`).

        Returns whether reading it again may give others: it was a copy.
        """
        ...


@dataclass(frozen=True)
class FileVersion:
    """What a file is at some moment."""

    num_bytes: int
    tag: str
    """Another one, if the file was written anew."""


class Source(Files, Protocol):
    """Files that copies are made from."""

    def version(self, name: str) -> FileVersion:
        """What a file is now."""
        ...

    def read_version(self, name: str, *, start: int, length: int, version: FileVersion) -> bytes:
        """Some bytes of that version; `StoreError` if the file was written anew since."""
        ...


@dataclass(frozen=True)
class Cache:
    """Where copies of whole shards may be kept."""

    folder: str
    """On a fast disk; made if it is not there. Processes and runs may share it."""
    max_gb: float
    """All copies together, in 10^9 bytes."""

    @property
    def max_bytes(self) -> int:
        """The same in bytes."""
        return round(self.max_gb * 1e9)


class LocalFiles:
    """Files of a store in a folder."""

    def __init__(self, path: str | Path) -> None:
        self.where = str(path)
        self._open: OrderedDict[str, Descriptor] = OrderedDict()
        self._memory = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {"where": self.where}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["where"])  # type: ignore[misc]

    def read(self, name: str) -> bytes:
        """See `Files`; nothing stays open."""
        with self._errors(name), FileIO(f"{self.where}/{name}") as file:
            return file.read()

    def read_range(self, name: str, *, start: int, length: int) -> bytes:
        """See `Files`."""
        with self._errors(name):
            file = self._file(name)
            return os.pread(file.number, length, start)

    def view_ranges(self, ranges: Sequence[ByteRange]) -> Iterator[bytes | np.ndarray]:
        """See `Files`: memory that was touched before costs no page faults. As soon as one has to
        come from the disk, the disk is asked for those after it, too: asking for what is cached would cost more than it gains.
        """
        for first in range(0, len(ranges), RANGES_AHEAD):
            yield from self._views(ranges[first : first + RANGES_AHEAD])

    def _views(self, ranges: Sequence[ByteRange]) -> Iterator[np.ndarray]:
        buffer = self._buffer(max(one.length for one in ranges))
        announced: deque[Descriptor] | None = None
        for position, (name, start, length) in enumerate(ranges):
            view = buffer[:length]
            try:
                # Kept until it is read: another thread may drop it.
                file = announced.popleft() if announced else self._file(name)
                count = file.read_cached(view.data, start)
                if count < length:
                    if announced is None:
                        announced = self._announced(ranges[position + 1 :])
                    count = os.preadv(file.number, [view.data], start)
            except OSError as error:
                with self._errors(name):
                    raise error
            yield view if count == length else view[:count]

    def _announced(self, ranges: Sequence[ByteRange]) -> "deque[Descriptor]":
        """The files of the next ranges, when the system was told what will be read of them."""
        found: deque[Descriptor] = deque()
        if not hasattr(os, "posix_fadvise"):
            return found
        for name, start, length in ranges:
            try:
                file = self._file(name)
            except OSError:  # told of when its turn comes
                break
            file.will_need(start, length)
            found.append(file)
        return found

    def _buffer(self, num_bytes: int) -> np.ndarray:
        """(byte,) uint8 of this thread."""
        found: np.ndarray | None = getattr(self._memory, "buffer", None)
        if found is None or len(found) < num_bytes:
            found = self._memory.buffer = np.empty(max(num_bytes, MIN_BUFFER_BYTES), np.uint8)
        return found

    def read_tail(self, name: str, *, length: int) -> bytes:
        """See `Files`."""
        with self._errors(name):
            file = self._file(name)
            size = os.fstat(file.number).st_size
            return os.pread(file.number, length, max(0, size - length))

    def forget(self, name: str, *, since: float) -> bool:
        """See `Files`: there is nothing else to read."""
        return False

    def version(self, name: str) -> FileVersion:
        """See `Source`."""
        with self._errors(name):
            facts = os.fstat(self._file(name).number)
            return FileVersion(facts.st_size, f"{facts.st_ino}-{facts.st_mtime_ns}")

    def read_version(self, name: str, *, start: int, length: int, version: FileVersion) -> bytes:
        """See `Source`."""
        found = self.read_range(name, start=start, length=length)
        if self.version(name) != version:
            raise changed_meanwhile(f"{self.where}/{name}")
        return found

    def _file(self, name: str) -> "Descriptor":
        """The file, open."""
        found = self._open.get(name)
        if found is None:
            found = Descriptor(f"{self.where}/{name}")
            self._keep_open(name, found, at_most=MAX_OPEN_FILES)
        return found

    def _keep_open(self, name: str, file: "Descriptor", *, at_most: int) -> None:
        """Drop the oldest ones; whoever still reads from one that was dropped keeps it open."""
        self._open[name] = file
        while len(self._open) > at_most:
            self._open.popitem(last=False)

    def _errors(self, name: str) -> "ToldInOneLine":
        return ToldInOneLine(self.where, name)


class Descriptor:
    """A file that is open for reading at positions, until nobody knows it any more."""

    __slots__ = ("_tells_cached", "number")

    def __init__(self, path: str) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._tells_cached = hasattr(os, "RWF_NOWAIT")
        if hasattr(os, "posix_fadvise"):
            # Exactly the bytes asked for are read.
            os.posix_fadvise(self.number, 0, 0, os.POSIX_FADV_RANDOM)

    def read_cached(self, buffer: memoryview, start: int) -> int:
        """Read what needs no disk. Returns how many bytes: fewer than asked for, or none, if some do, or if the system can't tell."""
        if not self._tells_cached:
            return 0
        try:
            return os.preadv(self.number, [buffer], start, os.RWF_NOWAIT)
        except BlockingIOError:
            return 0
        except OSError:  # not on this file system; a broken disk is told of by the reading that follows
            self._tells_cached = False
            return 0

    def will_need(self, start: int, length: int) -> None:
        """Have the disk fetch some bytes, without waiting for them; where the system has `posix_fadvise`."""
        os.posix_fadvise(self.number, start, length, os.POSIX_FADV_WILLNEED)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


class ToldInOneLine:
    """What the system says of a file, in a line. A class, because a generator costs more than the reading."""

    __slots__ = ("_name", "_where")

    def __init__(self, where: str, name: str) -> None:
        self._where, self._name = where, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise StoreError(
                f"{self._where}/{self._name}: can't be read ({error.strerror}); check the disk and the permissions"
            ) from error


def changed_meanwhile(where: str) -> StoreError:
    """What is told of a file of which another version was met before."""
    return StoreError(f"{where}: was written anew since this process read from it; start it again")
