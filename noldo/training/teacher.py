"""A teacher: the running mean of the student's weights (Tarvainen & Valpola 2017, arXiv 1703.01780)."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn

DECAY = 0.999
"""As in the winner of DFC2025 Track 1 (its DACS code), in AIO2 per step, and in the paper of the mean teacher."""


class Teacher:
    """A copy of a network that follows it.

    After step t (from 0) each weight is a w' + (1 - a) w, a = min(1 - 1 / (t + 1), decay): the first step makes a copy.
    Buffers (statistics of BatchNorm) are copied; the published code leaves them as they were. The teacher is in evaluation
    mode: without dropout.
    """

    def __init__(self, student: nn.Module, *, decay: float = DECAY) -> None:
        """Copy the student, before it is wrapped for devices.

        Raises
        ------
        ValueError
            If decay is not in 0..1.
        """
        if not 0 <= decay <= 1:
            raise ValueError(f"decay {decay}: expected 0 to 1")
        self.network = deepcopy(student).eval().requires_grad_(requires_grad=False)
        self._decay = decay
        self._num_steps = 0

    @property
    def num_steps(self) -> int:
        """Steps that it followed."""
        return self._num_steps

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """One step towards the student, on its device; nothing is waited for."""
        share = min(1 - 1 / (self._num_steps + 1), self._decay)
        for own, other in zip(self.network.parameters(), student.parameters(), strict=True):
            own.lerp_(other, 1 - share)
        for kept, shown in zip(self.network.buffers(), student.buffers(), strict=True):
            kept.copy_(shown)
        self._num_steps += 1

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"network": self.network.state_dict(), "num_steps": self._num_steps}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self._num_steps = int(state["num_steps"])
