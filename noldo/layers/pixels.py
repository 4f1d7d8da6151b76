"""Pixels that stand for a batch: drawn by batch and layer alone, so that all networks are looked at in the same ones.

Axes: N sample, F feature, Y row, X column, P pixel.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from noldo.products import UNLABELLED

_STREAM = 6
"""Of random numbers; 0 to 5 are those of seasons, crops, augmentation, order, dropout and label noise."""


def drawn(num: int, *, at_most: int, words: tuple[int, ...]) -> NDArray[np.int64]:
    """Positions 0 .. num - 1 without repetition, ascending.

    Parameters
    ----------
    words
        What they are drawn by.
    """
    rng = np.random.default_rng([*words, _STREAM])
    return np.sort(rng.choice(num, size=min(num, at_most), replace=False))


def labelled_pixels(
    labels_NYX: NDArray[np.uint8], *, at_most: int, words: tuple[int, ...]
) -> NDArray[np.int64]:
    """(P,) flat positions of pixels that have a label."""
    labelled = np.flatnonzero(labels_NYX != UNLABELLED)
    return labelled[drawn(len(labelled), at_most=at_most, words=words)]


def features_in(output_NFYX: torch.Tensor, positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """(P, F) features at flat positions of the layer's own grid (N, Y, X)."""
    flat = output_NFYX.movedim(1, -1).flatten(0, 2)
    index = torch.from_numpy(positions).to(flat.device)
    return _array(flat.index_select(0, index))


def features_at(
    output_NFYX: torch.Tensor,
    positions: NDArray[np.int64],
    *,
    shape: tuple[int, int, int],
    padded_side: tuple[int, int],
) -> NDArray[np.float32]:
    """(P, F) features at label pixels, as if the layer's output were resampled bilinearly to the grid of the labels.

    Parameters
    ----------
    positions
        Flat positions in the labels.
    shape
        (N, Y, X) of the labels.
    padded_side
        Rows and columns of the padded image that the output covers.
    """
    num_samples = shape[0]
    sample, row, column = np.unravel_index(positions, shape)
    points = np.stack(
        [2 * (column + 0.5) / padded_side[1] - 1, 2 * (row + 0.5) / padded_side[0] - 1], axis=-1
    )
    parts = []
    for number in range(num_samples):
        grid = torch.from_numpy(points[sample == number].astype(np.float32))[None, None]
        values = functional.grid_sample(
            output_NFYX[number : number + 1].float(),
            grid.to(output_NFYX.device),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        parts.append(_array(values[0, :, 0].T))
    return np.concatenate(parts)


def _array(values: torch.Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = values.float().cpu().numpy()
    return found
