import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from builders.cities import City, bundled_cities
from builders.land import land_test
from builders.sampling import (
    BATCH_SIZE,
    SENTINEL_2_LATITUDES,
    sample_locations,
    step_from,
)
from noldo.errors import ConfigError
from noldo.grids import utm_epsg

SPACING_M = 264 * 10 * 2**0.5


def everywhere(lon, lat):
    return np.ones(np.shape(lon), dtype=bool)


def nowhere(lon, lat):
    return np.zeros(np.shape(lon), dtype=bool)


def sample(cities, count, *, seed=42, sigma_m=50_000.0, spacing_m=SPACING_M, size_px=264, is_land=everywhere):
    return sample_locations(
        cities,
        count=count,
        seed=seed,
        sigma_m=sigma_m,
        min_spacing_m=spacing_m,
        size_px=size_px,
        is_land=is_land,
    )


def one_city(lon, lat):
    return [City("X", lon, lat, 1)]


@functools.cache
def around_the_world(count):
    return sample(bundled_cities(10_000), count)


def geodesics(lon, lat):
    """Length of the geodesic of every pair in metres."""
    first, second = np.triu_indices(len(lon), k=1)
    return Geod(ellps="WGS84").inv(lon[first], lat[first], lon[second], lat[second])[2]


@pytest.mark.parametrize("lat", [0.0, 45.0, 60.0, -54.8, 78.2, 83.9])
def test_sigma_is_50_km_to_the_east_and_to_the_north_at_any_latitude(lat):
    count = 100_000
    lon, new_lat = step_from(
        np.full(count, 10.0), np.full(count, lat), sigma_m=50_000, rng=np.random.default_rng(1)
    )
    to_local = Transformer.from_crs("EPSG:4326", f"+proj=aeqd +lon_0=10 +lat_0={lat}", always_xy=True)
    east, north = to_local.transform(lon, new_lat)
    for offsets in (east, north):
        assert np.std(offsets) == pytest.approx(50_000, rel=0.01)
        assert np.mean(offsets) == pytest.approx(0, abs=600)
    assert abs(np.corrcoef(east, north)[0, 1]) < 0.01


def test_accepted_locations_spread_by_sigma_when_nothing_is_refused():
    """At 60 N a degree of longitude is half one of latitude: the cloud must be round in metres."""
    patches = sample(one_city(25.0, 60.0), 4000, spacing_m=0.0, size_px=6).patches
    to_local = Transformer.from_crs("EPSG:4326", "+proj=aeqd +lon_0=25 +lat_0=60", always_xy=True)
    for offsets in to_local.transform(patches.lon, patches.lat):
        assert np.std(offsets) == pytest.approx(50_000, rel=0.05)
        assert np.quantile(np.abs(offsets), 0.95) == pytest.approx(1.96 * 50_000, rel=0.05)


@settings(max_examples=8, deadline=None)
@given(
    st.floats(-180, 180),
    st.floats(-55, 83),
    st.integers(0, 2**31),
    st.floats(500, 20_000),
)
def test_no_two_centres_are_nearer_than_the_spacing(lon, lat, seed, spacing_m):
    patches = sample(one_city(lon, lat), 60, seed=seed, spacing_m=spacing_m).patches
    assert geodesics(patches.lon, patches.lat).min() >= spacing_m - 0.01


def test_patches_of_one_zone_never_overlap():
    """A diagonal apart and on the 60 m lattice, two squares have at most an edge in common."""
    grids = sample(one_city(9.0, 48.0), 400).patches.grids
    x = np.array([grid.x_ul for grid in grids])
    y = np.array([grid.y_ul for grid in grids])
    zone = np.array([grid.crs_epsg for grid in grids])
    first, second = np.triu_indices(len(grids), k=1)
    apart = np.maximum(abs(x[first] - x[second]), abs(y[first] - y[second]))
    assert apart[zone[first] == zone[second]].min() >= 2640


def test_without_spacing_no_patch_comes_twice():
    grids = sample(one_city(9.0, 48.0), 3000, sigma_m=2000.0, spacing_m=0.0, size_px=6).patches.grids
    assert len(set(grids)) == 3000


@pytest.mark.parametrize("count", [1, 100, BATCH_SIZE - 5000, BATCH_SIZE + 1])
def test_the_first_locations_are_the_same_for_any_count(count):
    few, many = around_the_world(count), around_the_world(BATCH_SIZE + 4000)
    assert few.patches.grids == many.patches.grids[:count]
    np.testing.assert_array_equal(few.patches.lon, many.patches.lon[:count])
    np.testing.assert_array_equal(few.city, many.city[:count])


def test_the_same_seed_gives_the_same_and_another_seed_other_locations():
    first = sample(one_city(9.0, 48.0), 50, seed=1).patches.grids
    assert first == sample(one_city(9.0, 48.0), 50, seed=1).patches.grids
    assert not set(first) & set(sample(one_city(9.0, 48.0), 50, seed=2).patches.grids)


def test_every_draw_is_counted():
    counts = around_the_world(BATCH_SIZE + 4000).counts
    assert counts.accepted == BATCH_SIZE + 4000
    assert counts.draws == sum(
        (counts.accepted, counts.outside, counts.on_edge, counts.at_sea, counts.too_near)
    )
    assert counts.too_near > 0


def test_cities_are_picked_alike_whatever_their_population():
    cities = [City("Large", 10.0, 50.0, 10_000_000), City("Small", 30.0, 50.0, 1)]
    found = sample(cities, 2000, spacing_m=0.0, size_px=6)
    assert (found.city == 0).mean() == pytest.approx(0.5, abs=0.05)
    assert (abs(found.patches.lon - np.where(found.city == 0, 10.0, 30.0)) < 5).all()


def test_a_city_at_the_antimeridian_has_locations_on_both_sides():
    patches = sample(one_city(179.95, -16.8), 200).patches
    assert {grid.crs_epsg for grid in patches.grids} == {32760, 32701}
    assert abs(patches.lon).max() <= 180
    assert geodesics(patches.lon, patches.lat).min() >= SPACING_M - 0.01


def test_the_equator_has_both_hemispheres():
    patches = sample(one_city(-57.0, 0.0), 100).patches
    assert {grid.crs_epsg for grid in patches.grids} == {32621, 32721}
    assert all(
        (grid.crs_epsg == 32621) == (lat > 0) for grid, lat in zip(patches.grids, patches.lat, strict=True)
    )


def test_svalbard_and_norway_have_the_zones_of_mgrs():
    svalbard = sample(one_city(20.6, 78.2), 200).patches
    assert {grid.crs_epsg for grid in svalbard.grids} == {32633, 32635}  # 34 does not exist up there
    norway = sample(one_city(6.0, 60.4), 200).patches
    assert 32632 in {grid.crs_epsg for grid, lon in zip(norway.grids, norway.lon, strict=True) if lon < 6}
    for patches in (svalbard, norway):
        for grid, lon, lat in zip(patches.grids, patches.lon.tolist(), patches.lat.tolist(), strict=True):
            assert grid.crs_epsg == utm_epsg(lon, lat)


def test_draws_beyond_the_latitudes_of_sentinel_2_are_refused_and_counted():
    found = sample(one_city(-67.0, -55.9), 100)
    assert found.patches.lat.min() >= SENTINEL_2_LATITUDES[0] - 0.001
    assert found.counts.outside > 20


def test_draws_that_snap_across_the_edge_of_a_zone_are_refused_and_counted():
    found = sample(one_city(12.0, 48.0), 500, sigma_m=300.0, spacing_m=0.0, size_px=6)
    assert found.counts.on_edge > 0
    for grid, lon, lat in zip(
        found.patches.grids, found.patches.lon.tolist(), found.patches.lat.tolist(), strict=True
    ):
        assert grid.crs_epsg == utm_epsg(lon, lat)


def test_draws_at_sea_are_refused_and_counted():
    found = sample(one_city(0.0, 10.0), 200, is_land=lambda lon, lat: lon > 0)
    east_edge = found.patches.lon + 0.0125  # half a patch
    assert (east_edge > 0).all()
    assert found.counts.at_sea == pytest.approx(found.counts.accepted + found.counts.too_near, rel=0.3)


def test_real_coasts_leave_patches_that_touch_land():
    found = sample(one_city(-157.86, 21.3), 60, is_land=land_test())  # Honolulu
    assert found.counts.at_sea > found.counts.accepted
    assert (abs(found.patches.lat - 21.3) < 3).all()


def test_a_full_neighbourhood_is_an_error_that_says_how_many_fit_and_what_to_change():
    with pytest.raises(ConfigError) as caught:
        sample(one_city(9.0, 48.0), 500, sigma_m=2000.0)
    message = str(caught.value)
    assert message.startswith("locations.count: 500 asked for, but after ")
    assert "locations.min_spacing_m" in message
    assert "raise locations.sigma_km or locations.num_cities" in message
    fit = int(message.partition("only ")[2].partition(" fit")[0])
    assert 3 <= fit < 30
    assert len(sample(one_city(9.0, 48.0), fit, sigma_m=2000.0).patches) == fit


def test_cities_without_land_are_an_error_that_says_so():
    with pytest.raises(ConfigError, match=rf"only 0 fit .*{BATCH_SIZE} at sea"):
        sample(one_city(-40.0, 40.0), 1, is_land=nowhere)
