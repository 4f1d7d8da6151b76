"""Pixels: pure functions of the absolute place, and believable ones."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

from noldo.legend import DYNAMIC_WORLD as LEGEND
from noldo.products import S2_L1C_BANDS, S2_L2A_BANDS
from sandbox.planet import SyntheticEarth, labels, optics, radar
from sandbox.planet.lattice import Window, to_zone
from sandbox.planet.optical_scenes import DYNAMIC_WORLD, L1C, L2A, take_named
from sandbox.planet.orbits import date_ms
from sandbox.planet.radar_scenes import S1_GRD
from sandbox.planet.sky import sky_of
from sandbox.planet.tiles import tile_named
from sandbox.planet.truth import BUILT, CROPS, GRASS, TREES, WATER, ground_of

EARTH = SyntheticEarth()
PLACE = (11.5, 48.1)
SPAN = (date_ms(2021, 5, 7), date_ms(2021, 8, 5))


@cache
def a_scene(collection):
    """A scene around the place, clear enough for labels."""
    area = box(PLACE[0] - 0.05, PLACE[1] - 0.05, PLACE[0] + 0.05, PLACE[1] + 0.05)
    labelled = {
        r.index for r in EARTH.find(DYNAMIC_WORLD, bounds=area.bounds, start_ms=SPAN[0], end_ms=SPAN[1])
    }
    records = EARTH.find(collection, bounds=area.bounds, start_ms=SPAN[0], end_ms=SPAN[1])
    fits = [r for r in records if r.footprint.covers(area) and (collection == S1_GRD or r.index in labelled)]
    if collection == S1_GRD:
        fits = [r for r in fits if len(EARTH.bands(r)) == 3]
    return fits[0]


def origin_of(scene, name):
    band = next(band for band in EARTH.bands(scene) if band.name == name)
    x, y = to_zone(band.crs_epsg).transform(*PLACE)
    return int((x - band.transform[2]) // band.transform[0]), int(
        (y - band.transform[5]) // band.transform[4]
    )


BANDS = [
    (L1C, "B2"),
    (L1C, "B11"),
    (L1C, "B10"),
    (L2A, "B8"),
    (L2A, "SCL"),
    (S1_GRD, "VV"),
    (S1_GRD, "angle"),
]
BANDS += [(DYNAMIC_WORLD, "label"), (DYNAMIC_WORLD, "crops")]


@settings(max_examples=30, deadline=None)
@given(
    which=st.sampled_from(BANDS),
    offset=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    size=st.tuples(st.integers(1, 33), st.integers(1, 33)),
)
def test_a_pixel_does_not_depend_on_the_window_it_is_read_in(which, offset, size):
    scene = a_scene(which[0])
    column, row = origin_of(scene, which[1])
    whole, seen = EARTH.read(scene, which[1], column=column, row=row, width=63, height=63)
    (right, down), (width, height) = offset, size
    place = {"column": column + right, "row": row + down, "width": width, "height": height}
    part, mask = EARTH.read(scene, which[1], **place)
    inside = (slice(down, down + height), slice(right, right + width))
    np.testing.assert_array_equal(part, whole[inside])
    np.testing.assert_array_equal(mask, seen[inside])


def test_a_large_read_equals_its_pieces():
    scene = a_scene(L2A)
    column, row = origin_of(scene, "B2")
    large, _ = EARTH.read(scene, "B2", column=column, row=row, width=700, height=60)
    piece, _ = EARTH.read(scene, "B2", column=column + 540, row=row, width=100, height=60)
    np.testing.assert_array_equal(large[:, 540:640], piece)


@pytest.mark.parametrize("band", ["B2", "B5", "B9"])
def test_tiles_that_overlap_show_the_same_ground(band):
    start, end = SPAN
    bounds = (10.0, 47.0, 14.0, 49.0)
    records = {r.index: r for r in EARTH.find(L1C, bounds=bounds, start_ms=start, end_ms=end)}
    left, right = next(
        (a, b)
        for a in records.values()
        for b in records.values()
        if a.index[:15] == b.index[:15]
        and (tile_named(a.index[-5:]).crs_epsg, tile_named(a.index[-5:]).y_ul)
        == (tile_named(b.index[-5:]).crs_epsg, tile_named(b.index[-5:]).y_ul)
        and tile_named(b.index[-5:]).x_ul - tile_named(a.index[-5:]).x_ul in range(99_000, 101_000)
    )
    one, two = tile_named(left.index[-5:]), tile_named(right.index[-5:])
    step = {"B2": 10, "B5": 20, "B9": 60}[band]
    shift = (two.x_ul - one.x_ul) // step
    shared = [(row, size) for row in range(0, 109_800 // step - 40, 200) for size in [40]]
    compared = 0
    for row, size in shared[:20]:
        a, seen_a = EARTH.read(left, band, column=shift + 5, row=row, width=size, height=size)
        b, seen_b = EARTH.read(right, band, column=5, row=row, width=size, height=size)
        both = seen_a & seen_b
        np.testing.assert_array_equal(a[both], b[both])
        compared += int(both.sum())
        if compared > 3000:
            break
    assert compared


def test_bands_have_the_dtypes_and_grids_of_the_provider():
    assert [b.name for b in EARTH.bands(a_scene(L1C))] == list(S2_L1C_BANDS)
    assert [b.name for b in EARTH.bands(a_scene(L2A))] == [*S2_L2A_BANDS, "SCL"]
    assert [b.name for b in EARTH.bands(a_scene(DYNAMIC_WORLD))] == [*LEGEND.classes, "label"]
    sides = {b.transform[0]: (b.width, b.height) for b in EARTH.bands(a_scene(L1C))}
    assert sides == {10: (10_980, 10_980), 20: (5_490, 5_490), 60: (1_830, 1_830)}
    for collection in (L1C, L2A, DYNAMIC_WORLD, S1_GRD):
        for band in EARTH.bands(a_scene(collection)):
            values, mask = EARTH.read(a_scene(collection), band.name, column=50, row=50, width=6, height=6)
            assert values.dtype == band.dtype
            assert values.shape == mask.shape == (6, 6)


def test_probabilities_add_up_to_one_and_the_label_is_the_likeliest():
    scene = a_scene(DYNAMIC_WORLD)
    column, row = origin_of(scene, "label")
    place = {"column": column, "row": row, "width": 60, "height": 60}
    parts = [EARTH.read(scene, name, **place) for name in (*LEGEND.classes, "label")]
    shares, seen = np.stack([values for values, _ in parts[:9]]), parts[9][1]
    assert seen.any()
    np.testing.assert_allclose(shares.sum(axis=0)[seen], 1, atol=1e-5)
    np.testing.assert_array_equal(shares.argmax(axis=0)[seen], parts[9][0][seen])


@cache
def confusion() -> np.ndarray:
    counts = np.zeros((9, 9))
    rng = np.random.default_rng(2)
    for take in range(80):
        zone, column = int(rng.integers(1, 61)), int(rng.integers(30_000, 70_000))
        row = -int(rng.integers(0, 700_000))
        window = Window(32600 + zone, column, row, 96, 96)
        truth = ground_of(window.padded(), seed=0).truth[window.inside(window.padded())]
        label = labels.labels(window, take=take, seed=0)
        np.add.at(counts, (truth.ravel(), label.ravel()), 1)
    return counts


def test_confusion_rows_are_shares():
    np.testing.assert_allclose(labels.CONFUSION.sum(axis=1), 1)
    assert (labels.CONFUSION.argmax(axis=1) == np.arange(9)).all()


def test_labels_err_about_as_documented_and_by_class():
    counts = confusion()
    kept = np.diag(counts) / np.maximum(counts.sum(axis=1), 1)
    for class_id in (WATER, TREES, GRASS, CROPS):
        assert abs(kept[class_id] - labels.CONFUSION[class_id, class_id]) < 0.13, class_id
    assert kept[WATER] > kept[TREES] > kept[GRASS]
    assert counts[GRASS, CROPS] > counts[GRASS, BUILT]


def test_labels_err_in_blobs_and_differently_on_another_date():
    window = Window(32632, 60_000, -530_004, 240, 240)
    padded = window.padded()
    truth = ground_of(padded, seed=0).truth[window.inside(padded)]
    first, second = (labels.labels(window, take=take, seed=0) for take in (1, 2))
    assert (first != second).mean() > 0.005
    wrong = first != truth
    assert wrong.mean() > 0.01
    assert (wrong[:, 1:] & wrong[:, :-1]).sum() > 0.6 * wrong.sum()


def test_cloud_property_agrees_with_the_sky_over_the_scene():
    """The same sky that masks labels and scene classes, at 100 places of each whole scene."""
    errors = []
    for scene in EARTH.find(
        L1C, bounds=(10.0, 47.5, 12.0, 48.5), start_ms=SPAN[0], end_ms=SPAN[0] + 432_000_000
    ):
        take, tile = take_named(scene.index, seed=0), tile_named(scene.index[-5:])
        if "CLOUDY_PIXEL_PERCENTAGE" not in scene.properties or len(scene.footprint.exterior.coords) != 33:
            continue
        left, top = tile.x_ul // 10, -tile.y_ul // 10
        share = np.mean(
            [
                sky_of(
                    Window(tile.crs_epsg, left + 1080 * i, top + 1080 * j, 6, 6),
                    take=take.number,
                    day_of_year=take.day_of_year,
                    seed=0,
                ).cloudy.mean()
                for i, j in np.ndindex(10, 10)
            ]
        )
        errors.append(100 * share - scene.properties["CLOUDY_PIXEL_PERCENTAGE"])
    assert len(errors) >= 3
    assert np.abs(errors).mean() < 6


def test_labels_are_masked_where_the_scene_classification_sees_cloud():
    window = Window(32632, 60_000, -530_004, 120, 120)
    for take in range(400):
        opacity = sky_of(window.padded(), take=take, day_of_year=170, seed=0).opacity
        if 0.2 < (opacity > 0.5).mean() < 0.8:
            break
    clear = labels.observed(window, take=take, day_of_year=170, seed=0)
    classes = optics.scene_classes(window, take=take, day_of_year=170, seed=0)
    cloudy = np.isin(classes, [optics.SCL_MEDIUM_CLOUD, optics.SCL_HIGH_CLOUD, optics.SCL_SHADOW])
    np.testing.assert_array_equal(~clear[::2, ::2], cloudy)
    blue = optics.reflectance(window, "B2", surface=True, take=take, day_of_year=170, seed=0)
    assert blue[~clear].mean() > blue[clear].mean() + 500


def ndvi(zone: int, row: int, day_of_year: int) -> float:
    """Mean over crops and grass of several windows, without cloud."""
    values = []
    for step in range(12):
        window = Window(zone, 40_000 + 1_500 * step, row, 60, 60)
        padded = window.padded()
        ground = ground_of(padded, seed=0)
        code = ground.code[window.inside(padded)]
        green = np.isin(ground.truth[window.inside(padded)], [CROPS, GRASS])
        red, infrared = (
            optics._lit_ground(ground, window.inside(padded), S2_L1C_BANDS.index(name), day_of_year)
            for name in ("B4", "B8")
        )
        assert code.shape == red.shape
        values.append(((infrared - red) / (infrared + red))[green])
    return float(np.concatenate(values).mean())


def test_seasons_are_opposite_in_the_two_hemispheres():
    assert ndvi(32632, -500_004, 190) > ndvi(32632, -500_004, 10) + 0.1
    assert ndvi(32732, 600_000, 10) > ndvi(32732, 600_000, 190) + 0.1


def test_top_of_atmosphere_is_hazier_in_blue_than_the_surface():
    window = Window(32632, 60_000, -530_004, 60, 60)
    take = next(
        t for t in range(400) if sky_of(window.padded(), take=t, day_of_year=170, seed=0).opacity.max() == 0
    )
    above, below = (
        optics.reflectance(window, "B2", surface=surface, take=take, day_of_year=170, seed=0).astype(float)
        for surface in (False, True)
    )
    assert above.mean() > below.mean() + 150


def test_speckle_has_mean_one_and_four_looks():
    intensity = radar._speckle(Window(32632, 0, 0, 400, 400), seed=9)
    assert abs(intensity.mean() - 1) < 0.01
    assert abs(intensity.var() - 0.25) < 0.02


def test_water_is_dark_for_radar_and_towns_are_bright():
    assert radar._MEAN_DB[0, WATER] < radar._MEAN_DB[0, TREES] < radar._MEAN_DB[0, BUILT]
    scene = a_scene(S1_GRD)
    column, row = origin_of(scene, "VV")
    place = {"column": column, "row": row, "width": 120, "height": 120}
    vv, vh = (EARTH.read(scene, name, **place)[0] for name in ("VV", "VH"))
    assert -32 < vv.mean() < 0
    assert vh.mean() < vv.mean() - 3
