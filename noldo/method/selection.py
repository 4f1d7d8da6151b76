"""Cross-modal sample selection: a weight a pixel for the label loss, and one for the consistency loss.

Axes: N sample, C class, H row, W column, P pixel (of all samples), G group (the unlabelled, then the classes).
"""

from dataclasses import dataclass, field
from typing import get_args

import torch

from noldo.errors import ConfigError
from noldo.method.confidence import ConfidenceKind, entangled, label_confidence, prediction_confidence
from noldo.method.labels import groups, labelled
from noldo.method.ramps import Ramp, share_kept, strength
from noldo.method.reduction import ONE_RANK, Ranks

_LOW_HALF = 0xFFFFFFFF
_GROUP_SHIFT = 32


@dataclass(frozen=True)
class Selection:
    """Settings of the selection; the defaults are the published recipe."""

    share: float = 0.5
    """Of each class's pixels, those that keep full weight once the ramp is up; 0..1."""

    ramp: Ramp = field(default_factory=Ramp)
    """How the selection sets in."""

    confidence: ConfidenceKind = "ce"
    """Of the prediction, for the consistency weights."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"selection keeps a share of {self.share}: expected 0 to 1")
        if self.confidence not in get_args(ConfidenceKind):
            raise ConfigError(
                f"confidence {self.confidence!r}: expected one of {', '.join(get_args(ConfidenceKind))}"
            )


@dataclass(frozen=True)
class PixelWeights:
    """(N, H, W) each, 0..1, float32, without gradient; 0 where there is no label."""

    label_s1: torch.Tensor
    label_s2: torch.Tensor
    consistency_s1: torch.Tensor
    """For losses in which S1 is the teacher."""
    consistency_s2: torch.Tensor
    """For losses in which S2 is the teacher."""


def selected(
    log_q_s1_NCHW: torch.Tensor,
    log_q_s2_NCHW: torch.Tensor,
    labels_NHW: torch.Tensor,
    *,
    settings: Selection,
    epoch: int,
    ranks: Ranks = ONE_RANK,
) -> PixelWeights:
    """Weights of both modalities at an epoch, counted from 0."""
    num_classes = log_q_s1_NCHW.shape[1]
    share = share_kept(epoch, share=settings.share, ramp=settings.ramp)
    follow = strength(epoch, ramp=settings.ramp)
    label_1, label_2 = (label_confidence(log_q, labels_NHW) for log_q in (log_q_s1_NCHW, log_q_s2_NCHW))
    own_1, own_2 = (
        prediction_confidence(log_q, kind=settings.confidence) for log_q in (log_q_s1_NCHW, log_q_s2_NCHW)
    )

    def of_labels(confidence_NHW: torch.Tensor) -> torch.Tensor:
        return label_weights(confidence_NHW, labels_NHW, share=share, num_classes=num_classes, ranks=ranks)

    return PixelWeights(
        label_s1=of_labels(entangled(label_1, label_2)),
        label_s2=of_labels(entangled(label_2, label_1)),
        consistency_s1=consistency_weights(entangled(own_1, own_2), labels_NHW, strength=follow),
        consistency_s2=consistency_weights(entangled(own_2, own_1), labels_NHW, strength=follow),
    )


def unselected(labels_NHW: torch.Tensor) -> PixelWeights:
    """1 for every labelled pixel: the method without selection."""
    ones = labelled(labels_NHW).to(torch.float32)
    return PixelWeights(ones, ones, ones, ones)


def label_weights(
    confidence_NHW: torch.Tensor,
    labels_NHW: torch.Tensor,
    *,
    share: float,
    num_classes: int,
    ranks: Ranks = ONE_RANK,
) -> torch.Tensor:
    """W_L, (N, H, W) float32: 1 for the most confident `share` of each class, confidence / threshold for the others.

    The threshold is the class's k-th largest confidence among the pixels of all samples, k = share of the class's
    pixels, rounded down. Ties with it get 1. If k is 0 the class gets 0 (one pixel, and a share below 1); if the
    threshold is 0 it gets 1. A share of 0 gives the confidence itself. Unlabelled pixels get 0.

    Parameters
    ----------
    confidence_NHW
        At least 0, without NaN.
    share
        0..1.
    """
    confidence_NHW = confidence_NHW.detach().to(torch.float32)
    if share == 0:
        return torch.where(labelled(labels_NHW), confidence_NHW, 0)
    groups_NHW = groups(labels_NHW)
    keys_P = ranks.gathered(_keys(confidence_NHW, groups_NHW).flatten())
    threshold_NHW = _thresholds(keys_P, share=share, num_classes=num_classes)[groups_NHW]
    return torch.where(threshold_NHW == 0, 1, (confidence_NHW / threshold_NHW).clamp(max=1))


def _keys(confidence: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """Integers that sort by group, then by confidence: the bits of a float that isn't negative keep its order."""
    bits = (confidence + 0.0).view(torch.int32)  # + 0.0 makes 0 of -0, whose sign bit would count
    return (group << _GROUP_SHIFT) | bits.to(torch.int64)


def _thresholds(keys_P: torch.Tensor, *, share: float, num_classes: int) -> torch.Tensor:
    """(G,) the k-th largest confidence of each group; infinity for the unlabelled and where k is 0.

    One sort serves all classes. The counts come from it too: a `topk` a class, as published, has to read each k on the
    host.
    """
    sorted_P = keys_P.sort().values
    edges = torch.arange(num_classes + 2, device=keys_P.device) << _GROUP_SHIFT
    ends = torch.searchsorted(sorted_P, edges)
    starts_G, ends_G = ends[:-1], ends[1:]
    counts_G = ends_G - starts_G
    # The product in float32, as torch multiplies a count by a number: float64 would give another k in one case of
    # eight. Beyond 2^24 pixels a float32 count may be rounded up.
    k_G = torch.minimum((counts_G.to(torch.float32) * share).to(torch.int64), counts_G)
    bits_G = sorted_P[(ends_G - k_G).clamp(max=len(sorted_P) - 1)] & _LOW_HALF
    threshold_G = bits_G.to(torch.int32).view(torch.float32)
    none_kept_G = (k_G == 0) | (torch.arange(num_classes + 1, device=keys_P.device) == 0)
    return torch.where(none_kept_G, torch.inf, threshold_G)


def consistency_weights(
    confidence_NHW: torch.Tensor, labels_NHW: torch.Tensor, *, strength: float
) -> torch.Tensor:
    """W_E, (N, H, W) float32: (1 - g) + g * confidence, with g the strength; 0 where there is no label."""
    confidence_NHW = confidence_NHW.detach().to(torch.float32)
    return torch.where(labelled(labels_NHW), (1 - strength) + strength * confidence_NHW, 0)
