"""ClassMix: half of the classes of one image are pasted into another, pixel by pixel.

Olsson et al., WACV 2021, arXiv 2007.07936; as DACS (Tranheden et al., WACV 2021, arXiv 2007.08702) has it, the pasted classes come from a
labelled source and the ground from a target that a teacher labels. Axes: N sample, B band, C class, H row, W column.
"""

from dataclasses import dataclass

import torch

from noldo.method.labels import labelled, one_hot


@dataclass(frozen=True)
class Mixed:
    """A batch of two halves each."""

    images: torch.Tensor
    """(N, B, H, W)."""
    labels: torch.Tensor
    """(N, H, W); 255: unlabelled."""
    weights: torch.Tensor
    """(N, H, W): 1 where the source was pasted, 0 where nothing is labelled, elsewhere those of the target."""


def pasted_mask(labels_NHW: torch.Tensor, *, num_classes: int, generator: torch.Generator) -> torch.Tensor:
    """Where the source is pasted: bool, (N, H, W). Nothing waits for the device.

    Of the n classes that are in an image, ceil(n / 2) are drawn, for each image anew. 255 is no class: unlabelled pixels are never
    pasted, and an image without any label gives nothing.

    Parameters
    ----------
    labels_NHW
        Of the source; classes, or 255.
    generator
        On the host; what it draws decides all.

    Notes
    -----
    The released code of the DFC2025 winner (StuLiu/dfc2025track1) lists the classes of the whole batch of a device, and draws from these for
    each image; with one image a device, as most of its networks have, that is the same.
    """
    planes_NCHW = one_hot(labels_NHW, num_classes=num_classes)
    is_present_NC = planes_NCHW.flatten(2).any(dim=2)
    lots_NC = torch.rand(is_present_NC.shape, generator=generator).to(labels_NHW.device, non_blocking=True)
    # Classes that are not there have the last places.
    places_NC = lots_NC.masked_fill(~is_present_NC, 2.0).argsort(dim=1).argsort(dim=1)
    num_drawn_N1 = (is_present_NC.sum(dim=1, keepdim=True) + 1) // 2
    is_drawn_NC = places_NC < num_drawn_N1
    found: torch.Tensor = (planes_NCHW * is_drawn_NC[..., None, None]).any(dim=1)
    return found


def mixed(
    mask_NHW: torch.Tensor,
    *,
    source: tuple[torch.Tensor, torch.Tensor],
    target: tuple[torch.Tensor, torch.Tensor],
    trust_NHW: torch.Tensor,
) -> Mixed:
    """M source + (1 - M) target, of images and labels; w = M + (1 - M) trust.

    Parameters
    ----------
    mask_NHW
        Of `pasted_mask`.
    source, target
        Images (N, B, H, W) and labels (N, H, W); those of the target are a teacher's, 255 where it was shown nothing.
    trust_NHW
        In the teacher's labels, 0..1.
    """
    labels_NHW = torch.where(mask_NHW, source[1], target[1].to(source[1].dtype))
    return Mixed(
        images=torch.where(mask_NHW.unsqueeze(1), source[0], target[0]),
        labels=labels_NHW,
        weights=torch.where(mask_NHW, 1.0, trust_NHW) * labelled(labels_NHW),
    )
