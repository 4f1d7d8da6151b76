"""Rows of the index of an import, and the note that each shard leaves of its own: what is needed to go on after a kill.

A note is a parquet file with the columns of the final index, and in its schema's metadata what was counted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builders.import_items import ImportPlan, Item, Placement
from builders.outlines import outlines
from builders.parquet import read_rows, write_rows
from noldo.errors import InputError
from noldo.index import extended_schema
from noldo.legend import LEGEND_OF_PRODUCT
from noldo.products import ArraySpec
from noldo.status import Status

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
Window = tuple[int, int, int, int]

COLUMNS = ("name", "window", "georeference", "source_crs", "source_bounds")
"""Optional columns that every import has."""

_COUNTED = b"counted"
_OWN_COUNTS = "dynamic_world"
"""Label product whose counts stand in `class_counts`, a list a season; others have a column of their own."""


def schema_of(plan: ImportPlan) -> "pa.Schema":
    """Columns of the index."""
    counts = [_counts_column(spec) for spec in plan.specs if spec.is_label and spec.product != _OWN_COUNTS]
    return extended_schema([*COLUMNS, *counts, *plan.columns])


def _counts_column(spec: ArraySpec) -> str:
    return f"{spec.product}_counts"


@dataclass(frozen=True)
class ShardNote:
    """What one shard tells the index."""

    rows: tuple[Row, ...]
    """In row order, with the columns of `schema_of`."""
    counted: Mapping[str, int] = field(default_factory=dict)
    """As `Reading.counted`, summed over kept rows."""


def write_note(path: Path, note: ShardNote, plan: ImportPlan) -> None:
    """Write the note of a shard; it appears whole."""
    schema = schema_of(plan)
    counted = json.dumps(dict(sorted(note.counted.items()))).encode()
    write_rows(path, note.rows, schema=schema.with_metadata({**schema.metadata, _COUNTED: counted}))


def read_note(path: Path, plan: ImportPlan) -> ShardNote | None:
    """The note of a shard, or None if there is none that can be used.

    A damaged note counts as absent: the shard's items are then read again.
    """
    import pyarrow.parquet as pq

    try:
        rows = read_rows(path, schema=schema_of(plan), remedy="its items are read again")
    except InputError:
        return None
    metadata = pq.read_schema(path).metadata
    return ShardNote(tuple(rows), json.loads(metadata[_COUNTED]))


def row_of(
    item: Item,
    placement: Placement,
    *,
    row: int,
    shard: int,
    status: Status,
    reason: str,
    columns: Mapping[str, object],
) -> Row:
    """One row of the index."""
    grid = placement.grid
    return {
        "id": item.id,
        "status": status.name.lower(),
        "reason": reason,
        "split": item.split,
        "place": item.place,
        "lon": placement.lon,
        "lat": placement.lat,
        "crs_epsg": grid.crs_epsg if grid else 0,
        "x_ul": grid.x_ul if grid else 0,
        "y_ul": grid.y_ul if grid else 0,
        "transform": list(map(float, grid.transform())) if grid else None,
        "shard": shard,
        "row": row,
        "geometry": _outline(placement),
        "name": item.name,
        "georeference": placement.georeference,
        "source_crs": placement.source_crs,
        "source_bounds": list(placement.source_bounds) if placement.source_bounds else None,
        **item.columns,
        **columns,
    }


def _outline(placement: Placement) -> bytes | None:
    import shapely

    if placement.grid is None:
        return None
    found: bytes = shapely.to_wkb(outlines([placement.grid])[0])
    return found


def label_columns(
    arrays: Mapping[str, np.ndarray], specs: Sequence[ArraySpec], *, num_pixels: int
) -> dict[str, object]:
    """Class counts of all label arrays, and the labelled share of the subset's noisy labels.

    Parameters
    ----------
    arrays
        By array name, (season, y, x).
    num_pixels
        Valid pixels of a season.
    """
    columns: dict[str, object] = {}
    for spec in specs:
        if not spec.is_label or spec.product not in LEGEND_OF_PRODUCT:
            continue
        counts = class_counts(arrays[spec.name], spec)
        if spec.product == _OWN_COUNTS:
            columns["class_counts"] = counts
            columns["label_share"] = [sum(season) / num_pixels for season in counts]
        else:
            columns[_counts_column(spec)] = [sum(column) for column in zip(*counts, strict=True)]
    return columns


def class_counts(labels: np.ndarray, spec: ArraySpec) -> list[list[int]]:
    """(season, class) pixels of a label array."""
    num_classes = len(LEGEND_OF_PRODUCT[spec.product].classes)
    return [np.bincount(season.ravel(), minlength=256)[:num_classes].tolist() for season in labels]
