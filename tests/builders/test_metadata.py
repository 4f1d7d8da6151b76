import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.config import BuildConfig
from builders.config_sections import Season
from builders.metadata import (
    DAY_MS,
    MAX_S2_SCENES,
    covering_key,
    epsg_of_crs,
    epsg_of_tile,
    offset_removed,
    read_answer,
    rows_key,
    s2_window,
    searched_products,
    tile_of,
    widened,
    with_zones,
    without_zone,
)
from builders.records import Location
from builders.retries import GarbledAnswerError
from noldo.grids import Grid

CONFIG = BuildConfig.model_validate(
    {"name": "x", "seasons": [{"name": "a", "date": "2021-04-15"}, {"name": "b", "date": "2021-07-15"}]}
)
PLACES = [Location(number, 9.0, 47.0, Grid(32632, 600_000, 5_300_040, 264), "", "train") for number in (7, 3)]
INDEX = "20210410T103041_20210410T103037_T32TPT"


def row(**changes: Any) -> dict[str, Any]:
    known = {"i": INDEX, "t": 1_618_050_641_000, "c": 3.5, "m": "32TPT", "b": "04.00", "o": None} | changes
    return {"type": "Feature", "geometry": None, "id": "0", "properties": known}


def reply(**lists: Any) -> dict[str, Any]:
    """An answer about both places in which every list is empty but for those of the first place's first season."""
    features = []
    for position in range(len(PLACES)):
        properties: dict[str, Any] = {"id": position}
        for season in range(2):
            for product in searched_products(CONFIG):
                properties |= {rows_key(season, product): [], covering_key(season, product): []}
        features.append({"type": "Feature", "geometry": None, "properties": properties})
    features[0]["properties"].update(lists)
    return {"type": "FeatureCollection", "columns": {}, "features": features[::-1]}


def test_an_answer_of_empty_lists_has_no_scenes_and_is_no_error():
    answer = read_answer(reply(), PLACES, config=CONFIG)
    assert (answer.scenes, answer.missing, answer.full_lists) == ((), {}, 0)


def test_rows_become_scenes_of_the_location_that_asked_whatever_the_order_of_the_answer():
    answer = read_answer(reply(s0_s2_l1c=[row()], s0_s2_l1c_in=[INDEX]), PLACES, config=CONFIG)
    (scene,) = answer.scenes
    assert (scene.location_id, scene.season, scene.product, scene.index) == (7, 0, "s2_l1c", INDEX)
    assert (scene.covers, scene.crs_epsg, scene.cloud_percent, scene.offset_removed) == (
        True,
        32632,
        3.5,
        True,
    )


@given(
    st.fixed_dictionaries(
        {},
        optional={
            key: st.none() | st.text(max_size=5) | st.floats() | st.integers() | st.booleans()
            for key in ("c", "m", "b", "o", "p", "r")
        },
    )
)
def test_no_property_of_any_kind_makes_a_scene_fail(properties: dict[str, Any]):
    bare = {"properties": {"i": INDEX, "t": 5, **properties}}
    answer = read_answer(reply(s0_s2_l1c=[bare], s0_s1_grd=[bare]), PLACES, config=CONFIG)
    assert [scene.index for scene in answer.scenes] == [INDEX, INDEX]


def test_twins_cover_what_their_leading_scene_covers():
    lists = {"s0_s2_l1c": [row()], "s0_dynamic_world": [row()], "s0_s1_grd": [row()], "s0_s2_l1c_in": [INDEX]}
    scenes = read_answer(reply(**lists), PLACES, config=CONFIG).scenes
    assert {scene.product: scene.covers for scene in scenes} == {
        "s2_l1c": True,
        "s1_grd": False,
        "dynamic_world": True,
    }


def test_missing_properties_are_counted_by_name():
    rows = [row(), row(c=None), {"properties": {"i": INDEX, "t": 5}}]
    answer = read_answer(reply(s0_s2_l1c=rows), PLACES, config=CONFIG)
    assert answer.missing == {
        "s2_l1c.CLOUDY_PIXEL_PERCENTAGE": 2,
        "s2_l1c.PROCESSING_BASELINE": 1,
    }


def test_lists_that_may_have_been_cut_are_counted():
    answer = read_answer(reply(s0_s2_l1c=[row()] * MAX_S2_SCENES), PLACES, config=CONFIG)
    assert answer.full_lists == 1


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "busy",
        {},
        {"features": None},
        {"features": []},
        {"features": reply()["features"][:1]},
        {"features": [{"properties": {"id": "x"}}]},
        reply(s0_s2_l1c=None),
        reply(s0_s2_l1c=[{}]),
        reply(s0_s2_l1c=[{"properties": {"t": 5}}]),
        reply(s0_s2_l1c=[row(t=None)]),
        reply(s0_s2_l1c_in=5),
    ],
)
def test_an_answer_of_another_form_is_garbled_not_empty(answer: object):
    with pytest.raises(GarbledAnswerError):
        read_answer(answer, PLACES, config=CONFIG)


@given(st.dates(dt.date(2016, 1, 1), dt.date(2030, 1, 1)), st.integers(1, 400))
def test_a_window_is_symmetric_about_noon_of_its_date(date: dt.date, days: int):
    window = s2_window(Season(name="a", date=date, window_days=days), date)
    assert window.end_ms - window.start_ms == (2 * days + 1) * DAY_MS
    assert window.start_ms + window.end_ms == 2 * window.reference_ms
    start = dt.datetime.fromtimestamp(window.start_ms / 1000, dt.UTC)
    assert start.date() == date - dt.timedelta(days=days)
    assert (start.hour, start.minute) == (0, 0)
    wide = widened(window, days=1.5)
    assert (wide.start_ms, wide.end_ms) == (window.start_ms - 1.5 * DAY_MS, window.end_ms + 1.5 * DAY_MS)


@pytest.mark.parametrize(
    ("tile", "epsg"),
    [
        ("32TPT", 32632),
        ("01CCV", 32701),
        ("60MYS", 32760),
        ("60NYF", 32660),
        ("33XVG", 32633),
        ("61TPT", 0),
        ("00TPT", 0),
        ("32IPT", 0),
        ("32T", 0),
        ("", 0),
        ("T32TPT", 0),
    ],
)
def test_a_tile_tells_its_zone(tile: str, epsg: int):
    assert epsg_of_tile(tile) == epsg


@pytest.mark.parametrize(
    ("mgrs", "index", "tile"),
    [
        ("32TPT", "anything", "32TPT"),
        ("", INDEX, "32TPT"),
        ("nonsense", INDEX, "32TPT"),
        ("", "place_7", ""),
        ("", "S1A_IW_GRDH_1SDV_20210411T053012_20210411T053037_037392_0468B4_T9C1", ""),
    ],
)
def test_the_tile_is_the_scenes_property_or_the_end_of_its_name(mgrs: str, index: str, tile: str):
    assert tile_of(mgrs, index) == tile


@pytest.mark.parametrize(
    ("crs", "epsg"), [("EPSG:32722", 32722), ("EPSG:4326", 4326), ("WGS84", 0), (None, 0), (["EPSG:1234"], 0)]
)
def test_codes_that_are_not_epsg_are_unknown(crs: object, epsg: int):
    assert epsg_of_crs(crs) == epsg


@pytest.mark.parametrize(
    ("baseline", "offset", "removed"),
    [("03.01", None, False), ("04.00", None, True), ("05.11", None, True), ("", None, False), ("new", None, False),
     ("02.08", -1000, True), ("05.11", 0, False), ("05.11", "-1000", True), ("04.00", "none", True)],
)  # fmt: skip
def test_an_offset_that_the_scene_states_counts_more_than_its_baseline(
    baseline: str, offset: object, removed: bool
):
    assert offset_removed(baseline, offset) is removed


def test_only_scenes_that_do_not_tell_their_zone_are_asked_for_it():
    lists = {
        "s0_s2_l1c": [row(), row(i="place_7", m=None)],
        "s0_s1_grd": [row()],
        "s0_s2_l2a": [row(i="place_7", m=None)],
    }
    scenes = read_answer(reply(**lists), PLACES, config=CONFIG).scenes
    asked = without_zone(scenes)
    assert asked == [("s2_l1c", "place_7"), ("s2_l2a", "place_7")]
    known = with_zones(scenes, dict.fromkeys(asked, 32722))
    assert [(scene.product, scene.crs_epsg) for scene in known] == [
        ("s2_l1c", 32632),
        ("s2_l1c", 32722),
        ("s2_l2a", 32722),
        ("s1_grd", 0),
    ]


def test_products_that_are_not_stored_are_not_searched():
    products = CONFIG.products
    without_l1c = products.model_copy(update={"s2_l1c": (), "s1_grd": ()})
    without_l2a = products.model_copy(update={"s2_l2a": (), "s2_scl": False})
    for changed, searched in (
        (products, ("s2_l1c", "s2_l2a", "s1_grd", "dynamic_world")),
        (without_l1c, ("s2_l2a", "dynamic_world")),
        (without_l2a, ("s2_l1c", "s1_grd", "dynamic_world")),
        (products.model_copy(update={"s2_l2a": ()}), ("s2_l1c", "s2_l2a", "s1_grd", "dynamic_world")),
    ):
        assert searched_products(CONFIG.model_copy(update={"products": changed})) == searched
