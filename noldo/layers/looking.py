"""Similarity, probes and resets: networks look at a store's images, nothing is trained.

Axes: N sample, F feature, Y row, X column.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from noldo.confusion import counted
from noldo.errors import StoreError
from noldo.layers.findings import WHOLE, Finding
from noldo.layers.pixels import drawn, features_at, features_in, labelled_pixels
from noldo.layers.probe import Probe, Sums
from noldo.layers.similarity import MIN_EXAMPLES, cka, unbiased_hsic
from noldo.layers.stages import LAYERS, outputs_of, with_layer
from noldo.layers.subjects import CLEAN, UNTRAINED, Subject
from noldo.models.input_step import InputStep
from noldo.models.padding import padded
from noldo.scores import scores_of
from noldo.training.data_keys import Data
from noldo.training.feed import whole_tiles
from noldo.training.label_transforms import refuse_odd_labels
from noldo.training.networks import inputs_of
from noldo.training.splits import Samples, open_split, require_samples
from noldo.training.views import shown_labels

EXAMPLES = 256
"""Pixels of a layer's grid that CKA sees of each batch; its cost grows with their square."""

LABEL_PIXELS = 1024
"""Labelled pixels of each sample, on average, that probes see."""

_SEED = 0
"""Of the seasons that are looked at, and of pixels: not that of any run, so that all see the same."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Scene:
    """Images that are looked at, and the labels by which layers are judged."""

    data: Data
    """Of the clean labels."""
    split: str
    """Held out: what similarity is of, and probes and resets are judged by."""
    modality: str
    batch_size: int
    crop_px: int | None
    """Only the centre of each patch; None: all of it."""
    device: torch.device

    @property
    def where(self) -> str:
        """What messages call it."""
        return self.data.where

    def open(self, split: str) -> Samples:
        """The data set of a split.

        Raises
        ------
        ConfigError
            If it is empty.
        """
        options: dict[str, Any] = (
            {} if self.crop_px is None else {"crop_px": self.crop_px, "crop_at": "centre"}
        )
        found = open_split(self.data, split=split, modalities=(self.modality,), seed=_SEED, **options)
        require_samples(found, where=f"{self.where}, split {split}")
        return found

    def batches(
        self, split: str, inputs: InputStep, *, progress: Progress | None = None
    ) -> Iterator[tuple[torch.Tensor, NDArray[np.uint8]]]:
        """Images (N, B, Y, X) on the device, and labels (N, Y, X); in the same order each time."""
        data_set = self.open(split)
        limit = self.data.max_train if split == "train" else self.data.max_val
        loader = whole_tiles(data_set, data=self.data, batch_size=self.batch_size, limit=limit)
        for number, batch in enumerate(loader, start=1):
            refuse_odd_labels(batch, legend=data_set.legend, where=f"{self.where}, split {split}")
            image = inputs(batch)[self.modality].to(self.device)
            yield image, shown_labels(batch).numpy()
            if progress is not None:
                progress(number, len(loader), f"batches of {split} seen")


@dataclass(frozen=True)
class Look:
    """A network that is looked at."""

    subject: Subject
    network: nn.Module


def looks_of(subjects: Sequence[Subject], *, device: torch.device) -> list[Look]:
    """All runs as learnt, and the clean ones as they were before their first step."""
    learnt = [Look(one, one.trained().to(device)) for one in subjects]
    untrained = [
        Look(replace(one, group=UNTRAINED), one.initial().to(device))
        for one in subjects
        if one.group == CLEAN
    ]
    return learnt + untrained


@torch.no_grad()
def similarity_and_probes(
    looks: Sequence[Look], scene: Scene, *, wanted: Sequence[str], progress: Progress | None = None
) -> list[Finding]:
    """CKA of each pair of networks of different seeds, and scores of a linear classifier on each layer.

    Parameters
    ----------
    wanted
        `similarity`, `probe`, or both.
    """
    inputs = inputs_of(looks[0].subject.recipe)
    num_classes = len(scene.open(scene.split).legend.classes)
    probes = (
        _learnt_probes(looks, scene, inputs, num_classes=num_classes, progress=progress)
        if "probe" in wanted
        else []
    )
    hsic = {layer.name: np.zeros((len(looks), len(looks))) for layer in LAYERS}
    counts = [{layer.name: np.zeros((num_classes, num_classes), np.int64) for layer in LAYERS} for _ in looks]
    for number, (image, labels) in enumerate(scene.batches(scene.split, inputs, progress=progress)):
        outputs = [outputs_of(look.network, image) for look in looks]
        if "similarity" in wanted:
            for place, layer in enumerate(LAYERS):
                hsic[layer.name] += _hsic_of([one[layer.name] for one in outputs], words=(number, place))
        if probes:
            _count(probes, outputs, image, labels, counts, words=(number,))
    found = _pairs(looks, hsic) if "similarity" in wanted else []
    return found + (_scores(looks, counts, "probe") if probes else [])


def _hsic_of(outputs: Sequence[torch.Tensor], *, words: tuple[int, ...]) -> np.ndarray:
    num_samples, _, height, width = outputs[0].shape
    positions = drawn(num_samples * height * width, at_most=EXAMPLES, words=(_SEED, *words))
    if len(positions) < MIN_EXAMPLES:
        raise StoreError(
            f"{len(positions)} pixels of a layer in a batch, but CKA needs {MIN_EXAMPLES}; give a larger --crop-px or batch_size"
        )
    return unbiased_hsic([features_in(one, positions) for one in outputs])


def _learnt_probes(
    looks: Sequence[Look],
    scene: Scene,
    inputs: InputStep,
    *,
    num_classes: int,
    progress: Progress | None,
) -> list[dict[str, Probe]]:
    sums: list[dict[str, Sums]] = [{} for _ in looks]
    num_labelled = 0
    for number, (image, labels) in enumerate(scene.batches("train", inputs, progress=progress)):
        positions = _label_positions(labels, words=(number,))
        num_labelled += len(positions)
        if not len(positions):
            continue
        truth = labels.ravel()[positions]
        for look, own in zip(looks, sums, strict=True):
            for name, features in _features(outputs_of(look.network, image), image, labels, positions):
                own.setdefault(name, Sums(features.shape[1], num_classes=num_classes)).add(features, truth)
    if not num_labelled:
        raise StoreError(
            f"{scene.where}, split train: no labelled pixel to learn probes from; see `noldo info`"
        )
    return [{name: one.solve() for name, one in own.items()} for own in sums]


def _label_positions(labels: Any, *, words: tuple[int, ...]) -> Any:
    return labelled_pixels(labels, at_most=LABEL_PIXELS * len(labels), words=(_SEED, *words))


def _features(
    outputs: Mapping[str, torch.Tensor], image: torch.Tensor, labels: Any, positions: Any
) -> Iterator[tuple[str, Any]]:
    """Each layer's features at labelled pixels."""
    height, width = padded(image, multiple=32).shape[-2:]
    for name, output in outputs.items():
        yield name, features_at(output, positions, shape=labels.shape, padded_side=(height, width))


def _count(
    probes: Sequence[Mapping[str, Probe]],
    outputs: Sequence[Mapping[str, torch.Tensor]],
    image: torch.Tensor,
    labels: Any,
    counts: Sequence[Mapping[str, Any]],
    *,
    words: tuple[int, ...],
) -> None:
    """Add what probes say of one batch to (truth, prediction) pixels of each layer."""
    positions = _label_positions(labels, words=words)
    if not len(positions):
        return
    truth = labels.ravel()[positions]
    for probe, output, own in zip(probes, outputs, counts, strict=True):
        for name, features in _features(output, image, labels, positions):
            own[name][...] += _confusion(truth, probe[name].classes_of(features), len(own[name]))


def _confusion(truth: Any, predicted: Any, num_classes: int) -> np.ndarray:
    """(truth, prediction) of labelled pixels."""
    table = counted(truth, predicted.astype(np.uint8))
    return table[:num_classes, :num_classes]


def _pairs(looks: Sequence[Look], hsic: Mapping[str, np.ndarray]) -> list[Finding]:
    """Of each two networks that began with different weights; a clean one is the second of a pair."""
    found = []
    for layer, table in hsic.items():
        values = cka(table)
        for i, one in enumerate(looks):
            for j in range(i):
                other = looks[j]
                if one.subject.seed == other.subject.seed:
                    continue
                found.append(
                    Finding(
                        "cka",
                        layer,
                        one.subject.group,
                        one.subject.seed,
                        other.subject.group,
                        other.subject.seed,
                        float(values[i, j]),
                    )
                )
    return found


def _scores(looks: Sequence[Look], counts: Sequence[Mapping[str, np.ndarray]], measure: str) -> list[Finding]:
    return [
        finding
        for look, own in zip(looks, counts, strict=True)
        for layer, table in own.items()
        for finding in score_findings(table, measure=measure, layer=layer, subject=look.subject)
    ]


def score_findings(
    counts: np.ndarray, *, measure: str, layer: str, subject: Subject, other: Subject | None = None
) -> list[Finding]:
    """mIoU over present classes, and OA, of (truth, prediction) pixels."""
    scores = scores_of(counts, absent="skip")
    group, seed = ("", None) if other is None else (other.group, other.seed)
    return [
        Finding(f"{measure}_{name}", layer, subject.group, subject.seed, group, seed, value)
        for name, value in (("miou", scores.mean_iou), ("oa", scores.overall_accuracy))
    ]


@torch.no_grad()
def resets(subject: Subject, scene: Scene, *, progress: Progress | None = None) -> list[Finding]:
    """Scores of a run's network with one layer as it was before the first step, all else as learnt.

    Zhang, Bengio and Singer 2022 ("Are all layers created equal?", JMLR 23, arXiv 1902.01996, section 2: re-initialisation
    robustness). Nothing is trained. BatchNorm's statistics of that layer are the initial ones, too.
    """
    network, inputs = subject.initial().to(scene.device), inputs_of(subject.recipe)
    # load_state_dict copies into the network's own tensors: these are kept apart.
    initial = {name: value.clone() for name, value in network.state_dict().items()}
    learnt = subject.state()
    batches = list(scene.batches(scene.split, inputs))
    found = []
    for number, layer in enumerate((None, *LAYERS), start=1):
        network.load_state_dict(learnt if layer is None else with_layer(learnt, layer, of=initial))
        counts = np.zeros((subject.num_classes, subject.num_classes), np.int64)
        for image, labels in batches:
            predicted = network(image).argmax(dim=1).cpu().numpy()
            counts += _confusion(labels, predicted, subject.num_classes)
        found += score_findings(
            counts, measure="reset", layer=WHOLE if layer is None else layer.name, subject=subject
        )
        if progress is not None:
            progress(number, 1 + len(LAYERS), f"reset, {subject.group}, seed {subject.seed}")
    return found
