"""What the steps of a build that compute cost a core, beside the codec alone, and how much memory each takes.

    python -m benchmarks.building [--locations 64] [--tiles 16] [--repeats 3]

Made-up pixels of four seasons and the default products: staged, packed, counted (statistics) and verified; and made-up areas
of OpenStreetMap, burnt into tiles of 516 px. Every step runs in a process of its own on one core, some times over: the pass that took
least CPU counts, and the peak is that of the process. The codec encodes and decodes the same chunks, which lie in memory, likewise.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.records import headline, keep, machine, table, versions

PACKAGES = ("numpy", "numcodecs", "google-crc32c", "dask", "shapely", "rasterio")
BESIDE = {
    "pack": "encode",
    "statistics": "decode",
    "verify": "decode",
    "rasterize": "rasterio alone",
}
"""Step to what it can't be faster than, or is held against."""
STEPS = ("pack", "encode", "statistics", "verify", "decode", "rasterize", "rasterio alone")
AREAS_PER_TILE = 400
TILE_PX = 516

Work = tuple[Callable[[], object], float]
"""What is done, and how many MB of raw pixels that are."""


def main() -> None:
    arguments = _arguments()
    if arguments.step:
        os.sched_setaffinity(
            0, {min(os.sched_getaffinity(0))}
        )  # what threads on two cores cost depends on both
        print(json.dumps(measure(arguments.step, arguments, arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        record = compare(arguments, Path(scratch))
    record["command"] = (
        f"python -m benchmarks.building --locations {arguments.locations} --tiles {arguments.tiles} "
        f"--repeats {arguments.repeats}"
    )
    text = page(record)
    print(text)
    print(keep(record, text, name="building"), file=sys.stderr)


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--locations", type=int, default=64)
    parser.add_argument("--tiles", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size-px", type=int, default=264)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", choices=["prepare", *STEPS], help=argparse.SUPPRESS)
    return parser.parse_args(given)


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All steps, one process after another; each is given the files that the ones before it left."""
    rows = {step: _in_child(step, arguments, folder) for step in ("prepare", *STEPS)}
    del rows["prepare"]
    return {
        **machine(),
        "packages": versions(PACKAGES),
        "locations": arguments.locations,
        "tiles": arguments.tiles,
        "repeats": arguments.repeats,
        "steps": rows,
        "ratios": {
            step: rows[step]["mb_per_core_s"] / rows[other]["mb_per_core_s"] for step, other in BESIDE.items()
        },
    }


def _in_child(step: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    options = ("locations", "tiles", "repeats", "size_px")
    given = [f"--{name.replace('_', '-')}={getattr(arguments, name)}" for name in options]
    command = [sys.executable, "-m", "benchmarks.building", *given, "--step", step, "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(step: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """One step in this process: what the memory of the process was before and at most, and the fastest pass."""
    if step == "prepare":
        _prepare(arguments, folder)
        return {}
    is_raster = step.startswith("raster")
    work, raw_mb = _of_tiles(step, arguments) if is_raster else _of_store(step, arguments, folder)
    start_mb = _peak_mb()
    passes = [_timed(work) for _ in range(arguments.repeats)]
    cpu_s, wall_s = min(passes)
    return {
        "raw_mb": raw_mb,
        "cpu_s": cpu_s,
        "seconds": wall_s,
        "mb_per_core_s": raw_mb / cpu_s,
        "start_mb": start_mb,
        "peak_mb": _peak_mb(),
    }


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _prepare(arguments: argparse.Namespace, folder: Path) -> None:
    """A build that went on to its index: every step is then done once more, on the same files."""
    from benchmarks import made_up_build
    from builders.build import cut_of
    from builders.index import run_index
    from builders.layout import Layout
    from builders.pack import run_create_store, run_pack
    from builders.statistics import run_statistics
    from noldo.verify import verify

    config = made_up_build.made_up_config(arguments.locations, size_px=arguments.size_px)
    layout = Layout(config.name, folder)
    made_up_build.write(config, layout)
    run_create_store(config, layout)
    for shard in cut_of(config).shards:
        run_pack(config, layout, shard=shard)
    run_statistics(config, layout)
    run_index(config, layout)
    found = verify(layout.store)
    assert not found.problems, found.problems


def _of_store(step: str, arguments: argparse.Namespace, folder: Path) -> Work:
    from benchmarks.made_up_build import made_up_config
    from benchmarks.reading import _raw_bytes
    from builders.build import cut_of
    from builders.layout import Layout
    from builders.pack import run_pack
    from builders.statistics import run_statistics
    from noldo.reader import StoreReader
    from noldo.verify import verify

    config = made_up_config(arguments.locations, size_px=arguments.size_px)
    layout = Layout(config.name, folder)
    store = StoreReader.open(layout.store)
    raw_mb = _raw_bytes(store.layout) / 1e6
    works: dict[str, Callable[[], object]] = {
        "pack": lambda: [run_pack(config, layout, shard=shard) for shard in cut_of(config).shards],
        "statistics": lambda: run_statistics(config, layout),
        "verify": lambda: verify(layout.store),
    }
    if step in works:
        return works[step], raw_mb
    chunks = _chunks(store)
    if step == "decode":
        return lambda: [
            codec.decode(stored, chunk, where="memory") for codec, stored, chunk in chunks
        ], raw_mb
    return lambda: [codec.encode(chunk) for codec, _, chunk in chunks], raw_mb


def _chunks(store: Any) -> list[tuple[Any, bytes, Any]]:
    """Codec, stored bytes and values of every chunk."""
    import numpy as np

    from noldo.metadata import codec_of, grid_of

    layout, found = store.layout, []
    for spec in layout.specs:
        codec, grid, array = codec_of(spec, layout.codec), grid_of(spec, layout), store._array(spec)
        for row in range(layout.num_locations):
            shard, row_in_shard = divmod(row, layout.locations_per_shard)
            for season in range(0, grid.num_seasons, grid.seasons_per_chunk):
                (stored,) = store._chunks(array, shard, [grid.chunk_number(row_in_shard, season)])
                chunk = np.empty(grid.chunk_shape, spec.dtype)
                codec.decode(stored, chunk, where="memory")
                found.append((codec, bytes(stored), chunk))
    return found


def _of_tiles(step: str, arguments: argparse.Namespace) -> Work:
    """Burning areas as a build does, or only what rasterio does of the same polygons, in metres and cut to the tile."""
    import rasterio.features
    from affine import Affine

    from benchmarks.made_up_areas import areas_around, in_metres, tile_grids
    from builders.burn import burn

    grids = tile_grids(arguments.tiles, size_px=TILE_PX)
    areas = [areas_around(grid, AREAS_PER_TILE, seed=number) for number, grid in enumerate(grids)]
    raw_mb = len(grids) * TILE_PX**2 / 1e6
    if step == "rasterize":
        return lambda: [burn(some, grid) for some, grid in zip(areas, grids, strict=True)], raw_mb
    shapes = [in_metres(some, grid) for some, grid in zip(areas, grids, strict=True)]

    def bare() -> None:
        for some, grid in zip(shapes, grids, strict=True):
            rasterio.features.rasterize(
                some,
                out_shape=grid.shape(),
                fill=255,
                transform=Affine(*grid.transform()),
                dtype="uint8",
            )

    return bare, raw_mb


def page(record: dict[str, Any]) -> str:
    steps = record["steps"]
    rows = [
        [
            step,
            f"{steps[step]['mb_per_core_s']:,.0f}",
            f"{other}: {steps[other]['mb_per_core_s']:,.0f}",
            f"{record['ratios'][step]:.2f}",
            f"{steps[step]['seconds']:.2f}",
            f"{steps[step]['cpu_s']:.2f}",
            f"{steps[step]['start_mb']:,.0f}",
            f"{steps[step]['peak_mb']:,.0f}",
        ]
        for step, other in BESIDE.items()
    ]
    columns = [
        "step",
        "MB/s of raw pixels a core",
        "beside",
        "ratio",
        "seconds",
        "CPU s",
        "start MB",
        "peak MB",
    ]
    return (
        headline(record, title="Steps of a build that compute")
        + f": {record['locations']} made-up locations of four seasons, {steps['pack']['raw_mb']:,.0f} MB of raw pixels; "
        f"{record['tiles']} tiles of {TILE_PX} px with {AREAS_PER_TILE} areas around each; the best of {record['repeats']} passes, "
        "by CPU of all threads, on one core. Peak is that of the step's process; it had `start` after its imports.\n\n"
        + table(columns, rows)
        + f"\n{LIMITS}"
    )


LIMITS = """What limits each:

* pack: the encoder. Of the rest, most is reading staged pixels: a file is read, and its checksum taken, once for each group of
  arrays, which is what keeps memory at one raw shard of the largest array.
* statistics: counting (`numpy.bincount`, about 1 GB/s of uint16) takes longer than decoding. Percentiles are computed once for a store,
  however large, and take a tenth of a second.
* verify: the decoder; labels are counted again to be held against the index.
* rasterize: checking the polygons, cutting them to the tile and projecting their points is half of it, burning the other half.
  rasterio alone is given polygons of shapely that are cut and projected already; it asks each for its points one by one, where
  `builders.burn` hands over all points at once.
"""


if __name__ == "__main__":
    main()
