import numpy as np
import pytest

from builders.land import land_test, touches_land
from builders.patches import place_patches


def place(lon, lat):
    return place_patches(np.array([lon], dtype=float), np.array([lat], dtype=float), size_px=264)


@pytest.mark.parametrize(
    ("lon", "lat", "expected"),
    [
        (13.4, 52.5, True),  # Berlin
        (-40.0, 40.0, False),  # Atlantic
        (9.3, 47.62, True),  # Lake Constance: lakes are land here
        (-70.65, -33.45, True),  # Santiago
        (178.4, -18.0, True),  # Fiji
        (180.0, 67.5, True),  # Chukotka, at the antimeridian itself
        (-180.0, 67.5, True),
        (0.0, -79.0, True),  # Antarctica
        (180.0, 0.0, False),
    ],
)
def test_real_coastlines_are_known(lon, lat, expected):
    assert land_test()(np.array([lon]), np.array([lat])).tolist() == [expected]


def test_a_patch_whose_centre_is_at_sea_touches_land_if_its_edge_does():
    centre = np.array([4.53]), np.array([52.4])  # off Zandvoort
    assert not land_test()(*centre)[0]
    assert touches_land(place(4.53, 52.4), land_test()).tolist() == [True]
    assert touches_land(place(4.3, 52.4), land_test()).tolist() == [False]


def test_only_patches_with_their_centre_at_sea_are_looked_at_closely():
    asked = []

    def east_is_land(lon, lat):
        asked.append(lon.size)
        return lon > 0

    patches = place_patches(np.array([10.0, -10.0, 0.005, -0.005]), np.full(4, 50.0), size_px=264)
    assert touches_land(patches, east_is_land).tolist() == [True, False, True, True]
    assert asked == [4, 2 * 8]


def test_any_shape_of_coordinates_is_answered_in_that_shape():
    lon = np.array([[13.4, -40.0, 9.3], [13.4, -40.0, 9.3]])
    lat = np.array([[52.5, 40.0, 47.62]] * 2)
    assert land_test()(lon.T, lat.T).tolist() == [[True, True], [False, False], [True, True]]
