"""What an expert marks on a scene of the synthetic Earth: the truth, away from what is hard to tell.

Borders of classes and shadows of clouds stay unmarked, clouds are marked as such, and of the rest a field of soft blobs
decides what the expert left out, so that the wanted share of the pixels carries a class.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sandbox.planet.lattice import Window, nodes_of, to_pixels
from sandbox.planet.noise import chance, key, uniform
from sandbox.planet.optical_scenes import Take
from sandbox.planet.sky import sky_of
from sandbox.planet.truth import Classes, ground_of

UNMARKED, CLOUD = 0, 10
"""Beside them, 1..9 are the classes of `noldo.legend.DYNAMIC_WORLD` in order (PANGAEA 10.1594/PANGAEA.933475)."""

LEAST_SHARE, MOST_SHARE = 0.62, 0.78
"""Share of a window's pixels that get a class. Of the published training tiles it is 70.6 % over all."""

_BLOB_M = 700


@dataclass(frozen=True)
class Clarity:
    """What can be told of the pixels of a window; all axes (y, x)."""

    truth: Classes
    """Land cover, 0..8."""
    clear: npt.NDArray[np.bool_]
    """Neither at a border of classes, nor in cloud or shadow."""
    cloudy: npt.NDArray[np.bool_]


@lru_cache(maxsize=16)
def clarity_of(window: Window, *, take: Take | None, seed: int) -> Clarity:
    """What can be told of a window in the scene of a take; without one the sky is clear."""
    padded = window.padded()
    inside = window.inside(padded)
    truth = ground_of(padded, seed=seed).truth
    nearby = np.ones((3, 3), bool)
    same = ndimage.maximum_filter(truth, footprint=nearby) == ndimage.minimum_filter(truth, footprint=nearby)
    cloudy = shaded = np.zeros(truth.shape, bool)
    if take is not None:
        sky = sky_of(padded, take=take.number, day_of_year=take.day_of_year, seed=seed)
        cloudy, shaded = sky.cloudy, sky.shaded
    return Clarity(truth[inside], (same & ~cloudy & ~shaded)[inside], cloudy[inside])


@lru_cache(maxsize=64)
def annotation(window: Window, *, take: Take | None, seed: int) -> Classes:
    """What an expert marks: uint8 (y, x), 0 unmarked, 1..9 classes, 10 cloud; not to be written to."""
    seen = clarity_of(window, take=take, seed=seed)
    padded = window.padded()
    blobs = uniform(nodes_of(padded).points_m, cell_m=_BLOB_M, octaves=3, seed=key(seed, 98))
    sure = np.where(seen.clear, to_pixels(blobs)[window.inside(padded)], np.float32(-1))
    share = LEAST_SHARE + (MOST_SHARE - LEAST_SHARE) * chance(seed, 99, window.column, window.row)
    level = np.quantile(sure, 1 - share)
    marked = seen.clear & (sure >= level)
    marks = np.where(marked, seen.truth + 1, np.where(seen.cloudy, CLOUD, UNMARKED)).astype(np.uint8)
    marks.setflags(write=False)
    return marks
