"""`python -m sandbox serve`: a loopback Earth Engine and Overpass. `describe`: catalogue your own GeoTIFFs. `experts`
and `osm-extract`: files that come with the synthetic Earth. `truth`: what a build of it should have seen."""

import datetime as dt
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from noldo.errors import ConfigError, NoldoError
from sandbox.quotas import MAX_CONCURRENT, MAX_PER_SECOND

if TYPE_CHECKING:
    from sandbox.catalogue import Catalogue
    from sandbox.faults import FaultSettings
    from sandbox.osm_elements import OsmData

app = App(
    name="python -m sandbox",
    help="A loopback Earth Engine and Overpass that serve a synthetic Earth, or your own scenes and extracts.",
    help_format="plaintext",
)


class StopServingError(BaseException):
    """Raised in the main thread by a signal; no handler of ordinary errors may swallow it."""


@app.command
def serve(
    *,
    port: int = 0,
    seed: int = 0,
    catalogue: Path | None = None,
    latency: float = 0.0,
    ready_file: Path | None = None,
    log: Path | None = None,
    exit_with_stdin: Annotated[bool, Parameter(negative="")] = False,
    canned_pixels: Annotated[bool, Parameter(negative="")] = False,
    osm_extract: Path | None = None,
    enclosing_areas: Annotated[bool, Parameter(negative="")] = False,
    faults: str = "{}",
    max_concurrent: int = MAX_CONCURRENT,
    max_per_second: float = MAX_PER_SECOND,
) -> None:
    """Serve until SIGTERM, on 127.0.0.1 only.

    Parameters
    ----------
    port
        Port to listen on; 0: any free one.
    seed
        Seed of the synthetic Earth.
    catalogue
        STAC catalogue of real GeoTIFF scenes to serve instead of the synthetic Earth (see sandbox/archive.py).
    latency
        Seconds added to every answer.
    ready_file
        Where to write {"url", "overpass_url", "pid"} once requests are answered.
    log
        File to append one line of JSON a request to.
    exit_with_stdin
        End when standard input is closed: so the sandbox never outlives who started it.
    canned_pixels
        Answer pixel requests with ones of the right shape and types, for benchmarks of everything else.
    osm_extract
        OpenStreetMap extract (.osm.pbf) of a city or small country that the Overpass paths serve instead of the
        synthetic Earth's.
    enclosing_areas
        Overpass also finds areas that enclose the whole polygon, which public servers do not.
    faults
        JSON of faults to inject (see sandbox/faults.py).
    max_concurrent
        Requests in flight that the project's quota allows.
    max_per_second
        Requests a second that the project's quota allows.
    """
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, _stop)
    if exit_with_stdin:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    from sandbox.server import SandboxServer

    scenes, description = _open(catalogue, seed=seed)
    osm, osm_description = _open_osm(osm_extract, is_synthetic=catalogue is None, seed=seed)
    server = SandboxServer(
        scenes,
        port=port,
        faults=_settings(faults, latency=latency),
        max_concurrent=max_concurrent,
        max_per_second=max_per_second,
        log=log,
        canned_pixels=canned_pixels,
        osm=osm,
        enclosing_areas=enclosing_areas,
    )
    print(f"{description}. Earth Engine's REST API on {server.url} (loopback only).", flush=True)
    print(f"{osm_description}. Overpass on {server.overpass_url}.", flush=True)
    if ready_file is not None:
        _write(ready_file, {"url": server.url, "overpass_url": server.overpass_url, "pid": os.getpid()})
    try:
        server.serve_forever(poll_interval=0.25)
    except StopServingError:
        pass
    finally:
        server.server_close()


def _open(catalogue: Path | None, *, seed: int) -> "tuple[Catalogue, str]":
    if catalogue is not None:
        from sandbox.archive import Archive

        archive = Archive(catalogue)
        return archive, f"Archive of {len(archive)} scenes from {catalogue}"
    from sandbox.synthetic import SyntheticEarth

    return SyntheticEarth(seed), f"Synthetic Earth, seed {seed}: nothing here is real imagery"


def _open_osm(extract: Path | None, *, is_synthetic: bool, seed: int) -> "tuple[OsmData | None, str]":
    if extract is None and not is_synthetic:
        return None, "No OpenStreetMap data beside a catalogue of scenes"
    if extract is None:
        from sandbox.planet.osm import SyntheticOsm

        return SyntheticOsm(seed), "OpenStreetMap of the synthetic Earth"
    from sandbox.osm_file import OsmFile

    osm = OsmFile(extract)
    return osm, f"OpenStreetMap from {extract}: {osm}"


def _settings(faults: str, *, latency: float) -> "FaultSettings":
    from sandbox.faults import parse_faults

    try:
        tree = json.loads(faults)
    except ValueError as error:
        raise ConfigError(f"--faults: not valid JSON ({error})") from None
    if latency and isinstance(tree, dict):
        tree.setdefault("latency_s", latency)
    return parse_faults(tree, where="--faults")


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise StopServingError


def _stop_at_end_of_input() -> None:
    while sys.stdin.buffer.read(1024):
        pass
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _write(path: Path, tree: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps(tree), encoding="utf-8")
    draft.replace(path)


@app.command
def describe(
    *files: Path,
    catalogue: Path,
    collection: str,
    index: str,
    time: dt.datetime,
    bands: str,
    cloud: float | None = None,
    properties: str = "{}",
) -> None:
    """Add one scene to a STAC catalogue that `serve --catalogue` reads; the catalogue is made if there is none.

    Parameters
    ----------
    files
        One GeoTIFF with all bands, or one for each band, inside the catalogue's folder.
    catalogue
        The catalog.json.
    collection
        Earth Engine id, e.g. COPERNICUS/S2_HARMONIZED.
    index
        Name of the acquisition; L1C, L2A and Dynamic World twins share it.
    time
        Sensing start, UTC.
    bands
        Names of the bands in order, separated by commas.
    cloud
        Cloudy share of the scene in percent.
    properties
        More STAC properties as JSON, e.g. {"sat:orbit_state": "descending"}.
    """
    from sandbox.catalogue_files import add_to_catalogue, describe_scene

    names = bands.split(",")
    if len(files) not in {1, len(names)}:
        raise ConfigError(f"{len(files)} files for {len(names)} bands: give one file, or one a band")
    item = describe_scene(
        {files[0]: names} if len(files) == 1 else {f: [name] for f, name in zip(files, names, strict=True)},
        collection=collection,
        index=index,
        time=time,
        folder=catalogue.parent,
        cloud_percent=cloud,
        properties=json.loads(properties),
    )
    add_to_catalogue(catalogue, item)
    print(f"{catalogue}: added {item['id']}")


@app.command
def experts(
    *, out: Path, count: int = 40, seed: int = 0, xlsx: Annotated[bool, Parameter(negative="")] = False
) -> None:
    """Write expert tiles of the synthetic Earth as Dynamic World publishes its own.

    Parameters
    ----------
    out
        Folder for tables, labels, and expected.json, which says what must become of each tile.
    count
        Number of tiles. The first twenty have one of everything that can be wrong with a tile.
    seed
        Seed of the synthetic Earth.
    xlsx
        Write tiles.xlsx beside tiles.csv, with a sheet of experts and one of others.
    """
    from sandbox.expert_files import write_tiles
    from sandbox.experts import expert_tiles

    if count < 1:
        raise ConfigError(f"--count {count}: expected at least 1 tile")
    tiles = expert_tiles(seed, count)
    write_tiles(out, tiles, with_xlsx=xlsx)
    kept = sum(tile.outcome == "kept" for tile in tiles)
    print(
        f"{out}: {count} expert tiles of the synthetic Earth, seed {seed}, {kept} of them usable: no real labels"
    )


@app.command(name="osm-extract")
def osm_extract(*, out: Path, near: str, seed: int = 0) -> None:
    """Write the synthetic Earth's OpenStreetMap around places as a .osm.pbf.

    Parameters
    ----------
    out
        The file to write, FILE.osm.pbf.
    near
        Folder that `python -m sandbox experts` wrote, or lon_min,lat_min,lon_max,lat_max in degrees.
    seed
        Seed of the synthetic Earth.
    """
    from sandbox.osm_extract import elements_near, places_of, write_extract
    from sandbox.planet.osm import SyntheticOsm

    elements = elements_near(SyntheticOsm(seed), places_of(near))
    write_extract(out, elements)
    counts = f"{len(elements.nodes)} nodes, {len(elements.ways)} ways, {len(elements.relations)} relations"
    print(f"{out}: {counts} of the synthetic Earth, seed {seed}: no real map")


@app.command
def truth(results: Path, /, *, out: Path, subset: str = "nol") -> None:
    """Write the true land cover of a build of the synthetic Earth, as a store of labels beside it.

    Parameters
    ----------
    results
        A results folder of such a build.
    out
        Another folder.
    subset
        Which store of it.
    """
    from sandbox.true_labels import write_truth

    told = write_truth(results, out=out, subset=subset)
    print(f"{out}: true classes of {told.locations_kept} locations; read them with label_store={str(out)!r}")


def main() -> int:
    """Run a command; what users can cure is one line on standard error and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("rasterio").setLevel(logging.ERROR)  # our own message says which file and why
    try:
        app()
    except (NoldoError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except StopServingError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
