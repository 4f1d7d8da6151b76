"""Strong augmentation of mixed images, labels untouched: brightness, contrast and a Gaussian blur.

The probabilities and ranges of the DFC2025 track 1 winner (StuLiu/dfc2025track1, after DACS): one number a step decides for the whole
batch whether it is jittered, another whether it is blurred. Its jitter also turns hue and saturation, which are defined for red, green and blue
and mean nothing for thirteen bands or two polarisations: they are left out. Brightness and contrast are drawn for each image,
alike for all of its bands. Images are 0..1, and stay so; what is without data is an ordinary 0.5 here (`noldo.models.input_step`), so no
black is put back.

Axes: N sample, B band, Y row, X column.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from noldo.errors import ConfigError

_REACH = 5
"""Standard deviations of the blur that are summed; beyond lies less than 1e-6 of it."""

_SIGMA_PX = (0.15, 1.15)
"""Bounds of the blur's standard deviation, in pixels."""


@dataclass(frozen=True)
class Strong:
    """How often, and how much; the defaults are those of the published final networks."""

    jitter: float = 0.5
    """Chance of brightness and contrast, a batch."""
    strength: float = 0.2
    """Both factors are uniform within 1 +- this."""
    blur: float = 0.5
    """Chance of a blur, a batch."""

    def __post_init__(self) -> None:
        if not (0 <= self.jitter <= 1 and 0 <= self.blur <= 1 and 0 <= self.strength <= 1):
            raise ConfigError(f"{self}: expected numbers of 0..1")


@dataclass(frozen=True)
class Look:
    """What is done to one batch."""

    brightness: np.ndarray
    """(N,) factors."""
    contrast: np.ndarray
    """(N,) factors of the distance from the image's mean."""
    sigma_px: float
    """Standard deviation of the blur; 0: none."""


def draw_look(num_samples: int, *, settings: Strong, rng: np.random.Generator) -> Look:
    """Draw what is done to a batch."""
    is_jittered, is_blurred = rng.random() < settings.jitter, rng.random() < settings.blur
    strength = settings.strength if is_jittered else 0.0
    brightness, contrast = 1 + strength * rng.uniform(-1, 1, (2, num_samples))
    return Look(brightness, contrast, float(rng.uniform(*_SIGMA_PX)) if is_blurred else 0.0)


def looked(images_NBYX: torch.Tensor, look: Look) -> torch.Tensor:
    """The batch with that look, 0..1, as the input otherwise."""
    if not (look.brightness == 1).all() or not (look.contrast == 1).all():
        images_NBYX = _jittered(images_NBYX, look)
    return _blurred(images_NBYX, look.sigma_px) if look.sigma_px else images_NBYX


def _jittered(images_NBYX: torch.Tensor, look: Look) -> torch.Tensor:
    brightness, contrast = (
        torch.from_numpy(one.astype(np.float32)).to(images_NBYX.device, non_blocking=True)[
            :, None, None, None
        ]
        for one in (look.brightness, look.contrast)
    )
    bright = (images_NBYX * brightness).clamp(0, 1)
    mean = bright.mean(dim=(1, 2, 3), keepdim=True)
    return (mean + contrast * (bright - mean)).clamp(0, 1)


def _blurred(images_NBYX: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """A Gaussian over a tenth of the side (as published), the border mirrored.

    Sums of shifted images, not a convolution: autocast would round that to 11 bits and fewer.
    """
    for axis in (2, 3):
        size = images_NBYX.shape[axis]
        tenth = math.ceil(0.1 * size)
        reach = min((tenth - 1 + tenth % 2) // 2, math.ceil(_REACH * sigma_px), size - 1)
        heights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma_px**2))
        pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        wide = functional.pad(images_NBYX, pad, mode="reflect")
        images_NBYX = sum(
            (wide.narrow(axis, at, size) * float(share) for at, share in enumerate(heights / heights.sum())),
            torch.zeros_like(images_NBYX),
        )
    return images_NBYX
