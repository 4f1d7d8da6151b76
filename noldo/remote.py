"""Stores on S3 and Google Cloud Storage, through obstore.

Credentials, region and endpoint come from the usual environment: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL and AWS_ALLOW_HTTP, or
GOOGLE_APPLICATION_CREDENTIALS.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from noldo.errors import MissingExtraError, StoreError
from noldo.files import ByteRange, FileVersion, changed_meanwhile

if TYPE_CHECKING:
    from zarr.abc.store import Store

SCHEMES = ("s3", "gs")


def object_store(url: str) -> Any:
    """An obstore store whose root is the URL.

    Raises
    ------
    StoreError
        If the URL is of another scheme, or the environment does not fit it.
    MissingExtraError
        If obstore is not installed.
    """
    scheme = url.split("://", 1)[0]
    if scheme not in SCHEMES:
        raise StoreError(f"{url}: scheme {scheme!r} is not supported; give s3://... or gs://...")
    try:
        from obstore.store import from_url
    except ImportError:
        raise MissingExtraError(f"{url}: {scheme}:// needs obstore; run `pip install obstore`") from None
    with told_in_one_line(url):
        return from_url(url.rstrip("/"))


@contextmanager
def told_in_one_line(where: str) -> Iterator[None]:
    """Turn what obstore raises, except for missing objects, into a `StoreError` about `where`."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise
    except BaseError as error:
        # obstore's messages go on for pages: the service's XML, and the state of its own objects.
        first = str(error).splitlines()[0].partition(": <?xml")[0].strip()
        raise StoreError(
            f"{where}: can't be reached ({first}); check bucket, network and the credentials in the "
            "environment (AWS_..., GOOGLE_APPLICATION_CREDENTIALS)"
        ) from None


def zarr_store(url: str) -> "Store":
    """A read-only zarr-python store over the URL."""
    from zarr.storage import ObjectStore

    return ObjectStore(object_store(url), read_only=True)


class RemoteFiles:
    """Files of a store behind a URL; see `noldo.files.Files`.

    The connection is made on first use and is not pickled: spawned workers make their own. Forked ones
    can't, because obstore's threads do not survive a fork; they are told so instead of hanging.
    """

    def __init__(self, url: str) -> None:
        self.where = url.rstrip("/")
        self._pid = 0
        self._connection: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"where": self.where, "_pid": 0, "_connection": None}

    def read(self, name: str) -> bytes:
        """See `Files`."""
        import obstore

        with told_in_one_line(f"{self.where}/{name}"):
            return bytes(obstore.get(self._store(), name).bytes())

    def read_range(self, name: str, *, start: int, length: int) -> bytes:
        """See `Files`."""
        import obstore

        with told_in_one_line(f"{self.where}/{name}"):
            return bytes(obstore.get_range(self._store(), name, start=start, length=length))

    def view_ranges(self, ranges: Sequence[ByteRange]) -> Iterator[bytes]:
        """See `Files`."""
        return (self.read_range(one.name, start=one.start, length=one.length) for one in ranges)

    def read_tail(self, name: str, *, length: int) -> bytes:
        """See `Files`."""
        import obstore

        with told_in_one_line(f"{self.where}/{name}"):
            return bytes(obstore.get(self._store(), name, options={"range": {"suffix": length}}).bytes())

    def forget(self, name: str, *, since: float) -> bool:
        """See `Files`: there is nothing else to read."""
        return False

    def version(self, name: str) -> FileVersion:
        """See `noldo.files.Source`."""
        import obstore

        with told_in_one_line(f"{self.where}/{name}"):
            facts = obstore.head(self._store(), name)
        return FileVersion(facts["size"], facts["e_tag"] or facts["last_modified"].isoformat())

    def read_version(self, name: str, *, start: int, length: int, version: FileVersion) -> bytes:
        """See `noldo.files.Source`."""
        import obstore

        with told_in_one_line(f"{self.where}/{name}"):
            found = obstore.get(self._store(), name, options={"range": (start, start + length)})
            facts = found.meta
            if version != FileVersion(facts["size"], facts["e_tag"] or facts["last_modified"].isoformat()):
                raise changed_meanwhile(f"{self.where}/{name}")
            return bytes(found.bytes())

    def sizes(self) -> dict[str, int]:
        """Length in bytes of every object below the URL, by name."""
        import obstore

        with told_in_one_line(self.where):
            batches = obstore.list(self._store())
            return {entry["path"]: entry["size"] for batch in batches for entry in batch}

    def _store(self) -> Any:
        if self._pid not in (0, os.getpid()):
            raise StoreError(
                f"{self.where}: this process was forked off one that had read from there; give the DataLoader "
                'multiprocessing_context="spawn"'
            )
        if self._connection is None:
            self._connection = object_store(self.where)
            self._pid = os.getpid()
        return self._connection
