"""Band choices, and the way from stored integers to one float tensor."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noldo.bands import BY_NUMBER, chosen_bands
from noldo.dataset import NoldoS12
from noldo.errors import ConfigError
from noldo.products import S2_L1C_BANDS, S2_L2A_BANDS, S2_NINE_BANDS, S2_RESOLUTION_M
from noldo.tensors import decibels, on_one_grid, reflectance, upsample
from tests.noldo.made_up_data_set import DataSet


def test_numbers_mean_the_choices_of_the_paper() -> None:
    assert BY_NUMBER[9] == S2_NINE_BANDS
    assert chosen_bands(13, product="s2_l1c", stored=S2_L1C_BANDS) == S2_L1C_BANDS
    assert chosen_bands(13, product="s2_l2a", stored=S2_L2A_BANDS) == S2_L2A_BANDS
    assert chosen_bands(3, product="s2_l1c", stored=S2_L1C_BANDS) == ("B4", "B3", "B2")
    assert chosen_bands(None, product="s2_l1c", stored=("B8", "B2")) == ("B2", "B8")
    assert chosen_bands("B8A", product="s2_l1c", stored=S2_L1C_BANDS) == ("B8A",)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (5, "bands 5: expected 13, 12, 9, 3"),
        ((), "at least one"),
        (("B2", "B2"), "each once"),
        (("B2", "VV"), "VV of s2_l1c: not stored"),
    ],
)
def test_band_choices_that_make_no_sense_are_told(choice: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen_bands(choice, product="s2_l1c", stored=S2_L1C_BANDS)


def test_no_data_becomes_nan_and_zero_stays_a_value() -> None:
    stored = torch.tensor([0, 1234, 65535], dtype=torch.int32).to(torch.uint16)
    assert torch.equal(torch.isnan(reflectance(stored)), torch.tensor([False, False, True]))
    assert reflectance(stored)[:2].tolist() == pytest.approx([0.0, 0.1234])
    backscatter = torch.tensor([-32768, -1850, 0], dtype=torch.int16)
    assert torch.isnan(decibels(backscatter)[0])
    assert decibels(backscatter)[1:].tolist() == pytest.approx([-18.5, 0.0])


@given(
    factor=st.sampled_from([1, 2, 6]),
    side=st.integers(1, 5),
    dtype=st.sampled_from([torch.float32, torch.uint8]),
)
def test_upsampling_repeats_and_decimation_undoes_it(factor: int, side: int, dtype: torch.dtype) -> None:
    coarse = torch.arange(2 * side * side).reshape(2, side, side).to(dtype)
    fine = upsample(coarse, factor=factor)
    assert fine.shape == (2, side * factor, side * factor)
    for y in range(factor):
        for x in range(factor):
            assert torch.equal(fine[:, y::factor, x::factor], coarse)


@pytest.mark.parametrize("choice", [None, 13, 12, 9, 3, ("B11", "B2"), "B10"])
def test_one_grid_has_the_bands_in_the_order_asked_for(data_set: DataSet, choice: object) -> None:
    samples = NoldoS12(data_set.root, modalities=["s2_l1c"], bands=choice, season=1)
    image = on_one_grid(samples[0], "s2_l1c", bands=choice)
    names = chosen_bands(choice, product="s2_l1c", stored=S2_L1C_BANDS)
    assert image.shape == (len(names), 12, 12)
    assert image.dtype == torch.float32
    for band, plane in zip(names, image.numpy(), strict=True):
        assert np.array_equal(plane, expected_plane(data_set, band), equal_nan=True)


def expected_plane(data_set: DataSet, band: str) -> np.ndarray:
    """Row 0, season 1."""
    resolution_m = S2_RESOLUTION_M[band]
    spec = data_set.layout.spec(f"s2_l1c_{resolution_m}m")
    stored = data_set.pixels[spec.name][0, 1, spec.bands.index(band)]
    values = np.where(stored == 65535, np.float32("nan"), stored.astype(np.float32) * np.float32(1e-4))
    return values.repeat(resolution_m // 10, 0).repeat(resolution_m // 10, 1)


def test_batches_and_seasons_keep_their_axes(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, modalities=["s2_l2a", "s1_grd"], season="all")
    batch = torch.utils.data.default_collate([samples[0], samples[1]])
    assert on_one_grid(batch, "s2_l2a").shape == (2, 3, 12, 12, 12)
    assert on_one_grid(batch, "s1_grd").shape == (2, 3, 2, 12, 12)


def test_asking_for_other_bands_than_were_loaded_is_told(data_set: DataSet) -> None:
    sample = NoldoS12(data_set.root, modalities=["s2_l1c"], bands=9)[0]
    with pytest.raises(ConfigError, match="give the bands that the data set was made with"):
        on_one_grid(sample, "s2_l1c")
    with pytest.raises(ConfigError, match="'s2_l2a' is not in the sample"):
        on_one_grid(sample, "s2_l2a")
    with pytest.raises(ConfigError, match="s1_grd_10m is not in the sample"):
        on_one_grid(sample, "s1_grd")
