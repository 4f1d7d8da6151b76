"""The same curves in Weights & Biases, for those who ask for them: `noldo pretrain ... --wandb PROJECT`.

Whether anything leaves the machine, and where to, is wandb's own setting: `wandb login`, or `WANDB_MODE=offline`.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noldo.atomic import write_if_changed
from noldo.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class WandbCurves:
    """Writer of one run's curves; has what `noldo.training.curves.Curves` has."""

    def __init__(self, folder: Path, *, project: str, recipe: Mapping[str, Any]) -> None:
        """Begin a run, or go on with the one that this folder began.

        Raises
        ------
        MissingExtraError
            If wandb is not installed.
        """
        try:
            import wandb
        except ImportError:
            raise MissingExtraError("--wandb needs wandb; run `pip install wandb`, or leave it out") from None
        self._image = wandb.Image
        self._run = wandb.init(
            project=project,
            name=folder.name,
            id=_id_of(folder),
            resume="allow",
            dir=folder,
            config=dict(recipe),
            # Neither what is printed nor code or its repository: numbers, pictures and the recipe.
            settings=wandb.Settings(console="off", disable_code=True, disable_git=True),
        )

    def add(self, record: Mapping[str, Any]) -> None:
        """One line of metrics."""
        numbers = {
            f"{group}/{name}": value
            for group in ("train", "val", "correction")
            for name, value in record.get(group, {}).items()
        }
        facts = {name: record[name] for name in ("lr", "epoch", "waited") if name in record}
        self._run.log(numbers | facts, step=record["step"])

    def show(self, name: str, figure: "Figure", *, step: int) -> None:
        """A picture."""
        self._run.log({name: self._image(figure)}, step=step)

    def close(self) -> None:
        """Wait until all is written, or sent."""
        self._run.finish()


def _id_of(folder: Path) -> str:
    """Of the run that began in this folder; a new one else."""
    path = folder / "wandb-id.txt"
    if not path.is_file():
        write_if_changed(path, secrets.token_hex(8).encode())
    return path.read_text().strip()
