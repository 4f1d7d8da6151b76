"""What a reader is asked for: pixels of one location, and the memory that they go to."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from noldo.products import ArraySpec


class PixelRead(NamedTuple):
    """Some pixels of one array and one location."""

    out: np.ndarray
    """(season, band?, y, x) of what is asked for, contiguous, of the stored dtype."""
    spec: ArraySpec
    row: int
    """Of the store, 0 .. num_locations - 1."""
    seasons: Sequence[int]
    """Positions on the season axis, in the order of `out`."""
    bands: Sequence[int] | None = None
    """Positions on the band axis; None: all, or there is no such axis."""
    box: tuple[slice, slice] | None = None
    """Rows and columns; None: the whole patch."""

    @property
    def is_of_whole_patches(self) -> bool:
        """Nothing is left out of a patch."""
        return self.bands is None and self.box is None

    def cut(self, patches: np.ndarray) -> None:
        """Fill `out` from whole patches, (season, band?, y, x) of its seasons."""
        inside = patches if self.box is None else patches[(..., *self.box)]
        self.out[...] = inside if self.bands is None else inside[:, self.bands]
