"""Class maps of OpenStreetMap and how they were screened: one row a location of a job, in parquet."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from builders.parquet import read_rows, write_rows

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class OsmLabel:
    """What OpenStreetMap says about one tile, and whether it is believed."""

    location_id: int
    classes: bytes
    """uint8 (y, x) of the location's imagery grid, C order; empty where nothing was asked for."""
    num_polygons: int
    """Polygons that were burnt."""
    num_repaired: int
    """Of those, polygons whose geometry was invalid and was repaired."""
    num_dropped: int
    """Polygons that could not be repaired."""
    num_split: int
    """Polygons that ran across the antimeridian in one piece and were cut there; extracts count them as they are read."""
    num_enclosing: int
    """Polygons that cover the whole tile."""
    num_lines: int
    """Overpass: points, lines and areas without rings, which have a class and are left out."""
    counts: tuple[int, ...]
    """Pixels of each class in the tile's window."""
    share: float
    """Share of the window with a class (0..1)."""
    common: int
    """Pixels of the window that both sources label and whose classes can be compared."""
    agreement: float
    """Share of those in which both say the same (0..1); 0 without any."""
    decision: str
    """What the screening decided, and by which threshold, in words."""

    def class_map(self, size_px: int) -> NDArray[np.uint8]:
        """(y, x) of the imagery grid with that side."""
        return np.frombuffer(self.classes, np.uint8).reshape(size_px, size_px)


def osm_label_schema() -> "pa.Schema":
    """Columns of the table: the fields of `OsmLabel`."""
    import pyarrow as pa

    types = {
        "location_id": pa.int64(),
        "classes": pa.binary(),
        "num_polygons": pa.int32(),
        "num_repaired": pa.int32(),
        "num_dropped": pa.int32(),
        "num_split": pa.int32(),
        "num_enclosing": pa.int32(),
        "num_lines": pa.int32(),
        "counts": pa.list_(pa.int32()),
        "share": pa.float64(),
        "common": pa.int32(),
        "agreement": pa.float64(),
        "decision": pa.string(),
    }
    return pa.schema([pa.field(name, type_, nullable=False) for name, type_ in types.items()])


def write_osm_labels(path: Path, labels: Sequence[OsmLabel]) -> None:
    """Write the labels of a job, in the order of its locations.

    Raises
    ------
    StoreError
        If the file can't be written.
    """
    write_rows(path, [asdict(label) for label in labels], schema=osm_label_schema())


def read_osm_labels(path: Path) -> list[OsmLabel]:
    """The labels of a job, in the order of its locations.

    Raises
    ------
    InputError
        If the file is missing, damaged, or has other columns.
    """
    rows: list[Any] = read_rows(
        path, schema=osm_label_schema(), remedy="delete it and run the build again: the job is redone"
    )
    return [OsmLabel(**{**row, "counts": tuple(row["counts"])}) for row in rows]
