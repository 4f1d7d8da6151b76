from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.outcome_table import read_outcomes, write_outcomes
from builders.records import LocationOutcome, Scene, SeasonOutcome
from builders.scene_tables import (
    NO_CHOICE,
    Candidates,
    candidate_schema,
    read_candidates,
    read_plans,
    write_candidates,
    write_plans,
)
from noldo.errors import InputError
from noldo.status import Status
from tests.builders.fake_source import choice, plan, refused_plan

SCENE = Scene(
    location_id=7,
    season=1,
    product="s2_l1c",
    index="20210320T100000_20210320T100100_T32TMT",
    time_ms=1_616_233_800_000,
    covers=True,
    crs_epsg=32632,
    tile="32TMT",
    cloud_percent=3.25,
    baseline="04.00",
    offset_removed=True,
)
RADAR = Scene(7, 1, "s1_grd", "S1A", 1, covers=False, crs_epsg=32632, orbit_pass="ASCENDING")


def season_outcome(number: int, season: int) -> SeasonOutcome:
    return SeasonOutcome(
        choice=choice(number, season, 0),
        coverage_s2=1.0,
        coverage_s1=0.123456789,
        label_share=1 / 3,
        class_counts=(5, 0, 0, 1, 0, 0, 0, 0, 2),
        off_lattice=season == 1,
    )


OUTCOMES = [
    LocationOutcome(3, Status.KEPT, "", (season_outcome(3, 0), season_outcome(3, 1))),
    LocationOutcome(4, Status.NO_SCENE, "no usable scene in spring (no scene)"),
    LocationOutcome(5, Status.NO_LABELS, "spring: too few", (season_outcome(5, 0),)),
]


def test_candidates_come_back_as_they_were(tmp_path):
    write_candidates(tmp_path / "c.parquet", [SCENE, RADAR])
    assert read_candidates(tmp_path / "c.parquet") == Candidates([SCENE, RADAR], {})


def test_a_refused_search_comes_back_apart_from_scenes_and_from_having_none(tmp_path):
    write_candidates(tmp_path / "c.parquet", [SCENE], refusals={9: "HTTP 400: no"})
    assert read_candidates(tmp_path / "c.parquet") == Candidates([SCENE], {9: "HTTP 400: no"})


def test_the_plan_of_a_refused_search_says_so_after_a_round_trip(tmp_path):
    path = tmp_path / "s.parquet"
    refused = replace(refused_plan(2), refusal="HTTP 400: no", refused=True)
    write_plans(path, [refused, refused_plan(3)])
    assert read_plans(path, [refused.location, refused_plan(3).location]) == [refused, refused_plan(3)]
    assert {row["reason"] for row in pq.read_table(path).to_pylist()[:2]} == {"HTTP 400: no"}


def test_a_missing_cloud_percentage_stays_missing(tmp_path):
    cloudless = replace(SCENE, cloud_percent=None)
    write_candidates(tmp_path / "c.parquet", [cloudless])
    assert read_candidates(tmp_path / "c.parquet").scenes[0].cloud_percent is None


@given(st.lists(st.sampled_from([SCENE, RADAR]), max_size=5))
def test_the_same_candidates_are_the_same_bytes(tmp_path_factory, scenes):
    folder = tmp_path_factory.mktemp("bytes")
    for name in ("a", "b"):
        write_candidates(folder / name, scenes)
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    assert read_candidates(folder / "a").scenes == scenes


def test_plans_come_back_as_they_were_also_in_part(tmp_path):
    path = tmp_path / "s.parquet"
    plans = [
        replace(plan(1), considered=("5 scenes: 4 usable", "4 scenes: 4 usable")),
        refused_plan(2),
        plan(3),
    ]
    write_plans(path, plans)
    assert read_plans(path, [one.location for one in plans]) == plans
    assert read_plans(path, [plans[2].location, plans[0].location]) == [plans[2], plans[0]]


def test_a_season_without_choice_has_a_row_that_says_why(tmp_path):
    path = tmp_path / "s.parquet"
    empty = replace(
        plan(1),
        seasons=(plan(1).seasons[0], ()),
        considered=("4 scenes: 4 usable", "14 scenes: 14 cloud >= 20 %"),
        refusal="no usable scene in summer (14 scenes: 14 cloud >= 20 %)",
    )
    write_plans(path, [empty])
    rows = pq.read_table(path).to_pylist()
    assert [row["rank"] for row in rows] == [0, 1, 2, 3, NO_CHOICE]
    assert (rows[-1]["season"], rows[-1]["reason"]) == (1, "14 scenes: 14 cloud >= 20 %")
    assert rows[0]["reason"] == "covers"
    assert {row["refusal"] for row in rows} == {empty.refusal}
    assert read_plans(path, [empty.location]) == [empty]


def test_a_table_that_lacks_a_location_is_refused(tmp_path):
    path = tmp_path / "s.parquet"
    write_plans(path, [plan(1)])
    with pytest.raises(InputError, match=r"no rows for location 2 \(1 of 2 are missing\)"):
        read_plans(path, [plan(1).location, plan(2).location])


def test_outcomes_come_back_as_they_were(tmp_path):
    write_outcomes(tmp_path / "o.parquet", OUTCOMES)
    assert read_outcomes(tmp_path / "o.parquet") == OUTCOMES


def test_the_same_outcomes_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_outcomes(tmp_path / name, OUTCOMES)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_missing_table_says_so(tmp_path):
    with pytest.raises(InputError, match="no such table; delete it and run the build again"):
        read_candidates(tmp_path / "none.parquet")


@pytest.mark.parametrize("keep", [0, 10, -1, -200])
def test_a_truncated_table_is_refused(tmp_path, keep):
    path = tmp_path / "c.parquet"
    write_candidates(path, [SCENE] * 50)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="not a readable parquet file"):
        read_candidates(path)


def test_a_flipped_bit_in_the_data_is_found(tmp_path):
    path = tmp_path / "c.parquet"
    write_candidates(path, [SCENE] * 50)
    content = bytearray(path.read_bytes())
    content[40] ^= 0x10
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="not a readable parquet file"):
        read_candidates(path)


def test_a_table_with_other_columns_is_refused(tmp_path):
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"other": [1]}), path)
    with pytest.raises(InputError, match="columns \\['other'\\], expected"):
        read_candidates(path)
    assert candidate_schema().names[0] == "location_id"
