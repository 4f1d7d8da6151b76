"""Stores on S3 and Google Cloud Storage, through obstore.

Credentials, region and endpoint come from the usual environment: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL and AWS_ALLOW_HTTP, or
GOOGLE_APPLICATION_CREDENTIALS.
"""

from typing import TYPE_CHECKING, Any

from noldo.errors import MissingExtraError, StoreError

if TYPE_CHECKING:
    from zarr.abc.store import Store

SCHEMES = ("s3", "gs")


def object_store(url: str) -> Any:
    """An obstore store whose root is the URL.

    Raises
    ------
    StoreError
        If the URL is of another scheme.
    MissingExtraError
        If obstore is not installed.
    """
    scheme = url.split("://", 1)[0]
    if scheme not in SCHEMES:
        raise StoreError(f"{url}: scheme {scheme!r} is not supported; give a folder, s3://... or gs://...")
    try:
        from obstore.store import from_url
    except ImportError:
        raise MissingExtraError(
            f"{url}: reading {scheme}:// needs obstore; run `pip install obstore`"
        ) from None
    return from_url(url.rstrip("/"))


def zarr_store(url: str) -> "Store":
    """A read-only zarr-python store over the URL."""
    from zarr.storage import ObjectStore

    return ObjectStore(object_store(url), read_only=True)


class RemoteFiles:
    """Files of a store behind a URL; see `noldo.reader.Files`.

    The connection is made on first use and is not pickled, nor used by a process that was forked off.
    """

    def __init__(self, url: str) -> None:
        self.where = url.rstrip("/")
        self._pid = 0
        self._connection: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"where": self.where, "_pid": 0, "_connection": None}

    @property
    def _store(self) -> Any:
        import os

        if self._pid != os.getpid():
            self._connection = object_store(self.where)
            self._pid = os.getpid()
        return self._connection

    def read(self, name: str) -> bytes:
        """See `Files`."""
        import obstore

        return bytes(obstore.get(self._store, name).bytes())

    def read_range(self, name: str, *, start: int, length: int) -> bytes:
        """See `Files`."""
        import obstore

        return bytes(obstore.get_range(self._store, name, start=start, length=length))

    def read_tail(self, name: str, *, length: int) -> bytes:
        """See `Files`."""
        import obstore

        return bytes(obstore.get(self._store, name, options={"range": {"suffix": length}}).bytes())
