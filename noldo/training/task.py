"""What the loop asks of what is learnt (`Task`), and of where its batches come from (`Feed`)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from noldo.training.sample_figure import Shown
from noldo.training.sampler import EpochBatches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Batch = Mapping[str, Any]
"""Tensors of a batch, and `id`: the locations' ids, a tensor on the host."""

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps of the whole run, and what there is to say."""

Draw = Callable[[Shown], "Figure"]
"""Makes a picture of some samples."""

Validate = Callable[[nn.Module, Batch], None]
"""Counts the predictions of one batch."""


class Task(Protocol):
    """What is learnt. Losses and predictions run on the device, in the precision of the run."""

    network: nn.Module
    """As it is saved: without the wrappers of devices and precision."""

    def losses(self, network: nn.Module, batch: Batch, *, epoch: int) -> Mapping[str, torch.Tensor]:
        """Scalars of one training step; `loss` is the one to descend. Nothing here may wait for the device."""
        ...

    def start_validation(self) -> None:
        """Forget the counts of the epoch before."""
        ...

    def validate(self, network: nn.Module, batch: Batch) -> None:
        """Count the predictions of one batch."""
        ...

    def shown(self, network: nn.Module, batch: Batch) -> Shown:
        """A few samples of a batch, as they are validated."""
        ...

    def scores(self) -> Mapping[str, float]:
        """Of all batches since `start_validation`, over all ranks; `loss` is what a plateau is measured by."""
        ...

    def set_training(self, network: nn.Module) -> None:
        """Training mode; a frozen part stays as it is."""
        ...

    def stepped(self) -> None:
        """The optimiser made a step: a teacher follows."""
        ...

    def end_epoch(self) -> Mapping[str, Any] | None:
        """All steps of an epoch are done; a line for the metrics, if there is anything to say."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to hold beside the network; tensors and plain values."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        ...


class Stateless:
    """The part of a `Task` whose state is its network."""

    def stepped(self) -> None:
        """Nothing follows."""

    def end_epoch(self) -> None:
        """Nothing changes."""

    def state(self) -> dict[str, Any]:
        """Nothing beside the network."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""


@dataclass(frozen=True)
class Feed:
    """Batches, on the host."""

    train: Iterable[Batch]
    order: EpochBatches
    """What `train` follows."""
    set_epoch: Callable[[int], None]
    """Tells the data set which seasons and crops to draw."""
    check: Callable[[Batch], bool]
    """Refuses a batch that can't be learnt from, on the host; tells whether anything in it is labelled."""
    val: Iterable[Batch] | None
    """None: there is no validation split."""
    draw: Draw
    """Draws samples of a split."""
    steps_per_epoch: int
