"""Wrong labels of a known share, for studies of how much noise a method bears.

They are a function of seed, location and season: the same in each epoch, other ones in each season. What is unlabelled stays
so. Axes: S season, Y row, X column.
"""

from collections.abc import Sequence

import numpy as np

from noldo.products import UNLABELLED
from noldo.training.data_keys import LabelNoise

_STREAM = 5
"""Of random numbers; 0 to 4 are those of seasons, crops, augmentation, order and dropout."""

_RATES = 6
"""Stream of the rates, where each location has its own."""


def rate_of(noise: LabelNoise, *, location: int, seed: int) -> float:
    """Share of a location's labels that become wrong, in all of its seasons."""
    if not noise.vary:
        return noise.rate
    return float(np.random.default_rng([seed, location, _RATES]).uniform(0, 2 * noise.rate))


def with_noise(
    labels_SYX: np.ndarray,
    *,
    seasons: Sequence[int],
    location: int,
    num_classes: int,
    noise: LabelNoise,
    seed: int,
) -> np.ndarray:
    """Labels of which a share is wrong.

    Parameters
    ----------
    labels_SYX
        uint8 class ids, 255 unlabelled.
    seasons
        Position of each map on the season axis of the store.
    location
        Id; one location has the same errors in any order and batch.

    Returns
    -------
    A new array of the same shape and dtype.
    """
    rate = rate_of(noise, location=location, seed=seed)
    noise = noise.model_copy(update={"rate": rate})
    noisy = [
        _one_map(labels, num_classes, noise, np.random.default_rng([seed, location, season, _STREAM]))
        for labels, season in zip(labels_SYX, seasons, strict=True)
    ]
    return np.stack(noisy)


def _one_map(
    labels_YX: np.ndarray, num_classes: int, noise: LabelNoise, rng: np.random.Generator
) -> np.ndarray:
    if noise.kind == "blurred":
        is_wrong = _ranks(_smooth_field(labels_YX.shape, noise.width_px, rng)) < noise.rate
        shift = 1 + (_ranks(_smooth_field(labels_YX.shape, noise.width_px, rng)) * (num_classes - 1)).astype(
            int
        )
    else:
        is_wrong = rng.random(labels_YX.shape) < noise.rate
        shift = np.ones(labels_YX.shape, int)
        if noise.kind == "uniform":
            shift = rng.integers(1, num_classes, size=labels_YX.shape)
    changed = is_wrong & (labels_YX != UNLABELLED)
    wrong = (labels_YX.astype(int) + shift) % num_classes
    return np.where(changed, wrong, labels_YX).astype(labels_YX.dtype)


def _ranks(field_YX: np.ndarray) -> np.ndarray:
    """0 .. 1 (never 1) by size: as many pixels below each value as its share says."""
    order = np.argsort(field_YX, axis=None, kind="stable")
    ranks = np.empty(field_YX.size)
    ranks[order] = np.arange(field_YX.size) / field_YX.size
    return ranks.reshape(field_YX.shape)


def _smooth_field(shape: tuple[int, ...], width_px: float, rng: np.random.Generator) -> np.ndarray:
    """White noise blurred by a Gaussian of this standard deviation, in pixels; its edges meet."""
    height, width = shape
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    gaussian = np.exp(-2 * (np.pi * width_px * frequencies) ** 2)
    return np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * gaussian, s=(height, width))
