"""Copy a finished subset to S3 or Google Cloud Storage; doing it again sends only what is not there yet."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from noldo.errors import StoreError
from noldo.manifest import read_manifest
from noldo.paths import find_subset
from noldo.remote import object_store


@dataclass(frozen=True)
class Published:
    """What was sent."""

    num_files: int
    """Files of the subset."""
    num_sent: int
    """Files that were not there yet, or differed."""
    sent_bytes: int


def publish(path: str | Path, url: str, *, progress: Callable[[int, int], None] | None = None) -> Published:
    """Send store, index, manifest and run record; the manifest last, so that what has one is complete.

    A file counts as there if an object of its name has its size and, where the service gives MD5 entity tags, its MD5.

    Raises
    ------
    StoreError
        If the subset is not finished, or an object has another size after it was sent.
    """
    import obstore

    paths = find_subset(path)
    read_manifest(paths.local(".json"))
    files = _files_of(Path(paths.root), paths.subset)
    target = object_store(url)
    there = {entry["path"]: entry for batch in obstore.list(target) for entry in batch}
    num_sent = sent_bytes = 0
    for done, file in enumerate(files, start=1):
        name = file.relative_to(paths.root).as_posix()
        content = file.read_bytes()
        if not _same(there.get(name), content):
            obstore.put(target, name, content)
            if obstore.head(target, name)["size"] != len(content):
                raise StoreError(f"{url}/{name}: has another size than {file}; publish again")
            num_sent += 1
            sent_bytes += len(content)
        if progress is not None:
            progress(done, len(files))
    return Published(num_files=len(files), num_sent=num_sent, sent_bytes=sent_bytes)


def _files_of(root: Path, subset: str) -> list[Path]:
    store = sorted(path for path in (root / f"{subset}.zarr").rglob("*") if path.is_file())
    beside = [root / f"{subset}{suffix}" for suffix in (".parquet", ".run.json", ".json")]
    return [path for path in (*store, *beside) if path.is_file()]


def _same(entry: object, content: bytes) -> bool:
    if not isinstance(entry, dict) or entry["size"] != len(content):
        return False
    tag = str(entry.get("e_tag") or "").strip('"')
    # Entity tags of objects that were sent in parts are no MD5; they contain a dash.
    return "-" in tag or tag == hashlib.md5(content, usedforsecurity=False).hexdigest()
