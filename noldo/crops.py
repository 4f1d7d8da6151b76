"""Which square of a stored patch is handed out: never padding, and always whole pixels of every band.

Tiles of different size are padded, to the right and below, to the store's patch. What is valid of a tile follows from its
`window`: imagery was cut on the smallest square of the 60 m lattice that contains the tile.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from noldo.errors import ConfigError
from noldo.grids import LATTICE_M
from noldo.store import StoreLayout


def coarsest_px(layout: StoreLayout) -> int:
    """The coarsest pixel that a store has, in pixels of 10 m: 6 with 60 m bands."""
    return max(spec.resolution_m for spec in layout.specs) // 10


def imagery_sides_px(layout: StoreLayout, windows: np.ndarray) -> np.ndarray:
    """(row,) side of the square of valid imagery, in pixels of 10 m.

    Where the patch is cut on the 60 m lattice, as builds do, so is the imagery of each location; imports of other sizes
    end with their window.

    Parameters
    ----------
    windows
        (row, 4) first row, row stop, first column, column stop: the small array `window`. All zeros: not told, the
        whole patch.
    """
    lattice_px = LATTICE_M // 10
    step = 1 if layout.patch_size_px % lattice_px else lattice_px
    stops = np.maximum(windows[:, 1], windows[:, 3]).astype(np.int64)
    sides: np.ndarray = np.minimum(-(-stops // step) * step, layout.patch_size_px)
    return np.where(stops == 0, layout.patch_size_px, sides)


@dataclass(frozen=True)
class Box:
    """A square of a patch, in pixels of 10 m from its upper-left corner."""

    top: int
    left: int
    side_px: int

    def slices(self, resolution_m: int) -> tuple[slice, slice]:
        """Rows and columns at a resolution; whole numbers, because the box lies on the lattice of the coarsest."""
        factor = resolution_m // 10
        top, left, side = (value // factor for value in (self.top, self.left, self.side_px))
        return slice(top, top + side), slice(left, left + side)


@dataclass(frozen=True)
class Crop:
    """How boxes are chosen."""

    step_px: int
    """Boxes begin and end at multiples of it: the coarsest pixel that is stored, in pixels of 10 m."""
    patch_size_px: int
    """Side of the store's patch."""
    crop_px: int | None
    """Side of the box; None: the whole tile."""
    at: Literal["random", "centre"]
    pad: bool
    """The whole patch, padding included."""

    @classmethod
    def of(
        cls,
        layout: StoreLayout,
        *,
        crop_px: int | None,
        at: Literal["random", "centre"],
        pad: bool,
    ) -> Self:
        """The crop of a store.

        Raises
        ------
        ConfigError
            If the crop does not fit the store's resolutions or patch, or contradicts itself.
        """
        step_px = coarsest_px(layout)
        if at not in ("random", "centre"):
            raise ConfigError(f"crop_at {at!r}: expected random or centre")
        if crop_px is not None and pad:
            raise ConfigError(f"crop_px {crop_px} and pad=True: a crop has no padding; give one of them")
        if crop_px is not None and (crop_px < step_px or crop_px % step_px):
            raise ConfigError(
                f"crop_px {crop_px}: expected a multiple of {step_px}, so that every band has whole pixels; for another "
                "size, crop after `on_one_grid`"
            )
        return cls(step_px, layout.patch_size_px, crop_px, at, pad)

    def check(self, sides_px: np.ndarray, *, ids: np.ndarray) -> None:
        """Refuse a crop that is larger than a tile.

        Raises
        ------
        ConfigError
            Names the smallest tile.
        """
        if self.crop_px is None or not len(sides_px) or self.crop_px <= sides_px.min():
            return
        smallest = int(sides_px.argmin())
        raise ConfigError(
            f"crop_px {self.crop_px}: location {ids[smallest]} has {sides_px[smallest]} px of imagery; "
            f"give at most {sides_px[smallest]}"
        )

    def box_side_px(self, side_px: int) -> int:
        """Side of the box of a sample, whose imagery has a side of `side_px`."""
        return self.patch_size_px if self.pad else self.crop_px or side_px

    def box(self, side_px: int, seed: Callable[[], np.random.SeedSequence]) -> Box:
        """The box of one sample.

        Parameters
        ----------
        side_px
            Of `sides_px`.
        seed
            Makes what decides where a random crop lies; asked only for one.
        """
        if self.pad:
            return Box(0, 0, self.patch_size_px)
        if self.crop_px is None:
            return Box(0, 0, side_px)
        num_steps = (side_px - self.crop_px) // self.step_px
        if self.at == "centre":
            middle = num_steps // 2 * self.step_px
            return Box(middle, middle, self.crop_px)
        down, right = (int(word) % (num_steps + 1) for word in seed().generate_state(2))
        return Box(down * self.step_px, right * self.step_px, self.crop_px)
