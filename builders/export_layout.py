"""Where each file of an export lies. Standard library only."""

import re
from dataclasses import dataclass
from pathlib import Path

from noldo.errors import ConfigError

_SAFE = re.compile(r"[A-Za-z0-9_.-]+")


def asset_key(season: str, array: str) -> str:
    """Name of one file of a location without its end, which is also its key in the STAC item.

    Raises
    ------
    ConfigError
        If the season's name can't be part of a file's name.
    """
    if not _SAFE.fullmatch(season):
        raise ConfigError(
            f"season {season!r} can't be part of a file name; letters, digits, `_`, `.` and `-` can"
        )
    return f"{season}_{array}"


@dataclass(frozen=True)
class ExportLayout:
    """Paths of one subset in a folder of exports."""

    root: Path
    """Holds `catalog.json` and a folder a subset."""
    subset: str

    @property
    def catalog(self) -> Path:
        """STAC catalogue of all subsets that were exported to this folder."""
        return self.root / "catalog.json"

    @property
    def folder(self) -> Path:
        """Everything of the subset."""
        return self.root / self.subset

    @property
    def collection(self) -> Path:
        """STAC collection."""
        return self.folder / "collection.json"

    @property
    def items_table(self) -> Path:
        """All items with a geometry, by stac-geoparquet."""
        return self.folder / "items.parquet"

    @property
    def index(self) -> Path:
        """Copy of the index."""
        return self.folder / f"{self.subset}.parquet"

    @property
    def manifest(self) -> Path:
        """Copy of the manifest."""
        return self.folder / f"{self.subset}.json"

    @property
    def run(self) -> Path:
        """Copy of the run record."""
        return self.folder / f"{self.subset}.run.json"

    @property
    def group(self) -> Path:
        """Copy of the store's own `zarr.json`: arrays, seasons, attributes."""
        return self.folder / f"{self.subset}.zarr.json"

    @property
    def rows(self) -> Path:
        """The store's small arrays, one row a location tried, as parquet."""
        return self.folder / f"{self.subset}.rows.parquet"

    def location(self, location_id: int) -> Path:
        """Folder of one location."""
        return self.folder / str(location_id)

    def item(self, location_id: int) -> Path:
        """STAC item of one location: written when all its files are there."""
        return self.location(location_id) / f"{location_id}.json"

    def file(self, location_id: int, key: str, *, end: str = ".tif") -> Path:
        """A GeoTIFF, or what lies beside it."""
        return self.location(location_id) / f"{key}{end}"
