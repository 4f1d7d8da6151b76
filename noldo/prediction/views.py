"""Test-time augmentation: a network sees an image at several sizes, flipped and not; its probabilities are averaged.

As in the winning entry of DFC2025 track 1 (scales 0.5 to 1.75, four flips; StuLiu/dfc2025track1). Axes: N sample, B band, C class,
Y row, X column.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from noldo.errors import ConfigError
from noldo.prediction.strips import Network

FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
"""Axes that are turned round: none, left-right, up-down, both."""


@dataclass(frozen=True)
class Views:
    """How often an image is looked at."""

    scales: tuple[float, ...] = (1.0,)
    """Sizes, as multiples of the image's own."""
    flips: bool = True
    """All four flips rather than none."""

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale <= 4 for scale in self.scales):
            raise ConfigError(f"scales {self.scales}: expected numbers above 0 and up to 4, e.g. 0.75,1,1.25")

    def __len__(self) -> int:
        """Views of one image."""
        return len(self.scales) * (len(FLIPS) if self.flips else 1)


@torch.no_grad()
def averaged(network: Network, images: Mapping[str, torch.Tensor], *, views: Views) -> torch.Tensor:
    """Mean of the softmax over all views, brought back to the image: (N, C, Y, X) float32, adding to 1 over classes.

    Parameters
    ----------
    images
        Modality to (N, B, Y, X) float32. Other sizes are interpolated bilinearly, pixel centres kept, and so are the probabilities on their
        way back.
    """
    side = next(iter(images.values())).shape[-2:]
    total: torch.Tensor | None = None
    for scale in views.scales:
        size = [max(1, round(length * scale)) for length in side]
        scaled = {name: resized(image, size) for name, image in images.items()}
        for axes in FLIPS if views.flips else FLIPS[:1]:
            logits = network({name: image.flip(axes) for name, image in scaled.items()})
            found = resized(logits.float().softmax(dim=1).flip(axes), list(side))
            total = found if total is None else total + found
    assert total is not None, "views have a scale"
    return total / len(views)


def seen(network: Network, *, views: Views) -> Network:
    """The same network looking at every view of what it is given: the softmax of its logits is the mean over them."""

    def logits(images: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return averaged(network, images, views=views).log()

    return logits


def resized(image: torch.Tensor, size: list[int]) -> torch.Tensor:
    """(N, B, Y, X) at another size in pixels, bilinear, pixel centres kept."""
    if list(image.shape[-2:]) == size:
        return image
    return functional.interpolate(image, size=size, mode="bilinear", align_corners=False)
