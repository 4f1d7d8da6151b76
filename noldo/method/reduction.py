"""Over which pixels sums and rankings run: those of this process's mini-batch, or those of all ranks.

DistributedDataParallel *averages* the gradients of the ranks. So

* `OneRank` (as published): each rank's loss is that of its own mini-batch; the training follows the mean of those losses.
* `AllRanks`: each rank's loss is that of the *whole* batch, the same number everywhere, and its gradient with respect to
  the rank's own logits is R times that of one process with the whole batch (R: number of ranks). The average, 1/R of the
  sum over ranks, is then exactly that process's gradient. Without DistributedDataParallel divide by R yourself.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import distributed


class Ranks(Protocol):
    """What the losses and the selection ask of the processes that train together."""

    def total(self, local: torch.Tensor) -> torch.Tensor:
        """Sum over ranks, elementwise; differentiable, scaled as the module says."""
        ...


@dataclass(frozen=True)
class OneRank:
    """The mini-batch of this process alone, with or without other ranks."""

    def total(self, local: torch.Tensor) -> torch.Tensor:
        """The sum as it is."""
        return local


@dataclass(frozen=True)
class AllRanks:
    """The mini-batches of all ranks of a process group as one batch.

    Every rank must call the same functions in the same order, with mini-batches of one size (`drop_last`).
    """

    group: distributed.ProcessGroup | None = None
    """None: all processes."""

    def total(self, local: torch.Tensor) -> torch.Tensor:
        """Sum over ranks; the gradient is multiplied by their number."""
        everywhere = local.detach().clone()
        distributed.all_reduce(everywhere, group=self.group)
        if not local.requires_grad:
            return everywhere
        # Adds exactly 0 and carries the gradient: every rank forms the same loss of the same totals, so no
        # communication is needed on the way back.
        return everywhere + distributed.get_world_size(self.group) * (local - local.detach())


ONE_RANK = OneRank()


def weighted_mean(values: torch.Tensor, weights: torch.Tensor, *, ranks: Ranks = ONE_RANK) -> torch.Tensor:
    """sum(weights * values) / sum(weights); 0 without gradient if no pixel has weight.

    Parameters
    ----------
    weights
        Same axes as `values`, at least 0.
    """
    sums = torch.stack([(weights * values).sum(), weights.sum().to(values.dtype)])
    value, weight = ranks.total(sums).unbind()
    return value / torch.where(weight > 0, weight, 1)
