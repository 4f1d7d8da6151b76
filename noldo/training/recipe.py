"""What a training run is: one YAML file, read into frozen values. Every key is described here, and nowhere else.

The defaults are the published recipe of CromSS (README and code of zhu-xlab/CromSS) with its defects mended; `compat` brings
back those that change results.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from noldo.errors import ConfigError
from noldo.frozen import Frozen
from noldo.training.correction_keys import CorrectionKeys, Objects
from noldo.training.data_keys import Data
from noldo.training.loss_keys import CompatSymmetric, Corrected, CrossEntropy, LossKeys
from noldo.training.self_train_keys import SelfTraining

Modality = Literal["s1_grd", "s2_l1c", "rgb", "aerial", "sar_amplitude"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class Augmentation(Frozen):
    """What is done to each sample in training, decided by seed, epoch and id of its location."""

    crop_px: int = Field(
        default=256,
        ge=32,
        description="Side of the crop, in pixels of 10 m; networks repeat the border to the next multiple of their stride.",
    )
    flip: float = Field(
        default=0.5, ge=0, le=1, description="Chance of a flip: both axes, up-down or left-right alike."
    )
    transpose: float = Field(
        default=0.0, ge=0, le=1, description="Chance of rows becoming columns; with flips: all of D4."
    )
    rotate: float = Field(default=0.2, ge=0, le=1, description="Chance of a rotation by any angle.")
    max_angle_deg: float = Field(
        default=90.0, ge=0, le=180, description="Angles are uniform within +- this, in degrees."
    )


class Optimiser(Frozen):
    """Steps of gradient descent."""

    name: Literal["adam", "adamw", "sgd"] = Field(
        default="adam", description="sgd: momentum 0.9, as published."
    )
    lr: float = Field(default=5e-3, gt=0, description="Learning rate.")
    weight_decay: float = Field(default=1e-8, ge=0, description="L2 penalty (decoupled for adamw).")
    clip_norm: float | None = Field(
        default=None, gt=0, description="Largest norm of all gradients; default: any."
    )


class Plateau(Frozen):
    """Halve the learning rate when the validation loss stops falling."""

    name: Literal["plateau"] = "plateau"
    factor: float = Field(default=0.5, gt=0, lt=1, description="Of the learning rate.")
    patience: int = Field(default=30, ge=0, description="Epochs without an improvement of 1e-4, relative.")


class Cosine(Frozen):
    """Fall along half a cosine, once an epoch, then stay."""

    name: Literal["cosine"] = "cosine"
    epochs: int = Field(default=40, ge=1, description="Epochs until the end value.")
    final_lr: float = Field(default=1e-5, ge=0, description="Learning rate from then on.")


class Constant(Frozen):
    """The learning rate stays as it is."""

    name: Literal["constant"] = "constant"


Schedule = Annotated[Plateau | Cosine | Constant, Field(discriminator="name")]


class Smoothing(Frozen):
    """Spatial-temporal label smoothing (`noldo.method.smoothing`)."""

    prior: Literal["ts", "t", "s"] = Field(
        default="ts", description="Temporal frequency of all seasons, the season itself, or both."
    )
    prior_share: float = Field(default=0.15, ge=0, le=1, description="Of the target that is the prior.")
    uniform_share: float = Field(default=0.05, ge=0, le=1, description="Of the target that is uniform.")


class Selection(Frozen):
    """Cross-modal sample selection (`noldo.method.selection`)."""

    confidence: Literal["ce", "gini"] = Field(default="ce", description="How a prediction is confident.")
    ramp: Literal["exponential", "linear", "none"] = Field(
        default="exponential", description="How selection grows over epochs."
    )
    ramp_epochs: int = Field(default=80, ge=1, description="Epochs until it is at full strength.")
    share: float = Field(
        default=0.5, gt=0, le=1, description="Of the pixels of a class that count fully, in the end."
    )


class Method(Frozen):
    """How noisy labels are learnt from."""

    loss: LossKeys = Field(
        default=CrossEntropy(),
        description="Between prediction and label; those other than ce bear wrong labels.",
    )
    dice: bool = Field(
        default=True, description="Add Dice to it, as published; Dice itself does not bear wrong labels."
    )
    smoothing: Smoothing | None = Field(default=Smoothing(), description="null: hard labels.")
    selection: Selection | None = Field(default=Selection(), description="null: every pixel counts alike.")
    consistency: Literal["ce", "kl", "mse"] = Field(
        default="ce", description="Loss between the two predictions."
    )
    consistency_weight: float = Field(default=1.0, ge=0, description="Of that loss; 0: none.")
    correction: CorrectionKeys | None = Field(
        default=None,
        description="How a teacher corrects labels while they are learnt; null: they stay as they are.",
    )
    over_ranks: bool = Field(
        default=False,
        description="Select among the pixels of all ranks, and average over them; as published: each rank alone.",
    )

    @model_validator(mode="after")
    def _a_loss_takes_what_it_is_defined_for(self) -> Self:
        if self.smoothing is not None and not self.loss.takes_soft_targets:
            raise ValueError(f"loss {self.loss.name} is defined for hard labels; write `smoothing: null`")
        if self.selection is not None and isinstance(self.loss, CompatSymmetric):
            raise ValueError("loss sce_compat is as released, without weights; write `selection: null`")
        return self

    @model_validator(mode="after")
    def _corrected_labels_stand_for_themselves(self) -> Self:
        if self.correction is None:
            return self
        name = self.correction.name
        if self.smoothing is not None:
            raise ValueError(
                f"correction {name}: the prior of smoothing is of the labels as they are stored; write `smoothing: null`"
            )
        if isinstance(self.loss, Corrected):
            raise ValueError(
                f"correction {name}: the matrix of loss {self.loss.name} is of the labels as they are stored; choose one of both"
            )
        if (
            isinstance(self.correction, Objects)
            and self.correction.soften_px > 1
            and isinstance(self.loss, CompatSymmetric)
        ):
            raise ValueError("loss sce_compat is as released, without weights; write `soften_px: 1`")
        return self


class Run(Frozen):
    """What every kind of run has."""

    data: Data
    augmentation: Augmentation = Augmentation()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Plateau()
    encoder: str = Field(
        default="resnet50",
        description="resnet18, resnet34, resnet50, or tu-NAME of timm (a vision transformer with unet, fpn or upernet).",
    )
    epochs: int = Field(default=200, ge=1, description="Passes over the locations of train.")
    batch_size: int = Field(default=128, ge=1, description="Samples of one step, a rank.")
    precision: Precision = Field(default="bf16-mixed", description="Of convolutions; losses are float32.")
    compile: bool = Field(
        default=False,
        description="torch.compile of the network, and on a GPU of what pretraining does before it.",
    )
    checkpoint_epochs: int = Field(
        default=10, ge=1, description="A checkpoint is kept every so many epochs; the last one always."
    )
    val_epochs: int = Field(
        default=1, ge=1, description="Val is judged every so many epochs, and after the last one."
    )
    log_steps: int = Field(
        default=20, ge=1, description="Losses are looked at every so many steps: the device is waited for."
    )
    seed: int = Field(default=42, ge=0, description="Of weights, order, seasons and augmentation.")

    @model_validator(mode="after")
    def _a_plateau_is_seen_epoch_by_epoch(self) -> Self:
        if isinstance(self.schedule, Plateau) and self.val_epochs != 1:
            raise ValueError(
                f"val_epochs {self.val_epochs}: schedule plateau measures each epoch; write 1, or cosine"
            )
        return self


class PretrainRecipe(Run):
    """Pretraining on noisy labels: CromSS with two modalities, plain supervision with one."""

    kind: Literal["pretrain"] = "pretrain"
    modalities: tuple[Modality, ...] = Field(
        default=("s1_grd", "s2_l1c"), min_length=1, max_length=2, description="One or both."
    )
    fusion: Literal["middle", "late"] = Field(
        default="middle", description="One decoder for both modalities, or two networks; not used with one."
    )
    method: Method = Method()

    @model_validator(mode="after")
    def _ignored_classes_are_no_missing_labels(self) -> Self:
        if isinstance(self.method.correction, Objects) and self.data.ignore_classes:
            raise ValueError(
                "correction objects adds labels where there are none, which data.ignore_classes makes; name those classes as "
                "correction.background, or choose one of both"
            )
        return self

    @model_validator(mode="after")
    def _a_correction_begins_before_the_end(self) -> Self:
        correction = self.method.correction
        if correction is not None and correction.first_epoch() >= self.epochs:
            raise ValueError(
                f"method.correction {correction.name} can't begin before {correction.first_epoch()} epochs are done, and the run has "
                f"{self.epochs}; write more epochs, or let it begin earlier (from_epoch, windows)"
            )
        return self

    @model_validator(mode="after")
    def _one_modality_has_no_partner(self) -> Self:
        if len(set(self.modalities)) != len(self.modalities):
            raise ValueError("modalities: the same one twice")
        if len(self.modalities) == 2 and set(self.modalities) != {"s1_grd", "s2_l1c"}:
            raise ValueError("modalities: two are s1_grd and s2_l1c; others are learnt alone")
        if len(self.modalities) == 1 and self.method.selection is not None:
            raise ValueError("method.selection needs two modalities; write `selection: null`")
        return self


class OneModality(Run):
    """A network of an encoder and a new decoder, and how it is judged: of runs whose result is a map."""

    kind: str
    modality: Modality = Field(default="s2_l1c", description="What the network sees.")
    framework: Literal["unet", "pspnet", "deeplabv3plus", "fpn", "upernet"] = Field(
        default="fpn", description="Decoder around the encoder."
    )
    weights: str | None = Field(
        default=None, description="File or run folder with an encoder; null: random, as initialised."
    )
    mode: Literal["frozen", "finetuned"] = Field(
        default="finetuned", description="Whether the encoder learns."
    )
    loss: LossKeys = Field(
        default=CrossEntropy(),
        description="Between prediction and label; those other than ce bear wrong labels.",
    )
    dice: bool = Field(
        default=True, description="Add Dice to it, as published; Dice itself does not bear wrong labels."
    )
    lovasz: float = Field(
        default=0.0,
        ge=0,
        description="Weight of Lovasz-Softmax beside them; 1 in the DFC2025 winner; 0: none.",
    )
    augmentation: Augmentation = Augmentation(crop_px=480)
    optimiser: Optimiser = Optimiser(lr=5e-4)
    schedule: Schedule = Cosine()
    epochs: int = Field(default=50, ge=1, description="Passes over the locations of train.")
    batch_size: int = Field(default=32, ge=1, description="Samples of one step, a rank.")
    early_stopping: int | None = Field(
        default=None,
        ge=1,
        description="Epochs without a better mIoU on val after which the run ends, with its best weights.",
    )
    compat: bool = Field(
        default=False,
        description="As published where that is a defect: PSPNet with three stages, live BatchNorm in a frozen encoder.",
    )
    judged_split: Literal["test", "val"] = Field(
        default="test",
        description="What the result is of; val where the labels of test are not published, or a fold is judged.",
    )
    test_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="As published: the test split is cut into batches of so many tiles (100 for @DW and @OSM, 300 for DFC2020) and "
        "the last, incomplete one is left out; null: every tile counts.",
    )

    @model_validator(mode="after")
    def _early_stopping_sees_every_epoch(self) -> Self:
        if self.early_stopping is not None and self.val_epochs != 1:
            raise ValueError(
                f"val_epochs {self.val_epochs}: early_stopping counts epochs of val; write 1, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _one_sample_is_no_batch(self) -> Self:
        if self.framework == "deeplabv3plus" and self.batch_size == 1:
            raise ValueError(
                "batch_size 1: deeplabv3plus normalises image means over the batch; give 2 or more"
            )
        return self


class TransferRecipe(OneModality):
    """An encoder and a new decoder learn clean labels."""

    kind: Literal["transfer"] = "transfer"


_OF_LABELS = (
    *("label_source", "label_store", "class_numbers", "ignore_classes", "legend", "noise"),
    *("hold_out", "drop_worst"),
)


class SelfTrainRecipe(OneModality):
    """A labelled source (`data`) and an unlabelled target, which a teacher labels: stage 1 of the DFC2025 track 1 winner.

    Loss and Dice are of the source; mixed images have the cross-entropy alone.
    """

    kind: Literal["self_train"] = "self_train"
    target: Data = Field(description="What is learnt from without labels: the train split of this store.")
    method: SelfTraining = SelfTraining()
    steps_per_epoch: int | None = Field(
        default=None,
        ge=1,
        description="Steps of an epoch; null: a pass over the source. The target goes on without end.",
    )
    dice: bool = Field(default=False, description="Add Dice to the source's loss; not published.")

    @model_validator(mode="after")
    def _a_target_is_unlabelled_and_looks_like_the_source(self) -> Self:
        plain, target = Data(store=""), self.target
        if given := [key for key in _OF_LABELS if getattr(target, key) != getattr(plain, key)]:
            raise ValueError(
                f"target: its labels are never read, so {', '.join(given)} means nothing; leave it out"
            )
        for key in ("bands", "inputs"):
            mine, other = getattr(self.data, key), getattr(target, key)
            if mine != other:
                raise ValueError(f"target.{key} {other}: one network sees both, and data.{key} is {mine}")
        return self


Recipe = PretrainRecipe | TransferRecipe | SelfTrainRecipe
_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(Annotated[Recipe, Field(discriminator="kind")])


def load_recipe(path: Path, *, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    changes
        `key.key=value`, each in place of what the file says; values are YAML.

    Raises
    ------
    ConfigError
        If the file can't be read, a key is unknown, or a value is none that is allowed.
    """
    import yaml

    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}); give the path of a recipe") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values, e.g. `kind: pretrain`")
    return recipe_of(changed(tree, changes), where=str(path))


def changed(tree: dict[str, object], changes: Sequence[str]) -> dict[str, object]:
    """A recipe's tree with `key.key=value` of the command line in it.

    Raises
    ------
    ConfigError
        If a change is none.
    """
    for change in changes:
        _apply(tree, change)
    return tree


def recipe_of(tree: object, *, where: str) -> Recipe:
    """Validate a recipe that was read from somewhere.

    Raises
    ------
    ConfigError
        Naming each key that is wrong.
    """
    try:
        return _ADAPTER.validate_python(tree)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_faults(error)}") from None


def _faults(error: ValidationError) -> str:
    """Each fault with its key; the tag of the kind of recipe is no key."""
    kinds = ("pretrain", "transfer", "self_train")
    faults = []
    for one in error.errors(include_url=False, include_context=False):
        keys = [str(part) for part in one["loc"] if part not in kinds]
        faults.append(f"{'.'.join(keys) or 'recipe'}: {one['msg']}")
    return "; ".join(faults)


def _apply(tree: dict[str, object], change: str) -> None:
    import yaml

    path, equals, value = change.partition("=")
    *above, last = path.split(".")
    if not equals or not last:
        raise ConfigError(f"{change}: expected key=value, e.g. epochs=10 or data.store=results/mine")
    node = tree
    for key in above:
        below = node.setdefault(key, {})
        if not isinstance(below, dict):
            raise ConfigError(f"{change}: {key} is not a section of the recipe")
        node = below
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"{change}: the value is not YAML") from None


def resolved(recipe: Run) -> str:
    """A recipe with every default written out, as JSON: the same run, the same text."""
    return json.dumps(recipe.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
