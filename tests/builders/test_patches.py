import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer

from builders.patches import in_own_zone, outline, place_patches
from noldo.errors import InputError
from noldo.grids import Grid


def place(lon, lat, size_px=264):
    return place_patches(np.array([lon], dtype=float), np.array([lat], dtype=float), size_px=size_px)


@given(st.floats(-180, 180), st.floats(-80, 84), st.sampled_from([6, 66, 210, 264]))
def test_the_centre_moves_at_most_30_m_and_the_corner_lies_on_the_lattice(lon, lat, size_px):
    patches = place(lon, lat, size_px)
    grid = patches.grids[0]
    to_zone = Transformer.from_crs("EPSG:4326", f"EPSG:{grid.crs_epsg}", always_xy=True)
    wanted = np.array(to_zone.transform(lon, lat))
    assert np.abs(np.array(grid.centre) - wanted).max() <= 30 + 1e-6
    assert grid.x_ul % 60 == 0
    assert grid.y_ul % 60 == (40 if lat < 0 else 0)
    found = np.array(to_zone.transform(patches.lon[0], patches.lat[0]))
    np.testing.assert_allclose(found, grid.centre, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [
        (13.4, 52.5, 32633),  # Berlin
        (5.32, 60.39, 32632),  # Bergen: zone 32 is widened in Norway
        (15.6, 78.2, 32633),  # Longyearbyen: zones of Svalbard
        (20.9, 78.2, 32633),
        (21.1, 78.2, 32635),
        (-70.65, -33.45, 32719),  # Santiago
        (179.95, -16.9, 32760),  # Fiji, both sides of the antimeridian
        (-179.95, -16.9, 32701),
        (180.0, 67.0, 32660),
        (0.0, 0.0, 32631),
    ],
)
def test_the_zone_is_that_of_mgrs(lon, lat, epsg):
    assert place(lon, lat).grids[0].crs_epsg == epsg


def test_patches_keep_the_order_of_the_places_whatever_their_zones():
    lon, lat = np.array([100.0, -70.0, 100.1, 13.0]), np.array([10.0, -30.0, 10.0, 50.0])
    patches = place_patches(lon, lat, size_px=264)
    assert len(patches) == 4
    np.testing.assert_allclose(patches.lon, lon, atol=1e-3)
    np.testing.assert_allclose(patches.lat, lat, atol=1e-3)


@pytest.mark.parametrize(
    ("lon", "lat"), [(12.0, 48.0), (-114.0, 52.8), (33.0, 0.0), (3.0, 60.0), (180.0, -16.9)]
)
def test_a_centre_in_its_own_zone_gives_the_same_patch_again(lon, lat):
    """Along the edge of two zones, where snapping moves some centres across."""
    rng = np.random.default_rng(0)
    along = 5e-2 * rng.uniform(-1, 1, 1000)
    across = 5e-4 * rng.uniform(-1, 1, 1000)
    wanted_lon = (lon + (along if lat == 0 else across) + 180) % 360 - 180
    patches = place_patches(wanted_lon, lat + (across if lat == 0 else along), size_px=264)
    in_zone = in_own_zone(patches)
    assert 0 < in_zone.sum() < 1000
    again = place_patches(patches.lon, patches.lat, size_px=264)
    same = [new == old for new, old in zip(again.grids, patches.grids, strict=True)]
    assert same == in_zone.tolist()


def test_a_centre_that_was_moved_beyond_84_north_lies_in_no_zone():
    patches = place_patches(np.linspace(9.1, 20.9, 100), np.full(100, 84.0), size_px=264)
    assert in_own_zone(patches).tolist() == (patches.lat <= 84).tolist()
    assert (patches.lat > 84).any()


def test_no_places_give_no_patches():
    assert len(place_patches(np.array([]), np.array([]), size_px=264)) == 0


def test_a_place_outside_utm_is_an_error():
    with pytest.raises(InputError, match="outside UTM"):
        place(0.0, 84.5)


def test_the_outline_has_the_corners_and_edge_midpoints():
    grid = Grid(32632, 500_040, 5_000_040, 264)
    lon, lat = outline([grid])
    to_zone = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    x, y = to_zone.transform(lon[0], lat[0])
    found = {(round(a - grid.x_ul), round(grid.y_ul - b)) for a, b in zip(x, y, strict=True)}
    sides = (0, 1320, 2640)
    assert found == {(a, b) for a in sides for b in sides} - {(1320, 1320)}


def test_the_outline_across_the_antimeridian_has_both_signs():
    lon, _ = outline(place(179.999, 66.0).grids)
    assert (lon > 179).any()
    assert (lon < -179).any()
