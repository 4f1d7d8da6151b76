"""Where a run is, and the losses of its last steps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch


@dataclass
class State:
    """Where a run is."""

    epoch: int = 0
    """Epochs that are done."""
    step: int = 0
    """Steps of this epoch that are done."""
    num_steps: int = 0
    """Steps since the beginning."""
    best: float = -math.inf
    """Best mIoU on val so far."""
    best_epoch: int = -1
    scores: dict[str, float] = field(default_factory=dict)
    """Of the last validation."""


@dataclass
class Pending:
    """Losses that were not looked at yet: looking waits for the device."""

    terms: list[Mapping[str, torch.Tensor]] = field(default_factory=list)
    ids: list[list[int]] = field(default_factory=list)
    unlabelled: list[list[int]] = field(default_factory=list)
    """Ids of batches without any label."""

    def add(self, terms: Mapping[str, torch.Tensor], ids: Sequence[int]) -> None:
        """Losses of one step, and the ids of its locations."""
        self.terms.append({name: value.detach() for name, value in terms.items()})
        self.ids.append(list(ids))

    def take(self) -> tuple[dict[str, float], list[list[int]]]:
        """Means over the steps, and the ids of those whose loss is no number. Then it is empty."""
        if not self.terms:
            return {}, []
        names = list(self.terms[0])
        table = torch.stack([torch.stack([one[name].float() for name in names]) for one in self.terms]).cpu()
        broken = [ids for ids, row in zip(self.ids, table, strict=True) if not torch.isfinite(row).all()]
        self.terms, self.ids = [], []
        return dict(zip(names, table.mean(dim=0).tolist(), strict=True)), broken
