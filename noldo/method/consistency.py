"""What one modality (the student) learns from the other's prediction (the teacher).

Axes: N sample, C class, H row, W column.
"""

from typing import Literal

import torch

from noldo.method.reduction import ONE_RANK, Ranks, weighted_mean

ConsistencyKind = Literal["ce", "kl", "mse"]


def consistency(
    student_log_q_NCHW: torch.Tensor,
    *,
    teacher_log_q_NCHW: torch.Tensor,
    weights_NHW: torch.Tensor,
    kind: ConsistencyKind = "ce",
    ranks: Ranks = ONE_RANK,
) -> torch.Tensor:
    """sum(W * distance) / sum(W): a scalar, 0 if no pixel has weight. The teacher gets no gradient.

    Parameters
    ----------
    weights_NHW
        Those of the *teacher*; 0 for pixels that are to be ignored.
    kind
        `ce` (the published recipe) and `kl` have the same gradient and differ by the teacher's entropy; `mse` sums over
        classes.
    """
    distance_NHW = _distance(student_log_q_NCHW, teacher_log_q_NCHW.detach(), kind=kind)
    return weighted_mean(distance_NHW, weights_NHW, ranks=ranks)


def _distance(
    student_NCHW: torch.Tensor, teacher_NCHW: torch.Tensor, *, kind: ConsistencyKind
) -> torch.Tensor:
    q_NCHW = teacher_NCHW.exp()
    if kind == "mse":
        return (q_NCHW - student_NCHW.exp()).square().sum(dim=1)
    if kind == "kl":
        return (q_NCHW * (teacher_NCHW - student_NCHW)).sum(dim=1)
    return -(q_NCHW * student_NCHW).sum(dim=1)
