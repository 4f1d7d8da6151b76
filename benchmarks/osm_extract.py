"""What a pass over an OpenStreetMap extract costs, at one size and at ten times that size.

    python -m benchmarks.osm_extract [--areas 10000] [--real some.osm.pbf]

Writes made-up extracts to a temporary folder, collects areas for patches all over them in child processes, prints a
table and leaves a record in `benchmarks/records`. This process imports nothing heavy: the peak memory of a child
begins with its parent's.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

RECORDS = Path(__file__).parent / "records"
SCALE = 10
REPEATS = 3
AREAS_PER_PATCH = 50
SOUTH_WEST = (9.0, 48.0)
PER_DEGREE = 20_000
"""Areas in a square degree: ten times the areas lie on ten times the land, with ten times the patches."""

PACKAGES = ("osmium", "shapely", "pyproj", "numpy")


def main() -> None:
    arguments = _arguments()
    if arguments.write:
        write(Path(arguments.write), num_areas=arguments.areas)
    elif arguments.measure:
        print(
            json.dumps(measure(Path(arguments.measure), index=arguments.index, num_patches=arguments.patches))
        )
    else:
        compare(num_areas=arguments.areas, real=arguments.real)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--areas", type=int, default=10_000, help="areas of the smaller extract")
    parser.add_argument("--real", help="also measure this extract")
    for internal in ("--write", "--measure", "--index"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    parser.add_argument("--patches", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def write(path: Path, *, num_areas: int) -> None:
    from benchmarks.made_up_extract import bulk

    bulk(num_areas, seed=0, south_west=SOUTH_WEST, per_degree=PER_DEGREE).write(path)


def measure(path: Path, *, index: str, num_patches: int) -> dict[str, object]:
    """Collect once, in this process: CPU and memory are its own."""
    import resource

    import numpy as np
    import osmium

    from builders.osm_extract import collect_areas
    from builders.patches import place_patches
    from builders.tag_table import load_tag_table

    bounds = osmium.io.Reader(str(path), osmium.osm.NOTHING).header().box()
    if bounds.valid():
        low, high = (np.array([corner.lon, corner.lat]) for corner in (bounds.bottom_left, bounds.top_right))
    else:
        low = np.array(SOUTH_WEST)
        high = low + (num_patches * AREAS_PER_PATCH / PER_DEGREE) ** 0.5
    lon, lat = (low + (high - low) * np.random.default_rng(1).random((num_patches, 2))).T
    patches = list(enumerate(place_patches(lon, lat, size_px=264).grids))
    before = resource.getrusage(resource.RUSAGE_SELF)
    with tempfile.TemporaryDirectory() as out:
        report = collect_areas(path, patches, load_tag_table("ohsome-1"), Path(out), node_index=index)
    return {
        "file_mb": report.extract.size_bytes / 1e6,
        "index": index,
        "patches": num_patches,
        "areas": sum(report.tally.num_areas),
        "hits": report.num_hits,
        "seconds": report.seconds,
        "cpu_s": report.cpu_seconds,
        "peak_mb": report.peak_bytes / 1e6,
        "start_mb": before.ru_maxrss * 1024 / 1e6,
    }


def compare(*, num_areas: int, real: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        extracts = []
        for factor in (1, SCALE):
            path = Path(folder) / f"made-up-{factor}x.osm.pbf"
            _child("--write", path, "--areas", num_areas * factor)
            extracts.append((f"made up, {factor}x", path, num_areas * factor // AREAS_PER_PATCH))
        if real:
            extracts.append((Path(real).name, Path(real), 200))
        rows = [
            {"extract": name} | _best(path, index=index, num_patches=num_patches)
            for index in ("memory", "sparse_file")
            for name, path, num_patches in extracts
        ]
    record = {
        "date": datetime.date.today().isoformat(),
        "hardware": f"{len(os.sched_getaffinity(0))}-cores",
        "processor": _processor(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": {name: version(name) for name in PACKAGES},
        "command": f"python -m benchmarks.osm_extract --areas {num_areas}"
        + (f" --real {Path(real).name}" if real else ""),
        "rows": rows,
        "ratios": _ratios(rows),
    }
    text = _page(record)
    print(text)
    stem = f"{record['date']}-{record['hardware']}-osm-extract"
    RECORDS.mkdir(exist_ok=True)
    (RECORDS / f"{stem}.md").write_text(text)
    (RECORDS / f"{stem}.json").write_text(json.dumps(record, indent=1) + "\n")


def _child(*arguments: object) -> str:
    command = [sys.executable, "-m", "benchmarks.osm_extract", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _best(path: Path, *, index: str, num_patches: int) -> dict[str, object]:
    """The run that took least CPU: whatever else the machine does can only add to it."""
    arguments = ("--measure", path, "--index", index, "--patches", num_patches)
    runs = [json.loads(_child(*arguments)) for _ in range(REPEATS)]
    return min(runs, key=lambda run: run["cpu_s"])


def _ratios(rows: list[dict]) -> dict[str, dict[str, float]]:
    found = {}
    for index in ("memory", "sparse_file"):
        small, large = (row for row in rows if row["index"] == index and row["extract"].startswith("made up"))
        found[index] = {name: round(large[name] / small[name], 2) for name in ("areas", "cpu_s", "peak_mb")}
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _page(record: dict) -> str:
    head = (
        "# One pass over an OpenStreetMap extract\n\n"
        f"{record['date']}, {record['hardware']} ({record['processor']}), Python {record['python']}, "
        + ", ".join(f"{name} {number}" for name, number in record["packages"].items())
        + f".\n\n`{record['command']}`: the best of {REPEATS} runs each, by CPU. Peak is that of the process; it had "
        "`start` after its imports. Table ohsome-1, patches of 2.64 km.\n\n"
        "| extract | node index | file MB | areas | patches | hits | seconds | CPU s | start MB | peak MB |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    rows = "".join(
        f"| {row['extract']} | {row['index']} | {row['file_mb']:.1f} | {row['areas']:,} | {row['patches']:,} "
        f"| {row['hits']:,} | {row['seconds']:.2f} | {row['cpu_s']:.2f} | {row['start_mb']:.0f} "
        f"| {row['peak_mb']:.0f} |\n"
        for row in record["rows"]
    )
    ratios = "".join(
        f"* {index}: {ratio['areas']:.1f} times the areas take {ratio['cpu_s']:.1f} times the CPU and "
        f"{ratio['peak_mb']:.1f} times the memory.\n"
        for index, ratio in record["ratios"].items()
    )
    return f"{head}{rows}\n{ratios}"


if __name__ == "__main__":
    main()
