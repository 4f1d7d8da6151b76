"""Class probabilities of an image of any size, strip by strip: windows go through a network and are blended where they overlap.

Nothing here knows where pixels come from or go to. Memory is that of one row of windows, however many rows follow.

Axes: N window, B band, C class, Y row, X column.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from noldo.prediction.windows import Window, WindowRow, taper

Network = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
"""From modality to (N, B, Y, X), as `InputStep` makes them, to logits (N, C, Y, X), on any device."""


_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Patch:
    """What was read for one window."""

    images: Mapping[str, torch.Tensor]
    """Modality to (B, Y, X) float32, 0..1: what networks take."""
    observed: NDArray[np.bool_]
    """(Y, X): False where no band has data."""


class ReadPatch(Protocol):
    """Reads one window of an image."""

    def __call__(self, window: Window, /) -> Patch:
        """The window's pixels; called once a window, from top to bottom and left to right."""
        ...


@dataclass(frozen=True)
class Strip:
    """Rows that no later window touches."""

    top: int
    """First row in the image."""
    probabilities: NDArray[np.float32]
    """(C, Y, X), adding to 1 over classes; NaN where no band was observed."""


def probability_strips(
    network: Network,
    read: ReadPatch,
    *,
    rows: Sequence[WindowRow],
    num_classes: int,
    batch_size: int,
) -> Iterator[Strip]:
    """Blended probabilities of an image, from top to bottom: one strip a row of windows.

    Parameters
    ----------
    network
        Called without gradients on at most `batch_size` windows of one row. Windows in which nothing was observed are left out.
    rows
        Of `plan_windows`.

    Yields
    ------
    Strips that follow each other without a gap, to the last row of the image.
    """
    first = rows[0]
    weights = taper(first.height, first.windows[0].width)
    blend = _Blend(num_classes, height=first.height, width=first.stop_column)
    for row in rows:
        for batch in _batches(_observed_patches(row, read, blend), batch_size):
            probabilities = _probabilities(network, [patch for _, patch in batch])
            for (window, _), one in zip(batch, probabilities, strict=True):
                blend.add(window, one, weights)
        yield Strip(row.top, blend.take(row.done - row.top))


def _observed_patches(row: WindowRow, read: ReadPatch, blend: "_Blend") -> Iterator[tuple[Window, Patch]]:
    for window in row.windows:
        patch = read(window)
        blend.look(window, patch.observed)
        if patch.observed.any():
            yield window, patch


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _probabilities(network: Network, patches: Sequence[Patch]) -> NDArray[np.float32]:
    """(N, C, Y, X); softmax in float32, whatever the network's precision."""
    images = {name: torch.stack([patch.images[name] for patch in patches]) for name in patches[0].images}
    with torch.no_grad():
        found: NDArray[np.float32] = network(images).float().softmax(dim=1).cpu().numpy()
    return found


class _Blend:
    """Weighted sums over the rows that the current row of windows covers."""

    def __init__(self, num_classes: int, *, height: int, width: int) -> None:
        self._sums = np.zeros((num_classes, height, width), np.float32)
        self._weights = np.zeros((height, width), np.float32)
        self._observed = np.zeros((height, width), bool)

    def look(self, window: Window, observed: NDArray[np.bool_]) -> None:
        """Remember which pixels of a window, (Y, X), were observed."""
        self._observed[:, window.slices[1]] |= observed

    def add(self, window: Window, probabilities: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        """One window: (C, Y, X) and (Y, X)."""
        columns = window.slices[1]
        self._sums[:, :, columns] += probabilities * weights
        self._weights[:, columns] += weights

    def take(self, num_rows: int) -> NDArray[np.float32]:
        """The first rows, (C, Y, X), and make room for as many below."""
        with np.errstate(invalid="ignore"):  # windows without data add no weight
            found: NDArray[np.float32] = self._sums[:, :num_rows] / self._weights[:num_rows]
        found[:, ~self._observed[:num_rows]] = np.nan
        for array in (self._sums, self._weights, self._observed):
            _shift(array, num_rows)
        return found


def _shift(array: NDArray[np.generic], num_rows: int) -> None:
    """Move rows (the last axis but one) up in place; those that come in at the bottom are 0."""
    kept = array.shape[-2] - num_rows
    array[..., :kept, :] = array[..., num_rows:, :]
    array[..., kept:, :] = 0
