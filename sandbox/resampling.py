"""From one pixel grid to another: which source pixels a target pixel takes.

Pixels are sampled at their centres. Positions are counted in source pixels from the outer corner, so the
centre of the first pixel is at 0.5. A position within a billionth of a pixel of an edge or a centre is taken
to lie on it, so that floating point never decides between neighbours.

* `nearest` takes the source pixel that contains the centre of the target pixel. A centre exactly on an edge
  belongs to the pixel to the right of it and below it (floor).
* `bilinear` weights the four source pixels around the centre; a target pixel is masked if any neighbour of
  non-zero weight is masked or outside. Integers are rounded to the nearest, half to even.

Every centre of a grid in another CRS is transformed on its own; nothing is interpolated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import shapely

from sandbox.geometries import LON_LAT, Geometry, Projection, transformer
from sandbox.images import PixelGrid, Pixels, Reader, masked
from sandbox.refusals import Refusal

Mode = Literal["nearest", "bilinear"]
Indices = npt.NDArray[np.intp]
Positions = npt.NDArray[np.float64]

SAME_PX = 1e-9
"""Positions this close are equal: a northing of 6,000,000 m is known to 1e-9 m, a tenth of that in pixels."""

MAX_WINDOW_PX = 4096 * 4096
"""Source pixels that one band of one request may touch: there are no overviews here."""

Window = Callable[[int, int, int, int], Pixels]
"""(column, row, width, height) of the source's own grid -> its pixels; masked outside the image."""


def centres(grid: PixelGrid) -> tuple[Positions, Positions]:
    """x (1, width) and y (height, 1) of the pixel centres in the grid's CRS; full arrays if it is sheared."""
    a, b, c, d, e, f = grid.projection.transform
    columns: Positions = np.arange(grid.width, dtype=np.float64)[None, :] + 0.5
    rows: Positions = np.arange(grid.height, dtype=np.float64)[:, None] + 0.5
    if b == 0 and d == 0:
        return a * columns + c, e * rows + f
    return a * columns + b * rows + c, d * columns + e * rows + f


@lru_cache(maxsize=16)
def centres_in(grid: PixelGrid, crs: str) -> tuple[Positions, Positions]:
    """x and y of the pixel centres in another CRS, each (height, width)."""
    x, y = np.broadcast_arrays(*centres(grid))
    moved_x, moved_y = transformer(grid.projection.crs, crs).transform(x, y)
    return np.asarray(moved_x), np.asarray(moved_y)


@lru_cache(maxsize=64)
def positions(grid: PixelGrid, projection: Projection) -> tuple[Positions, Positions]:
    """Columns and rows of the target's centres in source pixels.

    Returns
    -------
    (1, width) and (height, 1) where the axes are parallel, else two arrays (height, width).
    """
    same = grid.projection.crs == projection.crs
    x, y = centres(grid) if same else centres_in(grid, projection.crs)
    a, b, c, d, e, f = projection.transform
    if b == 0 and d == 0:
        return _snapped((x - c) / a), _snapped((y - f) / e)
    x, y = np.broadcast_arrays(x, y)
    determinant = a * e - b * d
    columns = (e * (x - c) - b * (y - f)) / determinant
    rows = (a * (y - f) - d * (x - c)) / determinant
    return _snapped(columns), _snapped(rows)


def _snapped(pixels: Positions) -> Positions:
    """Positions, moved onto the half pixel they can't be told from."""
    halves = np.rint(pixels * 2) / 2
    return np.where(np.abs(pixels - halves) < SAME_PX, halves, pixels)


@dataclass(frozen=True)
class Patch:
    """A window of source pixels that was read."""

    pixels: Pixels
    column: int
    row: int

    def take(self, columns: Indices, rows: Indices) -> Pixels:
        """Pixels at these source positions; masked where they are outside the window."""
        height, width = self.pixels.values.shape
        across, down = columns - self.column, rows - self.row
        inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
        across, down = across.clip(0, width - 1), down.clip(0, height - 1)
        plane, mask = self.pixels.values, self.pixels.mask
        if columns.shape[0] == 1 and rows.shape[-1] == 1:
            if _is_run(across[0], width) and _is_run(down[:, 0], height) and inside.all():
                return self.pixels
            gather = _gather_axes
        else:
            gather = _gather_points
        observed = mask.dtype == bool and mask.all()
        seen = inside if observed else np.minimum(gather(mask, across, down), inside)
        return Pixels(gather(plane, across, down), seen)


def _gather_axes(plane: npt.NDArray[Any], across: Indices, down: Indices) -> npt.NDArray[Any]:
    """Whole rows, then whole columns: several times faster than point by point."""
    return np.asarray(np.take(np.take(plane, down[:, 0], axis=0), across[0], axis=1))


def _gather_points(plane: npt.NDArray[Any], across: Indices, down: Indices) -> npt.NDArray[Any]:
    return np.asarray(plane[down, across])


def _is_run(indices: Indices, length: int) -> bool:
    """The indices are 0, 1, ... length - 1."""
    return indices.size == length and bool((indices == np.arange(length)).all())


def _patch(window: Window, columns: Indices, rows: Indices, size: tuple[int, int] | None) -> Patch | None:
    """Read the smallest window that holds the positions; None if they all miss the image."""
    left, right = int(columns.min()), int(columns.max()) + 1
    top, bottom = int(rows.min()), int(rows.max()) + 1
    if size is not None:
        left, right = max(left, 0), min(right, size[0])
        top, bottom = max(top, 0), min(bottom, size[1])
    if left >= right or top >= bottom:
        return None
    if (right - left) * (bottom - top) > MAX_WINDOW_PX:
        raise Refusal("User memory limit exceeded.")
    return Patch(window(left, top, right - left, bottom - top), left, top)


def _whole(values: Positions) -> Indices:
    if not np.isfinite(values).all():
        raise Refusal("Unable to transform the requested grid into the projection of the image.")
    return np.floor(values).astype(np.intp)


def resample(
    window: Window,
    *,
    projection: Projection,
    size: tuple[int, int] | None,
    dtype: str,
    grid: PixelGrid,
    mode: Mode,
) -> Pixels:
    """Pixels of a source on another grid.

    Parameters
    ----------
    window
        Reads the source on its own grid.
    projection, size, dtype
        Of the source; `size` (width, height) or None if it is unbounded.
    grid
        What is asked for.

    Raises
    ------
    Refusal
        If the grid can't be transformed, or covers too many source pixels.
    """
    columns, rows = positions(grid, projection)
    if mode == "nearest":
        across, down = _whole(columns), _whole(rows)
        patch = _patch(window, across, down, size)
        return masked(grid, dtype) if patch is None else patch.take(across, down)
    across, down = _whole(columns - 0.5), _whole(rows - 0.5)
    patch = _patch(window, np.stack((across, across + 1)), np.stack((down, down + 1)), size)
    if patch is None:
        return masked(grid, dtype)
    return _bilinear(patch, across, down, columns - 0.5 - across, rows - 0.5 - down, dtype=dtype)


def _bilinear(
    patch: Patch, across: Indices, down: Indices, right: Positions, below: Positions, *, dtype: str
) -> Pixels:
    """Weigh the four neighbours; `right` and `below` are the weights of the far ones (0..1)."""
    total: Any = 0.0
    mask: Any = True
    for step_x, weight_x in ((0, 1 - right), (1, right)):
        for step_y, weight_y in ((0, 1 - below), (1, below)):
            weight = weight_x * weight_y
            if not weight.any():
                continue
            tap = patch.take(across + step_x, down + step_y)
            seen = tap.mask > 0
            total = total + weight * np.where(seen, tap.values, 0)
            mask = mask & (seen | (weight == 0))
    values = np.rint(total) if np.dtype(dtype).kind in "iu" else total
    return Pixels(np.where(mask, values, 0).astype(dtype), mask)


def window_of(read: Reader, projection: Projection) -> Window:
    """Make a lazy band readable by windows of one projection's own pixels."""
    a, b, c, d, e, f = projection.transform

    def window(column: int, row: int, width: int, height: int) -> Pixels:
        corner = (a, b, a * column + b * row + c, d, e, d * column + e * row + f)
        return read(PixelGrid(Projection(projection.crs, corner), width, height))

    return window


@lru_cache(maxsize=64)
def inside(geometry: Geometry, grid: PixelGrid) -> npt.NDArray[np.bool_]:
    """Pixels of a grid whose centre lies in a geometry or on its edge: (height, width)."""
    if geometry.crs == grid.projection.crs:
        x, y = np.broadcast_arrays(*centres(grid))
    else:
        x, y = centres_in(grid, geometry.crs)
    shapely.prepare(geometry.shape)
    within = np.asarray(shapely.intersects_xy(geometry.shape, x, y), bool)
    if geometry.crs == LON_LAT:
        for box in geometry.boxes[1:]:  # the shape may be written beyond 180 degrees
            within |= shapely.intersects_xy(geometry.shape, x + (geometry.bounds[0] - box[0]), y)
    return within
