"""Losses and scores as TensorBoard shows them: `tensorboard --logdir runs`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Curves:
    """Writer of one run's curves, beside its metrics."""

    def __init__(self, folder: Path, *, after: int) -> None:
        """Begin, or go on after a number of steps: what a killed run wrote beyond it is hidden."""
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=after + 1)

    def add(self, record: Mapping[str, Any]) -> None:
        """Draw one line of metrics: its numbers of train, val and label correction, over steps."""
        for group in ("train", "val", "correction"):
            for name, value in record.get(group, {}).items():
                self._writer.add_scalar(f"{group}/{name}", value, record["step"])
        for name in ("lr", "waited"):
            if name in record:
                self._writer.add_scalar(name, record[name], record["step"])

    def show(self, name: str, figure: "Figure", *, step: int) -> None:
        """Keep a picture beside the curves."""
        self._writer.add_figure(name, figure, step, close=False)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
