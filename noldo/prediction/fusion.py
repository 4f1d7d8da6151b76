"""What several networks say of a pixel, as one label. Axes: N sample, C class, Y row, X column."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from noldo.errors import ConfigError
from noldo.products import UNLABELLED


@dataclass(frozen=True)
class Fusion:
    """How labels are made of probabilities."""

    how: Literal["mean", "agreement"] = "mean"
    """`mean`: the class of the highest mean probability. `agreement`: the class that all networks choose, else none (in the log of the
    DFC2025 winner better than averaging more networks)."""
    min_confidence: float = 0.0
    """Pixels whose highest mean probability is lower have no label."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise ConfigError(f"min_confidence {self.min_confidence}: expected 0 .. 1")


def mean_of(probabilities: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean probabilities of networks, same axes. Where there is a label, no class has a higher one, however it was fused."""
    return torch.stack(tuple(probabilities)).mean(dim=0)


def fused(probabilities: Sequence[torch.Tensor], *, fusion: Fusion) -> torch.Tensor:
    """Labels (N, Y, X) uint8; 255 where the networks do not agree, or are not sure.

    Parameters
    ----------
    probabilities
        (N, C, Y, X) of each network, adding to 1 over classes; NaN, where it saw nothing, is never sure.
    """
    mean = mean_of(probabilities)
    confidence, labels = mean.max(dim=1)
    is_labelled = confidence >= fusion.min_confidence
    if fusion.how == "agreement":
        choices = torch.stack([one.argmax(dim=1) for one in probabilities])
        labels = choices[0]
        is_labelled &= (choices == labels).all(dim=0)
    return torch.where(is_labelled, labels, UNLABELLED).to(torch.uint8)
