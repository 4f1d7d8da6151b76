"""A linear classifier on frozen features, in closed form: ridge regression on one-hot classes, from sums over batches.

There is no learning rate and no number of steps; the same pixels give the same classifier in any order of batches, up to rounding.

Axes: N pixel, F feature, C class.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RIDGE = 1e-3
"""Of the mean variance of the features: what is added to the variance of each."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """Scores of classes are x W + b."""

    weights: Floats
    """(F, C)."""
    biases: Floats
    """(C,)."""

    def classes_of(self, features_NF: NDArray[np.floating]) -> NDArray[np.int64]:
        """(N,) class of the highest score."""
        scores = features_NF.astype(np.float64) @ self.weights + self.biases
        found: NDArray[np.int64] = scores.argmax(axis=1)
        return found


class Sums:
    """Sums over pixels that a classifier follows from: their size is that of the features, not of the data."""

    def __init__(self, num_features: int, *, num_classes: int) -> None:
        self._num = 0
        self._x_F = np.zeros(num_features)
        self._y_C = np.zeros(num_classes)
        self._xx_FF = np.zeros((num_features, num_features))
        self._xy_FC = np.zeros((num_features, num_classes))

    def add(self, features_NF: NDArray[np.floating], classes_N: NDArray[np.integer]) -> None:
        """Some pixels with their classes 0 .. C-1."""
        features = features_NF.astype(np.float64)
        targets = np.eye(len(self._y_C))[classes_N]
        self._num += len(features)
        self._x_F += features.sum(axis=0)
        self._y_C += targets.sum(axis=0)
        self._xx_FF += features.T @ features
        self._xy_FC += features.T @ targets

    def solve(self, *, ridge: float = RIDGE) -> Probe:
        """The classifier with the least squared error plus ridge times mean variance times |W|^2; the bias is free.

        Raises
        ------
        ValueError
            If there was no pixel.
        """
        if not self._num:
            raise ValueError("no labelled pixel to learn a classifier from")
        mean_F, share_C = self._x_F / self._num, self._y_C / self._num
        covariance = self._xx_FF / self._num - np.outer(mean_F, mean_F)
        shared = self._xy_FC / self._num - np.outer(mean_F, share_C)
        added = ridge * np.trace(covariance) / len(mean_F)
        weight = np.zeros_like(shared)
        if added > 0:  # features that do not vary tell nothing
            weight = np.linalg.solve(covariance + added * np.eye(len(mean_F)), shared)
        return Probe(weight, share_C - mean_F @ weight)
