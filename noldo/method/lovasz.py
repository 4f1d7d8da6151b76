"""The Lovasz-Softmax loss: a convex surrogate of 1 - IoU.

Berman, Rannen Triki & Blaschko, CVPR 2018, arXiv 1705.08790, section 3 (Lovasz extension, algorithm 1) and equation 12 (mean over
classes). Written anew: that of segmentation-models-pytorch is no scalar where nothing is labelled, and waits for the device class by
class. Axes: N sample, C class, H row, W column; P is N * H * W.
"""

import torch

from noldo.method.confidence import log_probabilities
from noldo.method.labels import labelled, one_hot


def lovasz_softmax(logits_NCHW: torch.Tensor, labels_NHW: torch.Tensor) -> torch.Tensor:
    """Mean over the classes that the labels of the batch have; 0 without gradient if nothing is labelled.

    Over all labelled pixels of the batch together (as published for DFC2025; the paper also has a mean over images).

    Raises
    ------
    RuntimeError
        From torch (on CUDA when it next waits for the device), if a label is neither a class nor 255.
    """
    num_classes = logits_NCHW.shape[1]
    truth_CP = _by_class(one_hot(labels_NHW, num_classes=num_classes))
    is_labelled_P = labelled(labels_NHW).flatten()
    q_CP = _by_class(log_probabilities(logits_NCHW).exp())
    # Below 0, what is unlabelled comes last, where it changes no step before it; then its error is made 0.
    errors_CP = torch.where(is_labelled_P, (truth_CP - q_CP).abs(), -1.0)
    sorted_CP, order_CP = errors_CP.sort(dim=1, descending=True)
    steps_CP = _jaccard_steps(truth_CP.gather(1, order_CP))
    losses_C = (sorted_CP.clamp(min=0) * steps_CP).sum(dim=1)
    is_present_C = truth_CP.any(dim=1)
    return (losses_C * is_present_C).sum() / is_present_C.sum().clamp(min=1)


def _by_class(planes_NCHW: torch.Tensor) -> torch.Tensor:
    return planes_NCHW.transpose(0, 1).flatten(1)


def _jaccard_steps(truth_CP: torch.Tensor) -> torch.Tensor:
    """How much 1 - IoU grows with each further pixel taken for wrong, the largest errors first."""
    total_C1 = truth_CP.sum(dim=1, keepdim=True)
    intersection_CP = total_C1 - truth_CP.cumsum(dim=1)
    union_CP = total_C1 + (1 - truth_CP).cumsum(dim=1)
    # An absent class divides 0 by what came so far, 1 at least.
    loss_CP = 1 - intersection_CP / union_CP.clamp(min=1)
    return torch.diff(loss_CP, dim=1, prepend=torch.zeros_like(total_C1))
