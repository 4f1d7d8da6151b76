from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noldo import NoldoS12
from noldo.compare_labels import compare_labels
from noldo.errors import ConfigError, StoreError
from noldo.label_store import write_label_store
from noldo.legend import DYNAMIC_WORLD
from noldo.manifest import Manifest, SourceRecord, read_manifest
from noldo.paths import find_subset
from noldo.store import write_rows
from noldo.verify import verify
from tests.noldo.made_up_data_set import LAYOUT, DataSet, write_data_set

SOURCE = SourceRecord(product="truth", collection="made up", licence="CC0 1.0", attribution="Made up.")
SHAPE = (len(LAYOUT.season_names), LAYOUT.patch_size_px, LAYOUT.patch_size_px)


def maps(row: int) -> np.ndarray:
    """Another map for each row and season."""
    return np.random.default_rng(row).integers(0, 9, SHAPE).astype(np.uint8)


@pytest.fixture
def images(tmp_path: Path) -> DataSet:
    return write_data_set(tmp_path / "images")


def write(images: DataSet, out: Path) -> Manifest:
    found = find_subset(images.root)
    return write_label_store(
        found, out, product="truth", maps=maps, source=SOURCE, provenance={"network": "none"}
    )


def test_labels_beside_a_store_are_read_with_its_images_location_by_location(images, tmp_path):
    write(images, tmp_path / "labels")
    for season in range(SHAPE[0]):
        own = NoldoS12(images.root, split=None, season=season)
        beside = NoldoS12(images.root, split=None, season=season, label_store=tmp_path / "labels")
        assert beside.legend is DYNAMIC_WORLD
        assert beside.ids.tolist() == own.ids.tolist()
        for position, row in enumerate(images.kept):
            assert np.array_equal(beside[position]["mask"], maps(row)[season])
            assert np.array_equal(beside[position]["s1_grd_10m"], own[position]["s1_grd_10m"])


def test_a_split_and_a_crop_of_the_images_have_the_labels_of_the_same_pixels(images, tmp_path):
    write(images, tmp_path / "labels")
    found = NoldoS12(
        images.root, split="val", season=1, crop_px=6, crop_at="centre", label_store=tmp_path / "labels"
    )
    rows = [row for row in images.kept if images.rows["split"][row] == 1]
    assert [np.array_equal(found[at]["mask"], maps(row)[1, :6, :6]) for at, row in enumerate(rows)] == [
        True
    ] * 2


def test_the_store_of_labels_is_a_whole_data_set_that_can_be_verified(images, tmp_path):
    told = write(images, tmp_path / "labels")
    assert verify(tmp_path / "labels").problems == ()
    assert told == read_manifest(tmp_path / "labels" / "nol.json")
    kept = np.stack([maps(row) for row in images.kept])
    assert told.class_counts["truth_10m"]["winter"] == tuple(np.bincount(kept[:, 0].ravel(), minlength=9))
    assert sum(told.class_shares.values()) == pytest.approx(1)
    assert told.label_provenance == {"truth": {"network": "none"}}


def test_nothing_is_stored_outside_the_window_or_for_refused_rows(tmp_path):
    def change(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        rows["window"][0] = (2, 8, 1, 9)

    images = write_data_set(tmp_path / "images", change=change)
    write(images, tmp_path / "labels")
    mask = NoldoS12(images.root, split=None, season=0, label_store=tmp_path / "labels")[0]["mask"].numpy()
    assert (mask != 255).sum() == 6 * 8
    assert np.array_equal(mask[2:8, 1:9], maps(0)[0, 2:8, 1:9])
    assert verify(tmp_path / "labels").problems == ()


def test_writing_twice_changes_no_byte_of_the_images_and_gives_equal_labels(images, tmp_path):
    before = {path: path.read_bytes() for path in images.root.rglob("*") if path.is_file()}
    write(images, tmp_path / "one")
    write(images, tmp_path / "two")
    assert before == {path: path.read_bytes() for path in images.root.rglob("*") if path.is_file()}
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_labels_are_never_written_into_the_folder_of_the_images(images):
    with pytest.raises(StoreError, match="give another folder"):
        write(images, images.root)


@pytest.mark.parametrize(
    ("layout", "change", "words"),
    [
        (replace(LAYOUT, season_names=("a", "b", "c")), {}, "seasons"),
        (replace(LAYOUT, patch_size_px=18), {}, "patch of 18 px, but"),
        (LAYOUT, {"id": 1}, "no labels for 8 of 8 locations"),
        (LAYOUT, {"x_ul": 60}, "location 100 lies elsewhere"),
    ],
)
def test_labels_of_other_places_are_refused_with_what_differs(images, tmp_path, layout, change, words):
    def moved(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        for name, by in change.items():
            rows[name] = rows[name] + by

    write_data_set(tmp_path / "other", layout=layout, change=moved)
    with pytest.raises(ConfigError, match=words):
        NoldoS12(images.root, split=None, label_store=tmp_path / "other")


def test_labels_of_two_stores_are_compared_pixel_by_pixel(images, tmp_path):
    write(images, tmp_path / "labels")
    found = compare_labels(
        images.root, of="truth", against="dynamic_world", label_store=tmp_path / "labels", season="spring"
    )
    expected = np.zeros((9, 9), np.int64)
    for row in images.kept:
        other = images.pixels["dynamic_world_10m"][row, 1]
        both = other != 255
        np.add.at(expected, (maps(row)[1][both], other[both]), 1)
    assert np.array_equal(found.counts, expected)


def test_labels_of_rows_in_another_order_are_not_compared(images, tmp_path):
    def backwards(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        for name in rows:
            rows[name] = rows[name][::-1].copy()
        pixels["dynamic_world_10m"][:] = 1

    layout = replace(LAYOUT, specs=tuple(spec for spec in LAYOUT.specs if spec.product == "dynamic_world"))
    write_data_set(tmp_path / "other", layout=layout, change=backwards)
    with pytest.raises(StoreError, match="other rows or shards"):
        compare_labels(images.root, of="dynamic_world", against="truth", label_store=tmp_path / "other")


def test_labels_of_rows_that_have_changed_are_not_gone_on_with(images, tmp_path):
    write(images, tmp_path / "labels")
    status = images.rows["status"].copy()
    status[3] = 0  # a location that a build has kept since
    write_rows(images.store, {"status": status})
    with pytest.raises(StoreError, match="holds labels that were made of something else"):
        write(images, tmp_path / "labels")
