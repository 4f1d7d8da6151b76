"""Spatial-temporal label smoothing: what the seasons and the surroundings say of a pixel's class.

Axes: N sample, S season, C class, H row, W column; G is 1 + C, the unlabelled and the classes.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from noldo.errors import ConfigError
from noldo.method.labels import groups, labelled, one_hot

PriorKind = Literal["ts", "t", "s"]

SIGMA_PX = 3.0
TRUNCATE = 4.0
"""The published blur: `scipy.ndimage.gaussian_filter(sigma=3, truncate=4, mode="reflect")`, 25 taps."""


@dataclass(frozen=True)
class Smoothing:
    """Shares of a target that don't go to the hard label; the defaults are the published recipe."""

    prior: float = 0.15
    """Share of the spatial-temporal prior; 0 needs none."""

    uniform: float = 0.05
    """Share that all classes have in equal parts."""

    def __post_init__(self) -> None:
        if min(self.prior, self.uniform) < 0 or self.prior + self.uniform > 1:
            raise ConfigError(
                f"smoothing with shares {self.prior} and {self.uniform}: expected two from 0 up that add to at most 1"
            )


def label_prior(
    labels_NSHW: torch.Tensor, season_N: torch.Tensor, *, num_classes: int, kind: PriorKind = "ts"
) -> torch.Tensor:
    """Share of each class in the votes around a pixel, (N, C, H, W) float32; adds to 1 over classes.

    Every labelled pixel of every season is a vote for its class, weighted by a Gaussian of the distance. To be taken
    before the crop: a border is mirrored, which is felt 12 px from it.

    Parameters
    ----------
    labels_NSHW
        All seasons; uint8, 255: unlabelled. Such pixels have no vote. The shares are those of the votes that there are;
        without any within 12 rows and columns they are equal.
    season_N
        int64, the season that the sample shows.
    kind
        `ts`: half of the weight on the season shown and half spread over all; `t`: all seasons alike; `s`: the season
        shown alone.

    Raises
    ------
    RuntimeError
        From torch (on CUDA when it next waits for the device), if a label is neither a class nor 255, or if there is
        no such season.

    Notes
    -----
    The authors blur the mean of the seasons and the season shown, divide each by its sum over classes and take the mean.
    A blur is linear and keeps those sums at 1, so one blur of the mean is the same (to 1.2e-7) where all is labelled.
    """
    votes_NCHW = _blurred(
        _votes(labels_NSHW, _season_shares(season_N, labels_NSHW.shape[1], kind=kind), num_classes)
    )
    total_N1HW = votes_NCHW.sum(dim=1, keepdim=True)
    return torch.where(total_N1HW > 0, votes_NCHW / total_N1HW, 1 / num_classes)


def _season_shares(season_N: torch.Tensor, num_seasons: int, *, kind: PriorKind) -> torch.Tensor:
    """(N, S) weight of each season's votes; adds to 1 over seasons."""
    shown_NS = torch.zeros(len(season_N), num_seasons, device=season_N.device)
    shown_NS.scatter_(1, season_N.unsqueeze(1), 1.0)
    shown_share = {"t": 0.0, "s": 1.0, "ts": 0.5}[kind]
    return shown_share * shown_NS + (1 - shown_share) / num_seasons


def _votes(labels_NSHW: torch.Tensor, shares_NS: torch.Tensor, num_classes: int) -> torch.Tensor:
    num_samples, num_seasons, height, width = labels_NSHW.shape
    planes_NGHW = torch.zeros(num_samples, 1 + num_classes, height, width, device=labels_NSHW.device)
    for season in range(num_seasons):
        weights = shares_NS[:, season, None, None, None].expand(-1, 1, height, width)
        planes_NGHW.scatter_add_(1, groups(labels_NSHW[:, season : season + 1]), weights)
    return planes_NGHW[:, 1:]


def gaussian_taps() -> list[float]:
    """Weights of the blur along one axis, from -12 to 12 px; they add to 1."""
    radius = int(TRUNCATE * SIGMA_PX + 0.5)
    heights = [math.exp(-(offset**2) / (2 * SIGMA_PX**2)) for offset in range(-radius, radius + 1)]
    return [height / sum(heights) for height in heights]


def _blurred(planes_NCHW: torch.Tensor) -> torch.Tensor:
    for axis in (2, 3):
        planes_NCHW = _blurred_along(planes_NCHW, axis)
    return planes_NCHW


def _blurred_along(planes_NCHW: torch.Tensor, axis: int) -> torch.Tensor:
    """A sum of shifted planes, not a convolution: cuDNN and autocast would round those to 11 bits and fewer."""
    taps, size = gaussian_taps(), planes_NCHW.shape[axis]
    padded = planes_NCHW.index_select(axis, _mirrored(size, len(taps) // 2, device=planes_NCHW.device))
    blurred = torch.zeros_like(planes_NCHW)
    for shift, weight in enumerate(taps):
        blurred.add_(padded.narrow(axis, shift, size), alpha=weight)
    return blurred


def _mirrored(size: int, radius: int, *, device: torch.device) -> torch.Tensor:
    """Positions -radius .. size + radius - 1 folded back into 0 .. size - 1, edges repeated (scipy's `reflect`)."""
    position = torch.arange(-radius, size + radius, device=device) % (2 * size)
    return torch.minimum(position, 2 * size - 1 - position)


def smoothed_target(
    labels_NHW: torch.Tensor,
    *,
    num_classes: int,
    smoothing: Smoothing | None,
    prior_NCHW: torch.Tensor | None = None,
) -> torch.Tensor:
    """(N, C, H, W): the hard label, smoothed; 0 in every class where there is no label.

    Parameters
    ----------
    smoothing
        None: the hard label as it is, whether or not there is a prior.
    prior_NCHW
        After the same crop and turns as the labels.

    Raises
    ------
    ConfigError
        If the smoothing has a share for a prior and there is none.
    """
    hard_NCHW = one_hot(labels_NHW, num_classes=num_classes)
    if smoothing is None:
        return hard_NCHW
    target_NCHW = (1 - smoothing.prior - smoothing.uniform) * hard_NCHW + smoothing.uniform / num_classes
    if smoothing.prior:
        if prior_NCHW is None:
            raise ConfigError(
                f"smoothing gives {smoothing.prior} to a prior, but there is none; pass `label_prior(...)` or smooth "
                "with prior=0"
            )
        target_NCHW = target_NCHW + smoothing.prior * prior_NCHW
    return target_NCHW * labelled(labels_NHW).unsqueeze(1)
