"""The order in which locations are seen: a pure function of seed, epoch, rank and step, so that any run can go on anywhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from noldo.errors import ConfigError

_ORDER = 3
"""Stream of random numbers; 0 to 2 are those of seasons, crops and augmentation."""


@dataclass(frozen=True)
class Shares:
    """How samples are dealt out."""

    num_samples: int
    batch_size: int
    """Of one rank."""
    num_ranks: int = 1
    rank: int = 0

    @property
    def num_steps(self) -> int:
        """Steps of an epoch. The samples that do not fill a step of all ranks are left out; others each epoch."""
        return self.num_samples // (self.batch_size * self.num_ranks)

    @property
    def num_left_out(self) -> int:
        """Samples that an epoch does not see."""
        return self.num_samples - self.num_steps * self.batch_size * self.num_ranks

    def check(self, *, where: str) -> None:
        """Refuse sets that fill no step.

        Raises
        ------
        ConfigError
            If there are fewer samples than one step takes.
        """
        if self.num_steps == 0:
            raise ConfigError(
                f"{where}: {self.num_samples} locations to learn from, but a step takes {self.batch_size} on each of "
                f"{self.num_ranks} ranks; lower batch_size"
            )


class EpochBatches(Sampler[list[int]]):
    """Batches of one rank, shuffled anew each epoch; set `epoch` and `first_step` before iterating."""

    def __init__(self, shares: Shares, *, seed: int) -> None:
        self._shares = shares
        self._seed = seed
        self.epoch = 0
        self.first_step = 0
        """Steps of the epoch that were done already."""

    def __len__(self) -> int:
        """Steps that are left of the epoch."""
        return self._shares.num_steps - self.first_step

    def __iter__(self) -> Iterator[list[int]]:
        """Positions of samples, a list a step."""
        shares = self._shares
        order = np.random.default_rng([self._seed, self.epoch, _ORDER]).permutation(shares.num_samples)
        per_step = shares.batch_size * shares.num_ranks
        for step in range(self.first_step, shares.num_steps):
            first = step * per_step + shares.rank * shares.batch_size
            yield order[first : first + shares.batch_size].tolist()


def same_size_batches(sides_px: Sequence[int] | np.ndarray, *, batch_size: int) -> list[list[int]]:
    """All samples once, in order, no two of different size in a batch."""
    batches: list[list[int]] = []
    sides = np.asarray(sides_px)
    for side in np.unique(sides):
        positions = np.flatnonzero(sides == side).tolist()
        batches += [positions[at : at + batch_size] for at in range(0, len(positions), batch_size)]
    return batches
