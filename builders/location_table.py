"""The table of all locations: parquet, one row a location in the order of the store's rows.

Rows lie in small groups, so that a job which needs 256 of a quarter of a million reads just its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from builders.records import Location
from noldo.atomic import atomic_file
from noldo.errors import InputError
from noldo.grids import Grid

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_PER_GROUP = 1024
"""A few jobs' worth: 40 kB, against a footer of 60 kB for 250,000 rows."""

_REMEDY = "delete it and run the build again"


def location_schema() -> "pa.Schema":
    """Columns of the table: the fields of `builders.records.Location`, its grid flattened."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("lon", pa.float64(), nullable=False),
            pa.field("lat", pa.float64(), nullable=False),
            pa.field("crs_epsg", pa.int32(), nullable=False),
            pa.field("x_ul", pa.int64(), nullable=False),
            pa.field("y_ul", pa.int64(), nullable=False),
            pa.field("size_px", pa.int32(), nullable=False),
            pa.field("place", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("date", pa.date32()),
            pa.field("labelled_scene", pa.string(), nullable=False),
            pa.field("refusal", pa.string(), nullable=False),
        ]
    )


def write_locations(locations: Sequence[Location], path: Path) -> None:
    """Write all locations, in their order; the same locations give the same bytes.

    Raises
    ------
    StoreError
        If the file can't be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    grids = [location.grid for location in locations]
    columns = {
        "id": [location.id for location in locations],
        "lon": [location.lon for location in locations],
        "lat": [location.lat for location in locations],
        "crs_epsg": [grid.crs_epsg for grid in grids],
        "x_ul": [grid.x_ul for grid in grids],
        "y_ul": [grid.y_ul for grid in grids],
        "size_px": [grid.size_px for grid in grids],
        "place": [location.place for location in locations],
        "split": [location.split for location in locations],
        "date": [location.date for location in locations],
        "labelled_scene": [location.labelled_scene for location in locations],
        "refusal": [location.refusal for location in locations],
    }
    table = pa.table(columns, schema=location_schema())
    with atomic_file(path) as file:
        pq.write_table(
            table,
            file,
            compression="zstd",
            version="2.6",
            row_group_size=ROWS_PER_GROUP,
            write_statistics=False,
            write_page_checksum=True,
        )


def read_locations(path: Path, start: int = 0, stop: int | None = None) -> list[Location]:
    """Locations of the rows from `start` up to, not including, `stop` (default: to the end).

    Raises
    ------
    InputError
        If the table is missing, damaged, of another make, or has fewer rows.
    """
    with _opened(path) as file:
        num_rows = file.metadata.num_rows
        last = num_rows if stop is None else stop
        if not 0 <= start <= last <= num_rows:
            raise InputError(f"{path}: rows {start} to {last} wanted, but there are {num_rows}; {_REMEDY}")
        groups = range(start // ROWS_PER_GROUP, -(-last // ROWS_PER_GROUP))
        skipped = groups.start * ROWS_PER_GROUP
        rows = (
            file.read_row_groups(list(groups), use_threads=False)
            .slice(start - skipped, last - start)
            .to_pylist()
        )
    return [_location(row) for row in rows]


def count_locations(path: Path) -> int:
    """Rows of the table.

    Raises
    ------
    InputError
        If the table is missing, damaged or of another make.
    """
    with _opened(path) as file:
        return int(file.metadata.num_rows)


@contextmanager
def _opened(path: Path) -> "Iterator[pq.ParquetFile]":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without pyarrow's threads: at the end of a short process they may abort it (apache/arrow issue 34314).
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
            if not file.schema_arrow.equals(location_schema()):
                raise InputError(
                    f"{path}: columns {file.schema_arrow.names}, expected {location_schema().names}; {_REMEDY}"
                )
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: no such table; run the build, which makes it") from None
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a readable parquet file ({reason}); {_REMEDY}") from None


def _location(row: dict[str, object]) -> Location:
    values: dict[str, object] = dict(row)
    grid = Grid(**{name: values.pop(name) for name in ("crs_epsg", "x_ul", "y_ul", "size_px")})  # type: ignore[arg-type]  # the schema was checked
    return Location(grid=grid, **values)  # type: ignore[arg-type]  # the schema was checked
