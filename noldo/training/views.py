"""From a batch as stored to what a network sees: one grid, one season's labels, crops and turns, all on the device.

Axes: N sample, S season, B band, C class, Y row, X column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from noldo.bands import BandChoice
from noldo.byte_images import BYTE_IMAGES, observed_key
from noldo.method.smoothing import PriorKind, label_prior
from noldo.tensors import on_one_grid
from noldo.training.augment import Placement, apply_to_image, apply_to_labels, draw
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


def augmented(view: View, *, ids: torch.Tensor, settings: Augmentation, seed: int, epoch: int) -> View:
    """The crop and turns that an epoch has for these locations.

    Parameters
    ----------
    ids
        (N,) of the locations, on the host.
    """
    placement = draw(ids.tolist(), side_px=view.labels.shape[-1], settings=settings, seed=seed, epoch=epoch)
    return moved(view, placement, crop_px=settings.crop_px)


def moved(view: View, placement: Placement, *, crop_px: int) -> View:
    """The same crop and turns for images, labels and prior."""
    return View(
        images={
            name: apply_to_image(image, placement, crop_px=crop_px) for name, image in view.images.items()
        },
        labels=apply_to_labels(view.labels, placement, crop_px=crop_px),
        prior=None if view.prior is None else apply_to_image(view.prior, placement, crop_px=crop_px),
    )
