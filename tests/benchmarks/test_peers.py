"""What the benchmarks compare with does what it is described to do."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks import made_up_store
from benchmarks.peers.cromss import LABELS, S1, S2, CromssItems, prior, write_lmdbs
from benchmarks.peers.locations import Location, location_of, on_fine_grid
from benchmarks.peers.ssl4eo_zip import write_zips
from builders.lmdb_file import LmdbFile
from noldo.method.smoothing import label_prior
from noldo.products import S2_L1C_BANDS
from noldo.quantization import SSL4EO_RANGES
from noldo.reader import StoreReader
from noldo.training.recipe import Augmentation
from tests.noldo.golden_numbers import array

torch.set_num_threads(1)

SIDE_PX = 96


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peers") / "nol.zarr"
    made_up_store.write(
        path, made_up_store.layout_of(3, locations_per_shard=2, patch_size_px=SIDE_PX), seed=5
    )
    return path


@pytest.fixture(scope="module")
def locations(store: Path) -> list[Location]:
    reader = StoreReader.open(store)
    return [location_of(reader, row) for row in range(3)]


@pytest.fixture(scope="module")
def lmdbs(tmp_path_factory: pytest.TempPathFactory, locations: list[Location]) -> Path:
    folder = tmp_path_factory.mktemp("lmdb")
    write_lmdbs(folder, locations)
    return folder


def test_a_location_holds_every_band_at_ten_metres_in_the_published_order(
    store: Path, locations: list[Location]
) -> None:
    reader = StoreReader.open(store)
    assert locations[1].optical.shape == (4, 13, SIDE_PX, SIDE_PX)
    for spec in (one for one in reader.layout.specs if one.product == "s2_l1c"):
        pixels = reader.pixels(spec, row=1, seasons=range(4))
        for position, band in enumerate(spec.bands):
            fine = locations[1].optical[:, S2_L1C_BANDS.index(band)]
            assert np.array_equal(fine, on_fine_grid(pixels[:, position], spec.resolution_m))


def test_the_authors_prior_is_the_published_one() -> None:
    found = prior(array("prior_labels"), season=int(array("prior_season")))
    np.testing.assert_allclose(found, array("prior_both"), rtol=0, atol=5e-7)


@settings(max_examples=20)
@given(
    arrays(
        np.uint8, st.tuples(st.just(4), st.integers(1, 40), st.integers(1, 30)), elements=st.integers(0, 8)
    ),
    st.integers(0, 3),
)
def test_the_authors_prior_is_the_one_that_our_trainer_computes(labels: np.ndarray, season: int) -> None:
    ours = label_prior(torch.from_numpy(labels[None]), torch.tensor([season]), num_classes=9)[0]
    np.testing.assert_allclose(prior(labels, season=season), ours, rtol=0, atol=5e-7)


def test_records_are_bytes_of_all_four_seasons_and_this_projects_import_reads_them(
    lmdbs: Path, locations: list[Location]
) -> None:
    for name, shape in {S1: (4, 2), S2: (4, 13), LABELS: (4,)}.items():
        with LmdbFile(lmdbs / name) as file:
            assert sorted(file.names()) == ["0", "1", "2"]
            values, number = file.array("1", dtypes=["uint8"])
        assert (values.shape, number) == ((*shape, SIDE_PX, SIDE_PX), 1)
        if name == LABELS:
            assert np.array_equal(values, locations[1].labels)


def test_an_item_is_one_season_divided_by_255_with_its_labels_and_prior(
    lmdbs: Path, locations: list[Location]
) -> None:
    items = CromssItems(lmdbs)
    found = items.item(2, season=3)
    items.close()
    assert {name: (value.shape[:-2], value.dtype) for name, value in found.items()} == {
        "s1": ((2,), torch.float32),
        "s2": ((13,), torch.float32),
        "label": ((), torch.int64),
        "prior": ((9,), torch.float32),
    }
    one = SSL4EO_RANGES["s2_l1c"]["B5"]
    measured = locations[2].optical[3, S2_L1C_BANDS.index("B5")]
    expected = np.floor(np.clip((measured - one.low) / (4 * one.std) * 255, 0, 255)) / 255
    np.testing.assert_allclose(found["s2"][S2_L1C_BANDS.index("B5")], expected, rtol=0, atol=1e-6)
    labels = locations[2].labels
    assert labels is not None
    assert np.array_equal(found["label"], labels[3])
    assert np.array_equal(found["prior"], prior(labels, season=3))


def test_an_item_without_smoothing_has_no_prior_and_all_else_alike(lmdbs: Path) -> None:
    items = CromssItems(lmdbs)
    smoothed = items.item(0, season=1)
    items.close()
    items = CromssItems(lmdbs, smoothing=False, readahead=True)
    plain = items.item(0, season=1)
    items.close()
    del smoothed["prior"]
    assert plain.keys() == smoothed.keys()
    assert all(torch.equal(plain[name], smoothed[name]) for name in plain)


def test_seasons_of_accesses_vary_and_a_seed_repeats_them(lmdbs: Path) -> None:
    drawn = []
    for seed in (0, 0, 1):
        items = CromssItems(lmdbs, smoothing=False, seed=seed)
        drawn.append([items[0]["s1"] for _ in range(12)])
        items.close()
    assert all(map(torch.equal, drawn[0], drawn[1]))
    assert not all(map(torch.equal, drawn[0], drawn[2]))


def test_crop_and_flips_move_images_label_and_prior_alike(lmdbs: Path) -> None:
    settings = Augmentation(crop_px=64, flip=1.0, rotate=0.0)
    items = CromssItems(lmdbs)
    whole = items.item(1, season=0)
    items.close()
    items = CromssItems(lmdbs, augmentation=settings)
    moved = items.item(1, season=0)
    items.close()
    windows = {
        (top, left, axes)
        for top in range(SIDE_PX - 63)
        for left in range(SIDE_PX - 63)
        for axes in ((1,), (2,), (1, 2))
        if torch.equal(moved["s2"], whole["s2"][:, top : top + 64, left : left + 64].flip(axes))
    }
    assert len(windows) == 1
    ((top, left, axes),) = windows
    for name in ("s1", "prior", "label"):
        planes = whole[name][..., top : top + 64, left : left + 64].reshape(-1, 64, 64)
        assert torch.equal(moved[name].reshape(-1, 64, 64), planes.flip(axes))


def test_a_pickled_data_set_opens_its_files_anew(lmdbs: Path) -> None:
    items = CromssItems(lmdbs)
    first = items.item(0, season=0)
    copy = pickle.loads(pickle.dumps(items))  # our own bytes: spawned workers get the items so
    items.close()  # LMDB opens a file once in a process
    assert torch.equal(copy.item(0, season=0)["prior"], first["prior"])
    copy.close()


def test_zips_keep_every_value_a_season_a_chunk(tmp_path: Path, locations: list[Location]) -> None:
    paths = write_zips(tmp_path, locations)
    expected = {
        "optical.zarr.zip": np.stack([one.optical for one in locations]),
        "radar.zarr.zip": np.stack([one.radar_db for one in locations]).astype(np.float16),
        "labels.zarr.zip": np.stack([one.labels for one in locations]),
    }
    assert [path.name for path in paths] == list(expected)
    for path in paths:
        with zarr.storage.ZipStore(path, mode="r") as file:
            stored = zarr.open_array(file, path="bands", mode="r")
            assert np.array_equal(stored[:], expected[path.name])
            assert stored.chunks == (1, 1, *stored.shape[2:])
            (compressor,) = stored.compressors
            assert (compressor.cname, compressor.clevel, compressor.shuffle) == ("lz4", 5, 1)
