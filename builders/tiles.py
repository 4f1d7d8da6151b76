"""The places of @DW: every tile of the tables, its label read and checked, and its imagery grid fixed. The first step.

A tile whose label can't be used keeps its place in the build, with its refusal; nothing is asked for on its account.
"""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builders.acceptance import percent
from builders.config import BuildConfig
from builders.expert_labels import ExpertLabel, label_files, read_label
from builders.layout import Layout
from builders.location_table import write_locations
from builders.parquet import read_rows, write_rows
from builders.patches import centres, place_patches
from builders.points import NUM_NAMED
from builders.records import Location
from builders.splits import assign_splits
from builders.tile_table import TileRow, read_tile_tables
from builders.tiles_of_sandbox import LABEL_FOLDER, META_FILE, TABLE_FILE
from noldo.errors import InputError
from noldo.grids import Grid

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

VALIDATION_SIDE_PX = 512
"""Side of the published validation tiles; training tiles have 510."""


@dataclass(frozen=True)
class Tile:
    """What is known of one tile besides its location; one row of `Layout.tiles`."""

    location_id: int
    name: str
    """As published."""
    date: dt.date
    """Of the labelled image."""
    biome: str
    hemisphere: str
    label_file: str
    """Path of the GeoTIFF; empty if there is none."""
    label_digest: str
    """`ExpertLabel.digest` when the tile was planned; empty where the label can't be used."""
    window: tuple[int, ...]
    """First row, row stop, first column, column stop in the imagery grid; empty where the label can't be used."""
    resampled: bool
    """The label was off the 10 m lattice."""
    counts: tuple[int, ...]
    """Pixels of each class; empty where the label can't be used."""


def tile_schema() -> "pa.Schema":
    """Columns of the table of tiles: the fields of `Tile`."""
    import pyarrow as pa

    counts = pa.list_(pa.int32())
    types = {
        "location_id": pa.int64(),
        "name": pa.string(),
        "date": pa.date32(),
        "biome": pa.string(),
        "hemisphere": pa.string(),
        "label_file": pa.string(),
        "label_digest": pa.string(),
        "window": counts,
        "resampled": pa.bool_(),
        "counts": counts,
    }
    return pa.schema([pa.field(name, type_, nullable=False) for name, type_ in types.items()])


def read_tiles(path: Path) -> dict[int, Tile]:
    """Tiles of a build by the id of their location.

    Raises
    ------
    InputError
        If the table is missing, damaged or of another make.
    """
    rows: list[Any] = read_rows(
        path, schema=tile_schema(), remedy="delete it and run the build again: the tiles are planned again"
    )
    sequences = ("window", "counts")
    return {
        row["location_id"]: Tile(**{**row, **{name: tuple(row[name]) for name in sequences}}) for row in rows
    }


def read_planned_label(tile: Tile, *, max_side_px: int) -> ExpertLabel:
    """The label of a tile, which must be as it was when the tile was planned.

    Raises
    ------
    InputError
        If the file is gone or holds something else.
    """
    try:
        label = read_label(Path(tile.label_file), max_side_px=max_side_px)
    except InputError as error:
        raise _changed(tile, str(error)) from None
    if label.digest() != tile.label_digest:
        raise _changed(tile, "other classes or another place than before")
    return label


def _changed(tile: Tile, found: str) -> InputError:
    return InputError(
        f"{tile.label_file}: changed since the tiles were planned ({found}); restore the file, or give this build "
        "another name"
    )


def run_tiles(config: BuildConfig, layout: Layout) -> None:
    """Plan all tiles; write the tables of tiles and of locations.

    Parameters
    ----------
    config
        Of subset @DW.

    Raises
    ------
    InputError
        If a table or a folder of labels can't be used, or there are more or fewer tiles than the config says.
    StoreError
        If a table can't be written.
    """
    tables, folders = tile_sources(config, layout)
    rows = read_tile_tables(tables)
    _check_count(config, tables, rows)
    files = label_files(folders)
    _name_strangers(files, rows)
    planned = [_Planned.of(row, files.get(row.name), config=config) for row in rows]
    locations = _locations(config, planned)
    write_rows(
        layout.tiles, [asdict(one.tile(number)) for number, one in enumerate(planned)], schema=tile_schema()
    )
    write_locations(locations, layout.locations)
    _tell(locations, layout.locations)


def tile_sources(config: BuildConfig, layout: Layout) -> tuple[Sequence[Path], Sequence[Path]]:
    """Tables and folders of labels: the user's own, or those that the sandbox wrote for this build."""
    assert config.dw is not None, "subset @DW exists only with a section `dw`"
    if config.dw.tables:
        return config.dw.tables, config.dw.labels
    own = layout.expert_files
    return [own / TABLE_FILE, own / META_FILE], [own / LABEL_FOLDER]


@dataclass(frozen=True)
class _Planned:
    """A tile on its way to a location."""

    row: TileRow
    file: Path | None
    label: ExpertLabel | None
    """None if it can't be used."""
    refusal: str

    @classmethod
    def of(cls, row: TileRow, file: Path | None, *, config: BuildConfig) -> "_Planned":
        if file is None:
            return cls(row, None, None, "no label file of this tile")
        try:
            label = read_label(file, max_side_px=config.patch_size_px)
        except InputError as error:
            return cls(row, file, None, str(error))
        assert config.dw is not None
        wanted = config.dw.min_marked_share
        if label.marked_share < wanted or not sum(label.counts):
            return cls(
                row,
                file,
                label,
                f"experts marked {percent(label.marked_share)} of the tile, {percent(wanted)} wanted",
            )
        return cls(row, file, label, "")

    def tile(self, location_id: int) -> Tile:
        label = self.label
        return Tile(
            location_id=location_id,
            name=self.row.name,
            date=self.row.date,
            biome=self.row.biome,
            hemisphere=self.row.hemisphere,
            label_file="" if self.file is None else str(self.file),
            label_digest="" if label is None else label.digest(),
            window=() if label is None else label.window,
            resampled=label is not None and label.resampled,
            counts=() if label is None else label.counts,
        )

    @property
    def is_validation(self) -> bool:
        return self.row.is_validation or (self.label is not None and self.label.side_px == VALIDATION_SIDE_PX)


def _check_count(config: BuildConfig, tables: Sequence[Path], rows: Sequence[TileRow]) -> None:
    if len(rows) != config.locations.count:
        raise InputError(
            f"{', '.join(str(path) for path in tables)}: {len(rows)} tiles, but dw.count is {config.locations.count}; "
            f"set `count: {len(rows)}`, because the plan of jobs follows from it"
        )


def _name_strangers(files: Mapping[str, Path], rows: Sequence[TileRow]) -> None:
    strangers = sorted(files.keys() - {row.name for row in rows})
    if strangers:
        logger.warning(
            "%d label files are of no tile in the tables and are not used: %s%s",
            len(strangers),
            ", ".join(strangers[:NUM_NAMED]),
            " ..." if len(strangers) > NUM_NAMED else "",
        )


def _locations(config: BuildConfig, planned: Sequence[_Planned]) -> list[Location]:
    grids = [one.label.grid if one.label else _guessed_grid(one.row) for one in planned]
    lon, lat = centres(grids)
    if config.split.by == "published":
        splits = ["test" if one.is_validation else "train" for one in planned]
    else:
        splits = assign_splits(lon, lat, config.split)
    return [
        Location(
            id=number,
            lon=float(lon[number]),
            lat=float(lat[number]),
            grid=grids[number],
            place=one.row.name,
            split=splits[number],
            date=one.row.date,
            labelled_scene=one.row.labelled_scene,
            refusal=one.refusal,
        )
        for number, one in enumerate(planned)
    ]


def _guessed_grid(row: TileRow) -> Grid:
    """Where the tables say that a tile lies whose label does not tell; such a tile is never fetched."""
    places = [(row.lon, row.lat), (0.0, 0.0)]
    for lon, lat in places:
        with suppress(InputError):  # no place in UTM, or no number
            if lon is not None and lat is not None:
                return place_patches(np.array([lon]), np.array([lat]), size_px=510).grids[0]
    raise AssertionError("0, 0 lies in UTM")


def _tell(locations: Sequence[Location], path: Path) -> None:
    refused = [location for location in locations if location.refusal]
    for location in refused:
        logger.info("tile %s: %s", location.place, location.refusal)
    splits = [location.split or "none" for location in locations]
    logger.info(
        "%d tiles (%s), %d of them without a usable label, written to %s",
        len(locations),
        ", ".join(f"{splits.count(name)} {name}" for name in sorted(set(splits))),
        len(refused),
        path,
    )
