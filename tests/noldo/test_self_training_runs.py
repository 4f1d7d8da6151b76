"""Runs of self-training: what they leave, how they go on, and what the rest of the project does with them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning_fabric import Fabric
from torch import nn

from noldo.__main__ import main
from noldo.errors import ConfigError, RunInterruptedError, StoreError
from noldo.models.input_step import InputStep
from noldo.training.paired import TARGET
from noldo.training.recipe import SelfTrainRecipe
from noldo.training.run_folder import RunFolder, read_checkpoint
from noldo.training.runs import Running, run_recipe
from noldo.training.sampler import EpochBatches, RareClassBatches, Shares, rare_class_chances
from noldo.training.self_training import SelfTraining
from tests.noldo.made_up_data_set import DataSet
from tests.noldo.training_set import TEST, self_train_recipe, transfer_recipe, write_training_set


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, another one for the target, and a run on both."""
    root = tmp_path_factory.mktemp("self")
    write_training_set(root / "store")

    def no_labels(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        pixels["dynamic_world_10m"][:, :, 1:] = 99  # no class: whoever reads them stops
        pixels["s2_l1c_10m"][0, :, :, :8] = 65_535

    write_training_set(root / "target", then=no_labels)
    run_recipe(recipe(root), out=root / "run")
    return root


def recipe(place: Path, **changes: Any) -> SelfTrainRecipe:
    target = {"store": str(place / "target"), "num_workers": 0, "bands": 3}
    found = self_train_recipe(place / "store", **({"target": target} | changes))
    assert isinstance(found, SelfTrainRecipe)
    return found


def checkpoint(out: Path) -> dict[str, Any]:
    return read_checkpoint(RunFolder(out).checkpoint("last"))


def assert_same(first: Path, second: Path) -> None:
    """Student and teacher, to the bit."""
    one, other = checkpoint(first), checkpoint(second)
    for get in (lambda saved: saved["network"], lambda saved: saved["task"]["teacher"]["network"]):
        assert get(one).keys() == get(other).keys()
        for name, value in get(one).items():
            assert torch.equal(value, get(other)[name]), name


def stop_after(num_looks: int) -> Running:
    looks = iter(range(10_000))
    return Running(stop=lambda: next(looks) >= num_looks - 1)


def test_a_run_tells_its_terms_and_is_judged_on_the_test_split_of_the_source(place):
    lines = [one["train"] for one in RunFolder(place / "run").metrics() if "train" in one]
    assert len(lines) == 4
    for terms in lines:
        assert terms["loss"] == pytest.approx(terms["cross_entropy"] + terms["mixed"], rel=1e-5)
        assert 0 <= terms["trust"] <= 1
    result = json.loads((place / "run/result.json").read_text())
    assert (result["kind"], result["split"], result["num_locations"]) == ("self_train", "test", len(TEST))
    saved = checkpoint(place / "run")
    assert saved["task"]["teacher"]["num_steps"] == 4
    student, teacher = saved["network"], saved["task"]["teacher"]["network"]
    assert any(not torch.equal(value, teacher[name]) for name, value in student.items())


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_a_killed_run_goes_on_to_the_same_student_and_teacher(place, tmp_path, looks):
    with pytest.raises(RunInterruptedError):
        run_recipe(recipe(place), out=tmp_path, running=stop_after(looks))
    run_recipe(recipe(place), out=tmp_path)
    assert_same(tmp_path, place / "run")


def test_workers_and_options_that_do_not_matter_change_nothing(place, tmp_path):
    data = {"store": str(place / "store"), "num_workers": 1, "bands": 3}
    target = {"store": str(place / "target"), "num_workers": 1, "bands": 3}
    run_recipe(recipe(place, data=data, target=target, log_steps=3), out=tmp_path)
    assert_same(tmp_path, place / "run")


def test_an_epoch_of_fixed_length_goes_through_both_sets_without_end(place, tmp_path):
    target = {"store": str(place / "target"), "num_workers": 0, "bands": 3, "max_train": 3}
    longer = recipe(place, steps_per_epoch=5, epochs=1, target=target)
    run_recipe(longer, out=tmp_path / "whole")
    assert RunFolder(tmp_path / "whole").metrics()[-1]["step"] == 5
    with pytest.raises(RunInterruptedError):
        run_recipe(longer, out=tmp_path / "stopped", running=stop_after(3))
    run_recipe(longer, out=tmp_path / "stopped")
    assert_same(tmp_path / "stopped", tmp_path / "whole")


def test_rare_classes_may_come_more_often(place, tmp_path):
    run_recipe(
        recipe(place, epochs=1, method={"rare_classes": {"temperature": 0.5}}, lovasz=1.0), out=tmp_path
    )
    terms = RunFolder(tmp_path).metrics()[0]["train"]
    expected = terms["cross_entropy"] + terms["lovasz"] + terms["mixed"]
    assert terms["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_student_is_evaluated_and_maps_and_labels_and_gives_its_encoder(place, tmp_path, capsys):
    run = str(place / "run")
    main(["evaluate", run, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["scores"] == json.loads((place / "run/result.json").read_text())["scores"]
    labels = tmp_path / "labels"
    main(["pseudo-label", run, "--store", str(place / "target"), "--out", str(labels), "--no-flips"])
    main(["predict", run, str(place / "store"), "--split", "test", "--out", str(tmp_path / "maps")])
    assert len(list((tmp_path / "maps").glob("*.tif"))) == len(TEST)
    student = transfer_recipe(
        place / "target",
        modality="s1_grd",
        data={"store": str(place / "target"), "label_store": str(labels), "num_workers": 0},
        loss={"name": "sce", "alpha": 1.0},
        dice=False,
        lovasz=1.0,
        epochs=1,
    )
    run_recipe(student, out=tmp_path / "student")
    terms = RunFolder(tmp_path / "student").metrics()[0]["train"]
    assert terms["loss"] == pytest.approx(terms["sce"] + terms["lovasz"], rel=1e-5)
    learning_on = transfer_recipe(place / "store", weights=run, epochs=1)
    assert run_recipe(learning_on, out=tmp_path / "on")["weights"]["missing"] == 0


def test_the_verb_runs_a_recipe_on_two_processes_with_shares_of_both_sets(place, tmp_path, capsys):
    path = tmp_path / "stage1.yaml"
    tree = recipe(place, epochs=1, batch_size=1, precision="bf16-mixed").model_dump(mode="json")
    path.write_text(yaml.safe_dump(tree))
    done = subprocess.run(
        [sys.executable, "-m", "noldo", "self-train", str(path), "--out", str(tmp_path / "two"), "--devices", "2"],
        capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "two/environment.json").read_text())["num_ranks"] == 2
    with pytest.raises(SystemExit):
        main(["transfer", str(path), "--out", str(tmp_path / "no")])
    assert "a recipe of kind self_train; run it with `noldo self-train`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": {"store": "x", "label_source": "osm"}}, "never read, so label_source means nothing"),
        (
            {"target": {"store": "x", "bands": 13}},
            "target.bands 13: one network sees both, and data.bands is 3",
        ),
        ({"method": {"resolution": {"low": 0.5}}}, "low 0.5 is above high 0.35"),
        ({"steps_per_epoch": 0}, "steps_per_epoch: Input should be greater"),
    ],
)
def test_recipes_that_mean_nothing_are_refused_when_they_are_read(place, changes, words):
    with pytest.raises(ConfigError, match=words):
        recipe(place, **changes)


def test_a_target_that_fills_no_step_is_one_line(place, tmp_path):
    target = {"store": str(place / "target"), "num_workers": 0, "bands": 3, "max_train": 1}
    with pytest.raises(ConfigError, match=r"target .*target, nol, split train: 1 locations"):
        run_recipe(recipe(place, target=target), out=tmp_path)


def test_rare_classes_need_labels(tmp_path):
    def nothing(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        pixels["dynamic_world_10m"][[row for row in range(10) if row not in TEST]] = 255

    store = write_training_set(tmp_path / "set", then=nothing)
    rare = self_train_recipe(store.root, method={"rare_classes": {}})
    with pytest.raises(StoreError, match="no labelled pixel to count classes of"):
        run_recipe(rare, out=tmp_path / "run")


# ---- the step --------------------------------------------------------------------------------------------------------


class Recording(nn.Module):
    """Remembers what it is shown, and says of each pixel its brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images)
        return self.scale * torch.cat([images[:, :1] * one for one in range(9)], dim=1)


def task_of(settings: SelfTrainRecipe) -> SelfTraining:
    return SelfTraining(
        settings,
        network=Recording(),
        inputs=InputStep(("s2_l1c",), bands=3),
        num_classes=9,
        device=torch.device("cpu"),
        rank=0,
        autocast=Fabric(accelerator="cpu").autocast,
    )


def batch_of(seed: int, *, hidden_rows: int = 0) -> dict[str, Any]:
    random = torch.Generator().manual_seed(seed)
    bands = torch.randint(0, 4000, (2, 3, 66, 66), generator=random).to(torch.int32)
    bands[..., :hidden_rows, :] = 65_535
    return {
        "s2_l1c_10m": bands.to(torch.uint16),
        "mask": torch.randint(0, 9, (2, 66, 66), generator=random).to(torch.uint8),
        "season": torch.zeros(2, dtype=torch.int64),
        "id": torch.tensor([seed, seed + 1]),
    }


def step(settings: SelfTrainRecipe, **target: Any) -> tuple[SelfTraining, dict[str, torch.Tensor]]:
    """One step of a network that says what it sees."""
    task = task_of(settings)
    batch = {
        **batch_of(1),
        TARGET: {key: value for key, value in batch_of(5, **target).items() if key != "mask"},
    }
    return task, dict(task.losses(task.network, batch, epoch=0))


def test_resolution_alignment_touches_the_source_alone(place):
    every = {"chance": 1.0}
    with_it, without = (
        step(recipe(place, method={"resolution": how, "strong": None}))[0] for how in (every, None)
    )
    assert torch.equal(with_it.teacher.network.seen[0], without.teacher.network.seen[0])
    assert not torch.equal(with_it.network.seen[0][:2], without.network.seen[0][:2])


def test_the_student_sees_source_and_mixed_images_and_a_strong_look_of_the_mixed_ones_alone(place):
    plain, strong = (
        step(recipe(place, method={"resolution": None, "strong": how}))[0]
        for how in (None, {"jitter": 1.0, "blur": 1.0})
    )
    (seen,), (other,), (target,) = plain.network.seen, strong.network.seen, plain.teacher.network.seen
    source, mixed = seen.chunk(2)
    assert torch.equal(source, other[:2])
    assert not torch.equal(mixed, other[2:])
    is_source, is_target = ((mixed == one).all(dim=1) for one in (source, target))
    assert (is_source | is_target).all()
    assert 0.3 < is_source.float().mean() < 0.8


def test_what_was_not_observed_of_the_target_is_learnt_only_where_the_source_covers_it(place):
    """A teacher without any trust in the rest: then only what is pasted has a loss."""
    nothing = {"resolution": None, "strong": None, "trust": {"kind": "pixel", "tau": 1.0}}
    _, hidden = step(recipe(place, method=nothing), hidden_rows=66)
    _, shown = step(recipe(place, method=nothing))
    assert hidden["mixed"] > shown["mixed"] > 0  # the same sum over fewer pixels
    assert hidden["trust"] == shown["trust"] == 0


def test_a_step_is_a_function_of_seed_step_and_rank(place):
    settings = recipe(place)
    first, again = step(settings)[1], step(settings)[1]
    assert {name: value.item() for name, value in first.items()} == {
        name: value.item() for name, value in again.items()
    }
    assert step(recipe(place, seed=7))[1]["mixed"] != first["mixed"]


# ---- orders ----------------------------------------------------------------------------------------------------------


def epochs_of(order: EpochBatches, count: int) -> list[list[int]]:
    found = []
    for order.epoch in range(count):
        found += list(order)
    return found


def test_endless_passes_are_those_of_plain_epochs_whatever_an_epoch_is():
    shares = Shares(10, batch_size=3)
    plain = epochs_of(EpochBatches(shares, seed=1), 4)
    assert epochs_of(EpochBatches(shares, seed=1, steps_per_epoch=2), 6) == plain
    assert epochs_of(EpochBatches(shares, seed=1, steps_per_epoch=12), 1) == plain


def test_rare_classes_are_drawn_as_often_as_their_formula_says():
    counts = np.array([[90, 0, 0], [90, 10, 0], [60, 40, 0], [60, 0, 0]])
    chances = rare_class_chances(counts, temperature=0.5)
    share = counts.sum(axis=0) / counts.sum()
    assert chances[2] == 0
    assert chances[1] / chances[0] == pytest.approx(np.exp((share[0] - share[1]) / 0.5))
    order = RareClassBatches(
        Shares(4, batch_size=2), seed=0, counts=counts, temperature=0.5, steps_per_epoch=2000
    )
    drawn = np.bincount(np.concatenate(list(order)), minlength=4) / 4000
    assert drawn[1] == pytest.approx(chances[0] / 4 + chances[1] / 2, abs=0.03)
    assert drawn[0] == pytest.approx(chances[0] / 4, abs=0.03)


def test_ranks_draw_rare_classes_as_one_process_would():
    counts = np.random.default_rng(0).integers(0, 3, (20, 4))
    settings: dict[str, Any] = {"seed": 0, "counts": counts, "temperature": 0.1, "steps_per_epoch": 5}
    whole = epochs_of(RareClassBatches(Shares(20, batch_size=4), **settings), 2)
    parts = [
        epochs_of(RareClassBatches(Shares(20, batch_size=2, num_ranks=2, rank=rank), **settings), 2)
        for rank in range(2)
    ]
    assert whole == [one + other for one, other in zip(*parts, strict=True)]
    assert epochs_of(RareClassBatches(Shares(20, batch_size=4), **settings), 1) == whole[:5]


# ---- classes that are ignored ----------------------------------------------------------------------------------------


def test_ignored_classes_are_neither_learnt_nor_judged(store_of_two: DataSet, tmp_path: Path):
    data = {"store": str(store_of_two.root), "num_workers": 0, "bands": 3, "ignore_classes": ["water"]}
    result = run_recipe(transfer_recipe(store_of_two.root, epochs=1, data=data), out=tmp_path / "run")
    counts = np.array(result["confusion"])
    assert counts[0].sum() == 0  # no pixel is truly water
    assert counts[4].sum() == result["num_pixels"] > 0
    assert RunFolder(tmp_path / "run").metrics()[0]["train"]["loss"] > 0


def test_a_class_that_the_legend_has_not_cannot_be_ignored(store_of_two: DataSet, tmp_path: Path):
    data = {"store": str(store_of_two.root), "num_workers": 0, "bands": 3, "ignore_classes": ["lava"]}
    with pytest.raises(ConfigError, match="ignore_classes lava: legend dynamic_world has water, trees"):
        run_recipe(transfer_recipe(store_of_two.root, data=data), out=tmp_path)


@pytest.fixture(scope="module")
def store_of_two(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Water and crops."""
    return write_training_set(tmp_path_factory.mktemp("two"))
