"""How well the labels of one patch fit to what networks predict for it, as one number.

All take the labelled pixels of a patch alone, in any order. Axes: P pixel, C class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from noldo.errors import ConfigError, MissingExtraError

SMALLEST_P = 1e-7
"""Probabilities below it count as it: one pixel must not decide for a patch."""

TEMPERATURE = 0.1
"""Of cleanlab's soft minimum, its default."""


@dataclass(frozen=True)
class Pixels:
    """What is known of the labelled pixels of a patch; at least one."""

    labels: NDArray[np.int64]
    """(P,) classes."""
    probabilities: NDArray[np.float32]
    """(P, C), adding to 1 over classes."""

    @property
    def own(self) -> NDArray[np.float64]:
        """(P,) probability of the labelled class."""
        found: NDArray[np.float64] = np.take_along_axis(self.probabilities, self.labels[:, None], axis=1)[
            :, 0
        ].astype(np.float64)
        return found


def mean_cross_entropy(pixels: Pixels) -> float:
    """Mean of -log p_y; higher is worse. The ensemble's loss of Augmented Ensemble Ranking (arXiv 2603.00604), as far as it is told."""
    return float(_losses(pixels).mean())


def mean_cross_entropy_by_class(pixels: Pixels) -> float:
    """The same, averaged in each labelled class first: a small class counts as much as a large one."""
    losses = _losses(pixels)
    counts = np.bincount(pixels.labels)
    sums = np.bincount(pixels.labels, weights=losses)
    return float((sums[counts > 0] / counts[counts > 0]).mean())


def cleanlab_score(pixels: Pixels) -> float:
    """cleanlab's score of an image: a soft minimum of p_y over its pixels, 0..1; lower is worse.

    `cleanlab.segmentation.rank.get_label_quality_scores` with method `softmin`, which does not downsample (other parts of cleanlab average
    class ids when they do). It knows no pixels without a label, so they are left out before: an image of one row of pixels.

    Needs `require`.
    """
    from cleanlab.segmentation.rank import get_label_quality_scores

    scores, _ = get_label_quality_scores(
        pixels.labels[None, None],
        pixels.probabilities.T[None, :, None],
        method="softmin",
        temperature=TEMPERATURE,
        verbose=False,
    )
    return float(scores[0])


def _losses(pixels: Pixels) -> NDArray[np.float64]:
    found: NDArray[np.float64] = -np.log(np.maximum(pixels.own, SMALLEST_P))
    return found


@dataclass(frozen=True)
class Score:
    """One way to judge a patch."""

    of: Callable[[Pixels], float]
    higher_is_worse: bool


SCORES = {
    "cross_entropy": Score(mean_cross_entropy, higher_is_worse=True),
    "cross_entropy_by_class": Score(mean_cross_entropy_by_class, higher_is_worse=True),
    "cleanlab": Score(cleanlab_score, higher_is_worse=False),
}
"""By the names that the command and the columns of the table have."""


def require(names: Sequence[str]) -> None:
    """Refuse scores that can't be told, before anything is judged.

    Raises
    ------
    ConfigError
        If there is no such score.
    MissingExtraError
        If cleanlab is not installed, and its score is among them.
    """
    if unknown := [name for name in names if name not in SCORES]:
        raise ConfigError(f"scores {', '.join(unknown)}: expected some of {', '.join(SCORES)}")
    if "cleanlab" in names and not find_spec("cleanlab"):
        raise MissingExtraError(
            "score cleanlab needs cleanlab; run `pip install -e '.[audit]'` in the checkout of this project, or leave it out: "
            "--scores cross_entropy,cross_entropy_by_class"
        )


def worst_first(values: NDArray[np.float64], *, score: str) -> NDArray[np.int64]:
    """(patch,) rank of each patch, 1 the worst; of equal ones the first. NaN: not judged, rank 0."""
    signed = -values if SCORES[score].higher_is_worse else values
    ranks = np.zeros(len(values), np.int64)
    order = np.argsort(signed, kind="stable")  # NaN last
    judged = order[np.isfinite(values[order])]
    ranks[judged] = np.arange(1, len(judged) + 1)
    return ranks
