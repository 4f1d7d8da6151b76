"""Data sets in the layouts that others published."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from noldo.byte_images import BYTE_IMAGES, observed
from noldo.errors import ConfigError, InputError, NoldoError, RasterError
from noldo.legend import NYC_LAND_COVER, NYC_LIDAR, OPEN_EARTH_MAP
from noldo.models.input_step import InputStep
from noldo.prediction.geotiff import Place
from noldo.published.layouts import LAYOUTS
from noldo.published.opening import open_tiles
from noldo.published.places import require_same_place
from noldo.published.tiles import PublishedTiles
from tests.noldo.published_tiles import (
    BRIGHT,
    OEM_BUILDING,
    OEM_WATER,
    SIDE,
    picture,
    write_dfc,
    write_nyc,
    write_oem,
    write_tif,
)


def dfc(root: Path, split: str = "train", modality: str = "sar_amplitude", **options: Any) -> PublishedTiles:
    return open_tiles(root, layout="dfc2025", split=split, modalities=(modality,), **options)


def oem(root: Path, split: str = "train", **options: Any) -> PublishedTiles:
    return open_tiles(root, layout="openearthmap", split=split, modalities=("rgb",), **options)


def names(tiles: PublishedTiles) -> list[str]:
    return [tile.name for tile in tiles.tiles]


def test_open_earth_map_is_read_by_its_lists_and_missing_images_are_counted_and_named_once(tmp_path, caplog):
    write_oem(tmp_path)
    with caplog.at_level(logging.WARNING):
        train = oem(tmp_path)
        oem(tmp_path)
    assert names(train) == ["aachen_1", "aachen_10", "san_jose_2"]
    assert train.ids.tolist() == [0, 1, 3]  # as in the list: a missing one does not move the others
    (line,) = [record.message for record in caplog.records]
    assert "train.txt: 1 of 4 images are not there" in line
    assert "palu-tsunami 1" in line
    assert "any other is missing from this copy (no xbd_files.csv here to tell them apart)" in line
    assert train.has_labels
    assert train.legend is OPEN_EARTH_MAP


def test_images_of_xbd_and_those_that_a_copy_lacks_are_told_apart_by_the_published_list(tmp_path, caplog):
    write_oem(tmp_path)
    (tmp_path / "aachen" / "images" / "aachen_10.tif").unlink()
    (tmp_path / "xbd_files.csv").write_text(
        "palu_00000001_pre_disaster.png,palu-tsunami_3.tif\r\npalu_00000002_pre_disaster.png,palu-tsunami_1.tif\r\n"
    )
    for split in ("train", "val"):
        oem(tmp_path, split)
    train, val = (record.message for record in caplog.records)
    assert "train.txt: 2 of 4 images are not there and left out; 1 of xBD, not published" in train
    assert (
        "repository: palu-tsunami 1; 1 that are published, so that this copy is not whole: aachen 1" in train
    )
    assert train.endswith("e.g. aachen_10.tif")
    assert "val.txt: 1 of 2 images are not there and left out; 1 of xBD" in val
    assert "not whole" not in val


@pytest.mark.parametrize("listed", [b"", b"\xff\xfe", None])
def test_without_a_list_of_xbd_no_missing_image_is_said_to_be_of_it(tmp_path, caplog, listed):
    write_oem(tmp_path)
    (tmp_path / "aachen" / "images" / "aachen_10.tif").unlink()
    if listed is not None:
        (tmp_path / "xbd_files.csv").write_bytes(listed)
    oem(tmp_path)
    (line,) = (record.message for record in caplog.records)
    assert "2 of 4 images are not there and left out: aachen 1, palu-tsunami 1; those of xBD are not" in line
    assert "any other is missing from this copy" in line


def test_a_sample_is_bytes_and_labels_of_one_grid(tmp_path):
    write_oem(tmp_path)
    sample = oem(tmp_path)[0]
    image, label = picture(0, num_bands=3, labels=(OEM_BUILDING, OEM_WATER))
    assert np.array_equal(sample["rgb"].numpy(), image)
    assert np.array_equal(sample["mask"].numpy(), label[0])
    assert sample["rgb_observed"].all()
    assert (sample["id"], sample["season"], sample["crs"]) == (0, 0, 32631)
    assert sample["bounds"].tolist() == [500_000, 5_000_000 - SIDE / 2, 500_000 + SIDE / 2, 5_000_000]


def test_tiles_of_any_size_are_padded_to_one_square_without_labels(tmp_path):
    write_oem(tmp_path, sizes={"aachen_1.tif": (30, 50), "san_jose_2.tif": (20, 20)})
    train = oem(tmp_path)
    assert train.sides_px.tolist() == [50, 50, 50]
    for index, (height, width) in ((0, (30, 50)), (2, (20, 20))):
        sample = train[index]
        assert sample["rgb"].shape == (3, 50, 50)
        inside = np.zeros((50, 50), bool)
        inside[:height, :width] = True
        assert np.array_equal(sample["rgb_observed"].numpy(), inside)
        assert np.array_equal(sample["mask"].numpy() != 255, inside)


def test_crops_are_decided_by_seed_epoch_and_id_and_lie_in_the_tile(tmp_path):
    write_oem(tmp_path, sizes={"aachen_1.tif": (30, 50), "san_jose_2.tif": (20, 20)})
    whole, crops = oem(tmp_path), oem(tmp_path, crop_px=24, seed=7)
    assert crops.sides_px.tolist() == [24, 24, 24]
    seen = set()
    for epoch in range(4):
        crops.set_epoch(epoch)
        sample = crops[0]
        again = oem(tmp_path, crop_px=24, seed=7)
        again.set_epoch(epoch)
        assert torch.equal(again[0]["rgb"], sample["rgb"])
        left = round((sample["bounds"][0].item() - 500_000) * 2)
        top = round((5_000_000 - sample["bounds"][3].item()) * 2)
        seen.add((top, left))
        assert torch.equal(whole[0]["rgb"][:, top : top + 24, left : left + 24], sample["rgb"])
        assert torch.equal(whole[0]["mask"][top : top + 24, left : left + 24], sample["mask"])
        small = crops[2]
        assert small["rgb_observed"].sum() == 20 * 20
    assert len(seen) > 1


def test_hidden_labels_are_no_labels(tmp_path):
    test = oem(write_oem(tmp_path), "test")
    assert not test.has_labels
    assert (test[0]["mask"] == 255).all()


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ("", "names no image"),
        ("../../etc/passwd_1.tif", "is no name like"),
        ("aachen_1.tif aachen_1.tif", "aachen_1.tif more than once"),
        ("berlin_1.tif berlin_2.tif", "none of the 2 images that it names is there, e.g. .*berlin_1.tif"),
    ],
)
def test_a_list_that_can_not_be_followed_is_one_line(tmp_path, listed, words):
    write_oem(tmp_path)
    (tmp_path / "train.txt").write_text(listed)
    one_line(InputError, words, lambda: oem(tmp_path))


def test_a_folder_without_lists_is_one_line(tmp_path):
    one_line(InputError, r"train\.txt: can't be read", lambda: oem(tmp_path))
    one_line(InputError, "no such folder", lambda: oem(tmp_path / "nowhere"))


def test_contest_tiles_are_sorted_by_number_and_matched_by_stem(tmp_path):
    train = dfc(write_dfc(tmp_path))
    assert names(train) == ["TrainArea_001", "TrainArea_002", "TrainArea_999", "TrainArea_1000"]
    assert all(tile.label is not None and tile.label.stem == tile.name for tile in train.tiles)
    assert names(dfc(tmp_path, "test")) == ["TestArea_087", "TestArea_1003"]


def test_labels_without_a_crs_lie_where_their_radar_image_lies(tmp_path):
    sample = dfc(write_dfc(tmp_path), "val")[0]
    assert sample["crs"] == 32631
    assert sample["bounds"][3] == 5_900_000
    assert set(sample["mask"].unique().tolist()) == {OEM_BUILDING, OEM_WATER}


def test_images_without_a_crs_are_read_and_lie_nowhere_which_is_told_once(tmp_path, caplog):
    write_dfc(tmp_path)
    sar, _ = picture(0, num_bands=1, labels=(8, 6))
    write_tif(tmp_path / "val" / "sar_images" / "ValArea_001.tif", sar, crs=None)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            sample = dfc(tmp_path, "val")[0]
        dfc(tmp_path)
    assert sample["crs"] == 0
    assert sample["bounds"].isnan().all()
    (line,) = [record.message for record in caplog.records]
    assert "dfc2025, split val: 1 of 2 images have no CRS: ValArea_001; they have no coordinates" in line
    assert "bounds are NaN, and data.fold and `noldo folds` refuse them" in line


@pytest.mark.parametrize(
    ("crs", "east_m", "words"),
    [
        ("EPSG:32632", 0, r"in EPSG:32632, but its image .*sar_images/TrainArea_001\.tif in EPSG:32631"),
        ("EPSG:32631", 0.5, r"lies 1 px beside its image .*sar_images/TrainArea_001\.tif"),
        ("EPSG:32631", -300, r"lies 600 px beside its image .*sar_images/TrainArea_001\.tif"),
    ],
)
def test_a_label_that_lies_elsewhere_than_its_image_is_one_line_with_both_files(tmp_path, crs, east_m, words):
    write_dfc(tmp_path)
    _, label = picture(0, num_bands=1, labels=(OEM_BUILDING, OEM_WATER))
    path = tmp_path / "train" / "labels" / "TrainArea_001.tif"
    write_tif(path, label, crs=crs, at=(east_m, 0))
    one_line(RasterError, rf"labels/TrainArea_001\.tif: {words}", lambda: dfc(tmp_path)[0])


def test_a_label_may_be_beside_its_image_by_what_rounding_does_and_one_without_a_crs_lies_where_it_lies(
    tmp_path,
):
    write_dfc(tmp_path)
    _, label = picture(0, num_bands=1, labels=(OEM_BUILDING, OEM_WATER))
    path = tmp_path / "train" / "labels" / "TrainArea_001.tif"
    whole = dfc(tmp_path)[0]["mask"]
    for crs, east_m in (("EPSG:32631", 0.05), (None, 300)):
        write_tif(path, label, crs=crs, at=(east_m, 0))
        assert torch.equal(dfc(tmp_path)[0]["mask"], whole)


def test_a_label_with_pixels_of_another_size_lies_elsewhere():
    image = Place(40, 40, "EPSG:32631", (0.5, 0, 500_000, 0, -0.5, 5_000_000))
    coarse = replace(image, transform=(0.51, 0, 500_000, 0, -0.5, 5_000_000))
    paths = {"label_path": Path("label.tif"), "image_path": Path("image.tif")}
    one_line(
        RasterError,
        r"label\.tif: lies 0\.8 px beside its image image\.tif",
        lambda: require_same_place(coarse, image, **paths),
    )


def test_rgb_of_the_contest_is_there_for_train_alone(tmp_path):
    write_dfc(tmp_path)
    assert dfc(tmp_path, modality="rgb")[0]["rgb"].shape == (3, SIDE, SIDE)
    one_line(InputError, "val/rgb_images: no such folder", lambda: dfc(tmp_path, "val", "rgb"))


def test_radar_sees_nothing_in_black_areas_but_single_zeros_are_values(tmp_path):
    write_dfc(tmp_path)
    sar, _ = picture(0, num_bands=1, labels=(8, 6))
    sar[0, :, :7] = 0
    sar[0, 20, 20] = 0
    write_tif(tmp_path / "train" / "sar_images" / "TrainArea_001.tif", sar)
    sample = dfc(tmp_path)[0]
    expected = np.ones((SIDE, SIDE), bool)
    expected[:, :7] = False
    assert np.array_equal(sample["sar_amplitude_observed"].numpy(), expected)
    assert np.array_equal(sample["mask"].numpy() != 255, expected)
    batch = {name: value[None] for name, value in sample.items() if isinstance(value, torch.Tensor)}
    image = InputStep(("sar_amplitude",))(batch)["sar_amplitude"][0, 0]
    assert image[20, 20] == 0
    assert image[:, :7].eq(torch.tensor(BYTE_IMAGES["sar_amplitude"].fill[0])).all()
    assert torch.allclose(image[:, 7:], torch.from_numpy(sar[0, :, 7:]) / 255)


def test_unknown_is_a_class_of_its_own_unless_its_number_is_said_to_be_no_label(tmp_path):
    write_dfc(tmp_path)
    write_tif(tmp_path / "train" / "labels" / "TrainArea_001.tif", np.zeros((1, SIDE, SIDE), np.uint8))
    assert OPEN_EARTH_MAP.classes[0] == "unknown"
    assert (dfc(tmp_path)[0]["mask"] == 0).all()
    ignored = dfc(tmp_path, class_numbers={"unlabelled": 0})
    assert (ignored[0]["mask"] == 255).all()
    assert set(ignored[1]["mask"].unique().tolist()) == {OEM_BUILDING, OEM_WATER}


@pytest.mark.parametrize(
    ("path", "planes", "words"),
    [
        ("labels/TrainArea_001.tif", np.full((1, SIDE, SIDE), 9, np.uint8), "numbers 9, but the classes of open_earth_map have 0, 1"),
        ("labels/TrainArea_001.tif", np.ones((1, 30, SIDE), np.uint8), "30 x 40 px, but its image has 40 x 40"),
        ("labels/TrainArea_001.tif", np.ones((1, SIDE, SIDE), np.uint16), "1 bands of uint16, but labels has 1 of uint8"),
        ("sar_images/TrainArea_001.tif", np.ones((3, SIDE, SIDE), np.uint8), "3 bands of uint8, but sar_amplitude has 1"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_as_published_is_one_line(tmp_path, path, planes, words):
    write_dfc(tmp_path)
    write_tif(tmp_path / "train" / path, planes)
    one_line(RasterError, f"{Path(path).name}: {words}", lambda: dfc(tmp_path)[0])


def test_a_file_that_is_no_geotiff_is_one_line(tmp_path):
    write_dfc(tmp_path)
    (tmp_path / "train" / "labels" / "TrainArea_001.tif").write_bytes(b"not a picture")
    one_line(RasterError, "TrainArea_001.tif: not a GeoTIFF that can be read", lambda: dfc(tmp_path)[0])


def test_missing_labels_are_counted_and_spare_ones_are_told(tmp_path, caplog):
    write_dfc(tmp_path)
    (tmp_path / "train" / "labels" / "TrainArea_999.tif").unlink()
    one_line(InputError, "labels: 1 of 4 tiles are not there: TrainArea_999", lambda: dfc(tmp_path))
    write_tif(tmp_path / "train" / "labels" / "TrainArea_999.tif", np.ones((1, SIDE, SIDE), np.uint8))
    (tmp_path / "train" / "sar_images" / "TrainArea_999.tif").unlink()
    assert len(dfc(tmp_path)) == 3
    assert "1 labels without an image, left out: TrainArea_999" in caplog.text


def test_labels_may_lie_in_another_folder_and_other_splits_keep_their_own(tmp_path):
    write_dfc(tmp_path / "published")
    for name in names(dfc(tmp_path / "published")):
        write_tif(
            tmp_path / "pseudo" / "train" / "labels" / f"{name}.tif", np.ones((1, SIDE, SIDE), np.uint8)
        )
    options = {"label_store": tmp_path / "pseudo"}
    assert (dfc(tmp_path / "published", **options)[0]["mask"] == 1).all()
    assert OEM_WATER in dfc(tmp_path / "published", "val", **options)[0]["mask"]
    wrong = {"label_store": tmp_path / "wrong"}
    one_line(InputError, "wrong: no folder labels", lambda: dfc(tmp_path / "published", **wrong))


def test_new_york_has_four_bands_and_two_sources_of_labels(tmp_path):
    write_nyc(tmp_path)
    truth, noisy = (
        open_tiles(tmp_path, layout="nyc", split="train", modalities=("aerial",), label_source=source)
        for source in (None, "noisy")
    )
    assert (truth.legend, noisy.legend) == (NYC_LAND_COVER, NYC_LIDAR)
    sample = truth[0]
    assert sample["aerial"].shape == (4, SIDE, SIDE)
    assert len(NYC_LAND_COVER.classes) == 8
    buildings = sample["mask"] == NYC_LAND_COVER.classes.index("buildings")
    assert torch.equal(buildings, sample["aerial"].float().mean(0) > BRIGHT / 2)
    assert torch.equal(buildings, noisy[0]["mask"] == NYC_LIDAR.classes.index("buildings"))


def test_folders_and_numbers_that_are_not_published_can_be_told(tmp_path):
    write_nyc(tmp_path)
    (tmp_path / "train" / "images").rename(tmp_path / "train" / "ortho")
    options: dict[str, Any] = {"layout": "nyc", "split": "train", "modalities": ("aerial",)}
    one_line(InputError, "images: no such folder", lambda: open_tiles(tmp_path, **options))
    found = open_tiles(
        tmp_path, folders={"aerial": "ortho"}, class_numbers={"water": 5, "buildings": 4}, **options
    )
    water = found[0]["mask"] == NYC_LAND_COVER.classes.index("water")
    assert torch.equal(water, found[0]["aerial"].float().mean(0) > BRIGHT / 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": "oem"}, "layout 'oem': expected one of openearthmap, dfc2025, nyc"),
        ({"modalities": ("rgb",)}, "data.layout nyc: no modality rgb; it has aerial"),
        ({"label_source": "osm"}, "data.label_source osm: nyc has truth, noisy"),
        ({"folders": {"sar": "x"}}, "data.folders: sar is nothing that nyc has"),
        ({"class_numbers": {"forest": 1}}, "data.class_numbers: forest is no class of nyc_land_cover"),
        ({"class_numbers": {"water": 300}}, "data.class_numbers: water: 300; expected 0 .. 254"),
        ({"split": "dev"}, "split 'dev': expected one of train, val, test"),
        ({"fold": "0/3"}, "data.fold 0/3: expected e.g. 1/5"),
        ({"fold": "1/3"}, "3 folds of 1 regions"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_what_a_layout_does_not_have_is_one_line(tmp_path, options, words):
    write_nyc(tmp_path)
    wanted: dict[str, Any] = {"layout": "nyc", "split": "train", "modalities": ("aerial",)} | options
    one_line(ConfigError, words, lambda: open_tiles(tmp_path, **wanted))


def test_a_url_is_no_folder():
    one_line(ConfigError, "is read from a folder", lambda: dfc("s3://bucket/dfc"))  # type: ignore[arg-type]


def test_every_layout_gives_each_of_its_classes_a_number():
    for layout in LAYOUTS.values():
        for labels in layout.labels.values():
            table = labels.table()
            assert set(range(len(labels.legend.classes))) <= set(table.tolist())
        assert set(layout.images) <= set(BYTE_IMAGES)


def test_a_batch_without_these_images_is_one_line():
    one_line(
        ConfigError,
        "rgb and rgb_observed are not both in the batch",
        lambda: InputStep(("rgb",))({"mask": 0}),
    )


@given(arrays(np.uint8, (1, 9, 11), elements=st.sampled_from([0, 0, 0, 7])))
def test_no_data_is_black_and_a_union_of_squares_and_seeking_it_again_changes_nothing(image):
    has_data = observed(image)
    assert (image[0][~has_data] == 0).all()
    again = has_data[None].astype(np.uint8)
    assert np.array_equal(observed(again), has_data)
    mirrored = observed(np.ascontiguousarray(image[:, ::-1, ::-1]))
    assert np.array_equal(mirrored[::-1, ::-1], has_data)


def one_line(kind: type[NoldoError], words: str, call: Any) -> None:
    with pytest.raises(kind, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_fold_is_judged_by_the_labels_of_the_data_set_and_learnt_by_others(tmp_path):
    root, other = write_dfc(tmp_path / "contest"), tmp_path / "pseudo"
    shutil.copytree(root / "train" / "labels", other / "train" / "labels")
    options = {"layout": "dfc2025", "modalities": ("sar_amplitude",), "fold": "1/2", "label_store": other}
    learnt, judged = (open_tiles(root, split=split, **options) for split in ("train", "val"))
    assert all(tile.label.is_relative_to(other) for tile in learnt.tiles)
    assert all(tile.label.is_relative_to(root) for tile in judged.tiles)


def test_labels_that_a_network_made_are_class_ids_whatever_the_data_sets_own_numbers(tmp_path):
    root, other = write_nyc(tmp_path / "nyc"), tmp_path / "pseudo"
    for path in (root / "train" / "truth").iterdir():
        with rasterio.open(path) as file:
            numbers = file.read()
        ids = np.where(numbers == 0, 255, numbers - 1).astype(np.uint8)
        write_tif(other / "train" / "truth" / path.name, ids, crs=None)
    own, made = (
        open_tiles(root, layout="nyc", split="train", modalities=("aerial",), label_store=store)
        for store in (None, other)
    )
    for position in range(len(own)):
        assert torch.equal(own[position]["mask"], made[position]["mask"])
