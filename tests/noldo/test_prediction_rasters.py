"""What a GeoTIFF must say of itself before a network is given its numbers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from noldo.errors import RasterError
from noldo.prediction.raster_facts import (
    RasterFacts,
    as_stored,
    band_numbers,
    grid_doubts,
    require_values,
)
from noldo.products import S1_BANDS, S2_L1C_BANDS, S2_RGB_BANDS, published_spec

FACTS = RasterFacts(
    where="scene.tif",
    height=4,
    width=5,
    bands=("B1", "b02", "B03", "B4", "B8A", "SCL"),
    dtype="uint16",
    scales=(1.0,) * 6,
    offsets=(0.0,) * 6,
    metres_per_unit=1.0,
    has_crs=True,
    transform=(10.0, 0.0, 6e5, 0.0, -10.0, 5e6),
)
S1, S2 = published_spec("s1_grd", S1_BANDS), published_spec("s2_l1c", S2_RGB_BANDS)


def test_bands_are_found_by_their_descriptions_in_the_order_asked_for_and_others_are_ignored():
    assert band_numbers(FACTS, ("B4", "B3", "B2")) == (4, 3, 2)
    assert band_numbers(FACTS, ("B8A",)) == (5,)


@given(order=st.permutations(S2_L1C_BANDS), pad=st.booleans())
def test_any_order_of_a_file_gives_the_order_of_the_network(order, pad):
    spelt = [name.replace("B", "b0") if pad and len(name) == 2 else name for name in order]
    numbers = band_numbers(replace(FACTS, bands=tuple(spelt)), S2_L1C_BANDS)
    assert [order[number - 1] for number in numbers] == list(S2_L1C_BANDS)


def test_names_that_are_given_count_instead_of_descriptions():
    names = ("B4", "B3", "B2", "x", "y", "z")
    assert band_numbers(FACTS, ("B2", "B4"), names=names) == (3, 1)


@pytest.mark.parametrize(
    ("facts", "wanted", "names", "words"),
    [
        (FACTS, ("B2", "B11", "B12"), None, "no band B11, B12; the network takes B2, B11, B12, the file has B1, b02,"),
        (FACTS, ("VV", "VH"), None, "no band VV, VH"),
        (replace(FACTS, bands=("", "")), ("B2",), None, "has one without a name, one without a name; give .* --bands"),
        (FACTS, ("B2",), ("B2", "B3"), r"6 bands, but --bands names 2 \(B2, B3\)"),
        (replace(FACTS, bands=("B2", "B02")), ("B2",), None, "more than one band B2"),
    ],
)  # fmt: skip
def test_bands_that_are_not_there_are_named_with_what_is_there(facts, wanted, names, words):
    with pytest.raises(RasterError, match=rf"^scene\.tif: .*{words}"):
        band_numbers(facts, wanted, names=names)


@pytest.mark.parametrize(
    ("spec", "dtype", "scale"),
    [
        (S2, "uint16", 1.0),
        (S2, "uint16", 1e-4),
        (S1, "int16", 1.0),
        (S1, "int16", 0.01),
        (S1, "float32", 1.0),
        (S1, "float64", 1.0),
    ],
)
def test_numbers_that_mean_what_a_store_means_are_taken(spec, dtype, scale):
    require_values(replace(FACTS, dtype=dtype, scales=(scale,) * 6), (1, 2), spec=spec)


@pytest.mark.parametrize(
    ("spec", "changes", "words"),
    [
        (S2, {"dtype": "float32"}, "numbers of type float32, expected reflectance x 10,000 as uint16"),
        (S2, {"dtype": "uint8"}, "type uint8"),
        (S2, {"dtype": "int16"}, "type int16"),
        (S1, {"dtype": "uint16"}, "type uint16, expected dB as float32 or float64, or hundredths of a dB as int16"),
        (S2, {"offsets": (0.0, -0.1, 0, 0, 0, 0), "scales": (1e-4,) * 6}, r"band 2 .* 0\.0001 x number -0\.1"),
        (S2, {"scales": (1.0, 0.5, 1, 1, 1, 1)}, r"0\.5 x number \+0, .* scale of 1 or 0\.0001"),
        (S1, {"dtype": "float32", "scales": (0.01,) * 6}, "expected no offset and a scale of 1;"),
    ],
)  # fmt: skip
def test_numbers_that_mean_something_else_are_refused(spec, changes, words):
    with pytest.raises(RasterError, match=words):
        require_values(replace(FACTS, **changes), (1, 2), spec=spec)


def test_offsets_of_bands_that_are_not_read_do_not_matter():
    require_values(replace(FACTS, offsets=(0.0, 0.0, 5.0, 0, 0, 0)), (1, 2), spec=S2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"has_crs": False, "metres_per_unit": None}, "it has no CRS, and neither will the map"),
        ({"metres_per_unit": None}, "its CRS is not projected (degrees, not metres)"),
        ({"transform": (20.0, 0.0, 0.0, 0.0, -20.0, 0.0)}, "its pixels are 20 x 20 m"),
        ({"metres_per_unit": 0.3048}, "its pixels are 3.048 x 3.048 m"),
        ({"transform": (10.0, 0.0, 0.0, 0.0, 10.0, 0.0)}, "its first row is not its northern border"),
        ({"transform": (7.07, 7.07, 0.0, 7.07, -7.07, 0.0)}, "its first row is not its northern border"),
    ],
)
def test_a_grid_that_the_network_did_not_learn_from_is_one_line(changes, words):
    assert grid_doubts(FACTS) is None
    told = grid_doubts(replace(FACTS, **changes))
    assert told is not None
    assert told.startswith(f"scene.tif: {words}")
    assert "\n" not in told


def test_a_grid_of_almost_ten_metres_is_left_alone():
    assert grid_doubts(replace(FACTS, transform=(10.004, 0.0, 0.0, 0.0, -9.998, 0.0))) is None


@given(arrays(np.float64, (2, 3, 3), elements=st.floats(-60, 40)))
def test_backscatter_survives_to_within_half_a_step(db):
    stored = as_stored(db, np.ones(db.shape, bool), spec=S1, where="x")
    assert stored.dtype == np.int16
    assert np.abs(stored * 0.01 - db).max() <= 0.005 + 1e-9


def test_no_data_of_the_file_infinity_and_nan_are_no_data_of_a_store():
    planes = np.array([[[-10.0, np.nan, -np.inf, -9999.0]]], np.float32)
    observed = np.array([[[True, True, True, False]]])
    assert as_stored(planes, observed, spec=S1, where="x").tolist() == [[[-1000, -32768, -32768, -32768]]]
    whole = np.array([[[0, 7, 65535]]], np.uint16)
    assert as_stored(whole, whole != 0, spec=S2, where="x").tolist() == [[[65535, 7, 65535]]]


def test_a_no_data_value_that_the_file_does_not_declare_is_named():
    planes = np.array([[[-10.0, -9999.0]]], np.float32)
    with pytest.raises(RasterError, match=r"^s1\.tif: -9999 dB, .* gdal_edit\.py -a_nodata -9999"):
        as_stored(planes, np.ones(planes.shape, bool), spec=S1, where="s1.tif")
