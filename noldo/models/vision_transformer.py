"""Vision transformers of timm as encoders: four of their blocks, resampled to maps of strides 4, 8, 16 and 32.

Which blocks, that the class token and the last norm are left out, and that maps are resampled bilinearly and without weights is
as in the ViT rows of CromSS (its UPerNet code: blocks 5, 11, 17 and 23 of 24, or 2, 5, 8 and 11 of 12). There the maps have
strides 1, 2, 4 and 8; here those that all decoders know, a sixteenth of the work. All weights are those of the transformer,
so a frozen encoder is the pretrained one and nothing else.
"""

from math import lcm
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import interpolate

STRIDES = (4, 8, 16, 32)
_DEPTH = 5
"""Of encoders in segmentation-models-pytorch that have all of these strides."""


class VisionTransformerEncoder(nn.Module):
    """Images (N, B, Y, X) to what segmentation-models-pytorch expects of an encoder: a list of features.

    They are the image, a map of stride 2 without channels, then four maps of `STRIDES`. Sides of images are multiples of
    `output_stride`; embeddings of positions are resampled to them.

    Parameters
    ----------
    name
        Of a model in `timm.models.vision_transformer`.

    Raises
    ------
    ValueError
        If a decoder asks for fewer features, or dilated ones.
    """

    model: nn.Module

    def __init__(self, *, name: str, depth: int = _DEPTH, output_stride: int = STRIDES[-1]) -> None:
        super().__init__()
        if depth != _DEPTH or output_stride != STRIDES[-1]:
            raise ValueError("vision transformers fit the frameworks unet, fpn and upernet only")
        self._name = name

    def set_in_channels(self, in_channels: int, *, pretrained: bool = False) -> None:
        """Make the transformer, for images of so many bands; called once, by segmentation-models-pytorch."""
        import timm

        del pretrained
        model: Any = timm.create_model(
            self._name, in_chans=in_channels, num_classes=0, global_pool="", dynamic_img_size=True
        )
        model.norm = nn.Identity()
        model.fc_norm = nn.Identity()
        self.model = model
        num_blocks = len(model.blocks)
        self._taps = [num_blocks * part // len(STRIDES) - 1 for part in range(1, len(STRIDES) + 1)]
        self.out_channels = [in_channels, 0, *[int(model.embed_dim)] * len(STRIDES)]
        self.output_stride = lcm(STRIDES[-1], *model.patch_embed.patch_size)

    def forward(self, image_NBYX: torch.Tensor) -> list[torch.Tensor]:
        """The image, an empty map, and four maps."""
        maps = cast(Any, self.model).forward_intermediates(
            image_NBYX, indices=self._taps, norm=False, intermediates_only=True
        )
        side_y, side_x = image_NBYX.shape[-2:]
        resampled = [
            interpolate(one, size=(side_y // stride, side_x // stride), mode="bilinear", align_corners=False)
            for one, stride in zip(maps, STRIDES, strict=True)
        ]
        empty = image_NBYX.new_empty(len(image_NBYX), 0, side_y // 2, side_x // 2)
        return [image_NBYX, empty, *resampled]


def is_vision_transformer(name: str) -> bool:
    """Whether timm's model of this name is a plain vision transformer."""
    from timm.models import is_model_in_modules

    return bool(is_model_in_modules(name, ["vision_transformer"]))
