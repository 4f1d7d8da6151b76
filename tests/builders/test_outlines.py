import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st

from builders.outlines import outlines
from noldo.grids import Grid, snapped_grid, utm_epsg


def patch_at(lon: float, lat: float, *, size_px: int = 264) -> Grid:
    epsg = utm_epsg(lon, lat)
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", epsg, always_xy=True).transform(lon, lat)
    return snapped_grid(x, y, crs_epsg=epsg, size_px=size_px)


@given(st.floats(-179.8, 179.8), st.floats(-79.5, 83.5), st.sampled_from([6, 264, 2046]))
def test_outlines_stay_within_half_a_metre_of_the_true_edges(lon, lat, size_px):
    grid = patch_at(lon, lat, size_px=size_px)
    (shape,) = outlines([grid])
    assume(shape.geom_type == "Polygon")
    dense = shapely.segmentize(shape, 0.0001)
    to_zone = pyproj.Transformer.from_crs("OGC:CRS84", grid.crs_epsg, always_xy=True)
    x, y = to_zone.transform(*shapely.get_coordinates(dense).T)
    x_min, y_min, x_max, y_max = grid.bounds
    inside = np.minimum.reduce([x - x_min, x_max - x, y - y_min, y_max - y])
    assert np.abs(inside).max() < 0.5
    assert shape.exterior.is_ccw


@pytest.mark.parametrize("lon", [179.999, -179.999])
def test_a_patch_across_the_antimeridian_is_two_polygons_that_meet_there(lon):
    (shape,) = outlines([patch_at(lon, 65.0)])
    assert shape.geom_type == "MultiPolygon"
    assert shape.is_valid
    west, east = sorted(part.bounds for part in shape.geoms)
    assert (west[0], east[2]) == (-180.0, 180.0)
    assert west[2] < -179.8
    assert east[0] > 179.8
    metres = [pyproj.Geod(ellps="WGS84").geometry_area_perimeter(part)[0] for part in shape.geoms]
    assert sum(metres) == pytest.approx(2640.0**2, rel=2e-3)


def test_the_order_of_zones_does_not_matter():
    grids = [patch_at(10.0, 50.0), patch_at(-70.0, -33.0), patch_at(10.1, 50.0)]
    assert outlines(grids) == [outlines([grid])[0] for grid in grids]
