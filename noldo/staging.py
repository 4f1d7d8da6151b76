"""Files of a store by way of whole copies on a fast disk: for object stores, and disks that are slow at random reads.

The first read of a shard copies it, whole, into a bounded folder (`noldo.copy_folder`); it is read there like any local file. A copy
is of one version of its file and known by it, so that a store that was written anew is copied anew.
"""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from noldo.copy_folder import CopyFolder, NoCopyError
from noldo.files import ByteRange, Cache, Descriptor, FileVersion, LocalFiles, Source, ToldInOneLine

_LOG = logging.getLogger(__name__)

PIECE_BYTES = 16 * 2**20
"""Fetched by one request: what an object store's client gives half a minute for, at 5 Mbit/s."""

MAX_OPEN_COPIES = 256
"""Of one store: those of a window of 32 shards of five arrays, and of some of the next one. Opening a copy costs more than a file."""

RETRY_S = 60.0
"""A file that could not be copied is read at its source so long: others may have filled the folder for a moment."""

MUCH = 32
"""Bytes copied for each byte read that are told of. A pass in windows copies four seasons of all locations of a shard and reads one
season of those of a split: about five. Copies that are removed before their next use make a hundred and more."""


class StagedFiles(LocalFiles):
    """See `noldo.files.Files`. Small files are read at their source, shards from copies.

    Where no copy can be made (a full disk, a bound that is too small), shards are read at their source as well, and the log says so.
    """

    def __init__(self, source: Source, cache: Cache) -> None:
        """Make the folder of copies.

        Raises
        ------
        StoreError
            If it can't be written to.
        """
        self._source = source
        self._cache = cache
        self._set_up()

    def _set_up(self) -> None:
        super().__init__(self._source.where)
        self._copies = CopyFolder(self._cache)
        self._opening = threading.Lock()
        self._versions: dict[str, tuple[FileVersion, str]] = {}
        self._uncopied: dict[str, float] = {}
        """Name to when copying it is tried again."""
        self._renewing = threading.Lock()
        self._renewed: dict[str, float] = {}
        """Name to when its copy was given up as damaged."""
        self._num_fetched = self._num_read = 0
        self._is_told = False

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self._source, "cache": self._cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._source, self._cache = state["source"], state["cache"]
        self._set_up()

    def read(self, name: str) -> bytes:
        """See `Files`."""
        return self._source.read(name)

    def read_range(self, name: str, *, start: int, length: int) -> bytes:
        """See `Files`."""
        if not self._is_left(name):
            try:
                self._num_read += length
                return super().read_range(name, start=start, length=length)
            except NoCopyError as error:
                self._leave(name, error)
        return self._source.read_range(name, start=start, length=length)

    def view_ranges(self, ranges: Sequence[ByteRange]) -> Iterator[bytes | np.ndarray]:
        """See `Files`."""
        return (self._view(one) for one in ranges)

    def _view(self, wanted: ByteRange) -> bytes | np.ndarray:
        name, start, length = wanted
        if not self._is_left(name):
            try:
                self._num_read += length
                (found,) = super().view_ranges([wanted])
                return found
            except NoCopyError as error:
                self._leave(name, error)
        return self._source.read_range(name, start=start, length=length)

    def read_tail(self, name: str, *, length: int) -> bytes:
        """See `Files`."""
        if not self._is_left(name):
            try:
                return super().read_tail(name, length=length)
            except NoCopyError as error:
                self._leave(name, error)
        return self._source.read_tail(name, length=length)

    def forget(self, name: str, *, since: float) -> bool:
        """See `Files`: a damaged copy is made anew, once. Threads that read of it before that read again, too."""
        with self._renewing:
            if name in self._renewed:
                return self._renewed[name] > since
            if self._is_left(name):
                return False
            _LOG.warning(
                "%s: the copy of %s/%s is damaged, and made anew; check that disk",
                self._copies.path, self.where, name,
            )  # fmt: skip
            self._copies.drop(self._known(name)[1])
            with self._opening:
                self._open.pop(name, None)
            self._renewed[name] = time.monotonic()
            return True

    def _file(self, name: str) -> Descriptor:
        """The copy of a file, open."""
        found = self._open.get(name)
        if found is None:
            version, copy = self._known(name)
            found = self._copies.copy(copy, size=version.num_bytes, pieces=self._pieces(name, version))
            with self._opening:
                self._close_removed()
                if os.fstat(found.number).st_nlink:  # else somebody found it damaged, or removed it, just now
                    self._keep_open(name, found, at_most=MAX_OPEN_COPIES)
        return found

    def _known(self, name: str) -> tuple[FileVersion, str]:
        """The version that this process met first, for what it reads of a file is of one; and the name of its copy, which is another
        one for another store, file or version.
        """
        found = self._versions.get(name)
        if found is None:
            version = self._source.version(name)
            words = (self.where, name, str(version.num_bytes), version.tag)
            copy = hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]
            found = self._versions[name] = version, copy
        return found

    def _pieces(self, name: str, version: FileVersion) -> Iterator[bytes]:
        for start in range(0, version.num_bytes, PIECE_BYTES):
            length = min(PIECE_BYTES, version.num_bytes - start)
            yield self._source.read_version(name, start=start, length=length, version=version)
        self._num_fetched += version.num_bytes
        if not self._is_told and self._num_fetched > max(self._cache.max_bytes, MUCH * self._num_read):
            self._is_told = True
            _LOG.warning(
                "%s: %d bytes were copied from %s to read %d: the copies that fit into %s GB are removed before they are used; allow "
                "more (max_gb), read in windows of few shards (data.order), or leave the cache out",
                self._copies.path, self._num_fetched, self.where, self._num_read, self._cache.max_gb,
            )  # fmt: skip

    def _close_removed(self) -> None:
        """Copies that somebody removed take room on the disk for as long as they are open; those opened first are removed first."""
        while self._open and not os.fstat(next(iter(self._open.values())).number).st_nlink:
            self._open.popitem(last=False)

    def _is_left(self, name: str) -> bool:
        return self._uncopied.get(name, 0.0) > time.monotonic()

    def _leave(self, name: str, error: NoCopyError) -> None:
        if not self._uncopied:
            _LOG.warning(
                "%s: no copy of %s/%s (%s); it is read at its source, and so is what else can't be copied, for a minute each",
                self._copies.path, self.where, name, error,
            )  # fmt: skip
        self._uncopied[name] = time.monotonic() + RETRY_S

    def _errors(self, name: str) -> ToldInOneLine:
        return ToldInOneLine(str(self._copies.path), f"copy of {name}")
