"""What validation counts: confusions by name, and losses, over all batches and ranks."""

from collections.abc import Mapping

import numpy as np
import torch
from torchmetrics import MeanMetric

from noldo.scores import Scores, confusion_metric, scores_of


class Counts:
    """Counters of one network, one for each of its outputs."""

    def __init__(self, outputs: tuple[str, ...], *, num_classes: int, device: torch.device) -> None:
        self._confusions = {name: confusion_metric(num_classes).to(device) for name in outputs}
        self._loss = MeanMetric(nan_strategy="disable").to(device)

    def reset(self) -> None:
        """Forget everything."""
        for metric in (self._loss, *self._confusions.values()):
            metric.reset()

    def add(self, logits: Mapping[str, torch.Tensor], labels: torch.Tensor, *, loss: torch.Tensor) -> None:
        """Count one batch.

        Parameters
        ----------
        logits
            Output to (N, C, Y, X).
        labels
            (N, Y, X) uint8, 255 unlabelled.
        loss
            Mean over the batch's samples.
        """
        truth = labels.to(torch.int64)
        for name, metric in self._confusions.items():
            metric.update(logits[name].argmax(dim=1), truth)
        self._loss.update(loss, len(labels))

    def confusions(self) -> dict[str, np.ndarray]:
        """Output to (truth, prediction) pixels, of all ranks."""
        return {name: metric.compute().cpu().numpy() for name, metric in self._confusions.items()}

    def loss(self) -> float:
        """Mean over samples, of all ranks."""
        return float(self._loss.compute())


SHARES = ("oa", "miou", "mf1", "mean_recall", "mean_precision")
"""Keys of `summary`."""


def summary(scores: Scores) -> dict[str, float]:
    """The scores of a table, 0..1."""
    return {
        "oa": scores.overall_accuracy,
        "miou": scores.mean_iou,
        "mf1": scores.mean_f1,
        "mean_recall": scores.mean_recall,
        "mean_precision": scores.mean_precision,
    }


def of_outputs(confusions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means over the outputs, and those of each output by its name if there are several.

    A class that is neither in truth nor prediction is left out of means; the published rule, by which it counts as 1, is
    for final results.
    """
    each = {name: summary(scores_of(counts, absent="skip")) for name, counts in confusions.items()}
    means = {key: sum(one[key] for one in each.values()) / len(each) for key in SHARES}
    if len(each) == 1:
        return means
    return means | {f"{name}.{key}": value for name, one in each.items() for key, value in one.items()}
