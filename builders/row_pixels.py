"""Where the pixels of a kept location come from when its shard is packed: its spool, its label file, another subset."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from builders.config import BuildConfig
from builders.layout import Layout
from builders.osm_label_table import read_osm_labels
from builders.records import Location
from builders.spool import staged_arrays
from builders.tiles import Tile, read_planned_label, read_tiles
from noldo.errors import ShardMissingError
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
        label = read_planned_label(self._tiles[location.id], max_side_px=self._size_px)
        return {**images, "expert_10m": label.classes[np.newaxis]}


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
