"""Land cover: one Earth whatever the window, the zone or the seam."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noldo.grids import Grid, snapped_grid, utm_epsg
from sandbox.planet import SyntheticEarth
from sandbox.planet.lattice import Window, to_geographic, to_zone
from sandbox.planet.truth import NUM_STRAINS, ground_of

EARTH = SyntheticEarth()


def grid_at(lon: float, lat: float, *, size_px: int = 120) -> Grid:
    crs_epsg = utm_epsg(lon, lat)
    x, y = to_zone(crs_epsg).transform(lon, lat)
    return snapped_grid(x, y, crs_epsg=crs_epsg, size_px=size_px)


@settings(max_examples=15, deadline=None)
@given(
    lon=st.floats(-179, 179),
    lat=st.floats(-60, 70),
    steps=st.tuples(st.integers(0, 40), st.integers(0, 40)),
)
def test_truth_of_a_place_does_not_depend_on_the_patch_it_is_asked_in(lon, lat, steps):
    grid = grid_at(lon, lat, size_px=60)
    right, down = steps
    moved = Grid(grid.crs_epsg, grid.x_ul + 10 * right, grid.y_ul - 10 * down, 60)
    here, there = EARTH.truth(grid), EARTH.truth(moved)
    np.testing.assert_array_equal(here[down:, right:], there[: 60 - down, : 60 - right])


@pytest.mark.parametrize(("lon", "lat"), [(12.0, 47.0), (-66.0, -21.0), (174.0, -40.0), (30.0, 59.0)])
def test_two_zones_agree_on_the_land_at_their_border(lon, lat):
    west, east = 32600 + int((lon + 180) // 6), 32601 + int((lon + 180) // 6)
    if lat < 0:
        west, east = west + 100, east + 100
    x, y = to_zone(west).transform(lon, lat)
    here = Window(west, round(x / 60) * 6, round(((0 if lat > 0 else 1e7) - y) / 60) * 6, 120, 120)
    truth = ground_of(here, seed=0).truth
    columns, rows = np.meshgrid(np.arange(120), np.arange(120))
    places = to_geographic(west).transform(here.x_ul + 10 * columns + 5, here.y_ul - 10 * rows - 5)
    x2, y2 = to_zone(east).transform(*places)
    column2 = np.floor(x2 / 10).astype(int)
    row2 = np.floor(((0 if lat > 0 else 1e7) - y2) / 10).astype(int)
    left, top = column2.min() // 6 * 6, row2.min() // 6 * 6
    there = ground_of(Window(east, int(left), int(top), 180, 180), seed=0).truth
    same = truth == there[row2 - top, column2 - left]
    assert same.mean() > 0.90
    inner = np.ones(truth.shape, bool)
    for down, right in np.ndindex(3, 3):
        inner &= np.roll(truth, (down - 1, right - 1), (0, 1)) == truth
    assert same[1:-1, 1:-1][inner[1:-1, 1:-1]].mean() > 0.98, "they may differ at borders only"


def test_land_is_continuous_across_the_equator():
    north = ground_of(Window(32633, 50_000, -60, 120, 60), seed=0).truth
    south = ground_of(Window(32733, 50_000, -60, 120, 60), seed=0).truth
    assert (north == south).mean() > 0.995


def test_all_classes_appear_and_none_fills_the_earth():
    rng = np.random.default_rng(5)
    counts = np.zeros(9)
    for lon, lat in zip(rng.uniform(-180, 180, 110), rng.uniform(-50, 68, 110), strict=True):
        counts += np.bincount(EARTH.truth(grid_at(lon, lat, size_px=60)).ravel(), minlength=9)
    shares = counts / counts.sum()
    assert (shares > 0.001).all()
    assert shares.max() < 0.45


def test_land_has_structure_larger_than_pixels():
    truths = [EARTH.truth(grid_at(lon, 45.0)) for lon in range(-170, 180, 20)]
    same = np.mean([(truth[:, 1:] == truth[:, :-1]).mean() for truth in truths])
    mixed = np.mean([len(np.unique(truth)) > 2 for truth in truths])
    assert same > 0.9
    assert mixed > 0.4


def test_another_seed_is_another_earth():
    grid = grid_at(10.0, 50.0, size_px=60)
    truths = [SyntheticEarth(seed).truth(grid) for seed in range(4)]
    assert len({truth.tobytes() for truth in truths}) == 4
    assert (EARTH.truth(grid) == truths[0]).all()


def test_varieties_belong_to_the_class_of_their_pixel():
    ground = ground_of(Window(32632, 60_000, -530_004, 120, 120), seed=0)
    np.testing.assert_array_equal(ground.code // NUM_STRAINS, ground.truth)
