"""What labels go through where they are read: errors and ignored classes of the recipe, and a look at what is no class."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from noldo.errors import ConfigError, StoreError
from noldo.legend import Legend
from noldo.products import UNLABELLED
from noldo.training.data_keys import LabelNoise
from noldo.training.label_noise import with_noise

Transform = Callable[[dict[str, Any]], dict[str, Any]]
"""Of a sample."""


LARGEST_LABEL = "largest_label"
"""Key of a sample: the largest class id in its labels; -1 if nothing is labelled."""


def with_largest_label(sample: dict[str, Any]) -> dict[str, Any]:
    """Look at labels where they are read: a wrong one on a GPU would end the process without a word."""
    mask: torch.Tensor = sample["mask"]
    # 255 + 1 is 0 in uint8.
    return sample | {LARGEST_LABEL: int((mask + 1).max()) - 1}


class NoisyLabels:
    """Transform of a sample: errors of the recipe in its labels, and the largest of them."""

    def __init__(self, noise: LabelNoise, *, num_classes: int, seed: int) -> None:
        self._noise, self._num_classes, self._seed = noise, num_classes, seed

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The sample; labels that are no class are left for `refuse_odd_labels`."""
        checked = with_largest_label(sample)
        if checked[LARGEST_LABEL] >= self._num_classes:
            return checked
        mask: torch.Tensor = sample["mask"]
        is_stack = mask.dim() == 3
        noisy = with_noise(
            (mask if is_stack else mask[None]).numpy(),
            seasons=range(len(mask)) if is_stack else (sample["season"],),
            location=sample["id"],
            num_classes=self._num_classes,
            noise=self._noise,
            seed=self._seed,
        )
        return with_largest_label(sample | {"mask": torch.from_numpy(noisy if is_stack else noisy[0])})


class IgnoredClasses:
    """Transform of a sample, after another: classes that count as unlabelled, in whatever labels it left."""

    def __init__(self, names: Sequence[str], *, legend: Legend, after: Transform) -> None:
        """Find the classes.

        Raises
        ------
        ConfigError
            If a name is none of the legend.
        """
        if unknown := [name for name in names if name not in legend.classes]:
            raise ConfigError(
                f"data.ignore_classes {', '.join(unknown)}: legend {legend.name} has {', '.join(legend.classes)}"
            )
        self._ids = torch.tensor([legend.classes.index(name) for name in names], dtype=torch.uint8)
        self._after = after

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The sample, with 255 in place of these classes."""
        before = self._after(sample)
        mask: torch.Tensor = before["mask"]
        return with_largest_label(
            before | {"mask": mask.masked_fill(torch.isin(mask, self._ids), UNLABELLED)}
        )


def refuse_odd_labels(batch: Mapping[str, Any], *, legend: Legend, where: str) -> bool:
    """Stop at labels that are no class.

    Returns
    -------
    Whether anything is labelled at all.

    Raises
    ------
    StoreError
        Naming the location.
    """
    largest: torch.Tensor = batch[LARGEST_LABEL]
    if int(largest.max()) < len(legend.classes):
        return int(largest.max()) >= 0
    at = int(largest.argmax())
    raise StoreError(
        f"{where}: location {int(batch['id'][at])}: class id {int(largest[at])}, but legend {legend.name} has 0 .. "
        f"{len(legend.classes) - 1}, and 255; see `noldo verify`"
    )
