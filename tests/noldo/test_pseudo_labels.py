import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from noldo import NoldoS12
from noldo.__main__ import main
from noldo.label_store import write_label_store
from noldo.legend import DYNAMIC_WORLD
from noldo.manifest import read_manifest
from noldo.prediction.mapper import load_mapper
from noldo.prediction.views import Views, averaged
from noldo.store import open_store
from noldo.training.runs import run_recipe
from noldo.verify import verify
from tests.noldo.training_set import pretrain_recipe, transfer_recipe, write_training_set


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and finished runs of both modalities on it."""
    root = tmp_path_factory.mktemp("pseudo")

    def hide(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        pixels["s2_l1c_10m"][0, 0, :, :5] = 65_535

    write_training_set(root / "store", then=hide)
    for modality in ("s2_l1c", "s1_grd"):
        run_recipe(transfer_recipe(root / "store", modality=modality, epochs=12), out=root / modality)
    return root


def label(place: Path, out: Path, *more: str, runs: tuple[str, ...] = ("s2_l1c",)) -> None:
    folders = [str(place / run) for run in runs]
    main(["pseudo-label", *folders, "--store", str(place / "store"), "--out", str(out), *more])


def shards_of(labels: Path) -> list[Path]:
    folder = labels / "nol.zarr/pseudo_dynamic_world_10m/c"
    return sorted(path for path in folder.rglob("*") if path.is_file())


def masks(place: Path, out: Path, season: int = 0) -> np.ndarray:
    found = NoldoS12(place / "store", split=None, season=season, label_store=out)
    return np.stack([sample["mask"].numpy() for sample in found])


def test_a_store_is_labelled_by_a_network_season_by_season_and_can_be_learnt_from(place, tmp_path, capsys):
    label(place, tmp_path / "labels", "--no-flips")
    assert "pseudo_dynamic_world of 8 locations" in capsys.readouterr().out
    assert verify(tmp_path / "labels").problems == ()
    own = NoldoS12(place / "store", split=None, season=1)
    agree = np.mean(
        [
            np.mean(sample["mask"].numpy() == one)
            for sample, one in zip(own, masks(place, tmp_path / "labels", 1), strict=True)
        ]
    )
    assert agree > 0.8
    data = {
        "store": str(place / "store"),
        "num_workers": 0,
        "bands": 3,
        "label_store": str(tmp_path / "labels"),
    }
    student = pretrain_recipe(
        place / "store", data=data, modalities=["s1_grd"], method={"selection": None}, epochs=1
    )
    assert run_recipe(student, out=tmp_path / "student")["epochs"] == 1


def test_what_a_network_did_not_see_has_no_label(place, tmp_path):
    label(place, tmp_path / "labels", "--no-flips")
    assert (masks(place, tmp_path / "labels")[0, :5] == 255).all()
    assert (masks(place, tmp_path / "labels")[1] != 255).all()


def test_networks_of_both_modalities_agree_or_leave_a_pixel_without_a_label(place, tmp_path):
    both = ("s2_l1c", "s1_grd")
    for name in both:
        label(place, tmp_path / name, "--no-flips", runs=(name,))
    label(place, tmp_path / "both", "--no-flips", "--fusion", "agreement", runs=both)
    first, second = (masks(place, tmp_path / name) for name in both)
    found = masks(place, tmp_path / "both")
    seen = (first != 255) & (second != 255)
    assert np.array_equal(found[seen], np.where(first == second, first, 255)[seen])
    told = read_manifest(tmp_path / "both" / "nol.json").label_provenance["pseudo_dynamic_world"]
    assert [one["run"] for one in told["networks"]] == list(both)
    assert (told["fusion"], told["flips"]) == ("agreement", False)


def test_labelling_goes_on_where_it_was_killed_and_never_over_other_labels(place, tmp_path, capsys):
    label(place, tmp_path / "whole", "--no-flips")
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shards = shards_of(tmp_path / "killed")
    assert len(shards) == 3
    shards[-1].unlink()
    (tmp_path / "killed/nol.json").unlink()
    kept = shards[0].stat().st_mtime_ns
    label(place, tmp_path / "killed", "--no-flips")
    assert shards[0].stat().st_mtime_ns == kept
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file():
            other = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
            assert path.read_bytes() == other.read_bytes(), path
    capsys.readouterr()
    with pytest.raises(SystemExit):
        label(place, tmp_path / "killed", "--scales", "0.5,1")
    assert "holds labels that were made of something else" in capsys.readouterr().err


def test_hard_labels_are_the_argmax_of_what_is_soft_which_is_right_to_half_a_step(place, tmp_path, capsys):
    label(place, tmp_path / "labels", "--soft", "--no-flips")
    label(place, tmp_path / "hard", "--no-flips")
    mapper = load_mapper(place / "s2_l1c")
    images = NoldoS12(place / "store", modalities=("s2_l1c",), bands=3, split=None, season="all", labels=None)
    store = open_store(tmp_path / "labels/nol.zarr")
    stored = store["pseudo_dynamic_world_probability_10m"]
    assert stored.attrs["bands"] == list(DYNAMIC_WORLD.classes)
    assert (stored.attrs["scale"], stored.attrs["no_data"]) == (1 / 254, 255)
    hard = np.stack([masks(place, tmp_path / "labels", season) for season in range(3)], axis=1)
    for sample, row, labels in zip(images, images.store_rows, hard, strict=True):
        batch = {name: one for name, one in sample.items() if isinstance(one, torch.Tensor)}
        expected = averaged(mapper.network, mapper.inputs(batch), views=Views(flips=False)).cpu().numpy()
        side = expected.shape[-1]
        soft = stored[row][..., :side, :side]
        seen = labels[..., :side, :side] != 255
        assert (soft.swapaxes(1, 2).swapaxes(2, 3)[~seen] == 255).all()
        error = abs(soft / 254 - expected).max(axis=1)
        assert error[seen].max() < 1 / 255
        top = soft.max(axis=1)
        is_clear = seen & ((soft == top[:, None]).sum(axis=1) == 1)
        assert is_clear.mean() > 0.5
        assert np.array_equal(soft.argmax(axis=1)[is_clear], labels[..., :side, :side][is_clear])
    for season in range(3):
        assert np.array_equal(hard[:, season], masks(place, tmp_path / "hard", season))


def test_a_store_with_what_is_soft_is_whole_says_so_and_is_compared_like_others(place, tmp_path, capsys):
    label(place, tmp_path / "labels", "--soft", "--no-flips")
    assert verify(tmp_path / "labels").problems == ()
    told = read_manifest(tmp_path / "labels/nol.json")
    array = "pseudo_dynamic_world_probability_10m"
    assert told.label_provenance["pseudo_dynamic_world"]["soft"] == {
        "array": array, "scale": 1 / 254, "no_data": 255,
    }  # fmt: skip
    assert [one.name for one in told.arrays] == ["pseudo_dynamic_world_10m", array]
    main(["info", str(tmp_path / "labels")])
    assert "locations" in capsys.readouterr().out
    against = ("--of", "dynamic_world", "--against", "pseudo_dynamic_world")
    main(["compare-labels", str(place / "store"), "--label-store", str(tmp_path / "labels"), *against])
    shutil.copytree(tmp_path / "labels", tmp_path / "killed")
    shard = next(path for path in (tmp_path / "killed/nol.zarr" / array / "c").rglob("*") if path.is_file())
    content = bytearray(shard.read_bytes())
    content[10] ^= 255
    shard.write_bytes(content)
    label(place, tmp_path / "killed", "--soft", "--no-flips")
    for path in (tmp_path / "labels").rglob("*"):
        if path.is_file():
            other = tmp_path / "killed" / path.relative_to(tmp_path / "labels")
            assert path.read_bytes() == other.read_bytes(), path
    with pytest.raises(SystemExit):
        label(place, tmp_path / "killed", "--no-flips")
    assert "holds labels that were made of something else" in capsys.readouterr().err


def test_a_damaged_shard_is_made_again(place, tmp_path):
    label(place, tmp_path / "labels", "--no-flips")
    before = masks(place, tmp_path / "labels")
    shard = shards_of(tmp_path / "labels")[0]
    content = bytearray(shard.read_bytes())
    content[10] ^= 255
    shard.write_bytes(content)
    label(place, tmp_path / "labels", "--no-flips")
    assert np.array_equal(masks(place, tmp_path / "labels"), before)


def test_networks_of_two_legends_are_not_fused(place, tmp_path, capsys, store_of_osm):
    run_recipe(transfer_recipe(place / "store", data=store_of_osm, epochs=1), out=place / "osm")
    with pytest.raises(SystemExit):
        label(place, tmp_path / "labels", runs=("s2_l1c", "osm"))
    assert "fuse those of one legend" in capsys.readouterr().err
    label(place, tmp_path / "alone", "--no-flips", runs=("osm",))
    assert (tmp_path / "alone/nol.zarr/pseudo_osm_10m").is_dir()


@pytest.fixture
def store_of_osm(place: Path, tmp_path: Path) -> dict[str, object]:
    """Data of a recipe whose labels have 13 classes."""
    from noldo.manifest import SourceRecord
    from noldo.paths import find_subset

    source = SourceRecord(product="osm", collection="made up", licence="CC0 1.0", attribution="Made up.")
    write_label_store(
        find_subset(place / "store"), tmp_path / "osm-labels", product="osm", source=source, provenance={},
        maps=lambda row: np.full((3, 66, 66), row, np.uint8),
    )  # fmt: skip
    return {
        "store": str(place / "store"), "num_workers": 0, "bands": 3,
        "label_store": str(tmp_path / "osm-labels"), "label_source": "osm",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scales", "big"], "--scales big: expected numbers"),
        (["--scales", "0"], "expected numbers above 0"),
        (["--min-confidence", "1.5"], "min_confidence 1.5: expected 0 .. 1"),
        (["--subset", "dw"], "dw.zarr: no store here"),
    ],
)
def test_what_is_wrong_is_one_line(place, tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit):
        label(place, tmp_path / "labels", *arguments)
    assert words in capsys.readouterr().err.strip().splitlines()[-1]


def test_labels_are_never_written_over_their_images(place, capsys):
    with pytest.raises(SystemExit):
        label(place, place / "store")
    assert "give another folder for the labels" in capsys.readouterr().err
    assert json.loads((place / "store/nol.json").read_text())["subset"] == "nol"
