"""Colours of the pictures."""

from pathlib import Path

import numpy as np
import pytest

from noldo.preview import NO_DATA_GREY, false_colour, label_colour, preview, true_colour
from noldo.products import NO_DATA_DB, NO_DATA_UINT16
from tests.noldo.made_up_data_set import DataSet


def test_bright_is_white_dark_is_black_and_no_data_is_grey() -> None:
    stored = np.array([[[0, 3000, 9000, NO_DATA_UINT16]]] * 3, dtype=np.uint16)
    assert true_colour(stored)[0].tolist() == [[0.0] * 3, [1.0] * 3, [1.0] * 3, [NO_DATA_GREY] * 3]


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
