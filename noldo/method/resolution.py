"""Resolution alignment: labelled images are made coarser, so that a network also knows its classes at the target's resolution.

The augmentation of the DFC2025 track 1 winner (Liu et al., arXiv 2504.13458; class `RandomDownUp` of StuLiu/dfc2025track1): only the source
goes through it. Axes: N sample, B band, Y row, X column.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from noldo.errors import ConfigError


@dataclass(frozen=True)
class Resolution:
    """How often, and how much, images lose resolution; the defaults are the published ones."""

    chance: float = 0.2
    """Of each sample."""
    low: float = 0.1
    high: float = 0.35
    """Bounds of r: the image is reduced to r times its side, so that pixels are 1 / r times as large."""
    max_zoom: float = 3.0
    """u_max: objects then appear 1 to u_max times as large."""

    def __post_init__(self) -> None:
        if not (0 <= self.chance <= 1 and 0 < self.low <= self.high <= 1 and self.max_zoom >= 1):
            raise ConfigError(
                f"{self}: expected a chance of 0..1, 0 < low <= high <= 1 and max_zoom of 1 or more"
            )


@dataclass(frozen=True)
class Coarsening:
    """What is done to one sample."""

    down_px: int
    """Side of the reduced image."""
    up_px: int
    """Side of the enlarged image; at least that of the sample."""
    top: int
    left: int
    """First row and column of the crop that is taken of it."""


def draw_coarsenings(
    num_samples: int, *, side_px: int, settings: Resolution, rng: np.random.Generator
) -> tuple[Coarsening | None, ...]:
    """Draw what is done to each sample; None: nothing.

    r ~ U(low, high), u ~ U(1, max_zoom); the crop is anywhere.

    Parameters
    ----------
    side_px
        Of the samples, in pixels: they are squares, cropped already.
    """
    return tuple(_draw_one(side_px, settings, rng) for _ in range(num_samples))


def _draw_one(side_px: int, settings: Resolution, rng: np.random.Generator) -> Coarsening | None:
    # All are drawn, used or not: a sample does not change what the next one gets.
    chance, r, u, top, left = rng.random(5)
    if chance >= settings.chance:
        return None
    down_px = max(1, int((settings.low + r * (settings.high - settings.low)) * side_px))
    up_px = int((1 + u * (settings.max_zoom - 1)) * side_px)
    spare = up_px - side_px
    return Coarsening(down_px, up_px, int(top * (spare + 1)), int(left * (spare + 1)))


def coarsened(
    images_NBYX: torch.Tensor, labels_NYX: torch.Tensor, *, coarsenings: Sequence[Coarsening | None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of the same size, some of them coarser and enlarged.

    The image goes down, then up, bilinearly, pixel centres kept and without smoothing before (as published, so strong reductions
    alias). The label is resized once, to its nearest pixel: no class appears that was not there, and thin things stay.

    Parameters
    ----------
    labels_NYX
        uint8, 255 unlabelled.
    coarsenings
        One a sample; without any the tensors are returned as they are.
    """
    if not any(coarsenings):
        return images_NBYX, labels_NYX
    pairs = [
        _coarsened_one(image, labels, one) if one is not None else (image, labels)
        for image, labels, one in zip(images_NBYX, labels_NYX, coarsenings, strict=True)
    ]
    images, labels = zip(*pairs, strict=True)
    return torch.stack(images), torch.stack(labels)


def _coarsened_one(
    image_BYX: torch.Tensor, labels_YX: torch.Tensor, how: Coarsening
) -> tuple[torch.Tensor, torch.Tensor]:
    side_px = labels_YX.shape[-1]
    rows, columns = slice(how.top, how.top + side_px), slice(how.left, how.left + side_px)
    image_1BYX = _bilinear(_bilinear(image_BYX[None], how.down_px), how.up_px)
    labels_11YX = functional.interpolate(
        labels_YX[None, None], size=(how.up_px, how.up_px), mode="nearest-exact"
    )
    return image_1BYX[0, :, rows, columns], labels_11YX[0, 0, rows, columns]


def _bilinear(image_NBYX: torch.Tensor, side_px: int) -> torch.Tensor:
    return functional.interpolate(image_NBYX, size=(side_px, side_px), mode="bilinear", align_corners=False)
