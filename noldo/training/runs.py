"""Runs from recipe to result: set up devices, data and networks, and give them to the loop."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.seed import seed_everything

from noldo.atomic import atomic_file
from noldo.errors import ConfigError, StoreError
from noldo.models.input_step import InputStep
from noldo.scores import Scores, scores_of
from noldo.training.correcting import Correcting, Surroundings
from noldo.training.counts import summary
from noldo.training.feed import make_feed, whole_tiles
from noldo.training.loop import Loop
from noldo.training.losses import label_loss_of
from noldo.training.networks import build_pretraining, build_transfer, keeper_of
from noldo.training.paired import order_of_source, with_target
from noldo.training.pretraining import Pretraining, logits_of
from noldo.training.recipe import (
    OneModality,
    Plateau,
    PretrainRecipe,
    Recipe,
    SelfTrainRecipe,
    TransferRecipe,
)
from noldo.training.run_folder import RunFolder, read_checkpoint, read_json
from noldo.training.sample_figure import sample_figure
from noldo.training.self_training import SelfTraining
from noldo.training.splits import (
    Samples,
    crop_to_load,
    open_split,
    require_label_files,
    require_one_size,
    require_samples,
)
from noldo.training.task import Feed, Progress
from noldo.training.transferring import Transferring

_LOG = logging.getLogger(__name__)

_SEASONS_OF_VAL = 0
"""Seed of the seasons that pretraining is judged in at its end: not that of the run, so that runs can be compared."""

RESULT = "result.json"
"""Written last: a run that has it is finished."""


@dataclass(frozen=True)
class Running:
    """How a run is run. With more devices a step takes more samples: `batch_size` is that of each."""

    devices: int | str = "auto"
    """Number of GPUs or processes; `auto`: all GPUs, or one process on a CPU."""
    accelerator: str = "auto"
    progress: Progress | None = None
    stop: Callable[[], bool] | None = None
    """Asked now and then whether to save the state and end."""
    wandb: str | None = None
    """Project of Weights & Biases that curves are written to, too."""


def is_finished(folder: Path) -> bool:
    """Whether a run has ended, and so has its result."""
    return (folder / RESULT).is_file()


def run_recipe(
    recipe: Recipe, *, out: Path, running: Running | None = None, may_differ: Sequence[str] = ()
) -> dict[str, Any]:
    """Run a recipe to its end, from wherever it was; a finished run is only read.

    Parameters
    ----------
    may_differ
        Keys, with dots, in which the folder's recipe may differ: what they name is the same.

    Returns
    -------
    What is in `result.json`.

    Raises
    ------
    ConfigError, CheckpointError, StoreError
        Before anything is trained.
    DivergedError, RunInterruptedError
        On the way.
    """
    folder = RunFolder(out)
    folder.check(recipe, but=may_differ)
    if is_finished(out):
        return read_result(out)
    fabric = _fabric(recipe, running or Running())
    seed_everything(recipe.seed, verbose=False)
    if isinstance(recipe, PretrainRecipe):
        result = _pretrain(recipe, folder, fabric, running or Running())
    else:
        result = _transfer(recipe, folder, fabric, running or Running())
    if fabric.is_global_zero:
        with atomic_file(out / RESULT) as file:
            file.write((json.dumps(result, indent=1) + "\n").encode())
    fabric.barrier()
    return result


def is_first_rank() -> bool:
    """Whether this process speaks for all."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    return int(getattr(rank_zero_only, "rank", None) or 0) == 0


def num_ranks() -> int:
    """Processes that run together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def read_result(out: Path) -> dict[str, Any]:
    """The result of a finished run.

    Raises
    ------
    CheckpointError
        If it can't be read.
    """
    return read_json(out / RESULT)


def _fabric(recipe: Recipe, running: Running) -> Fabric:
    devices = running.devices
    if devices != "auto" and int(devices) < 1:
        raise ConfigError(f"--devices {devices}: expected 1 or more")
    if devices == "auto" and not torch.cuda.is_available():
        devices = 1
    fabric = Fabric(
        accelerator=running.accelerator,
        devices=devices,
        precision=recipe.precision,
        strategy="ddp" if devices not in (1, "1") and devices != "auto" else "auto",
    )
    fabric.launch()
    return fabric


def _device_name(fabric: Fabric) -> str:
    if fabric.device.type == "cuda":
        return torch.cuda.get_device_name(fabric.device)
    return str(fabric.device)


def _pretrain(recipe: PretrainRecipe, folder: RunFolder, fabric: Fabric, running: Running) -> dict[str, Any]:
    labels = "all" if recipe.method.smoothing is not None else "season"
    train, val = (
        open_split(
            recipe.data,
            split=split,
            modalities=recipe.modalities,
            seed=recipe.seed,
            labels=labels,
            is_told=fabric.is_global_zero,
        )
        for split in ("train", "val")
    )
    where = recipe.data.where
    require_one_size(train, where=where)
    for split, data_set in (("train", train), ("val", val)):
        crop_to_load(data_set, recipe.augmentation.crop_px, where=f"{where}, split {split}")
        require_label_files(data_set, where=f"{where}, split {split}")
    _require_measure(recipe, val, where=where)
    label_loss = label_loss_of(recipe.method.loss, classes=train.legend.classes, device=fabric.device)
    network, inputs = build_pretraining(recipe, num_classes=len(train.legend.classes))
    task = Pretraining(
        recipe,
        network=network,
        inputs=inputs,
        num_classes=len(train.legend.classes),
        label_loss=label_loss,
        num_ranks=fabric.world_size,
        device=fabric.device,
        correction=_correction(recipe, network, classes=train.legend.classes, fabric=fabric),
    )
    feed = _feed(recipe, train, val, inputs, fabric)
    loop = _loop(task, feed, recipe=recipe, folder=folder, fabric=fabric, running=running)
    state = loop.run()
    result: dict[str, Any] = {"kind": recipe.kind, "epochs": state.epoch, "val": state.scores}
    if not len(val):
        return result
    loop.count(_whole_patches(recipe, fabric), validate=task.judge)
    confusions, classes = task.confusions(), train.legend.classes
    num_locations = len(val) if recipe.data.max_val is None else min(recipe.data.max_val, len(val))
    require_labels(next(iter(confusions.values())), where=f"{where}, split val")
    return result | results_of_outputs(confusions, classes=classes, num_locations=num_locations)


def _correction(
    recipe: PretrainRecipe, network: torch.nn.Module, *, classes: Sequence[str], fabric: Fabric
) -> Correcting | None:
    if recipe.method.correction is None:
        return None
    return Correcting(
        recipe.method.correction,
        student=network,
        predict=partial(logits_of, modalities=recipe.modalities),
        classes=classes,
        around=Surroundings(
            fabric.device,
            num_ranks=fabric.world_size,
            is_first_rank=fabric.is_global_zero,
            autocast=fabric.autocast,
        ),
    )


def _require_measure(recipe: Recipe, val: Samples, *, where: str) -> None:
    if isinstance(recipe.schedule, Plateau) and not len(val):
        raise ConfigError(
            f"schedule plateau: {where} has no val split to measure by; write `schedule: {{name: constant}}` or cosine"
        )


def require_labels(counts: np.ndarray, *, where: str) -> None:
    """Refuse scores of nothing.

    Raises
    ------
    StoreError
        If no pixel was counted.
    """
    if not counts.sum():
        raise StoreError(f"{where}: no labelled pixel to judge by; see `noldo info`, or draw other splits")


def _whole_patches(recipe: PretrainRecipe, fabric: Fabric) -> Iterable[Any]:
    """Batches of val, uncropped; each patch in one of its seasons, the same one for every recipe."""
    val = open_split(recipe.data, split="val", modalities=recipe.modalities, seed=_SEASONS_OF_VAL)
    return whole_tiles(
        val,
        data=recipe.data,
        batch_size=recipe.batch_size,
        rank=fabric.global_rank,
        num_ranks=fabric.world_size,
        limit=recipe.data.max_val,
    )


def _transfer(
    recipe: TransferRecipe | SelfTrainRecipe, folder: RunFolder, fabric: Fabric, running: Running
) -> dict[str, Any]:
    open_one = partial(open_split, recipe.data, modalities=(recipe.modality,), seed=recipe.seed)
    where = recipe.data.where
    crop_px = crop_to_load(open_one(split="train"), recipe.augmentation.crop_px, where=where)
    train = open_one(split="train", crop_px=crop_px, is_told=fabric.is_global_zero)
    val, test = (open_one(split=split, season=0) for split in ("val", recipe.judged_split))
    where_judged = f"{where}, split {recipe.judged_split}"
    require_samples(test, where=where_judged)
    for split, data_set in (("train", train), ("val", val), (recipe.judged_split, test)):
        require_label_files(data_set, where=f"{where}, split {split}")
    if recipe.early_stopping is not None:
        require_samples(val, where=f"early_stopping; {where}, split val")
    _require_measure(recipe, val, where=where)
    count = num_tested(recipe, len(test), where=where)
    num_classes = len(train.legend.classes)
    label_loss = label_loss_of(recipe.loss, classes=train.legend.classes, device=fabric.device)
    network, inputs, matched = build_transfer(recipe, num_classes=num_classes)
    if matched is not None and fabric.is_global_zero:
        _LOG.warning("%s: %s", recipe.weights, matched)
    task_of: Callable[..., Transferring] = Transferring
    if isinstance(recipe, SelfTrainRecipe):
        task_of = partial(SelfTraining, rank=fabric.global_rank, autocast=fabric.autocast)
    task = task_of(
        recipe,
        network=network,
        inputs=inputs,
        num_classes=num_classes,
        device=fabric.device,
        label_loss=label_loss,
        keep_frozen=keeper_of(recipe, network),
    )
    feed = _feed(recipe, train, val, inputs, fabric)
    loop = _loop(task, feed, recipe=recipe, folder=folder, fabric=fabric, running=running)
    state = loop.run()
    if recipe.early_stopping is not None:
        network.load_state_dict(read_checkpoint(folder.checkpoint("best"))["network"])
    loop.count(
        whole_tiles(
            test,
            data=recipe.data,
            batch_size=recipe.batch_size,
            rank=fabric.global_rank,
            num_ranks=fabric.world_size,
            limit=count,
        )
    )
    require_labels(task.confusion(), where=where_judged)
    loop.draw("test")
    return {
        "kind": recipe.kind,
        "weights": None if matched is None else matched.summary(),
        "epochs": state.epoch,
        "weights_of_epoch": state.best_epoch if recipe.early_stopping is not None else state.epoch,
        "season": test.season_names[0],
        **result_of(
            task.confusion(), classes=train.legend.classes, num_locations=count, split=recipe.judged_split
        ),
    }


def num_tested(recipe: OneModality, num_tiles: int, *, where: str) -> int:
    """Tiles of the test split that count; see `test_batch_size`."""
    size = recipe.test_batch_size
    if size is None:
        return num_tiles
    if num_tiles < size:
        raise ConfigError(
            f"test_batch_size {size}: {where}, split {recipe.judged_split} has {num_tiles} tiles, so none would count; give at most that, or null"
        )
    if left := num_tiles % size:
        _LOG.warning(
            "%s, split %s: the last %d of %d tiles are left out, as published",
            where,
            recipe.judged_split,
            left,
            num_tiles,
        )
    return num_tiles - num_tiles % size


def results_of_outputs(
    confusions: Mapping[str, np.ndarray], *, classes: Sequence[str], num_locations: int
) -> dict[str, Any]:
    """Scores of a network of one or two modalities: of each, and their means as `scores`.

    Parameters
    ----------
    confusions
        Modality to (truth, prediction) pixels of the val split.
    """
    outputs = {
        name: result_of(counts, classes=classes, num_locations=num_locations, split="val")
        for name, counts in confusions.items()
    }
    first = next(iter(outputs.values()))
    facts = {key: first[key] for key in ("split", "num_locations", "num_pixels")}
    kinds = ("scores", "scores_of_present_classes")
    return (
        facts
        | {kind: _means([one[kind] for one in outputs.values()]) for kind in kinds}
        | {"outputs": outputs}
    )


def _means(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: sum(one[key] for one in scores) / len(scores) for key in scores[0]}


def result_of(
    counts: np.ndarray, *, classes: Sequence[str], num_locations: int, split: str = "test"
) -> dict[str, Any]:
    """Scores of a split, by both rules for classes that are not there.

    Parameters
    ----------
    counts
        (truth, prediction) pixels.
    """
    published = scores_of(counts, absent="one")
    return {
        "split": split,
        "num_locations": num_locations,
        "num_pixels": published.num_pixels,
        "scores": summary(published),
        "scores_of_present_classes": summary(scores_of(counts, absent="skip")),
        "per_class": _per_class(published, classes),
        "confusion": counts.tolist(),
    }


def _per_class(scores: Scores, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    columns = {"iou": scores.iou, "f1": scores.f1, "precision": scores.precision, "recall": scores.recall}
    return {
        name: {key: values[position] for key, values in columns.items()}
        for position, name in enumerate(classes)
    }


def _feed(recipe: Recipe, train: Samples, val: Samples, inputs: InputStep, fabric: Fabric) -> Feed:
    bands = {modality: inputs.bands(modality) for modality in inputs.modalities}
    feed = make_feed(
        train,
        val,
        data=recipe.data,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        rank=fabric.global_rank,
        num_ranks=fabric.world_size,
        draw=partial(sample_figure, bands=bands, legend=train.legend),
        make_order=order_of_source(recipe, train) if isinstance(recipe, SelfTrainRecipe) else None,
    )
    if not isinstance(recipe, SelfTrainRecipe):
        return feed
    return with_target(feed, recipe=recipe, rank=fabric.global_rank, num_ranks=fabric.world_size)


def _loop(
    task: Pretraining | Transferring,
    feed: Feed,
    *,
    recipe: Recipe,
    folder: RunFolder,
    fabric: Fabric,
    running: Running,
) -> Loop:
    if fabric.device.type == "cuda":
        # What its convolutions are fastest in; images follow the weights.
        task.network.to(memory_format=torch.channels_last)
    if fabric.is_global_zero:
        folder.claim(recipe)
        folder.describe(device=_device_name(fabric), num_ranks=fabric.world_size)
    return Loop(
        task,
        feed=feed,
        recipe=recipe,
        folder=folder,
        fabric=fabric,
        progress=running.progress,
        stop=running.stop,
        wandb=running.wandb,
    )
