"""Scores of a segmentation, all from one confusion matrix: overall accuracy, IoU, F1, precision and recall.

The matrix counts pixels, truth by prediction. It adds up over batches and ranks; the scores don't, so they are taken
once, of the sum.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from noldo.errors import ConfigError
from noldo.products import UNLABELLED

if TYPE_CHECKING:
    from torchmetrics.classification import MulticlassConfusionMatrix

Absent = Literal["one", "skip"]
"""What 0/0 means: a class that is neither in truth nor prediction has no IoU and no F1, one never predicted no precision,
one absent in truth no recall.

`one`: it counts as 1, in the mean too (`zero_division=1` of the published code; a class that the network never predicts
gains by it). `skip`: it is NaN, and the mean is over the other classes.
"""


@dataclass(frozen=True)
class Scores:
    """Shares 0..1; classes in the order of the matrix.

    The column "AA" of the paper's tables is not defined there. Textbooks call mean recall the average accuracy; the
    published numbers look like mean precision. Both are here by their own names.
    """

    overall_accuracy: float
    """Pixels that are right / all; NaN without pixels."""
    iou: tuple[float, ...]
    f1: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    num_pixels: int
    """That the scores rest on."""

    @property
    def mean_iou(self) -> float:
        """Over classes."""
        return _mean(self.iou)

    @property
    def mean_f1(self) -> float:
        """Over classes."""
        return _mean(self.f1)

    @property
    def mean_precision(self) -> float:
        """Over classes."""
        return _mean(self.precision)

    @property
    def mean_recall(self) -> float:
        """Over classes."""
        return _mean(self.recall)


def scores_of(counts: NDArray[np.int64], *, absent: Absent) -> Scores:
    """All scores of a confusion matrix.

    Parameters
    ----------
    counts
        (truth, prediction) pixels.
    absent
        What a score is whose denominator is 0.

    Raises
    ------
    ConfigError
        If the matrix is not square.
    """
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ConfigError(f"confusion matrix of shape {counts.shape}: expected as many rows as columns")
    right, true, predicted = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    num_pixels = int(counts.sum())
    return Scores(
        overall_accuracy=int(right.sum()) / num_pixels if num_pixels else math.nan,
        iou=_ratios(right, true + predicted - right, absent),
        f1=_ratios(2 * right, true + predicted, absent),
        precision=_ratios(right, predicted, absent),
        recall=_ratios(right, true, absent),
        num_pixels=num_pixels,
    )


def _ratios(part: NDArray[np.int64], whole: NDArray[np.int64], absent: Absent) -> tuple[float, ...]:
    nothing = 1.0 if absent == "one" else math.nan
    return tuple(a / b if b else nothing for a, b in zip(part.tolist(), whole.tolist(), strict=True))


def _mean(values: tuple[float, ...]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def confusion_metric(num_classes: int) -> "MulticlassConfusionMatrix":
    """A counter of (truth, prediction) pixels: `update(logits, labels)`, then `compute()`, which adds up over ranks.

    Pixels with label 255 are left out; any other number beyond the classes is an error of torch's.
    """
    from torchmetrics.classification import MulticlassConfusionMatrix

    return MulticlassConfusionMatrix(num_classes, ignore_index=UNLABELLED, validate_args=False)
