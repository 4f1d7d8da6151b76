"""How sure a network is of a pixel: of its label, and of its own prediction; and both in the light of the other modality.

Axes: N sample, C class, H row, W column. All take log-probabilities, so that no logit gap ends in 0 * infinity, and give
values 0..1 without gradient. By the names of the paper: F_L, F_E and the entangled F'.
"""

import math
from typing import Literal

import torch

from noldo.method.labels import labelled

ConfidenceKind = Literal["ce", "gini"]


def log_probabilities(logits_NCHW: torch.Tensor) -> torch.Tensor:
    """log q over the classes, in float32 at least: autocast leaves the logits in 16 bits."""
    wide = torch.promote_types(logits_NCHW.dtype, torch.float32)
    return torch.log_softmax(logits_NCHW.to(wide), dim=1)


def label_confidence(log_q_NCHW: torch.Tensor, labels_NHW: torch.Tensor) -> torch.Tensor:
    """F_L: probability of the hard label, (N, H, W); 0 where there is none.

    Raises
    ------
    RuntimeError
        From torch (on CUDA when it next waits for the device), if a label is neither a class nor 255.
    """
    known_NHW = labelled(labels_NHW)
    classes_N1HW = torch.where(known_NHW, labels_NHW.to(torch.int64), 0).unsqueeze(1)
    q_NHW = log_q_NCHW.detach().gather(1, classes_N1HW).squeeze(1).exp()
    return torch.where(known_NHW, q_NHW, 0)


def prediction_confidence(log_q_NCHW: torch.Tensor, *, kind: ConfidenceKind = "ce") -> torch.Tensor:
    """F_E, (N, H, W).

    Parameters
    ----------
    kind
        `ce`: 1 - entropy / log C. `gini`: sum of q^2, which is 1/C for a network that knows nothing.
    """
    q_NCHW = log_q_NCHW.detach().exp()
    if kind == "gini":
        return q_NCHW.square().sum(dim=1)
    entropy_NHW: torch.Tensor = torch.special.entr(q_NCHW).sum(dim=1)
    return (1 - entropy_NHW / math.log(q_NCHW.shape[1])).clamp(0, 1)


def entangled(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """F': own confidence, halved where the other modality has none: (F + F F_other) / 2."""
    return (own + own * other) / 2
