"""From a batch as stored to what a network sees: one grid, one season's labels, crops and turns, all on the device.

Stored integers are cropped and turned where they lie, and only the pixels of the crop are brought to one grid and normalised (`placed`):
the same numbers as of whole patches, cropped afterwards. All of it is a function of tensors that waits for nothing (`prepared`), which
torch.compile makes a few kernels of.

Axes: N sample, S season, B band, C class, Y row, X column.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from noldo.bands import BandChoice
from noldo.byte_images import BYTE_IMAGES, observed_key
from noldo.method.smoothing import PriorKind, label_prior
from noldo.tensors import on_one_grid
from noldo.training.augment import (
    Moves,
    apply_to_labels,
    draw,
    gathered,
    moved_image,
    moved_labels,
    moves_of,
    rotated,
)
from noldo.training.recipe import Augmentation


@dataclass(frozen=True)
class View:
    """What is learnt from, or judged by."""

    images: Mapping[str, torch.Tensor]
    """Modality to (N, B, Y, X) float32."""
    labels: torch.Tensor
    """(N, Y, X) uint8, 255 unlabelled."""
    prior: torch.Tensor | None
    """(N, C, Y, X) float32, adds to 1 over classes; None: not asked for."""


def shown_labels(batch: Mapping[str, Any]) -> torch.Tensor:
    """(N, Y, X) labels of the season that each sample shows."""
    mask: torch.Tensor = batch["mask"]
    if mask.dim() == 3:
        return mask
    samples = torch.arange(len(mask), device=mask.device)
    return mask[samples, batch["season"]]


def is_observed(batch: Mapping[str, Any], modality: str, *, bands: BandChoice) -> torch.Tensor:
    """(N, Y, X) bool: where any band of a modality has data; elsewhere networks see a constant.

    Parameters
    ----------
    bands
        Of Sentinel-2, as the data set was made with.
    """
    if modality in BYTE_IMAGES:
        told: torch.Tensor = batch[observed_key(modality)]
        return told
    chosen = None if modality == "s1_grd" else bands
    return ~on_one_grid(batch, modality, bands=chosen).isnan().all(dim=-3)


def prior_of(batch: Mapping[str, Any], *, num_classes: int, kind: PriorKind) -> torch.Tensor:
    """(N, C, Y, X) prior of the whole patch: it has to be taken before the crop."""
    mask: torch.Tensor = batch["mask"]
    season: torch.Tensor = batch["season"]
    if mask.dim() == 3:
        mask, season = mask.unsqueeze(1), torch.zeros_like(season)
    return label_prior(mask, season, num_classes=num_classes, kind=kind)


def placed(
    batch: Mapping[str, Any],
    moves: Moves,
    *,
    inputs: nn.Module,
    labels: torch.Tensor,
    prior: torch.Tensor | None = None,
) -> View:
    """The same crop and turns for images, labels and prior.

    Parameters
    ----------
    inputs
        Of the network, `noldo.models.input_step`.
    labels
        (N, Y, X), of whole patches.
    prior
        (N, C, Y, X), the same.
    """
    images = inputs(batch, lambda stored, factor: gathered(stored, moves, factor))
    return View(
        images={name: rotated(image, moves) for name, image in images.items()},
        labels=moved_labels(labels, moves),
        prior=None if prior is None else moved_image(prior, moves),
    )


def augmented(
    batch: Mapping[str, Any],
    *,
    inputs: nn.Module,
    labels: torch.Tensor,
    settings: Augmentation,
    seed: int,
    epoch: int,
) -> View:
    """The crop and turns that an epoch has for these locations.

    Parameters
    ----------
    inputs, labels
        As in `placed`.
    """
    moves = draw_moves(
        batch["id"],
        side_px=labels.shape[-1],
        settings=settings,
        seed=seed,
        epoch=epoch,
        device=labels.device,
    )
    return placed(batch, moves, inputs=inputs, labels=labels)


def augmented_labels(
    labels: torch.Tensor, *, ids: torch.Tensor, settings: Augmentation, seed: int, epoch: int
) -> torch.Tensor:
    """What an epoch does to the labels of these locations, or to whatever is known of each pixel: (N, Y, X)."""
    placement = draw(ids.tolist(), side_px=labels.shape[-1], settings=settings, seed=seed, epoch=epoch)
    return apply_to_labels(labels, placement, crop_px=settings.crop_px)


def draw_moves(
    ids: torch.Tensor,
    *,
    side_px: int,
    settings: Augmentation,
    seed: int,
    epoch: int,
    device: torch.device,
    has_fixed_shapes: bool = False,
) -> Moves:
    """The crop and turns that an epoch has for these locations.

    Parameters
    ----------
    ids
        (N,) of the locations, on the host.
    has_fixed_shapes
        As in `noldo.training.augment.moves_of`; settings without any rotation have none in any case.
    """
    placement = draw(ids.tolist(), side_px=side_px, settings=settings, seed=seed, epoch=epoch)
    has_fixed_shapes = has_fixed_shapes and settings.rotate > 0
    return moves_of(placement, crop_px=settings.crop_px, device=device, has_fixed_shapes=has_fixed_shapes)


Prepare = Callable[[Mapping[str, Any], Moves], View]
"""From a batch on the device, and what is done to it."""


def prepared(
    batch: Mapping[str, Any],
    moves: Moves,
    *,
    inputs: nn.Module,
    num_classes: int,
    kind: PriorKind | None,
) -> View:
    """All that a step of pretraining learns from.

    Parameters
    ----------
    inputs
        As in `placed`.
    kind
        Of the prior; None: there is none.
    """
    prior = None if kind is None else prior_of(batch, num_classes=num_classes, kind=kind)
    return placed(batch, moves, inputs=inputs, labels=shown_labels(batch), prior=prior)


def preparation(
    inputs: nn.Module, *, num_classes: int, kind: PriorKind | None, is_compiled: bool, **options: Any
) -> Prepare:
    """`prepared`, compiled for batches of one size or as it is.

    Parameters
    ----------
    options
        Of torch.compile.
    """
    plain = partial(prepared, inputs=inputs, num_classes=num_classes, kind=kind)
    if not is_compiled:
        return plain
    return cast(Prepare, torch.compile(plain, fullgraph=True, dynamic=False, **options))
