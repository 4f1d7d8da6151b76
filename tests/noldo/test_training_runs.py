import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from noldo.errors import (
    CheckpointError,
    ConfigError,
    DivergedError,
    MissingExtraError,
    RunInterruptedError,
    StoreError,
    WeightsError,
)
from noldo.label_store import write_label_store
from noldo.manifest import SourceRecord
from noldo.paths import find_subset
from noldo.rows import SPLITS
from noldo.training.evaluating import Judged, evaluate_run
from noldo.training.run_folder import RunFolder, read_checkpoint
from noldo.training.runs import Running, is_finished, run_recipe
from tests.noldo.made_up_data_set import DataSet
from tests.noldo.training_set import (
    SIDE,
    TEST,
    TRAIN,
    VAL,
    Change,
    metrics_of,
    pretrain_recipe,
    transfer_recipe,
    write_training_set,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return write_training_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def pretrained(store: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pretrained"
    run_recipe(pretrain_recipe(store.root), out=out)
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(RunFolder(out).checkpoint("last"))["network"]


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def stop_after(num_looks: int) -> Running:
    """Asks to stop after so many looks at the losses."""
    looks = iter(range(10_000))
    return Running(stop=lambda: next(looks) >= num_looks - 1)


def test_pretraining_leaves_recipe_environment_metrics_checkpoints_and_a_result(pretrained):
    assert is_finished(pretrained)
    recipe = json.loads((pretrained / "recipe.json").read_text())
    assert recipe["method"]["smoothing"]["prior_share"] == 0.15
    assert json.loads((pretrained / "environment.json").read_text())["packages"]["torch"]
    lines = RunFolder(pretrained).metrics()
    train, val = [one for one in lines if "train" in one], [one for one in lines if "val" in one]
    assert len(train) == 4
    assert len(val) == 2
    for one in train:
        assert 0 <= one["waited"] <= 1
        terms = one["train"]
        assert terms["loss"] == pytest.approx(
            terms["seg_s1"] + terms["seg_s2"] + terms["con_s1"] + terms["con_s2"], rel=1e-5
        )
    assert {"miou", "s1_grd.miou", "s2_l1c.miou", "loss"} <= set(val[0]["val"])
    assert [path.name for path in sorted((pretrained / "checkpoints").glob("epoch-*"))] == [
        "epoch-0001.pt", "epoch-0002.pt",
    ]  # fmt: skip


def test_pretraining_ends_with_scores_of_whole_patches_of_val_for_each_modality(pretrained):
    result = json.loads((pretrained / "result.json").read_text())
    assert set(result["outputs"]) == {"s1_grd", "s2_l1c"}
    assert (result["split"], result["num_locations"]) == ("val", len(VAL))
    for one in result["outputs"].values():
        assert np.sum(one["confusion"]) == one["num_pixels"] == result["num_pixels"]
        assert one["num_pixels"] > 0.9 * len(VAL) * SIDE**2
    mean = np.mean([one["scores"]["miou"] for one in result["outputs"].values()])
    assert result["scores"]["miou"] == pytest.approx(mean)


def test_runs_of_any_seed_are_judged_on_the_same_pixels(store, pretrained, tmp_path):
    run_recipe(pretrain_recipe(store.root, seed=99), out=tmp_path)
    truths = [
        np.sum(json.loads((folder / "result.json").read_text())["outputs"]["s1_grd"]["confusion"], axis=1)
        for folder in (pretrained, tmp_path)
    ]
    assert np.array_equal(*truths)


def test_val_may_be_judged_less_often_but_always_at_the_end(store, tmp_path):
    schedule = {"name": "constant"}
    recipe = pretrain_recipe(store.root, epochs=3, val_epochs=2, schedule=schedule)
    result = run_recipe(recipe, out=tmp_path)
    assert [one["epoch"] for one in RunFolder(tmp_path).metrics() if "val" in one] == [1, 2]
    assert result["val"]["miou"] >= 0


def test_a_plateau_needs_every_epoch_of_val(store):
    with pytest.raises(ConfigError, match="val_epochs 2: schedule plateau measures each epoch"):
        pretrain_recipe(store.root, val_epochs=2)


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights_bit_for_bit(store, pretrained, tmp_path, looks):
    recipe = pretrain_recipe(store.root)
    with pytest.raises(RunInterruptedError, match="the same command goes on"):
        run_recipe(recipe, out=tmp_path / "run", running=stop_after(looks))
    run_recipe(recipe, out=tmp_path / "run")
    assert_same_weights(tmp_path / "run", pretrained)
    assert metrics_of(tmp_path / "run") == metrics_of(pretrained)


def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(store, pretrained, tmp_path):
    """What a kill leaves: metrics of steps that were not saved, half a line, a half-written checkpoint."""
    recipe = pretrain_recipe(store.root)
    with pytest.raises(RunInterruptedError):
        run_recipe(recipe, out=tmp_path, running=stop_after(2))
    folder = RunFolder(tmp_path)
    folder.log({"step": 3, "epoch": 1, "train": {"loss": 0.0}})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "ep')
    (tmp_path / "checkpoints" / ".last.pt.partial").write_bytes(b"half")
    run_recipe(recipe, out=tmp_path)
    assert_same_weights(tmp_path, pretrained)
    assert metrics_of(tmp_path) == metrics_of(pretrained)


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others(store, pretrained, tmp_path):
    run_recipe(pretrain_recipe(store.root), out=tmp_path / "again")
    assert_same_weights(tmp_path / "again", pretrained)
    run_recipe(pretrain_recipe(store.root, seed=43), out=tmp_path / "other")
    one, other = weights(pretrained), weights(tmp_path / "other")
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_workers_change_nothing(store, pretrained, tmp_path):
    data = {"store": str(store.root), "bands": 3, "num_workers": 1}
    run_recipe(pretrain_recipe(store.root, data=data), out=tmp_path)
    assert_same_weights(tmp_path, pretrained)


def test_a_folder_of_another_recipe_is_refused_with_the_keys_that_differ(store, pretrained):
    with pytest.raises(CheckpointError, match=r"epochs: 2 there, 3 here"):
        run_recipe(pretrain_recipe(store.root, epochs=3), out=pretrained)


@pytest.mark.parametrize("modality", ["s1_grd", "s2_l1c"])
def test_one_modality_alone_learns_plainly(store, tmp_path, modality):
    recipe = pretrain_recipe(store.root, modalities=[modality], method={"selection": None}, epochs=1)
    run_recipe(recipe, out=tmp_path)
    terms = RunFolder(tmp_path).metrics()[0]["train"]
    assert terms["loss"] == pytest.approx(terms["cross_entropy"] + terms["dice"], rel=1e-5)


def test_what_was_pretrained_is_where_transfer_begins(store, pretrained, tmp_path):
    """With a frozen encoder the run ends with the encoder of pretraining, BatchNorm and all."""
    recipe = transfer_recipe(store.root, weights=str(pretrained), mode="frozen", modality="s1_grd")
    run_recipe(recipe, out=tmp_path)
    source = {
        name.removeprefix("encoder1."): value
        for name, value in weights(pretrained).items()
        if name.startswith("encoder1.")
    }
    found = {
        name.removeprefix("encoder."): value
        for name, value in weights(tmp_path).items()
        if name.startswith("encoder.")
    }
    assert found.keys() == source.keys()
    for name, value in found.items():
        assert torch.equal(value, source[name]), name


def test_as_published_the_statistics_of_a_frozen_encoder_drift(store, pretrained, tmp_path):
    recipe = transfer_recipe(
        store.root, weights=str(pretrained), mode="frozen", modality="s1_grd", compat=True
    )
    run_recipe(recipe, out=tmp_path)
    before, after = weights(pretrained), weights(tmp_path)
    first = "model.conv_stem.weight"
    assert torch.equal(after[f"encoder.{first}"], before[f"encoder1.{first}"])
    drifted = "model.bn1.running_mean"
    assert not torch.equal(after[f"encoder.{drifted}"], before[f"encoder1.{drifted}"])


def test_transfer_learns_and_its_result_counts_every_labelled_pixel_of_test(store, tmp_path):
    recipe = transfer_recipe(store.root, epochs=25, optimiser={"lr": 3e-3})
    result = run_recipe(recipe, out=tmp_path)
    assert result["num_locations"] == 1
    assert result["num_pixels"] == 66 * 66 == np.sum(result["confusion"])
    assert result["scores"]["oa"] > 0.9
    assert result["scores"]["miou"] != result["scores_of_present_classes"]["miou"]
    assert result["per_class"]["snow_and_ice"]["iou"] == 1.0  # neither in truth nor predicted: as published
    assert run_recipe(recipe, out=tmp_path) == result


def test_early_stopping_ends_with_the_best_weights_on_val(store, tmp_path):
    recipe = transfer_recipe(store.root, epochs=30, early_stopping=2, optimiser={"lr": 3e-2})
    result = run_recipe(recipe, out=tmp_path)
    val = [one["val"]["miou"] for one in RunFolder(tmp_path).metrics() if "val" in one]
    best = 1 + int(np.argmax(val))
    assert result["weights_of_epoch"] == best
    assert result["epochs"] in (best + 2, 30)


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_locations(store, tmp_path):
    recipe = transfer_recipe(store.root, optimiser={"lr": 1e30})
    with pytest.raises(
        DivergedError, match=r"in epoch \d, step \d .* at locations 1\d\d, 1\d\d; look at them"
    ):
        run_recipe(recipe, out=tmp_path)
    saved = RunFolder(tmp_path).last()
    assert saved is None or all(torch.isfinite(one).all() for one in saved["network"].values())


def test_pretraining_that_diverges_with_two_modalities_is_told_by_its_loss_as_well(store, tmp_path):
    """Selection meets confidences that are no numbers before the loss does."""
    recipe = pretrain_recipe(store.root, epochs=3, optimiser={"lr": 1e30})
    with pytest.raises(DivergedError, match="look at them"):
        run_recipe(recipe, out=tmp_path)


def without_labels(*rows_of: int) -> Change:
    def change(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        pixels["dynamic_world_10m"][list(rows_of)] = 255

    return change


def test_a_train_split_without_any_label_ends_with_one_line(tmp_path, caplog):
    store = write_training_set(tmp_path / "set", then=without_labels(*TRAIN))
    with pytest.raises(StoreError, match="no labelled pixel in a whole epoch of the train split"):
        run_recipe(pretrain_recipe(store.root, epochs=1), out=tmp_path / "run")
    losses = [one["train"]["loss"] for one in RunFolder(tmp_path / "run").metrics() if "train" in one]
    assert losses == [0.0, 0.0]
    assert "1 of the last steps had no labelled pixel, e.g. that of locations" in caplog.text


def test_a_batch_without_any_label_is_told_with_its_locations_and_survived(tmp_path, caplog):
    store = write_training_set(tmp_path / "set", then=without_labels(*TRAIN[:-2]))
    recipe = pretrain_recipe(store.root, epochs=3, batch_size=1, log_steps=5)
    assert run_recipe(recipe, out=tmp_path / "run")["epochs"] == 3
    assert "3 of the last steps had no labelled pixel" in caplog.text


def test_a_test_split_without_any_label_has_no_scores(tmp_path):
    store = write_training_set(tmp_path / "set", then=without_labels(*TEST))
    with pytest.raises(StoreError, match="split test: no labelled pixel to judge by"):
        run_recipe(transfer_recipe(store.root, epochs=1), out=tmp_path / "run")
    assert not is_finished(tmp_path / "run")


def test_a_plateau_needs_a_val_split_in_transfer_too(tmp_path):
    def move(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        rows["split"][list(VAL)] = SPLITS.index("train")

    store = write_training_set(tmp_path / "set", then=move)
    with pytest.raises(ConfigError, match=r"schedule plateau: .* has no val split to measure by"):
        run_recipe(transfer_recipe(store.root, schedule={"name": "plateau"}), out=tmp_path / "run")


def test_a_start_that_fails_leaves_the_folder_free_for_the_corrected_recipe(store, tmp_path):
    with pytest.raises(ConfigError, match="resnet19"):
        run_recipe(pretrain_recipe(store.root, encoder="resnet19"), out=tmp_path / "run")
    assert run_recipe(pretrain_recipe(store.root, epochs=1), out=tmp_path / "run")["epochs"] == 1


def test_keys_that_change_no_weights_may_change_when_a_run_goes_on(store, pretrained, tmp_path):
    with pytest.raises(RunInterruptedError):
        run_recipe(pretrain_recipe(store.root), out=tmp_path, running=stop_after(1))
    data = {"store": str(store.root), "num_workers": 1, "bands": 3}
    run_recipe(pretrain_recipe(store.root, data=data, log_steps=2, checkpoint_epochs=5), out=tmp_path)
    assert_same_weights(tmp_path, pretrained)


def test_a_run_that_goes_on_with_another_number_of_classes_is_one_line(store, tmp_path):
    other = write_label_store_of_osm(store, tmp_path / "osm")
    data = {"store": str(store.root), "num_workers": 0, "bands": 3, "label_store": str(tmp_path / "labels")}
    (tmp_path / "labels").symlink_to(store.root)
    recipe = pretrain_recipe(store.root, data=data, log_steps=1)
    with pytest.raises(RunInterruptedError):
        run_recipe(recipe, out=tmp_path / "run", running=stop_after(1))
    (tmp_path / "labels").unlink()
    (tmp_path / "labels").symlink_to(other)
    with pytest.raises(CheckpointError, match=r"its checkpoint is of another network, e.g. of other classes"):
        run_recipe(recipe, out=tmp_path / "run")


def write_label_store_of_osm(store: DataSet, out: Path) -> Path:
    shape = (len(store.layout.season_names), SIDE, SIDE)
    source = SourceRecord(product="osm", collection="made up", licence="CC0 1.0", attribution="Made up.")
    write_label_store(
        find_subset(store.root), out, product="osm", maps=lambda row: np.full(shape, row, np.uint8),
        source=source, provenance={},
    )  # fmt: skip
    return out


def test_the_last_incomplete_batch_of_test_is_left_out_if_it_is_to_be_as_published(tmp_path, caplog):
    def move(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        rows["split"][list(VAL)] = SPLITS.index("test")

    store = write_training_set(tmp_path / "set", then=move)
    counted = {}
    for size in (None, 2, 3):
        out = tmp_path / f"run-{size}"
        counted[size] = run_recipe(transfer_recipe(store.root, epochs=1, test_batch_size=size), out=out)
    assert {size: one["num_locations"] for size, one in counted.items()} == {None: 3, 2: 2, 3: 3}
    assert counted[2]["num_pixels"] < counted[3]["num_pixels"] == counted[None]["num_pixels"]
    assert "the last 1 of 3 tiles are left out, as published" in caplog.text
    assert evaluate_run(tmp_path / "run-2", where=Judged())["scores"] == counted[2]["scores"]
    with pytest.raises(ConfigError, match=r"test_batch_size 4: .* has 3 tiles, so none would count"):
        run_recipe(transfer_recipe(store.root, test_batch_size=4), out=tmp_path / "none")


def test_a_result_tells_which_weights_a_run_began_from(store, pretrained, tmp_path):
    result = run_recipe(transfer_recipe(store.root, epochs=1, weights=str(pretrained)), out=tmp_path)
    told = result["weights"]
    assert (told["file"], told["layout"], told["missing"]) == ("last.pt", "cromss-middle", 0)
    content = (pretrained / "checkpoints" / "last.pt").read_bytes()
    assert told["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["result.json", "recipe.json"])
def test_a_damaged_file_of_a_run_is_one_line(store, tmp_path, name):
    run_recipe(transfer_recipe(store.root, epochs=1), out=tmp_path)
    (tmp_path / name).write_text("{")
    with pytest.raises(CheckpointError, match=f"{name}: can't be read"):
        run_recipe(transfer_recipe(store.root, epochs=1), out=tmp_path)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"framework": "deeplabv3plus", "batch_size": 1}, "batch_size 1: deeplabv3plus normalises"),
        ({"early_stopping": 2, "val_epochs": 4}, "val_epochs 4: early_stopping counts epochs of val"),
        ({"test_batch_size": 0}, "test_batch_size: Input should be greater than or equal to 1"),
    ],
)
def test_transfer_recipes_that_cannot_run_are_refused_when_they_are_read(store, recipe, words):
    with pytest.raises(ConfigError, match=words):
        transfer_recipe(store.root, **recipe)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 2 vs 1")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StoreError, match=r"last.pt: can't be written \(.*free space"):
        RunFolder(tmp_path).save({})
    assert not RunFolder(tmp_path).checkpoint("last").exists()


def test_no_device_is_no_run(store, tmp_path):
    with pytest.raises(ConfigError, match="--devices 0: expected 1 or more"):
        run_recipe(pretrain_recipe(store.root), out=tmp_path, running=Running(devices=0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 6}, "5 locations to learn from, but a step takes 6"),
        ({"augmentation": {"crop_px": 96}}, "crop_px 96: the smallest patch of .* has 66 px"),
        ({"encoder": "resnet19"}, "encoder 'resnet19': expected resnet18"),
    ],
)
def test_recipes_that_do_not_fit_the_store_are_one_line(store, tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        run_recipe(pretrain_recipe(store.root, **changes), out=tmp_path)


def test_weights_of_another_encoder_are_one_line(store, pretrained, tmp_path):
    recipe = transfer_recipe(store.root, weights=str(pretrained), encoder="tu-mobilenetv3_small_075")
    with pytest.raises(WeightsError, match="not an encoder of this kind for s2_l1c"):
        run_recipe(recipe, out=tmp_path)


def test_labels_beyond_the_legend_stop_the_run_before_it_learns_from_them(tmp_path):
    def odd(pixels, rows):
        pixels["dynamic_world_10m"][0, :, 0, 0] = 77

    store = write_training_set(tmp_path / "set", then=odd)
    with pytest.raises(StoreError, match=r"location 100: class id 77, .* legend dynamic_world has 0 \.\. 8"):
        run_recipe(pretrain_recipe(store.root, epochs=1), out=tmp_path / "run")


def test_progress_is_told(store, tmp_path):
    told: list[tuple[int, int, str]] = []
    run_recipe(
        pretrain_recipe(store.root, epochs=1),
        out=tmp_path,
        running=Running(progress=lambda *one: told.append(one)),
    )
    assert told[0][:2] == (1, 2)
    assert "val mIoU" in told[-1][2]
    assert math.isfinite(float(told[0][2].split("loss ")[1]))


def test_curves_show_the_losses_and_scores_of_the_metrics(pretrained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(pretrained / "curves"))
    shown.Reload()
    losses = [(one.step, pytest.approx(one.value)) for one in shown.Scalars("train/loss")]
    assert losses == [
        (one["step"], one["train"]["loss"]) for one in RunFolder(pretrained).metrics() if "train" in one
    ]
    assert len(shown.Scalars("val/s1_grd.miou")) == 2


def test_curves_may_go_to_weights_and_biases_too_and_change_nothing(store, pretrained, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is optional, and not installed here")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run_recipe(pretrain_recipe(store.root), out=tmp_path / "run", running=Running(wandb="noldo"))
    assert_same_weights(tmp_path / "run", pretrained)
    (written,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    assert b"s1_grd.miou" in written.read_bytes()


def test_weights_and_biases_that_is_not_installed_is_one_line(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match="--wandb needs wandb"):
        run_recipe(pretrain_recipe(store.root), out=tmp_path, running=Running(wandb="noldo"))


def test_samples_are_drawn_with_each_kept_checkpoint_and_for_the_test_split(store, pretrained, tmp_path):
    assert sorted(path.name for path in (pretrained / "samples").iterdir()) == [
        "epoch-0001.png",
        "epoch-0002.png",
    ]
    run_recipe(transfer_recipe(store.root), out=tmp_path)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["epoch-0002.png", "test.png"]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in (tmp_path / "samples").iterdir())


@pytest.mark.parametrize("looks", [1, 2])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_network_with_dropout_goes_on_to_the_same_weights(store, tmp_path, looks, num_workers):
    """Within an epoch and at its end, with and without workers."""
    data = {"store": str(store.root), "bands": 3, "num_workers": num_workers}
    recipe = transfer_recipe(store.root, framework="fpn", data=data)
    run_recipe(recipe, out=tmp_path / "whole")
    with pytest.raises(RunInterruptedError):
        run_recipe(recipe, out=tmp_path / "stopped", running=stop_after(looks))
    run_recipe(recipe, out=tmp_path / "stopped")
    assert_same_weights(tmp_path / "stopped", tmp_path / "whole")


def test_a_ring_of_memory_gives_the_same_weights_also_when_the_run_goes_on_with_it(store, tmp_path):
    run_recipe(pretrain_recipe(store.root), out=tmp_path / "workers")
    data = {"store": str(store.root), "bands": 3, "num_workers": 2, "loader": "ring"}
    with pytest.raises(RunInterruptedError):
        run_recipe(pretrain_recipe(store.root), out=tmp_path / "ring", running=stop_after(3))
    run_recipe(pretrain_recipe(store.root, data=data), out=tmp_path / "ring")
    assert_same_weights(tmp_path / "ring", tmp_path / "workers")


def test_a_run_goes_on_with_as_many_devices_only(store, tmp_path):
    recipe = pretrain_recipe(store.root)
    with pytest.raises(RunInterruptedError):
        run_recipe(recipe, out=tmp_path, running=stop_after(1))
    folder = RunFolder(tmp_path)
    saved = folder.last()
    assert saved is not None
    folder.save({**saved, "shares": {"num_ranks": 2, "steps_per_epoch": 1}})
    with pytest.raises(CheckpointError, match="go on with as many devices"):
        run_recipe(recipe, out=tmp_path)


def test_gradients_that_are_no_numbers_are_told_with_their_locations_when_they_are_clipped(store, tmp_path):
    recipe = transfer_recipe(store.root, optimiser={"lr": 1e30, "clip_norm": 1e30})
    with pytest.raises(DivergedError, match="the loss is no number"):
        run_recipe(recipe, out=tmp_path)


def test_weights_that_are_no_numbers_are_never_saved(store, tmp_path):
    """The last step of the run breaks them, with a loss that was still finite."""
    recipe = transfer_recipe(
        store.root, epochs=1, batch_size=5, optimiser={"lr": 3e38, "name": "sgd", "weight_decay": 1e3}
    )
    with pytest.raises(DivergedError):
        run_recipe(recipe, out=tmp_path)
    assert RunFolder(tmp_path).last() is None
    assert not is_finished(tmp_path)


def test_two_processes_train_and_judge_together_even_if_one_has_nothing_to_judge(store, tmp_path):
    """One batch of val for two ranks: the other one must not wait for a forward that never comes."""
    path = tmp_path / "pretrain.yaml"
    recipe = pretrain_recipe(store.root, epochs=1, batch_size=1, method={"over_ranks": True})
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "noldo", "pretrain", str(path), "--out", str(out), "--devices", "2"],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("val mIoU") == 1  # one process speaks for both
    assert json.loads((out / "environment.json").read_text())["num_ranks"] == 2
    lines = RunFolder(out).metrics()
    assert [one["step"] for one in lines if "train" in one] == [1, 2]
    assert sum("val" in one for one in lines) == 1
