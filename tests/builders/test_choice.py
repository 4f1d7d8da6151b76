import datetime as dt
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.choice import DAY_MS, choose
from builders.config import BuildConfig, parse_config
from builders.records import DYNAMIC_WORLD, S1_GRD, S2_L1C, S2_L2A, Location, Scene
from noldo.grids import Grid

DATES = ("2021-03-20", "2021-06-21")
HERE = Location(id=7, lon=9.0, lat=48.0, grid=Grid(32632, 499_980, 5_300_040, 264), place="", split="train")


def config(**changes: object) -> BuildConfig:
    seasons = [{"name": f"s{n}", "date": date} for n, date in enumerate(DATES)]
    return parse_config({"name": "x", "seasons": seasons} | changes, where="test")


def at(season: int, days: float) -> int:
    noon = dt.datetime.fromisoformat(DATES[season]).replace(hour=12, tzinfo=dt.UTC)
    return int(noon.timestamp() * 1000 + days * DAY_MS)


def optical(
    season: int, days: float = 0.0, *, cloud: float | None = 5.0, without=(), **fields
) -> list[Scene]:
    """A Sentinel-2 acquisition with its twins."""
    time_ms = at(season, days)
    values = {"covers": True, "crs_epsg": 32632, "tile": "32TMT"} | fields
    index = values.pop("index", f"{time_ms}_{time_ms}_T{values['tile']}")
    return [
        Scene(7, season, product, index, time_ms, cloud_percent=cloud, **values)
        for product in (S2_L1C, S2_L2A, DYNAMIC_WORLD)
        if product not in without
    ]


def radar(
    season: int, days: float = 1.0, *, orbit_pass: str = "DESCENDING", orbit: int = 66, **fields
) -> Scene:
    time_ms = at(season, days)
    values = {"covers": True, "crs_epsg": 32632} | fields
    return Scene(
        7,
        season,
        S1_GRD,
        f"S1_{time_ms}_{orbit}",
        time_ms,
        orbit_pass=orbit_pass,
        relative_orbit=orbit,
        **values,
    )


def first(plan, season: int = 0):
    return plan.seasons[season][0]


BOTH = [*optical(0), radar(0), *optical(1), radar(1)]


def test_a_complete_set_is_chosen_with_its_reason():
    plan = choose(HERE, BOTH, config())
    assert plan.refusal == ""
    assert first(plan).reason == (
        "covers the patch, cloud 5.0 %, 0.0 days from 2021-03-20, "
        "Sentinel-1 1.0 days away, DESCENDING orbit 66 in all seasons"
    )


def test_coverage_comes_before_cloud_and_cloud_before_closeness():
    partial = optical(0, 1, cloud=0.0, covers=False)
    cloudy_near, clear_far = optical(0, 2, cloud=9.0), optical(0, 10, cloud=1.0)
    relaxed = config(clouds={"min_coverage": 0.9})
    plan = choose(HERE, [*partial, *cloudy_near, *clear_far, radar(0, 3), *BOTH[4:]], relaxed)
    assert [choice.s2_index for choice in plan.seasons[0]] == [
        clear_far[0].index,
        cloudy_near[0].index,
        partial[0].index,
    ]


@pytest.mark.parametrize(
    ("scenes", "words"),
    [
        (optical(0, without=(DYNAMIC_WORLD,)), "1 no Dynamic World twin"),
        (optical(0, without=(S2_L2A,)), "1 no L2A twin"),
        (optical(0, cloud=20.0), "1 cloud >= 20 %"),
        (optical(0, cloud=None), "1 without a cloud percentage"),
        (optical(0, covers=False), "1 swath or tile edge"),
        (optical(0, crs_epsg=32633, tile="33TUN"), "1 another UTM zone"),
        (optical(0, 30), "1 no Sentinel-1 within 15 days"),
        ([], "no scene in the window"),
    ],
)
def test_every_refusal_is_counted_in_words(scenes, words):
    plan = choose(HERE, [*scenes, radar(0), *BOTH[4:]], config())
    assert plan.seasons[0] == ()
    assert words in plan.refusal
    assert plan.refusal.startswith("no usable scene in s0: ")
    assert words in plan.considered[0]


def test_twins_are_joined_by_name_and_never_by_date():
    level1, level2 = optical(0, index="a"), optical(0, index="b")
    plan = choose(HERE, [level1[0], level2[1], level1[2], radar(0), *BOTH[4:]], config())
    assert "no L2A twin" in plan.refusal


def test_off_zone_scenes_come_last_and_are_flagged_where_they_are_allowed():
    off = optical(0, cloud=0.0, crs_epsg=32633, tile="33TUN")
    plan = choose(HERE, [*BOTH, *off], config(pairing={"off_zone": "resample"}))
    assert [choice.off_zone for choice in plan.seasons[0]] == [False, True]


def test_a_split_datatake_is_one_candidate_and_the_covering_half_wins():
    halves = [
        *optical(0, index="20210320T100000_a_T32TMT", covers=False),
        *optical(0, index="20210320T100000_b_T32TMT"),
    ]
    plan = choose(HERE, [*halves, radar(0), *BOTH[4:]], config(clouds={"min_coverage": 0.5}))
    assert [choice.s2_index for choice in plan.seasons[0]] == ["20210320T100000_b_T32TMT"]


def test_one_orbit_direction_is_used_in_all_seasons_if_any_serves_all():
    scenes = [
        *optical(0),
        radar(0, 0.2, orbit_pass="ASCENDING", orbit=15),
        radar(0, 4.0),
        *optical(1),
        radar(1, 3.0),
    ]
    plan = choose(HERE, scenes, config())
    assert [first(plan, season).orbit_pass for season in (0, 1)] == ["DESCENDING", "DESCENDING"]


def test_without_a_common_direction_the_nearest_is_used_and_said():
    scenes = [*optical(0), radar(0, orbit_pass="ASCENDING", orbit=15), *optical(1), radar(1)]
    plan = choose(HERE, scenes, config())
    assert [first(plan, season).orbit_pass for season in (0, 1)] == ["ASCENDING", "DESCENDING"]
    assert "no one direction serves all seasons" in first(plan).reason


def test_alternatives_are_bounded_and_ranked():
    many = [scene for day in range(8) for scene in optical(0, day, cloud=float(day))]
    plan = choose(HERE, [*many, radar(0, 3), *BOTH[4:]], config(pairing={"max_candidates": 4}))
    assert [choice.rank for choice in plan.seasons[0]] == [0, 1, 2, 3]
    assert [choice.cloud_percent for choice in plan.seasons[0]] == [0.0, 1.0, 2.0, 3.0]


def test_a_build_without_sentinel_1_needs_none():
    plan = choose(HERE, [*optical(0), *optical(1)], config(products={"s1_grd": []}))
    assert plan.refusal == ""
    assert first(plan).s1_index == ""


scene_sets = st.lists(
    st.one_of(
        st.builds(
            optical,
            st.integers(0, 1),
            st.integers(-40, 40),
            cloud=st.sampled_from([0.0, 3.0, 19.9, 20.0, None]),
            covers=st.booleans(),
            without=st.sampled_from([(), (S2_L2A,), (DYNAMIC_WORLD,)]),
            crs_epsg=st.sampled_from([32632, 32633]),
        ),
        st.builds(
            lambda *args, **kw: [radar(*args, **kw)],
            st.integers(0, 1),
            st.integers(-45, 45),
            orbit_pass=st.sampled_from(["ASCENDING", "DESCENDING"]),
            orbit=st.integers(1, 3),
            covers=st.booleans(),
        ),
    ),
    max_size=14,
    unique_by=lambda scenes: (scenes[0].season, scenes[0].product == S1_GRD, scenes[0].index),
).map(lambda groups: [scene for group in groups for scene in group])


@given(scene_sets, st.randoms(use_true_random=False))
def test_the_order_of_the_answer_changes_nothing(scenes, shuffle: random.Random):
    shuffled = list(scenes)
    shuffle.shuffle(shuffled)
    assert choose(HERE, shuffled, config()) == choose(HERE, scenes, config())


@given(scene_sets)
def test_what_is_chosen_is_never_worse_than_what_follows(scenes):
    plan = choose(HERE, scenes, config(pairing={"off_zone": "resample"}))
    for ranked in plan.seasons:
        keys = [(choice.off_zone, choice.cloud_percent) for choice in ranked]
        assert keys == sorted(keys)


@given(scene_sets)
def test_a_plan_is_complete_or_says_why_it_is_not(scenes):
    plan = choose(HERE, scenes, config())
    assert bool(plan.refusal) == (not all(plan.seasons))
    for season, ranked in enumerate(plan.seasons):
        assert (f"s{season}: " in plan.refusal) == (not ranked)
