"""When a network stops learning what labels have in common and begins to learn their errors, read from curves of training.

Two rules, each a pure function of a score against the *noisy* labels, epoch by epoch (from 1):

* of ADELE (Liu et al., CVPR 2022, arXiv 2110.03740, section 3.2), class by class from the IoU: `has_slowed`;
* of AIO2 (Liu et al., IEEE TGRS 62, 2024, arXiv 2403.01641, section III-A, "ACT"), once for all from the accuracy: `correction_epoch`.

Both describe a curve by g(t) = a (1 - exp(-b t^c)) with a and c in 0..1 and b from 0 up, as the released code of both bounds it (ADELE writes 1 / c
for b, and b for c). Such a curve rises ever more slowly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LATE_WEIGHT = 10.0
"""ADELE: the residual of the last epoch counts ten times that of the first one, in between geometrically."""

WINDOWS = (10, 20, 30, 40)
"""AIO2: epochs over which the slope of the accuracy is taken."""

MIN_EPOCHS = 3
"""A curve of three parameters is not fitted to fewer epochs."""

_ADELE_START = (1.0, 1.0, 1.0)
_AIO2_START = (1.0, 0.5, 0.5)
"""a, b, c that the released fits begin with."""


@dataclass(frozen=True)
class Curve:
    """g(t) = a (1 - exp(-b t^c)), t in epochs."""

    a: float
    """Where it ends, 0..1."""
    b: float
    """How fast it gets there, at least 0."""
    c: float
    """0..1; below 1 it rises fastest at once."""

    def value(self, t: Floats) -> Floats:
        """g at epochs t > 0, same axes."""
        found: Floats = self.a * (1 - np.exp(-self.b * t**self.c))
        return found

    def slope(self, t: Floats) -> Floats:
        """dg/dt at epochs t > 0, same axes; falls with t."""
        found: Floats = self.a * self.b * self.c * t ** (self.c - 1) * np.exp(-self.b * t**self.c)
        return found


def fitted(
    values: Sequence[float],
    *,
    late_weight: float = LATE_WEIGHT,
    start: tuple[float, float, float] = _ADELE_START,
) -> Curve:
    """The curve nearest to scores by weighted least squares.

    Parameters
    ----------
    values
        Of epochs 1, 2, ...; NaN: not known, and left out.
    late_weight
        Of the last residual against the first; 1: all alike.
    start
        a, b and c that the fit begins with.

    Raises
    ------
    ValueError
        If fewer than `MIN_EPOCHS` values are known.
    """
    from scipy.optimize import least_squares

    scores = np.asarray(values, np.float64)
    known = np.isfinite(scores)
    if known.sum() < MIN_EPOCHS:
        raise ValueError(f"{known.sum()} epochs: a curve needs {MIN_EPOCHS}")
    epochs: Floats = 1.0 + np.flatnonzero(known).astype(np.float64)
    weights: Floats = np.geomspace(1, late_weight, len(scores)).astype(np.float64)[known]

    def residuals(parameters: Floats) -> Floats:
        return weights * (Curve(*parameters.tolist()).value(epochs) - scores[known])

    found = least_squares(residuals, start, bounds=([0, 0, 0], [1, np.inf, 1]))
    return Curve(*found.x.tolist())


def has_slowed(values: Sequence[float], *, fall: float = 0.9) -> bool:
    """ADELE's trigger: |g'(1) - g'(t)| / |g'(1)| > r at the last epoch t.

    Parameters
    ----------
    values
        IoU of one class in training against the noisy labels, epoch by epoch; NaN where it was neither labelled nor predicted.
    fall
        r, 0..1.

    Returns
    -------
    False, too, before there is anything to fit: fewer than `MIN_EPOCHS` values, or a class that was never right.
    """
    scores = np.asarray(values, np.float64)
    if np.isfinite(scores).sum() < MIN_EPOCHS or not np.nanmax(scores):
        return False
    first, last = fitted(values).slope(np.array([1.0, len(values)])).tolist()
    return bool(first > 0 and abs(first - last) / first > fall)


def correction_epoch(accuracies: Sequence[float], *, windows: Sequence[int] = WINDOWS) -> int | None:
    """AIO2's trigger: the epoch (from 1) whose weights should correct labels; None: not to be told yet.

    For each window length, the flattest stretch of the curve is looked for; its end counts once the curve rises more steeply again and a
    buffer of the windows' mean has passed. The mean of those ends is where the pause between learning and memorising ends. The pause begins
    where the fitted curve up to there is no steeper than its mean slope; the epoch is halfway between the two.

    Parameters
    ----------
    accuracies
        Share of training pixels that are predicted as they are labelled, epoch by epoch.
    windows
        Lengths in epochs, each at least `MIN_EPOCHS`.
    """
    scores = np.asarray(accuracies, np.float64)
    ends = [_end_of_pause(scores, window, buffer=float(np.mean(windows))) for window in windows]
    known = [end for end in ends if end is not None]
    if len(known) < len(windows):
        return None
    end = int(np.mean(known))
    epochs = np.arange(1.0, end + 1)
    curve = fitted(scores[:end].tolist(), late_weight=1, start=_AIO2_START)
    first, last = curve.value(epochs[[0, -1]]).tolist()
    begin = int((curve.slope(epochs) > (last - first) / (end - 1)).sum())
    return int((end + begin) / 2)


def first_possible(windows: Sequence[int]) -> int:
    """Epochs that AIO2's trigger needs before it can tell anything: the longest window, and more than the buffer."""
    return max(windows) + int(np.mean(windows)) + 1


def _end_of_pause(scores: Floats, window: int, *, buffer: float) -> int | None:
    """Last epoch (from 1) of the flattest window, as it was last told."""
    slopes = _slopes(scores, window)
    end: int | None = None
    for count in range(1, len(slopes) + 1):
        flattest = int(slopes[:count].argmin())
        is_steeper_again = slopes[flattest] < slopes[count - 1]
        if is_steeper_again and count - 1 - flattest > buffer:
            end = flattest + window
    return end


def _slopes(scores: Floats, window: int) -> Floats:
    """Slope of the line through each stretch of so many epochs, at least 0 as in the released fit; empty if there is none."""
    if len(scores) < window:
        return np.empty(0)
    steps = np.arange(window) - (window - 1) / 2
    stretches = np.lib.stride_tricks.sliding_window_view(scores, window)
    found: Floats = np.maximum(stretches @ steps / (steps @ steps), 0)
    return found
