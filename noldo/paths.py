"""Where the files of one subset lie, given what a user types: a results folder, a store, or a URL."""

from dataclasses import dataclass
from pathlib import Path

from noldo.errors import StoreError
from noldo.reader import Files, open_files


@dataclass(frozen=True)
class SubsetPaths:
    """The folder (or URL) of a build and the subset in it."""

    root: str
    """Folder or URL that holds the files below, without a slash at the end."""
    subset: str
    """`nol`."""

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


def find_subset(path: str | Path, *, subset: str = "nol") -> SubsetPaths:
    """Accept `results/sandbox`, `results/sandbox/nol.zarr`, or either behind `s3://` or `gs://`.

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
