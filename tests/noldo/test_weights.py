import argparse
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from noldo.errors import WeightsError
from noldo.models.frameworks import bare_encoder
from noldo.models.fusion import LateFusion, MiddleFusion
from noldo.weights.encoders import (
    EncoderCard,
    load_encoder,
    load_into_encoder,
    read_card,
    save_encoder,
)
from noldo.weights.layouts import encoder_tensors

CARD = EncoderCard("resnet18", "s1_grd", ("VV", "VH"), "scaled", "runs/x", epoch=3)


def encoder(bands: int = 2, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return bare_encoder("resnet18", num_bands=bands)


def equal(first: nn.Module, second: nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


def lightning(path: Path, network: nn.Module) -> Path:
    """A checkpoint as the authors' training wrote it."""
    torch.save(
        {
            "epoch": 199,
            "global_step": 160_400,
            "pytorch-lightning_version": "2.0.8",
            "state_dict": {f"net.{name}": value for name, value in network.state_dict().items()},
            "optimizer_states": [
                {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.005}]}
            ],
            "lr_schedulers": [{"best": 2.0, "num_bad_epochs": 3}],
            "hyper_parameters": {"args": argparse.Namespace(lr=0.005, label_smoothing_factor=[0.15, 0.05])},
        },
        path,
    )
    return path


@pytest.mark.parametrize("kind", [MiddleFusion, LateFusion])
def test_both_encoders_of_the_authors_checkpoints_load_bit_for_bit(tmp_path, kind):
    torch.manual_seed(1)
    network = kind(encoder="resnet18", s1_bands=2, s2_bands=3, num_classes=9)
    path = lightning(tmp_path / "weights-cromss.ckpt", network)
    first = network.encoder1 if kind is MiddleFusion else network.model1.encoder
    second = network.encoder if kind is MiddleFusion else network.model2.encoder
    for modality, source in (("s1_grd", first), ("s2_l1c", second)):
        target = encoder(2 if modality == "s1_grd" else 3, seed=5)
        matched = load_into_encoder(target, path, modality=modality)
        assert equal(target, source)
        assert not matched.missing + matched.unexpected + matched.reshaped


def named(prefix: str, source: nn.Module) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in source.state_dict().items()}


def test_encoders_of_other_projects_load_by_their_names(tmp_path):
    source, other = encoder(), encoder(seed=9)
    files = {
        "torchvision": named("", source) | {"fc.weight": torch.zeros(3), "fc.bias": torch.zeros(3)},
        "moco": {"state_dict": named("module.encoder_q.", source) | named("module.encoder_k.", other)
                 | {"module.queue": torch.zeros(2)}},
        "dino": {"teacher": named("backbone.", source) | {"head.mlp.0.weight": torch.zeros(2)},
                 "student": named("module.backbone.", other)},
        "decur": {"model": named("module.backbone_1.", source) | named("module.backbone_2.", other)},
    }  # fmt: skip
    for name, tree in files.items():
        path = tmp_path / f"{name}.pth"
        torch.save(tree, path)
        target = encoder(seed=5)
        matched = load_into_encoder(target, path, modality="s1_grd")
        assert equal(target, source), name
        assert matched.layout == {"torchvision": "encoder"}.get(name, name)


def test_another_encoder_other_bands_and_unknown_files_are_one_line_that_says_what_differs(tmp_path):
    path = tmp_path / "e.pth"
    torch.save(encoder(3).state_dict(), path)
    target = encoder(2)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(
        WeightsError, match=r"1 reshaped \(conv1.weight \(64, 3, 7, 7\) for \(64, 2, 7, 7\)\)"
    ):
        load_into_encoder(target, path, modality="s1_grd")
    with pytest.raises(WeightsError, match=r"missing \(layer1.0.conv3.weight"):
        load_into_encoder(bare_encoder("resnet50", num_bands=3), path, modality="s2_l1c")
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="none of the layouts"):
        load_into_encoder(target, path, modality="s1_grd")


def test_a_run_folder_stands_for_its_last_checkpoint(tmp_path):
    with pytest.raises(WeightsError, match="not the folder of a finished run"):
        load_into_encoder(encoder(), tmp_path, modality="s1_grd")
    network = MiddleFusion(encoder="resnet18", s1_bands=2, s2_bands=3, num_classes=9)
    (tmp_path / "checkpoints").mkdir()
    torch.save({"version": 1, "network": network.state_dict()}, tmp_path / "checkpoints" / "last.pt")
    (tmp_path / "result.json").write_text("{}")
    target = encoder(seed=3)
    load_into_encoder(target, tmp_path, modality="s1_grd")
    assert equal(target, network.encoder1)


def test_an_encoder_comes_back_from_its_file_in_three_lines(tmp_path):
    source = encoder().eval()
    path = tmp_path / "e.safetensors"
    save_encoder(source, path, card=CARD)
    assert read_card(path) == CARD
    loaded = load_encoder(path)
    assert equal(loaded, source)
    x = torch.rand(1, 2, 64, 64)
    with torch.no_grad():
        features = loaded(x)
    assert [64 // one.shape[-1] for one in features] == [1, 2, 4, 8, 16, 32]
    text = path.with_suffix(".md").read_text()
    assert "VV, VH" in text
    assert "runs/x, 3 epochs" in text


def test_a_file_without_a_card_is_no_encoder_of_ours(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="not an encoder that `noldo encoder` wrote"):
        load_encoder(path)


def test_a_layout_without_the_modality_says_which_it_has():
    tensors = {f"backbone_{one}.conv1.weight": torch.zeros(1) for one in (1, 2)}
    with pytest.raises(WeightsError, match="encoders of s1_grd, s2_l1c, not of s2_l2a"):
        encoder_tensors(tensors, modality="s2_l2a", where="x")


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "mobilenetv3_small_050", "efficientnet_b0"])
def test_weights_of_a_timm_model_load_into_the_encoder_that_is_made_of_it(tmp_path, name):
    theirs = timm.create_model(name)
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    encoder = bare_encoder(f"tu-{name}", num_bands=3)
    matched = load_into_encoder(encoder, tmp_path / "timm.pth", modality="s2_l1c")
    assert (matched.layout, matched.missing, matched.reshaped) == ("timm", (), ())
    assert len(matched.loaded) == len(encoder.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        features = timm.create_model(name, features_only=True).eval()
        features.load_state_dict(
            {key.removeprefix("model."): one for key, one in encoder.state_dict().items()}
        )
        assert torch.equal(encoder.eval()(image)[-1], features(image)[-1])


def test_weights_that_are_no_numbers_are_refused_and_nothing_is_loaded(tmp_path):
    broken = bare_encoder("resnet18", num_bands=3)
    with torch.no_grad():
        broken.layer1[0].bn1.weight[0] = torch.nan
    torch.save(broken.state_dict(), tmp_path / "nan.pth")
    encoder = bare_encoder("resnet18", num_bands=3)
    before = encoder.conv1.weight.clone()
    with pytest.raises(WeightsError, match=r"bn1.weight has values that are no numbers"):
        load_into_encoder(encoder, tmp_path / "nan.pth", modality="s2_l1c")
    assert torch.equal(encoder.conv1.weight, before)
