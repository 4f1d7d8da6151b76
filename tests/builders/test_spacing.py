import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from builders.spacing import MEAN_RADIUS_M, Spacing, earth_centred

longitudes = st.floats(-180, 180)
latitudes = st.floats(-80, 84)


def accepted(lon, lat, distance_m):
    spacing = Spacing(distance_m)
    points = earth_centred(np.array(lon, dtype=float), np.array(lat, dtype=float))
    return [
        spacing.accept(tuple(point), cube)
        for point, cube in zip(points.tolist(), spacing.cubes(points), strict=True)
    ]


@given(longitudes, latitudes)
def test_earth_centred_points_are_those_of_proj(lon, lat):
    to_centre = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    expected = to_centre.transform(lon, lat, 0.0)
    np.testing.assert_allclose(
        earth_centred(np.array([lon]), np.array([lat]))[0], expected, rtol=0, atol=1e-6
    )


@given(longitudes, latitudes, st.floats(0, 360), st.floats(0.01, 20_000), st.booleans())
def test_a_place_is_refused_exactly_if_the_geodesic_is_shorter_than_the_spacing(
    lon, lat, azimuth, distance_m, nearer
):
    step = distance_m * (0.999 if nearer else 1.001)
    other_lon, other_lat, _ = Geod(ellps="WGS84").fwd(lon, lat, azimuth, step)
    assert accepted([lon, other_lon], [lat, other_lat], distance_m) == [None, 0 if nearer else None]


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)), min_size=2, max_size=60))
def test_acceptance_is_that_of_comparing_every_pair_in_order(offsets):
    lon = [(180 + east + 180) % 360 - 180 for east, _ in offsets]
    lat = [north for _, north in offsets]
    geod = Geod(ellps="WGS84")
    kept: list[int] = []
    expected = []
    for row in range(len(lon)):
        near = [rank for rank, k in enumerate(kept) if geod.inv(lon[k], lat[k], lon[row], lat[row])[2] < 5000]
        expected.append(bool(near))
        if not near:
            kept.append(row)
    assert [rank is not None for rank in accepted(lon, lat, 5000.0)] == expected


def test_the_antimeridian_is_no_border():
    assert accepted([179.999, -179.999], [0.0, 0.0], 500.0) == [None, 0]


def test_long_distances_are_measured_along_the_surface():
    quarter = MEAN_RADIUS_M * np.pi / 2
    assert accepted([0.0, 90.0], [0.0, 0.0], 0.99 * quarter) == [None, None]
    assert accepted([0.0, 90.0], [0.0, 0.0], 1.01 * quarter) == [None, 0]
    assert accepted([0.0, 180.0], [0.0, 0.0], 1e9) == [None, 0]


def test_no_spacing_refuses_nothing_not_even_the_same_place():
    assert accepted([5.0, 5.0], [5.0, 5.0], 0.0) == [None, None]
