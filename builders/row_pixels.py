"""Where the pixels of a kept location come from when its shard is packed: its spool, its label file, another subset."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from builders.config import BuildConfig
from builders.expert_labels import read_label
from builders.layout import Layout
from builders.osm_label_table import read_osm_labels
from builders.records import Location
from builders.spool import staged_arrays
from builders.tiles import Tile, read_tiles
from noldo.errors import InputError, ShardMissingError
from noldo.products import ArraySpec
from noldo.reader import StoreReader

Arrays = Mapping[str, np.ndarray]
"""By array name: (season, band?, y, x) in the stored dtype, on the location's own grid or padded to the store's."""


class RowPixels(Protocol):
    """Pixels of the kept locations of one job."""

    def read(self, location: Location, specs: Sequence[ArraySpec]) -> Arrays:
        """Some arrays of one location, perhaps with others.

        Raises
        ------
        ShardMissingError
            If they are not there any more; says what to do.
        InputError
            If they are not what was planned with.
        """
        ...


class Spooled:
    """Images as they were fetched: subset @NoL, and the images of @DW."""

    def __init__(self, layout: Layout, *, job: int) -> None:
        self._layout = layout
        self._job = job

    def read(self, location: Location, specs: Sequence[ArraySpec]) -> Arrays:
        """See `RowPixels`."""
        staged = staged_arrays(self._layout, self._job, location.id)
        if staged is None:
            outcomes = self._layout.outcomes(self._job)
            raise ShardMissingError(
                f"{self._layout.spool(self._job)}: the pixels of location {location.id} are not staged, although "
                f"{outcomes} calls it kept; delete {outcomes} and run the build again: job {self._job} fetches what "
                "is missing"
            )
        return staged


class WithExperts:
    """@DW: images as they were fetched, and the label from its file, which must be as it was when it was planned."""

    def __init__(self, images: RowPixels, layout: Layout, *, size_px: int) -> None:
        self._images = images
        self._size_px = size_px
        self._tiles: dict[int, Tile] = read_tiles(layout.tiles)

    def read(self, location: Location, specs: Sequence[ArraySpec]) -> Arrays:
        """See `RowPixels`."""
        images = self._images.read(location, specs) if any(s.product != "expert" for s in specs) else {}
        if all(spec.product != "expert" for spec in specs):
            return images
        tile = self._tiles[location.id]
        try:
            label = read_label(Path(tile.label_file), max_side_px=self._size_px)
        except InputError as error:
            raise _changed(tile, str(error)) from None
        if label.digest() != tile.label_digest:
            raise _changed(tile, "other classes or another place than before")
        return {**images, "expert_10m": label.classes[np.newaxis]}


def _changed(tile: Tile, found: str) -> InputError:
    return InputError(
        f"{tile.label_file}: changed since the tiles were planned ({found}); restore the file, or give this build "
        "another name"
    )


class WithOsm:
    """@OSM: everything that @DW has of the tile, as it is stored there, and the class map of OpenStreetMap."""

    def __init__(self, layout: Layout, *, job: int) -> None:
        base = layout.of("dw")
        self._reader = StoreReader.open(base.store)
        self._rows = {int(one): row for row, one in enumerate(self._reader.row_values("id"))}
        self._labels = {label.location_id: label for label in read_osm_labels(layout.osm_labels(job))}

    def read(self, location: Location, specs: Sequence[ArraySpec]) -> Arrays:
        """See `RowPixels`."""
        stored = {spec.name: spec for spec in self._reader.layout.specs}
        seasons = range(len(self._reader.layout.season_names))
        row = self._rows[location.id]
        arrays = {
            spec.name: self._reader.pixels(stored[spec.name], row=row, seasons=seasons)
            for spec in specs
            if spec.name in stored
        }
        size_px = location.grid.size_px
        return {**arrays, "osm_10m": self._labels[location.id].class_map(size_px)[np.newaxis]}


def row_pixels(config: BuildConfig, layout: Layout, *, job: int) -> RowPixels:
    """The pixels of a job, wherever the subset takes them from."""
    if config.subset == "osm":
        return WithOsm(layout, job=job)
    spooled = Spooled(layout, job=job)
    return WithExperts(spooled, layout, size_px=config.patch_size_px) if config.subset == "dw" else spooled
