"""The part of the index that the store can be held against, as arrays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noldo.index import read_index
from noldo.legend import LEGEND_OF_PRODUCT
from noldo.products import CLEAN_LABELS, NUM_DYNAMIC_WORLD_CLASSES
from noldo.rows import NO_TIME, SPLITS, UNSET
from noldo.status import Status
from noldo.store import StoreLayout

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN = -1
"""Code of a word that this format does not know."""

MAX_NAMED = 5
"""Locations named in one message; the others are counted."""

BATCH_ROWS = 4096


@dataclass(frozen=True)
class IndexColumns:
    """One entry a row of the index, in its order."""

    values: Mapping[str, np.ndarray]
    """(location,) of `id`, `status`, `split` (as codes), `crs_epsg`, `x_ul`, `y_ul`, `shard`, `row`."""
    times: Mapping[str, np.ndarray]
    """`time_s2`, `time_s1`: (location, season) seconds since 1970; `NO_TIME` where the index has none."""
    class_counts: np.ndarray
    """(location, season, class) pixels of Dynamic World; 0 where the index has none."""
    label_counts: Mapping[str, np.ndarray]
    """Clean label product to (location, class) pixels, of those that the index counts; 0 where it has none."""

    def __len__(self) -> int:
        """Rows of the index."""
        return len(self.class_counts)


def read_index_columns(path: Path, *, num_seasons: int) -> IndexColumns:
    """Read them from `nol.parquet`, a batch of rows at a time.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    StoreError
        If there is no index.
    StoreFormatError
        If it is of another format.
    """
    table = read_index(path)
    codes = {
        "status": {status.name.lower(): int(status) for status in Status},
        "split": {name: code for code, name in enumerate(SPLITS)} | {"": UNSET},
    }
    values = {
        name: table.column(name).to_numpy() for name in ("id", "crs_epsg", "x_ul", "y_ul", "shard", "row")
    }
    for name, code in codes.items():
        words = table.column(name).to_pylist()
        values[name] = np.array([code.get(word, UNKNOWN) for word in words], dtype=np.int64)
    return IndexColumns(
        values=values,
        times={name: _seconds(table, name, num_seasons=num_seasons) for name in ("time_s2", "time_s1")},
        class_counts=_class_counts(table, num_seasons=num_seasons),
        label_counts={
            product: _label_counts(table, product)
            for product in CLEAN_LABELS
            if f"{product}_counts" in table.column_names
        },
    )


def _label_counts(table: "pa.Table", product: str) -> np.ndarray:
    counts = np.zeros((table.num_rows, len(LEGEND_OF_PRODUCT[product].classes)), dtype=np.int64)
    for row, classes in enumerate(table.column(f"{product}_counts").to_pylist()):
        if classes is not None and len(classes) == counts.shape[1]:
            counts[row] = classes
    return counts


def _seconds(table: "pa.Table", name: str, *, num_seasons: int) -> np.ndarray:
    import pyarrow as pa

    milliseconds = table.column(name).cast(pa.list_(pa.int64()))
    seconds = np.full((table.num_rows, num_seasons), NO_TIME, dtype=np.int64)
    for row, times in enumerate(milliseconds.to_pylist()):
        for season, time in enumerate((times or [])[:num_seasons]):
            seconds[row, season] = NO_TIME if time is None else time // 1000
    return seconds


def _class_counts(table: "pa.Table", *, num_seasons: int) -> np.ndarray:
    counts = np.zeros((table.num_rows, num_seasons, NUM_DYNAMIC_WORLD_CLASSES), dtype=np.int64)
    row = 0
    for batch in table.select(["class_counts"]).to_batches(max_chunksize=BATCH_ROWS):
        for seasons in batch.column(0).to_pylist():
            for season, classes in enumerate((seasons or [])[:num_seasons]):
                if classes is not None and len(classes) == NUM_DYNAMIC_WORLD_CLASSES:
                    counts[row, season] = classes
            row += 1
    return counts


def compare(index: IndexColumns, rows: Mapping[str, np.ndarray], layout: StoreLayout) -> Iterator[str]:
    """One line for each column in which index and store differ.

    Parameters
    ----------
    rows
        The small arrays that could be read, by name.
    """
    if len(index) != layout.num_locations:
        yield (
            f"index: {len(index)} rows, but the store has {layout.num_locations} locations; run the build again"
        )
        return
    position = np.arange(layout.num_locations)
    stored = {**rows, "row": position, "shard": position // layout.locations_per_shard}
    ids = stored.get("id", index.values["id"])
    for name, values in index.values.items():
        if name in stored:
            yield from _difference(name, ids[values != stored[name]])
    kept = index.values["status"] == Status.KEPT
    for name, values in index.times.items():
        if name in stored:
            yield from _difference(name, ids[kept & (values != stored[name]).any(axis=1)])


def _difference(name: str, ids: np.ndarray) -> Iterator[str]:
    if len(ids):
        named = ", ".join(str(one) for one in ids[:MAX_NAMED])
        more = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
        yield f"index: {name} of location {named}{more} is not what the store has; run the build again"
