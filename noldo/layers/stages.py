"""The layers that are compared: stages of a ResNet, blocks of U-Net's decoder, and its head.

Axes: N sample, B band, F feature, Y row, X column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from noldo.models.padding import padded

State = Mapping[str, torch.Tensor]
"""Of a network: name to tensor, parameters and statistics of BatchNorm alike."""


@dataclass(frozen=True)
class Layer:
    """One of the parts that a network is cut into."""

    name: str
    modules: tuple[str, ...]
    """Where they are in the network; each of its tensors is in one of one layer."""

    def modules_in(self, network: nn.Module) -> list[nn.Module]:
        """The modules of this layer."""
        return [network.get_submodule(name) for name in self.modules]

    def tensors(self, state: State) -> dict[str, torch.Tensor]:
        """Those of a state that are this layer's."""
        starts = tuple(f"{name}." for name in self.modules)
        return {name: value for name, value in state.items() if name.startswith(starts)}


LAYERS = (
    Layer("stem", ("encoder.conv1", "encoder.bn1")),
    *(Layer(f"layer{number}", (f"encoder.layer{number}",)) for number in range(1, 5)),
    *(Layer(f"block{number + 1}", (f"decoder.blocks.{number}",)) for number in range(5)),
    Layer("head", ("segmentation_head",)),
)
"""Of a U-Net around a ResNet, from image to logits: strides 2, 4, 8, 16, 32 of the encoder, 16, 8, 4, 2, 1 of the decoder."""

HEAD = LAYERS[-1]


def outputs_of(
    network: nn.Module, image_NBYX: torch.Tensor, *, multiple: int = 32
) -> dict[str, torch.Tensor]:
    """What each layer hands on, on the padded image (`noldo.models.padding`).

    Parameters
    ----------
    network
        A U-Net of `segmentation_network`, in evaluation mode.

    Returns
    -------
    Name of the layer to (N, F, Y, X).
    """
    encoder, decoder = (cast(Any, network.get_submodule(name)) for name in ("encoder", "decoder"))
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, output: found.__setitem__(name, output)

    hooks = [
        block.register_forward_hook(keep(f"block{number}")) for number, block in enumerate(decoder.blocks, 1)
    ]
    try:
        features = encoder(padded(image_NBYX, multiple=multiple))
        logits = network.get_submodule("segmentation_head")(decoder(features))
    finally:
        for hook in hooks:
            hook.remove()
    stages = dict(zip(("stem", "layer1", "layer2", "layer3", "layer4"), features[1:], strict=True))
    return {**stages, **found, "head": logits}


def with_layer(state: State, layer: Layer, *, of: State) -> dict[str, torch.Tensor]:
    """A state with one layer of another, BatchNorm's statistics included."""
    return {**state, **layer.tensors(of)}
