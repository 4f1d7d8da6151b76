"""The order in which locations are seen: a pure function of seed, epoch, rank and step, so that any run can go on anywhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from noldo.errors import ConfigError

_ORDER = 3
"""Stream of random numbers; 0 to 2 are those of seasons, crops and augmentation."""

_SHARD_ORDER = 8
"""Stream of the order of shards; 7 is that of what is left out."""

_RARE = 6
"""Stream of rare classes; 4 and 5 are those of dropout and of errors in labels."""


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
    """Batches of one rank, shuffled anew each pass; set `epoch` and `first_step` before iterating."""

    def __init__(self, shares: Shares, *, seed: int, steps_per_epoch: int | None = None) -> None:
        """Deal out samples. What a step has follows from seed and step alone: no generator goes on from step to step.

        Parameters
        ----------
        steps_per_epoch
            None: an epoch is a pass over the samples. Otherwise passes follow one another without end, and an epoch is the next so
            many steps of them: part of a pass, or several.
        """
        self._shares = shares
        self._seed = seed
        self.steps_per_epoch = shares.num_steps if steps_per_epoch is None else steps_per_epoch
        self.epoch = 0
        self.first_step = 0
        """Steps of the epoch that were done already."""

    def __len__(self) -> int:
        """Steps that are left of the epoch."""
        return self.steps_per_epoch - self.first_step

    def __iter__(self) -> Iterator[list[int]]:
        """Positions of samples, a list a step."""
        shares, current, order = self._shares, -1, np.empty(0, np.int64)
        per_step = shares.batch_size * shares.num_ranks
        for step in self._steps():
            number, within = divmod(step, shares.num_steps)
            if number != current:
                current = number
                order = self._order_of_pass(number)
            first = within * per_step + shares.rank * shares.batch_size
            yield order[first : first + shares.batch_size].tolist()

    def _order_of_pass(self, number: int) -> np.ndarray:
        """(sample,) positions of all samples, in the order of a pass."""
        return np.random.default_rng([self._seed, number, _ORDER]).permutation(self._shares.num_samples)

    def _steps(self) -> range:
        """Those that are left of the epoch, counted from the beginning of the run."""
        start = self.epoch * self.steps_per_epoch
        return range(start + self.first_step, start + self.steps_per_epoch)


class WindowBatches(EpochBatches):
    """Batches that read few shards at a time: for disks and object stores that are slow at random reads.

    Shards come in a random order, new for each pass; so many of them at a time are a window, and its samples are shuffled. Each sample
    comes once a pass. With a window of all shards the order is that of `EpochBatches`.
    """

    def __init__(
        self,
        shares: Shares,
        *,
        seed: int,
        shards: np.ndarray,
        window_shards: int,
        steps_per_epoch: int | None = None,
    ) -> None:
        """Deal out samples.

        Parameters
        ----------
        shards
            (sample,) number of the shard that each lies in; shards without a sample do not count.
        window_shards
            Shards of a window; the last window of a pass may have fewer.

        Raises
        ------
        ConfigError
            If a window has no shard.
        """
        super().__init__(shares, seed=seed, steps_per_epoch=steps_per_epoch)
        if window_shards < 1:
            raise ConfigError(f"window_shards {window_shards}: expected 1 or more")
        assert len(shards) == shares.num_samples, f"{len(shards)} shards of {shares.num_samples} samples"
        self._shard_numbers = np.unique(shards, return_inverse=True)[1]
        self._num_shards = 1 + int(self._shard_numbers.max(initial=-1))
        self._window_shards = window_shards

    def _order_of_pass(self, number: int) -> np.ndarray:
        shuffled = super()._order_of_pass(number)
        rng = np.random.default_rng([self._seed, number, _SHARD_ORDER])
        window_of_shard = rng.permutation(self._num_shards) // self._window_shards
        windows = window_of_shard[self._shard_numbers[shuffled]]
        return shuffled[np.argsort(windows, kind="stable")]


class RareClassBatches(EpochBatches):
    """Batches in which locations with rare classes come more often: rare class sampling of DAFormer (Hoyer et al., CVPR 2022).

    Each sample is drawn by itself: first a class c with P(c) ~ exp((1 - f_c) / T), f_c its share of all labelled pixels, then one of
    the locations that have it. So a location may come twice in an epoch, or never.
    """

    def __init__(
        self,
        shares: Shares,
        *,
        seed: int,
        counts: np.ndarray,
        temperature: float,
        steps_per_epoch: int | None = None,
    ) -> None:
        """Deal out samples.

        Parameters
        ----------
        counts
            (sample, class) labelled pixels.
        temperature
            T: towards 0 the rarest class alone, large: all classes alike.

        Raises
        ------
        ValueError
            If nothing is labelled.
        """
        super().__init__(shares, seed=seed, steps_per_epoch=steps_per_epoch)
        self._chances = rare_class_chances(counts, temperature=temperature)
        self._having = [np.flatnonzero(counts[:, one]) for one in range(counts.shape[1])]

    def __iter__(self) -> Iterator[list[int]]:
        """Positions of samples, a list a step."""
        shares = self._shares
        per_step = shares.batch_size * shares.num_ranks
        for step in self._steps():
            rng = np.random.default_rng([self._seed, step, _RARE])
            classes = rng.choice(len(self._chances), size=per_step, p=self._chances)
            places = rng.random(per_step)
            mine = range(shares.rank * shares.batch_size, (shares.rank + 1) * shares.batch_size)
            yield [self._of_class(int(classes[one]), float(places[one])) for one in mine]

    def _of_class(self, one: int, place: float) -> int:
        having = self._having[one]
        return int(having[int(place * len(having))])


def rare_class_chances(counts: np.ndarray, *, temperature: float) -> np.ndarray:
    """P(c) ~ exp((1 - f_c) / T) of the classes that occur, 0 of others: (class,).

    Raises
    ------
    ValueError
        If nothing is labelled.
    """
    total = counts.sum(axis=0)
    if not total.sum():
        raise ValueError("no labelled pixel: nothing to draw classes by")
    exponents = np.where(total > 0, (1 - total / total.sum()) / temperature, -np.inf)
    heights = np.exp(exponents - exponents.max())
    chances: np.ndarray = heights / heights.sum()
    return chances


def same_size_batches(sides_px: Sequence[int] | np.ndarray, *, batch_size: int) -> list[list[int]]:
    """All samples once, in order, no two of different size in a batch."""
    batches: list[list[int]] = []
    sides = np.asarray(sides_px)
    for side in np.unique(sides):
        positions = np.flatnonzero(sides == side).tolist()
        batches += [positions[at : at + batch_size] for at in range(0, len(positions), batch_size)]
    return batches
