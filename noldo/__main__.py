"""The `noldo` command."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from noldo.errors import NoldoError, RunInterruptedError


def _version() -> str:
    try:
        return version("noldo-s12")
    except PackageNotFoundError:
        return "not installed: run from a checkout"


app = App(
    name="noldo",
    help="Look at, check and publish NoLDO-S12 data sets, and train on them.",
    help_format="plaintext",
    version=_version,
)

TRAINING = {
    "pretrain": "Pretrain on noisy labels, as a recipe says.",
    "transfer": "Learn clean labels with an encoder and a new decoder.",
    "self-train": "Learn a labelled source and an unlabelled target together, by a teacher.",
    "evaluate": "Judge a transfer or self_train run on a split.",
    "reproduce": "Run what is missing of a study, and print its table.",
    "encoder": "Write one encoder as safetensors, with a model card.",
}
"""Verbs of `noldo.training.commands`, which needs PyTorch and is loaded when one is asked for."""

for _name, _help in TRAINING.items():
    app.command(f"noldo.training.commands:{_name.replace('-', '_')}", name=_name, help=_help)
app.command(
    "noldo.prediction.commands:predict",
    name="predict",
    help="Map a GeoTIFF or a store by the network of a run.",
)
app.command(
    "noldo.published.commands:folds",
    name="folds",
    help="Say how published tiles fall into folds that share no region.",
)
app.command(
    "noldo.prediction.commands:pseudo_label",
    name="pseudo-label",
    help="Label the locations of a store, or published tiles, by the networks of runs, as labels beside them.",
)
app.command(
    "noldo.layers.commands:layers",
    name="layers",
    help="Compare networks that learnt noisy and clean labels, layer by layer.",
)
app.command(
    "noldo.audit.commands:audit",
    name="audit",
    help="Rank patches by how wrong their labels look to networks that did not learn from them.",
)

DataSet = Annotated[
    str, Parameter(help="A results folder, or one store in it (dw.zarr); info and preview take URLs, too.")
]


@app.command
def info(path: DataSet, /, *, json_: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Summarise a data set, subset by subset.

    Parameters
    ----------
    json_
        Print JSON instead of text: an object with a key a subset.
    """
    from noldo.info import info_of_all, render

    summaries = info_of_all(path)
    print(json.dumps(summaries, indent=1) if json_ else "\n\n".join(map(render, summaries.values())))


@app.command
def verify(path: DataSet, /) -> None:
    """Re-read every chunk against its checksum, and the index against the store; exit 1 if anything is broken."""
    from noldo.verify import verify as check

    with _progress("verify") as progress:
        found = check(path, progress=progress)
    for problem in found.problems:
        print(problem)
    if found.problems:
        print(f"noldo: {path}: {len(found.problems)} problems", file=sys.stderr)
        sys.exit(1)
    print(f"{path}: all {found.num_shards} shards, the index and the manifest are well")


@app.command
def digest(path: DataSet, /) -> None:
    """Print one hash of all arrays and the index, of all subsets of a folder."""
    from noldo.digest import digest as compute

    with _progress("digest") as progress:
        found = compute(path, progress=progress)
    print(found)


@app.command
def preview(
    path: DataSet,
    location_id: int,
    /,
    *,
    subset: str = "nol",
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
) -> None:
    """Draw all seasons of one location as a PNG.

    Parameters
    ----------
    location_id
        Id of a kept location.
    subset
        Which one, if the path is a folder.
    out
        File to write; default: `preview-ID.png` here.
    """
    from noldo.preview import preview as draw

    target = out or Path(f"preview-{location_id}.png")
    draw(path, location_id, subset=subset, out=target)
    print(target)


@app.command
def compare_labels(
    path: DataSet,
    /,
    *,
    of: str,
    against: str,
    split: str | None = None,
    season: str | None = None,
    subset: str = "nol",
    label_store: str | None = None,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    csv: Path | None = None,
    figure: Path | None = None,
) -> None:
    """Say how noisy one label source is, as another one sees it: confusion, noise matrix T, its conditioning.

    Parameters
    ----------
    of
        Labels that are taken as the reference (clean): truth, expert, osm, dfc2020 or dynamic_world.
    against
        Labels whose noise is asked for.
    split
        Only train, val or test.
    season
        Only this season; default: all, counted together.
    subset
        Which store of the folder: nol, dw, osm.
    label_store
        Another results folder with more labels of the same locations.
    json_
        Print JSON instead of text.
    csv
        Also write all pairs of classes to this file.
    figure
        Also draw T as a PNG.
    """
    from noldo.compare_labels import compare_labels as compare
    from noldo.compare_table import render, write_csv
    from noldo.manifest import to_json

    with _progress("compare-labels") as progress:
        found = compare(
            path,
            of=of,
            against=against,
            split=split,
            season=season,
            subset=subset,
            label_store=label_store,
            progress=progress,
        )
    if csv is not None:
        write_csv(csv, found)
    if figure is not None:
        from noldo.compare_figure import write_figure

        write_figure(figure, found)
    print(to_json(found).decode().rstrip() if json_ else render(found))


@app.command
def publish(path: DataSet, url: str, /) -> None:
    """Copy a finished data set to s3:// or gs://; again: only what is missing there."""
    from noldo.publish import publish as send

    with _progress("publish") as progress:
        sent = send(path, url, progress=progress)
    print(
        f"{url}: {sent.num_files} files, {sent.num_sent} sent ({sent.sent_bytes / 1e6:.1f} MB), the others were there"
    )


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal; nothing in a pipe, where the result is the output."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command: of this process, if no arguments are given.

    What users got wrong is one line on stderr, with exit code 2 for the command line and 1 for the rest.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        try:
            told = app(
                sys.argv[1:] if arguments is None else arguments,
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
            if isinstance(told, str):
                print(told)
        finally:
            sys.stdout.flush()
    except CycloptsError as error:
        print(f"noldo: {' '.join(str(error).split())} See `noldo --help`.", file=sys.stderr)
        sys.exit(2)
    except NoldoError as error:
        print(f"noldo: {_told(error)}", file=sys.stderr)
        sys.exit(130 if isinstance(error, RunInterruptedError) else 1)
    except KeyboardInterrupt:
        print("noldo: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # `noldo verify X | head` ended early; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _told(error: NoldoError) -> str:
    """What an error says; that of a process that reads samples comes with torch's traceback around it, whose last line it is."""
    text = str(error).strip()
    if not text.startswith("Caught "):
        return text
    return text.splitlines()[-1].removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")


if __name__ == "__main__":
    main()
