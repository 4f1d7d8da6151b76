"""Labels put right by a network that is sure of something else: replaced pixels, and objects that were missing.

All functions return new labels; what was given stays as it is. Probabilities are those of a teacher, without gradient.

Axes: N sample, C class, H row, W column.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from noldo.method.labels import labelled, one_hot
from noldo.products import UNLABELLED

_EIGHT_NEIGHBOURS = np.zeros((3, 3, 3), bool)
_EIGHT_NEIGHBOURS[1] = True
"""Objects of a batch: pixels that touch, also at a corner, within one sample (the contours of AIO2's code do so)."""


def replaced(
    labels_NHW: torch.Tensor,
    probabilities_NCHW: torch.Tensor,
    *,
    confidence: float,
    classes_C: torch.Tensor | None = None,
    both: bool = False,
) -> torch.Tensor:
    """Labels of which those are replaced that a sure prediction contradicts; without a label there is nothing to replace.

    Step 3 of ADELE (Liu et al., CVPR 2022, arXiv 2110.03740), and without `classes_C` the pixel-wise correction that AIO2 is compared
    with (arXiv 2403.01641).

    Parameters
    ----------
    labels_NHW
        uint8, 255: unlabelled.
    probabilities_NCHW
        Of the teacher, adding to 1 over classes.
    confidence
        The highest probability has to be above it.
    classes_C
        bool, classes that may be predicted in place of a label ("single" in ADELE's code for PASCAL VOC); None: all.
    both
        The label to be replaced has to be of these classes, too ("both" there, and its code for SegTHOR).
    """
    highest, predicted = probabilities_NCHW.max(dim=1)
    is_wrong = labelled(labels_NHW) & (highest > confidence)
    if classes_C is not None:
        is_wrong = is_wrong & classes_C[predicted]
        if both:
            # 255 is no index; those pixels are out already.
            known = torch.where(labelled(labels_NHW), labels_NHW.to(torch.int64), 0)
            is_wrong = is_wrong & classes_C[known]
    return torch.where(is_wrong, predicted.to(labels_NHW.dtype), labels_NHW)


def with_objects(
    labels_NHW: torch.Tensor,
    probabilities_NCHW: torch.Tensor,
    *,
    confidence: float = 0.5,
    background: Sequence[int] = (),
) -> torch.Tensor:
    """Labels with the predicted objects that they lack; labelled objects are never removed or changed.

    AIO2's "O2C" (arXiv 2403.01641, section III-B), for many classes: an object is a connected set of pixels of one predicted class. It is
    added where it touches no labelled pixel but those of the background. Connected sets are found on the host, so this
    waits for the device.

    Parameters
    ----------
    labels_NHW
        uint8, 255: unlabelled, which is background here.
    probabilities_NCHW
        Of the teacher, adding to 1 over classes.
    confidence
        Pixels of an object have a probability above it; 0.5 is the binary rule of the paper.
    background
        Classes that mean "nothing of interest was mapped here"; they are no objects themselves.
    """
    from scipy import ndimage

    highest, predicted = (one.cpu().numpy() for one in probabilities_NCHW.max(dim=1))
    labels = labels_NHW.cpu().numpy()
    is_free = np.isin(labels, (UNLABELLED, *background))
    found = labels.copy()
    is_sure = highest > confidence
    for one in set(np.unique(predicted[is_sure]).tolist()) - set(background):
        objects, count = ndimage.label(is_sure & (predicted == one), structure=_EIGHT_NEIGHBOURS)
        is_new = np.ones(count + 1, bool)
        is_new[0] = False
        is_new[np.unique(objects[~is_free])] = False
        found[is_new[objects]] = one
    return torch.from_numpy(found).to(labels_NHW.device)


def border_weights(
    labels_NHW: torch.Tensor,
    corrected_NHW: torch.Tensor,
    *,
    num_classes: int,
    side_px: int,
    background: Sequence[int] = (),
) -> torch.Tensor:
    """How much each label counts near objects that were added, (N, H, W) float32: 1 away from them.

    AIO2 blurs the added objects by a box (5 px) and learns the blurred targets. Here a pixel keeps its class, and counts by the share that
    the blurred target gives to it: inside an added object the share of the box that is of it, on background beside it what the objects
    leave; other labels count fully. So losses of hard labels can be used, too.

    Parameters
    ----------
    labels_NHW, corrected_NHW
        Before and after; where they differ an object was added.
    side_px
        Of the box, odd. Beyond the border of the image there is no object.
    background
        As in `with_objects`.
    """
    added_NHW = torch.where(corrected_NHW != labels_NHW, corrected_NHW, UNLABELLED)
    planes_NCHW = one_hot(added_NHW, num_classes=num_classes)
    shares_NCHW = functional.avg_pool2d(planes_NCHW, side_px, stride=1, padding=side_px // 2)
    own_NHW = (shares_NCHW * planes_NCHW).sum(dim=1)
    weights_NHW = torch.where(labelled(added_NHW), own_NHW, 1)
    for one in background:
        weights_NHW = torch.where(corrected_NHW == one, 1 - shares_NCHW.sum(dim=1), weights_NHW)
    return weights_NHW


def divergence(log_q_NCHW: Sequence[torch.Tensor], *, confidence: float) -> torch.Tensor:
    """Jensen-Shannon divergence of the predictions at several scales: a scalar, the mean over all pixels.

    (1/S) sum_s KL(q_s || m), m the mean of the S predictions; 0 for pixels whose highest mean probability is below the confidence. ADELE
    (arXiv 2110.03740, section 3.3).

    Parameters
    ----------
    log_q_NCHW
        Log-probabilities of each scale, brought to one size.
    """
    stacked = torch.stack(tuple(log_q_NCHW))
    mean_NCHW = stacked.exp().mean(dim=0)
    log_mean_NCHW = mean_NCHW.clamp(min=torch.finfo(stacked.dtype).tiny).log()
    each_NHW = (stacked.exp() * (stacked - log_mean_NCHW)).sum(dim=2).mean(dim=0)
    is_sure_NHW = mean_NCHW.detach().amax(dim=1) >= confidence
    return (each_NHW * is_sure_NHW).mean()
