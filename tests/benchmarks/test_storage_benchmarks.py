"""Benchmarks of items, sizes and cold files run, at a size at which their figures mean nothing."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cold, items, made_up_store, page_cache, real_pixels, sizes
from benchmarks.turns import best_seconds
from noldo.errors import InputError
from noldo.reader import StoreReader
from noldo.training.recipe import Augmentation

torch.set_num_threads(1)

REAL = Path(os.environ.get("NOLDO_REAL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
SIDE_PX = 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("storage")
    items.prepare(path, made_up_store.layout_of(6, locations_per_shard=4, patch_size_px=SIDE_PX))
    return path


def test_items_are_compared_warm_and_cold(folder: Path) -> None:
    record = items.compare(folder, repeats=1, augmentation=Augmentation(crop_px=64))
    assert record["ratios"].keys() == items.TARGETS.keys()
    assert len(record["warm_per_s"]) == 5
    assert len(record["cold_per_s"]) == len(record["cold_kb_from_disk"]) == 3
    text = items.page(record | {"command": "here"})
    assert all(goal in text for goal in items.TARGETS)
    assert "It is not smoothed: the trainer does that on its device" in text


def test_a_loader_is_compared_with_the_disk_and_a_page_says_so_if_that_was_not_cold(folder: Path) -> None:
    record = cold.compare(folder / "nol.zarr", passes=1, threads=2, batch=2)
    assert record["ratios"][cold.GOAL] > 0
    assert len(record["mb_per_s"]) == 3
    for share, is_told in ((0.0, True), (1.0, False)):
        shares = dict.fromkeys(record["bytes_from_disk_of_needed"], share)
        text = cold.page(record | {"command": "here", "bytes_from_disk_of_needed": shares})
        assert cold.GOAL in text
        assert ("was not cold" in text) == is_told


def test_dropped_pages_change_no_byte(folder: Path) -> None:
    files = page_cache.files_of(folder / "nol.zarr")
    before = [path.read_bytes() for path in files]
    page_cache.drop(files)
    assert [path.read_bytes() for path in files] == before
    assert page_cache.bytes_from_disk() >= 0


def test_the_fastest_turn_counts_and_what_is_done_before_it_does_not() -> None:
    now, took = [0.0], iter([3.0, 1.0, 2.0])

    def turn() -> None:
        now[0] += next(took)

    def prepare() -> None:
        now[0] += 100

    found = best_seconds({"way": turn}, repeats=3, clock=lambda: now[0], before={"way": prepare})
    assert found == {"way": 1.0}


def test_sizes_are_told_of_made_up_pixels(tmp_path: Path) -> None:
    record = sizes.compare(sizes.made_up(tmp_path, 2, patch_size_px=SIDE_PX), tmp_path)
    (one,) = record["sets"].values()
    assert one["bytes"][sizes.STORE] < one["bytes"][sizes.ZIP_OURS] < one["bytes"][sizes.ZIP]
    assert one["bytes"][sizes.LMDB] >= 2 * 4 * 16 * SIDE_PX**2
    assert "made up" in sizes.page(record | {"command": "here"})


def test_a_coarse_band_that_is_no_copy_of_coarse_pixels_is_refused(tmp_path: Path) -> None:
    (one,) = sizes.made_up(tmp_path, 1, patch_size_px=SIDE_PX)
    one.locations[0].optical[0, 4, 0, 1] += 1
    with pytest.raises(InputError, match=r"s2_l1c_20m: bands on 10 m are no copies of pixels of 20 m"):
        sizes.compare([one], tmp_path)


@pytest.mark.parametrize("named", [None, "nowhere"])
def test_without_real_images_it_stops_with_one_line(
    named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sizes"])
    monkeypatch.delenv(real_pixels.VARIABLE, raising=False)
    if named is not None:
        monkeypatch.setenv(real_pixels.VARIABLE, named)
    with pytest.raises(SystemExit, match=r"^benchmarks.sizes: NOLDO_REAL_DATA.*--made-up$"):
        sizes.main()


def test_goals_of_size_hold_on_real_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (REAL / "terramesh").is_dir():
        pytest.skip(f"{REAL}/terramesh is absent; point NOLDO_REAL_DATA to a folder that has it")
    monkeypatch.setenv(real_pixels.VARIABLE, str(REAL))
    record = sizes.compare(sizes.real(), tmp_path)
    assert {name: one["locations"] for name, one in record["sets"].items()} == {
        "TerraMesh: L1C, S1 and labels": 3,
        "BigEarthNet: L2A and S1": 2,
    }
    assert all(record["ratios"][name] <= goal for name, goal in sizes.TARGETS.items())
    reader = StoreReader.open(tmp_path / "0" / "nol.zarr")
    cirrus = reader.pixels(reader.layout.spec("s2_l1c_60m"), row=0, seasons=[0])[0, 2]
    assert np.median(cirrus) < 100  # the offset is off
