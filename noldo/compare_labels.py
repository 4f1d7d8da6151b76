"""How noisy one label source of a store is, as another one sees it: every kept pixel that both label is counted.

Counts are integers and add up exactly in any order, so threads can't change a digit.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noldo.common_legend import common_legend
from noldo.confusion import Compared, LabelComparison, Pairs, comparison_of, counted, nothing
from noldo.errors import ConfigError, StoreError
from noldo.label_rows import LabelRows
from noldo.legend import LEGEND_OF_PRODUCT
from noldo.paths import find_subset
from noldo.products import ArraySpec
from noldo.reader import StoreReader
from noldo.rows import SPLITS
from noldo.shard_scan import ShardName
from noldo.status import Status
from noldo.store import StoreLayout


def compare_labels(
    path: str | Path,
    *,
    of: str,
    against: str,
    split: str | None = None,
    season: str | None = None,
    subset: str = "nol",
    label_store: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LabelComparison:
    """Confusion between two label products of a store, over its kept locations.

    Parameters
    ----------
    path
        A results folder, its store, or the URL of either.
    of
        Label product that is taken as the reference (clean): `expert`, `osm`, `dfc2020` or `dynamic_world`.
    against
        Label product whose noise is asked for.
    split
        `train`, `val` or `test`; None: all.
    season
        Name of one season; None: all, counted together.
    subset
        Which store of a results folder.
    label_store
        Another results folder (or URL) whose subset of this name holds more labels of the same rows (`noldo.label_store`); a product
        that both have is taken from this one.
    progress
        Called with (shards done, shards in all).

    Raises
    ------
    ConfigError
        If both are the same, or there is no such split or season.
    StoreError
        If there is no store, it lacks these labels, or nothing in it can be compared.
    ShardMissingError, ChunkCorruptError
        If the store is damaged: a lost shard never counts as unlabelled.
    """
    if of == against:
        raise ConfigError(f"{of} against itself agrees everywhere; name two label products")
    found = find_subset(path, subset=subset)
    reader = StoreReader.open(found.store)
    readers = [reader]
    if label_store is not None:
        readers.append(StoreReader.open(find_subset(label_store, subset=found.subset).store))
        _require_same_rows(readers[1], reader)
    arrays = _label_array(readers, of), _label_array(readers, against)
    common = common_legend(of, against)
    seasons = _seasons(reader, season)
    kept = _kept(reader, split)
    names = tuple(reader.layout.season_names[position] for position in seasons)
    what = Compared(
        store=reader.files.where,
        synthetic=bool(reader.attributes.get("synthetic")),
        reference=of,
        other=against,
        split=split,
        seasons=names,
        num_locations=int(kept.sum()),
    )
    pairs = _counted_pairs(reader.layout, arrays, kept, seasons=seasons, progress=progress)
    return comparison_of(pairs, common, what=what)


@dataclass(frozen=True)
class LabelArray:
    """A label array, and the store that it is in."""

    reader: StoreReader
    spec: ArraySpec


def _require_same_rows(labels: StoreReader, images: StoreReader) -> None:
    """Shards are compared row by row."""
    kept = np.flatnonzero(images.row_values("status") == Status.KEPT)
    is_same = np.array_equal(LabelRows.of_other(labels, images, kept).rows, kept)
    if not is_same or labels.layout.locations_per_shard != images.layout.locations_per_shard:
        raise StoreError(
            f"{labels.files.where}: other rows or shards than {images.files.where}; make the labels of this store"
        )


def _label_array(readers: Sequence[StoreReader], product: str) -> LabelArray:
    """Of the last store that has it: labels that are named beside a store are meant."""
    arrays = {
        spec.product: LabelArray(reader, spec)
        for reader in readers
        for spec in reader.layout.specs
        if spec.product in LEGEND_OF_PRODUCT
    }
    if product not in arrays:
        where = ", ".join(reader.files.where for reader in readers)
        raise StoreError(
            f"{where}: no labels {product!r}; it has {', '.join(sorted(arrays)) or 'no labels'}, and comparing needs two"
        )
    return arrays[product]


def _seasons(reader: StoreReader, season: str | None) -> Sequence[int]:
    names = reader.layout.season_names
    if season is None:
        return range(len(names))
    if season not in names:
        raise ConfigError(f"season {season!r}: {reader.files.where} has {', '.join(names)}")
    return [names.index(season)]


def _kept(reader: StoreReader, split: str | None) -> np.ndarray:
    """Bool (location,): rows that count."""
    if split is not None and split not in SPLITS:
        raise ConfigError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    kept: np.ndarray = reader.row_values("status") == Status.KEPT
    if split is not None:
        kept &= reader.row_values("split") == SPLITS.index(split)
    if not kept.any():
        which = f" in split {split}" if split else ""
        raise StoreError(f"{reader.files.where}: no location was kept{which}; `noldo info` counts them")
    return kept


def _counted_pairs(
    layout: StoreLayout,
    arrays: tuple[LabelArray, LabelArray],
    kept: np.ndarray,
    *,
    seasons: Sequence[int],
    progress: Callable[[int, int], None] | None,
) -> Pairs:
    shards = [shard for shard in range(layout.num_shards) if _rows(kept, layout.rows_of(shard)).any()]
    total = nothing()

    def count(shard: int) -> Pairs:
        return shard_pairs(arrays, shard=shard, kept=kept, seasons=seasons)

    # A thread holds one compressed shard of each array and one location; decoding lets the others run.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done, pairs in enumerate(pool.map(count, shards), start=1):
            total += pairs
            if progress is not None:
                progress(done, len(shards))
    return total


def _rows(kept: np.ndarray, rows: range) -> np.ndarray:
    found: np.ndarray = kept[rows.start : rows.stop]
    return found


def shard_pairs(
    arrays: tuple[LabelArray, LabelArray],
    *,
    shard: int,
    kept: np.ndarray,
    seasons: Sequence[int],
) -> Pairs:
    """Pairs of stored numbers in one shard of two label arrays.

    Parameters
    ----------
    arrays
        Reference and other.
    kept
        Bool (location,) of the whole store: rows that count.
    """
    layout = arrays[0].reader.layout
    reference, other = (one.reader.items(ShardName(one.spec, shard)) for one in arrays)
    pairs = nothing()
    for first, second, keep in zip(reference, other, _rows(kept, layout.rows_of(shard)), strict=True):
        if keep:
            pairs += counted(first[seasons], second[seasons])
    return pairs
