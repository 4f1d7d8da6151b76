"""Cross-modal sample selection: a weight a pixel for the label loss, and one for the consistency loss.

Axes: N sample, C class, H row, W column, P pixel (of all samples), G group (the unlabelled, then the classes), B bin.
"""

from dataclasses import dataclass, field
from typing import get_args

import torch

from noldo.errors import ConfigError
from noldo.method.confidence import ConfidenceKind, entangled, label_confidence, prediction_confidence
from noldo.method.labels import groups, labelled
from noldo.method.ramps import Ramp, share_kept, strength
from noldo.method.reduction import ONE_RANK, Ranks

_LOW_BITS, _HIGH_BITS = 15, 16
"""Of a float32 without its sign."""


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
    threshold_G = _thresholds(
        _order_bits(confidence_NHW).flatten(),
        groups_NHW.flatten(),
        share=share,
        num_groups=num_classes + 1,
        ranks=ranks,
    )
    threshold_NHW = threshold_G[groups_NHW]
    return torch.where(threshold_NHW == 0, 1, (confidence_NHW / threshold_NHW).clamp(max=1))


def _order_bits(confidence: torch.Tensor) -> torch.Tensor:
    """The bits of floats that aren't negative, as int32: they keep the order.

    Without the sign, which -0 has, and a NaN may have: a run that diverges is told of by its loss, not by an index.
    """
    return confidence.view(torch.int32) & 0x7FFFFFFF


def _thresholds(
    bits_P: torch.Tensor, group_P: torch.Tensor, *, share: float, num_groups: int, ranks: Ranks
) -> torch.Tensor:
    """(G,) the k-th largest confidence of each group; infinity for the unlabelled and where k is 0.

    Two histograms find its bits, the upper ones first, without a sort and without reading any k on the host, as a `topk` a class has
    to. Ranks add their histograms.
    """
    upper_P = (group_P << _HIGH_BITS) | (bits_P >> _LOW_BITS)
    upper_GB = ranks.total(_histogram(upper_P, num_groups=num_groups, num_bins=1 << _HIGH_BITS))
    counts_G = upper_GB.sum(dim=1)
    # The product in float32, as torch multiplies a count by a number: float64 would give another k in one case of
    # eight. Beyond 2^24 pixels a float32 count may be rounded up.
    k_G = torch.minimum((counts_G.to(torch.float32) * share).to(torch.int64), counts_G)
    high_G, left_G = _bin_of_kth(upper_GB, k_G)
    all_G = torch.arange(num_groups, device=bits_P.device)
    # Pixels of other upper bits count as unlabelled, whose threshold nobody asks for.
    near_P = torch.where(upper_P == ((all_G << _HIGH_BITS) | high_G)[group_P], group_P, 0)
    lower_P = (near_P << _LOW_BITS) | (bits_P & ((1 << _LOW_BITS) - 1))
    lower_GB = ranks.total(_histogram(lower_P, num_groups=num_groups, num_bins=1 << _LOW_BITS))
    low_G, _ = _bin_of_kth(lower_GB, left_G)
    threshold_G = ((high_G << _LOW_BITS) | low_G).to(torch.int32).view(torch.float32)
    return torch.where((k_G == 0) | (all_G == 0), torch.inf, threshold_G)


def _histogram(index_P: torch.Tensor, *, num_groups: int, num_bins: int) -> torch.Tensor:
    """(G, B) pixels of each index, group by group; `bincount` would wait for the device.

    A group beyond the last one is an error, for it indexes beyond the end.
    """
    counts = torch.zeros(num_groups * num_bins, dtype=torch.int64, device=index_P.device)
    one = torch.ones((), dtype=torch.int64, device=index_P.device)
    return counts.scatter_add_(0, index_P, one.expand(len(index_P))).view(num_groups, num_bins)


def _bin_of_kth(counts_GB: torch.Tensor, k_G: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(G,) bin of the k-th largest, and the place that it has in its bin, from 1; any bin where there are fewer than k or k is 0."""
    at_least_GB = counts_GB.flip(1).cumsum(dim=1).flip(1)
    above_GB = at_least_GB - counts_GB
    # Bins that hold no k-th largest have k pixels above them, or fewer than k from them upwards.
    bin_G = ((above_GB < k_G[:, None]) & (k_G[:, None] <= at_least_GB)).to(torch.uint8).argmax(dim=1)
    return bin_G, k_G - above_GB.gather(1, bin_G[:, None])[:, 0]


def consistency_weights(
    confidence_NHW: torch.Tensor, labels_NHW: torch.Tensor, *, strength: float
) -> torch.Tensor:
    """W_E, (N, H, W) float32: (1 - g) + g * confidence, with g the strength; 0 where there is no label."""
    confidence_NHW = confidence_NHW.detach().to(torch.float32)
    return torch.where(labelled(labels_NHW), (1 - strength) + strength * confidence_NHW, 0)
