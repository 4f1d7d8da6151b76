"""One-modality networks: an encoder, and one of the decoders of segmentation-models-pytorch.

Axes: N sample, B band, C class, Y row, X column.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import nn

from noldo.errors import ConfigError
from noldo.models.padding import cut_to, padded
from noldo.models.vision_transformer import VisionTransformerEncoder, is_vision_transformer

Framework = Literal["unet", "pspnet", "deeplabv3plus", "fpn", "upernet"]

RESNETS = ("resnet18", "resnet34", "resnet50")

_CLASSES = {
    "unet": "Unet",
    "pspnet": "PSPNet",
    "deeplabv3plus": "DeepLabV3Plus",
    "fpn": "FPN",
    "upernet": "UPerNet",
}
_PSPNET_STRIDE = 8
"""Of the dilated encoder of PSPNet (Zhao et al. 2017, section 4.1)."""

_TRIED_SIDE_PX = 96


def segmentation_network(
    framework: Framework, *, encoder: str, num_bands: int, num_classes: int, compat: bool = False
) -> nn.Module:
    """A network from (N, B, Y, X) to logits (N, C, Y, X), with random weights; any side is taken (`padding`).

    Its parts, and so the names of its weights, are `encoder`, `decoder` and `segmentation_head`, as in
    segmentation-models-pytorch.

    Parameters
    ----------
    encoder
        resnet18, resnet34, resnet50, or `tu-NAME` of timm; vision transformers of timm with unet, fpn and upernet.
    compat
        PSPNet as published: only the first two residual stages are used, whatever the others hold. Otherwise all four
        are, the last two dilated, as in the paper of PSPNet.

    Raises
    ------
    ConfigError
        If framework or encoder is unknown, or they do not fit together.
    """
    if framework not in get_args(Framework):
        raise ConfigError(f"framework {framework!r}: expected one of {', '.join(get_args(Framework))}")
    check_encoder(encoder)
    options: dict[str, Any] = {}
    if framework == "pspnet" and not compat:
        options = {"encoder_depth": 5}
        if encoder not in RESNETS:
            options["output_stride"] = _PSPNET_STRIDE
    network = smp_network(framework, encoder, num_bands, num_classes, **options)
    if framework == "pspnet" and not compat and encoder in RESNETS:
        network.encoder.make_dilated(_PSPNET_STRIDE)
    if framework == "pspnet" and compat:
        _leave_out_deep_stages(network.encoder)
    # smp would refuse other sides; they are padded instead.
    network.requires_divisible_input_shape = False
    return tried(AnySide(network), num_bands, what=f"{framework} with encoder {encoder}")


def smp_network(framework: str, encoder: str, num_bands: int, num_classes: int, **options: Any) -> Any:
    """The network as segmentation-models-pytorch makes it, with random weights.

    Raises
    ------
    ConfigError
        If decoder and encoder do not fit together.
    """
    import segmentation_models_pytorch as smp

    with refusals_told(f"{framework} with encoder {encoder}"):
        return getattr(smp, _CLASSES[framework])(
            encoder_name=_name_in_smp(encoder),
            encoder_weights=None,
            in_channels=num_bands,
            classes=num_classes,
            **options,
        )


def bare_encoder(encoder: str, *, num_bands: int) -> nn.Module:
    """An encoder with random weights.

    Raises
    ------
    ConfigError
        If it is unknown, or gives no features of several strides.
    """
    from segmentation_models_pytorch.encoders import get_encoder

    check_encoder(encoder)
    with refusals_told(f"encoder {encoder}"):
        found: nn.Module = get_encoder(_name_in_smp(encoder), in_channels=num_bands, weights=None)
    return found


def _name_in_smp(encoder: str) -> str:
    """The encoder's name in the registry of segmentation-models-pytorch; vision transformers enter it here.

    Its own way to timm takes models with features of several strides only.
    """
    from segmentation_models_pytorch.encoders import encoders

    name = encoder.removeprefix("tu-")
    if name == encoder or not is_vision_transformer(name):
        return encoder
    alias = f"noldo-{name}"
    encoders[alias] = {
        "encoder": VisionTransformerEncoder,
        "params": {"name": name},
        "pretrained_settings": {},
    }
    return alias


@contextmanager
def refusals_told(what: str) -> Iterator[None]:
    """Libraries refuse encoders in many ways: each is one line here."""
    try:
        yield
    except (ValueError, KeyError, RuntimeError, AttributeError, TypeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ConfigError(
            f"{what}: can't be built ({reason:.200}); take resnet18, resnet34, resnet50 or another model of timm"
        ) from None


@torch.no_grad()
def tried(network: nn.Module, *num_bands: int, what: str) -> nn.Module:
    """The network, after it has seen a small image of each of its inputs: some encoders take images of one side only.

    Raises
    ------
    ConfigError
        If it does not run.
    """
    images = [torch.zeros(1, bands, _TRIED_SIDE_PX, _TRIED_SIDE_PX) for bands in num_bands]
    was_training = network.training
    with refusals_told(what):
        network.eval()(*images)
    return network.train(was_training)


def _leave_out_deep_stages(encoder: Any) -> None:
    """Stages that PSPNet as published holds but never runs take no gradient: ranks would wait for it."""
    for name in ("layer3", "layer4"):
        stage = getattr(encoder, name, None)
        for parameter in () if stage is None else stage.parameters():
            parameter.requires_grad_(requires_grad=False)


def check_encoder(encoder: str) -> None:
    """Refuse names that are no encoder.

    Raises
    ------
    ConfigError
        With what is expected.
    """
    if encoder in RESNETS:
        return
    if encoder.startswith("tu-"):
        import timm

        if timm.is_model(encoder.removeprefix("tu-")):
            return
        raise ConfigError(f"encoder {encoder!r}: timm has no model of this name; see timm.list_models()")
    raise ConfigError(f"encoder {encoder!r}: expected {', '.join(RESNETS)}, or tu-NAME of a timm model")


class AnySide(nn.Module):
    """A network of smp that takes any side. Its state dict has the names of the network's own."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.encoder: nn.Module = network.encoder
        self.decoder: nn.Module = network.decoder
        self.segmentation_head: nn.Module = network.segmentation_head
        self._multiple = _stride_of(network.encoder)

    def forward(self, image_NBYX: torch.Tensor) -> torch.Tensor:
        """Logits (N, C, Y, X)."""
        return through(self.encoder, self.decoder, self.segmentation_head, image_NBYX, self._multiple)


def through(
    encoder: nn.Module, decoder: nn.Module, head: nn.Module, image_NBYX: torch.Tensor, multiple: int
) -> torch.Tensor:
    """One image through the parts of a network."""
    logits = head(decoder(encoder(padded(image_NBYX, multiple=multiple))))
    return cut_to(logits, image_NBYX)


def _stride_of(encoder: Any) -> int:
    """Pixels of the image in one of the deepest features."""
    return int(encoder.output_stride)
