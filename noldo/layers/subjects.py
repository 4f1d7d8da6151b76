"""The networks that are compared: finished runs of `noldo pretrain`, in groups that learnt the same labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning_fabric.utilities.seed import seed_everything
from torch import nn

from noldo.errors import CheckpointError, ConfigError
from noldo.layers.stages import State
from noldo.models.frameworks import RESNETS
from noldo.training.data_keys import Data, LabelNoise
from noldo.training.networks import build_pretraining
from noldo.training.recipe import PretrainRecipe, recipe_of
from noldo.training.run_folder import RunFolder, read_checkpoint, read_json
from noldo.training.runs import is_finished, read_result

CLEAN = "clean"
UNTRAINED = "untrained"
"""Group of the clean runs' initial weights."""

_LABELS = ("label_source", "label_store", "legend", "noise")
_OF_LABELS = tuple(f"data.{key}" for key in (*_LABELS, *(f"noise.{key}" for key in LabelNoise.model_fields)))
"""Keys in which noisy runs may differ from clean ones, beside the seed."""


@dataclass(frozen=True)
class Subject:
    """One run."""

    group: str
    """Which labels it learnt."""
    folder: Path
    recipe: PretrainRecipe
    num_classes: int
    classes: tuple[str, ...] | None
    """Names, as far as the run's result tells them: it does if there was a val split."""

    @property
    def seed(self) -> int:
        """Of its recipe."""
        return self.recipe.seed

    @property
    def modality(self) -> str:
        """What it sees."""
        return self.recipe.modalities[0]

    def learnt(self, classes: Sequence[str]) -> bool:
        """Whether its outputs are these classes, as far as one can know."""
        return self.num_classes == len(classes) and self.classes in (None, tuple(classes))

    def initial(self) -> nn.Module:
        """The network as it was before its first step: random weights of its seed."""
        seed_everything(self.seed, verbose=False)
        network, _ = build_pretraining(self.recipe, num_classes=self.num_classes)
        return network.eval()

    def state(self) -> State:
        """What it learnt."""
        found: State = _checkpoint(self.folder)
        return found

    def trained(self) -> nn.Module:
        """The network with what it learnt."""
        network = self.initial()
        network.load_state_dict(self.state())
        return network


def read_subjects(noisy: Sequence[Path], clean: Sequence[Path]) -> list[Subject]:
    """All runs, clean ones first; noisy ones in groups of the same labels, which are named by what they differ in from the clean ones.

    Raises
    ------
    CheckpointError
        If a folder is no finished run of `noldo pretrain` with one modality.
    ConfigError
        If there are too few, or runs differ in more than labels and seed.
    """
    if len(clean) < 2:
        raise ConfigError(
            f"--clean: {len(clean)} runs; give two or more of different seeds: noisy ones are compared with their spread"
        )
    if not noisy:
        raise ConfigError("--noisy: no run; give one or more")
    cleans = [replace(_read(folder), group=CLEAN) for folder in clean]
    first = cleans[0]
    for one in cleans[1:]:
        _require_alike(one, first, but=("seed",))
    found = list(cleans)
    for folder in noisy:
        one = _read(folder)
        _require_alike(one, first, but=("seed", *_OF_LABELS))
        found.append(replace(one, group=group_name(one.recipe.data, first.recipe.data)))
    _require_seeds(found)
    return found


def group_name(data: Data, clean: Data) -> str:
    """What labels differ in from the clean ones, in a few words."""
    parts = []
    if data.label_source != clean.label_source:
        parts.append(data.label_source or "default labels")
    if data.label_store != clean.label_store:
        parts.append(Path(data.label_store).name if data.label_store else "labels of the store")
    if data.legend != clean.legend:
        parts.append(data.legend or "own legend")
    if data.noise is not None and data.noise != clean.noise:
        parts.append(f"{data.noise.kind} {100 * data.noise.rate:.3g} %{' varied' if data.noise.vary else ''}")
    return ", ".join(parts) or "the same labels"


def groups_of(subjects: Sequence[Subject]) -> list[str]:
    """Names of groups, in order."""
    return list(dict.fromkeys(one.group for one in subjects))


def _require_alike(one: Subject, other: Subject, *, but: tuple[str, ...]) -> None:
    if told := RunFolder(one.folder).differences(other.recipe, but=but):
        raise ConfigError(
            f"{one.folder}: differs from {other.folder} in more than {'labels and seed' if len(but) > 1 else 'seed'} ({told}); "
            "compare runs of one recipe"
        )


def _require_seeds(subjects: Sequence[Subject]) -> None:
    """No run twice, and for each noisy group a clean run of another seed: those of one seed share their initial weights."""
    places = [(one.group, one.seed) for one in subjects]
    if twice := [place for place in places if places.count(place) > 1]:
        raise ConfigError(f"runs on {twice[0][0]} labels: seed {twice[0][1]} twice; give each run once")
    clean = {seed for group, seed in places if group == CLEAN}
    for group in groups_of(subjects):
        seeds = {seed for other, seed in places if other == group}
        if len(seeds | clean) < 2:
            raise ConfigError(
                f"runs on {group} labels: all of seed {seeds.pop()}, as the clean ones; give other seeds"
            )


def _read(folder: Path) -> Subject:
    path = folder / "recipe.json"
    recipe = recipe_of(read_json(path), where=str(path))
    if not isinstance(recipe, PretrainRecipe):
        raise CheckpointError(f"{folder}: a run of kind {recipe.kind}; give runs of `noldo pretrain`")
    if len(recipe.modalities) != 1 or recipe.encoder not in RESNETS:
        raise CheckpointError(
            f"{folder}: {' and '.join(recipe.modalities)}, encoder {recipe.encoder}; layers are compared of one modality with a "
            f"U-Net around {', '.join(RESNETS)}"
        )
    if not is_finished(folder):
        raise CheckpointError(f"{folder}: not finished; run it to its end with the same command first")
    outputs = read_result(folder).get("outputs", {})
    classes = next((tuple(one["per_class"]) for one in outputs.values()), None)
    bias: torch.Tensor = _checkpoint(folder)["segmentation_head.0.bias"]
    return Subject("", folder, recipe, len(bias), classes)


def _checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    path = RunFolder(folder).checkpoint("last")
    found: dict[str, torch.Tensor] = read_checkpoint(path)["network"]
    return found
