"""Labels that a teacher corrects while its student learns: the part of pretraining that `method.correction` asks for.

Each step begins with the labels as they are stored; nothing on disk changes. What was counted, the curves, and the teacher are state of
the run. Counts are summed over ranks in each step, so that every rank, and every checkpoint, has all of them.

Axes: N sample, B band, C class, G 1 + C (the unlabelled and the classes), Y row, X column.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from noldo.errors import ConfigError
from noldo.method.correction import border_weights, replaced, with_objects
from noldo.method.early_learning import correction_epoch, has_slowed
from noldo.method.labels import groups, labelled
from noldo.prediction.views import Views, averaged
from noldo.products import UNLABELLED
from noldo.training.correction_keys import Adele, ByAccuracy, CorrectionKeys, Objects, Pixels
from noldo.training.teacher import Teacher

_LOG = logging.getLogger(__name__)

Predict = Callable[[nn.Module, Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]]
"""A network, and modality to (N, B, Y, X), to modality to logits (N, C, Y, X)."""


@dataclass(frozen=True)
class Corrected:
    """What is learnt from in place of the labels."""

    labels: torch.Tensor
    """(N, Y, X), dtype as the labels; 255 unlabelled."""
    trust: torch.Tensor | None
    """(N, Y, X) how much each counts, 0..1; None: all alike."""


@dataclass(frozen=True)
class Surroundings:
    """Where a correction runs."""

    device: torch.device
    num_ranks: int = 1
    is_first_rank: bool = True
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    """Precision of the run; default: that of the weights."""


class Correcting:
    """A teacher, what it was seen to correct, and the rule that says when it begins."""

    def __init__(
        self,
        settings: CorrectionKeys,
        *,
        student: nn.Module,
        predict: Predict,
        classes: Sequence[str],
        around: Surroundings,
    ) -> None:
        """Begin with a copy of the student.

        Raises
        ------
        ConfigError
            If a class of the background is none of the labels, or an option does not work on several ranks.
        """
        self._settings = settings
        self._predict = predict
        self._classes = tuple(classes)
        self._around = around
        self._background = _background_of(settings, classes=classes)
        if isinstance(settings, Adele) and settings.consistency_weight and around.num_ranks > 1:
            raise ConfigError(
                f"correction.consistency_weight {settings.consistency_weight}: predictions at several scales work on one device only; "
                "write 0, or give --devices 1"
            )
        self._teacher = Teacher(student, decay=settings.decay)
        self._teacher.network.to(around.device)
        if around.device.type == "cuda":
            self._teacher.network.to(memory_format=torch.channels_last)
        self._counts = torch.zeros(_NUM_COUNTS, 1 + len(classes), dtype=torch.int64, device=around.device)
        self._curves: list[list[float]] = []
        """IoU of each class, or alone the accuracy; a row an epoch."""
        self._begun: set[int] = set()
        """Ids of the classes that are corrected."""

    @property
    def adds_labels(self) -> bool:
        """Whether labels come where there were none."""
        return isinstance(self._settings, Objects)

    def corrected(
        self, images: Mapping[str, torch.Tensor], labels: torch.Tensor, *, seen: torch.Tensor | None = None
    ) -> Corrected:
        """The labels of one step, corrected as far as that has begun.

        Parameters
        ----------
        images
            Modality to (N, B, Y, X), as the student sees them.
        labels
            (N, Y, X), as they are stored.
        seen
            (N, Y, X) bool, where labels may be added: not where networks see a constant. None: everywhere.
        """
        if not self._begun:
            return Corrected(labels, None)
        probabilities = self._probabilities(images)
        if seen is not None:
            probabilities = probabilities * seen[:, None]  # sure of nothing
        return self._apply(labels, probabilities)

    def watch(self, logits: Mapping[str, torch.Tensor], labels: torch.Tensor, *, new: torch.Tensor) -> None:
        """Count one step: how the student's predictions agree with the labels as they are stored, and what was corrected (`new`).

        Nothing is waited for.
        """
        known = labelled(labels)
        found = torch.zeros_like(self._counts)
        for one in logits.values():
            predicted = one.detach().argmax(dim=1).to(labels.dtype)
            _count(found[_LABELLED], labels)
            _count(found[_PREDICTED], torch.where(known, predicted, UNLABELLED))
            _count(found[_AGREEING], torch.where(predicted == labels, labels, UNLABELLED))
        found[_TOTALS, 0] = (new != labels).sum()
        found[_TOTALS, 1] = known.sum()
        if self._around.num_ranks > 1:
            torch.distributed.all_reduce(found)
        self._counts += found

    def stepped(self, student: nn.Module) -> None:
        """The teacher follows."""
        self._teacher.follow(student)

    def end_epoch(self) -> Mapping[str, Any]:
        """Look at the epoch: curves grow, and classes begin to be corrected. A line for the metrics."""
        counts = self._counts.clone().cpu()
        self._counts.zero_()
        num_changed, num_labelled = counts[_TOTALS, :2].tolist()
        self._curves.append(self._point(counts))
        before = set(self._begun)
        self._begun |= self._beginning()
        self._tell(sorted(self._begun - before))
        return {"correction": {"pixels": num_changed, "labelled": num_labelled, "classes": len(before)}}

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "teacher": self._teacher.state(),
            "counts": self._counts,
            "curves": self._curves,
            "begun": sorted(self._begun),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._teacher.load_state(state["teacher"])
        self._counts.copy_(state["counts"])
        self._curves = [list(row) for row in state["curves"]]
        self._begun = set(state["begun"])

    def _probabilities(self, images: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(N, C, Y, X) of the teacher: the mean over modalities, and over scales where there are several."""
        around = self._around
        if around.num_ranks > 1:
            # BatchNorm's statistics are each rank's own until the next forward; a checkpoint has those of the first.
            for buffer in self._teacher.network.buffers():
                torch.distributed.broadcast(buffer, src=0)
        scales = self._settings.scales if isinstance(self._settings, Adele) else (1.0,)
        with around.autocast():
            return averaged(self._log_mean, images, views=Views(scales, flips=False))

    def _log_mean(self, images: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Log of the mean probability of all modalities: logits, as `averaged` takes them."""
        found = self._predict(self._teacher.network, images).values()
        log_q = torch.stack([one.float().log_softmax(dim=1) for one in found])
        return log_q.logsumexp(dim=0) - math.log(len(log_q))

    def _apply(self, labels: torch.Tensor, probabilities: torch.Tensor) -> Corrected:
        match self._settings:
            case Adele(confidence=confidence, classes=of):
                begun = torch.zeros(len(self._classes), dtype=torch.bool)
                begun[sorted(self._begun)] = True
                begun = begun.to(labels.device, non_blocking=True)
                new = replaced(
                    labels, probabilities, confidence=confidence, classes_C=begun, both=of == "both"
                )
                return Corrected(new, None)
            case Pixels(confidence=confidence):
                return Corrected(replaced(labels, probabilities, confidence=confidence), None)
            case Objects(confidence=confidence, soften_px=side_px):
                new = with_objects(labels, probabilities, confidence=confidence, background=self._background)
                if side_px == 1:
                    return Corrected(new, None)
                trust = border_weights(
                    labels, new, num_classes=len(self._classes), side_px=side_px, background=self._background
                )
                return Corrected(new, trust)

    def _point(self, counts: torch.Tensor) -> list[float]:
        """What an epoch adds to the curves."""
        agreeing, labelled_, predicted = (
            counts[which, 1:].tolist() for which in (_AGREEING, _LABELLED, _PREDICTED)
        )
        if isinstance(self._settings, ByAccuracy):
            return [_ratio(sum(agreeing), sum(labelled_))]
        return [
            _ratio(both, one + other - both)
            for both, one, other in zip(agreeing, labelled_, predicted, strict=True)
        ]

    def _beginning(self) -> set[int]:
        """Classes whose labels are to be corrected from the next epoch on, those from before or not."""
        everything = set(range(len(self._classes)))
        match self._settings:
            case Adele(fall=fall):
                rows = zip(*self._curves, strict=True)
                return {
                    one
                    for one, curve in enumerate(rows)
                    if one not in self._begun and has_slowed(curve, fall=fall)
                }
            case ByAccuracy(from_epoch=None, windows=windows):
                accuracies = [one for (one,) in self._curves]
                is_told = not self._begun and correction_epoch(accuracies, windows=windows) is not None
                return everything if is_told else set()
            case ByAccuracy(from_epoch=first):
                return everything if first is not None and len(self._curves) >= first else set()

    def _tell(self, begun: Sequence[int]) -> None:
        if begun and self._around.is_first_rank:
            names = ", ".join(self._classes[one] for one in begun)
            _LOG.warning(
                "label correction (%s): from epoch %d on for %s",
                self._settings.name,
                len(self._curves),
                names,
            )


_LABELLED, _PREDICTED, _AGREEING, _TOTALS = range(4)
"""Rows of the counts, each (G,): labelled pixels, predicted ones, those that are both, of all modalities; and corrected pixels and labelled
ones in the first two places."""

_NUM_COUNTS = 4


def _count(into_G: torch.Tensor, labels: torch.Tensor) -> None:
    which = groups(labels).flatten()
    into_G.scatter_add_(0, which, torch.ones_like(which))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _background_of(settings: CorrectionKeys, *, classes: Sequence[str]) -> tuple[int, ...]:
    """Ids of the classes that are no objects."""
    names = settings.background if isinstance(settings, Objects) else ()
    if unknown := [name for name in names if name not in classes]:
        raise ConfigError(
            f"correction.background {', '.join(unknown)}: the labels have {', '.join(classes)}; give names of these"
        )
    return tuple(classes.index(name) for name in names)
