"""How near fetching comes to what latency allows, and what one core makes of the bytes that arrive.

    python -m benchmarks.fetching [--requests 2000] [--in-flight 40] [--latency 1.0] [--full 48]

A server on this machine answers as Earth Engine does, each pixel request after a second and with the same pixels, and refuses what is
beyond the quota. It is asked by the fetch step of a build: its crew, its governor, its transport, the unmodified client. Small answers
(patches of 6 px) show the scheduling: `in flight / latency` requests a second are the limit. There are enough of them that the start (the
first ones are spread, a hundred a second) weighs little, as in a build of many thousands; of 1,000 it costs about 3 % more. Full answers (264 px) show the bytes.
Then the answer in memory is taken apart alone: from NPY to arrays at native resolution.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.records import headline, keep, machine, table, versions

PACKAGES = ("numpy", "earthengine-api", "requests", "urllib3", "google-api-python-client")
GOAL = "requests a second / in flight / latency"
TARGETS = {GOAL: 0.90}
OF_JOB = 8
"""Requests in flight of one job of a build, of the forty that a project may have."""
SMALL_PX = 6
FULL_PX = 264


def main() -> None:
    arguments = _arguments()
    if arguments.serve:
        serve(arguments.serve, latency_s=arguments.latency, in_flight=arguments.in_flight)
        return
    record = compare(arguments)
    record["command"] = (
        f"python -m benchmarks.fetching --requests {arguments.requests} --in-flight {arguments.in_flight} "
        f"--latency {arguments.latency:g} --full {arguments.full}"
    )
    text = page(record)
    print(text)
    print(keep(record, text, name="fetching"), file=sys.stderr)


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=40)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds")
    parser.add_argument("--full", type=int, default=48, help="full answers")
    parser.add_argument("--full-px", type=int, default=FULL_PX)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(given)


def serve(reply: Path, *, latency_s: float, in_flight: int) -> None:
    """Answer until standard input closes; tells its URL in a line.

    The sandbox's server, so that start-up, quota and refusals are as ever, but that pixels are one file.
    """
    import threading

    from sandbox.faults import FaultSettings
    from sandbox.server import SandboxServer
    from sandbox.service import Answer, EarthEngineService, Endpoint, Request
    from sandbox.synthetic import SyntheticEarth

    answer = Answer(reply.read_bytes(), content_type="application/octet-stream")

    class Canned(EarthEngineService):
        def endpoint(self, request: Request) -> Endpoint:
            found = super().endpoint(request)
            if not found.pixels:
                return found
            return Endpoint(found.name, lambda _, **__: answer, found.parts, pixels=True)

    earth = SyntheticEarth(0)
    server = SandboxServer(earth, faults=FaultSettings(latency_s=latency_s), max_concurrent=in_flight)
    server.service = Canned(earth, server.plan, base_url=server.url)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.url, flush=True)
    sys.stdin.buffer.read()
    server.shutdown()


@contextmanager
def serving(reply: Path, *, latency_s: float, in_flight: int) -> Iterator[str]:
    """A server of its own process; its URL."""
    options = ("--serve", reply, "--latency", latency_s, "--in-flight", in_flight)
    command = [sys.executable, "-m", "benchmarks.fetching", *map(str, options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    latency_s, in_flight = arguments.latency, arguments.in_flight
    of_job = min(OF_JOB, in_flight)
    small = fetch(arguments.requests, size_px=SMALL_PX, latency_s=latency_s, in_flight=in_flight)
    full = {"size_px": arguments.full_px, "in_flight": of_job}
    return {
        **machine(),
        "packages": versions(PACKAGES),
        "requests": arguments.requests,
        "in_flight": in_flight,
        "latency_s": latency_s,
        "answers": {
            f"small, {latency_s:g} s latency, {in_flight} in flight": small,
            f"full, {latency_s:g} s latency, {of_job} in flight": fetch(
                arguments.full, latency_s=latency_s, **full
            ),
            f"full, no latency, {of_job} in flight": fetch(arguments.full, latency_s=0.0, **full),
        },
        "unpack": unpacking(size_px=arguments.full_px),
        "ratios": {GOAL: small["requests_per_s"] * latency_s / in_flight},
    }


def fetch(num_requests: int, *, size_px: int, latency_s: float, in_flight: int) -> dict[str, float]:
    """Fetch and stage so many locations, a request each, as a job of a build does."""
    from benchmarks.made_up_build import made_up_config, plans
    from builders.earth_engine import EarthEngine
    from builders.fetch import fetch_plans
    from builders.layout import Layout
    from builders.request_log import read_records

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        reply = canned(made_up_config(1, size_px=size_px), folder / "reply.npy")
        with serving(reply, latency_s=latency_s, in_flight=in_flight) as url:
            config = made_up_config(num_requests, size_px=size_px, url=url, max_concurrent=in_flight)
            layout = Layout(config.name, folder)
            source = EarthEngine.connect(
                config, url=url, claim=in_flight, stage="fetch", job="0", layout=layout
            )
            planned = plans(config)
            cpu, wall = time.process_time(), time.perf_counter()
            outcomes = fetch_plans(config, source, planned, layout=layout, job=0, concurrency=in_flight)
            cpu_s, seconds = time.process_time() - cpu, time.perf_counter() - wall
            source.close()
        assert not [one for one in outcomes if one.reason], outcomes[0].reason
        asked = [one for one in read_records(layout.requests) if one.kind != "start_up"]
        num_bytes = sum(one.bytes_received for one in asked)
    return {
        "requests": len(asked),
        "refused": sum(one.status != 200 for one in asked),
        "reply_bytes": num_bytes / len(asked),
        "seconds": seconds,
        "cpu_s": cpu_s,
        "requests_per_s": num_requests / seconds,
        "cpu_ms_a_request": 1000 * cpu_s / num_requests,
        "mean_in_flight": sum(one.seconds for one in asked) / seconds,
        "seconds_a_request": sum(one.seconds for one in asked) / len(asked),
        "mb_per_s": num_bytes / seconds / 1e6,
        "mb_per_core_s": num_bytes / cpu_s / 1e6,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def _asked(config: Any) -> tuple[Any, ...]:
    """Layers of the one request for all seasons of a location."""
    from benchmarks.made_up_build import plans
    from builders.stack import planned_requests, season_layers

    (plan, *_) = plans(config)
    seasons = [
        season_layers(ranked[0], position=position, specs=config.specs, config=config)
        for position, ranked in enumerate(plan.seasons)
    ]
    (layers,) = planned_requests(seasons, plan.location.grid)
    return layers


def canned(config: Any, path: Path) -> Path:
    """An answer to it: every pixel of every band is 1."""
    import numpy as np

    bands = [(band.name, np.dtype(layer.dtype)) for layer in _asked(config) for band in layer.bands]
    np.save(path, np.ones((config.patch_size_px, config.patch_size_px), bands))
    return path


def unpacking(*, size_px: int, repeats: int = 7) -> dict[str, float]:
    """What one core makes of an answer that is in memory, beside a copy of it."""
    import numpy as np

    from benchmarks.made_up_build import made_up_config
    from builders.pixels import parse_npy, unpack

    config = made_up_config(1, size_px=size_px)
    layers = _asked(config)
    with tempfile.TemporaryDirectory() as scratch:
        data = canned(config, Path(scratch) / "reply.npy").read_bytes()
    names = [band.name for layer in layers for band in layer.bands]
    specs = {spec.name: spec for spec in config.specs}
    arrays = {
        name: np.empty(spec.item_shape(len(config.seasons), size_px), spec.dtype)
        for name, spec in specs.items()
    }

    def take_apart() -> None:
        uneven = unpack(parse_npy(data, names=names, side_px=size_px), layers, specs=specs, arrays=arrays)
        assert not uneven

    source, target = np.frombuffer(data, np.uint8), np.empty(len(data), np.uint8)
    return {
        "reply_mb": len(data) / 1e6,
        "bands": len(names),
        "mb_per_core_s": len(data) / 1e6 / _least(take_apart, repeats),
        "copy_mb_per_core_s": len(data) / 1e6 / _least(lambda: np.copyto(target, source), repeats),
    }


def _least(work: Callable[[], None], repeats: int) -> float:
    """CPU seconds of the fastest turn."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def page(record: dict[str, Any]) -> str:
    unpack = record["unpack"]
    goals = [[name, f"{record['ratios'][name]:.2f}", f">= {goal:.2f}"] for name, goal in TARGETS.items()]
    rows = [
        [
            name,
            f"{one['reply_bytes'] / 1e6:,.3f}",
            f"{one['requests_per_s']:.1f}",
            f"{one['mean_in_flight']:.1f}",
            f"{one['seconds_a_request']:.3f}",
            f"{one['cpu_ms_a_request']:.1f}",
            f"{one['mb_per_core_s']:,.0f}",
            f"{one['peak_mb']:,.0f}",
            f"{one['refused']}",
        ]
        for name, one in record["answers"].items()
    ]
    columns = ["answers", "MB each", "requests/s", "in flight", "s a request", "CPU ms a request"]
    columns += ["MB/s a core", "peak MB", "refused"]
    return (
        headline(record, title="Fetching")
        + f": {record['requests']} small requests, {record['in_flight']} in flight, {record['latency_s']:g} s latency.\n\n"
        + table(["ratio", "found", "goal"], goals)
        + "\n"
        + table(columns, rows)
        + f"\nA full answer has {unpack['reply_mb']:.1f} MB in {unpack['bands']} bands. One core takes it apart, to arrays at native "
        f"resolution, at {unpack['mb_per_core_s']:,.0f} MB/s; it copies {unpack['copy_mb_per_core_s']:,.0f} MB/s.\n"
        "\nWhat limits each: small answers, the latency and the time in which the first requests are spread (a hundred a second); "
        "then the processor, since a process makes requests and reads answers one at a time. Full answers, taking them apart: one "
        "pixel has all bands side by side, so that each band is picked out of all the bytes, and coarse bands are checked to be "
        "blocks of equal pixels.\n"
    )


if __name__ == "__main__":
    main()
