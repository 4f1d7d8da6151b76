import numpy as np
import pytest
import torch
from torch import nn

from noldo.errors import ConfigError
from noldo.models.frameworks import segmentation_network
from noldo.models.freezing import freeze, keep_still
from noldo.models.fusion import LateFusion, MiddleFusion, fusion_network
from noldo.models.input_step import InputStep
from noldo.models.padding import cut_to, padded
from noldo.products import S2_NINE_BANDS
from noldo.quantization import band_ranges, quantize

FRAMEWORKS = ("unet", "pspnet", "deeplabv3plus", "fpn", "upernet")
PUBLISHED_PARAMETERS = {
    ("middle", 13): 56_058_521, ("middle", 9): 56_045_977, ("late", 13): 65_072_754, ("late", 9): 65_060_210,
}  # fmt: skip
FROZEN_PARAMETERS = {"pspnet": (8, 825_224), "deeplabv3plus": (9, 3_171_609), "fpn": (13, 2_609_549)}


def small(framework: str = "unet", **options: object) -> nn.Module:
    return segmentation_network(framework, encoder="resnet18", num_bands=2, num_classes=9, **options).eval()


@pytest.mark.parametrize(("kind", "bands"), PUBLISHED_PARAMETERS)
def test_networks_of_two_modalities_have_the_published_number_of_parameters(kind, bands):
    with torch.device("meta"):
        made = (MiddleFusion if kind == "middle" else LateFusion)(
            encoder="resnet50", s1_bands=2, s2_bands=bands, num_classes=9
        )
    assert sum(one.numel() for one in made.parameters()) == PUBLISHED_PARAMETERS[kind, bands]


@pytest.mark.parametrize("framework", FROZEN_PARAMETERS)
def test_a_frozen_encoder_leaves_the_published_number_of_parameters_to_learn(framework):
    num_classes, expected = FROZEN_PARAMETERS[framework]
    network = segmentation_network(
        framework, encoder="resnet50", num_bands=13, num_classes=num_classes, compat=True
    )
    freeze(network.encoder)
    assert sum(one.numel() for one in network.parameters() if one.requires_grad) == expected


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("side", [64, 102])
def test_every_framework_takes_any_side(framework, side):
    with torch.no_grad():
        logits = small(framework)(torch.rand(1, 2, side, side))
    assert logits.shape == (1, 9, side, side)


def test_padding_repeats_the_border_and_is_cut_off_again():
    image = torch.rand(1, 2, 5, 6)
    wide = padded(image, multiple=8)
    assert wide.shape == (1, 2, 8, 8)
    assert torch.equal(wide[..., 5:, :6], image[..., 4:, :].expand(-1, -1, 3, -1))
    assert torch.equal(cut_to(wide, image), image)
    assert padded(wide, multiple=8) is wide


def test_pspnet_sees_all_four_stages_unless_it_is_to_be_as_published():
    for compat, expected in ((True, 2), (False, 4)):
        network = small("pspnet", compat=compat).train()
        network(torch.rand(2, 2, 64, 64)).sum().backward()
        learnt = [
            stage
            for stage in range(1, 5)
            if getattr(network.encoder, f"layer{stage}")[0].conv1.weight.grad is not None
        ]
        assert len(learnt) == expected


def test_middle_fusion_sees_each_modality_alone_and_blends_the_decoders_running_statistics():
    network = MiddleFusion(encoder="resnet18", s1_bands=2, s2_bands=3, num_classes=9).train()
    s1, s2 = torch.rand(2, 2, 64, 64), torch.rand(2, 3, 64, 64)
    network(s1, s2)
    counted = {
        part: next(
            value for name, value in getattr(network, part).state_dict().items() if name.endswith("tracked")
        ).item()
        for part in ("encoder1", "encoder", "decoder")
    }
    assert counted == {"encoder1": 1, "encoder": 1, "decoder": 2}
    network.eval()
    with torch.no_grad():
        assert torch.equal(network(s1, s2)[0], network(s1, torch.rand_like(s2))[0])
        assert not torch.equal(network(s1, s2)[1], network(s1, torch.rand_like(s2))[1])


def test_weights_start_as_published():
    network = MiddleFusion(encoder="resnet18", s1_bands=2, s2_bands=3, num_classes=9)
    head = network.segmentation_head[0]
    bound = np.sqrt(6 / (16 * 9 + 9 * 9))  # Xavier-uniform
    assert head.bias.abs().max() == 0
    assert bound * 0.95 < head.weight.abs().max() <= bound
    block = network.decoder.blocks[0].conv1[0].weight
    bound = np.sqrt(6 / (block.shape[1] * 9))  # Kaiming-uniform, fan in, ReLU
    assert bound * 0.95 < block.abs().max() <= bound
    first = network.encoder1.conv1.weight
    bound = 1 / np.sqrt(first.shape[1] * 49)  # PyTorch's default, a = sqrt(5)
    assert bound * 0.9 < first.abs().max() <= bound


def test_a_frozen_encoder_stays_still_in_training_unless_it_is_to_be_as_published():
    network = small().train()
    freeze(network.encoder)
    before = network.encoder.bn1.running_mean.clone()
    keep_still(network.encoder)
    network(torch.rand(2, 2, 64, 64))
    assert torch.equal(network.encoder.bn1.running_mean, before)
    network.train()  # as published: only the gradients are gone
    network(torch.rand(2, 2, 64, 64))
    assert not torch.equal(network.encoder.bn1.running_mean, before)


@pytest.mark.parametrize(
    ("framework", "encoder", "words"),
    [
        ("segnet", "resnet18", "framework 'segnet': expected one of unet"),
        ("unet", "resnet19", "encoder 'resnet19': expected resnet18"),
        ("unet", "tu-nothing", "timm has no model of this name"),
    ],
)
def test_unknown_parts_are_one_line(framework, encoder, words):
    with pytest.raises(ConfigError, match=words):
        segmentation_network(framework, encoder=encoder, num_bands=2, num_classes=9)


def test_encoders_of_timm_fit_the_decoders():
    network = segmentation_network("unet", encoder="tu-mobilenetv3_small_050", num_bands=2, num_classes=3)
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 2, 70, 70)).shape == (1, 3, 70, 70)


# ---- the step before the network -----------------------------------------------------------------------------


def stored(rng: np.random.Generator, side: int = 12) -> dict[str, torch.Tensor]:
    """A batch of two as a store holds it."""
    sizes = {"s2_l1c_10m": (4, 1), "s2_l1c_20m": (6, 2), "s2_l1c_60m": (3, 6)}
    batch = {
        name: torch.from_numpy(
            rng.integers(0, 6_000, (2, bands, side // factor, side // factor)).astype(np.uint16)
        )
        for name, (bands, factor) in sizes.items()
    }
    s1 = rng.integers(-4_000, 1_000, (2, 2, side, side)).astype(np.int16)
    return batch | {"s1_grd_10m": torch.from_numpy(s1)}


def test_compat_inputs_are_the_published_bytes():
    batch = stored(np.random.default_rng(0))
    found = InputStep(("s1_grd", "s2_l1c"), bands=13, kind="compat")(batch)
    blue = batch["s2_l1c_10m"][:, 0].numpy().astype(np.float64)
    expected = quantize(blue[:, None], band_ranges("ssl4eo_uint8", product="s2_l1c", bands=["B2"]))[:, 0]
    np.testing.assert_array_equal((found["s2_l1c"][:, 1] * 255).round(), expected)
    db = batch["s1_grd_10m"].numpy() / 100
    expected = quantize(db, band_ranges("ssl4eo_uint8", product="s1_grd", bands=["VV", "VH"]))
    assert ((found["s1_grd"] * 255).round().numpy() != expected).mean() < 1e-3  # float32 beside float64


def test_scaled_inputs_differ_from_the_published_ones_by_less_than_a_byte():
    batch = stored(np.random.default_rng(1))
    for bands in (13, 9, 3):
        scaled = InputStep(("s2_l1c",), bands=bands, kind="scaled")(as_loaded(batch, bands))["s2_l1c"]
        compat = InputStep(("s2_l1c",), bands=bands, kind="compat")(as_loaded(batch, bands))["s2_l1c"]
        assert scaled.shape[1] == bands
        gap = scaled - compat
        assert gap.min() > -1e-6
        assert gap.max() < 1 / 255 + 1e-6


def as_loaded(batch: dict[str, torch.Tensor], bands: int) -> dict[str, torch.Tensor]:
    """What `NoldoS12(bands=...)` would have loaded."""
    if bands == 13:
        return batch
    ten = batch["s2_l1c_10m"] if bands == 9 else batch["s2_l1c_10m"][:, :3]
    if bands == 3:
        return {"s2_l1c_10m": ten}
    twenty = [i for i, band in enumerate(("B5", "B6", "B7", "B8A", "B11", "B12")) if band in S2_NINE_BANDS]
    return {"s2_l1c_10m": ten, "s2_l1c_20m": batch["s2_l1c_20m"][:, twenty]}


def test_pixels_without_data_become_the_mean():
    batch = stored(np.random.default_rng(2))
    batch["s2_l1c_10m"][0, 0, 0, 0] = 65_535
    batch["s1_grd_10m"][1, 1, 2, 3] = -32_768
    found = InputStep(("s1_grd", "s2_l1c"), bands=13)(batch)
    assert found["s2_l1c"][0, 1, 0, 0] == found["s1_grd"][1, 1, 2, 3] == 0.5


def test_imported_bytes_are_taken_as_they_are():
    values = torch.arange(2 * 13 * 256, dtype=torch.int64).remainder(256).to(torch.uint8).view(2, 13, 16, 16)
    found = InputStep(("s2_l1c",), kind="compat")({"s2_l1c_uint8_10m": values})["s2_l1c"]
    assert torch.equal((found * 255).round().to(torch.uint8), values)


def test_the_step_has_no_weights_and_names_what_it_cannot_take():
    step = InputStep(("s1_grd", "s2_l1c"), bands=9)
    assert not step.state_dict()
    assert step.bands("s2_l1c") == S2_NINE_BANDS
    with pytest.raises(ConfigError, match="modality dynamic_world"):
        InputStep(("dynamic_world",))
    with pytest.raises(ConfigError, match="s1_grd_10m is not in the sample"):
        step({})


@pytest.mark.parametrize("encoder", ["tu-resnet18", "tu-mobilenetv3_small_050"])
def test_pspnet_keeps_an_eighth_of_the_image_with_encoders_of_timm_too(encoder):
    network = segmentation_network("pspnet", encoder=encoder, num_bands=3, num_classes=2).eval()
    with torch.no_grad():
        assert network.encoder(torch.zeros(1, 3, 64, 64))[-1].shape[-1] == 8
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)


@pytest.mark.parametrize(
    ("framework", "encoder"),
    [("pspnet", "tu-densenet121"), ("deeplabv3plus", "tu-densenet121"), ("unet", "tu-mixer_s16_224")],
)
def test_encoders_that_do_not_fit_a_decoder_are_one_line(framework, encoder):
    with pytest.raises(ConfigError, match=f"{encoder}: can't be built") as told:
        segmentation_network(framework, encoder=encoder, num_bands=3, num_classes=2)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", ["middle", "late"])
@pytest.mark.parametrize("encoder", ["tu-mixer_s16_224", "tu-swin_tiny_patch4_window7_224"])
def test_two_modalities_take_no_encoder_without_features_of_any_side(kind, encoder):
    with pytest.raises(ConfigError, match=f"{encoder}.*: can't be built"):
        fusion_network(kind, encoder=encoder, s1_bands=2, s2_bands=3, num_classes=2)


def test_a_network_is_tried_without_a_trace():
    torch.manual_seed(0)
    before = segmentation_network("unet", encoder="resnet18", num_bands=3, num_classes=2)
    drawn = torch.rand(1)
    assert before.training
    counts = [one for name, one in before.named_buffers() if name.endswith("num_batches_tracked")]
    assert not torch.stack(counts).any()
    torch.manual_seed(0)
    segmentation_network("unet", encoder="resnet18", num_bands=3, num_classes=2)
    assert torch.equal(torch.rand(1), drawn)
