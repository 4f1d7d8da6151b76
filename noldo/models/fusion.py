"""Two modalities: middle fusion shares decoder and head between them, late fusion shares nothing but the loss.

Names of weights are those of the authors' checkpoints, without their prefix `net.`; encoders start as segmentation-models-
pytorch makes them (ResNet as in torchvision; a first convolution of other than three bands as PyTorch's own default),
decoders Kaiming-uniform, heads Xavier-uniform.

Axes: N sample, B band, C class, Y row, X column.
"""

from typing import Any

import torch
from torch import nn

from noldo.models.frameworks import AnySide, check_encoder, smp_network, through, tried


class MiddleFusion(nn.Module):
    """Two encoders; one decoder and one head, run on the features of S1 first, then on those of S2.

    In training the decoder's BatchNorm uses the statistics of each modality; its running statistics blend both, as
    published.
    """

    def __init__(self, *, encoder: str, s1_bands: int, s2_bands: int, num_classes: int) -> None:
        super().__init__()
        check_encoder(encoder)
        first = smp_network("unet", encoder, s1_bands, num_classes)
        second = smp_network("unet", encoder, s2_bands, num_classes)
        self.encoder1: nn.Module = first.encoder
        self.encoder: nn.Module = second.encoder
        self.decoder: nn.Module = second.decoder
        self.segmentation_head: nn.Module = second.segmentation_head
        self._multiple = int(second.encoder.output_stride)

    def forward(self, s1_NBYX: torch.Tensor, s2_NBYX: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (N, C, Y, X) of S1 and of S2, each from its own image alone."""
        rest = (self.decoder, self.segmentation_head)
        return (
            through(self.encoder1, *rest, s1_NBYX, self._multiple),
            through(self.encoder, *rest, s2_NBYX, self._multiple),
        )


class LateFusion(nn.Module):
    """Two U-Nets that meet only in the loss."""

    def __init__(self, *, encoder: str, s1_bands: int, s2_bands: int, num_classes: int) -> None:
        super().__init__()
        check_encoder(encoder)
        self.model1 = AnySide(smp_network("unet", encoder, s1_bands, num_classes))
        self.model2 = AnySide(smp_network("unet", encoder, s2_bands, num_classes))

    def forward(self, s1_NBYX: torch.Tensor, s2_NBYX: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (N, C, Y, X) of S1 and of S2."""
        return self.model1(s1_NBYX), self.model2(s2_NBYX)


def fusion_network(kind: str, **sizes: Any) -> nn.Module:
    """`middle` or `late`.

    Raises
    ------
    ConfigError
        If the encoder is unknown, or no U-Net can be made of it.
    """
    network = MiddleFusion(**sizes) if kind == "middle" else LateFusion(**sizes)
    what = f"{kind} fusion with encoder {sizes['encoder']}"
    return tried(network, sizes["s1_bands"], sizes["s2_bands"], what=what)
