"""How far the labels of a teacher are trusted, and the loss that they then have.

As in the winning entry of DFC2025 track 1 (Liu et al., arXiv 2504.13458; StuLiu/dfc2025track1): no pixel is dropped, an image gets
one number. Axes: N sample, C class, H row, W column.
"""

from typing import Literal, get_args

import torch

from noldo.errors import ConfigError
from noldo.method.confidence import log_probabilities
from noldo.method.labels import labelled, one_hot
from noldo.method.reduction import ONE_RANK, Ranks, weighted_mean

TrustKind = Literal["fraction-above", "mean-confidence", "pixel", "none"]
TrustScope = Literal["image", "batch"]

TAU = 0.968
"""What "confident" means, in DACS, DAFormer and the DFC2025 winner."""


def trust_weights(
    log_q_NCHW: torch.Tensor,
    *,
    kind: TrustKind = "fraction-above",
    tau: float = TAU,
    scope: TrustScope = "image",
    valid_NHW: torch.Tensor | None = None,
) -> torch.Tensor:
    """Trust in the predicted class of each pixel, 0..1, (N, H, W), without gradient.

    Parameters
    ----------
    log_q_NCHW
        Log-probabilities of the teacher, of `noldo.method.confidence.log_probabilities`.
    kind
        `fraction-above`: share of pixels whose highest probability is at least tau, as published; `mean-confidence`: mean of the highest
        probability, which needs no threshold; `pixel`: 1 or 0 of the pixel itself, as in usual self-training; `none`: 1.
    scope
        Over which pixels the first two are taken: those of the image, as published, or those of the batch of this rank, as in DACS
        and DAFormer.
    valid_NHW
        Pixels that the teacher was shown; others count in no share. None: all. In the published code all count, padding too.

    Raises
    ------
    ConfigError
        If kind or scope is unknown.
    """
    if kind not in get_args(TrustKind) or scope not in get_args(TrustScope):
        raise ConfigError(
            f"trust {kind!r} of scope {scope!r}: expected one of {', '.join(get_args(TrustKind))}, of scope image or batch"
        )
    confidence_NHW = log_q_NCHW.detach().max(dim=1).values.exp()
    if kind == "none":
        return torch.ones_like(confidence_NHW)
    is_sure_NHW = (confidence_NHW >= tau).to(confidence_NHW.dtype)
    if kind == "pixel":
        return is_sure_NHW
    valid = torch.ones_like(confidence_NHW) if valid_NHW is None else valid_NHW.to(confidence_NHW.dtype)
    values = valid * (confidence_NHW if kind == "mean-confidence" else is_sure_NHW)
    pixels = (1, 2) if scope == "image" else (0, 1, 2)
    share = values.sum(pixels, keepdim=True) / valid.sum(pixels, keepdim=True).clamp(min=1)
    return share.expand_as(confidence_NHW)


def trusted_cross_entropy(
    logits_NCHW: torch.Tensor,
    labels_NHW: torch.Tensor,
    *,
    weights_NHW: torch.Tensor,
    ranks: Ranks = ONE_RANK,
) -> torch.Tensor:
    """sum(w * CE) / number of *labelled* pixels: a scalar, 0 without gradient if nothing is labelled.

    Less trust is a smaller loss, not another mean: pixels of weight 0 stay in the denominator. Pixels with label 255 do not.

    Parameters
    ----------
    weights_NHW
        At least 0.

    Raises
    ------
    RuntimeError
        From torch (on CUDA when it next waits for the device), if a label is neither a class nor 255.
    """
    target_NCHW = one_hot(labels_NHW, num_classes=logits_NCHW.shape[1])
    values_NHW = -(target_NCHW * log_probabilities(logits_NCHW)).sum(dim=1)
    return weighted_mean(weights_NHW * values_NHW, labelled(labels_NHW).to(values_NHW.dtype), ranks=ranks)
