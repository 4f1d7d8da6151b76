"""Per-band statistics and class counts of a store: exact, and the same however the work was scheduled.

Every number follows from integer histograms with one bin for each value of the dtype. Histograms of shards
add up exactly in any order, so threads, clusters and retries can't change a digit; means, deviations and
percentiles are then computed once, from the total, in Python's integers.
"""

import logging
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from builders.build import cut_of
from builders.config import BuildConfig
from builders.layout import Layout
from builders.location_table import read_locations
from builders.outcome_table import read_outcomes
from noldo.atomic import write_if_changed
from noldo.errors import StoreError, StoreFormatError
from noldo.legend import LEGEND_OF_PRODUCT
from noldo.manifest import BandStatistics, Record, to_json
from noldo.metadata import SCENE_CLASSES
from noldo.products import ArraySpec
from noldo.reader import StoreReader
from noldo.shard_scan import ShardName
from noldo.status import Status
from noldo.store import StoreLayout

logger = logging.getLogger(__name__)

PERCENTILES = (1, 2, 50, 98, 99)
"""In percent. 2 and 98 stretch pictures, 1 and 99 clip outliers, 50 is the median."""

SUMMED_AT_ONCE = 8
"""Histograms added by one task: a tree of sums, so that no task waits for all shards."""


class StoreStatistics(Record):
    """What was computed over the kept rows of a store."""

    locations_kept: int
    bands: dict[str, tuple[BandStatistics, ...]]
    """Image array to one record a band."""
    class_counts: dict[str, dict[str, tuple[int, ...]]]
    """Label array to season to labelled pixels of each class."""


def run_statistics(config: BuildConfig, layout: Layout, *, threads: int = 2, scheduler: str = "") -> None:
    """Compute statistics of the kept rows and write `layout.statistics`. The store is only read.

    Parameters
    ----------
    threads
        Shards read at once, when no cluster is given.
    scheduler
        Address of a dask cluster whose workers see the store under the same path and import `builders`
        (start them in the checkout). Empty: threads of this process.

    Raises
    ------
    ShardMissingError, ChunkCorruptError
        If the store is damaged: a lost shard never counts as no data.
    StoreFormatError
        If a label array holds a class that its legend does not have.
    """
    kept = kept_rows(config, layout)
    statistics = store_statistics(
        layout.store, kept=kept, sides_px=sides_px(layout), threads=threads, scheduler=scheduler
    )
    write_if_changed(layout.statistics, to_json(statistics))
    logger.info("statistics over %s of %s locations written", statistics.locations_kept, len(kept))


def read_statistics(path: Path) -> StoreStatistics:
    """Read what `run_statistics` wrote.

    Raises
    ------
    StoreError
        If it is missing or of another make.
    """
    try:
        return StoreStatistics.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        raise StoreError(f"{path}: no statistics here; run the build again, which computes them") from None


def kept_rows(config: BuildConfig, layout: Layout) -> np.ndarray:
    """Bool (location,): which rows of the store were kept, from the outcome tables."""
    outcomes = (outcome for job in cut_of(config).jobs for outcome in read_outcomes(layout.outcomes(job)))
    return np.array([outcome.status == Status.KEPT for outcome in outcomes], bool)


def sides_px(layout: Layout) -> np.ndarray:
    """(location,) side of each location's own grid in pixels of 10 m; the store's patch may be larger."""
    return np.array([location.grid.size_px for location in read_locations(layout.locations)])


def store_statistics(
    store: Path,
    *,
    kept: np.ndarray,
    sides_px: np.ndarray | None = None,
    threads: int = 2,
    scheduler: str = "",
) -> StoreStatistics:
    """Statistics of a store over some of its rows.

    Parameters
    ----------
    kept
        Bool (location,): rows that count.
    sides_px
        Side of each location's own grid in pixels of 10 m, (location,); pixels beyond it are padding, and count as
        nothing. None: all are as large as the store's patch.
    """
    layout = StoreReader.open(store).layout
    totals = _histograms(store.resolve(), layout.specs, kept, threads=threads, scheduler=scheduler)
    return StoreStatistics(
        locations_kept=int(kept.sum()),
        bands={
            spec.name: _bands(
                spec, totals[spec.name], padding=_padding(spec, layout, kept=kept, sides_px=sides_px)
            )
            for spec in layout.specs
            if not spec.is_label
        },
        class_counts={
            spec.name: _classes(spec, totals[spec.name], seasons=layout.season_names)
            for spec in layout.specs
            if spec.is_label
        },
    )


def _histograms(
    store: Path, specs: Sequence[ArraySpec], kept: np.ndarray, *, threads: int, scheduler: str
) -> dict[str, np.ndarray]:
    """Histogram of each array, by name; see `shard_histogram` for the axes."""
    import dask

    layout = StoreReader.open(store).layout
    task = dask.delayed(shard_histogram, pure=False)
    totals = []
    for spec in specs:
        shards = range(layout.num_shards)
        parts = [
            task(store, ShardName(spec, shard), kept=kept[slice(*_ends(layout.rows_of(shard)))])
            for shard in shards
        ]
        totals.append(_summed(parts))
    with _cluster(scheduler):
        how = {} if scheduler else {"scheduler": "threads", "num_workers": threads}
        computed = dask.compute(*totals, **how)
    return {spec.name: total for spec, total in zip(specs, computed, strict=True)}


def _ends(rows: range) -> tuple[int, int]:
    return rows.start, rows.stop


def _summed(parts: list[Any]) -> Any:
    """Lazy sum of lazy histograms."""
    import dask

    add = dask.delayed(_sum, pure=False)
    while len(parts) > 1:
        parts = [add(parts[at : at + SUMMED_AT_ONCE]) for at in range(0, len(parts), SUMMED_AT_ONCE)]
    return parts[0]


def _sum(parts: list[np.ndarray]) -> np.ndarray:
    total = np.zeros_like(parts[0])
    for part in parts:
        total += part
    return total


def _cluster(scheduler: str) -> AbstractContextManager[object]:
    if not scheduler:
        return nullcontext()
    from distributed import Client

    client: AbstractContextManager[object] = Client(scheduler)
    return client


def shard_histogram(store: Path, name: ShardName, *, kept: np.ndarray) -> np.ndarray:
    """Count every value of the kept rows of one shard. Memory: the compressed shard and one location.

    Parameters
    ----------
    kept
        Bool (row of the shard,).

    Returns
    -------
    int64 (season, 1, value) for labels, (1, band, value) for images, where the first value is the dtype's
    smallest number.
    """
    reader = StoreReader.open(store)
    spec = name.spec
    num_seasons = len(reader.layout.season_names) if spec.is_label else 1
    num_bins = 1 << (8 * np.dtype(spec.dtype).itemsize)
    counts = np.zeros((num_seasons, max(len(spec.bands), 1), num_bins), np.int64)
    for item, keep in zip(reader.items(name), kept, strict=True):
        if keep:
            _count(item if spec.bands else item[:, None], counts)
    # Two's complement: read as unsigned, the negative half follows the positive one.
    return np.roll(counts, num_bins // 2, axis=-1) if np.dtype(spec.dtype).kind == "i" else counts


def _count(item: np.ndarray, counts: np.ndarray) -> None:
    """Add the values of one location (season, band, y, x) to counts (season or 1, band, value)."""
    unsigned = item.view(f"u{item.dtype.itemsize}")
    for season, bands in enumerate(unsigned):
        for band, plane in enumerate(bands):
            # As long as the largest value: 65,536 bins to clear and to add cost more than counting a coarse band.
            found = np.bincount(plane.ravel())
            counts[season % len(counts), band, : len(found)] += found


def _padding(spec: ArraySpec, layout: StoreLayout, *, kept: np.ndarray, sides_px: np.ndarray | None) -> int:
    """Pixels of one band that belong to no location's grid, over all kept locations and seasons."""
    if sides_px is None:
        return 0
    whole = spec.side_px(layout.patch_size_px) ** 2
    own = [spec.side_px(int(side)) ** 2 for side in sides_px[kept]]
    return len(layout.season_names) * sum(whole - pixels for pixels in own)


def _bands(spec: ArraySpec, counts: np.ndarray, *, padding: int) -> tuple[BandStatistics, ...]:
    if padding:
        counts = counts.copy()
        counts[:, :, spec.no_data - int(np.iinfo(spec.dtype).min)] -= padding
    return tuple(
        band_statistics(
            counts[0, position],
            band=band,
            dtype=spec.dtype,
            no_data=spec.no_data if spec.has_no_data else None,
        )
        for position, band in enumerate(spec.bands)
    )


def _classes(spec: ArraySpec, counts: np.ndarray, *, seasons: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Season to pixels of each class.

    Raises
    ------
    StoreFormatError
        If there are pixels of a class that the legend does not have.
    """
    legend = LEGEND_OF_PRODUCT.get(spec.product)
    num_classes = len(SCENE_CLASSES if legend is None else legend.classes)
    strange = [
        value
        for value in np.flatnonzero(counts.sum(axis=(0, 1))).tolist()
        if value >= num_classes and value != spec.no_data
    ]
    if strange:
        raise StoreFormatError(
            f"{spec.name}: holds class {strange[0]}, but its legend ends at {num_classes - 1} and {spec.no_data} "
            "is no data; delete its shards and run the build again"
        )
    return {name: tuple(counts[season, 0, :num_classes].tolist()) for season, name in enumerate(seasons)}


def band_statistics(counts: np.ndarray, *, band: str, dtype: str, no_data: int | None) -> BandStatistics:
    """Statistics of one band from its histogram, rounded once, to the nearest float.

    Parameters
    ----------
    counts
        int64 (value,), as one band of `shard_histogram`.
    no_data
        The value that is no data; it is counted apart. None: every number is data.
    """
    first = int(np.iinfo(dtype).min)
    total = int(counts.sum())
    present = counts.copy()
    if no_data is not None:
        present[no_data - first] = 0
    bins = np.flatnonzero(present)
    numbers = [index + first for index in bins.tolist()]
    weights = present[bins].tolist()
    count = sum(weights)
    if not count:
        return BandStatistics(
            band=band,
            count=0,
            no_data_share=float(total > 0),
            mean=None,
            std=None,
            minimum=None,
            maximum=None,
        )
    mean = Fraction(sum(n * w for n, w in zip(numbers, weights, strict=True)), count)
    squares = Fraction(sum(n * n * w for n, w in zip(numbers, weights, strict=True)), count)
    return BandStatistics(
        band=band,
        count=count,
        no_data_share=(total - count) / total,
        mean=float(mean),
        std=math.sqrt(squares - mean * mean),
        minimum=numbers[0],
        maximum=numbers[-1],
        percentiles={percent: _percentile(numbers, weights, percent) for percent in PERCENTILES},
    )


def _percentile(numbers: Sequence[int], weights: Sequence[int], percent: int) -> int:
    """Least number that at least so many percent reach: `numpy.percentile(method="inverted_cdf")`."""
    cumulated = np.cumsum(np.array(weights, np.int64))
    wanted = -(-int(cumulated[-1]) * percent // 100)
    return numbers[int(np.searchsorted(cumulated, wanted))]
