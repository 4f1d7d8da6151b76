"""How near our loader comes to the disk, when nothing is cached.

    python -m benchmarks.cold [--locations 512] [--passes 3] [--threads ONE A CORE AND ONE] [--folder FOLDER]

Pages of the store are dropped before each pass. The loader then reads an epoch in random order (images of one season and labels of all), decoding
included; what counts is the stored bytes of the chunks that it had to read. The disk is measured on the same files, in the same turns: all of
them one after another, and several at once, in blocks of 8 MiB. The fastest pass of each counts. The folder must lie on the disk to be measured.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks import made_up_store
from benchmarks.page_cache import bytes_from_disk, drop, files_of
from benchmarks.reading import needed_bytes
from benchmarks.records import headline, keep, machine, table, versions
from noldo.dataset import NoldoS12
from noldo.reader import StoreReader
from noldo.ring_loader import RingLoader
from noldo.training.sampler import EpochBatches, Shares

PACKAGES = ("numpy", "numcodecs", "torch")
BLOCK_BYTES = 8 << 20
AT_ONCE = 4
"""Files that the disk is asked for at the same time; disks with queues are faster so."""
BATCH = 32
SLOTS = 4
GOAL = "T6 loader / sequential reading, bytes/s"
TARGETS = {GOAL: 0.60}
ONE, SEVERAL = "disk, one file after another", f"disk, {AT_ONCE} files at once"

Pass = Callable[[], int]
"""Gives the bytes that it needed."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--locations", type=int, default=512)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1 + (os.cpu_count() or 1), help="of the loader")
    parser.add_argument(
        "--folder", type=Path, help="keep the store here, and take it from here the next time"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = (arguments.folder or Path(scratch)) / "nol.zarr"
        if not (store / "zarr.json").exists():
            made_up_store.write(store, made_up_store.layout_of(arguments.locations))
        record = compare(store, passes=arguments.passes, threads=arguments.threads)
    record["command"] = (
        f"python -m benchmarks.cold --locations {record['locations']} --passes {record['passes']} --threads {record['threads']}"
    )
    text = page(record)
    print(text)
    print(keep(record, text, name="cold"), file=sys.stderr)


def compare(store: Path, *, passes: int, threads: int, batch: int = BATCH) -> dict[str, Any]:
    samples = NoldoS12(store, labels="all")
    order = EpochBatches(Shares(len(samples), batch_size=batch), seed=0)
    ring = RingLoader(samples, batches=order, batch_size=batch, num_threads=threads, num_slots=SLOTS)
    read_rows = _first_epoch(ring, samples)
    needed = needed_bytes(
        StoreReader.open(store), read_rows
    )  # seasons are drawn by location: of all passes alike
    assert ring.process_id is not None
    loader = f"our loader, {threads} threads"
    files = files_of(store)
    ways: dict[str, tuple[Pass, int | None]] = {
        loader: (partial(_epoch, ring, needed), ring.process_id),
        ONE: (partial(_sequential, files, 1), None),
        SEVERAL: (partial(_sequential, files, AT_ONCE), None),
    }
    per_s, from_disk, busy = (dict.fromkeys(ways, 0.0) for _ in range(3))
    for _ in range(passes):
        for name, (read, process_id) in ways.items():
            drop(files)
            before, idle_s, start = bytes_from_disk(process_id), _idle_s(), time.perf_counter()
            size = read()
            seconds = time.perf_counter() - start
            if (rate := size / seconds) > per_s[name]:
                per_s[name] = rate
                busy[name] = 1 - (_idle_s() - idle_s) / seconds / (os.cpu_count() or 1)
                from_disk[name] = (bytes_from_disk(process_id) - before) / size
    ring.close()
    return {
        **machine(),
        "packages": versions(PACKAGES),
        "locations": len(samples),
        "passes": passes,
        "threads": threads,
        "batch": batch,
        "mb_per_s": {name: value / 1e6 for name, value in per_s.items()},
        "bytes_from_disk_of_needed": from_disk,
        "processors_busy": busy,
        "samples_per_s": per_s[loader] * len(read_rows) / needed,
        "ratios": {GOAL: per_s[loader] / max(per_s[ONE], per_s[SEVERAL])},
    }


def _idle_s() -> float:
    """Of all cores together, those that wait for the disk too."""
    times = psutil.cpu_times()
    return float(times.idle + getattr(times, "iowait", 0.0))


def _first_epoch(ring: RingLoader, samples: NoldoS12) -> list[tuple[int, int]]:
    """Rows of the store and seasons, as they came; the process that reads has started then, has opened shards and read their indexes."""
    row_of = dict(zip(samples.ids.tolist(), samples.store_rows.tolist(), strict=True))
    return [
        (row_of[number], season)
        for batch in ring
        for number, season in zip(batch["id"].tolist(), batch["season"].tolist(), strict=True)
    ]


def _epoch(ring: RingLoader, needed: int) -> int:
    for _ in ring:
        pass
    return needed


def _sequential(files: Sequence[Path], at_once: int) -> int:
    with ThreadPoolExecutor(at_once) as pool:
        return sum(pool.map(_read_through, files))


def _read_through(path: Path) -> int:
    block, size = bytearray(BLOCK_BYTES), 0
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while count := os.readv(descriptor, [block]):
            size += count
    finally:
        os.close(descriptor)
    return size


def page(record: dict[str, Any]) -> str:
    shares = record["bytes_from_disk_of_needed"]
    goals = [[name, f"{record['ratios'][name]:.2f}", f">= {goal:.2f}"] for name, goal in TARGETS.items()]
    busy = record["processors_busy"]
    speeds = [
        [name, f"{value:,.0f}", f"{shares[name]:.2f}", f"{busy[name]:.0%}"]
        for name, value in record["mb_per_s"].items()
    ]
    doubt = (
        ""
        if min(shares.values()) > 0.9
        else "\n**Not all came from the disk: this was not cold; give --folder.**\n"
    )
    return (
        headline(record, title="Reading cold files")
        + f": {record['locations']} made-up locations of four seasons, batches of {record['batch']}; the fastest of {record['passes']} passes.\n\n"
        + table(["ratio", "found", "goal"], goals)
        + "\n"
        + table(
            ["way", "MB/s", "bytes from the disk / bytes needed", "processors of the machine, busy"], speeds
        )
        + f"\nThe loader gave {record['samples_per_s']:,.0f} samples/s.\n"
        + doubt
    )


if __name__ == "__main__":
    main()
