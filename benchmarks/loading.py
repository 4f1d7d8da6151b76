"""How fast batches arrive, beside the loaders that people have.

    python -m benchmarks.loading [--locations 256] [--passes 5] [--store FOLDER]

Batches of 32 samples (13 bands of L1C and 2 of Sentinel-1 of one season, labels of all) are only received, four epochs a pass. All ways are taken in
turns; the fastest pass of each counts, without the first, in which processes start. Then our loader, with a core less, beside a trainer
that keeps the interpreter busy and beside one that only waits.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks import made_up_store
from benchmarks.reading import open_tensorstore
from benchmarks.records import headline, keep, machine, table, versions
from noldo.dataset import NoldoS12
from noldo.metadata import grid_of
from noldo.reader import StoreReader
from noldo.ring_loader import RingLoader
from noldo.training.sampler import EpochBatches, Shares

PACKAGES = ("numpy", "numcodecs", "zarr", "tensorstore", "torch")
BATCH = 32
THREADS = 2
SLOTS = 4
EPOCHS = 4
"""Of a pass: one of eight batches would be its first and its last ones."""
TARGETS = {
    "T3 loader / DataLoader(2) on zarr-python": 6.0,
    "T3 loader / DataLoader(2) on tensorstore": 3.0,
    "T3 loader / DataLoader(2) on decoded memory maps": 2.5,
    "T4 with a core less, beside a Python-bound trainer / beside an idle one": 0.90,
    "T11 allowed memory / peak memory of the loader's process": 1.0,
}


class ByZarr(Dataset[dict[str, Any]]):
    """What one would write with zarr-python."""

    def __init__(self, store: Path) -> None:
        layout = StoreReader.open(store).layout
        self._store, self._specs, self._num = store, layout.specs, layout.num_locations
        self._num_seasons = len(layout.season_names)
        self._arrays: dict[str, Any] = {}

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: int) -> dict[str, Any]:
        self._arrays = self._arrays or self._opened()
        season = index % self._num_seasons
        places = {spec.name: (index,) if spec.is_label else (index, season) for spec in self._specs}
        return {name: torch.from_numpy(values) for name, values in self._read(places).items()}

    def _opened(self) -> dict[str, Any]:
        import zarr

        group = zarr.open_group(self._store, mode="r")
        return {spec.name: group[spec.name] for spec in self._specs}

    def _read(self, places: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        return {name: np.asarray(self._arrays[name][place]) for name, place in places.items()}


class ByTensorStore(ByZarr):
    """The same with tensorstore, one thread a worker: there is a worker for each core."""

    def _opened(self) -> dict[str, Any]:
        return open_tensorstore(self._store, self._specs)

    def _read(self, places: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        pending = {name: self._arrays[name][place].read() for name, place in places.items()}
        return {name: one.result() for name, one in pending.items()}


class ByMemoryMap(Dataset[dict[str, Any]]):
    """Decoded arrays on disk: nothing to do but copying."""

    def __init__(self, store: Path, folder: Path) -> None:
        reader = StoreReader.open(store)
        layout = reader.layout
        self._names = []
        for spec in layout.specs:
            path = folder / f"{spec.name}.npy"
            shape = (layout.num_locations, *grid_of(spec, layout).item_shape)
            self._names.append((spec.name, spec.is_label, path))
            if path.exists():
                continue
            array = np.lib.format.open_memmap(path, mode="w+", dtype=spec.dtype, shape=shape)
            for row in range(layout.num_locations):
                array[row] = reader.pixels(spec, row=row, seasons=range(len(layout.season_names)))
            array.flush()
        self._num, self._num_seasons = layout.num_locations, len(layout.season_names)
        self._arrays: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not self._arrays:
            self._arrays = {name: np.load(path, mmap_mode="r") for name, _, path in self._names}
        season = index % self._num_seasons
        return {
            name: torch.from_numpy(
                np.array(self._arrays[name][index] if is_label else self._arrays[name][index, season])
            )
            for name, is_label, _ in self._names
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--locations", type=int, default=256)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--store", type=Path, help="keep the store here, and take it from here the next time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.store or Path(scratch)
        store = folder / "nol.zarr"
        if not (store / "zarr.json").exists():
            made_up_store.write(store, made_up_store.layout_of(arguments.locations))
        record = compare(store, Path(scratch), passes=arguments.passes)
    record["command"] = (
        f"python -m benchmarks.loading --locations {record['locations']} --passes {record['passes']}"
    )
    text = page(record)
    print(text)
    print(keep(record, text, name="loading"), file=sys.stderr)


def compare(store: Path, scratch: Path, *, passes: int) -> dict[str, Any]:
    samples = NoldoS12(store, labels="all")
    shares = Shares(len(samples), batch_size=BATCH)
    order = EpochBatches(shares, seed=0, steps_per_epoch=EPOCHS * shares.num_steps)
    ring = RingLoader(samples, batches=order, batch_size=BATCH, num_threads=THREADS, num_slots=SLOTS)
    ways: dict[str, Iterable[Any]] = {
        f"our loader, {THREADS} threads": ring,
        "DataLoader(2) on our data set": _data_loader(samples, order),
        "DataLoader(2) on zarr-python": _data_loader(ByZarr(store), order),
        "DataLoader(2) on decoded memory maps": _data_loader(ByMemoryMap(store, scratch), order),
    }
    if find_spec("tensorstore"):
        ways["DataLoader(2) on tensorstore"] = _data_loader(ByTensorStore(store), order)
    else:
        print("tensorstore is not installed: that row is left out", file=sys.stderr)
    count = len(order) * BATCH
    per_s = {name: count / seconds for name, seconds in _best(ways, passes=passes).items()}
    name = f"our loader, {THREADS} threads"
    # The trainer takes a core for itself: what is asked is whether it keeps the loader from the others.
    threads = max(1, min(THREADS, (os.cpu_count() or 1) - 1))
    idle, busy = (
        f"our loader, {threads} thread{'s' * (threads > 1)}, beside {which} trainer"
        for which in ("an idle", "a busy")
    )
    other = RingLoader(samples, batches=order, batch_size=BATCH, num_threads=threads, num_slots=SLOTS)
    for _ in range(passes):
        per_s[idle] = max(per_s.get(idle, 0.0), count / _best({"": other}, passes=1)[""])
        with _busy_trainer():
            per_s[busy] = max(per_s.get(busy, 0.0), count / _best({"": other}, passes=1)[""])
    other.close()
    assert ring.process_id is not None
    peak = _peak_bytes(ring.process_id)
    allowed = _allowed_bytes(samples)
    ring.close()
    return {
        **machine(),
        "packages": versions(PACKAGES),
        "locations": len(samples),
        "passes": passes,
        "samples_per_s": per_s,
        "peak_mb": peak / 1e6,
        "allowed_mb": allowed / 1e6,
        "ratios": {
            **{
                f"T3 loader / {way}": per_s[name] / per_s[way]
                for way in ways
                if f"T3 loader / {way}" in TARGETS
            },
            "T4 with a core less, beside a Python-bound trainer / beside an idle one": per_s[busy]
            / per_s[idle],
            "T11 allowed memory / peak memory of the loader's process": allowed / peak,
        },
    }


def _data_loader(samples: Dataset[Any], order: EpochBatches) -> DataLoader[Any]:
    return DataLoader(
        samples, batch_sampler=order, num_workers=2, persistent_workers=True, multiprocessing_context="spawn"
    )


def _best(ways: dict[str, Iterable[Any]], *, passes: int) -> dict[str, float]:
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(passes + 1):
        for name, loader in ways.items():
            start = time.perf_counter()
            for batch in loader:
                assert len(batch) > 1
            if turn:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


@contextmanager
def _busy_trainer() -> Iterator[None]:
    """A thread of Python that never waits: what a trainer does between two kernels, at its worst."""
    stop = threading.Event()

    def spin() -> None:
        count = 0
        while not stop.is_set():
            count += 1

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _peak_bytes(process_id: int) -> int:
    """Private memory at its peak cannot be read: the peak of all, less the shared slots, which are counted once."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    facts = dict(line.split(":", 1) for line in lines)
    return int(facts["VmHWM"].split()[0]) * 1024


def _allowed_bytes(samples: NoldoS12) -> int:
    """Goal T11: slots x batch + threads x largest chunk + 200 MB; and what a process with torch has before it reads."""
    sample = samples[0]
    batch = BATCH * sum(value.nbytes for value in sample.values() if isinstance(value, torch.Tensor))
    largest = max(value.nbytes for value in sample.values() if isinstance(value, torch.Tensor))
    return SLOTS * batch + THREADS * largest + 200 * 10**6 + _bytes_of_bare_process()


def _bytes_of_bare_process() -> int:
    import subprocess

    script = (
        "import torch, noldo.ring_loader, noldo.dataset, psutil; print(psutil.Process().memory_info().rss)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout)


def page(record: dict[str, Any]) -> str:
    goals = [
        [name, f"{record['ratios'][name]:.2f}", f">= {goal:.2f}"]
        for name, goal in TARGETS.items()
        if name in record["ratios"]
    ]
    speeds = [[name, f"{value:,.0f}"] for name, value in record["samples_per_s"].items()]
    return (
        headline(record, title="Loading batches")
        + f": {record['locations']} made-up locations of four seasons, batches of {BATCH}; the fastest of {record['passes']} passes.\n\n"
        + table(["ratio of samples a second", "found", "goal"], goals)
        + "\n"
        + table(["way", "samples/s"], speeds)
        + f"\nPeak memory of the loader's process: {record['peak_mb']:,.0f} MB of {record['allowed_mb']:,.0f} allowed ({SLOTS} batches, "
        f"{THREADS} chunks, 200 MB, and what a process with torch begins with).\n"
    )


if __name__ == "__main__":
    main()
