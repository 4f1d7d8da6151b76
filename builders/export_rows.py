"""The small arrays of a store as one parquet table, and back: a row a location tried, a column an array."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builders.parquet import read_rows, write_rows
from noldo.errors import StoreError
from noldo.rows import ROW_ARRAYS
from noldo.store import StoreLayout

if TYPE_CHECKING:
    import pyarrow as pa


def rows_schema() -> "pa.Schema":
    """Columns of the table: as `noldo.rows.ROW_ARRAYS`; those with a second axis are lists."""
    import pyarrow as pa

    fields = []
    for row in ROW_ARRAYS:
        one = pa.from_numpy_dtype(np.dtype(row.dtype))
        fields.append(pa.field(row.name, pa.list_(one) if row.axis else one, nullable=False))
    return pa.schema(fields)


def write_rows_table(path: Path, rows: Mapping[str, np.ndarray]) -> None:
    """Write all small arrays of a store.

    Raises
    ------
    StoreError
        If the file can't be written.
    """
    columns = {row.name: rows[row.name].tolist() for row in ROW_ARRAYS}
    lines = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    write_rows(path, lines, schema=rows_schema())


def read_rows_table(path: Path, layout: StoreLayout) -> dict[str, np.ndarray]:
    """Read them back.

    Raises
    ------
    InputError
        If the file is missing, damaged, or has other columns.
    StoreError
        If it does not fit the store.
    """
    lines = read_rows(path, schema=rows_schema(), remedy="export the store again")
    found = {}
    for row in ROW_ARRAYS:
        shape = row.shape(num_locations=layout.num_locations, num_seasons=len(layout.season_names))
        try:
            found[row.name] = np.array([line[row.name] for line in lines], dtype=row.dtype).reshape(shape)
        except ValueError:
            raise StoreError(
                f"{path}: {row.name} of {len(lines)} rows is not {shape}; it was edited: export the store again"
            ) from None
    return found
