"""What reading a store costs, beside decoding alone and beside what people would read it with instead.

    python -m benchmarks.reading [--locations 256] [--repeats 15] [--store FOLDER]

A sample is 13 bands of L1C and 2 of Sentinel-1 of one season, and the labels of all seasons, of locations in random order. All
ways are taken in turns, again and again, and the fastest turn of each counts: what else the machine does can only add to it. Each
way gives the same numbers, which is checked first.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import made_up_store
from benchmarks.records import headline, keep, machine, table, versions
from benchmarks.turns import best_seconds
from noldo.codecs import ChunkCodec
from noldo.metadata import codec_of, grid_of
from noldo.pixel_reads import PixelRead
from noldo.products import ArraySpec
from noldo.reader import StoreReader
from noldo.ring_loader import MOST_AT_ONCE

PACKAGES = ("numpy", "numcodecs", "zarr", "zarrs", "tensorstore")
TARGETS = {
    "T1 reader / decoding alone": 0.90,
    "T2 reader / tensorstore": 1.25,
    "T2 reader / zarr-python": 5.0,
    "T5 two threads / one": 1.7,
}
INTO = f"reader, {MOST_AT_ONCE} samples at once, into arrays"
MOST_AMPLIFICATION = 1.01
"""T8: bytes read of bytes needed, at most."""

Stored = tuple[ChunkCodec, bytes, str]
"""A chunk in memory: its codec, its bytes and its product."""

Read = Callable[[int, int], list[np.ndarray]]
"""Row and season to one array a product."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--locations", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--store", type=Path, help="keep the store here, and take it from here the next time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = (arguments.store or Path(scratch)) / "nol.zarr"
        if not (store / "zarr.json").exists():
            made_up_store.write(store, made_up_store.layout_of(arguments.locations))
        record = compare(store, repeats=arguments.repeats)
    record["command"] = (
        f"python -m benchmarks.reading --locations {record['locations']} --repeats {record['repeats']}"
    )
    text = page(record)
    print(text)
    print(keep(record, text, name="reading"), file=sys.stderr)


def compare(store: Path, *, repeats: int) -> dict[str, Any]:
    reader = StoreReader.open(store)
    layout = reader.layout
    random = np.random.default_rng(0)
    rows = random.permutation(layout.num_locations).tolist()
    order = list(zip(rows, random.integers(0, len(layout.season_names), len(rows)).tolist(), strict=True))
    ways = {"reader": _reader(reader), **_others(store, layout.specs)}
    for row, season in order[:8]:
        expected = ways["reader"](row, season)
        for name, read in ways.items():
            for one, other in zip(expected, read(row, season), strict=True):
                np.testing.assert_array_equal(one, other, err_msg=name)
    chunks = _stored_chunks(reader, order)
    into, outs = _into(reader), _outs(reader)
    turns: dict[str, Callable[[], None]] = {
        "decoding alone": lambda: _decode(chunks, outs),
        INTO: lambda: _in_groups(into, order),
        **{name: _turn(read, order) for name, read in ways.items()},
    }
    seconds = best_seconds(turns, repeats=repeats)
    pools = {threads: ThreadPoolExecutor(threads) for threads in (1, 2)}
    threaded = best_seconds(
        {f"{threads} threads": _threaded(pool, reader, order, threads) for threads, pool in pools.items()}
        | {
            f"decoding alone, {threads} threads": _decode_threaded(pool, reader, chunks, threads)
            for threads, pool in pools.items()
        },
        repeats=repeats,
        clock=time.perf_counter,
    )
    per_s = {name: len(order) / value for name, value in {**seconds, **threaded}.items()}
    return {
        **machine(),
        "packages": versions(PACKAGES),
        "locations": layout.num_locations,
        "repeats": repeats,
        "ratio_of_bytes": _raw_bytes(layout) / _stored_bytes(store),
        "samples_per_s": per_s,
        "ratios": _ratios(per_s),
        "bytes_read_of_needed": _amplification(store, order),
    }


def _reader(reader: StoreReader) -> Read:
    seasons = range(len(reader.layout.season_names))

    def read(row: int, season: int) -> list[np.ndarray]:
        return [
            reader.pixels(spec, row=row, seasons=seasons if spec.is_label else [season])
            for spec in reader.layout.specs
        ]

    return read


def _into(reader: StoreReader) -> Callable[[Sequence[tuple[int, int]]], None]:
    """Row and season of some samples, into arrays that are there already: as a thread of the loader reads, but always into the same."""
    seasons = range(len(reader.layout.season_names))
    outs = _outs(reader)

    def read(some: Sequence[tuple[int, int]]) -> None:
        reader.read_all(
            [
                PixelRead(outs[spec.name], spec, row, seasons if spec.is_label else (season,))
                for row, season in some
                for spec in reader.layout.specs
            ]
        )

    return read


def _in_groups(read: Callable[[Sequence[tuple[int, int]]], None], order: Sequence[tuple[int, int]]) -> None:
    for first in range(0, len(order), MOST_AT_ONCE):
        read(order[first : first + MOST_AT_ONCE])


def _outs(reader: StoreReader) -> dict[str, np.ndarray]:
    """Where one sample goes: an array a product, of the shape of its chunks."""
    return {
        spec.name: np.empty(grid_of(spec, reader.layout).chunk_shape, spec.dtype)
        for spec in reader.layout.specs
    }


def _others(store: Path, specs: Sequence[ArraySpec]) -> dict[str, Read]:
    """Other readers of the same files, as far as they are installed."""
    import zarr

    group = zarr.open_group(store, mode="r")
    arrays = [group[spec.name] for spec in specs]

    def with_zarr(row: int, season: int) -> list[np.ndarray]:
        return [
            array[row : row + 1][0] if spec.is_label else array[row : row + 1, season : season + 1][0]
            for spec, array in zip(specs, arrays, strict=True)
        ]

    found: dict[str, Read] = {"zarr-python": with_zarr}
    try:
        opened = open_tensorstore(store, specs)
    except ImportError:
        return found

    def with_tensorstore(row: int, season: int) -> list[np.ndarray]:
        pending = [
            (opened[spec.name][row] if spec.is_label else opened[spec.name][row, season : season + 1]).read()
            for spec in specs
        ]
        return [one.result() for one in pending]

    return {**found, "tensorstore": with_tensorstore}


def open_tensorstore(store: Path, specs: Sequence[ArraySpec]) -> dict[str, Any]:
    """Arrays of a store by tensorstore, decoded by one thread.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    import tensorstore

    limits = {"data_copy_concurrency": {"limit": 1}, "file_io_concurrency": {"limit": 1}}
    return {
        spec.name: tensorstore.open(
            {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": str(store / spec.name)},
                "context": limits,
            }
        ).result()
        for spec in specs
    }


def _stored_chunks(reader: StoreReader, order: Sequence[tuple[int, int]]) -> list[Stored]:
    """Every chunk of the order."""
    layout, found = reader.layout, []
    for row, season in order:
        shard, row_in_shard = divmod(row, layout.locations_per_shard)
        for spec in layout.specs:
            number = grid_of(spec, layout).chunk_number(row_in_shard, season)
            (stored,) = reader._chunks(reader._array(spec), shard, [number])
            found.append((codec_of(spec, layout.codec), bytes(stored), spec.name))
    return found


def needed_bytes(reader: StoreReader, order: Sequence[tuple[int, int]]) -> int:
    """Stored bytes of every chunk of the order (row, season)."""
    layout, total = reader.layout, 0
    for row, season in order:
        shard, row_in_shard = divmod(row, layout.locations_per_shard)
        for spec in layout.specs:
            number = grid_of(spec, layout).chunk_number(row_in_shard, season)
            total += reader._index(reader._array(spec), shard)[1][number][1]
    return total


def _decode(chunks: Sequence[Stored], outs: dict[str, np.ndarray]) -> None:
    for codec, stored, name in chunks:
        codec.decode(stored, outs[name], where="memory")


def _each(read: Callable[[int, int], object], order: Sequence[tuple[int, int]]) -> None:
    for row, season in order:
        read(row, season)


def _turn(read: Read, order: Sequence[tuple[int, int]]) -> Callable[[], None]:
    return lambda: _each(read, order)


def _threaded(
    pool: ThreadPoolExecutor, reader: StoreReader, order: Sequence[tuple[int, int]], threads: int
) -> Callable[[], None]:
    shares = [order[first::threads] for first in range(threads)]
    reads = [_into(reader) for _ in range(threads)]

    def turn() -> None:
        list(pool.map(_in_groups, reads, shares))

    return turn


def _decode_threaded(
    pool: ThreadPoolExecutor, reader: StoreReader, chunks: Sequence[Stored], threads: int
) -> Callable[[], None]:
    shares = [chunks[first::threads] for first in range(threads)]
    outs = [_outs(reader) for _ in range(threads)]

    def turn() -> None:
        list(pool.map(_decode, shares, outs))

    return turn


def _ratios(per_s: dict[str, float]) -> dict[str, float]:
    found = {
        "T1 reader / decoding alone": per_s[INTO] / per_s["decoding alone"],
        "T2 reader / zarr-python": per_s["reader"] / per_s["zarr-python"],
        "T5 two threads / one": per_s["2 threads"] / per_s["1 threads"],
    }
    if "tensorstore" in per_s:
        found["T2 reader / tensorstore"] = per_s["reader"] / per_s["tensorstore"]
    return found


def _amplification(store: Path, order: Sequence[tuple[int, int]]) -> float:
    """Bytes that one pass asks the system for, with metadata and indexes, of the bytes of its chunks."""
    needed = needed_bytes(StoreReader.open(store), order)
    before = _bytes_asked_for()
    _each(_reader(StoreReader.open(store)), order)
    return (_bytes_asked_for() - before) / needed


def _bytes_asked_for() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"])


def _raw_bytes(layout: Any) -> int:
    return sum(
        layout.num_locations
        * int(np.prod(spec.item_shape(len(layout.season_names), layout.patch_size_px)))
        * np.dtype(spec.dtype).itemsize
        for spec in layout.specs
    )


def _stored_bytes(store: Path) -> int:
    return sum(path.stat().st_size for path in store.rglob("*") if path.is_file())


def page(record: dict[str, Any]) -> str:
    goals = [
        [
            name,
            f"{record['ratios'][name]:.2f}" if name in record["ratios"] else "not measured: absent",
            f">= {goal:.2f}",
        ]
        for name, goal in TARGETS.items()
    ]
    goals.append(
        ["T8 bytes read / needed", f"{record['bytes_read_of_needed']:.4f}", f"<= {MOST_AMPLIFICATION}"]
    )
    speeds = [
        [name, f"{value:,.0f}", f"{1e6 / value:,.0f}"] for name, value in record["samples_per_s"].items()
    ]
    return (
        headline(record, title="Reading a store")
        + f": {record['locations']} made-up locations of four seasons, which compress {record['ratio_of_bytes']:.2f} to 1; "
        f"the fastest of {record['repeats']} turns of each way, by CPU, of threads by the clock.\n\n"
        + table(["ratio of samples a second", "found", "goal"], goals)
        + "\n"
        + table(["way", "samples/s", "microseconds a sample"], speeds)
    )


if __name__ == "__main__":
    main()
