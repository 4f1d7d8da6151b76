import argparse
from pathlib import Path

import pytest
import timm
import torch

from noldo.errors import ConfigError, WeightsError
from noldo.models.frameworks import bare_encoder, segmentation_network
from noldo.models.freezing import freeze
from noldo.models.fusion import fusion_network
from noldo.training.networks import build_transfer
from noldo.training.recipe import TransferRecipe
from noldo.weights.encoders import EncoderCard, load_encoder, load_into_encoder, save_encoder

TINY = "tu-vit_tiny_patch16_224"


def transformer(bands: int = 13) -> torch.nn.Module:
    torch.manual_seed(3)
    return timm.create_model(
        TINY.removeprefix("tu-"), in_chans=bands, num_classes=0, dynamic_img_size=True
    ).eval()


def mae_file(path: Path, source: torch.nn.Module) -> Path:
    """A checkpoint by the names that MAE's code writes, its decoder beside the encoder."""
    tensors = dict(source.state_dict())
    for name in (
        "mask_token",
        "decoder_pos_embed",
        "decoder_embed.weight",
        "decoder_blocks.0.attn.qkv.weight",
    ):
        tensors[name] = torch.rand(2)
    for name in ("decoder_norm.weight", "decoder_pred.weight", "decoder_pred.bias"):
        tensors[name] = torch.rand(2)
    torch.save(
        {"model": tensors, "optimizer": {"state": {}}, "epoch": 99, "args": argparse.Namespace(lr=1e-4)}, path
    )
    return path


@pytest.mark.parametrize("framework", ["unet", "fpn", "upernet"])
@pytest.mark.parametrize("side", [64, 75])
def test_vision_transformers_fit_decoders_that_take_features_of_several_strides(framework, side):
    network = segmentation_network(framework, encoder=TINY, num_bands=3, num_classes=5).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, side, 96)).shape == (1, 5, side, 96)


@pytest.mark.parametrize("framework", ["pspnet", "deeplabv3plus"])
def test_dilated_decoders_refuse_them_and_say_which_take_them(framework):
    with pytest.raises(ConfigError, match="fit the frameworks unet, fpn and upernet only"):
        segmentation_network(framework, encoder=TINY, num_bands=3, num_classes=5)


@pytest.mark.parametrize("kind", ["middle", "late"])
def test_two_modalities_may_have_them(kind):
    network = fusion_network(kind, encoder=TINY, s1_bands=2, s2_bands=3, num_classes=4).eval()
    with torch.no_grad():
        s1, s2 = network(torch.rand(1, 2, 64, 64), torch.rand(1, 3, 64, 64))
    assert s1.shape == s2.shape == (1, 4, 64, 64)


def test_patches_of_14_px_are_cut_from_a_padded_image():
    network = segmentation_network("fpn", encoder="tu-vit_small_patch14_dinov2", num_bands=2, num_classes=3)
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 2, 100, 60)).shape == (1, 3, 100, 60)


def test_the_weights_of_mae_load_and_give_the_maps_of_four_blocks(tmp_path):
    source = transformer()
    encoder = bare_encoder(TINY, num_bands=13)
    matched = load_into_encoder(encoder, mae_file(tmp_path / "mae.pth", source), modality="s2_l1c")
    assert matched.layout == "vit"
    assert not matched.missing + matched.unexpected + matched.reshaped
    image = torch.rand(1, 13, 224, 224)
    with torch.no_grad():
        features = encoder.eval()(image)
        blocks = source.forward_intermediates(
            image, indices=[2, 5, 8, 11], norm=False, intermediates_only=True
        )
    assert [tuple(one.shape[1:]) for one in features] == [
        (13, 224, 224),
        (0, 112, 112),
        (192, 56, 56),
        (192, 28, 28),
        (192, 14, 14),
        (192, 7, 7),
    ]
    # The map of stride 16 has the transformer's own grid: it is its block as it is.
    assert torch.equal(features[4], blocks[2])
    assert torch.equal(features[0], image)


@pytest.mark.parametrize(
    ("layout", "prefix"),
    [("dino", "module.backbone."), ("moco-v3", "module.base_encoder."), ("vit", ""), ("vit", "module.")],
)
def test_transformers_of_other_projects_load_by_their_names(tmp_path, layout, prefix):
    source = transformer(bands=2)
    tensors = {f"{prefix}{name}": value for name, value in source.state_dict().items()}
    torch.save(tensors, tmp_path / "x.pth")
    encoder = bare_encoder(TINY, num_bands=2)
    assert load_into_encoder(encoder, tmp_path / "x.pth", modality="s1_grd").layout == layout
    assert torch.equal(encoder.model.blocks[11].mlp.fc2.weight, source.blocks[11].mlp.fc2.weight)


def test_a_transformer_for_another_encoder_says_which_encoder_it_is_for(tmp_path):
    path = mae_file(tmp_path / "mae.pth", transformer())
    with pytest.raises(
        WeightsError, match=r"192 wide with patches of 16 px.*encoder: tu-vit_tiny_patch16_224"
    ):
        load_into_encoder(bare_encoder("resnet18", num_bands=13), path, modality="s2_l1c")
    with pytest.raises(WeightsError, match=r"reshaped \(model.patch_embed.proj.weight \(192, 13, 16, 16\)"):
        load_into_encoder(bare_encoder(TINY, num_bands=9), path, modality="s2_l1c")


def test_a_frozen_transformer_is_the_pretrained_one_and_every_other_weight_learns(tmp_path):
    recipe = TransferRecipe.model_validate(
        {
            "data": {"store": "unused"},
            "encoder": TINY,
            "framework": "upernet",
            "mode": "frozen",
            "weights": str(mae_file(tmp_path / "mae.pth", transformer())),
        }
    )
    network, _, matched = build_transfer(recipe, num_classes=9)
    assert matched is not None
    assert len(matched.loaded) == len(network.encoder.state_dict())
    network.train()(torch.rand(2, 13, 64, 64)).sum().backward()
    assert all(one.grad is None for one in network.encoder.parameters())
    rest = [*network.decoder.parameters(), *network.segmentation_head.parameters()]
    assert all(one.grad is not None for one in rest)


def test_every_weight_of_a_transformer_learns_when_finetuned():
    network = segmentation_network("fpn", encoder=TINY, num_bands=2, num_classes=3)
    network.train()(torch.rand(1, 2, 64, 64)).sum().backward()
    assert all(one.grad is not None for one in network.encoder.parameters())
    freeze(network.encoder)
    assert not any(one.requires_grad for one in network.encoder.parameters())


def test_a_transformer_comes_back_from_its_file(tmp_path):
    encoder = bare_encoder(TINY, num_bands=2).eval()
    save_encoder(
        encoder, tmp_path / "e.safetensors", card=EncoderCard(TINY, "s1_grd", ("VV", "VH"), "scaled", "x")
    )
    image = torch.rand(1, 2, 64, 64)
    with torch.no_grad():
        expected, found = encoder(image), load_encoder(tmp_path / "e.safetensors")(image)
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
