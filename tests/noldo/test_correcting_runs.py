"""Pretraining with a teacher that corrects labels."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from noldo.errors import ConfigError, RunInterruptedError
from noldo.training.correcting import Correcting, Surroundings
from noldo.training.correction_keys import Adele, Objects, Pixels
from noldo.training.run_folder import RunFolder, read_checkpoint
from noldo.training.runs import Running, run_recipe
from tests.noldo.made_up_data_set import DataSet
from tests.noldo.training_set import metrics_of, pretrain_recipe, write_training_set

PLAIN = {"smoothing": None, "selection": None}
CORRECTIONS = {
    "adele": {"name": "adele", "fall": 0.01, "confidence": 0.2, "scales": [0.75, 1.0]},
    "objects": {"name": "objects", "from_epoch": 1, "confidence": 0.0},
    "pixels": {"name": "pixels", "from_epoch": 1, "confidence": 0.1},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    def hide(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        pixels["dynamic_world_10m"][:, :, :33] = 255

    return write_training_set(tmp_path_factory.mktemp("set"), then=hide)


def recipe_of(store: DataSet, name: str, **changes):
    """One modality, five epochs of two steps; labels of the last ones are corrected."""
    tree = {
        "modalities": ["s2_l1c"],
        "epochs": 5,
        "checkpoint_epochs": 5,
        "augmentation": {"crop_px": 32},
        "method": PLAIN | {"correction": CORRECTIONS[name]},
    }
    return pretrain_recipe(store.root, **tree | changes)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(RunFolder(out).checkpoint("last"))["network"]


def corrections(out: Path) -> list[dict[str, int]]:
    return [one["correction"] for one in RunFolder(out).metrics() if "correction" in one]


def stop_after(num_looks: int) -> Running:
    looks = iter(range(10_000))
    return Running(stop=lambda: next(looks) >= num_looks - 1)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_a_run_that_corrects_labels_tells_so_and_goes_on_to_the_same_weights(store, tmp_path, name, caplog):
    """Stopped before, and in the middle of, an epoch whose labels are corrected."""
    with caplog.at_level(logging.WARNING):
        run_recipe(recipe_of(store, name), out=tmp_path / "whole")
    told = corrections(tmp_path / "whole")
    assert len(told) == 5
    assert told[0]["pixels"] == 0
    assert told[-1]["pixels"] > 0
    assert all(0 < one["labelled"] <= 4 * 32 * 32 for one in told)
    assert f"label correction ({name}): from epoch" in caplog.text
    assert "water" in caplog.text
    for looks in (3, 9):
        out = tmp_path / f"stopped-{looks}"
        with pytest.raises(RunInterruptedError):
            run_recipe(recipe_of(store, name), out=out, running=stop_after(looks))
        run_recipe(recipe_of(store, name), out=out)
        whole, found = weights(tmp_path / "whole"), weights(out)
        assert all(torch.equal(value, found[key]) for key, value in whole.items())
        assert metrics_of(out) == metrics_of(tmp_path / "whole")


def test_no_object_is_added_where_there_is_no_image(tmp_path):
    """The upper half has neither labels nor data, the lower one has data alone: all labels that come are in there."""

    def hide(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        pixels["dynamic_world_10m"][:, :, :44] = 255
        for name, fill in (("s2_l1c_10m", 65535), ("s2_l1c_20m", 65535), ("s2_l1c_60m", 65535)):
            if name in pixels:
                side = pixels[name].shape[-1]
                pixels[name][..., : side // 3, :] = fill

    store = write_training_set(tmp_path / "set", then=hide)
    found = {}
    for name, confidence in (("seen", 0.0), ("none", 0.999)):
        method = PLAIN | {"correction": CORRECTIONS["objects"] | {"confidence": confidence}}
        changes = {
            "augmentation": {"crop_px": 66, "flip": 0, "rotate": 0},
            "epochs": 2,
            "checkpoint_epochs": 2,
        }
        run_recipe(recipe_of(store, "objects", method=method, **changes), out=tmp_path / name)
        found[name] = corrections(tmp_path / name)[-1]["pixels"]
    assert found["none"] == 0
    assert 0 < found["seen"] <= 4 * 22 * 66


def test_until_a_correction_begins_the_weights_are_those_of_a_run_without(store, tmp_path):
    late = CORRECTIONS["pixels"] | {"from_epoch": 2}
    for out, correction in (("without", None), ("with", late)):
        method = PLAIN | {"correction": correction}
        run_recipe(
            recipe_of(store, "pixels", method=method, epochs=3, checkpoint_epochs=1), out=tmp_path / out
        )
    for epoch, is_same in ((2, True), (3, False)):
        one, other = (
            read_checkpoint(tmp_path / out / f"checkpoints/epoch-{epoch:04d}.pt")["network"]
            for out in ("without", "with")
        )
        assert all(torch.equal(value, other[key]) for key, value in one.items()) is is_same


@pytest.mark.parametrize("name", ["adele", "objects"])
def test_two_modalities_correct_together_with_selection(store, tmp_path, name):
    method = {"smoothing": None, "selection": {"ramp_epochs": 2}, "correction": CORRECTIONS[name]}
    changes = {"augmentation": {"crop_px": 32}, "checkpoint_epochs": 4}
    recipe = pretrain_recipe(store.root, epochs=4, method=method, **changes)
    run_recipe(recipe, out=tmp_path)
    assert corrections(tmp_path)[-1]["pixels"] > 0


def test_scales_that_disagree_are_a_term_of_the_loss(store, tmp_path):
    method = PLAIN | {"correction": CORRECTIONS["adele"] | {"consistency_weight": 1.0}}
    run_recipe(recipe_of(store, "adele", method=method), out=tmp_path)
    terms = RunFolder(tmp_path).metrics()[0]["train"]
    assert terms["scales"] > 0
    assert terms["loss"] == pytest.approx(terms["cross_entropy"] + terms["dice"] + terms["scales"], rel=1e-5)


@pytest.mark.slow
def test_two_processes_count_together_and_go_on_to_the_same_weights(store, tmp_path):
    """Each sees other samples; the counts, the classes that begin, and the teacher are those of both."""
    path = tmp_path / "pretrain.yaml"
    crops = {"crop_px": 64}  # of one pixel alone BatchNorm has no statistics
    recipe = recipe_of(store, "adele", batch_size=1, epochs=4, checkpoint_epochs=1, augmentation=crops)
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))

    def run(out: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "noldo", "pretrain", str(path), "--out", str(out), "--devices", "2"],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stderr.count("label correction (adele)") <= 1  # one process speaks for both

    run(tmp_path / "whole")
    told = corrections(tmp_path / "whole")
    assert told[-1]["pixels"] > 0
    assert all(one["labelled"] > 64 * 64 for one in told)  # more than one rank sees in its two steps
    # What a kill after the third epoch leaves.
    (tmp_path / "killed/checkpoints").mkdir(parents=True)
    for name in ("recipe.json", "metrics.jsonl", "environment.json"):
        (tmp_path / "killed" / name).write_bytes((tmp_path / "whole" / name).read_bytes())
    third = (tmp_path / "whole/checkpoints/epoch-0003.pt").read_bytes()
    (tmp_path / "killed/checkpoints/last.pt").write_bytes(third)
    run(tmp_path / "killed")
    whole, found = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(value, found[key]) for key, value in whole.items())


class Fixed(torch.nn.Module):
    """A network that says the same of every image."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits[None, :, None, None].expand(len(image), -1, *image.shape[-2:])


def correcting(settings, *logits: list[float]) -> Correcting:
    """One modality for each row of logits."""
    networks = torch.nn.ModuleList([Fixed(torch.tensor(row)) for row in logits])

    def predict(network, images):
        return {name: one(images[name]) for name, one in zip(sorted(images), network, strict=True)}

    return Correcting(
        settings,
        student=networks,
        predict=predict,
        classes=("a", "b"),
        around=Surroundings(torch.device("cpu")),
    )


def test_the_mean_probability_of_both_modalities_corrects():
    """0.95 and 0.4 for class b: its mean is 0.675."""
    labels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    images = {"s1_grd": torch.zeros(1, 2, 4, 4), "s2_l1c": torch.zeros(1, 3, 4, 4)}
    rows = [torch.tensor([1 - p, p]).log().tolist() for p in (0.95, 0.4)]
    for confidence, expected in ((0.66, 1), (0.69, 0)):
        teacher = correcting(Pixels(from_epoch=1, confidence=confidence), *rows)
        teacher.end_epoch()
        assert (teacher.corrected(images, labels).labels == expected).all()


def test_iou_is_that_of_the_labels_as_they_are_stored():
    teacher = correcting(Adele(), [1.0, 0.0])
    labels = torch.tensor([[[0, 0, 1, 255]]], dtype=torch.uint8)
    logits = {"s2_l1c": torch.tensor([[[[5.0, 0, 5, 5]], [[0.0, 5, 0, 0]]]])}
    teacher.watch(logits, labels, new=torch.tensor([[[0, 0, 0, 255]]], dtype=torch.uint8))
    assert teacher.end_epoch() == {"correction": {"pixels": 1, "labelled": 3, "classes": 0}}
    assert teacher.state()["curves"] == [[1 / 3, 0.0]]


def test_a_background_that_is_no_class_is_one_line():
    with pytest.raises(ConfigError, match=r"correction\.background c: the labels have a, b"):
        correcting(Objects(background=("c",)), [0.0, 1.0])


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"smoothing": {}}, "correction pixels: the prior of smoothing is of the labels as they are stored"),
        ({"loss": {"name": "forward", "transition": "t.csv"}}, "correction pixels: the matrix of loss forward"),
        ({"correction": {"name": "objects", "from_epoch": 1}, "loss": {"name": "sce_compat"}}, "soften_px: 1"),
        ({"correction": {"name": "objects", "soften_px": 4}}, "soften_px 4: expected an odd number"),
        ({"correction": {"name": "objects"}}, "objects can't begin before 66 epochs are done, and the run has 5"),
        ({"correction": {"name": "pixels", "windows": [2]}}, "windows.0: Input should be greater than or equal to 3"),
        ({"correction": {"name": "magic"}}, "method.correction"),
    ],
)  # fmt: skip
def test_what_cannot_be_corrected_is_refused_when_the_recipe_is_read(store, method, words):
    with pytest.raises(ConfigError, match=words):
        recipe_of(store, "pixels", method=PLAIN | {"correction": CORRECTIONS["pixels"]} | method)


def test_by_default_nothing_is_corrected_and_a_checkpoint_has_no_teacher(store, tmp_path):
    recipe = pretrain_recipe(store.root, epochs=1)
    run_recipe(recipe, out=tmp_path)
    assert json.loads((tmp_path / "recipe.json").read_text())["method"]["correction"] is None
    assert read_checkpoint(RunFolder(tmp_path).checkpoint("last"))["task"] == {}
    assert corrections(tmp_path) == []
