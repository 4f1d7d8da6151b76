"""A finished run of one modality (transfer, self_train), judged on a split: of its own store, or of another one with the same legend."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric

from noldo.errors import CheckpointError
from noldo.models.input_step import InputStep
from noldo.training.feed import whole_tiles
from noldo.training.label_transforms import refuse_odd_labels
from noldo.training.networks import build_transfer
from noldo.training.recipe import OneModality, recipe_of
from noldo.training.run_folder import RunFolder, read_checkpoint, read_json
from noldo.training.runs import is_finished, num_tested, require_labels, result_of
from noldo.training.splits import open_split, require_label_files, require_samples
from noldo.training.transferring import Transferring


@dataclass(frozen=True)
class Judged:
    """Where a network is judged."""

    split: str = "test"
    store: str | None = None
    """None: the one that it learnt from."""
    subset: str | None = None
    label_source: str | None = None
    """None: the labels that it learnt; of another store, or without its label store, they have to be there too."""
    label_store: str | None = None
    """None: that of the run, if the store is; else the store itself."""


def recipe_of_run(run: Path) -> OneModality:
    """The recipe of a run of one modality.

    Raises
    ------
    CheckpointError
        If the folder is none of such a run.
    """
    path = run / "recipe.json"
    recipe = recipe_of(read_json(path), where=str(path))
    if not isinstance(recipe, OneModality):
        raise CheckpointError(
            f"{run}: a run of kind {recipe.kind}; only transfer runs and self_train runs are of one network that maps"
        )
    return recipe


def finished_recipe(run: Path) -> OneModality:
    """The recipe of such a run that has ended.

    Raises
    ------
    CheckpointError
        If the folder is none of such a run, or the run has not ended.
    """
    recipe = recipe_of_run(run)
    if not is_finished(run):
        raise CheckpointError(f"{run}: not finished; run it to its end with the same command first")
    return recipe


def weights_file(run: Path, recipe: OneModality) -> Path:
    """The checkpoint that the run's result is of."""
    return RunFolder(run).checkpoint("best" if recipe.early_stopping is not None else "last")


def load_run(run: Path, *, num_classes: int) -> tuple[OneModality, torch.nn.Module, InputStep]:
    """Recipe, network and the step before it; the weights that the run's result is of.

    Raises
    ------
    CheckpointError
        If the run has no checkpoint, or one of another number of classes.
    """
    recipe = finished_recipe(run)
    path = weights_file(run, recipe)
    network, inputs, _ = build_transfer(recipe.model_copy(update={"weights": None}), num_classes=num_classes)
    try:
        network.load_state_dict(read_checkpoint(path)["network"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: not a network of {num_classes} classes like the labels ({reason})"
        ) from None
    return recipe, network.eval(), inputs


def evaluate_run(run: Path, *, where: Judged) -> dict[str, Any]:
    """Scores of a finished run on a split, in the precision of the run: those of `result.json`, on its test split.

    Raises
    ------
    ConfigError, CheckpointError, StoreError
        If run, store and split do not fit together.
    """
    recipe = recipe_of_run(run)
    changes: dict[str, str | None] = {
        "store": where.store or recipe.data.store,
        "subset": where.subset or recipe.data.subset,
    }
    if where.store is not None or where.label_source is not None or where.label_store is not None:
        changes["label_store"] = (
            where.label_store
        )  # that of the run is of other locations, or of other labels
    if where.label_source is not None:
        changes["label_source"] = where.label_source
    data = recipe.data.model_copy(update=changes)
    data_set = open_split(data, split=where.split, modalities=(recipe.modality,), seed=recipe.seed, season=0)
    name = f"{data.where}, split {where.split}"
    require_samples(data_set, where=name)
    require_label_files(data_set, where=name)
    legend = data_set.legend
    recipe, network, inputs = load_run(run, num_classes=len(legend.classes))
    fabric = Fabric(accelerator="auto", devices=1, precision=recipe.precision)
    device = fabric.device
    task = Transferring(
        recipe,
        network=network,
        inputs=inputs,
        num_classes=len(legend.classes),
        device=device,
    )
    network.to(device)
    is_own_test = data == recipe.data and where.split == recipe.judged_split
    count = num_tested(recipe, len(data_set), where=name) if is_own_test else len(data_set)
    with torch.no_grad(), fabric.autocast():
        for batch in whole_tiles(data_set, data=data, batch_size=recipe.batch_size, limit=count):
            refuse_odd_labels(batch, legend=legend, where=name)
            moved = {
                key: value.to(device) if isinstance(value, torch.Tensor) else value
                for key, value in batch.items()
            }
            task.validate(network, cast(Any, moved))
    counts = task.confusion()
    require_labels(counts, where=name)
    found = result_of(counts, classes=legend.classes, num_locations=count, split=where.split)
    return found | {"season": data_set.season_names[0]}
