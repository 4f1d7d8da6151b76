"""Learning rates, one step an epoch."""

import math
from typing import Any

import torch

from noldo.training.recipe import Constant, Cosine, Optimiser, Plateau

IMPROVEMENT = 1e-4
"""Relative fall of the validation loss that counts as one (default of PyTorch's `ReduceLROnPlateau`)."""


def optimiser_of(parameters: Any, settings: Optimiser, *, is_fused: bool = False) -> torch.optim.Optimizer:
    """The optimiser of a recipe, all parameters in one group.

    Parameters
    ----------
    is_fused
        All of a step in one kernel, which rounds otherwise in the last bits; False: as torch chooses.
    """
    common: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if is_fused:
        common["fused"] = True
    if settings.name == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, **common)
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(parameters, **common)


def cosine_lr(epoch: int, *, initial: float, settings: Cosine) -> float:
    """Learning rate of an epoch (from 0): half a cosine to `final_lr`, then constant (CromSS, fine-tuning)."""
    if epoch >= settings.epochs:
        return settings.final_lr
    share = (1 + math.cos(math.pi * epoch / settings.epochs)) / 2
    return settings.final_lr + (initial - settings.final_lr) * share


class Rate:
    """The learning rate of an optimiser over epochs."""

    def __init__(
        self, optimiser: torch.optim.Optimizer, schedule: Plateau | Cosine | Constant, *, initial: float
    ) -> None:
        self._optimiser = optimiser
        self._schedule = schedule
        self._initial = initial
        self._best = math.inf
        self._num_bad = 0

    @property
    def lr(self) -> float:
        """Of the first group, which is all."""
        return float(self._optimiser.param_groups[0]["lr"])

    def start_epoch(self, epoch: int) -> None:
        """Set what depends on the epoch alone."""
        if isinstance(self._schedule, Cosine):
            self._set(cosine_lr(epoch, initial=self._initial, settings=self._schedule))

    def end_epoch(self, val_loss: float | None) -> None:
        """Take the epoch's validation loss; None: there is no validation split."""
        if not isinstance(self._schedule, Plateau) or val_loss is None:
            return
        if val_loss < self._best * (1 - IMPROVEMENT):
            self._best, self._num_bad = val_loss, 0
            return
        self._num_bad += 1
        if self._num_bad > self._schedule.patience:
            self._set(self.lr * self._schedule.factor)
            self._num_bad = 0

    def _set(self, lr: float) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = lr

    def state(self) -> dict[str, float]:
        """What a checkpoint holds; the rate itself is in the optimiser's state."""
        return {"best": self._best, "num_bad": self._num_bad}

    def load(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint."""
        self._best, self._num_bad = float(state["best"]), int(state["num_bad"])
