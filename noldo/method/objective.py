"""The objectives: of two modalities that teach each other, and of one alone.

Axes: N sample, C class, H row, W column. S1 and S2 are the two modalities.

    L_d   = CE_d + Dice_d                         with the label weights of modality d, and the smoothed target;
                                                  another loss may stand for CE, and Dice may be left out
    con_d = distance of d from the other          with the consistency weights of the other, the teacher
    loss  = L_s1 + L_s2 + weight * (con_s1 + con_s2)
"""

from dataclasses import dataclass, field, replace
from typing import get_args

import torch

from noldo.errors import ConfigError
from noldo.method.confidence import log_probabilities
from noldo.method.consistency import ConsistencyKind, consistency
from noldo.method.cross_entropy import cross_entropy
from noldo.method.dice import dice
from noldo.method.labels import labelled
from noldo.method.reduction import ONE_RANK, Ranks
from noldo.method.robust_losses import LabelLoss
from noldo.method.selection import PixelWeights, Selection, selected, unselected
from noldo.method.smoothing import Smoothing, smoothed_target


@dataclass(frozen=True)
class CrossModal:
    """Settings of the objective of two modalities; the defaults are the published recipe."""

    consistency: ConsistencyKind = "ce"
    """Distance of student and teacher."""

    consistency_weight: float = 1.0
    """Of both consistency terms in the loss; at least 0."""

    smoothing: Smoothing | None = field(default_factory=Smoothing)
    """None: hard labels."""

    selection: Selection | None = field(default_factory=Selection)
    """None: every labelled pixel has weight 1."""

    label_loss: LabelLoss = cross_entropy
    """Of prediction and label; most robust losses take hard labels only (`noldo.method.robust_losses`)."""

    with_dice: bool = True
    """Dice is added to it."""

    def __post_init__(self) -> None:
        if self.consistency not in get_args(ConsistencyKind):
            raise ConfigError(
                f"consistency {self.consistency!r}: expected one of {', '.join(get_args(ConsistencyKind))}"
            )
        if not self.consistency_weight >= 0:
            raise ConfigError(f"consistency_weight {self.consistency_weight}: expected 0 or more")

    def plain(self) -> "CrossModal":
        """The same without smoothing and selection: the validation loss of the paper."""
        return replace(self, smoothing=None, selection=None)


@dataclass(frozen=True)
class SegmentationLoss:
    """What one modality has to learn from the labels; scalars."""

    loss: torch.Tensor
    """label_loss + dice; the one to differentiate."""
    label_loss: torch.Tensor
    """Cross-entropy, or what stands for it."""
    dice: torch.Tensor
    """0 where it is left out."""
    num_labelled: torch.Tensor
    """int64, pixels with a label; if 0, all of the above are 0."""


@dataclass(frozen=True)
class CrossModalLoss:
    """The loss, its four terms (scalars) and what they were weighted with."""

    loss: torch.Tensor
    """seg_s1 + seg_s2 + weight * (con_s1 + con_s2); the one to differentiate."""
    seg_s1: torch.Tensor
    """Label loss + Dice."""
    seg_s2: torch.Tensor
    con_s1: torch.Tensor
    """Student S1, teacher S2."""
    con_s2: torch.Tensor
    weights: PixelWeights
    num_labelled: torch.Tensor
    """int64, pixels with a label; if 0, all terms are 0."""


def cross_modal_loss(
    logits_s1_NCHW: torch.Tensor,
    logits_s2_NCHW: torch.Tensor,
    labels_NHW: torch.Tensor,
    *,
    settings: CrossModal,
    epoch: int,
    prior_NCHW: torch.Tensor | None = None,
    trust_NHW: torch.Tensor | None = None,
    ranks: Ranks = ONE_RANK,
) -> CrossModalLoss:
    """The CromSS objective.

    Parameters
    ----------
    labels_NHW
        uint8 or int64 classes; 255: unlabelled.
    epoch
        Counted from 0; only the selection asks for it.
    prior_NCHW
        Of `label_prior`, after the same crop and turns as the labels; needed for smoothing.
    trust_NHW
        How much each label counts, times what the selection says; None: 1.
    ranks
        Over whose pixels to select and normalise.

    Raises
    ------
    ConfigError
        If shapes don't fit, or a prior is missing.
    RuntimeError
        From torch (on CUDA when it next waits for the device), if a label is neither a class nor 255.
    """
    _require_fit(logits_s1_NCHW, logits_s2_NCHW.shape, what="logits of S2")
    log_q_s1, log_q_s2 = log_probabilities(logits_s1_NCHW), log_probabilities(logits_s2_NCHW)
    target = _target(logits_s1_NCHW, labels_NHW, smoothing=settings.smoothing, prior_NCHW=prior_NCHW)
    if settings.selection is None:
        weights = unselected(labels_NHW)
    else:
        weights = selected(
            log_q_s1, log_q_s2, labels_NHW, settings=settings.selection, epoch=epoch, ranks=ranks
        )

    def segmentation(log_q_NCHW: torch.Tensor, weights_NHW: torch.Tensor) -> torch.Tensor:
        label, overlap = _segmentation(
            log_q_NCHW,
            target,
            weights_NHW if trust_NHW is None else weights_NHW * trust_NHW,
            label_loss=settings.label_loss,
            with_dice=settings.with_dice,
            ranks=ranks,
        )
        return label + overlap

    seg_s1, seg_s2 = segmentation(log_q_s1, weights.label_s1), segmentation(log_q_s2, weights.label_s2)
    con_s1 = consistency(
        log_q_s1,
        teacher_log_q_NCHW=log_q_s2,
        weights_NHW=weights.consistency_s2,
        kind=settings.consistency,
        ranks=ranks,
    )
    con_s2 = consistency(
        log_q_s2,
        teacher_log_q_NCHW=log_q_s1,
        weights_NHW=weights.consistency_s1,
        kind=settings.consistency,
        ranks=ranks,
    )
    loss = seg_s1 + seg_s2 + settings.consistency_weight * (con_s1 + con_s2)
    return CrossModalLoss(loss, seg_s1, seg_s2, con_s1, con_s2, weights, _num_labelled(labels_NHW, ranks))


def single_modal_loss(
    logits_NCHW: torch.Tensor,
    labels_NHW: torch.Tensor,
    *,
    smoothing: Smoothing | None,
    prior_NCHW: torch.Tensor | None = None,
    trust_NHW: torch.Tensor | None = None,
    label_loss: LabelLoss = cross_entropy,
    with_dice: bool = True,
    ranks: Ranks = ONE_RANK,
) -> SegmentationLoss:
    """Cross-entropy + Dice of one modality: the paper's ablation, and fine-tuning (without smoothing).

    Parameters
    ----------
    trust_NHW
        How much each label counts; None: 1.
    label_loss
        What stands for the cross-entropy.
    with_dice
        Whether Dice is added.

    Raises
    ------
    ConfigError, RuntimeError
        As `cross_modal_loss`.
    """
    target = _target(logits_NCHW, labels_NHW, smoothing=smoothing, prior_NCHW=prior_NCHW)
    weights_NHW = labelled(labels_NHW).to(torch.float32)
    if trust_NHW is not None:
        weights_NHW = weights_NHW * trust_NHW
    label, overlap = _segmentation(
        log_probabilities(logits_NCHW),
        target,
        weights_NHW,
        label_loss=label_loss,
        with_dice=with_dice,
        ranks=ranks,
    )
    return SegmentationLoss(label + overlap, label, overlap, _num_labelled(labels_NHW, ranks))


def _segmentation(
    log_q_NCHW: torch.Tensor,
    target_NCHW: torch.Tensor,
    weights_NHW: torch.Tensor,
    *,
    label_loss: LabelLoss,
    with_dice: bool,
    ranks: Ranks,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Label loss and Dice."""
    label = label_loss(log_q_NCHW, target_NCHW, weights_NHW=weights_NHW, ranks=ranks)
    if not with_dice:
        return label, torch.zeros_like(label)
    return label, dice(log_q_NCHW.exp(), target_NCHW, weights_NHW=weights_NHW, ranks=ranks)


def _target(
    logits_NCHW: torch.Tensor,
    labels_NHW: torch.Tensor,
    *,
    smoothing: Smoothing | None,
    prior_NCHW: torch.Tensor | None,
) -> torch.Tensor:
    num_samples, num_classes, height, width = logits_NCHW.shape
    if labels_NHW.shape != (num_samples, height, width):
        raise ConfigError(
            f"labels have shape {tuple(labels_NHW.shape)}, but logits {tuple(logits_NCHW.shape)} need "
            f"{(num_samples, height, width)}; give one label a pixel"
        )
    if smoothing is not None and prior_NCHW is not None:
        _require_fit(logits_NCHW, prior_NCHW.shape, what="prior")
    return smoothed_target(labels_NHW, num_classes=num_classes, smoothing=smoothing, prior_NCHW=prior_NCHW)


def _require_fit(logits_NCHW: torch.Tensor, shape: torch.Size, *, what: str) -> None:
    if shape != logits_NCHW.shape:
        raise ConfigError(
            f"{what} of shape {tuple(shape)}: expected {tuple(logits_NCHW.shape)}, (sample, class, row, column) of the "
            "first logits; crop and turn all in the same way"
        )


def _num_labelled(labels_NHW: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    return ranks.total(labelled(labels_NHW).sum())
