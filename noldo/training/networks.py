"""Networks of a recipe, with the weights that it names."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from torch import nn

from noldo.models.frameworks import segmentation_network
from noldo.models.freezing import freeze, keep_still
from noldo.models.fusion import fusion_network
from noldo.models.input_step import InputStep
from noldo.training.recipe import OneModality, PretrainRecipe
from noldo.weights.encoders import Matched, load_into_encoder


def inputs_of(recipe: PretrainRecipe | OneModality) -> InputStep:
    """The step before the network."""
    modalities = recipe.modalities if isinstance(recipe, PretrainRecipe) else (recipe.modality,)
    return InputStep(modalities, bands=recipe.data.bands, kind=recipe.data.inputs)


def build_pretraining(recipe: PretrainRecipe, *, num_classes: int) -> tuple[nn.Module, InputStep]:
    """Network with random weights, and the step before it; inputs of the network in the order of `modalities`.

    Raises
    ------
    ConfigError
        If the encoder is unknown.
    """
    inputs = inputs_of(recipe)
    sizes = {modality: len(inputs.bands(modality)) for modality in recipe.modalities}
    if len(sizes) == 1:
        (num_bands,) = sizes.values()
        network = segmentation_network(
            "unet", encoder=recipe.encoder, num_bands=num_bands, num_classes=num_classes
        )
        return network, inputs
    network = fusion_network(
        recipe.fusion,
        encoder=recipe.encoder,
        s1_bands=sizes["s1_grd"],
        s2_bands=sizes["s2_l1c"],
        num_classes=num_classes,
    )
    return network, inputs


def build_transfer(recipe: OneModality, *, num_classes: int) -> tuple[nn.Module, InputStep, Matched | None]:
    """Network with the encoder's weights of the recipe and a new decoder, the step before it, and what the weights matched.

    Raises
    ------
    ConfigError, WeightsError
        If parts are unknown, or the weights are of another encoder.
    """
    inputs = inputs_of(recipe)
    network = segmentation_network(
        recipe.framework,
        encoder=recipe.encoder,
        num_bands=len(inputs.bands(recipe.modality)),
        num_classes=num_classes,
        compat=recipe.compat,
    )
    encoder = cast(nn.Module, network.encoder)
    matched = None
    if recipe.weights is not None:
        matched = load_into_encoder(encoder, Path(recipe.weights), modality=recipe.modality)
    if recipe.mode == "frozen":
        freeze(encoder)
    return network, inputs, matched


def keeper_of(recipe: OneModality, network: nn.Module) -> Callable[[], None] | None:
    """What to do after each `.train()`; None: nothing."""
    if recipe.mode != "frozen" or recipe.compat:
        return None
    return partial(keep_still, cast(nn.Module, network.encoder))
