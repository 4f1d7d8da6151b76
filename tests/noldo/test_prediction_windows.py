"""Windows of an image: laws that hold for any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noldo.errors import ConfigError
from noldo.prediction.windows import Tiling, plan_windows, starts, taper

TILINGS = st.integers(1, 40).flatmap(
    lambda window: st.builds(Tiling, st.just(window), st.integers(0, window - 1))
)
SIDES = st.integers(1, 120)


@given(height=SIDES, width=SIDES, tiling=TILINGS)
def test_windows_cover_every_pixel_and_stay_inside(height, width, tiling):
    times = np.zeros((height, width), int)
    for row in plan_windows(height, width, tiling=tiling):
        for window in row.windows:
            assert 0 <= window.top <= height - window.height
            assert 0 <= window.left <= width - window.width
            times[window.slices] += 1
    assert times.min() >= 1


@given(height=SIDES, width=SIDES, tiling=TILINGS)
def test_all_windows_have_one_size_so_that_a_batch_can_hold_them(height, width, tiling):
    windows = [one for row in plan_windows(height, width, tiling=tiling) for one in row.windows]
    sizes = {(one.height, one.width) for one in windows}
    assert sizes == {(min(height, tiling.window_px), min(width, tiling.window_px))}


@given(length=SIDES, tiling=TILINGS)
def test_there_are_no_more_windows_than_needed_and_neighbours_share_what_was_asked(length, tiling):
    found = starts(length, tiling=tiling)
    step = tiling.window_px - tiling.overlap_px
    assert len(found) == 1 + -(-max(length - tiling.window_px, 0) // step)
    gaps = np.diff(found)
    assert (gaps[:-1] == step).all()
    assert (gaps[-1:] <= step).all()
    assert (gaps > 0).all()


@given(height=SIDES, width=SIDES, tiling=TILINGS)
def test_rows_that_are_done_are_touched_by_no_later_window(height, width, tiling):
    rows = plan_windows(height, width, tiling=tiling)
    for position, row in enumerate(rows):
        later = [window.top for after in rows[position + 1 :] for window in after.windows]
        assert row.done == min(later, default=height)
    assert rows[-1].done == height
    assert {row.stop_column for row in rows} == {width}


@given(height=SIDES, width=SIDES)
def test_every_pixel_of_a_window_counts_and_the_middle_counts_most(height, width):
    weights = taper(height, width)
    assert weights.shape == (height, width)
    assert weights.dtype == np.float32
    assert weights.min() > 0
    assert weights.max() == weights[height // 2, width // 2] == 1
    assert np.array_equal(weights, weights[::-1, ::-1])


def test_the_last_window_is_shifted_inward():
    assert starts(10_980, tiling=Tiling())[-2:] == (10_560, 10_724)
    assert len(starts(10_980, tiling=Tiling())) == 57


def test_an_image_smaller_than_the_window_is_one_window():
    (row,) = plan_windows(66, 40, tiling=Tiling())
    (window,) = row.windows
    assert (window.top, window.left, window.height, window.width, row.done) == (0, 0, 66, 40, 66)


@pytest.mark.parametrize(("window", "overlap"), [(0, 0), (-1, 0), (64, 64), (64, 65), (64, -1)])
def test_windows_that_can_not_go_on_are_refused(window, overlap):
    with pytest.raises(ConfigError, match=r"px: expected"):
        Tiling(window, overlap)
