from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from noldo.errors import ConfigError
from noldo.training.splits import crop_to_load, require_one_size


@dataclass(frozen=True)
class Sizes:
    """What a data set says of its sizes."""

    sides: tuple[int, ...]
    crop_step_px: int = 6

    @property
    def sides_px(self) -> np.ndarray:
        return np.array(self.sides, np.int64)


@pytest.mark.parametrize(
    ("data_set", "crop_px", "expected"),
    [
        (Sizes((510, 516)), 480, 480),
        (Sizes((510, 516)), 496, 498),  # whole pixels of 60 m
        (Sizes((264, 264)), 256, 258),
        (Sizes((256, 256), crop_step_px=1), 256, 256),  # DFC2020, imported
        (Sizes((256, 256)), 256, None),  # 258 would not fit, whole patches do
        (Sizes(()), 256, None),
    ],
)
def test_a_crop_is_read_with_whole_pixels_of_every_band(data_set: Any, crop_px: int, expected: int | None):
    assert crop_to_load(data_set, crop_px, where="x") == expected


@pytest.mark.parametrize(
    ("data_set", "crop_px", "words"),
    [
        (Sizes((510, 516)), 512, "smallest patch of x has 510 px; give at most that"),
        (Sizes((512, 516)), 512, "516 are read for it .*; give at most 510"),
    ],
)
def test_a_crop_that_does_not_fit_every_tile_says_what_would(data_set: Any, crop_px: int, words: str):
    with pytest.raises(ConfigError, match=words):
        crop_to_load(data_set, crop_px, where="x")


def test_whole_patches_are_of_one_size():
    sizes: Any = Sizes((510, 516))
    with pytest.raises(ConfigError, match="tiles of 510 to 516 px"):
        require_one_size(sizes, where="x")
