"""How well windows of shards shuffle, and how many shards they read: counted, not timed.

    python -m benchmarks.order [--locations 16384] [--per-shard 64] [--batch 128]

Orders are those of `noldo.training.sampler`; a shard is fetched when it is not among the last used ones that a cache holds.
"""

import argparse
import sys
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.records import headline, keep, machine, table, versions
from noldo.training.sampler import EpochBatches, Shares, WindowBatches

SHARE_OF_TRAIN = 0.8
"""Locations of the split, anywhere in the shards."""

WINDOWS = (1, 2, 4, 8, 16, 32, 64)
GLOBAL_CACHES = (16, 64)
"""Shards that a cache holds, to see what a global order would make of it."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--locations", type=int, default=16_384)
    parser.add_argument("--per-shard", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    arguments = parser.parse_args()
    record = compare(arguments.locations, per_shard=arguments.per_shard, batch_size=arguments.batch)
    text = page(record)
    print(text)
    print(keep(record, text, name="order"), file=sys.stderr)


def compare(num_locations: int, *, per_shard: int, batch_size: int) -> dict[str, Any]:
    """All measures of all orders; of the global one as measured and as expected."""
    rows = np.flatnonzero(np.random.default_rng(0).random(num_locations) < SHARE_OF_TRAIN)
    shards = rows // per_shard
    num_shards = len(np.unique(shards))
    shares = Shares(len(shards), batch_size=batch_size)
    windows = [one for one in WINDOWS if one < num_shards]
    orders: list[tuple[str, EpochBatches, int]] = [
        (
            f"window {one}",
            WindowBatches(shares, seed=0, shards=shards, window_shards=one),
            2 * one,
        )
        for one in windows
    ]
    orders += [
        (f"global, cache of {one}", EpochBatches(shares, seed=0), one)
        for one in GLOBAL_CACHES
        if one < num_shards
    ]
    return {
        **machine(),
        "packages": versions(("numpy",)),
        "command": f"python -m benchmarks.order --locations {num_locations} --per-shard {per_shard} --batch {batch_size}",
        "locations": num_locations,
        "samples": len(shards),
        "shards": num_shards,
        "batch_size": batch_size,
        "orders": {name: measures(order, shards, cache_shards=cache) for name, order, cache in orders},
    }


def measures(order: EpochBatches, shards: np.ndarray, *, cache_shards: int) -> dict[str, float]:
    """Of the first epoch, and of how the second one goes on from it; a uniform shuffle has 1, but for `cache` and `fetches`."""
    epochs = []
    for epoch in (0, 1):
        order.epoch = epoch
        epochs.append([np.array(batch) for batch in order])
    first, second = epochs
    return {
        "shards of a batch": shards_of_a_batch(first, shards),
        "spread of a shard": spread_of_a_shard(np.concatenate(first), shards),
        "displacement": displacement(np.concatenate(first), np.concatenate(second), len(shards)),
        "batch mates again": batch_mates_again(first, second, len(shards)),
        "cache": cache_shards,
        "fetches": fetches(shards[np.concatenate(first)].tolist(), cache_shards) / len(np.unique(shards)),
    }


def shards_of_a_batch(batches: Sequence[np.ndarray], shards: np.ndarray) -> float:
    """Mean number of different shards in a batch, of that expected when each batch is drawn from all samples without replacement."""
    found = np.mean([len(np.unique(shards[batch])) for batch in batches])
    sizes = np.unique(shards, return_counts=True)[1]
    total, size = len(shards), len(batches[0])
    others = np.array([np.log(total - sizes - step) - np.log(total - step) for step in range(size)])
    expected = (1 - np.exp(others.sum(axis=0))).sum()
    return float(found / expected)


def spread_of_a_shard(dealt: np.ndarray, shards: np.ndarray) -> float:
    """Mean distance between the positions of two samples of one shard, of that of any two, a third of an epoch."""
    position = np.empty(len(shards))
    position[:] = np.nan
    position[dealt] = np.arange(len(dealt))
    distances, pairs = 0.0, 0
    for shard in np.unique(shards):
        found = np.sort(position[(shards == shard) & ~np.isnan(position)])
        count = len(found)
        distances += float(((2 * np.arange(count) - count + 1) * found).sum())
        pairs += count * (count - 1) // 2
    return distances / pairs / (len(dealt) / 3)


def displacement(first: np.ndarray, second: np.ndarray, num_samples: int) -> float:
    """Mean distance between a sample's positions in two epochs, of that of two uniform shuffles: a third of an epoch."""
    positions = np.full((2, num_samples), np.nan)
    for place, dealt in enumerate((first, second)):
        positions[place, dealt] = np.arange(len(dealt))
    return float(np.nanmean(np.abs(positions[0] - positions[1])) / (len(first) / 3))


def batch_mates_again(first: Sequence[np.ndarray], second: Sequence[np.ndarray], num_samples: int) -> float:
    """Pairs of samples that share a batch in both epochs, of as many as chance makes."""
    batch_of = np.full((2, num_samples), -1)
    for place, batches in enumerate((first, second)):
        for number, batch in enumerate(batches):
            batch_of[place, batch] = number
    both = batch_of[:, (batch_of >= 0).all(axis=0)]
    together = np.unique(both[0] * len(second) + both[1], return_counts=True)[1]
    pairs = [np.unique(one, return_counts=True)[1] for one in both]
    chance = [(count * (count - 1) / 2).sum() for count in pairs]
    num_pairs = both.shape[1] * (both.shape[1] - 1) / 2
    return float((together * (together - 1) / 2).sum() * num_pairs / (chance[0] * chance[1]))


def fetches(shards: Sequence[int], cache_shards: int) -> int:
    """Shards that are fetched to read samples in this order, with a cache of the last used ones."""
    held: OrderedDict[int, None] = OrderedDict()
    count = 0
    for shard in shards:
        if shard in held:
            held.move_to_end(shard)
            continue
        count += 1
        held[shard] = None
        if len(held) > cache_shards:
            held.popitem(last=False)
    return count


def page(record: dict[str, Any]) -> str:
    quality = ("shards of a batch", "spread of a shard", "displacement", "batch mates again")
    rows = [
        [name, *(f"{one[key]:.2f}" for key in quality), f"{one['cache']:.0f}", f"{one['fetches']:.2f}"]
        for name, one in record["orders"].items()
    ]
    columns = ["order", *quality, "shards in the cache", "fetches of a shard"]
    return (
        headline(record, title="Order: how well windows shuffle")
        + f"\n\n{record['samples']:,} locations of train in {record['shards']:,} shards, batches of {record['batch_size']}. "
        "Ratios to a uniform shuffle (1); fetches are of an epoch, a shard.\n\n" + table(columns, rows)
    )


if __name__ == "__main__":
    main()
