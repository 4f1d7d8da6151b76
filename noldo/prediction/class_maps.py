"""From probabilities to the bytes of a map: class ids, and probabilities in 254 steps.

Axes: C class, Y row, X column.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from noldo.products import PROBABILITY_STEPS, UNLABELLED

Planes = NDArray[np.uint8]
"""(plane, Y, X)."""


def labels_of(probabilities: NDArray[np.float32]) -> Planes:
    """The most probable class of each pixel.

    Parameters
    ----------
    probabilities
        (C, Y, X); NaN where nothing was observed.

    Returns
    -------
    (1, Y, X) class ids; 255 where nothing was observed. Of equal classes the first.
    """
    unobserved = np.isnan(probabilities).any(axis=0)
    return np.where(unobserved, UNLABELLED, probabilities.argmax(axis=0)).astype(np.uint8)[None]


def bytes_of(probabilities: NDArray[np.float32]) -> Planes:
    """Probabilities as a store keeps them: round(p x 254); 255 where nothing was observed. Same axes."""
    steps = probabilities * np.float32(PROBABILITY_STEPS)
    np.round(steps, out=steps)
    steps[np.isnan(steps)] = 255
    return steps.astype(np.uint8)


def in_blocks(strips: Iterable[Planes], *, block_px: int) -> Iterator[tuple[int, Planes]]:
    """The same rows in other portions, so that no block of a file is written twice.

    Yields
    ------
    First row, and planes whose rows are a multiple of `block_px`; the last ones have what is left.
    """
    top, held = 0, None
    for planes in strips:
        held = planes if held is None else np.concatenate([held, planes], axis=1)
        num_rows = held.shape[1] // block_px * block_px
        if num_rows:
            yield top, held[:, :num_rows]
            top, held = top + num_rows, held[:, num_rows:]
    if held is not None and held.shape[1]:
        yield top, held
