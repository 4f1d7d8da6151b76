"""Labels by networks for published tiles, from runs to what learns them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from noldo.__main__ import main
from noldo.legend import OPEN_EARTH_MAP
from noldo.prediction.fusion import Fusion, fused, mean_of
from noldo.prediction.mapper import load_mapper
from noldo.prediction.views import Views, averaged
from noldo.training.runs import run_recipe
from tests.noldo.published_tiles import SIDE, picture, write_dfc, write_oem, write_tif
from tests.noldo.test_published_runs import recipe

TILE = "train/labels/TrainArea_1000.tif"
BLACK = 9
"""Rows of the first tile where neither radar nor camera saw anything."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contest's folder, runs of both its modalities, and one that learnt OpenEarthMap."""
    root = tmp_path_factory.mktemp("tiles")
    contest = write_dfc(root / "contest")
    for folder, num_bands in (("sar_images", 1), ("rgb_images", 3)):
        image, _ = picture(0, num_bands=num_bands, labels=(8, 6))
        image[:, :BLACK] = 0
        write_tif(contest / "train" / folder / "TrainArea_001.tif", image)
    for modality in ("sar_amplitude", "rgb"):
        wanted = recipe(
            "transfer",
            contest,
            "dfc2025",
            data={"fold": "1/2"},
            modality=modality,
            judged_split="val",
            epochs=4,
        )
        run_recipe(wanted, out=root / modality)
    store = write_oem(root / "oem")
    run_recipe(
        recipe("transfer", store, "openearthmap", modality="rgb", judged_split="val"), out=root / "optical"
    )
    return root


def label(place: Path, out: Path, *more: str, runs: tuple[str, ...] = ("rgb",), of: str = "contest") -> None:
    folders = [str(place / run) for run in runs]
    main(["pseudo-label", *folders, "--store", str(place / of), "--out", str(out), *more])


def labels_of(out: Path, tile: str = TILE) -> np.ndarray:
    with rasterio.open(out / tile) as file:
        found: np.ndarray = file.read(1)
    return found


def all_labels(out: Path) -> np.ndarray:
    return np.stack(
        [labels_of(out, str(path.relative_to(out))) for path in sorted(out.glob("train/labels/*.tif"))]
    )


def probabilities_of(place: Path, run: str, *, views: Views, name: str = "TrainArea_1000") -> torch.Tensor:
    """(1, C, Y, X) of a whole tile without gaps, by the network itself."""
    mapper = load_mapper(place / run)
    folder = {"rgb": "rgb_images", "sar_amplitude": "sar_images"}[mapper.modality]
    with rasterio.open(place / "contest/train" / folder / f"{name}.tif") as file:
        image = torch.from_numpy(file.read())[None]
    seen = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    batch = {mapper.modality: image, f"{mapper.modality}_observed": seen}
    return averaged(mapper.network, mapper.inputs(batch), views=views).cpu()


def test_tiles_are_labelled_by_several_networks_in_several_views_and_can_be_learnt_from(
    place, tmp_path, capsys
):
    both = ("sar_amplitude", "rgb")
    label(place, tmp_path / "labels", "--scales", "0.75,1", runs=both)
    assert "4 tiles, 4 labelled now" in capsys.readouterr().out
    views = Views((0.75, 1))
    expected = fused([probabilities_of(place, run, views=views) for run in both], fusion=Fusion())
    assert np.mean(labels_of(tmp_path / "labels") == expected[0].numpy()) > 0.999
    wanted = recipe(
        "transfer",
        place / "contest",
        "dfc2025",
        data={"label_store": str(tmp_path / "labels")},
        modality="sar_amplitude",
        judged_split="val",
    )
    assert run_recipe(wanted, out=tmp_path / "student")["num_locations"] == 2


def test_networks_of_tiles_agree_or_leave_a_pixel_without_a_label(place, tmp_path):
    both = ("sar_amplitude", "rgb")
    for name in both:
        label(place, tmp_path / name, "--no-flips", runs=(name,))
    label(place, tmp_path / "both", "--no-flips", "--fusion", "agreement", runs=both)
    first, second = (all_labels(tmp_path / name) for name in both)
    assert (first != second).any()
    assert np.array_equal(all_labels(tmp_path / "both"), np.where(first == second, first, 255))


def test_pixels_that_were_not_seen_or_are_not_sure_have_no_label(place, tmp_path):
    label(place, tmp_path / "all", "--no-flips", "--window", "32", "--overlap", "8")
    found = labels_of(tmp_path / "all", "train/labels/TrainArea_001.tif")
    assert (found[:BLACK] == 255).all()
    assert (found[BLACK:] != 255).all()
    sure = probabilities_of(place, "rgb", views=Views(flips=False)).amax(dim=1)[0].numpy()
    least = float(np.median(sure))
    label(place, tmp_path / "sure", "--no-flips", "--min-confidence", str(least))
    clear = abs(sure - least) > 1e-4
    assert np.array_equal((labels_of(tmp_path / "sure") != 255)[clear], (sure > least)[clear])


def test_what_labels_of_tiles_were_made_of_lies_beside_them(place, tmp_path):
    label(
        place,
        tmp_path,
        "--no-flips",
        "--fusion",
        "agreement",
        "--min-confidence",
        "0.12",
        runs=("sar_amplitude", "rgb"),
    )
    told = json.loads((tmp_path / "train.json").read_text())
    assert [one["run"] for one in told["networks"]] == ["sar_amplitude", "rgb"]
    assert all(len(one["weights_sha256"]) == 64 for one in told["networks"])
    assert (told["layout"], told["split"], told["input"]) == ("dfc2025", "train", "contest")
    assert (told["scales"], told["flips"], told["fusion"], told["min_confidence"]) == (
        [1.0],
        False,
        "agreement",
        0.12,
    )
    found = all_labels(tmp_path)
    assert (told["num_tiles"], told["num_pixels"]) == (4, found.size)
    assert told["unlabelled_share"] == np.mean(found == 255)
    labelled = found[found != 255]
    for number, (name, share) in enumerate(told["class_shares"].items()):
        assert share == pytest.approx(np.mean(labelled == number)), name


def test_labelling_tiles_goes_on_where_it_was_killed_and_never_over_other_labels(place, tmp_path, capsys):
    label(place, tmp_path / "whole", "--no-flips")
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    (tmp_path / "killed" / TILE).unlink()
    (tmp_path / "killed/train.json").unlink()
    kept = (tmp_path / "killed/train/labels/TrainArea_001.tif").stat().st_mtime_ns
    label(place, tmp_path / "killed", "--no-flips")
    assert "4 tiles, 1 labelled now" in capsys.readouterr().out
    assert (tmp_path / "killed/train/labels/TrainArea_001.tif").stat().st_mtime_ns == kept
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file():
            other = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
            assert path.read_bytes() == other.read_bytes(), path
    with pytest.raises(SystemExit):
        label(place, tmp_path / "killed", "--scales", "0.5,1")
    assert "is there, but made_of is" in capsys.readouterr().err


def test_hard_labels_of_tiles_are_the_argmax_of_what_is_soft_which_is_right_to_half_a_step(place, tmp_path):
    both = ("sar_amplitude", "rgb")
    label(place, tmp_path, "--no-flips", "--fusion", "agreement", "--soft", runs=both)
    expected = mean_of([probabilities_of(place, run, views=Views(flips=False)) for run in both])[0].numpy()
    with rasterio.open(tmp_path / TILE.replace("labels", "soft")) as file:
        soft = file.read()
        assert file.descriptions == OPEN_EARTH_MAP.classes
        assert (file.scales, file.nodata) == ((1 / 254,) * 9, 255)
    assert abs(soft / 254 - expected).max() < 1 / 255
    labels, top = labels_of(tmp_path), soft.max(axis=0)
    is_clear = (labels != 255) & ((soft == top).sum(axis=0) == 1)
    assert is_clear.any()
    assert (labels == 255).any()
    assert np.array_equal(soft.argmax(axis=0)[is_clear], labels[is_clear])
    with rasterio.open(tmp_path / "train/soft/TrainArea_001.tif") as file:
        assert (file.read()[:, :BLACK] == 255).all()
    told = json.loads((tmp_path / "train.json").read_text())
    assert told["soft"] == {"folder": "soft", "scale": 1 / 254, "no_data": 255}


def test_what_is_soft_is_added_to_labels_that_are_there(place, tmp_path, capsys):
    label(place, tmp_path, "--no-flips")
    before = all_labels(tmp_path)
    label(place, tmp_path, "--no-flips", "--soft")
    label(place, tmp_path, "--no-flips", "--soft")
    assert "4 tiles, 0 labelled now" in capsys.readouterr().out
    assert len(list(tmp_path.glob("train/soft/*.tif"))) == 4
    assert np.array_equal(all_labels(tmp_path), before)


def test_a_network_that_learnt_one_data_set_labels_the_tiles_of_another(place, tmp_path):
    label(place, tmp_path, "--no-flips", "--layout", "dfc2025", runs=("optical",))
    assert all_labels(tmp_path).shape == (4, SIDE, SIDE)


def test_tiles_by_region_are_labelled_where_their_loader_looks(place, tmp_path):
    for split in ("train", "val"):
        label(place, tmp_path, "--no-flips", "--split", split, runs=("optical",), of="oem")
    found = {
        path.relative_to(tmp_path).as_posix()
        for path in tmp_path.rglob("*")
        if path.suffix in (".tif", ".json")
    }
    names = {
        "aachen/labels/aachen_1",
        "aachen/labels/aachen_10",
        "aachen/labels/aachen_2",
        "san_jose/labels/san_jose_2",
    }
    assert found == {"train.json", "val.json"} | {f"{name}.tif" for name in names}
    wanted = recipe(
        "transfer",
        place / "oem",
        "openearthmap",
        data={"label_store": str(tmp_path)},
        modality="rgb",
        judged_split="val",
    )
    assert run_recipe(wanted, out=tmp_path / "student")["num_locations"] == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--out", "contest"), "holds the images themselves"),
        (("--subset", "nol"), "tiles, for which --subset means nothing"),
        (("--layout", "nyc"), "give runs that learnt those"),
        (("--split", "val"), "no such folder"),
        (("--layout", "noldo", "--window", "64"), "a store, for which --window means nothing"),
    ],
)
def test_what_is_wrong_with_labels_of_tiles_is_one_line(place, tmp_path, capsys, more, words):
    out = place / "contest" if "contest" in more else tmp_path / "labels"
    with pytest.raises(SystemExit):
        label(place, out, *(() if "contest" in more else more))
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
