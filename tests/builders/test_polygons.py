import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Point, Polygon

from builders.areas import equal_area_m2, equal_areas_m2
from builders.polygons import clean_polygons, split_at_antimeridian

SQUARE = shapely.box(10.0, 50.0, 11.0, 51.0)


def across(west=179.5, east=-179.5, south=-18.0, north=-17.0):
    """A box from `west` eastwards to `east`, in one piece as OpenStreetMap may have it."""
    return Polygon([(west, south), (east, south), (east, north), (west, north)])


def test_what_is_fit_for_use_stays_as_it_is():
    holed = SQUARE.difference(shapely.box(10.2, 50.2, 10.4, 50.4))
    cleaned = clean_polygons([SQUARE, holed])
    assert cleaned.geometries.tolist() == [SQUARE, holed]
    assert not (cleaned.split | cleaned.repaired | cleaned.dropped).any()


def test_a_bow_tie_becomes_two_triangles_and_a_spike_disappears():
    bow_tie = Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    spike = Polygon([(0, 0), (1, 0), (1, 1), (5, 1), (1, 1), (0, 1)])
    cleaned = clean_polygons([bow_tie, spike, SQUARE])
    assert [shape.area for shape in cleaned.geometries] == [2.0, 1.0, 1.0]
    assert len(cleaned.geometries[0].geoms) == 2
    assert cleaned.repaired.tolist() == [True, True, False]


def test_what_has_no_surface_is_dropped():
    flat = Polygon([(0, 0), (1, 1), (2, 2)])
    cleaned = clean_polygons([flat, Polygon(), None, SQUARE])
    assert cleaned.geometries.tolist() == [None, None, None, SQUARE]
    assert cleaned.dropped.tolist() == [True, True, True, False]
    assert not cleaned.repaired.any()
    assert len(clean_polygons([]).geometries) == 0


def test_a_polygon_across_the_antimeridian_is_cut_there():
    (shape,) = clean_polygons([across()]).geometries
    assert sorted(part.bounds for part in shape.geoms) == [
        (-180.0, -18.0, -179.5, -17.0),
        (179.5, -18.0, 180.0, -17.0),
    ]
    assert equal_area_m2(shape) == pytest.approx(equal_area_m2(shapely.box(0.0, -18.0, 1.0, -17.0)))


def test_a_polygon_that_only_ends_at_the_antimeridian_is_not_touched():
    halves = MultiPolygon([shapely.box(179.0, 0.0, 180.0, 1.0), shapely.box(-180.0, 0.0, -179.0, 1.0)])
    wide = shapely.segmentize(shapely.box(-179.0, 60.0, 179.0, 70.0), 90.0)
    cleaned = clean_polygons([halves, wide])
    assert cleaned.geometries.tolist() == [halves, wide]
    assert not cleaned.split.any()


@pytest.mark.parametrize(
    "hole",
    [
        shapely.box(179.7, -17.7, 179.9, -17.3),
        shapely.box(-179.9, -17.7, -179.7, -17.3),
        across(179.9, -179.9, -17.7, -17.3),
    ],
)
@pytest.mark.parametrize("reads_it_as_a_hole", [True, False])
def test_a_hole_stays_a_hole_on_either_side_of_the_antimeridian(hole, reads_it_as_a_hole):
    # Without knowing of the antimeridian, a hole seems to lie outside of its shell, or around it.
    rings = (
        Polygon(across().exterior, [hole.exterior]) if reads_it_as_a_hole else MultiPolygon([across(), hole])
    )
    (shape,) = clean_polygons([rings]).geometries
    assert shape.is_valid
    assert equal_area_m2(shape) == pytest.approx(
        equal_area_m2(shapely.box(0.0, -18.0, 1.0, -17.0))
        - equal_area_m2(shapely.box(0.0, -17.7, 0.2, -17.3))
    )
    middle = hole.representative_point() if hole.bounds[2] - hole.bounds[0] < 1.0 else Point(179.95, -17.5)
    assert not shape.contains(middle)


def test_a_ring_around_a_pole_is_dropped():
    ring = Polygon([(0.0, 80.0), (90.0, 80.0), (179.0, 80.0), (-90.0, 80.0), (-1.0, 80.0)])
    assert split_at_antimeridian(ring) is None
    assert clean_polygons([ring]).dropped.all()


@given(st.integers(0, 9), st.booleans(), st.floats(-179.0, 179.0), st.floats(-79.0, 83.0))
def test_a_ring_has_one_size_wherever_it_is_read_from(start, backwards, lon, lat):
    angles = np.linspace(0.0, 2 * np.pi, 10, endpoint=False)
    points = np.round(np.stack([lon + 0.01 * np.cos(angles), lat + 0.02 * np.sin(angles)], axis=1), 7)
    again = np.roll(points, start, axis=0)[:: -1 if backwards else 1]
    assert equal_area_m2(Polygon(again)) == equal_area_m2(Polygon(points))
    assert equal_areas_m2(np.array([Polygon(points)], dtype=object)) == [equal_area_m2(Polygon(points))]
