"""Cross-entropy with soft targets and a weight a pixel.

Axes: N sample, C class, H row, W column.
"""

import torch

from noldo.method.reduction import ONE_RANK, Ranks, weighted_mean


def cross_entropy(
    log_q_NCHW: torch.Tensor,
    target_NCHW: torch.Tensor,
    *,
    weights_NHW: torch.Tensor,
    ranks: Ranks = ONE_RANK,
) -> torch.Tensor:
    """sum(W * CE) / sum(W): a scalar, 0 if no pixel has weight.

    Parameters
    ----------
    weights_NHW
        At least 0; 0 for pixels that are to be ignored.
    """
    return weighted_mean(-(target_NCHW * log_q_NCHW).sum(dim=1), weights_NHW, ranks=ranks)
