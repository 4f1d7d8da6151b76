"""Crops, flips, transposition and rotation of whole batches, on their own device.

What is done to a sample is drawn on the host, by seed, epoch and id of its location alone (`draw`): neither batch, rank nor
number of workers matters, and nothing waits for the device. `apply` then moves pixels.

Axes: N sample, B band or class, Y row, X column.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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


def apply_to_image(image_NBYX: torch.Tensor, placement: Placement, *, crop_px: int) -> torch.Tensor:
    """Crop, flip, transpose, and rotate bilinearly; beyond the border the image is reflected (the edge pixel once).

    Returns
    -------
    (N, B, crop_px, crop_px), as the input otherwise.
    """
    moved = _moved(image_NBYX, placement, crop_px)
    return _rotated(moved, placement, mode="bilinear")


def apply_to_labels(labels_NYX: torch.Tensor, placement: Placement, *, crop_px: int) -> torch.Tensor:
    """The same for class ids: rotation takes the nearest pixel, and reflects labels as it reflects the image.

    Returns
    -------
    (N, crop_px, crop_px), dtype as the input.
    """
    moved = _moved(labels_NYX[:, None], placement, crop_px)
    if not placement.angle_deg.any():
        return moved[:, 0]
    # Class ids are small whole numbers: float32 holds them, and `nearest` never mixes two.
    return _rotated(moved.float(), placement, mode="nearest").to(labels_NYX.dtype)[:, 0]


def _moved(values_NBYX: torch.Tensor, placement: Placement, crop_px: int) -> torch.Tensor:
    """Crop, flips and transposition, in one gather."""
    steps = np.arange(crop_px)
    device = values_NBYX.device
    # Only these lines cross to the device; the index of every pixel is made there.
    rows = _on(device, _run(placement.top, placement.flip_y, steps))
    columns = _on(device, _run(placement.left, placement.flip_x, steps))
    turned = _on(device, placement.transpose)[:, None, None]
    # Of a transposed sample, the row of the source follows the column of the result.
    row_index = torch.where(turned, rows[:, None, :], rows[:, :, None])
    column_index = torch.where(turned, columns[:, :, None], columns[:, None, :])
    flat = (row_index * values_NBYX.shape[-1] + column_index).flatten(1)[:, None]
    num_samples, num_bands = values_NBYX.shape[:2]
    gathered = values_NBYX.flatten(2).gather(2, flat.expand(-1, num_bands, -1))
    return gathered.view(num_samples, num_bands, crop_px, crop_px)


def _on(device: torch.device, values: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _run(start: np.ndarray, flip: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(N, crop) positions along one axis."""
    order = np.where(flip[:, None], steps[::-1], steps)
    run: np.ndarray = start[:, None] + order
    return run


def _rotated(values_NBYX: torch.Tensor, placement: Placement, *, mode: str) -> torch.Tensor:
    """Rotation of those samples that have an angle."""
    turned = np.flatnonzero(placement.angle_deg)
    if not turned.size:
        return values_NBYX
    index = torch.from_numpy(turned).to(values_NBYX.device, non_blocking=True)
    angles = np.deg2rad(placement.angle_deg[turned])
    grid = _sampling_grid(angles, side_px=values_NBYX.shape[-1]).to(values_NBYX.device, non_blocking=True)
    # align_corners: -1 and 1 are the centres of the border pixels, so that reflection does not repeat them.
    rotated = functional.grid_sample(
        values_NBYX.index_select(0, index), grid, mode=mode, padding_mode="reflection", align_corners=True
    )
    return values_NBYX.index_copy(0, index, rotated)


def _sampling_grid(angles_rad: np.ndarray, *, side_px: int) -> torch.Tensor:
    """(N, Y, X, 2) where each pixel of the result comes from: x and y in -1 .. 1."""
    steps = np.linspace(-1, 1, side_px)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    cos, sin = np.cos(angles_rad)[:, None, None], np.sin(angles_rad)[:, None, None]
    # Rows run downwards: to turn the image counter-clockwise, look clockwise.
    source = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
    return torch.from_numpy(source.astype(np.float32))
