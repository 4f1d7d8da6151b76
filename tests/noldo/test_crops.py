import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noldo.crops import Crop, imagery_sides_px
from noldo.dataset import NoldoS12
from noldo.errors import ConfigError
from noldo.products import array_specs
from noldo.store import StoreLayout
from tests.noldo.made_up_data_set import PRODUCTS, write_data_set

LAYOUT = StoreLayout(
    specs=array_specs({**PRODUCTS, "expert": ("label",)}),
    num_locations=6,
    season_names=("label",),
    patch_size_px=24,
    locations_per_shard=4,
    codec="small",
)
WINDOWS = np.array(
    [[0, 12, 0, 12], [3, 15, 5, 17], [0, 18, 0, 18], [0, 1, 0, 1], [5, 23, 5, 23], [1, 13, 0, 12]]
)
"""Row 3 was not kept. Sides of the imagery: 12, 18, 18, -, 24, 18."""
SIDES = {100: 12, 107: 18, 114: 18, 128: 24, 135: 18}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of different size, padded to 24 px."""
    folder = tmp_path_factory.mktemp("tiles")

    def pad(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        rows["window"][:] = WINDOWS
        for spec in LAYOUT.specs:
            for row, (top, bottom, left, right) in enumerate(WINDOWS):
                side = spec.side_px(6 * -(-max(bottom, right) // 6))
                block = pixels[spec.name][row]
                block[..., side:, :] = spec.no_data
                block[..., :, side:] = spec.no_data
                if spec.product == "expert":
                    outside = np.ones(block.shape, bool)
                    outside[..., top:bottom, left:right] = False
                    block[outside] = 255

    write_data_set(folder, layout=LAYOUT, change=pad)
    return folder


def test_a_whole_tile_comes_without_its_padding(root: Path) -> None:
    data = NoldoS12(root, split=None)
    for index, location in enumerate(data.ids.tolist()):
        side = SIDES[location]
        sample = data[index]
        assert sample["s2_l1c_10m"].shape[-2:] == (side, side)
        assert sample["s2_l1c_20m"].shape[-2:] == (side // 2, side // 2)
        assert sample["s2_l1c_60m"].shape[-2:] == (side // 6, side // 6)
        assert sample["mask"].shape == (side, side)
        x_min, y_min, x_max, y_max = sample["bounds"].tolist()
        assert (x_max - x_min, y_max - y_min) == (10 * side, 10 * side)


def test_padding_is_handed_out_when_asked_for_and_can_be_told(root: Path) -> None:
    data = NoldoS12(root, split=None, pad=True)
    sample = data[0]
    assert sample["s2_l1c_10m"].shape == (4, 24, 24)
    assert (sample["mask"][12:] == 255).all()
    assert (sample["s2_l1c_10m"].to(torch.int32)[:, 12:] == 65535).all()


@pytest.mark.parametrize("at", ["random", "centre"])
def test_crops_never_touch_padding_and_are_the_same_ground_at_every_resolution(root: Path, at: str) -> None:
    data = NoldoS12(root, split=None, crop_px=12, crop_at=at)
    padded = NoldoS12(root, split=None, pad=True)
    for epoch in range(20):
        data.set_epoch(epoch)
        for index, location in enumerate(data.ids.tolist()):
            sample, whole = data[index], padded[index]
            left, _, _, upper = sample["bounds"].tolist()
            x_ul, _, _, y_ul = whole["bounds"].tolist()
            row, column = int(y_ul - upper) // 10, int(left - x_ul) // 10
            assert row % 6 == column % 6 == 0
            assert max(row, column) + 12 <= SIDES[location]
            for name, factor in (("s2_l1c_10m", 1), ("s2_l1c_20m", 2), ("s2_l1c_60m", 6), ("mask", 1)):
                top, start, side = row // factor, column // factor, 12 // factor
                expected = whole[name][..., top : top + side, start : start + side]
                assert torch.equal(sample[name].to(torch.int32), expected.to(torch.int32)), name


def test_random_crops_are_decided_by_seed_epoch_and_id_alone(root: Path) -> None:
    def places(data: NoldoS12, epoch: int) -> list[list[float]]:
        data.set_epoch(epoch)
        return [data[index]["bounds"].tolist() for index in range(len(data))]

    data = NoldoS12(root, split=None, crop_px=6)
    # Our own bytes: DataLoader workers get the data set as a pickle.
    copy = pickle.loads(pickle.dumps(data))  # our own bytes: DataLoader workers pickle data sets
    assert places(data, 3) == places(copy, 3)
    assert places(data, 3) == places(NoldoS12(root, split=None, crop_px=6), 3)
    assert places(data, 3) != places(data, 4)
    assert places(data, 3) != places(NoldoS12(root, split=None, crop_px=6, seed=1), 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crop_px": 13}, "expected a multiple of 6"),
        ({"crop_px": 0}, "expected a multiple of 6"),
        ({"crop_px": 18}, "location 100 has 12 px of imagery; give at most 12"),
        ({"crop_px": 12, "pad": True}, "a crop has no padding"),
        ({"crop_px": 12, "crop_at": "corner"}, "expected random or centre"),
    ],
)
def test_a_crop_that_cannot_be_is_one_line(root: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        NoldoS12(root, split=None, **options)


def test_the_cleanest_labels_are_the_mask_unless_others_are_asked_for(root: Path) -> None:
    clean, noisy = (
        NoldoS12(root, split=None, pad=True),
        NoldoS12(root, split=None, pad=True, label_source="dynamic_world"),
    )
    assert not torch.equal(clean[0]["mask"], noisy[0]["mask"])
    with pytest.raises(ConfigError, match=r"label_source 'osm': .* has dynamic_world, expert"):
        NoldoS12(root, label_source="osm")


@given(st.integers(1, 40), st.integers(0, 5), st.integers(0, 2**32), st.sampled_from(["random", "centre"]))
def test_a_box_lies_on_the_lattice_inside_the_imagery(steps: int, spare: int, seed: int, at: str) -> None:
    crop = Crop(step_px=6, patch_size_px=522, crop_px=6 * steps, at=at, pad=False)  # type: ignore[arg-type]
    side = 6 * (steps + spare)
    box = crop.box(side, lambda: np.random.SeedSequence(seed))
    assert box.top % 6 == box.left % 6 == 0
    assert min(box.top, box.left) >= 0
    assert max(box.top, box.left) + box.side_px <= side


def test_stores_of_10_m_bands_alone_are_cropped_to_the_pixel() -> None:
    layout = StoreLayout(array_specs({"s2_l1c": ("B2",)}), 1, ("a",), 16, 1, "small")
    crop = Crop.of(layout, crop_px=7, at="centre", pad=False)
    assert crop.box(16, lambda: np.random.SeedSequence(0)).top == 4
    assert imagery_sides_px(layout, np.array([[1, 15, 0, 14], [0, 0, 0, 0]])).tolist() == [15, 16]


@pytest.mark.parametrize("products", [PRODUCTS, {"s2_l1c": ("B2",)}])
def test_imagery_of_a_build_ends_on_the_60_m_lattice_whatever_bands_it_stores(products) -> None:
    layout = StoreLayout(array_specs(products), 1, ("a",), 522, 1, "small")
    windows = np.array([[0, 510, 0, 510], [1, 511, 0, 3], [5, 517, 0, 510], [0, 0, 0, 0]])
    assert imagery_sides_px(layout, windows).tolist() == [510, 516, 522, 522]
