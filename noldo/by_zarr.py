"""Arrays that are stored otherwise than by this format: other codecs, chunks or shards.

zarr-python reads them all, only slower than `noldo.reader` reads its own; so a store may be written anew with another codec, and still be
learnt from. What the specification says of chunks that are not there holds for them: they are the fill value, which is no data. They are read
where they are, without copies (`noldo.staging`).
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from noldo.errors import ChunkCorruptError, NoldoError, StoreError

if TYPE_CHECKING:
    import zarr

_HOW = ("data_type", "chunk_grid", "chunk_key_encoding", "codecs")
"""What of the `zarr.json` of an array says how values become bytes."""

_SAYS_NOTHING: tuple[Any, ...] = (None, {}, {"endian": "little"})


def is_stored_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two arrays, by their `zarr.json`, are stored in the same way."""
    return all(plain(one.get(name)) == plain(other.get(name)) for name in _HOW)


def plain(value: Any) -> Any:
    """A part of a `zarr.json` without configurations that say nothing: empty ones, and the order of bytes, which is left out where values have one byte."""
    if isinstance(value, dict):
        return {
            key: plain(item)
            for key, item in value.items()
            if key != "configuration" or item not in _SAYS_NOTHING
        }
    return [plain(item) for item in value] if isinstance(value, list) else value


class ByZarr:
    """Reads arrays of one store; opened when the first is asked for."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._group: zarr.Group | None = None
        self._pid = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"_where": self._where, "_group": None, "_pid": 0}

    def whole(self, name: str) -> np.ndarray:
        """All values of an array.

        Raises
        ------
        StoreError, ChunkCorruptError
            See `pixels`.
        """
        return self._values(name, ...)

    def pixels(self, name: str, *, row: int, seasons: Sequence[int]) -> np.ndarray:
        """(season, band?, y, x) of one location, seasons in the order asked for.

        Raises
        ------
        StoreError
            If the store can't be reached, or the array can't be opened or read.
        ChunkCorruptError
            If a chunk can't be decoded.
        """
        first, last = min(seasons), max(seasons)
        found = self._values(name, (row, slice(first, last + 1)))
        return found[[season - first for season in seasons]]

    def _values(self, name: str, selection: Any) -> np.ndarray:
        where = f"{self._where}/{name}"
        try:
            with self._reaching():
                array: Any = self._opened()[name]
        except NoldoError:
            raise
        except Exception as error:  # zarr raises what it likes
            raise StoreError(
                f"{where}: can't be opened with zarr ({_in_a_line(error)}); it is not stored as this format is"
            ) from error
        try:
            with self._reaching():
                return np.asarray(array[selection])
        except NoldoError:
            raise
        except Exception as error:  # codecs raise what they like, also OSErrors without a number
            if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
                raise StoreError(f"{where}: can't be read ({_in_a_line(error)})") from error
            raise ChunkCorruptError(f"{where}: can't be decoded by zarr ({_in_a_line(error)})") from error

    @property
    def _is_remote(self) -> bool:
        return "://" in self._where

    def _reaching(self) -> AbstractContextManager[None]:
        """Errors of an object store are told as such."""
        if not self._is_remote:
            return nullcontext()
        from noldo.remote import told_in_one_line

        return told_in_one_line(self._where)

    def _opened(self) -> "zarr.Group":
        if self._group is None:
            import zarr

            if self._is_remote:
                from noldo.remote import zarr_store

                self._group = zarr.open_group(zarr_store(self._where), mode="r")
            else:
                self._group = zarr.open_group(self._where, mode="r")
            self._pid = os.getpid()
        if self._is_remote and self._pid != os.getpid():
            raise StoreError(
                f"{self._where}: opened in another process, whose threads a fork loses; give "
                "DataLoader(multiprocessing_context='spawn')"
            )
        return self._group


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
