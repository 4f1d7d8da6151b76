"""Crops, flips, transposition and rotation of whole batches, on their own device.

What is done to a sample is drawn on the host, by seed, epoch and id of its location alone (`draw`): neither batch, rank nor
number of workers matters, and nothing waits for the device. It is sent there (`moves_of`), where pixels are moved.

Axes: N sample, M rotated sample, B band or class, Y row, X column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from noldo.training.recipe import Augmentation

_STREAM = 2
"""Of random numbers that place augmentation; 0 and 1 are those of seasons and crops in `noldo.dataset`."""


@dataclass(frozen=True)
class Placement:
    """What is done to the samples of a batch; each field (N,)."""

    top: np.ndarray
    """First row of the crop."""
    left: np.ndarray
    """First column of the crop."""
    flip_y: np.ndarray
    """Rows run the other way, after the crop."""
    flip_x: np.ndarray
    """Columns run the other way."""
    transpose: np.ndarray
    """Rows and columns are exchanged, after the flips."""
    angle_deg: np.ndarray
    """Counter-clockwise rotation about the centre of the crop, last of all; 0: none."""


def draw(ids: Sequence[int], *, side_px: int, settings: Augmentation, seed: int, epoch: int) -> Placement:
    """Draw what is done to samples.

    Parameters
    ----------
    ids
        Of the samples' locations.
    side_px
        Of the square that was loaded.
    settings
        Chances and the crop's side, which is at most `side_px`.
    """
    rows = [_draw_one(int(one), side_px, settings, seed, epoch) for one in ids]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Placement(*columns)


def _draw_one(
    location_id: int, side_px: int, settings: Augmentation, seed: int, epoch: int
) -> tuple[int, int, bool, bool, bool, float]:
    rng = np.random.default_rng([seed, epoch, location_id, _STREAM])
    spare = side_px - settings.crop_px
    top, left = (int(one) for one in rng.integers(0, spare + 1, size=2))
    # As published (albumentations' Flip): both axes, up-down or left-right, each a third.
    kind = int(rng.integers(3)) if rng.random() < settings.flip else -1
    transpose = bool(rng.random() < settings.transpose)
    angle = rng.uniform(-settings.max_angle_deg, settings.max_angle_deg)
    rotated = rng.random() < settings.rotate
    return top, left, kind in (0, 1), kind in (0, 2), transpose, float(angle) if rotated else 0.0


def centre(num_samples: int, *, side_px: int, crop_px: int) -> Placement:
    """The crop in the middle, and nothing else."""
    start = np.full(num_samples, (side_px - crop_px) // 2)
    no = np.zeros(num_samples, bool)
    return Placement(start, start, no, no, no, np.zeros(num_samples))


class Turns(NamedTuple):
    """Rotations, on a device."""

    cos: torch.Tensor
    """(M,) float64, of the samples that are rotated, or of all of them."""
    sin: torch.Tensor
    """(M,) float64."""
    steps: torch.Tensor
    """(crop_px,) float64, -1 .. 1: rows and columns of the crop."""
    samples: torch.Tensor
    """(M,) int64, which samples are rotated; or (N,) bool, whether one is: then all are computed, and shapes are the same in each step."""


class Moves(NamedTuple):
    """A placement, on a device."""

    rows: torch.Tensor
    """(N, crop_px) int64, of the source."""
    columns: torch.Tensor
    """(N, crop_px) int64, of the source."""
    transpose: torch.Tensor
    """(N,) bool."""
    turns: Turns | None
    """None: nothing is rotated."""


def moves_of(
    placement: Placement, *, crop_px: int, device: torch.device, has_fixed_shapes: bool = False
) -> Moves:
    """Send a placement to a device, without waiting for it: a few lines, from which the device makes the index of every pixel.

    Parameters
    ----------
    has_fixed_shapes
        The tensors have the same shapes whatever was drawn, as compiled code needs it. All samples are then rotated, and those without an
        angle are taken as they were.
    """
    steps, turns = np.arange(crop_px), None
    angles_rad = np.deg2rad(placement.angle_deg)
    if has_fixed_shapes or placement.angle_deg.any():
        samples = placement.angle_deg != 0
        if not has_fixed_shapes:
            samples = np.flatnonzero(samples)
            angles_rad = angles_rad[samples]
        lines = (np.cos(angles_rad), np.sin(angles_rad), np.linspace(-1, 1, crop_px), samples)
        turns = Turns(*(_on(device, one) for one in lines))
    return Moves(
        rows=_on(device, _run(placement.top, placement.flip_y, steps)),
        columns=_on(device, _run(placement.left, placement.flip_x, steps)),
        transpose=_on(device, placement.transpose),
        turns=turns,
    )


def apply_to_image(image_NBYX: torch.Tensor, placement: Placement, *, crop_px: int) -> torch.Tensor:
    """Crop, flip, transpose, and rotate bilinearly; beyond the border the image is reflected (the edge pixel once).

    Returns
    -------
    (N, B, crop_px, crop_px), as the input otherwise.
    """
    return moved_image(image_NBYX, moves_of(placement, crop_px=crop_px, device=image_NBYX.device))


def apply_to_labels(labels_NYX: torch.Tensor, placement: Placement, *, crop_px: int) -> torch.Tensor:
    """The same for class ids: rotation takes the nearest pixel, and reflects labels as it reflects the image.

    Returns
    -------
    (N, crop_px, crop_px), dtype as the input.
    """
    return moved_labels(labels_NYX, moves_of(placement, crop_px=crop_px, device=labels_NYX.device))


def moved_image(image_NBYX: torch.Tensor, moves: Moves) -> torch.Tensor:
    """As `apply_to_image`."""
    return rotated(gathered(image_NBYX, moves), moves)


def moved_labels(labels_NYX: torch.Tensor, moves: Moves) -> torch.Tensor:
    """As `apply_to_labels`."""
    found = gathered(labels_NYX[:, None], moves)
    if moves.turns is not None:
        # Class ids are small whole numbers: float32 holds them, and `nearest` never mixes two.
        found = rotated(found.float(), moves, mode="nearest").to(labels_NYX.dtype)
    return found[:, 0]


def gathered(values_NBYX: torch.Tensor, moves: Moves, factor: int = 1) -> torch.Tensor:
    """Crop, flips and transposition, in one gather: (N, B, crop_px, crop_px), dtype as the input.

    Parameters
    ----------
    factor
        Rows and columns of the crop's grid that one pixel of the values covers.
    """
    rows, columns = moves.rows // factor, moves.columns // factor
    turned = moves.transpose[:, None, None]
    # Of a transposed sample, the row of the source follows the column of the result.
    row_index = torch.where(turned, rows[:, None, :], rows[:, :, None])
    column_index = torch.where(turned, columns[:, :, None], columns[:, None, :])
    flat = (row_index * values_NBYX.shape[-1] + column_index).flatten(1)[:, None]
    num_samples, num_bands = values_NBYX.shape[:2]
    # Not every operator knows unsigned integers on every device; to be moved they need no sign.
    plain = values_NBYX.view(torch.int16) if values_NBYX.dtype == torch.uint16 else values_NBYX
    found = plain.flatten(2).gather(2, flat.expand(-1, num_bands, -1))
    return found.view(num_samples, num_bands, *row_index.shape[1:]).view(values_NBYX.dtype)


def rotated(values_NBYX: torch.Tensor, moves: Moves, *, mode: str = "bilinear") -> torch.Tensor:
    """Rotation of those samples that have an angle; the others are as they were, to the last bit."""
    turns = moves.turns
    if turns is None:
        return values_NBYX
    is_each = turns.samples.dtype == torch.bool
    chosen = values_NBYX if is_each else values_NBYX.index_select(0, turns.samples)
    # align_corners: -1 and 1 are the centres of the border pixels, so that reflection does not repeat them.
    found = functional.grid_sample(
        chosen, _sampling_grid(turns), mode=mode, padding_mode="reflection", align_corners=True
    )
    if is_each:
        return torch.where(turns.samples[:, None, None, None], found, values_NBYX)
    return values_NBYX.index_copy(0, turns.samples, found)


def _on(device: torch.device, values: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _run(start: np.ndarray, flip: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(N, crop) positions along one axis."""
    order = np.where(flip[:, None], steps[::-1], steps)
    run: np.ndarray = start[:, None] + order
    return run


def _sampling_grid(turns: Turns) -> torch.Tensor:
    """(M, Y, X, 2) float32, where each pixel of the result comes from: x and y in -1 .. 1."""
    x, y = turns.steps[None, None, :], turns.steps[None, :, None]
    cos, sin = turns.cos[:, None, None], turns.sin[:, None, None]
    # Rows run downwards: to turn the image counter-clockwise, look clockwise.
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1).to(torch.float32)
