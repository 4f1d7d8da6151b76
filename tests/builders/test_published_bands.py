"""Published bands and labels on their way to the arrays of a store."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from builders.import_items import BadItemError
from builders.path_pattern import PathPattern
from builders.published_bands import Form, as_backscatter, as_bytes, as_reflectance, stored_bands
from builders.published_labels import dfc2020_labels, dfc2020_of_cromss, expert_labels, osm_labels
from builders.scene_names import scene_tile, scene_time_ms
from builders.tile_names import tile_columns, tile_placement
from noldo.errors import ConfigError, InputError
from noldo.products import S2_RESOLUTION_M

BANDS = ("B1", "B2", "B5")
SIDE_PX = 12


def coarse_planes(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Two seasons of three bands, at native resolution."""
    sides = {band: SIDE_PX * 10 // S2_RESOLUTION_M[band] for band in BANDS}
    return {
        band: generator.integers(0, 9_000, (2, side, side)).astype(np.uint16) for band, side in sides.items()
    }


def upsampled(planes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    factors = {band: SIDE_PX // plane.shape[-1] for band, plane in planes.items()}
    return {band: plane.repeat(factors[band], 1).repeat(factors[band], 2) for band, plane in planes.items()}


@given(st.integers(0, 1_000))
def test_copies_at_10_m_and_native_bands_are_stored_alike(seed):
    planes = coarse_planes(np.random.default_rng(seed))
    native = stored_bands(planes, Form("s2_l1c", BANDS), where="x")
    again = stored_bands(upsampled(planes), Form("s2_l1c", BANDS), where="x")
    assert native.keys() == again.keys() == {"s2_l1c_10m", "s2_l1c_20m", "s2_l1c_60m"}
    for name, array in native.items():
        np.testing.assert_array_equal(again[name], array)
    np.testing.assert_array_equal(native["s2_l1c_60m"][:, 0], planes["B1"])


@given(
    st.sampled_from(["B1", "B5"]), st.integers(0, 1), st.integers(0, SIDE_PX - 1), st.integers(0, SIDE_PX - 1)
)
def test_one_pixel_that_is_no_copy_is_noticed_wherever_it_lies(band, season, row, column):
    planes = upsampled(coarse_planes(np.random.default_rng(0)))
    planes[band][season, row, column] += 1
    with pytest.raises(InputError, match=rf"patch 7: {band} was resampled.*--keep-upsampled"):
        stored_bands(planes, Form("s2_l1c", BANDS), where="patch 7")
    kept = stored_bands(planes, Form("s2_l1c", BANDS, upsampled=True), where="patch 7")
    np.testing.assert_array_equal(kept["s2_l1c_resampled_10m"][:, BANDS.index(band)], planes[band])


def test_sides_that_are_no_multiple_can_only_be_kept():
    planes = {band: np.zeros((1, 14, 14), np.uint16) for band in BANDS}
    with pytest.raises(InputError, match="no multiple of 6"):
        stored_bands(planes, Form("s2_l1c", BANDS), where="x")
    assert stored_bands(planes, Form("s2_l1c", BANDS, upsampled=True), where="x")


def test_bands_of_different_sizes_are_no_set_to_be_kept():
    with pytest.raises(BadItemError, match="wrong size: B1 has 2 x 2 px, expected 12 x 12"):
        stored_bands(
            coarse_planes(np.random.default_rng(0)), Form("s2_l1c", BANDS, upsampled=True), where="x"
        )


@given(arrays(np.int32, (3, 3), elements=st.integers(-2_000, 60_000)), st.sampled_from([0, 1000]))
def test_reflectance_loses_nothing_but_what_is_below_zero(values, offset):
    stored, below = as_reflectance(values, where="x", offset=offset)
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, np.maximum(values - offset, 0))
    assert below == int((values < offset).sum())


@given(arrays(np.float32, (2, 3), elements=st.floats(-60, 40, width=32)))
def test_backscatter_survives_to_within_half_a_hundredth_of_a_decibel(values):
    stored = as_backscatter(values, where="x")
    np.testing.assert_allclose(stored / 100, values, atol=0.00501)


@pytest.mark.parametrize(
    ("convert", "values"),
    [
        (as_reflectance, np.zeros((2, 2), np.float32)),
        (as_reflectance, np.full((2, 2), 65_535, np.int32)),
        (as_backscatter, np.zeros((2, 2), np.int16)),
        (as_backscatter, np.full((2, 2), 1e6, np.float32)),
        (as_bytes, np.zeros((2, 2), np.int16)),
    ],
)
def test_values_of_another_kind_are_bad(convert, values):
    with pytest.raises(BadItemError, match="B4 holds"):
        convert(values, where="B4")


def test_numbers_of_labels_that_mean_nothing_are_bad_or_counted():
    numbers = np.array([[0, 10, 1, 255]])
    classes, counted = expert_labels().classes(numbers, where="x")
    assert classes.tolist() == [[255, 255, 0, 255]]
    assert list(counted.values()) == [1]
    for labels, bad in ((expert_labels(), 11), (osm_labels(), 14), (osm_labels(), -1)):
        with pytest.raises(BadItemError, match=f"x has number {bad}"):
            labels.classes(np.array([[1, bad]]), where="x")
    classes, counted = dfc2020_labels().classes(np.array([[3, 8, 0, 200, 10]]), where="x")
    assert classes.tolist() == [[255, 255, 255, 255, 0]]
    assert list(counted.values()) == [1, 1, 2]
    assert dfc2020_of_cromss().classes(np.array([[7, 8]]), where="x")[0].tolist() == [[7, 255]]
    with pytest.raises(BadItemError, match="wrong type"):
        osm_labels().classes(np.zeros((2, 2), np.float32), where="x")


@pytest.mark.parametrize(
    ("name", "time_ms", "tile"),
    [
        ("20200612T103629_20200612T103631_T32TPT", 1_591_958_189_000, "32TPT"),
        ("S1A_IW_GRDH_1SDV_20200608T053406_20200608T053431_032918_03D02A_0D7F", 1_591_594_446_000, None),
        ("20201399T103629_20200612T103631_T32TPT", None, "32TPT"),
        ("metadata.json", None, None),
    ],
)
def test_names_of_scenes_tell_time_and_tile(name, time_ms, tile):
    assert (scene_time_ms(name), scene_tile(name)) == (time_ms, tile)


def test_names_of_tiles_tell_date_and_centre():
    assert str(tile_columns("-0p6481384406_6p8231873947-20190226")["label_date"]) == "2019-02-26"
    place = tile_placement("-0p6481384406_6p8231873947-20190226", side_px=512)
    assert (place.lon, place.lat, place.georeference) == (-0.6481384406, 6.8231873947, "approximate")
    assert tile_placement("10.5_47.8-20190226.tif_3_12", side_px=256).grid is None, (
        "a part of a tile lies elsewhere"
    )
    assert str(tile_columns("10.5_47.8-20190226.tif_3_12")["label_date"]) == "2019-02-26"
    assert tile_columns("10.5_47.8-20191399") == {"label_date": None}
    assert tile_columns("something")["label_date"] is None


def test_patterns_find_their_parts_below_any_folder():
    pattern = PathPattern("{set}/image_s2/s2_{name}.tif", parts={"set": r"dw_\w+", "name": r"[^/]+"})
    assert pattern.match("a/b/dw_train/image_s2/s2_x.y.tif") == {"set": "dw_train", "name": "x.y"}
    assert pattern.match("dw_train/image_s2/s2_x.y.tif") is not None
    assert pattern.match("osm_train/image_s2/s2_x.tif") is None
    assert pattern.match("dw_train/image_s2/s2_x_tif") is None
    for bad in ("{name}.tif", "{set}/{name}/{name}.tif", "{set}/{name}/{other}.tif", "{set}/{}.tif"):
        with pytest.raises(ConfigError, match="each of"):
            PathPattern(bad, parts={"set": ".*", "name": ".*"})
