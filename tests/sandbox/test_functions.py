"""Server functions, called through the unmodified client."""

import math

import pytest

from tests.sandbox.fake_earth import CORNERS, DAY_MS, DW, JULY_MS, L1C, L2A, S1
from tests.sandbox.loopback import grid

INNSBRUCK = [11.2, 47.3]
"""In tiles 32TPT and 33TUN."""


@pytest.fixture
def scenes(client):
    """All L1C scenes of July over one place."""
    place = client.Geometry.Point(INNSBRUCK)
    return client.ImageCollection(L1C).filterBounds(place).filterDate("2022-07-01", "2022-08-01")


def days(values):
    return [(value - JULY_MS) // DAY_MS for value in values]


def test_scenes_are_found_by_place_and_time_and_ordered_by_time(client, scenes):
    tiles = scenes.aggregate_array("MGRS_TILE").getInfo()
    assert set(tiles) == {"32TPT", "33TUN"}
    times = scenes.aggregate_array("system:time_start").getInfo()
    assert times == sorted(times)
    assert scenes.filterDate("2022-07-09", "2022-07-14").size().getInfo() == 1
    assert scenes.filterDate("2022-07-09", "2022-07-09").size().getInfo() == 0


def test_the_end_of_a_range_of_time_is_excluded(client, scenes):
    start = client.Date(JULY_MS + 3 * DAY_MS)
    assert scenes.filterDate(start, start.advance(5, "day")).size().getInfo() == 2
    assert scenes.filterDate(start, start.advance(5, "day").advance(1, "second")).size().getInfo() == 3


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda f: f.lt("CLOUDY_PIXEL_PERCENTAGE", 12.5), {8}),
        (lambda f: f.lte("CLOUDY_PIXEL_PERCENTAGE", 12.5), {3, 8, 13}),
        (lambda f: f.gt("CLOUDY_PIXEL_PERCENTAGE", 12.5), {18}),
        (lambda f: f.gte("CLOUDY_PIXEL_PERCENTAGE", 12.5), {3, 18, 13}),
        (lambda f: f.eq("CLOUDY_PIXEL_PERCENTAGE", 40), {18}),
        (lambda f: f.neq("CLOUDY_PIXEL_PERCENTAGE", 40), {3, 8, 13}),
        (lambda f: f.notNull(["CLOUDY_PIXEL_PERCENTAGE"]), {3, 8, 18}),
        (lambda f: f.And(f.gt("CLOUDY_PIXEL_PERCENTAGE", 3), f.lt("CLOUDY_PIXEL_PERCENTAGE", 40)), {3}),
        (lambda f: f.Or(f.eq("CLOUDY_PIXEL_PERCENTAGE", 3), f.eq("CLOUDY_PIXEL_PERCENTAGE", 40)), {8, 18}),
        (lambda f: f.inList("CLOUDY_PIXEL_PERCENTAGE", [3, 40]), {8, 18}),
        (lambda f: f.stringEndsWith("MGRS_TILE", "TPT"), {3, 8, 13, 18}),
        (lambda f: f.calendarRange(4, 4, "day_of_month"), {3}),
        (lambda f: f.rangeContains("CLOUDY_PIXEL_PERCENTAGE", 3, 12.5), {3, 8}),
    ],
)
def test_filters_of_properties_where_one_scene_lacks_the_property(client, make, expected):
    """`lte`, `gte` and `neq` are sent as the opposite of another filter: a missing property passes them."""
    tile = client.ImageCollection(L1C).filter(client.Filter.eq("MGRS_TILE", "32TPT"))
    found = tile.filter(make(client.Filter)).aggregate_array("system:time_start").getInfo()
    assert set(days(found)) == expected


def test_a_list_property_is_searched(client):
    both = client.ImageCollection(S1).filter(
        client.Filter.listContains("transmitterReceiverPolarisation", "VH")
    )
    assert set(days(both.aggregate_array("system:time_start").getInfo())) == {2}


def test_sorting_keeps_the_order_of_equals_and_limits_come_after(client):
    tile = client.ImageCollection(L1C).filter(client.Filter.eq("MGRS_TILE", "32TPT"))
    clouds = tile.filter(client.Filter.notNull(["CLOUDY_PIXEL_PERCENTAGE"])).sort("CLOUDY_PIXEL_PERCENTAGE")
    assert clouds.aggregate_array("CLOUDY_PIXEL_PERCENTAGE").getInfo() == [3, 12.5, 40]
    assert clouds.limit(2).size().getInfo() == 2
    assert (
        tile.limit(1, "CLOUDY_PIXEL_PERCENTAGE", False).first().get("CLOUDY_PIXEL_PERCENTAGE").getInfo() == 40
    )
    assert tile.sort("MGRS_TILE").aggregate_array("system:time_start").getInfo() == (
        tile.aggregate_array("system:time_start").getInfo()
    )


def test_the_first_of_nothing_is_null(client, scenes):
    assert scenes.filterDate("1999-01-01", "1999-01-02").first().getInfo() is None
    with pytest.raises(client.EEException, match="Parameter 'input' is required and may not be null"):
        client.Image(scenes.filterDate("1999-01-01", "1999-01-02").first()).select("B2").getInfo()


def patch(client, tile, x=6000, y=-6000, size=2640):
    epsg, left, top = CORNERS[tile]
    corners = [left + x, top + y - size, left + x + size, top + y]
    return client.Geometry.Rectangle(corners, f"EPSG:{epsg}", False)


def test_a_footprint_contains_a_patch_or_only_meets_it(client):
    inside, edge = patch(client, "32TPT"), patch(client, "32TPT", x=-1320)
    tile = client.ImageCollection(L1C).filter(client.Filter.eq("MGRS_TILE", "32TPT"))
    contains = client.Filter.contains(leftField=".geo", rightValue=inside)
    assert tile.filter(contains).size().getInfo() == 4
    assert tile.filterBounds(edge).size().getInfo() == 4
    assert tile.filter(client.Filter.contains(leftField=".geo", rightValue=edge)).size().getInfo() == 0
    assert tile.first().geometry().contains(inside, 1).getInfo() is True
    assert tile.first().geometry().contains(edge, 1).getInfo() is False


def metadata(client, patches):
    """What a builder asks: for each patch, lists of what was found, and which footprints contain it."""

    def describe(feature):
        place = feature.geometry()
        columns = {"id": feature.get("id")}
        for number, (start, end) in enumerate((("2022-07-01", "2022-07-12"), ("2022-07-12", "2022-08-01"))):
            for name, collection in (("l1c", L1C), ("l2a", L2A), ("s1", S1), ("dw", DW)):
                found = client.ImageCollection(collection).filterBounds(place).filterDate(start, end)
                if name == "l1c":
                    found = found.filter(client.Filter.lt("CLOUDY_PIXEL_PERCENTAGE", 35)).sort(
                        "CLOUDY_PIXEL_PERCENTAGE"
                    )
                found = found.limit(20)
                columns[f"{number}_{name}"] = found.aggregate_array("system:index")
                columns[f"{number}_{name}_t"] = found.aggregate_array("system:time_start")
                covering = found.filter(client.Filter.contains(leftField=".geo", rightValue=place))
                columns[f"{number}_{name}_in"] = covering.aggregate_array("system:index")
        return client.Feature(None, columns)

    return client.FeatureCollection(
        [client.Feature(place, {"id": number}) for number, place in enumerate(patches)]
    ).map(describe)


def test_one_request_describes_the_scenes_of_many_patches(client):
    patches = [patch(client, "32TPT", x=6000), patch(client, "19HBU"), patch(client, "32TPT", x=-1320)]
    got = metadata(client, patches).getInfo()
    assert got["type"] == "FeatureCollection"
    assert got["columns"] == {}
    first, south, edge = got["features"]
    assert [one["id"] for one in got["features"]] == ["0", "1", "2"]
    assert first["geometry"] is None
    assert first["properties"]["id"] == 0
    name = "2022{:04d}T103041_2022{:04d}T103037_T32TPT"
    assert first["properties"]["0_l1c"] == [name.format(8, 8), name.format(3, 3)]
    assert days(first["properties"]["0_l1c_t"]) == [8, 3]
    assert first["properties"]["1_l1c"] == []
    assert first["properties"]["0_dw_in"] == [name.format(3, 3), name.format(8, 8)]
    assert all(one.endswith("19HBU") for one in south["properties"]["0_l1c"])
    assert len(south["properties"]["0_s1"]) == 2
    assert edge["properties"]["0_l1c_in"] == []
    assert len(edge["properties"]["0_l1c"]) == 2


def test_a_nested_map_gives_rows_with_null_properties(client):
    collection = client.ImageCollection(L1C).filter(client.Filter.eq("MGRS_TILE", "32TPT"))

    def describe(feature):
        def row(image):
            keys = {"i": "system:index", "c": "CLOUDY_PIXEL_PERCENTAGE"}
            return client.Feature(None, {key: image.get(name) for key, name in keys.items()}).set(
                "outer", feature.get("id")
            )

        return client.Feature(None, {"rows": collection.map(row).toList(10)})

    places = [client.Feature(patch(client, "32TPT"), {"id": number}) for number in (7, 8)]
    got = client.FeatureCollection(places).map(describe).getInfo()
    for number, feature in zip((7, 8), got["features"], strict=True):
        rows = [row["properties"] for row in feature["properties"]["rows"]]
        assert [row["outer"] for row in rows] == [number] * 4
        assert [row["c"] for row in rows] == [12.5, 3, None, 40]


def test_columns_are_reduced_to_lists_of_tuples_or_to_separate_lists(client):
    tile = client.ImageCollection(L1C).filter(client.Filter.eq("MGRS_TILE", "32TPT"))
    names = ["system:index", "CLOUDY_PIXEL_PERCENTAGE"]
    tuples = tile.reduceColumns(client.Reducer.toList(2), names).get("list").getInfo()
    assert [clouds for _, clouds in tuples] == [12.5, 3, 40]  # the scene without the property is dropped
    optional = tile.reduceColumns(client.Reducer.toList(2, 1), names).get("list").getInfo()
    assert [clouds for _, clouds in optional] == [12.5, 3, None, 40]
    separate = tile.reduceColumns(client.Reducer.toList().repeat(2), names).get("list").getInfo()
    assert [len(column) for column in separate] == [4, 3]


def test_images_become_dictionaries_in_a_list(client):
    tile = client.ImageCollection(L1C).filter(client.Filter.eq("MGRS_TILE", "32TPT"))

    def describe(image):
        image = client.Image(image)
        return client.Dictionary(
            {
                "i": image.get("system:index"),
                "clear": client.Algorithms.If(client.Number(image.date().get("day")).gt(8), "late", "early"),
                "day": image.date().format("YYYY-MM-dd"),
            }
        )

    got = tile.toList(10).map(describe).getInfo()
    assert [one["day"] for one in got] == ["2022-07-04", "2022-07-09", "2022-07-14", "2022-07-19"]
    assert [one["clear"] for one in got] == ["early", "late", "late", "late"]


def test_twins_are_found_by_a_computed_list_of_names(client):
    names = (
        client.ImageCollection(L1C)
        .filter(client.Filter.eq("MGRS_TILE", "32TQT"))
        .aggregate_array("system:index")
    )
    twins = client.ImageCollection(L2A).filter(client.Filter.inList("system:index", names))
    assert days(twins.aggregate_array("system:time_start").getInfo()) == [3, 13, 18]


def test_linked_bands_come_from_the_twin(client):
    name = "20220003T103041_20220003T103037_T32TPT"
    image = client.Image(f"{L1C}/{name}").select("B2")
    linked = image.linkCollection(client.ImageCollection(DW), ["label"])
    assert linked.bandNames().getInfo() == ["B2", "label"]
    got = client.data.computePixels(
        {"expression": linked, "fileFormat": "NUMPY_NDARRAY", "grid": grid(32632, 600_600, 5_299_440, 6)}
    )
    alone = client.data.computePixels(
        {
            "expression": client.Image(f"{DW}/{name}").select("label"),
            "fileFormat": "NUMPY_NDARRAY",
            "grid": grid(32632, 600_600, 5_299_440, 6),
        }
    )
    assert (got["label"] == alone["label"]).all()


def test_a_property_that_is_set_keeps_footprint_and_other_properties(client):
    image = client.Image(f"{L1C}/20220003T103041_20220003T103037_T32TPT").set("mine", 3)
    assert image.get("mine").getInfo() == 3
    assert image.get("MGRS_TILE").getInfo() == "32TPT"
    assert image.get("nothing").getInfo() is None
    assert image.geometry().type().getInfo() == "Polygon"
    assert image.getInfo()["properties"]["system:index"] == "20220003T103041_20220003T103037_T32TPT"


def test_bands_are_chosen_by_name_position_and_pattern_and_repeated_names_get_a_suffix(client):
    image = client.Image(f"{L1C}/20220003T103041_20220003T103037_T32TPT")
    assert image.select(["B8", 0, "B1."]).bandNames().getInfo() == ["B8", "B1", "B10", "B11", "B12"]
    doubled = image.select("B2").addBands(image.select("B2"))
    assert doubled.bandNames().getInfo() == ["B2", "B2_1"]
    replaced = image.select(["B2", "B3"]).addBands(image.select("B2").multiply(2), None, True)
    assert replaced.bandNames().getInfo() == ["B2", "B3"]
    assert image.select(["B2"], ["x"]).rename("y").bandNames().getInfo() == ["y"]


def test_the_projection_of_one_band_is_told_and_of_mixed_bands_refused(client):
    image = client.Image(f"{L1C}/20220003T103041_20220003T103037_T32TPT")
    assert image.select(0).projection().crs().getInfo() == "EPSG:32632"
    assert image.select("B5").projection().nominalScale().getInfo() == 20
    with pytest.raises(client.EEException, match="different projections"):
        image.projection().getInfo()


def pixels(client, image, x=600_600, y=5_299_440, side=6):
    asked = {"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid(32632, x, y, side)}
    return client.data.computePixels(asked)


def test_the_last_image_of_a_mosaic_is_on_top_where_it_is_not_masked(client):
    name = "20220003T103041_20220003T103037_T32TPT"
    bottom = client.Image(f"{L1C}/{name}").select("B2")
    top = client.Image(f"{DW}/{name}").select("label").rename("B2")
    mosaic = client.ImageCollection.fromImages([bottom, top]).mosaic()
    where = {"x": 601_000, "y": 5_298_640, "side": 50}
    got = pixels(client, mosaic, **where)["B2"]
    labels = pixels(client, top.unmask(255, False), **where)["B2"]
    below = pixels(client, bottom, **where)["B2"]
    assert (got[labels < 255] == labels[labels < 255]).all()
    assert (got[labels == 255] == below[labels == 255]).all()
    assert (labels == 255).any()
    assert mosaic.projection().getInfo()["crs"] == "EPSG:4326"


def test_arithmetic_masks_and_types(client):
    image = client.Image(f"{L1C}/20220003T103041_20220003T103037_T32TPT")
    b2, b3 = (pixels(client, image.select(band))[band].astype(float) for band in ("B2", "B3"))
    assert (pixels(client, image.select("B2").add(image.select("B3")))["B2"] == b2 + b3).all()
    ratio = pixels(client, image.normalizedDifference(["B3", "B2"]))["nd"]
    assert ratio == pytest.approx((b3 - b2) / (b3 + b2), abs=1e-6)
    bright = image.select("B2").gt(5000)
    assert (pixels(client, image.select("B2").updateMask(bright))["B2"] == b2 * (b2 > 5000)).all()
    assert pixels(client, bright)["B2"].dtype == "uint8"
    assert (pixels(client, image.select("B2").divide(10).round())["B2"] == (b2 / 10 + 0.5) // 1).all()
    assert (
        pixels(client, image.select("B2").where(bright, 1))["B2"] == (b2 * (b2 <= 5000) + (b2 > 5000))
    ).all()


def test_clip_masks_by_the_centre_of_a_pixel(client):
    image = client.Image(f"{L1C}/20220003T103041_20220003T103037_T32TPT").select("B2")
    area = client.Geometry.Rectangle([600_614, 5_299_400, 600_636, 5_299_440], "EPSG:32632", False)
    seen = pixels(client, image.clip(area))["B2"] > 0
    assert seen.any(axis=0).tolist() == [False, True, True, True, False, False]
    assert seen.any(axis=1).tolist() == [True, True, True, True, False, False]


def test_to_bands_names_the_images_and_a_composite_sums_them_up(client, scenes):
    tile = scenes.filter(client.Filter.eq("MGRS_TILE", "32TPT")).select("B2")
    names = tile.toBands().bandNames().getInfo()
    assert names[0] == "20220003T103041_20220003T103037_T32TPT_B2"
    got = pixels(client, tile.max().toUint16())["B2"]
    each = [pixels(client, tile.toBands().select(name))[name] for name in names]
    assert (
        got == max(each, key=lambda plane: plane.sum()) * 0 + __import__("numpy").maximum.reduce(each)
    ).all()


def test_areas_buffers_and_sets_of_places(client):
    square = patch(client, "32TPT")
    assert square.area(1).getInfo() == pytest.approx(2640**2, rel=2e-3)
    point = client.Geometry.Point(INNSBRUCK)
    assert point.buffer(1000).area(1).getInfo() == pytest.approx(math.pi * 1e6, rel=0.02)
    assert square.bounds().contains(square, 1).getInfo()
    assert square.intersection(square.buffer(-100)).area(1).getInfo() < square.area(1).getInfo()
    assert square.centroid(1).coordinates().getInfo() == pytest.approx([10.43, 47.76], abs=0.02)
    assert square.disjoint(point).getInfo() is True


def test_a_patch_on_the_antimeridian_finds_scenes_on_both_sides(client):
    """Longitudes may be written past 180."""
    here = client.Geometry.Polygon([[[179.9, 10], [180.1, 10], [180.1, 10.1], [179.9, 10.1]]], None, False)
    there = client.Geometry.Polygon(
        [[[-179.95, 10], [-179.5, 10], [-179.5, 10.1], [-179.95, 10.1]]], None, False
    )
    assert here.intersects(there, 1).getInfo()
    assert not here.contains(there, 1).getInfo()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda ee: ee.String("T32TPT").slice(1, 3).cat("x"), "32x"),
        (lambda ee: ee.String("a_b").split("_"), ["a", "b"]),
        (lambda ee: ee.String("a1b2").replace("[0-9]", "", "g"), "ab"),
        (lambda ee: ee.String("S2A_20220704").match(r"(\d{4})(\d{2})"), ["202207", "2022", "07"]),
        (lambda ee: ee.Number.parse("4.5").format("%.2f"), "4.50"),
        (lambda ee: ee.List([3, 1, 2]).sort().reverse(), [3, 2, 1]),
        (lambda ee: ee.List([1, [2, [3]]]).flatten(), [1, 2, 3]),
        (lambda ee: ee.List.sequence(1, 10, 3), [1, 4, 7, 10]),
        (lambda ee: ee.List([1, 2]).zip([3, 4]), [[1, 3], [2, 4]]),
        (lambda ee: ee.List([[1, 3], [2, 4]]).unzip(), [[1, 2], [3, 4]]),
        (lambda ee: ee.List([1, 2, 2]).distinct().cat([5]).indexOf(5), 2),
        (lambda ee: ee.List([1, 2, 3]).slice(-2), [2, 3]),
        (lambda ee: ee.List([1, 2, 3]).iterate(lambda x, total: ee.Number(x).add(total), 0), 6),
        (lambda ee: ee.Dictionary({"b": 1}).set("a", 2).keys(), ["a", "b"]),
        (lambda ee: ee.Dictionary.fromLists(["a"], [1]).combine({"a": 3}).get("a"), 3),
        (lambda ee: ee.Dictionary({"a": 1}).map(lambda _, value: ee.Number(value).add(1)), {"a": 2}),
        (lambda ee: ee.Date("2022-01-31").advance(1, "month").format("YYYY-MM-dd HH:mm"), "2022-02-28 00:00"),
        (lambda ee: ee.Date("2022-03-01").difference("2022-02-01", "day"), 28),
        (lambda ee: ee.Date.fromYMD(2022, 7, 4).millis(), 1_656_892_800_000),
        (lambda ee: ee.Date("2022-07-04"), {"type": "Date", "value": 1_656_892_800_000}),
        (lambda ee: ee.Number(1.5).multiply(2), 3),
    ],
)
def test_plain_values(client, make, expected):
    assert make(client).getInfo() == expected


def test_nested_collections_are_flattened_and_named_after_both(client):
    inner = client.FeatureCollection([client.Feature(None, {"n": 1}), client.Feature(None, {"n": 2})])
    got = client.FeatureCollection([client.Feature(None, {})]).map(lambda _: inner).flatten().getInfo()
    assert [one["id"] for one in got["features"]] == ["0_0", "0_1"]


def test_a_collection_of_more_than_5000_elements_is_refused(client):
    numbers = client.List.sequence(1, 5001).map(lambda n: client.Feature(None, {"n": n}))
    with pytest.raises(client.EEException, match="aborted after accumulating over 5000 elements"):
        client.FeatureCollection(numbers).getInfo()
