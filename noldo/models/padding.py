"""Sides that an encoder can't halve often enough: the border is repeated to the right and below, and cut off again.

The published code refuses such images, among them the 510 px tiles of @DW.
"""

import torch
from torch.nn import functional


def padded(image_NBYX: torch.Tensor, *, multiple: int) -> torch.Tensor:
    """The image with rows and columns repeated at its end, to the next multiple of `multiple` pixels."""
    height, width = image_NBYX.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return image_NBYX
    return functional.pad(image_NBYX, (0, right, 0, below), mode="replicate")


def cut_to(logits_NCYX: torch.Tensor, image_NBYX: torch.Tensor) -> torch.Tensor:
    """Logits of the pixels that the image had before it was padded."""
    height, width = image_NBYX.shape[-2:]
    return logits_NCYX[..., :height, :width]
