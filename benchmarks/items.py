"""What one item of training costs, beside the item path of the authors of CromSS.

    python -m benchmarks.items [--locations 256] [--repeats 5] [--folder FOLDER]

Both hold the same made-up pixels, ours as they were measured, theirs as bytes (`benchmarks.peers.cromss`), and both give what a step with label
smoothing needs: images of one season, and the prior, or the labels of all seasons from which the trainer computes it on its device. Warm: one
thread, by CPU, the fastest turn; cold: pages dropped, eight threads, by the clock, the fastest turn. The folder must lie on the disk to
be measured.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import made_up_store
from benchmarks.page_cache import bytes_from_disk, drop, files_of
from benchmarks.peers.cromss import CromssItems, write_lmdbs
from benchmarks.peers.locations import location_of
from benchmarks.records import headline, keep, machine, table, versions
from benchmarks.turns import best_seconds
from noldo.dataset import NoldoS12
from noldo.method.smoothing import label_prior
from noldo.products import NUM_DYNAMIC_WORLD_CLASSES
from noldo.reader import StoreReader
from noldo.training.recipe import Augmentation

PACKAGES = ("numpy", "scipy", "numcodecs", "lmdb", "torch")
COLD_THREADS = 8
MOST_SLOW_ITEMS = 32
"""Of a way that smooths, in one warm turn: an item takes tens of milliseconds."""
TARGETS = {"T9 warm, one core": 25.0, "T9 cold, eight threads": 40.0}
OURS, THEIRS = "our item", "authors' item, with smoothing"

Item = Callable[[int], object]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--locations", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, help="keep the files here, and take them from here the next time"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        prepare(folder, made_up_store.layout_of(arguments.locations))
        record = compare(folder, repeats=arguments.repeats)
    record["command"] = (
        f"python -m benchmarks.items --locations {record['locations']} --repeats {record['repeats']}"
    )
    text = page(record)
    print(text)
    print(keep(record, text, name="items"), file=sys.stderr)


def prepare(folder: Path, layout: Any) -> None:
    """The store and the LMDBs of the same pixels, unless they are there."""
    store, lmdbs = _paths(folder)
    if not (store / "zarr.json").exists():
        made_up_store.write(store, layout)
    if not lmdbs.exists():
        reader = StoreReader.open(store)
        write_lmdbs(lmdbs, (location_of(reader, row) for row in range(reader.layout.num_locations)))


def compare(folder: Path, *, repeats: int, augmentation: Augmentation | None = None) -> dict[str, Any]:
    """Rates of all ways.

    Parameters
    ----------
    augmentation
        Of the row that has it; None: as published.
    """
    samples = NoldoS12(_paths(folder)[0], labels="all")
    order = np.random.default_rng(0).permutation(len(samples)).tolist()
    warm = _warm(folder, order, repeats=repeats, augmentation=augmentation or Augmentation())
    cold, from_disk = _cold(folder, order, repeats=repeats)
    theirs_cold = max(value for name, value in cold.items() if name != OURS)
    return {
        **machine(),
        "packages": versions(PACKAGES),
        "locations": len(samples),
        "repeats": repeats,
        "warm_per_s": warm,
        "cold_per_s": cold,
        "cold_kb_from_disk": {name: value / 1e3 for name, value in from_disk.items()},
        "ratios": {
            "T9 warm, one core": warm[OURS] / warm[THEIRS],
            "T9 cold, eight threads": cold[OURS] / theirs_cold,
        },
    }


def _paths(folder: Path) -> tuple[Path, Path]:
    return folder / "nol.zarr", folder / "lmdb"


def _warm(
    folder: Path, order: Sequence[int], *, repeats: int, augmentation: Augmentation
) -> dict[str, float]:
    store, lmdbs = _paths(folder)
    samples = NoldoS12(store, labels="all")
    few = order[:MOST_SLOW_ITEMS]
    open_items = {
        THEIRS: CromssItems(lmdbs),
        "authors' item, without smoothing": CromssItems(lmdbs, smoothing=False),
        "authors' item, with smoothing, cropped, flipped and rotated": CromssItems(
            lmdbs, augmentation=augmentation
        ),
    }
    ways: dict[str, tuple[Item, Sequence[int]]] = {
        OURS: (samples.__getitem__, order),
        "our item, and our smoothing on the CPU": (partial(_smoothed, samples), few),
    }
    per_s = _rates(ways, repeats=repeats)
    # One after another: LMDB opens a file once in a process.
    for name, items in open_items.items():
        per_s |= _rates({name: (items.__getitem__, few)}, repeats=repeats)
        items.close()
    return per_s


def _rates(ways: dict[str, tuple[Item, Sequence[int]]], *, repeats: int) -> dict[str, float]:
    turns = {name: partial(_each, item, order) for name, (item, order) in ways.items()}
    seconds = best_seconds(turns, repeats=repeats)
    return {name: len(ways[name][1]) / value for name, value in seconds.items()}


def _each(item: Item, order: Sequence[int]) -> None:
    for index in order:
        item(index)


def _smoothed(samples: NoldoS12, index: int) -> torch.Tensor:
    """What the trainer does on its device, for one sample."""
    sample = samples[index]
    return label_prior(
        sample["mask"][None], torch.tensor([sample["season"]]), num_classes=NUM_DYNAMIC_WORLD_CLASSES
    )


def _cold(folder: Path, order: Sequence[int], *, repeats: int) -> tuple[dict[str, float], dict[str, float]]:
    """Samples a second, and bytes that a sample brought from the disk."""
    store, lmdbs = _paths(folder)
    ways = {
        OURS: partial(_cold_ours, store, order),
        "authors' item, with smoothing, LMDB without readahead": partial(_cold_theirs, lmdbs, order, False),
        "authors' item, with smoothing, LMDB with readahead": partial(_cold_theirs, lmdbs, order, True),
    }
    best, from_disk = dict.fromkeys(ways, float("inf")), dict.fromkeys(ways, 0.0)
    for _ in range(repeats):
        for name, turn in ways.items():
            seconds, fetched = turn()
            if seconds < best[name]:
                best[name], from_disk[name] = seconds, fetched / len(order)
    return {name: len(order) / seconds for name, seconds in best.items()}, from_disk


def _cold_ours(store: Path, order: Sequence[int]) -> tuple[float, int]:
    samples = NoldoS12(store, labels="all")
    drop(files_of(store))
    return _threaded(samples.__getitem__, order)


def _cold_theirs(lmdbs: Path, order: Sequence[int], readahead: bool) -> tuple[float, int]:
    drop(files_of(lmdbs))
    items = CromssItems(lmdbs, readahead=readahead)
    items.open()  # after the drop: mapped pages stay
    found = _threaded(items.__getitem__, order)
    items.close()
    return found


def _threaded(item: Item, order: Sequence[int]) -> tuple[float, int]:
    """Seconds, and bytes from the disk."""
    with ThreadPoolExecutor(COLD_THREADS) as pool:
        before, start = bytes_from_disk(), time.perf_counter()
        for _ in pool.map(item, order):
            pass
        return time.perf_counter() - start, bytes_from_disk() - before


def _ratio_of_bytes(kb: dict[str, float]) -> str:
    return f"{max(kb.values()) / kb[OURS]:.1f}" if kb[OURS] else "not known"


def page(record: dict[str, Any]) -> str:
    goals = [[name, f"{record['ratios'][name]:.1f}", f">= {goal:.0f}"] for name, goal in TARGETS.items()]
    warm = [[name, f"{value:,.0f}", f"{1e6 / value:,.0f}"] for name, value in record["warm_per_s"].items()]
    kb = record["cold_kb_from_disk"]
    cold = [[name, f"{value:,.0f}", f"{kb[name]:,.0f}"] for name, value in record["cold_per_s"].items()]
    doubt = (
        "" if min(kb.values()) > 0 else "\n**Nothing came from a disk: this was not cold; give --folder.**\n"
    )
    return (
        headline(record, title="Items")
        + f": {record['locations']} made-up locations of four seasons; the fastest of {record['repeats']} turns of each way.\n\n"
        "Our item holds integers at native resolution and the labels of all seasons. **It is not smoothed: the trainer does that on its device, from "
        "those integers**, and the authors' item is, on the CPU. A row says what our item costs where the CPU smooths it too. The authors' item is "
        "re-implemented from its description (`benchmarks/peers/cromss.py` says what was not known); the ratios take the item without crop and "
        "turns, and cold the faster of its two ways to read ahead.\n\n"
        + table(["ratio of samples a second", "found", "goal"], goals)
        + "\n"
        + table(["warm, one core", "samples/s", "microseconds a sample"], warm)
        + "\n"
        + table(["cold, eight threads", "samples/s", "kB from the disk a sample"], cold)
        + f"\nWhere the disk is the limit of both, the ratio is that of their bytes: {_ratio_of_bytes(kb)}.\n"
        + doubt
    )


if __name__ == "__main__":
    main()
