"""Copy a finished subset to S3 or Google Cloud Storage; doing it again sends only what is not there yet."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noldo.errors import StoreError
from noldo.manifest import read_manifest
from noldo.paths import find_finished
from noldo.remote import object_store, told_in_one_line


@dataclass(frozen=True)
class Published:
    """What was sent."""

    num_files: int
    """Files of the subset."""
    num_sent: int
    """Files that were not there yet, or differed."""
    sent_bytes: int


def publish(path: str | Path, url: str, *, progress: Callable[[int, int], None] | None = None) -> Published:
    """Send store, index, run record and manifest of every subset; the manifest last: what has one is complete.

    An object counts as equal if it has the size of the file and its entity tag is the file's MD5; where the
    tag is another (encrypted buckets, other services), the object is read back and compared. Each file that was
    sent is checked so.

    Parameters
    ----------
    path
        A results folder or one store.
    url
        Where the files of the results folder go: `s3://bucket/prefix` or `gs://bucket/prefix`.
    progress
        Called with (files done, files in all).

    Raises
    ------
    StoreError
        If the subset is not finished, the service can't be reached, or an object differs after it was sent.
    MissingExtraError
        If obstore is not installed.
    """
    subsets = find_finished(path)
    for paths in subsets:
        read_manifest(paths.local(".json"))
    root = subsets[0].root
    files = [file for paths in subsets for file in _files_of(Path(root), paths.subset)]
    target = _Target(url)
    num_sent = sent_bytes = 0
    for done, file in enumerate(files, start=1):
        size = target.send(file, name=file.relative_to(root).as_posix())
        num_sent += size is not None
        sent_bytes += size or 0
        if progress is not None:
            progress(done, len(files))
    return Published(num_files=len(files), num_sent=num_sent, sent_bytes=sent_bytes)


def _files_of(root: Path, subset: str) -> list[Path]:
    # `zarr.json` of the group sorts behind all arrays: no reader opens a half-sent store.
    store = sorted(path for path in (root / f"{subset}.zarr").rglob("*") if path.is_file())
    beside = [root / f"{subset}{suffix}" for suffix in (".parquet", ".run.json", ".json")]
    return [path for path in (*store, *beside) if path.is_file()]


class _Target:
    """The objects below a URL."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._store = object_store(url)
        import obstore

        with told_in_one_line(self._url):
            batches = obstore.list(self._store)
            self._there = {entry["path"]: entry for batch in batches for entry in batch}

    def send(self, file: Path, *, name: str) -> int | None:
        """Bytes sent; None if the object was there already."""
        import obstore

        content = file.read_bytes()
        if name in self._there and self._holds(self._there[name], content):
            return None
        where = f"{self._url}/{name}"
        with told_in_one_line(where):
            # In one part: the entity tag is then the MD5 of the content.
            obstore.put(self._store, name, content, use_multipart=False)
            same = self._holds(obstore.head(self._store, name), content)
        if not same:
            raise StoreError(f"{where}: differs from {file} after it was sent; publish again")
        return len(content)

    def _holds(self, entry: Any, content: bytes) -> bool:
        import obstore

        if entry["size"] != len(content):
            return False
        tag = str(entry.get("e_tag") or "").strip('"')
        if tag == hashlib.md5(content, usedforsecurity=False).hexdigest():
            return True
        return bytes(obstore.get(self._store, entry["path"]).bytes()) == content
