"""What is chosen for a tile that has labels, and so a date, of its own."""

import datetime as dt
from dataclasses import replace

import pytest

from builders.choice import choose, is_labelled_scene
from builders.config import parse_config
from builders.metadata import DAY_MS
from builders.records import DYNAMIC_WORLD, S1_GRD, S2_L1C, S2_L2A, Location, Scene
from noldo.grids import Grid

DATE = dt.date(2019, 3, 6)
TILE = Location(
    id=7,
    lon=9.0,
    lat=48.0,
    grid=Grid(32632, 499_980, 5_300_040, 516),
    place="dw_9.0_48.0-20190306",
    split="train",
    date=DATE,
    labelled_scene="20190306T102021_32TMT",
)
CONFIG = parse_config(
    {"name": "x", "seasons": [{"name": "s", "date": "2021-03-20"}], "dw": {"count": 1}}, where="test"
).of_subset("dw")


def at(days: float) -> int:
    noon = dt.datetime(2019, 3, 6, 12, tzinfo=dt.UTC)
    return int(noon.timestamp() * 1000 + days * DAY_MS)


def optical(days: float, *, cloud=5.0, without=(), **fields) -> list[Scene]:
    sensed = f"{dt.datetime.fromtimestamp(at(days) / 1000, dt.UTC):%Y%m%dT%H%M%S}"
    values = {
        "covers": True,
        "crs_epsg": 32632,
        "tile": "32TMT",
        "index": f"{sensed}_{sensed}_T32TMT",
    } | fields
    index = values.pop("index")
    return [
        Scene(7, 0, product, index, at(days), cloud_percent=cloud, **values)
        for product in (S2_L1C, S2_L2A, DYNAMIC_WORLD)
        if product not in without
    ]


def radar(days: float, *, covers=True) -> Scene:
    return Scene(
        7, 0, S1_GRD, f"S1_{days}", at(days), covers, 32632, orbit_pass="ASCENDING", relative_orbit=5
    )


OWN = optical(-0.07, index="20190306T102021_20190306T102022_T32TMT", cloud=60.0)


def chosen(*scenes: Scene, tile=TILE):
    return choose(tile, scenes, CONFIG)


def test_the_labelled_scene_comes_first_however_cloudy_it_is():
    plan = chosen(*optical(0.5, cloud=0.0), *OWN, radar(1))
    first, second = plan.seasons[0]
    assert first.s2_index == OWN[0].index
    assert first.is_labelled_scene
    assert first.reason.startswith("the labelled scene, covers, cloud 60.0 %")
    assert not second.is_labelled_scene


def test_without_it_the_nearest_in_time_comes_first_and_not_the_clearest():
    plan = chosen(*optical(9, cloud=0.0), *optical(-4, cloud=19.0), *optical(6, cloud=3.0), radar(1))
    assert [round((choice.time_s2_ms - at(0)) / DAY_MS) for choice in plan.seasons[0]] == [-4, 6, 9]
    assert not any(choice.is_labelled_scene for choice in plan.seasons[0])


def test_another_scene_must_be_clear_but_a_twin_is_not_needed():
    cloudy, alone = optical(1, cloud=20.0), optical(3, without=(S2_L2A, DYNAMIC_WORLD))
    plan = chosen(*cloudy, *alone, radar(1))
    (choice,) = plan.seasons[0]
    assert choice.s2_index == alone[0].index
    assert (choice.has_l2a, choice.has_dynamic_world) == (False, False)
    assert plan.considered == ("2 scenes: 1 usable, 1 cloud >= 20 %",)


def test_the_nearest_pass_of_sentinel_1_is_paired_and_one_is_needed():
    plan = chosen(*OWN, radar(-9), radar(3), radar(-2))
    assert plan.seasons[0][0].s1_index == "S1_-2"
    refused = chosen(*OWN, radar(40))
    assert refused.refusal == "no usable scene in label (1 scene: 1 no Sentinel-1 within 15 days)"


def test_each_candidate_gets_the_pass_nearest_to_itself():
    early, late = optical(-5), optical(5)
    passes = [
        radar(-5),
        replace(radar(5), index="S1_other", orbit_pass="DESCENDING", relative_orbit=9),
        radar(0),
    ]
    plan = chosen(*early, *late, *passes)
    pairs = {round((one.time_s2_ms - at(0)) / DAY_MS): one.s1_index for one in plan.seasons[0]}
    assert pairs == {-5: "S1_-5", 5: "S1_other"}
    assert plan.seasons[0][0].reason.endswith("ASCENDING")


def test_zone_and_coverage_still_count_for_the_labelled_scene():
    off_zone = [replace(scene, crs_epsg=32633) for scene in OWN]
    plan = chosen(*off_zone, *optical(2), radar(1))
    assert not plan.seasons[0][0].is_labelled_scene
    assert "1 other UTM zone" in plan.considered[0]
    edge = [replace(scene, covers=False) for scene in OWN]
    assert "1 swath edge" in chosen(*edge, *optical(2), radar(1)).considered[0]


def test_a_tile_without_scenes_is_told_so_without_a_cloud_limit():
    assert chosen(radar(0)).refusal == "no usable scene in label (no scene in the window)"


@pytest.mark.parametrize(
    ("index", "labelled", "same"),
    [
        ("20190306T102021_20190306T102022_T32TMT", "20190306T102021_32TMT", True),
        ("20190306T102021_20190306T999999_T32TMT", "20190306T102021_32TMT", True),
        ("20190306T102021_20190306T102022_T32TNT", "20190306T102021_32TMT", False),
        ("20190306T102031_20190306T102022_T32TMT", "20190306T102021_32TMT", False),
        ("another", "", False),
    ],
)
def test_a_scene_is_the_labelled_one_if_datatake_and_tile_are(index, labelled, same):
    assert is_labelled_scene(index, labelled) is same
