"""Where the files of subsets lie, given what a user types: a results folder, a store, or a URL."""

import logging
from dataclasses import dataclass
from pathlib import Path

from noldo.errors import StoreError
from noldo.files import Files
from noldo.products import SUBSETS
from noldo.reader import open_files

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SubsetPaths:
    """The folder (or URL) of a build and the subset in it."""

    root: str
    """Folder or URL that holds the files below, without a slash at the end."""
    subset: str
    """`nol`, `dw`, `osm`, or the name of an import."""

    @property
    def store(self) -> str:
        """The Zarr group."""
        return f"{self.root}/{self.subset}.zarr"

    @property
    def is_remote(self) -> bool:
        """Behind a URL rather than in a folder."""
        return "://" in self.root

    def files(self) -> Files:
        """Read access to what lies beside the store."""
        return open_files(self.root)

    def local(self, suffix: str) -> Path:
        """A file of the subset as a local path, e.g. `.parquet`.

        Raises
        ------
        StoreError
            If the subset is behind a URL.
        """
        if self.is_remote:
            raise StoreError(f"{self.root}: this works on local folders only; copy the data set here first")
        return Path(self.root) / f"{self.subset}{suffix}"


def find_subsets(path: str | Path) -> list[SubsetPaths]:
    """All subsets of a results folder, those of a build first; or the one whose store is named.

    Raises
    ------
    StoreError
        If a local path holds no store.
    """
    root = str(path).rstrip("/")
    if root.endswith(".zarr"):
        return [find_subset(root)]
    if "://" in root:
        files = open_files(root)
        named = [SubsetPaths(root, name) for name in SUBSETS if _has(files, f"{name}.json")]
        return named or [find_subset(root)]
    stores = {store.stem for store in Path(root).glob("*.zarr") if store.is_dir()}
    names = [name for name in SUBSETS if name in stores] + sorted(stores - set(SUBSETS))
    return [SubsetPaths(root, name) for name in names] or [find_subset(root)]


def find_finished(path: str | Path) -> list[SubsetPaths]:
    """As `find_subsets`, without those of a folder that have no manifest yet; they are named in the log.

    If none has one, all are returned: whoever reads them says what is missing.
    """
    found = find_subsets(path)
    finished = [one for one in found if one.is_remote or one.local(".json").is_file()]
    if finished and len(finished) < len(found):
        names = ", ".join(f"@{one.subset.upper()}" for one in found if one not in finished)
        logger.warning("%s: not finished, left out: %s", path, names)
    return finished or found


def _has(files: Files, name: str) -> bool:
    try:
        files.read_range(name, start=0, length=1)
    except FileNotFoundError:
        return False
    return True


def find_subset(path: str | Path, *, subset: str = "nol") -> SubsetPaths:
    """Accept `results/sandbox`, `results/sandbox/dw.zarr`, or either behind `s3://` or `gs://`.

    Parameters
    ----------
    subset
        Which one, if the path is a folder.

    Raises
    ------
    StoreError
        If a local path holds no store of this subset.
    """
    text = str(path).rstrip("/")
    if text.endswith(".zarr"):
        root, _, name = text.rpartition("/")
        found = SubsetPaths(root or ".", name.removesuffix(".zarr"))
    else:
        found = SubsetPaths(text, subset)
    if not found.is_remote and not Path(found.store).is_dir():
        raise StoreError(
            f"{found.store}: no store here; give a folder that a build made, e.g. results/sandbox"
        )
    return found
