"""Where the windows of an image lie, and how much each of their pixels counts. Pure arithmetic.

Windows overlap because a network sees least around a pixel at the border of what it is given (the overlap-tile
strategy of U-Net: Ronneberger et al. 2015, figure 2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noldo.errors import ConfigError


@dataclass(frozen=True)
class Tiling:
    """How an image is cut."""

    window_px: int = 256
    """Side of a window."""
    overlap_px: int = 64
    """Pixels that neighbours share, at least: the last window of a line is shifted inward and shares more."""

    def __post_init__(self) -> None:
        if self.window_px < 1:
            raise ConfigError(f"window {self.window_px} px: expected 1 or more; 256 is the default")
        if not 0 <= self.overlap_px < self.window_px:
            raise ConfigError(
                f"overlap {self.overlap_px} px: expected 0 or more, and less than the window of {self.window_px} px"
            )


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class WindowRow:
    """Windows side by side, from the left to the right border."""

    windows: tuple[Window, ...]
    done: int
    """Rows of pixels before it are touched by no later window."""

    @property
    def top(self) -> int:
        """First row of pixels, the same of all windows."""
        return self.windows[0].top

    @property
    def height(self) -> int:
        """Rows of pixels, the same of all windows."""
        return self.windows[0].height

    @property
    def stop_column(self) -> int:
        """Columns of the image."""
        return self.windows[-1].left + self.windows[-1].width


def starts(length: int, *, tiling: Tiling) -> tuple[int, ...]:
    """First pixels of the windows along one side; the last one ends at the border.

    Parameters
    ----------
    length
        Pixels along the side, at least 1. A side shorter than the window has one window, as long as the side.
    """
    last = max(length - tiling.window_px, 0)
    return (*range(0, last, tiling.window_px - tiling.overlap_px), last)


def plan_windows(height: int, width: int, *, tiling: Tiling) -> tuple[WindowRow, ...]:
    """Windows of one size that cover an image, from the upper to the lower border.

    Parameters
    ----------
    height, width
        Of the image in pixels, at least 1.
    """
    tops, lefts = starts(height, tiling=tiling), starts(width, tiling=tiling)
    rows_px, columns_px = min(height, tiling.window_px), min(width, tiling.window_px)
    return tuple(
        WindowRow(tuple(Window(top, left, rows_px, columns_px) for left in lefts), done)
        for top, done in zip(tops, (*tops[1:], height), strict=True)
    )


def taper(height: int, width: int) -> NDArray[np.float32]:
    """Weights of a window's pixels, (y, x), above 0 and at most 1: a triangle in y times one in x.

    They fall towards the border, where the network has seen least. Divided by their sum, two windows fade into each other
    over whatever they share; no weight is 0, so that every pixel of one window alone is its own.
    """
    weights: NDArray[np.float32] = np.outer(_triangle(height), _triangle(width)).astype(np.float32)
    return weights


def _triangle(length: int) -> NDArray[np.float64]:
    centres = np.arange(length) + 0.5
    distances: NDArray[np.float64] = np.minimum(centres, length - centres)
    distances /= distances.max()
    return distances
