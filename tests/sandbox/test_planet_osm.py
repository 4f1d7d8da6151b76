"""The synthetic OpenStreetMap: what is burnt from its elements is the land, where anybody has drawn it."""

import time
from collections import Counter

import numpy as np
import osmium
import pytest
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.features import rasterize
from shapely import LineString, Polygon
from shapely.ops import linemerge, polygonize

from noldo.errors import InputError
from noldo.grids import Grid, snapped_grid, utm_epsg
from noldo.legend import DYNAMIC_WORLD, MAPPINGS, OSM_LAND_USE
from sandbox.osm_elements import Elements
from sandbox.osm_extract import elements_near, places_of, write_extract
from sandbox.planet import SyntheticEarth
from sandbox.planet.lattice import to_zone
from sandbox.planet.osm import SyntheticOsm, expected_osm
from sandbox.planet.osm_parcels import LEAST_PX, OMITTED, Cell, parcels_of, region_of
from sandbox.planet.osm_tags import CLASS_OF_TAG
from sandbox.planet.truth import BUILT, CROPS, GRASS, SHRUB, WATER, ground_of

OSM = SyntheticOsm()

HEIGIT = {
    "urban_fabric": "landuse: residential, retail",
    "industrial_commercial_transport": "landuse: industrial, commercial, port, railway, lock; leisure: marina",
    "mine_dump_construction": "landuse: quarry, construction, landfill, brownfield",
    "artificial_vegetation": "landuse: recreation_ground, allotments, village_green, cemetery, grass; leisure: park, "
    "garden, pitch, golf_course, playground, stadium, recreation_ground, common, dog_park",
    "arable_land": "landuse: farmland, farmyard, greenhouse_horticulture, greenhouse",
    "permanent_crops": "landuse: vineyard, orchard",
    "pastures": "landuse: meadow",
    "forests": "landuse: forest; natural: wood",
    "shrub_and_herbaceous": "landuse: greenfield; natural: grassland, scrub, heath, fell",
    "open_spaces": "natural: beach, scree, shingle, bare_rock, sand, glacier, mud, rock, cliff, fill",
    "inland_wetlands": "natural: wetland",
    "coastal_wetlands": "landuse: salt_pond",
    "water_bodies": "landuse: basin, reservoir; natural: water, pond",
}
"""ohsome quality indicators, Land Cover Thematic Accuracy."""

CLASSES = {
    (part.split(": ")[0], value): OSM_LAND_USE.classes.index(name)
    for name, text in HEIGIT.items()
    for part in text.split("; ")
    for value in part.split(": ")[1].split(", ")
}


def grid_at(lon: float, lat: float, *, size_px: int = 264, off_px: int = 0) -> Grid:
    crs_epsg = utm_epsg(lon, lat)
    x, y = to_zone(crs_epsg).transform(lon, lat)
    grid = snapped_grid(x, y, crs_epsg=crs_epsg, size_px=size_px)
    return Grid(crs_epsg, grid.x_ul + 10 * off_px, grid.y_ul - 10 * off_px, size_px)


def outline(grid: Grid) -> Polygon:
    change = Transformer.from_crs(grid.crs_epsg, 4326, always_xy=True)
    return shapely.transform(
        shapely.segmentize(shapely.box(*grid.bounds), 500), change.transform, interleaved=False
    )


def listed_class(tags) -> int | None:
    found = {CLASSES[tag] for tag in tags.items() if tag in CLASSES}
    assert len(found) <= 1, tags
    return found.pop() if found else None


def line_of(elements: Elements, way_id: int) -> list[tuple[float, float]]:
    return [(elements.nodes[id_].lon, elements.nodes[id_].lat) for id_ in elements.ways[way_id].nodes]


def rings_of(elements: Elements, relation, role: str) -> list[Polygon]:
    lines = [LineString(line_of(elements, member.ref)) for member in relation.members if member.role == role]
    closed = [line for line in lines if line.is_closed]
    opened = [line for line in lines if not line.is_closed]
    return [Polygon(line) for line in closed] + list(polygonize(linemerge(opened)) if opened else [])


def areas_of(elements: Elements) -> list[tuple[Polygon, int]]:
    """Polygons in degrees with their class, as a reader assembles them. A closed cliff is a line."""
    found = []
    for way in elements.ways.values():
        class_id = listed_class(way.tags)
        if class_id is not None and way.nodes[0] == way.nodes[-1] and way.tags.get("natural") != "cliff":
            found.append((Polygon(line_of(elements, way.id)), class_id))
    for relation in elements.relations.values():
        class_id = listed_class(relation.tags)
        if class_id is not None:
            outer = shapely.union_all(rings_of(elements, relation, "outer"))
            found.append((outer - shapely.union_all(rings_of(elements, relation, "inner")), class_id))
    return found


def burn(areas, grid: Grid, *, smallest_on_top: bool = True) -> np.ndarray:
    """By pixel centre, largest first (or, to see what comes of it, smallest first)."""
    change = Transformer.from_crs(4326, grid.crs_epsg, always_xy=True)
    local = [
        (shapely.transform(area, change.transform, interleaved=False), class_id) for area, class_id in areas
    ]
    local.sort(key=lambda one: one[0].area, reverse=smallest_on_top)
    if not local:
        return np.full(grid.shape(), 255, np.uint8)
    return rasterize(local, grid.shape(), fill=255, transform=Affine(*grid.transform()), dtype="uint8")


def as_dynamic_world(classes: np.ndarray) -> np.ndarray:
    return MAPPINGS[OSM_LAND_USE.name, DYNAMIC_WORLD.name].lookup()[classes]


def places(region: str, count: int, *, seed: int = 3) -> list[tuple[float, float]]:
    """Land in the middle of regions of a kind."""
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        lon, lat = rng.integers(-340, 340) / 2, rng.integers(-110, 130) / 2 + 0.25
        if region_of(lon, lat, seed=0) == region:
            truth = SyntheticEarth().truth(grid_at(lon, lat, size_px=60))
            found += [(lon, lat)] if len(np.unique(truth)) > 1 else []
    return found


MAPPED = places("mapped", 24)


@pytest.mark.parametrize("number", range(8))
def test_what_is_burnt_is_what_was_drawn(number):
    grid = grid_at(*MAPPED[number], off_px=number)
    np.testing.assert_array_equal(burn(areas_of(OSM.near(outline(grid))), grid), expected_osm(grid, seed=0))


@pytest.mark.parametrize(("lon", "lat"), [(101.5, 1.75), (61.0, 11.25), (151.5, -41.75)])
def test_it_is_exact_where_a_hole_holds_an_area_with_a_hole_that_nobody_drew(lon, lat):
    grid = grid_at(lon, lat, size_px=528)
    np.testing.assert_array_equal(burn(areas_of(OSM.near(outline(grid))), grid), expected_osm(grid, seed=0))


@pytest.mark.parametrize(
    ("lon", "lat"),
    [(11.99, 47.3), (12.01, 47.3), (-66.005, -21.4), (5.999, 45.01), (33.4, 0.003), (18.0, 78.4)],
)
def test_it_is_exact_at_borders_of_zones_at_the_equator_and_in_the_far_north(lon, lat):
    grid = grid_at(lon, lat)
    expected = expected_osm(grid, seed=0)
    np.testing.assert_array_equal(burn(areas_of(OSM.near(outline(grid))), grid), expected)


def test_the_places_above_are_in_both_hemispheres_and_have_much_to_burn():
    assert min(lat for _, lat in MAPPED[:8]) < -10
    assert max(lat for _, lat in MAPPED[:8]) > 10
    shares = [(expected_osm(grid_at(*place), seed=0) < 255).mean() for place in MAPPED[:8]]
    assert np.mean(shares) > 0.5


def test_what_is_drawn_is_the_truth_but_for_ice_which_has_no_land_use_of_its_own():
    for place in MAPPED[:12]:
        grid = grid_at(*place)
        truth, drawn = SyntheticEarth().truth(grid), as_dynamic_world(expected_osm(grid, seed=0))
        same = (drawn == 255) | (drawn == truth) | (truth == DYNAMIC_WORLD.classes.index("snow_and_ice"))
        assert same.all()


def test_smaller_areas_on_top_of_larger_ones_are_needed_for_the_right_answer():
    changed = 0
    for place in MAPPED[:6]:
        grid = grid_at(*place)
        wrong = burn(areas_of(OSM.near(outline(grid))), grid, smallest_on_top=False)
        changed += int((wrong != expected_osm(grid, seed=0)).sum())
    assert changed > 100


def test_tags_are_read_as_heigit_reads_them():
    assert {tag: OSM_LAND_USE.classes.index(name) for tag, name in CLASS_OF_TAG.items()} == {
        tag: CLASSES[tag] for tag in CLASS_OF_TAG
    }
    used, keys, pairs = set(), set(), 0
    for place in MAPPED:
        for use in (use for cell in cells_around(place) for use in parcels_of(cell, seed=0).uses.values()):
            listed = [tag for tag in use.tags.items() if tag in CLASSES]
            assert {CLASSES[tag] for tag in listed} == {use.class_id}
            used.add(use.class_id)
            keys |= {key for key, _ in listed}
            pairs += len(listed) == 2
    assert keys == {"landuse", "natural", "leisure"}
    assert len(used) >= 11
    assert pairs > 10


def cells_around(place) -> list[Cell]:
    window_grid = grid_at(*place)
    column, row = window_grid.x_ul // 2640, ((1e7 if place[1] < 0 else 0) - window_grid.y_ul) // 2640
    return [Cell(window_grid.crs_epsg, int(column) + i, int(row) + j) for i in range(2) for j in range(2)]


def test_objects_are_of_all_kinds_and_their_parts_are_there():
    kinds = Counter()
    for place in MAPPED[:8]:
        elements = OSM.near(outline(grid_at(*place)))
        for id_, way in elements.ways.items():
            assert id_ == way.id
            assert elements.nodes.keys() >= set(way.nodes)
            kinds["shared"] += "landuse" in way.tags and any(
                member.ref == id_ for r in elements.relations.values() for member in r.members
            )
            kinds.update(f"{key}={value}" for key, value in way.tags.items())
        for relation in elements.relations.values():
            assert elements.ways.keys() >= {member.ref for member in relation.members}
            roles = Counter(member.role for member in relation.members)
            kinds["holed"] += roles["inner"] > 0
            kinds["pieced"] += roles["outer"] > 1
        kinds.update(f"{key}={value}" for n in elements.nodes.values() for key, value in n.tags.items())
    wanted = ["shared", "holed", "pieced", "building=yes", "highway=track", "natural=cliff", "natural=tree"]
    assert all(kinds[name] > 0 for name in [*wanted, "landuse=military", "leisure=nature_reserve"])


def test_ids_are_unique_and_stable_and_small_enough_for_all_readers():
    seen: dict[int, object] = {}
    for place in MAPPED[:6]:
        for part in (OSM.near(outline(grid_at(*place))), SyntheticOsm().near(outline(grid_at(*place)))):
            for kind in (part.nodes, part.ways, part.relations):
                for id_, element in kind.items():
                    assert seen.setdefault(id_, element) == element
    assert max(seen) < 2**53
    nodes = [id_ for id_, element in seen.items() if hasattr(element, "lon")]
    assert max(nodes) < 2**47, "GDAL reads no larger ids of nodes"
    assert min(seen) > 0


def test_neighbouring_cells_share_their_nodes():
    here, there = (OSM.near(outline(grid_at(*MAPPED[0], off_px=off, size_px=6))) for off in (0, 264))
    assert here.nodes.keys() & there.nodes.keys()
    assert all(there.nodes[id_] == here.nodes[id_] for id_ in here.nodes.keys() & there.nodes.keys())


def test_coordinates_have_seven_decimals_as_in_openstreetmap():
    for node in OSM.near(outline(grid_at(*MAPPED[1], size_px=60))).nodes.values():
        assert (round(node.lon, 7), round(node.lat, 7)) == (node.lon, node.lat)


def test_another_seed_is_another_map():
    grid = grid_at(*MAPPED[0])
    assert (expected_osm(grid, seed=0) != expected_osm(grid, seed=1)).any()


@pytest.mark.slow
def test_people_leave_out_a_quarter_and_fields_more_than_water():
    drawn, total = Counter(), Counter()
    for place in places("mapped", 150, seed=8):
        cell = cells_around(place)[0]
        parcels, truth = parcels_of(cell, seed=0), ground_of(cell.window, seed=0).truth
        numbers, first, sizes = np.unique(parcels.numbers, return_index=True, return_counts=True)
        for number, at, size in zip(numbers, first, sizes, strict=True):
            if size >= LEAST_PX:
                total[int(truth.flat[at])] += 1
                drawn[int(truth.flat[at])] += int(number) in parcels.uses
    omitted = {own: 1 - drawn[own] / total[own] for own in total if total[own] > 200}
    assert all(abs(share - OMITTED[own]) < 0.06 for own, share in omitted.items())
    assert min(omitted[own] for own in (CROPS, GRASS, SHRUB)) > max(omitted[own] for own in (WATER, BUILT))
    assert 0.2 < np.mean(list(OMITTED.values())) < 0.3


def test_regions_are_mapped_well_thinly_not_at_all_or_wrongly():
    rng = np.random.default_rng(1)
    kinds = Counter(
        region_of(float(lon), float(lat), seed=0)
        for lon, lat in zip(rng.uniform(-180, 180, 4000), rng.uniform(-80, 84, 4000), strict=True)
    )
    assert all(0.07 < kinds[name] / 4000 < 0.13 for name in ("sparse", "unmapped", "outdated"))
    shares = {
        name: np.mean([(expected_osm(grid_at(*place), seed=0) < 255).mean() for place in places(name, 8)])
        for name in ("mapped", "sparse", "unmapped")
    }
    assert shares["mapped"] > 1.6 * shares["sparse"] > 0
    assert shares["unmapped"] == 0


def test_where_the_map_is_outdated_nothing_agrees():
    compared = 0
    for place in places("outdated", 5):
        grid = grid_at(*place)
        drawn = as_dynamic_world(expected_osm(grid, seed=0))
        assert not (drawn == SyntheticEarth().truth(grid))[drawn < 255].any()
        compared += int((drawn < 255).sum())
    assert compared > 10_000


def test_nothing_is_drawn_across_the_date_line():
    grid = grid_at(179.995, 52.0)
    elements = OSM.near(outline(grid_at(179.9, 52.0)))
    lons = [[elements.nodes[id_].lon for id_ in way.nodes] for way in elements.ways.values()]
    assert all(max(lon) - min(lon) < 1 for lon in lons)
    np.testing.assert_array_equal(
        burn(areas_of(OSM.near(shapely.box(179.96, 51.98, 179.9999, 52.02))), grid)[:, :100],
        expected_osm(grid, seed=0)[:, :100],
    )


def test_an_area_too_large_is_refused_in_one_line():
    with pytest.raises(InputError, match="expected at most 3600"):
        OSM.near(shapely.box(10, 45, 14, 48))


def test_a_patch_is_answered_within_a_second():
    grid = grid_at(*places("mapped", 1, seed=77)[0], size_px=510)
    shape = outline(grid)
    started = time.process_time()
    OSM.near(shape)
    assert time.process_time() - started < 2.5, "1 s, with room for a busy machine"


def test_an_extract_has_the_same_areas(tmp_path):
    grids = [grid_at(*place, size_px=60) for place in MAPPED[:3]]
    elements = elements_near(OSM, [outline(grid) for grid in grids])
    path = tmp_path / "deep" / "land.osm.pbf"
    write_extract(path, elements)
    first = path.read_bytes()
    write_extract(path, elements_near(SyntheticOsm(), [outline(grid) for grid in grids[::-1]]))
    assert path.read_bytes() == first
    assert [one.name for one in path.parent.iterdir()] == ["land.osm.pbf"]
    factory = osmium.geom.WKBFactory()
    areas = [
        (shapely.from_wkb(factory.create_multipolygon(area)), listed_class(dict(area.tags)))
        for area in osmium.FileProcessor(path).with_areas()
        if area.is_area()
        and listed_class(dict(area.tags)) is not None
        and "cliff" not in dict(area.tags).values()
    ]
    assert len(areas) == len(areas_of(elements))
    for grid in grids:
        np.testing.assert_array_equal(burn(areas, grid), expected_osm(grid, seed=0))


def test_elements_of_an_extract_are_sorted_and_complete(tmp_path):
    elements = OSM.near(outline(grid_at(*MAPPED[2], size_px=60)))
    write_extract(tmp_path / "a.osm.pbf", elements)
    read = [(one.type_str(), one.id, dict(one.tags)) for one in osmium.FileProcessor(tmp_path / "a.osm.pbf")]
    wanted = [
        (kind, id_, dict(some[id_].tags))
        for kind, some in (("n", elements.nodes), ("w", elements.ways), ("r", elements.relations))
        for id_ in sorted(some)
    ]
    assert read == wanted


@pytest.mark.parametrize("near", ["1,2,3", "10,45,9,46", "a,b,c,d", "nowhere"])
def test_places_that_are_none_are_one_line(near):
    with pytest.raises(InputError, match=f"--near {near}: "):
        places_of(near)


def test_a_bounding_box_is_a_place():
    assert places_of("10,45,10.5,46") == [shapely.box(10, 45, 10.5, 46)]
