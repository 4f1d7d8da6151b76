"""Parquet files that appear whole, have a declared schema, and are the same bytes for the same rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from noldo.atomic import atomic_file
from noldo.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Row = Mapping[str, object]


def write_rows(path: Path, rows: Sequence[Row], *, schema: "pa.Schema") -> None:
    """Write rows in their order.

    Pages carry checksums, because a table that lies for months on a cluster's disk decides what is
    fetched. Nothing about the moment of writing goes in.

    Raises
    ------
    StoreError
        If the file can't be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(list(rows), schema=schema)
    with atomic_file(path) as file:
        pq.write_table(table, file, compression="zstd", version="2.6", write_page_checksum=True)


def read_rows(path: Path, *, schema: "pa.Schema", remedy: str) -> list[dict[str, object]]:
    """Rows of a table written by `write_rows`.

    Parameters
    ----------
    schema
        Names and types that the file must have.
    remedy
        What to do if the file can't be used, for the message.

    Raises
    ------
    InputError
        If the file is missing, damaged, or has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Without pyarrow's threads: at the end of a short process they may abort it (apache/arrow issue 34314).
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
            table = file.read(use_threads=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such table; {remedy}") from None
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a readable parquet file ({reason}); {remedy}") from None
    if not table.schema.equals(schema):
        raise InputError(f"{path}: columns {table.schema.names}, expected {schema.names}; {remedy}")
    return table.to_pylist()  # type: ignore[no-any-return]  # pyarrow publishes no types
