"""`python -m builders <verb>`: one verb a step of the workflow, and what people run by hand."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter, validators

from builders.build import ERROR_PREFIX, require_project
from builders.build_lock import as_job
from builders.config import BuildConfig, load_config
from builders.config_sections import Subset
from builders.layout import Layout
from noldo.errors import NoldoError

if TYPE_CHECKING:
    from builders.earth_engine import EarthEngine

app = App(
    name="python -m builders",
    help="Steps of the workflow (run by snakemake), and checks to run before the quota is spent.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # main() says what to do then
)

IMPORTS = {
    "import-ssl4eo-v1": "Import SSL4EO-S12 v1.0: folders of GeoTIFFs; with labels, SSL4EO-S12@NoL.",
    "import-ssl4eo-v1.1": "Import SSL4EO-S12 v1.1: zipped Zarr groups.",
    "import-cromss-lmdb": "Import the LMDBs of CromSS: of pretraining, @DW, @OSM or DFC2020.",
    "import-noldo-archive": "Import a subset of NoLDO-S12 as published: a zip or its folder.",
    "import-dfc2020": "Import the Data Fusion Contest 2020: GeoTIFFs in folders or archives.",
    "extract-archive": "Unpack a zip or tar of a stranger safely.",
}
"""Verbs of `builders.import_verbs`, which is loaded when one is asked for: steps of a build do not need it."""

for _name, _help in IMPORTS.items():
    _function = _name.replace("-", "_").replace(".", "")
    app.command(f"builders.import_verbs:{_function}", name=_name, help=_help)

Config = Annotated[
    Path, Parameter(help="A build's config: YAML, or the results/<name>/config.json of a build.")
]


Of = Annotated[Subset, Parameter(help="The subset that the step is for.")]


def _job(
    config_path: Path,
    step: Callable[[BuildConfig, Layout], None],
    *,
    name: str,
    subset: Subset,
    piece: int = 0,
) -> None:
    """Run one step as a job of a build: alone with its orphan watch, and timed under `name`."""
    from builders.run_record import timed

    config = load_config(config_path).of_subset(subset)
    layout = Layout(config.name, subset=subset)
    with as_job(layout.work), timed(layout, name, piece=piece):
        step(config, layout)


def _connect(
    build: BuildConfig, layout: Layout, *, stage: str, piece: int, concurrency: int
) -> "EarthEngine":
    """The imagery source of a build, for one job of a stage."""
    from builders.earth_engine import EarthEngine
    from builders.sandbox_process import end_with_sandbox, source_url

    url = source_url(build, layout)
    end_with_sandbox(build, layout)
    return EarthEngine.connect(build, url=url, claim=concurrency, stage=stage, job=str(piece), layout=layout)


@app.command
def locations(*, config: Config, out: Path) -> None:
    """Draw or read all places of @NoL and fix their grids."""
    from builders.locations import run_locations

    _job(config, lambda build, layout: run_locations(build, out), name="locations", subset="nol")


@app.command
def tiles(*, config: Config) -> None:
    """Read all expert tiles of @DW, check their labels and fix their grids."""
    from builders.tiles import run_tiles

    _job(config, run_tiles, name="tiles", subset="dw")


@app.command
def search(*, config: Config, subset: Of = "nol", search: int, concurrency: int, out: Path) -> None:
    """Ask for every scene of the locations of one search job."""
    from builders.search import run_search

    def step(build: BuildConfig, layout: Layout) -> None:
        source = _connect(build, layout, stage="search", piece=search, concurrency=concurrency)
        run_search(build, source, layout, search=search, concurrency=concurrency, out=out)

    _job(config, step, name="search", subset=subset, piece=search)


@app.command
def choose(*, config: Config, subset: Of = "nol", search: int, out: Path) -> None:
    """Choose the scenes of one search job, with reasons."""
    from builders.choice import run_choose

    _job(
        config,
        lambda build, layout: run_choose(build, layout, search=search, out=out),
        name="choose",
        subset=subset,
        piece=search,
    )


@app.command
def fetch(*, config: Config, subset: Of = "nol", job: int, concurrency: int) -> None:
    """Fetch, check and stage the pixels of one job."""
    from builders.fetch import run_fetch

    def step(build: BuildConfig, layout: Layout) -> None:
        source = _connect(build, layout, stage="fetch", piece=job, concurrency=concurrency)
        run_fetch(build, source, layout, job=job, concurrency=concurrency)

    _job(config, step, name="fetch", subset=subset, piece=job)


@app.command
def create_store(*, config: Config, subset: Of = "nol") -> None:
    """Write the metadata of every array."""
    from builders.pack import run_create_store

    _job(config, run_create_store, name="create-store", subset=subset)


@app.command
def pack(*, config: Config, subset: Of = "nol", shard: int) -> None:
    """Write one shard of every array from staged pixels."""
    from builders.pack import run_pack

    _job(
        config,
        lambda build, layout: run_pack(build, layout, shard=shard),
        name="pack",
        subset=subset,
        piece=shard,
    )


@app.command
def sweep(*, config: Config, subset: Of = "nol", job: int) -> None:
    """Delete the staged pixels of a job whose shards are packed."""
    from builders.sweep import run_sweep

    _job(
        config,
        lambda build, layout: run_sweep(build, layout, job=job),
        name="sweep",
        subset=subset,
        piece=job,
    )


@app.command
def collect_areas(*, config: Config, extract: int) -> None:
    """Read one .osm.pbf extract, and keep the areas that meet a tile of @OSM.

    Parameters
    ----------
    extract
        Position in `osm.extracts`.
    """
    from builders.osm_labels import run_collect

    _job(
        config,
        lambda build, layout: run_collect(build, layout, extract=extract),
        name="collect-areas",
        subset="osm",
        piece=extract,
    )


@app.command
def label_osm(*, config: Config, job: int) -> None:
    """Make the class maps of OpenStreetMap for the tiles of one job, and screen them against the experts."""
    from builders.osm_labels import run_osm_labels

    _job(
        config,
        lambda build, layout: run_osm_labels(build, layout, job=job),
        name="label-osm",
        subset="osm",
        piece=job,
    )


@app.command
def statistics(*, config: Config, subset: Of = "nol", threads: int = 2, scheduler: str | None = None) -> None:
    """Compute band statistics and class counts over the store.

    Parameters
    ----------
    threads
        Shards in memory at once, without a cluster.
    scheduler
        Address of a dask scheduler; default: `jobs.dask_scheduler` of the config, and threads if that is empty.
    """
    from builders.statistics import run_statistics

    _job(
        config,
        lambda build, layout: run_statistics(
            build,
            layout,
            threads=threads,
            scheduler=build.jobs.dask_scheduler if scheduler is None else scheduler,
        ),
        name="statistics",
        subset=subset,
    )


@app.command
def index(*, config: Config, subset: Of = "nol") -> None:
    """Write index, small arrays, manifest and run record."""
    from builders.index import run_index

    _job(config, run_index, name="index", subset=subset)


@app.command
def report(*, config: Config) -> None:
    """Write the report page."""
    from builders.report import run_report

    _job(config, run_report, name="report", subset="nol")


@app.command
def estimate(*, config: Config) -> None:
    """Say what a build will cost: requests, download, disk, hours, EECU. Asks nobody."""
    from builders.estimate import render_all

    print(render_all(load_config(config)))


@app.command
def check_source(*, config: Config) -> None:
    """Check on ten locations that the imagery source behaves as this project assumes."""
    from builders.check_source import run_check_source

    build = load_config(config)
    require_project(build)
    if not run_check_source(build, Layout(build.name)):
        sys.exit(1)


@app.command
def clear_quota(*, config: Config) -> None:
    """Forget that the daily quota was spent, e.g. after it was raised."""
    from builders.quota_state import clear_holds

    build = load_config(config)
    clear_holds(Layout(build.name), build.source)
    print(f"nothing holds requests of project {build.source.project or '(none)'} any more")


@app.command
def export(
    results: Path,
    out: Path,
    /,
    *,
    subset: str = "nol",
    products: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    ids: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = (),
    processes: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
) -> None:
    """Write GeoTIFFs and a STAC catalogue of a finished subset; the same command goes on where it was stopped.

    Parameters
    ----------
    results
        A results folder, or its store.
    out
        Folder of the catalogue; subsets lie beside each other in it.
    subset
        nol, dw, osm, ...
    products
        Only these, e.g. s2_l2a osm; default: all.
    ids
        Only these locations; default: all that were kept.
    processes
        Processes that make GeoTIFFs; default: one a core.
    """
    from builders.export import run_export

    logging.getLogger("stac_geoparquet").setLevel(logging.WARNING)  # it tells its memory at every step
    summary = run_export(
        results,
        out,
        subset=subset,
        products=products or None,
        ids=ids or None,
        processes=processes or os.cpu_count() or 1,
    )
    print(summary.render())


@app.command
def import_export(folder: Path, /, *, out: Path, subset: str | None = None) -> None:
    """Read an export back into a store with the same digest.

    Parameters
    ----------
    folder
        What `export` wrote: holds catalog.json.
    out
        Results folder.
    subset
        Which one; default: the only one that is there.
    """
    from builders.import_export import run_import_export

    print(run_import_export(folder, out, subset=subset).store)


@app.command
def schemas(*, folder: Path = Path("schemas")) -> None:
    """Write the JSON Schemas of config, manifest and run record."""
    from builders.schemas import write_schemas

    write_schemas(folder)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _unwritable(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return (
        f"{where}{error.strerror or error}; free space or choose a writable folder, "
        "then run the same command again"
    )


def main() -> None:
    """Run one verb; errors that users can meet are one line and an exit code that says their kind."""
    logging.basicConfig(
        level=os.environ.get("NOLDO_LOG_LEVEL", "INFO"),
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)  # shells start background jobs with it ignored
    try:
        told = app(result_action="return_value")
        if isinstance(told, str):
            print(told)  # not by cyclopts, which would break lines and colour words
    except NoldoError as error:
        from builders.exit_codes import exit_code

        print(f"{ERROR_PREFIX}{error}", file=sys.stderr)
        sys.exit(exit_code(error))
    except OSError as error:  # the last resort: what can be written to says so in a line of its own
        logging.getLogger(__name__).debug("where it happened:", exc_info=True)
        print(f"{ERROR_PREFIX}{_unwritable(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"{ERROR_PREFIX}interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
