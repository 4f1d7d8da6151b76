import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Polygon

from builders.areas import Area, equal_area_m2
from builders.burn import MAX_SEGMENT_DEG, burn, project, rasterize
from builders.polygons import clean_polygons
from builders.surroundings import cut, surroundings
from builders.tag_table import load_tag_table, ranked
from noldo.errors import InputError
from noldo.grids import Grid, snapped_grid, utm_epsg

REAL = Path(os.environ.get("NOLDO_REAL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))

SIZE_PX = 30
FOREST, WATER, URBAN = 7, 12, 0

PLACES = {
    "middle of a zone": (9.0, 48.0),
    "border of zones 31 and 32": (6.0, 50.0),
    "Norway's exception": (3.0, 60.0),
    "across 180, in zone 60": (179.9995, 65.0),
    "across 180, in zone 1": (-179.9995, -17.0),
    "southern hemisphere": (20.0, -33.0),
    "equator": (37.0, 0.0),
    "far north": (20.99, 78.0),
}


def patch_at(lon: float, lat: float, *, size_px: int = SIZE_PX) -> Grid:
    epsg = utm_epsg(lon, lat)
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", epsg, always_xy=True).transform(lon, lat)
    return snapped_grid(x, y, crs_epsg=epsg, size_px=size_px)


def in_degrees(points_m, grid: Grid) -> Polygon:
    """Polygon through points in metres from the patch's centre: as OSM has it, to seven decimals."""
    x, y = (np.asarray(points_m) + grid.centre).T
    back = pyproj.Transformer.from_crs(grid.crs_epsg, "OGC:CRS84", always_xy=True)
    return Polygon(np.round(np.stack(back.transform(x, y), axis=1), 7))


def square_m(side: float, *, x: float = 0.0, y: float = 0.0):
    return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * side / 2 + (x, y)


def area_of(shape, class_id: int = FOREST, osm_id: int = 1, osm_type: str = "way") -> Area:
    (clean,) = clean_polygons([shape]).geometries
    return Area(osm_type, osm_id, class_id, equal_area_m2(clean) if clean else 0.0, shape)


@st.composite
def stars(draw):
    """A ring in metres that goes once around a point in or near the patch."""
    num_points = draw(st.integers(3, 12))
    reach = draw(st.lists(st.floats(5.0, 600.0), min_size=num_points, max_size=num_points))
    angles = np.linspace(0.0, 2 * np.pi, num_points, endpoint=False) + draw(st.floats(0.0, 1.0))
    centre = draw(st.tuples(st.floats(-200.0, 200.0), st.floats(-200.0, 200.0)))
    return np.stack([reach * np.cos(angles), reach * np.sin(angles)], axis=1) + centre


grids = st.sampled_from(sorted(PLACES)).map(lambda name: patch_at(*PLACES[name]))


def pixel_centres(grid: Grid):
    steps = (np.arange(grid.size_px) + 0.5) * 10
    return np.meshgrid(grid.x_ul + steps, grid.y_ul - steps)


def finely_projected(shape, grid: Grid):
    """The truth: cut nowhere but at the antimeridian, with points every two metres."""
    (clean,) = clean_polygons([shape]).geometries
    fine = shapely.segmentize(clean, 2e-5)
    to_zone = pyproj.Transformer.from_crs("OGC:CRS84", grid.crs_epsg, always_xy=True)
    return shapely.union_all([Polygon(_projected(part, to_zone)) for part in shapely.get_parts(fine)])


def _projected(shape, to_zone):
    return np.stack(to_zone.transform(*shapely.get_coordinates(shape).T), axis=1)


@given(grids, stars())
def test_a_pixel_is_labelled_if_and_only_if_its_centre_is_in_the_polygon(grid, star):
    shape = in_degrees(star, grid)
    truth = finely_projected(shape, grid)
    x, y = pixel_centres(grid)
    clear = shapely.distance(shapely.boundary(truth), shapely.points(x, y)) > 0.01
    labelled = burn([area_of(shape)], grid).labels == FOREST
    np.testing.assert_array_equal(labelled[clear], shapely.contains_xy(truth, x, y)[clear])


@given(grids, st.lists(st.tuples(stars(), st.integers(0, 12)), min_size=2, max_size=6), st.randoms())
def test_labels_do_not_depend_on_the_order_of_the_areas(grid, drawn, random):
    areas = [
        area_of(in_degrees(star, grid), class_id, osm_id) for osm_id, (star, class_id) in enumerate(drawn)
    ]
    areas.append(replace(areas[0], osm_id=99, class_id=12 - areas[0].class_id))  # of the same size
    shuffled = random.sample(areas, len(areas))
    priorities = ranked(load_tag_table("osmlanduser-1"))
    for ranks in (None, priorities):
        one, other = burn(areas, grid, priorities=ranks), burn(shuffled, grid, priorities=ranks)
        np.testing.assert_array_equal(one.labels, other.labels)


@given(grids, stars(), st.floats(0.1, 0.9))
def test_a_smaller_polygon_inside_a_larger_one_is_always_seen(grid, star, share):
    middle = star.mean(axis=0)
    forest = area_of(in_degrees(star, grid), FOREST, 1)
    lake = area_of(in_degrees(middle + share * (star - middle), grid), WATER, 2)
    both = burn([lake, forest], grid).labels
    alone = burn([lake], grid).labels
    np.testing.assert_array_equal(both == WATER, alone == WATER)


@given(grids, stars(), st.floats(1.0, 300.0))
def test_a_polygon_cut_to_the_surroundings_is_burnt_as_the_whole_one(grid, star, stretch):
    # Up to 180 km wide, with edges far longer than the patch.
    shape = in_degrees(star * stretch, grid)
    (whole,) = clean_polygons([shape]).geometries
    (piece,) = cut(np.array([whole], dtype=object), surroundings([grid]))
    uncut = rasterize(
        project(np.array([whole], dtype=object), crs_epsg=grid.crs_epsg),
        [FOREST],
        transform=grid.transform(),
        shape=grid.shape(),
    )
    x, y = pixel_centres(grid)
    (edges,) = shapely.boundary(project(np.array([whole], dtype=object), crs_epsg=grid.crs_epsg))
    near = shapely.clip_by_rect(edges, *grid.bounds)
    clear = ~(shapely.distance(near, shapely.points(x, y)) <= 0.01)  # NaN, where there is no edge, is far
    for given_shape in (shape, piece):
        labels = burn([area_of(given_shape)] if given_shape else [], grid).labels
        np.testing.assert_array_equal(labels[clear], uncut[clear])


@given(st.floats(-179.0, 179.0), st.floats(-80.0, 84.0), st.floats(0.0, 360.0))
def test_a_piece_of_an_edge_leaves_its_curve_by_less_than_half_a_centimetre(lon, lat, degrees):
    angle = np.radians(degrees)
    reach = 0.02 * np.array([np.cos(angle), np.sin(angle)])
    ends = np.clip(np.array([lon, lat]) + np.array([(0.0, 0.0), reach]), (-180.0, -80.0), (180.0, 84.0))
    epsg = utm_epsg(lon, lat)
    edge = shapely.LineString(ends)
    to_zone = pyproj.Transformer.from_crs("OGC:CRS84", epsg, always_xy=True)
    curve = _projected(shapely.segmentize(edge, MAX_SEGMENT_DEG / 50), to_zone)
    (chords,) = project(np.array([edge], dtype=object), crs_epsg=epsg)
    assert shapely.distance(chords, shapely.points(curve)).max() < 0.005


@pytest.mark.parametrize("place", PLACES)
def test_an_area_that_encloses_the_patch_labels_all_of_it(place):
    grid = patch_at(*PLACES[place])
    burnt = burn([area_of(in_degrees(square_m(200_000.0), grid))], grid)
    assert (burnt.labels == FOREST).all()
    assert (burnt.num_areas, burnt.num_burnt, burnt.num_enclosing) == (1, 1, 1)


@pytest.mark.parametrize("place", PLACES)
def test_a_square_has_its_size_wherever_it_lies(place):
    grid = patch_at(*PLACES[place])
    burnt = burn([area_of(in_degrees(square_m(100.0), grid))], grid)
    assert (burnt.labels == FOREST).sum() == pytest.approx(100, abs=21)  # a row and a column more or less
    rows, columns = np.nonzero(burnt.labels == FOREST)
    assert rows.mean() == pytest.approx(columns.mean(), abs=0.6)
    assert rows.mean() == pytest.approx((SIZE_PX - 1) / 2, abs=0.6)


def test_areas_across_the_antimeridian_are_counted_and_those_cut_there_meet_without_a_gap():
    grid = patch_at(*PLACES["across 180, in zone 1"])
    one_piece = area_of(in_degrees(square_m(280.0), grid))
    assert one_piece.geometry.bounds[0] < -179.9 < 179.9 < one_piece.geometry.bounds[2]
    burnt = burn([one_piece], grid)
    assert burnt.num_split == 1
    halves = burn([area_of(clean_polygons([one_piece.geometry]).geometries[0])], grid)
    assert halves.num_split == 0
    np.testing.assert_array_equal(burnt.labels, halves.labels)
    assert (burnt.labels[1:-1, 1:-1] == FOREST).all()


def test_a_hole_shows_what_is_below_or_nothing():
    grid = patch_at(9.0, 48.0)
    shell, hole = in_degrees(square_m(250.0), grid), in_degrees(square_m(100.0), grid)
    holed = area_of(Polygon(shell.exterior, [hole.exterior]))
    assert burn([holed], grid).labels[15, 15] == 255
    assert burn([holed], grid).labels[6, 6] == FOREST
    fields = area_of(in_degrees(square_m(290.0), grid), URBAN, 2)
    assert burn([holed, fields], grid).labels[15, 15] == URBAN


def test_an_area_is_as_large_as_it_was_before_it_was_cut():
    grid = patch_at(9.0, 48.0)
    corner = in_degrees(square_m(400.0, x=-300.0), grid)  # of which a small part lies in the patch
    wood, lake = area_of(corner, FOREST, 1), area_of(in_degrees(square_m(300.0), grid), WATER, 2)
    (piece,) = cut(np.array([corner], dtype=object), surroundings([grid]))
    assert piece.area < corner.area
    for shape in (corner, piece):
        assert burn([replace(wood, geometry=shape), lake], grid).labels[15, 0] == WATER


def test_of_equal_areas_a_way_is_seen_before_a_relation_and_then_the_lower_id():
    grid = patch_at(9.0, 48.0)
    shape = in_degrees(square_m(100.0), grid)
    way, later = area_of(shape, FOREST, 5), area_of(shape, WATER, 6)
    relation = area_of(shape, URBAN, 1, "relation")
    assert burn([later, relation, way], grid).labels[15, 15] == FOREST
    assert burn([relation, later], grid).labels[15, 15] == WATER


def test_with_priorities_the_more_important_class_is_seen_and_within_one_the_smaller_area():
    grid = patch_at(9.0, 48.0)
    town = area_of(in_degrees(square_m(280.0), grid), URBAN, 1)
    wood = area_of(in_degrees(square_m(200.0), grid), FOREST, 2)
    lake = area_of(in_degrees(square_m(100.0), grid), WATER, 3)
    ranks = {URBAN: 1, WATER: 2, FOREST: 2}
    labels = burn([town, wood, lake], grid, priorities=ranks).labels
    assert set(np.unique(labels)) == {URBAN, 255}
    assert burn([wood, lake], grid, priorities=ranks).labels[15, 15] == WATER
    with pytest.raises(InputError, match=r"way 2: class 7 has no priority, expected one of \[0\]"):
        burn([wood], grid, priorities={URBAN: 1})


def test_every_area_is_counted_once():
    grid = patch_at(9.0, 48.0)
    bow_tie = in_degrees([(-50, -50), (50, 50), (50, -50), (-50, 50)], grid)
    elsewhere = in_degrees(square_m(100.0, x=5_000.0), grid)
    flat = in_degrees([(0, 0), (10, 10), (0, 0)], grid)
    areas = [area_of(shape, osm_id=number) for number, shape in enumerate([bow_tie, elsewhere])]
    burnt = burn([*areas, Area("way", 9, FOREST, 0.0, flat)], grid)
    assert (burnt.num_areas, burnt.num_burnt, burnt.num_outside, burnt.num_dropped) == (3, 1, 1, 1)
    assert burnt.num_repaired == 1
    assert 40 < (burnt.labels == FOREST).sum() < 60


def test_a_patch_without_areas_has_no_labels():
    burnt = burn([], patch_at(9.0, 48.0))
    assert (burnt.labels == 255).all()
    assert burnt.labels.dtype == np.uint8
    assert burnt.num_areas == 0


def test_official_land_use_polygons_give_the_official_raster():
    folder = REAL / "slovenia_land_use"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; point NOLDO_REAL_DATA to a folder that has it")
    import pyogrio

    table = pyogrio.read_dataframe(folder / "LULC_vector.gpkg")
    official = np.load(folder / "LULC_raster.npy")[..., 0]
    ring = np.array(json.loads((folder / "bbox.geojson").read_text())["coordinates"][0])
    (west, south), (east, north) = ring.min(axis=0), ring.max(axis=0)
    rows, columns = official.shape
    labels = rasterize(
        table.geometry.to_numpy(),
        table.LULC_ID.tolist(),
        transform=((east - west) / columns, 0.0, west, 0.0, (south - north) / rows, north),
        shape=official.shape,
    )
    assert len(table) == 88
    np.testing.assert_array_equal(np.where(labels == 255, 0, labels), official)


def test_a_multipolygon_is_burnt_as_its_parts():
    grid = patch_at(9.0, 48.0)
    parts = [in_degrees(square_m(50.0, x=offset), grid) for offset in (-100.0, 100.0)]
    one = burn([area_of(MultiPolygon(parts))], grid).labels
    two = burn([area_of(part, osm_id=number) for number, part in enumerate(parts)], grid).labels
    np.testing.assert_array_equal(one, two)


def test_polygons_of_any_kind_are_burnt_as_rasterio_burns_them_one_by_one():
    from affine import Affine
    from rasterio.features import rasterize as rasterize_shapes

    grid = patch_at(9.0, 48.0)
    outer, inner = (square_m(side) + grid.centre for side in (200.0, 80.0))
    holed = Polygon(outer, [inner])
    apart = MultiPolygon([Polygon(square_m(60.0, x=x) + grid.centre) for x in (-100.0, 30.0)])
    shapes, values = [holed, apart, Polygon(inner + 5.0)], [FOREST, WATER, URBAN]
    for kinds in (slice(0, 1), slice(0, 2), slice(1, 2), slice(0, 3)):
        expected = rasterize_shapes(
            zip(shapes[kinds], values[kinds], strict=True),
            out_shape=grid.shape(),
            fill=255,
            transform=Affine(*grid.transform()),
            dtype="uint8",
        )
        found = rasterize(shapes[kinds], values[kinds], transform=grid.transform(), shape=grid.shape())
        np.testing.assert_array_equal(found, expected)
        assert (found != 255).any()
