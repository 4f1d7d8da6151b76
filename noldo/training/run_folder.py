"""What a run leaves behind, and goes on from: recipe, environment, metrics, checkpoints.

```
recipe.json         every key with its value; a folder belongs to one recipe
environment.json    versions and hardware of the last start
metrics.jsonl       one object a line: losses of steps, scores of epochs
checkpoints/        last.pt; best.pt on val; epoch-0010.pt, ...
```
"""

import json
import logging
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from noldo.atomic import atomic_file, write_errors
from noldo.errors import CheckpointError, StoreError
from noldo.training.recipe import Recipe, recipe_of, resolved

_LOG = logging.getLogger(__name__)

CHECKPOINT_VERSION = 1
"""Raised when an older checkpoint would go on to other weights."""

_WITHOUT_EFFECT = (
    *("data.loader", "data.num_workers", "data.cache", "data.cache.folder", "data.cache.max_gb"),
    *("target.cache", "target.cache.folder", "target.cache.max_gb", "log_steps", "checkpoint_epochs"),
)
"""Keys that may change when a run goes on: they change no weights."""

_PACKAGES = ("noldo-s12", "torch", "segmentation-models-pytorch", "timm", "lightning-fabric", "numpy")


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics = path / "metrics.jsonl"
        self._last = path / "checkpoints" / "last.pt"

    def check(self, recipe: Recipe, *, but: Sequence[str] = ()) -> None:
        """Refuse a folder that is of another recipe. Keys that change no weights may differ, and those that are named.

        Raises
        ------
        CheckpointError
            With the keys that differ.
        """
        if told := self.differences(recipe, but=but):
            raise CheckpointError(
                f"{self.path}: belongs to a run with other settings ({told}); give another --out, or the same recipe to go on"
            )

    def differences(self, recipe: Recipe, *, but: Sequence[str] = ()) -> str:
        """Keys in which the folder's recipe differs from one, a few of them; empty: none, or the folder is new.

        Parameters
        ----------
        but
            Keys, with dots, that may differ.
        """
        found = self._recipe()
        if found is None:
            return ""
        old, new = (_flat(one.model_dump(mode="json")) for one in (found, recipe))
        keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        keys = [key for key in keys if key not in (*_WITHOUT_EFFECT, *but)]
        shown = ", ".join(f"{key}: {old.get(key)} there, {new.get(key)} here" for key in keys[:3])
        return shown + (f", and {len(keys) - 3} more" if len(keys) > 3 else "")

    def _recipe(self) -> Recipe | None:
        """What the folder is of; None: nothing yet."""
        path = self.path / "recipe.json"
        if not path.is_file():
            return None
        return recipe_of(read_json(path), where=str(path))

    def claim(self, recipe: Recipe) -> None:
        """Write the recipe, checked before: from now on the folder is of it."""
        with atomic_file(self.path / "recipe.json") as file:
            file.write(resolved(recipe).encode())

    def describe(self, *, device: str, num_ranks: int) -> None:
        """Write the environment of this start."""
        facts = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "device": device,
            "num_ranks": num_ranks,
            "num_threads": torch.get_num_threads(),
            "packages": {name: _version(name) for name in _PACKAGES},
        }
        with atomic_file(self.path / "environment.json") as file:
            file.write((json.dumps(facts, indent=1) + "\n").encode())

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line of metrics."""
        with write_errors(self._metrics), self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All lines so far, whole ones."""
        if not self._metrics.is_file():
            return []
        lines = self._metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def forget_after(self, step: int) -> None:
        """Take out the metrics of steps that a killed run did after its last checkpoint: they come again."""
        kept = [one for one in self.metrics() if one["step"] <= step]
        with atomic_file(self._metrics) as file:
            file.write("".join(json.dumps(one) + "\n" for one in kept).encode())

    def save(self, state: Mapping[str, Any], *, name: str = "last") -> None:
        """Write a checkpoint; one of an epoch (`epoch-0010`) is the last one, too."""
        target = self.checkpoint(name)
        with atomic_file(target) as file:
            try:
                torch.save({"version": CHECKPOINT_VERSION, **state}, file)
            except RuntimeError as error:  # torch's own word for a disk that is full
                reason = str(error).splitlines()[0]
                raise StoreError(
                    f"{target}: can't be written ({reason:.120}); free space, then run the same command again"
                ) from error
        if name.startswith("epoch-"):
            partial = self._last.with_name(".last.pt.partial")
            partial.unlink(missing_ok=True)
            partial.hardlink_to(target)
            partial.replace(self._last)

    def checkpoint(self, name: str) -> Path:
        """File of a checkpoint: `last`, `best`, or `epoch-0010`."""
        return self.path / "checkpoints" / f"{name}.pt"

    def last(self) -> dict[str, Any] | None:
        """The last state; None: nothing was saved yet.

        Raises
        ------
        CheckpointError
            If it can't be read.
        """
        return read_checkpoint(self._last) if self._last.is_file() else None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of ours: tensors and plain values, nothing that could run.

    Raises
    ------
    CheckpointError
        If it can't be read, or is of another version.
    """
    from pickle import UnpicklingError

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise CheckpointError(f"{path}: can't be read ({reason:.120}); take an older one") from None
    if not isinstance(state, dict) or state.get("version") != CHECKPOINT_VERSION:
        raise CheckpointError(f"{path}: not a checkpoint of version {CHECKPOINT_VERSION}; start the run anew")
    return state


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that a run left.

    Raises
    ------
    CheckpointError
        If it can't be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: can't be read ({error}); give the folder of a run, or start it anew"
        ) from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: not a JSON object; start the run anew in another folder")
    return found


def _flat(tree: Any, above: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {above: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{above}.{key}" if above else key)
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
