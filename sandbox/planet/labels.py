"""Dynamic World over the synthetic Earth: the truth, with structured and class-dependent mistakes.

Borders are moved by up to two pixels, and blobs of a few hundred metres are taken for another class as
`CONFUSION` says. Half of the blobs stay from date to date, as a network's do; the others are the date's own.
"""

from functools import lru_cache

import numpy as np

from noldo.products import NUM_DYNAMIC_WORLD_CLASSES
from sandbox.planet.lattice import Floats, Window, nodes_of, to_pixels
from sandbox.planet.noise import key, uniform
from sandbox.planet.sky import Sky, sky_of
from sandbox.planet.truth import Classes, ground_of

CONFUSION = np.array(
    [
        # share of truth (row) that is labelled as (column), away from borders
        [0.950, 0.005, 0.005, 0.020, 0.000, 0.000, 0.005, 0.015, 0.000],
        [0.005, 0.870, 0.020, 0.015, 0.015, 0.060, 0.010, 0.005, 0.000],
        [0.005, 0.060, 0.600, 0.020, 0.150, 0.120, 0.015, 0.030, 0.000],
        [0.070, 0.090, 0.110, 0.560, 0.080, 0.070, 0.010, 0.010, 0.000],
        [0.005, 0.025, 0.065, 0.010, 0.810, 0.045, 0.010, 0.030, 0.000],
        [0.000, 0.090, 0.095, 0.015, 0.050, 0.640, 0.015, 0.095, 0.000],
        [0.005, 0.025, 0.015, 0.000, 0.020, 0.015, 0.880, 0.040, 0.000],
        [0.015, 0.005, 0.035, 0.000, 0.050, 0.100, 0.055, 0.730, 0.010],
        [0.015, 0.010, 0.005, 0.000, 0.000, 0.005, 0.005, 0.040, 0.920],
    ]
)
"""Rows add up to 1. Of the kind and size that Brown et al. (2022), "Dynamic World", table 3, report."""

_BLOB_M = 420
_SHIFT_PX = 2
_SHIFT_CELL_M = 260
_LEAST_CONFIDENCE, _MOST_CONFIDENCE = np.float32(0.52), np.float32(0.88)


def labels(window: Window, *, take: int, seed: int) -> Classes:
    """Most probable class of each pixel, uint8 (y, x); also under clouds, where `observed` is False."""
    padded = window.padded()
    return _labels(padded, take, seed)[window.inside(padded)]


def probability(window: Window, class_id: int, *, take: int, seed: int) -> Floats:
    """Probability of one class, float32 (y, x); over all classes they add up to 1, and the label's is the largest."""
    padded = window.padded()
    inside = window.inside(padded)
    label = _labels(padded, take, seed)[inside]
    truth = ground_of(padded, seed=seed).truth[inside]
    certain = _certainty(padded, take, seed)[inside]
    others = CONFUSION[:, class_id].astype(np.float32)[truth]
    share: Floats = (1 - certain) * others + certain * (label == class_id)
    return share


def observed(window: Window, *, take: int, day_of_year: int, seed: int) -> np.ndarray:
    """Pixels that get a label (bool): neither cloud nor cloud shadow."""
    padded = window.padded()
    sky: Sky = sky_of(padded, take=take, day_of_year=day_of_year, seed=seed)
    clear: np.ndarray = ~(sky.cloudy | sky.shaded)[window.inside(padded)]
    return clear


@lru_cache(maxsize=10)
def _labels(padded: Window, take: int, seed: int) -> Classes:
    moved = _moved(ground_of(padded, seed=seed).truth, padded, key(seed, take, 41))
    lasting = _mistaken(moved, padded, key(seed, 42))
    passing = _mistaken(moved, padded, key(seed, take, 43))
    return np.where(lasting != moved, lasting, passing)


@lru_cache(maxsize=8)
def _certainty(padded: Window, take: int, seed: int) -> Floats:
    field = to_pixels(uniform(nodes_of(padded).points_m, cell_m=350, octaves=2, seed=key(seed, take, 44)))
    certain: Floats = _LEAST_CONFIDENCE + (_MOST_CONFIDENCE - _LEAST_CONFIDENCE) * field
    return certain


def _moved(truth: Classes, padded: Window, seed: int) -> Classes:
    """Each pixel takes the class of one nearby, by a slowly turning displacement.

    At the rim of the padded window the neighbours are missing; `Window.padded` leaves it room.
    """
    points = nodes_of(padded).points_m
    scale = np.float32(2 * _SHIFT_PX + 1)
    offsets = [
        np.clip(
            np.floor(
                to_pixels(uniform(points, cell_m=_SHIFT_CELL_M, octaves=1, seed=key(seed, axis))) * scale
            ),
            0,
            2 * _SHIFT_PX,
        )
        for axis in range(2)
    ]
    rows = np.arange(padded.height)[:, None] + offsets[0].astype(np.intp) - _SHIFT_PX
    columns = np.arange(padded.width)[None, :] + offsets[1].astype(np.intp) - _SHIFT_PX
    moved: Classes = truth[np.clip(rows, 0, padded.height - 1), np.clip(columns, 0, padded.width - 1)]
    return moved


def _mistaken(truth: Classes, padded: Window, seed: int) -> Classes:
    """Truth with half of the mistakes of `CONFUSION`: where a smooth field is high, another one picks the class."""
    points = nodes_of(padded).points_m
    doubt = to_pixels(uniform(points, cell_m=_BLOB_M, octaves=2, seed=key(seed, 1)))
    pick = to_pixels(uniform(points, cell_m=1.5 * _BLOB_M, octaves=2, seed=key(seed, 2)))
    least, cumulative = _half_rates()
    other = np.zeros(truth.shape, np.uint8)
    for column in range(NUM_DYNAMIC_WORLD_CLASSES - 1):
        other += pick >= cumulative[:, column][truth]
    return np.where(doubt > least[truth], other, truth)


@lru_cache(maxsize=1)
def _half_rates() -> tuple[Floats, Floats]:
    """Quantile of doubt above which a class is mistaken (two independent draws make the whole rate), and
    the cumulative shares of the classes it is then taken for."""
    kept = np.diag(CONFUSION)
    wrong = CONFUSION - np.diag(kept)
    cumulative = np.cumsum(wrong / wrong.sum(axis=1, keepdims=True), axis=1)
    cumulative[:, -1] = 1.0
    return np.sqrt(kept).astype(np.float32), cumulative.astype(np.float32)
