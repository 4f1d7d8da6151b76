"""Colours of the pictures."""

from pathlib import Path

import numpy as np
import pytest

from noldo.preview import BELOW_BLACK, GAMMA, NO_DATA_GREY, false_colour, label_colour, preview, true_colour
from noldo.products import NO_DATA_DB, NO_DATA_UINT16
from tests.noldo.made_up_data_set import DataSet, write_index


def test_haze_is_dark_bright_is_white_and_no_data_is_grey() -> None:
    stored = np.full((2, 3, 10, 10), 4000, np.uint16)
    stored[0] = np.array([600, 800, 1200], np.uint16)[:, None, None]
    stored[1, :, 0, 0] = NO_DATA_UINT16
    shown = true_colour(stored)
    assert shown.shape == (2, 10, 10, 3)
    white = 4000 - 600 + BELOW_BLACK
    assert shown[0] == pytest.approx((BELOW_BLACK / white) ** GAMMA)
    assert shown[1, 0, 0].tolist() == [NO_DATA_GREY] * 3
    assert shown[1, 1, 1, 0] == 1.0
    assert shown[1, 1, 1, 2] == pytest.approx(((4000 - 1200 + BELOW_BLACK) / white) ** GAMMA)
    assert true_colour(stored[0]).shape == (10, 10, 3)


def test_an_even_patch_stays_dark_and_an_empty_one_grey() -> None:
    assert true_colour(np.full((1, 3, 2, 2), 900, np.uint16)).max() < 0.5
    assert true_colour(np.full((1, 3, 2, 2), NO_DATA_UINT16, np.uint16)).tolist() == [
        [[[NO_DATA_GREY] * 3] * 2] * 2
    ]


def test_one_missing_band_makes_a_pixel_grey() -> None:
    stored = np.array([[[-1000]], [[NO_DATA_DB]]], dtype=np.int16)
    assert false_colour(stored)[0, 0].tolist() == [NO_DATA_GREY] * 3


def test_water_is_dark_and_towns_are_bright_in_radar() -> None:
    water, town = false_colour(np.array([[[-2400, -200]], [[-3000, -800]]], dtype=np.int16))[0]
    assert water[:2].tolist() == [0.0, 0.0]
    assert town[:2].tolist() == [1.0, 1.0]


def test_labels_have_the_colours_of_the_legend() -> None:
    water, snow, unlabelled = label_colour(np.array([[0, 8, 255]], dtype=np.uint8))[0]
    assert (water * 255).round().tolist() == [0x41, 0x9B, 0xDF]
    assert (snow * 255).round().tolist() == [0xB3, 0x9F, 0xE1]
    assert unlabelled.tolist() == [1.0, 1.0, 1.0]


@pytest.fixture(scope="module")
def picture(data_set: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("picture") / "one.png"
    preview(data_set.root, 100, out=out)
    return out


def test_equal_pictures_have_equal_bytes(data_set: DataSet, picture: Path, tmp_path: Path) -> None:
    preview(data_set.store, 100, out=tmp_path / "two.png")
    assert (tmp_path / "two.png").read_bytes() == picture.read_bytes()


def test_a_picture_is_drawn_without_the_index_too(
    own_data_set: DataSet, picture: Path, tmp_path: Path
) -> None:
    (own_data_set.root / "nol.parquet").unlink()
    preview(own_data_set.root, 100, out=tmp_path / "two.png")
    # Only the name of the place is gone from the title.
    assert (tmp_path / "two.png").read_bytes() != picture.read_bytes()


@pytest.mark.parametrize("place", ["Cash $ and $x_ City", "Unbalanced $", "北京市", "two\nlines"])
def test_any_name_of_a_place_can_be_drawn(own_data_set: DataSet, tmp_path: Path, place: str) -> None:
    write_index(own_data_set, changed={"place": [place] * 10})
    preview(own_data_set.root, 100, out=tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 10_000
