import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.request_size import (
    LIMIT_BYTES,
    SAFE_BYTES,
    SAFE_SHARE,
    BandCost,
    band_groups,
    counted_bytes,
    season_bands,
    season_groups,
    sent_bytes,
)
from noldo.errors import ConfigError
from noldo.products import S1_BANDS, S2_L1C_BANDS, S2_L2A_BANDS, array_specs

STACK = [
    *[BandCost("l1c", 2)] * 13,
    *[BandCost("l2a", 2)] * 12,
    *[BandCost("s1", 4)] * 2,
    *[BandCost("p", 4)] * 9,
]


def test_the_count_is_that_of_the_published_stack():
    """Four seasons of 36 bands at 264 px, counted by hand: 72.0 % of the limit."""
    assert counted_bytes(STACK * 4, width=264, height=264) == 36_241_920
    assert sent_bytes(STACK * 4, width=264, height=264) == 26_205_696
    assert counted_bytes(STACK * 4, width=264, height=264) / LIMIT_BYTES == pytest.approx(0.720, abs=5e-4)


def test_each_array_of_a_build_asks_for_its_bands_in_their_dtypes():
    specs = array_specs(
        {
            "s2_l1c": S2_L1C_BANDS,
            "s2_l2a": S2_L2A_BANDS,
            "s2_scl": ("SCL",),
            "s1_grd": S1_BANDS,
            "dynamic_world": ("label",),
            "dynamic_world_probability": ("p",),
        }
    )
    sizes = [band.bytes_per_sample for band in season_bands(specs)]
    assert sizes == [2] * 13 + [2] * 12 + [1] + [4] * 2 + [1] + [4] * 9


@given(st.integers(1, 12), st.integers(1, 2 * SAFE_BYTES))
def test_groups_cover_all_seasons_in_order_and_differ_by_at_most_one(num_seasons, size):
    groups = season_groups(num_seasons, size)
    assert list(itertools.chain.from_iterable(groups)) == list(range(num_seasons))
    lengths = [len(group) for group in groups]
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(1, 12), st.integers(1, SAFE_BYTES))
def test_no_group_is_too_large_and_no_fewer_groups_would_do(num_seasons, size):
    groups = season_groups(num_seasons, size)
    assert max(len(group) for group in groups) * size <= SAFE_SHARE * LIMIT_BYTES
    if len(groups) > 1:
        assert -(-num_seasons // (len(groups) - 1)) * size > SAFE_BYTES


def test_a_season_that_is_too_large_stands_alone():
    assert season_groups(3, SAFE_BYTES + 1) == [range(0, 1), range(1, 2), range(2, 3)]


@given(st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=40), st.integers(6, 2046))
def test_band_groups_keep_all_bands_in_order_below_the_limit(sizes, side):
    bands = [BandCost(str(rank), size) for rank, size in enumerate(sizes)]
    groups = band_groups(bands, width=side, height=side)
    assert list(itertools.chain.from_iterable(groups)) == bands
    assert all(counted_bytes(group, width=side, height=side) <= SAFE_BYTES for group in groups)
    if counted_bytes(bands, width=side, height=side) <= SAFE_BYTES:
        assert len(groups) == 1


def test_a_band_that_never_fits_is_an_error_that_names_the_patch_size():
    with pytest.raises(ConfigError, match=r"patch_size_px: 5000 x 5000 px of VV are 125000000 bytes"):
        band_groups([BandCost("VV", 4)], width=5000, height=5000)
