"""All STAC items of a subset as one GeoParquet table, by stac-geoparquet.

Items are read a chunk at a time. A chunk's columns follow from what its items have, so chunks are kept as parquet files
of their own until all columns are known.
"""

import filecmp
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from builders.export_item import Document
from noldo.atomic import write_errors

if TYPE_CHECKING:
    import pyarrow as pa

ITEMS_PER_CHUNK = 512
"""Items in memory at once: some 50 kB each."""


def write_items_table(path: Path, items: Iterable[Document]) -> None:
    """Write the table; without any item there is none, and an equal table is not written again.

    Parameters
    ----------
    items
        JSON of the items, all of which have a geometry.

    Raises
    ------
    StoreError
        If the disk is full, or the folder can't be written to.
    """
    from stac_geoparquet.arrow import to_parquet

    partial = path.with_name(f".{path.name}.partial")
    with write_errors(path):
        try:
            with _own_folder(path.with_name(f".{path.name}.chunks")) as folder:
                chunks = list(_spooled(items, folder))
                if not chunks:
                    return
                to_parquet(_joined(chunks), partial, compression="zstd", write_page_checksum=True)
            if not (path.is_file() and filecmp.cmp(partial, path, shallow=False)):
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    """A folder for a while; what a killed export left in it is gone first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _spooled(items: Iterable[Document], folder: Path) -> Iterator[Path]:
    """Each chunk as a parquet file."""
    import pyarrow.parquet as pq
    from stac_geoparquet.arrow import parse_stac_items_to_arrow

    remaining = iter(items)
    for number in range(1 << 31):
        chunk = list(islice(remaining, ITEMS_PER_CHUNK))
        if not chunk:
            return
        path = folder / f"{number}.parquet"
        pq.write_table(parse_stac_items_to_arrow(chunk).read_all(), path)
        yield path


def _joined(chunks: Sequence[Path]) -> "pa.RecordBatchReader":
    import pyarrow as pa

    schema = pa.unify_schemas([_read(path).schema for path in chunks], promote_options="permissive")
    batches = (batch for path in chunks for batch in _with_columns(_read(path), schema).to_batches())
    return pa.RecordBatchReader.from_batches(schema, batches)


def _read(path: Path) -> "pa.Table":
    import pyarrow.parquet as pq

    # Without pyarrow's threads: at the end of a short process they may abort it (apache/arrow issue 34314).
    with pq.ParquetFile(path, pre_buffer=False) as file:
        return file.read(use_threads=False)


def _with_columns(table: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    """The table with all columns and fields of the schema; those that it lacks are null."""
    import pyarrow as pa

    if table.schema.equals(schema):
        return table
    # Not cast: older versions of pyarrow can't add fields to a struct.
    return pa.Table.from_pylist(table.to_pylist(), schema=schema)
