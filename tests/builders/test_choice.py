import datetime as dt
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.choice import choose, run_choose, same_zone
from builders.config import BuildConfig, parse_config
from builders.layout import Layout
from builders.location_table import write_locations
from builders.metadata import DAY_MS
from builders.records import DYNAMIC_WORLD, S1_GRD, S2_L1C, S2_L2A, Location, LocationPlan, Scene
from builders.scene_tables import read_plans, write_candidates
from noldo.errors import InputError
from noldo.grids import Grid

DATES = ("2021-03-20", "2021-06-21")
HERE = Location(id=7, lon=9.0, lat=48.0, grid=Grid(32632, 499_980, 5_300_040, 264), place="", split="train")


def config(**changes: object) -> BuildConfig:
    seasons = [{"name": f"s{n}", "date": date} for n, date in enumerate(DATES)]
    return parse_config({"name": "x", "seasons": seasons} | changes, where="test")


def at(season: int, days: float) -> int:
    noon = dt.datetime.fromisoformat(DATES[season]).replace(hour=12, tzinfo=dt.UTC)
    return int(noon.timestamp() * 1000 + days * DAY_MS)


def optical(season: int, days: float = 0.0, *, cloud=5.0, without=(), **fields) -> list[Scene]:
    """A Sentinel-2 acquisition with its twins, named as Earth Engine names them."""
    time_ms = at(season, days)
    values = {"covers": True, "crs_epsg": 32632, "tile": "32TMT"} | fields
    sensed = f"{dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC):%Y%m%dT%H%M%S}"
    index = values.pop("index", f"{sensed}_{sensed}_T{values['tile']}")
    return [
        Scene(7, season, product, index, time_ms, cloud_percent=cloud, **values)
        for product in (S2_L1C, S2_L2A, DYNAMIC_WORLD)
        if product not in without
    ]


def radar(season: int, days: float = 1.0, *, orbit_pass="DESCENDING", orbit=66, covers=True) -> Scene:
    time_ms = at(season, days)
    return Scene(
        location_id=7,
        season=season,
        product=S1_GRD,
        index=f"S1_{time_ms}_{orbit_pass}_{orbit}",
        time_ms=time_ms,
        covers=covers,
        crs_epsg=32632,
        orbit_pass=orbit_pass,
        relative_orbit=orbit,
    )


def first(plan: LocationPlan, season: int = 0):
    return plan.seasons[season][0]


SECOND_SEASON = [*optical(1), radar(1)]
BOTH = [*optical(0), radar(0), *SECOND_SEASON]


def test_a_complete_set_is_chosen_with_its_reason():
    plan = choose(HERE, BOTH, config())
    assert plan.refusal == ""
    assert first(plan).reason == (
        "covers, cloud 5.0 %, 0.0 days from 2021-03-20, S1 1.0 days, DESCENDING orbit 66 in all seasons"
    )
    assert plan.considered == ("1 scene: 1 usable", "1 scene: 1 usable")


def test_coverage_comes_before_cloud_and_cloud_before_closeness():
    partial = optical(0, 1, cloud=0.0, covers=False)
    cloudy_near, clear_far = optical(0, 2, cloud=9.0), optical(0, 10, cloud=1.0)
    relaxed = config(clouds={"min_coverage": 0.9})
    plan = choose(HERE, [*partial, *cloudy_near, *clear_far, radar(0, 3), *SECOND_SEASON], relaxed)
    assert [choice.s2_index for choice in plan.seasons[0]] == [
        clear_far[0].index,
        cloudy_near[0].index,
        partial[0].index,
    ]
    assert plan.seasons[0][2].reason.startswith("covers in part, ")


def test_equal_clouds_leave_the_choice_to_the_date_and_equal_dates_to_the_name():
    later, sooner = optical(0, 2), optical(0, -1)
    plan = choose(HERE, [*later, *sooner, radar(0), *SECOND_SEASON], config())
    assert first(plan).s2_index == sooner[0].index
    names = optical(0, index="b"), optical(0, index="a")
    plan = choose(HERE, [*names[0], *names[1], radar(0), *SECOND_SEASON], config())
    assert first(plan).s2_index == "a"


@pytest.mark.parametrize(
    ("scenes", "words"),
    [
        (optical(0, covers=False), "1 scene: 1 swath edge"),
        (optical(0, crs_epsg=32633, tile="33TUN"), "1 other UTM zone"),
        (optical(0, crs_epsg=0, tile=""), "1 other UTM zone"),
        (optical(0, cloud=None), "1 no cloud percentage"),
        (optical(0, cloud=20.0), "1 cloud >= 20 %"),
        (optical(0, without=(S2_L2A,)), "1 no L2A twin"),
        (optical(0, without=(DYNAMIC_WORLD,)), "1 no Dynamic World twin"),
        (optical(0, 30), "1 no Sentinel-1 within 15 days"),
        ([], "no scene up to 20 % cloud in the window"),
    ],
)
def test_every_refusal_is_counted_in_words(scenes, words):
    plan = choose(HERE, [*scenes, radar(0), *SECOND_SEASON], config())
    assert plan.seasons[0] == ()
    assert words in plan.considered[0]
    assert plan.refusal == f"no usable scene in s0 ({plan.considered[0]})"


def test_refusals_of_many_scenes_are_told_by_kind_the_most_frequent_first():
    cloudy = [scene for day in range(9) for scene in optical(0, day, cloud=50.0)]
    edges = [scene for day in range(9, 12) for scene in optical(0, day, covers=False)]
    twinless = [scene for day in (12, 13) for scene in optical(0, day, without=(DYNAMIC_WORLD,))]
    plan = choose(HERE, [*cloudy, *edges, *twinless, radar(0), *SECOND_SEASON], config())
    assert plan.considered[0] == "14 scenes: 9 cloud >= 20 %, 3 swath edge, 2 no Dynamic World twin"


def test_twins_are_joined_by_name_and_never_by_date():
    level1, level2 = optical(0, index="a"), optical(0, index="b")
    plan = choose(HERE, [level1[0], level2[1], level1[2], radar(0), *SECOND_SEASON], config())
    assert "no L2A twin" in plan.refusal


def test_a_build_without_l2a_needs_no_l2a_twin():
    plain = config(products={"s2_l2a": [], "s2_scl": False})
    scenes = [*optical(0, without=(S2_L2A,)), radar(0), *optical(1, without=(S2_L2A,)), radar(1)]
    assert choose(HERE, scenes, plain).refusal == ""


def test_a_build_without_l1c_needs_no_l1c():
    surface = config(products={"s2_l1c": []})
    scenes = [*optical(0, without=(S2_L1C,)), radar(0), *optical(1, without=(S2_L1C,)), radar(1)]
    assert choose(HERE, scenes, surface).refusal == ""


def test_a_build_without_sentinel_1_needs_none():
    plan = choose(HERE, [*optical(0), *optical(1)], config(products={"s1_grd": []}))
    assert plan.refusal == ""
    assert (first(plan).s1_index, first(plan).time_s1_ms) == ("", 0)
    assert "S1" not in first(plan).reason


def test_off_zone_scenes_come_last_and_are_flagged_where_they_are_allowed():
    off = optical(0, cloud=0.0, crs_epsg=32633, tile="33TUN")
    plan = choose(HERE, [*BOTH, *off], config(pairing={"off_zone": "resample"}))
    assert [choice.off_zone for choice in plan.seasons[0]] == [False, True]
    assert "zone EPSG:32633" in plan.seasons[0][1].reason


def test_a_zone_goes_on_across_the_equator():
    assert same_zone(32632, 32732)
    assert not same_zone(32632, 32733)
    assert not same_zone(32632, 3857)
    southern = optical(0, crs_epsg=32732, tile="32MMT")
    plan = choose(HERE, [*southern, radar(0), *SECOND_SEASON], config())
    assert first(plan).off_zone is False


def test_a_split_datatake_is_one_candidate_and_the_covering_part_wins():
    parts = [
        *optical(0, index="20210320T100000_20210320T100100_T32TMT", covers=False, cloud=0.0),
        *optical(0, index="20210320T100000_20210320T100200_T32TMT"),
    ]
    relaxed = config(clouds={"min_coverage": 0.5})
    plan = choose(HERE, [*parts, radar(0), *SECOND_SEASON], relaxed)
    assert [choice.s2_index for choice in plan.seasons[0]] == [parts[-1].index]
    assert plan.considered[0] == "2 scenes: 1 usable, 1 second part of a split datatake"


def test_another_tile_of_the_same_datatake_waits_behind_every_other_day():
    best = optical(0, index="20210320T100000_20210320T100100_T32TMT", cloud=1.0)
    neighbour = optical(0, index="20210320T100000_20210320T100100_T32TMS", tile="32TMS", cloud=2.0)
    other_day = optical(0, 5, cloud=9.0)
    plan = choose(HERE, [*neighbour, *best, *other_day, radar(0), *SECOND_SEASON], config())
    assert [choice.s2_index for choice in plan.seasons[0]] == [
        best[0].index,
        other_day[0].index,
        neighbour[0].index,
    ]


def test_names_of_an_archive_are_never_taken_for_a_split_datatake():
    scenes = [*optical(0, index="S2A_one"), *optical(0, 5, index="S2A_two"), radar(0), *SECOND_SEASON]
    assert len(choose(HERE, scenes, config()).seasons[0]) == 2


def test_alternatives_are_bounded_and_ranked():
    many = [scene for day in range(8) for scene in optical(0, day, cloud=float(day))]
    plan = choose(HERE, [*many, radar(0, 3), *SECOND_SEASON], config(pairing={"max_candidates": 4}))
    assert [choice.rank for choice in plan.seasons[0]] == [0, 1, 2, 3]
    assert [choice.cloud_percent for choice in plan.seasons[0]] == [0.0, 1.0, 2.0, 3.0]
    assert plan.considered[0] == "8 scenes: 8 usable"


def test_every_alternative_has_a_sentinel_1_pass_of_its_own():
    far = optical(0, 20, cloud=9.0)
    plan = choose(HERE, [*BOTH, *far, radar(0, 21)], config())
    assert [choice.time_s1_ms - choice.time_s2_ms for choice in plan.seasons[0]] == [DAY_MS, DAY_MS]


def test_the_direction_that_serves_all_seasons_wins_over_a_nearer_pass():
    scenes = [
        *optical(0),
        radar(0, 0.2, orbit_pass="ASCENDING", orbit=15),
        radar(0, 4.0),
        *optical(1),
        radar(1, 3.0),
    ]
    plan = choose(HERE, scenes, config())
    assert [first(plan, season).orbit_pass for season in (0, 1)] == ["DESCENDING", "DESCENDING"]


def test_of_two_directions_the_one_with_the_shorter_longest_time_wins():
    ascending = [radar(n, days, orbit_pass="ASCENDING", orbit=15) for n, days in ((0, 0.1), (1, 6.0))]
    descending = [radar(n, 5.0) for n in (0, 1)]
    plan = choose(HERE, [*optical(0), *optical(1), *ascending, *descending], config())
    assert [first(plan, season).orbit_pass for season in (0, 1)] == ["DESCENDING", "DESCENDING"]


def test_one_orbit_of_the_direction_is_kept_if_one_serves_all_seasons():
    mixed = [radar(0, 1.0, orbit=66), radar(0, 2.0, orbit=139), radar(1, 2.0, orbit=139)]
    plan = choose(HERE, [*optical(0), *optical(1), *mixed], config())
    assert [first(plan, season).relative_orbit for season in (0, 1)] == [139, 139]


def test_two_orbits_of_one_direction_are_taken_if_no_orbit_serves_all_seasons():
    plan = choose(HERE, [*optical(0), *optical(1), radar(0, orbit=66), radar(1, 2.0, orbit=139)], config())
    assert [first(plan, season).relative_orbit for season in (0, 1)] == [66, 139]
    assert first(plan).reason.endswith("DESCENDING in all seasons")


def test_without_a_common_direction_the_nearest_is_used_and_said():
    scenes = [*optical(0), radar(0, orbit_pass="ASCENDING", orbit=15), *optical(1), radar(1)]
    plan = choose(HERE, scenes, config())
    assert [first(plan, season).orbit_pass for season in (0, 1)] == ["ASCENDING", "DESCENDING"]
    assert first(plan).reason.endswith("ASCENDING (no direction serves all seasons)")


def test_an_alternative_that_only_has_another_direction_says_so():
    alternative = optical(0, -30, cloud=9.0)
    scenes = [*BOTH, *alternative, radar(0, -31, orbit_pass="ASCENDING", orbit=15)]
    plan = choose(HERE, scenes, config())
    assert plan.seasons[0][1].reason.endswith("ASCENDING (other seasons: DESCENDING)")


def test_a_radar_pass_that_does_not_cover_is_no_partner():
    plan = choose(HERE, [*optical(0), radar(0, covers=False), *SECOND_SEASON], config())
    assert "no Sentinel-1" in plan.refusal


def test_the_table_of_a_search_job_holds_every_location_in_order(tmp_path):
    small = config(locations={"count": 2})
    layout = Layout("x", root=tmp_path)
    there = Location(id=8, lon=9.5, lat=48.0, grid=HERE.grid, place="", split="train")
    write_locations([HERE, there], layout.locations)
    write_candidates(layout.candidates(0), BOTH)
    run_choose(small, layout, search=0, out=layout.scenes(0))
    plans = read_plans(layout.scenes(0), [HERE, there])
    assert plans[0] == choose(HERE, BOTH, small)
    assert plans[1].refusal == (
        "no usable scene in s0 (no scene up to 20 % cloud in the window), "
        "s1 (no scene up to 20 % cloud in the window)"
    )


def test_candidates_of_another_job_are_not_mixed_in(tmp_path):
    layout = Layout("x", root=tmp_path)
    there = Location(id=8, lon=9.5, lat=48.0, grid=HERE.grid, place="", split="train")
    write_locations([there], layout.locations)
    write_candidates(layout.candidates(0), BOTH)
    with pytest.raises(InputError, match="location 7, which is none of this search job"):
        run_choose(config(locations={"count": 1}), layout, search=0, out=layout.scenes(0))


@st.composite
def scene_sets(draw):
    """Candidates of both seasons, of which some are unusable for every known reason."""
    scenes: list[Scene] = []
    for season in (0, 1):
        for days in draw(st.lists(st.integers(-40, 40), unique=True, max_size=6)):
            scenes += optical(
                season,
                days,
                cloud=draw(st.sampled_from([0.0, 3.0, 3.0, 19.9, 20.0, None])),
                covers=draw(st.sampled_from([True, True, False])),
                without=draw(st.sampled_from([(), (), (S2_L2A,), (DYNAMIC_WORLD,)])),
                crs_epsg=draw(st.sampled_from([32632, 32632, 32633])),
            )
        for days in draw(st.lists(st.integers(-45, 45), unique=True, max_size=6)):
            scenes.append(
                radar(
                    season,
                    days,
                    orbit_pass=draw(st.sampled_from(["ASCENDING", "DESCENDING", ""])),
                    orbit=draw(st.integers(0, 3)),
                    covers=draw(st.sampled_from([True, True, False])),
                )
            )
    return scenes


configs = st.sampled_from(
    [
        config(),
        config(pairing={"off_zone": "resample", "max_candidates": 10}),
        config(clouds={"min_coverage": 0.5}, pairing={"max_candidates": 2}),
    ]
)


@given(scene_sets(), configs, st.randoms(use_true_random=False))
def test_the_order_of_the_answer_changes_nothing(scenes, build, shuffle: random.Random):
    shuffled = list(scenes)
    shuffle.shuffle(shuffled)
    assert choose(HERE, shuffled, build) == choose(HERE, scenes, build)


@given(scene_sets(), configs)
def test_what_is_chosen_is_never_worse_than_any_usable_alternative(scenes, build):
    everything = build.model_copy(update={"pairing": build.pairing.model_copy(update={"max_candidates": 10})})
    covers = {scene.index: scene.covers for scene in scenes}
    plan, all_usable = choose(HERE, scenes, build), choose(HERE, scenes, everything)
    for season, ranked in enumerate(all_usable.seasons):
        keys = [
            (
                choice.off_zone,
                not covers[choice.s2_index],
                choice.cloud_percent,
                abs(choice.time_s2_ms - at(season, 0)),
            )
            for choice in ranked
        ]
        assert keys == sorted(keys)
        assert plan.seasons[season] == ranked[: build.pairing.max_candidates]


@settings(max_examples=300)
@given(scene_sets())
def test_one_direction_is_used_if_any_serves_all_seasons(scenes):
    plan = choose(HERE, scenes, config())
    if plan.refusal:
        return
    serving = [
        direction
        for direction in ("ASCENDING", "DESCENDING")
        if all(
            any(
                one.product == S1_GRD
                and one.covers
                and one.season == season
                and one.orbit_pass == direction
                and abs(one.time_ms - first(plan, season).time_s2_ms) <= 15 * DAY_MS
                for one in scenes
            )
            for season in (0, 1)
        )
    ]
    used = {first(plan, season).orbit_pass for season in (0, 1)}
    assert not serving or (len(used) == 1 and used <= set(serving))


@given(scene_sets(), configs)
def test_a_plan_is_complete_or_says_why_it_is_not(scenes, build):
    plan = choose(HERE, scenes, build)
    assert bool(plan.refusal) == (not all(plan.seasons))
    for season, ranked in enumerate(plan.seasons):
        assert (f"s{season} (" in plan.refusal) == (not ranked)
        assert len(ranked) <= build.pairing.max_candidates
        for choice in ranked:
            apart = abs(choice.time_s1_ms - choice.time_s2_ms)
            assert apart <= build.pairing.max_s1_days * DAY_MS
