"""The Dice loss as the authors' code has it: over batch and space, no squares, weighted.

Axes: N sample, C class, H row, W column.
"""

import torch

from noldo.method.reduction import ONE_RANK, Ranks

SMALLEST_MASS = 1e-7
"""Floor of the denominator, of segmentation-models-pytorch's Dice."""


def dice(
    q_NCHW: torch.Tensor,
    target_NCHW: torch.Tensor,
    *,
    weights_NHW: torch.Tensor,
    ranks: Ranks = ONE_RANK,
) -> torch.Tensor:
    """Mean over *all* C classes of 1 - 2 sum(W q t) / sum(W (q + t)): a scalar, 0 if no pixel has weight.

    A class that no target has, weighted or not, adds 0. A smoothed target has a share of every class, so there every
    class counts, also those that the batch lacks.

    Parameters
    ----------
    q_NCHW, target_NCHW
        Probabilities; targets of ignored pixels are 0 in every class.
    weights_NHW
        At least 0; 0 for pixels that are to be ignored.
    """
    weights_N1HW = weights_NHW.unsqueeze(1)
    pixels = (0, 2, 3)
    sums_3C = torch.stack(
        [
            (weights_N1HW * q_NCHW * target_NCHW).sum(pixels),
            (weights_N1HW * (q_NCHW + target_NCHW)).sum(pixels),
            target_NCHW.sum(pixels).to(q_NCHW.dtype),
        ]
    )
    overlap_C, mass_C, present_C = ranks.total(sums_3C).unbind()
    loss_C = 1 - 2 * overlap_C / mass_C.clamp(min=SMALLEST_MASS)
    return (loss_C * (present_C > 0)).mean() * (mass_C.sum() > 0)
