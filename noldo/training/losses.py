"""From the loss that a recipe names to the function that an objective calls."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from noldo.method.cross_entropy import cross_entropy
from noldo.method.objective import SegmentationLoss
from noldo.method.robust_losses import (
    LabelLoss,
    PixelLoss,
    PixelMean,
    asymmetric_generalised_cross_entropy,
    backward_correction,
    dfc2025_compat_sce,
    forward_correction,
    generalised_cross_entropy,
    hard_bootstrapping,
    inverse_transition,
    nce_and_rce,
    soft_bootstrapping,
    symmetric_cross_entropy,
    transition_matrix,
)
from noldo.training import loss_keys as keys
from noldo.transition_file import read_transition


def label_loss_of(loss: keys.LossKeys, *, classes: Sequence[str], device: torch.device) -> LabelLoss:
    """The loss of a recipe.

    Parameters
    ----------
    classes
        Names of the labels' classes, in order: those that a matrix T has to be of.
    device
        Where T is needed.

    Raises
    ------
    ConfigError
        If T can't be read, or is not of these classes.
    """
    match loss:
        case keys.CrossEntropy():
            return cross_entropy
        case keys.CompatSymmetric():
            return partial(dfc2025_compat_sce, alpha=loss.alpha, beta=loss.beta)
        case keys.Corrected():
            return PixelMean(_corrected(loss, classes=classes, device=device))
        case _:
            return PixelMean(_closed_form(loss))


def _closed_form(loss: keys.ClosedForm) -> PixelLoss:
    match loss:
        case keys.Symmetric(alpha=alpha, beta=beta, log_zero=log_zero):
            return partial(symmetric_cross_entropy, alpha=alpha, beta=beta, log_zero=log_zero)
        case keys.NormalisedAndReverse(alpha=alpha, beta=beta, log_zero=log_zero):
            return partial(nce_and_rce, alpha=alpha, beta=beta, log_zero=log_zero)
        case keys.Generalised(q=q):
            return partial(generalised_cross_entropy, q=q)
        case keys.AsymmetricGeneralised(a=a, q=q):
            return partial(asymmetric_generalised_cross_entropy, a=a, q=q)
        case keys.SoftBootstrap(beta=beta):
            return partial(soft_bootstrapping, beta=beta)
        case keys.HardBootstrap(beta=beta):
            return partial(hard_bootstrapping, beta=beta)


def _corrected(
    loss: keys.Forward | keys.Backward, *, classes: Sequence[str], device: torch.device
) -> PixelLoss:
    rows = read_transition(Path(loss.transition), classes=classes)
    if loss.absent_classes == "identity":
        absent = np.isnan(rows).all(axis=1)
        rows[absent] = np.eye(len(rows))[absent]
    matrix_CC = transition_matrix(rows, num_classes=len(classes), where=loss.transition)
    if isinstance(loss, keys.Forward):
        return partial(forward_correction, transition_CC=matrix_CC.to(device, torch.float32))
    inverse_CC = inverse_transition(matrix_CC, where=loss.transition)
    return partial(backward_correction, inverse_CC=inverse_CC.to(device, torch.float32))


def named_terms(found: SegmentationLoss, *, loss: keys.LossKeys) -> dict[str, torch.Tensor]:
    """The loss and its terms as the metrics of a run have them."""
    name = "cross_entropy" if isinstance(loss, keys.CrossEntropy) else loss.name
    return {"loss": found.loss, name: found.label_loss, "dice": found.dice}
