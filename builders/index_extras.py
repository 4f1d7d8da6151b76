"""Columns of the index that only some subsets have: of expert tiles, and of the screening of OpenStreetMap."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from builders.build import cut_of
from builders.config import BuildConfig
from builders.layout import Layout
from builders.metadata import DAY_MS, midnight_ms
from builders.osm_label_table import OsmLabel, read_osm_labels
from builders.records import Location, LocationOutcome
from builders.tiles import Tile, read_tiles

Row = dict[str, object]
Window = tuple[int, int, int, int]


class Extras(Protocol):
    """What a subset's index has besides the columns of all, and where in a patch its valid pixels lie."""

    columns: Sequence[str]
    """Names, of `noldo.index.optional_fields`."""

    def row(self, location: Location, outcome: LocationOutcome) -> Row:
        """Values of the columns."""
        ...

    def window(self, location: Location) -> Window:
        """First row, row stop, first column, column stop in pixels of 10 m."""
        ...


class NoExtras:
    """@NoL: a patch is valid as a whole."""

    columns: Sequence[str] = ()

    def row(self, location: Location, outcome: LocationOutcome) -> Row:
        """See `Extras`."""
        return {}

    def window(self, location: Location) -> Window:
        """See `Extras`."""
        return 0, location.grid.size_px, 0, location.grid.size_px


class TileExtras:
    """@DW: the tile and its label."""

    columns: Sequence[str] = (
        *("name", "window", "label_date", "label_days", "own_scene", "label_resampled"),
        *("biome", "hemisphere", "expert_counts"),
    )

    def __init__(self, tiles: Mapping[int, Tile]) -> None:
        self._tiles = tiles

    def row(self, location: Location, outcome: LocationOutcome) -> Row:
        """See `Extras`."""
        tile = self._tiles[location.id]
        # A refused tile may have been read several times; the scene that was stored is that of a kept one.
        choice = outcome.seasons[0].choice if outcome.seasons else None
        noon_ms = midnight_ms(tile.date) + DAY_MS // 2
        return {
            "name": tile.name,
            "window": list(tile.window) or None,
            "label_date": tile.date,
            "label_days": None if choice is None else (choice.time_s2_ms - noon_ms) / DAY_MS,
            "own_scene": None if choice is None else choice.is_labelled_scene,
            "label_resampled": tile.resampled,
            "biome": tile.biome,
            "hemisphere": tile.hemisphere,
            "expert_counts": list(tile.counts) or None,
        }

    def window(self, location: Location) -> Window:
        """See `Extras`."""
        top, bottom, left, right = self._tiles[location.id].window
        return top, bottom, left, right


class OsmExtras(TileExtras):
    """@OSM: the tile, and what became of its second label."""

    columns: Sequence[str] = (
        *TileExtras.columns,
        *("osm_counts", "osm_polygons", "osm_share", "osm_common", "osm_agreement", "osm_decision"),
    )

    def __init__(self, tiles: Mapping[int, Tile], labels: Mapping[int, OsmLabel]) -> None:
        super().__init__(tiles)
        self._labels = labels

    def row(self, location: Location, outcome: LocationOutcome) -> Row:
        """See `Extras`."""
        label = self._labels[location.id]
        was_asked = bool(label.classes)
        measured: Row = {
            "osm_counts": list(label.counts),
            "osm_polygons": label.num_polygons,
            "osm_share": label.share,
            "osm_common": label.common,
            "osm_agreement": label.agreement if label.common else None,
        }
        return {
            **super().row(location, outcome),
            **(measured if was_asked else dict.fromkeys(measured)),
            "osm_decision": label.decision,
        }


def extras_of(config: BuildConfig, layout: Layout) -> Extras:
    """The extras of a subset, read from what its steps left.

    Raises
    ------
    InputError
        If a table is missing or damaged.
    """
    if config.subset == "nol":
        return NoExtras()
    tiles = read_tiles(layout.tiles)
    if config.subset == "dw":
        return TileExtras(tiles)
    labels = (label for job in cut_of(config).jobs for label in read_osm_labels(layout.osm_labels(job)))
    return OsmExtras(tiles, {label.location_id: _without_map(label) for label in labels})


def _without_map(label: OsmLabel) -> OsmLabel:
    """The numbers alone: class maps of 4,603 tiles would be 1.2 GB."""
    return replace(label, classes=label.classes[:1])
