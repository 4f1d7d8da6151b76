"""Runs on published tiles, from recipe to maps."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from matplotlib.image import imread

from noldo.__main__ import main
from noldo.errors import ConfigError
from noldo.prediction.submission import class_ids, png_of, write_submission
from noldo.training.evaluating import Judged, evaluate_run
from noldo.training.recipe import Recipe, recipe_of, resolved
from noldo.training.run_folder import RunFolder, read_json
from noldo.training.runs import run_recipe
from noldo.weights.encoders import read_card
from tests.noldo.published_tiles import SIDE, picture, write_dfc, write_nyc, write_oem, write_tif
from tests.noldo.training_set import ENCODER


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def recipe(
    kind: str, store: Path, layout: str, *, data: dict[str, Any] | None = None, **changes: Any
) -> Recipe:
    """One epoch of one or two steps."""
    tree: dict[str, Any] = {
        "kind": kind,
        "data": {"layout": layout, "store": str(store), "num_workers": 0, **(data or {})},
        "encoder": ENCODER,
        "epochs": 1,
        "batch_size": 2,
        "precision": "32-true",
        "augmentation": {"crop_px": 32},
        "log_steps": 1,
    }
    if kind == "pretrain":
        tree["method"] = {"selection": None}
    else:
        tree["framework"] = "unet"
    return recipe_of(tree | changes, where="test")


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contest's folder, where labels of test are not there; one tile of test is partly black, another is small."""
    root = write_dfc(tmp_path_factory.mktemp("contest"))
    sar, _ = picture(0, num_bands=1, labels=(8, 6))
    sar[0, :9] = 0
    write_tif(root / "test" / "sar_images" / "TestArea_087.tif", sar)
    write_tif(root / "test" / "sar_images" / "TestArea_1003.tif", sar[:, 9:, :30])
    return root


@pytest.fixture(scope="module")
def contest_run(contest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "sar"
    wanted = recipe("transfer", contest, "dfc2025", modality="sar_amplitude", judged_split="val")
    run_recipe(wanted, out=out)
    return out


def test_a_radar_network_learns_contest_tiles_and_is_judged_on_val(contest, contest_run):
    result = read_json(contest_run / "result.json")
    assert (result["split"], result["num_locations"]) == ("val", 2)
    assert result["num_pixels"] == 2 * SIDE * SIDE
    assert next(iter(result["per_class"])) == "unknown"
    again = evaluate_run(contest_run, where=Judged(split="val"))
    assert again["confusion"] == result["confusion"]


def test_hidden_labels_of_test_are_told_before_anything_is_learnt(contest, contest_run, tmp_path):
    wanted = recipe("transfer", contest, "dfc2025", modality="sar_amplitude")
    with pytest.raises(
        ConfigError, match=r"dfc2025, split test: no labels in this split; .*judged_split: val"
    ):
        run_recipe(wanted, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="split test: no labels"):
        evaluate_run(contest_run, where=Judged(split="test"))


def test_a_fold_is_learnt_without_its_regions_and_judged_on_them(contest, tmp_path):
    wanted = recipe("transfer", contest, "dfc2025", data={"fold": "1/2"}, modality="rgb", judged_split="val")
    result = run_recipe(wanted, out=tmp_path)
    assert (result["split"], result["num_locations"]) == ("val", 2)


def test_optical_tiles_of_any_size_are_learnt(tmp_path):
    store = write_oem(tmp_path / "oem", sizes={"aachen_1.tif": (24, 50), "aachen_2.tif": (36, 34)})
    wanted = recipe("transfer", store, "openearthmap", modality="rgb", judged_split="val")
    result = run_recipe(wanted, out=tmp_path / "run")
    assert result["num_pixels"] == 36 * 34  # the other tile of val is of xBD


def test_optical_tiles_teach_the_contests_images_without_their_labels(contest, tmp_path):
    store = write_oem(tmp_path / "oem")
    for path in (contest / "train" / "labels").iterdir():
        assert path.is_file()  # there, and not read: a target has none
    target = {"layout": "dfc2025", "store": str(contest), "num_workers": 0}
    wanted = recipe(
        *("self_train", store, "openearthmap"),
        target=target,
        modality="rgb",
        judged_split="val",
        method={"rare_classes": {}},
    )
    result = run_recipe(wanted, out=tmp_path / "run")
    assert result["num_pixels"] > 0
    assert {"mixed", "trust"} <= set(
        next(one for one in RunFolder(tmp_path / "run").metrics() if "train" in one)["train"]
    )


def test_new_york_is_pretrained_on_noisy_labels_and_its_encoder_learns_others(tmp_path):
    store = write_nyc(tmp_path / "nyc")
    noisy = recipe("pretrain", store, "nyc", data={"label_source": "noisy"}, modalities=["aerial"])
    result = run_recipe(noisy, out=tmp_path / "pretrain")
    assert list(result["outputs"]["aerial"]["per_class"]) == ["background", "trees", "buildings", "roads"]
    clean = recipe("transfer", store, "nyc", modality="aerial", weights=str(tmp_path / "pretrain"))
    result = run_recipe(clean, out=tmp_path / "transfer")
    assert result["weights"]["loaded"] > 100
    assert len(result["per_class"]) == 8
    card = tmp_path / "encoder.safetensors"
    main(["encoder", str(tmp_path / "pretrain"), "--out", str(card), "--modality", "aerial"])
    assert read_card(card).bands == ("NIR", "R", "G", "B")
    assert "| NIR | 0 | 255 |" in card.with_suffix(".md").read_text()


def test_runs_are_the_same_with_workers_that_read(contest, contest_run, tmp_path):
    wanted = recipe(
        "transfer", contest, "dfc2025", data={"num_workers": 1}, modality="sar_amplitude", judged_split="val"
    )
    assert (
        run_recipe(wanted, out=tmp_path)["confusion"] == read_json(contest_run / "result.json")["confusion"]
    )


def test_a_wrong_file_that_a_worker_reads_is_one_line_in_a_terminal(tmp_path, capsys):
    root = write_dfc(tmp_path / "contest")
    for path in (root / "train" / "labels").iterdir():
        write_tif(path, np.full((1, SIDE, SIDE), 77, np.uint8), crs=None)
    wanted = recipe(
        "transfer", root, "dfc2025", data={"num_workers": 1}, modality="sar_amplitude", judged_split="val"
    )
    (tmp_path / "recipe.yaml").write_text(resolved(wanted))
    with pytest.raises(SystemExit):
        main(["transfer", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("noldo: ")]
    assert len(lines) == 1
    assert "tif: numbers 77, but the classes of open_earth_map have 0, 1" in lines[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "pretrain", "modalities": ["rgb", "s1_grd"], "method": {"selection": None}}, "two are s1_grd and s2_l1c"),
        ({"kind": "transfer", "data": {"store": "x", "fold": "1/5"}}, "fold: of tiles, not of stores"),
        ({"kind": "transfer", "data": {"store": "x", "layout": "nyc", "fold": "first"}}, "data.fold: String should match"),
        ({"kind": "transfer", "data": {"store": "x", "layout": "nyc", "class_numbers": {"water": 999}}}, "class_numbers.water"),
    ],
)  # fmt: skip
def test_recipes_that_contradict_themselves_are_told(changes, words):
    with pytest.raises(ConfigError, match=words):
        recipe_of({"data": {"store": "x"}} | changes, where="test")


def test_a_submission_holds_a_png_for_each_tile_of_test_without_class_0_where_radar_sees(
    contest, contest_run, tmp_path, capsys
):
    arguments = ["predict", str(contest_run), str(contest), "--window", "32", "--overlap", "8"]
    for name in ("one.zip", "other.zip"):
        main([*arguments, "--out", str(tmp_path / name)])
    assert f"{tmp_path / 'one.zip'}: 2 maps" in capsys.readouterr().out
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["TestArea_087.png", "TestArea_1003.png"]
        archive.extractall(tmp_path)
    whole, small = (
        np.round(255 * imread(tmp_path / name)).astype(int)
        for name in ("TestArea_087.png", "TestArea_1003.png")
    )
    assert whole.shape == (SIDE, SIDE)
    assert small.shape == (SIDE - 9, 30)
    assert (whole[:9] == 0).all()
    assert ((whole[9:] >= 1) & (whole[9:] <= 8)).all()
    assert ((small >= 1) & (small <= 8)).all()


def test_maps_of_tiles_lie_where_their_images_lie_and_are_labels_for_others(
    contest, contest_run, tmp_path, capsys
):
    out = tmp_path / "pseudo" / "train" / "labels"
    arguments = ["predict", str(contest_run), str(contest), "--split", "train", "--out", str(out)]
    main(arguments)
    main(arguments)
    assert "4 maps, 0 made now" in capsys.readouterr().out
    with rasterio.open(out / "TrainArea_1000.tif") as made:
        image = rasterio.open(contest / "train" / "sar_images" / "TrainArea_1000.tif")
        assert (made.crs, made.transform) == (image.crs, image.transform)
        assert made.tags()["legend"] == "open_earth_map"
        image.close()
    wanted = recipe(
        "transfer",
        contest,
        "dfc2025",
        data={"label_store": str(tmp_path / "pseudo")},
        modality="sar_amplitude",
        judged_split="val",
    )
    assert run_recipe(wanted, out=tmp_path / "student")["num_locations"] == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("IMAGE", "--out", "map.tif"), "a run on dfc2025 maps tiles"),
        (("FOLDER", "--out", "maps", "--season", "winter"), "tiles, for which --season means nothing"),
        (("FOLDER", "--out", "maps", "--split", "nowhere"), "nowhere/sar_images: no such folder"),
    ],
)
def test_what_a_run_on_tiles_can_not_map_is_one_line(contest, contest_run, capsys, more, words):
    places = {"IMAGE": str(contest / "val" / "sar_images" / "ValArea_001.tif"), "FOLDER": str(contest)}
    with pytest.raises(SystemExit):
        main(["predict", str(contest_run), *(places.get(word, word) for word in more)])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line


def test_the_first_class_is_never_chosen_but_where_nothing_was_seen():
    probabilities = np.zeros((3, 1, 3), np.float32)
    probabilities[:, 0, 0] = (0.9, 0.04, 0.06)
    probabilities[:, 0, 1] = np.nan
    probabilities[:, 0, 2] = (0.4, 0.3, 0.3)
    assert class_ids(probabilities).tolist() == [[2, 0, 1]]


def test_a_png_is_read_by_others_as_it_was(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 9, (17, 5), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(png_of(pixels))
    assert np.array_equal(np.round(255 * imread(tmp_path / "a.png")).astype(np.uint8), pixels)


def test_a_submission_appears_whole_or_not_at_all(tmp_path):
    def maps() -> Any:
        yield "a", np.zeros((2, 2), np.uint8)
        raise ConfigError("the second tile can't be read")

    with pytest.raises(ConfigError):
        write_submission(tmp_path / "x.zip", maps())
    assert not list(tmp_path.iterdir())
