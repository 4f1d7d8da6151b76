"""An LMDB of published arrays, opened for reading: nothing in its folder is created or changed."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from builders.import_items import BadItemError
from builders.plain_pickle import ForbiddenPickleError, PickledArray, PlainPickleError, read_pickled_array
from noldo.errors import InputError

MAX_KEY_BYTES = 64


class LmdbFile:
    """One LMDB: a folder with `data.mdb`, or the file itself."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises
        ------
        InputError
            If there is none, or it is damaged or not whole.
        """
        import lmdb

        if not (path.is_file() or (path / "data.mdb").is_file()):
            raise InputError(f"{path}: no LMDB here; give the folder that holds data.mdb, or the file")
        self.name = path.name
        self._path = path
        try:
            # Without a lock file, which LMDB would create; a published file has no writer.
            self._env: Any = lmdb.open(
                str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, max_dbs=0
            )
        except lmdb.Error as error:
            raise InputError(f"{path}: not a readable LMDB ({error}); fetch it again") from None
        try:
            self._refuse_cut()
        except InputError:
            self._env.close()
            raise

    def _refuse_cut(self) -> None:
        """LMDB maps the file into memory: where it has been cut off, reading on would kill the process by SIGBUS.

        Opening reads no more than the two first pages, which LMDB checks.
        """
        path = self._path / "data.mdb" if self._path.is_dir() else self._path
        found = path.stat().st_size
        told = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        if found < told:
            raise InputError(f"{path}: {found} bytes, but its header says {told}; fetch it again")

    def __enter__(self) -> Self:
        """Open already; see `__exit__`."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it: LMDB opens a file once in a process."""
        self._env.close()

    def names(self) -> Iterator[str]:
        """Every key, in the order of the file; one that is no short ASCII text is shown as Python writes bytes."""
        import lmdb

        try:
            with self._env.begin(buffers=True) as transaction, transaction.cursor() as cursor:
                for key in cursor.iternext(keys=True, values=False):
                    raw = bytes(key[:MAX_KEY_BYTES])
                    yield raw.decode() if raw.isascii() and len(key) <= MAX_KEY_BYTES else repr(raw)
        except lmdb.Error as error:
            raise InputError(f"{self._path}: not a readable LMDB ({error}); fetch it again") from None

    def array_id(self, key: str) -> int | str | None:
        """The id of a record, without a copy of its pixels.

        Raises
        ------
        ForbiddenPickleError
            If the record asks to run code.
        BadItemError
            If it is missing or damaged.
        """
        with self._env.begin(buffers=True) as transaction:
            return self._record(transaction, key).id

    def array(self, key: str, *, dtypes: Sequence[str]) -> tuple[np.ndarray, int | str | None]:
        """A copy of an array, and its id.

        Parameters
        ----------
        dtypes
            What it may be; the first whose size fits is taken, because records do not tell.

        Raises
        ------
        ForbiddenPickleError
            If the record asks to run code.
        BadItemError
            If it is missing or damaged, or of another size.
        """
        with self._env.begin(buffers=True) as transaction:
            record = self._record(transaction, key)
            num_values = math.prod(record.shape)
            for name in dtypes:
                if num_values * np.dtype(name).itemsize == len(record.content):
                    return np.frombuffer(record.content, name).reshape(record.shape).copy(), record.id
        raise BadItemError(
            "wrong size",
            f"{self.name}, key {key}: {len(record.content)} bytes for shape {record.shape} of {' or '.join(dtypes)}",
        )

    def _record(self, transaction: Any, key: str) -> PickledArray:
        import lmdb

        where = f"{self.name}, key {key}"
        try:
            content = transaction.get(key.encode())
        except lmdb.Error as error:
            raise BadItemError("unreadable record", f"{where} ({error})") from None
        if content is None:
            raise BadItemError("missing record", where)
        try:
            return read_pickled_array(content, where=where)
        except ForbiddenPickleError:
            raise
        except PlainPickleError as error:
            raise BadItemError("unreadable record", str(error)) from None
