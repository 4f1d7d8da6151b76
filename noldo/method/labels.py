"""Hard labels as the losses need them: where there is one, and one plane a class.

Axes: N sample, C class, H row, W column; G is 1 + C, the unlabelled and the classes.
"""

import torch

from noldo.products import UNLABELLED


def labelled(labels: torch.Tensor) -> torch.Tensor:
    """Where there is a label: bool, same axes."""
    return labels != UNLABELLED


def groups(labels: torch.Tensor) -> torch.Tensor:
    """0 for the unlabelled and 1 + class for the others: int64, same axes.

    So a number that is neither a class nor 255 lies beyond the G groups, and whatever indexes with it fails aloud
    rather than to count it as unlabelled.
    """
    return torch.where(labelled(labels), labels.to(torch.int64) + 1, 0)


def one_hot(labels_NHW: torch.Tensor, *, num_classes: int) -> torch.Tensor:
    """(N, C, H, W) float32: 1 at the pixel's class, 0 elsewhere; the unlabelled are 0 in every plane.

    Raises
    ------
    RuntimeError
        From torch (on CUDA when it next waits for the device), if a label is neither a class nor 255.
    """
    num_samples, height, width = labels_NHW.shape
    planes_NGHW = torch.zeros(num_samples, 1 + num_classes, height, width, device=labels_NHW.device)
    planes_NGHW.scatter_(1, groups(labels_NHW).unsqueeze(1), 1.0)
    return planes_NGHW[:, 1:]
