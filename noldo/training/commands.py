"""Verbs of the trainer. Loaded when one is asked for, by `noldo.__main__`. Each returns what is to be printed at its end."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from noldo.errors import ConfigError, MissingExtraError

Set = Annotated[
    tuple[str, ...],
    Parameter(name="--set", consume_multiple=True, help="key.key=value in place of what the file says."),
]
Devices = Annotated[int | None, Parameter(help="GPUs or processes; default: all GPUs, or one process.")]
Wandb = Annotated[
    str | None, Parameter(help="Write curves to this project of Weights & Biases, too (needs wandb).")
]
Json = Annotated[bool, Parameter(name="--json", negative="")]


def pretrain(
    recipe: Path, /, *, out: Path, set_: Set = (), devices: Devices = None, wandb: Wandb = None
) -> str | None:
    """Pretrain on noisy labels, as a recipe says; the same command goes on after a kill.

    Parameters
    ----------
    recipe
        YAML of kind pretrain, e.g. recipes/sandbox/pretrain.yaml.
    out
        Folder of the run.
    """
    require_training()
    from noldo.training.runs import is_first_rank

    result = _run(recipe, kind="pretrain", out=out, changes=set_, devices=devices, wandb=wandb)
    val = result["val"]
    told = f"val mIoU {val['miou']:.4f}, OA {val['oa']:.4f}" if val else "no val split to judge by"
    return f"{out}: {result['epochs']} epochs; {told}" if is_first_rank() else None


def transfer(
    recipe: Path, /, *, out: Path, set_: Set = (), devices: Devices = None, wandb: Wandb = None
) -> str | None:
    """Learn clean labels with an encoder and a new decoder, and judge on the test split.

    Parameters
    ----------
    recipe
        YAML of kind transfer, e.g. recipes/sandbox/transfer-dw.yaml.
    out
        Folder of the run.
    """
    require_training()
    from noldo.training.runs import is_first_rank

    result = _run(recipe, kind="transfer", out=out, changes=set_, devices=devices, wandb=wandb)
    return _scores_text(result, where=str(out)) if is_first_rank() else None


def self_train(
    recipe: Path, /, *, out: Path, set_: Set = (), devices: Devices = None, wandb: Wandb = None
) -> str | None:
    """Learn a labelled source and an unlabelled target together, and judge on the source's test split.

    Parameters
    ----------
    recipe
        YAML of kind self_train, e.g. recipes/sandbox/all_weather/stage1.yaml.
    out
        Folder of the run.
    """
    require_training()
    from noldo.training.runs import is_first_rank

    result = _run(recipe, kind="self_train", out=out, changes=set_, devices=devices, wandb=wandb)
    return _scores_text(result, where=str(out)) if is_first_rank() else None


def evaluate(
    run: Path,
    /,
    *,
    split: str = "test",
    store: str | None = None,
    subset: str | None = None,
    label_source: str | None = None,
    label_store: str | None = None,
    figure: Path | None = None,
    json_: Json = False,
) -> str:
    """Judge the network of a transfer or self_train run on a split: scores by class, and the confusion.

    Parameters
    ----------
    run
        Folder of the run.
    store
        Another data set with the same legend; default: the one it learnt from.
    subset
        Which store of that folder.
    label_source
        Labels to judge by, e.g. dynamic_world; default: those that it learnt.
    label_store
        Another results folder that holds them.
    figure
        Also draw the confusion as a PNG.
    json_
        Print JSON instead of text.
    """
    require_training()
    import json

    import numpy as np

    from noldo.training.confusion_figure import write_confusion_figure
    from noldo.training.evaluating import Judged, evaluate_run

    where = Judged(split, store, subset, label_source, label_store)
    found = evaluate_run(run, where=where)
    if figure is not None:
        title = f"{run.name}, {split}: mIoU {100 * found['scores']['miou']:.1f} %"
        write_confusion_figure(
            figure, np.array(found["confusion"]), classes=list(found["per_class"]), title=title
        )
    return json.dumps(found, indent=1) if json_ else _scores_text(found, where=str(run))


def reproduce(
    study: Path | None = None,
    /,
    *,
    out: Path | None = None,
    tables: Literal["DW", "OSM", "DFC2020", "DFC2020_v1"] | None = None,
    seeds: int | None = None,
    set_: Set = (),
    only_table: Annotated[bool, Parameter(negative="")] = False,
    share: str = "1/1",
    devices: Devices = None,
    wandb: Wandb = None,
) -> str | None:
    """Run what is missing of a study, and print our table beside the published one.

    Parameters
    ----------
    study
        YAML of rows, columns and seeds, e.g. recipes/sandbox/quick.yaml.
    out
        Folder of all its runs, and of table.md, table.html and runs.csv; default: runs/ and the name of the study.
    tables
        A table of the paper in place of a file: DW is recipes/paper/dw.yaml of the checkout that one stands in.
    seeds
        How many of the study's seeds; default: all.
    set_
        key.key=value of every recipe in it.
    only_table
        Run nothing; print what is there.
    share
        2/3: the second of three processes (or machines with one folder) that run the study together.
    """
    require_training()
    from noldo.training.recipe import changed
    from noldo.training.reproduce import reproduce as run_study
    from noldo.training.runs import is_first_rank
    from noldo.training.study import Share, load_study

    study = _study_file(study, tables=tables)
    out = Path("runs") / study.stem if out is None else out
    loaded = load_study(study)
    if seeds is not None and not 1 <= seeds <= len(loaded.seeds):
        raise ConfigError(f"--seeds {seeds}: {study} has {len(loaded.seeds)}; give 1 to {len(loaded.seeds)}")
    with _running(devices, what=study.stem, wandb=wandb) as running:
        found = run_study(
            loaded,
            where=study,
            out=out,
            seeds=loaded.seeds[:seeds],
            changes=changed({}, set_),
            running=running,
            only_table=only_table,
            share=Share.parse(share),
            tell=logging.getLogger(__name__).warning,
        )
    return found.markdown.rstrip() if is_first_rank() else None


def encoder(
    source: Path,
    /,
    *,
    out: Path,
    modality: str,
    encoder_: Annotated[str, Parameter(name="--encoder")] = "resnet50",
    bands: int = 13,
    inputs: str = "compat",
) -> str:
    """Write one encoder of a run or a checkpoint as safetensors, with a model card.

    Parameters
    ----------
    source
        A run folder, an authors' checkpoint, or a state dict of a layout that `noldo.weights.layouts` lists.
    out
        File to write, .safetensors.
    modality
        s1_grd, s2_l1c, or what the run learnt from.
    encoder_
        What it is; of a run of ours, its recipe says.
    bands
        Of Sentinel-2; of a run of ours, its recipe says.
    inputs
        Normalisation that it was trained with: scaled or compat; of a run of ours, its recipe says.
    """
    require_training()
    from dataclasses import replace

    from noldo.models.frameworks import bare_encoder
    from noldo.models.input_step import InputStep
    from noldo.weights.encoders import (
        EncoderCard,
        load_into_encoder,
        save_encoder,
        told_by_run,
    )

    told = told_by_run(source) or {"encoder": encoder_, "bands": bands, "inputs": inputs, "epoch": None}
    step = InputStep((modality,), bands=told["bands"], kind=told["inputs"])
    card = EncoderCard(
        encoder=told["encoder"],
        modality=modality,
        bands=step.bands(modality),
        inputs=told["inputs"],
        source=source.name,
        epoch=told["epoch"],
    )
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: encoders are written as safetensors; give a name that ends so")
    found = bare_encoder(card.encoder, num_bands=len(card.bands))
    matched = load_into_encoder(found, source, modality=modality)
    save_encoder(found, out, card=replace(card, sha256=matched.sha256))
    return f"{out}: {matched}"


def _study_file(study: Path | None, *, tables: str | None) -> Path:
    """The file that is asked for in one of two ways."""
    if (study is None) == (tables is None):
        raise ConfigError(
            "reproduce: give the file of a study, or --tables with DW, OSM, DFC2020 or DFC2020_v1; one of both"
        )
    return study if study is not None else Path("recipes/paper") / f"{str(tables).lower()}.yaml"


def _run(
    path: Path, *, kind: str, out: Path, changes: Sequence[str], devices: int | None, wandb: str | None
) -> dict[str, Any]:
    from noldo.training.recipe import load_recipe
    from noldo.training.runs import run_recipe

    recipe = load_recipe(path, changes=changes)
    if recipe.kind != kind:
        raise ConfigError(
            f"{path}: a recipe of kind {recipe.kind}; run it with `noldo {recipe.kind.replace('_', '-')}`"
        )
    with _running(devices, what=out.name, wandb=wandb) as running:
        return run_recipe(recipe, out=out, running=running)


def require_training() -> None:
    """Say what to install, before an import fails deep inside."""
    from importlib.util import find_spec

    missing = [
        name
        for name in ("torch", "segmentation_models_pytorch", "lightning_fabric", "matplotlib")
        if not find_spec(name)
    ]
    if missing:
        raise MissingExtraError(
            f"training needs {', '.join(missing)}; run `pip install -e '.[train]'` in the checkout of this project"
        )


def _scores_text(found: dict[str, Any], *, where: str) -> str:
    """A few lines for people."""
    scores = found["scores"]
    head = (
        f"{where}: {found['split']}, {found['num_locations']} locations, {found['num_pixels']} labelled pixels\n"
        f"OA {100 * scores['oa']:.2f}  mIoU {100 * scores['miou']:.2f}  mF1 {100 * scores['mf1']:.2f}  "
        f"mean recall {100 * scores['mean_recall']:.2f}  mean precision {100 * scores['mean_precision']:.2f}\n"
        "(percent; a class that is neither there nor predicted counts as 100, as published)"
    )
    rows = [
        f"{name:<22} IoU {100 * one['iou']:6.2f}  recall {100 * one['recall']:6.2f}  precision {100 * one['precision']:6.2f}"
        for name, one in found["per_class"].items()
    ]
    return "\n".join([head, *rows])


@contextmanager
def _running(devices: int | None, *, what: str, wandb: str | None) -> Iterator[Any]:
    """How a run is run from a terminal: a bar or lines, and a state that is saved when it is interrupted."""
    from noldo.training.runs import Running

    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda signum, _: _ask(asked, signum)) for number in numbers]
    try:
        with shown_progress(what) as progress:
            yield Running(
                devices="auto" if devices is None else devices,
                progress=progress,
                stop=lambda: bool(asked),
                wandb=wandb,
            )
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _ask(asked: list[int], signum: int) -> None:
    """The first signal asks to save and stop; a second one stops at once."""
    if asked:
        raise KeyboardInterrupt
    asked.append(signum)


@contextmanager
def shown_progress(what: str, *, unit: str = "step") -> Iterator[Callable[[int, int, str], None]]:
    """A bar on a terminal, lines in a log: called with steps done, steps in all, and what there is to say."""
    if not sys.stderr.isatty():
        log = logging.getLogger(__name__)
        log.setLevel(logging.INFO)
        yield lambda done, total, words: log.info("%s: %s %d of %d, %s", what, unit, done, total, words)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total, words: bar.update(
            task, completed=done, total=total, description=f"{what}: {words}"
        )
