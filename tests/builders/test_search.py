import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.choice import run_choose
from builders.config import BuildConfig
from builders.fetch import fetch_plans
from builders.layout import Layout
from builders.location_table import write_locations
from builders.records import Scene
from builders.scene_tables import Candidates, read_candidates, read_plans
from builders.search import batch_key, batches, run_search, search_locations, search_spool
from noldo.errors import RequestRefusedError, SourceError, SourceUnavailableError
from noldo.status import Status
from tests.builders.fake_source import FakeSource, location, small_config

PLACES = [location(number) for number in range(8)]
SCENES = [
    Scene(place.id, season, "s2_l1c", f"{place.id}-{season}-{n}", 1000 + n, covers=True, crs_epsg=32632)
    for place in PLACES
    if place.id != 5
    for season in (0, 1)
    for n in (2, 1)
]


def config() -> BuildConfig:
    return small_config(jobs={"locations_per_request": 3})


def search(source, spool, places=PLACES, *, concurrency=2):
    found = search_locations(config(), source, places, spool=spool, concurrency=concurrency)
    assert not found.refusals
    return found.scenes


@given(st.integers(1, 300), st.integers(1, 200))
def test_batches_are_balanced_and_as_few_as_fit(count, largest):
    parts = batches(list(range(count)), largest=largest)
    assert [item for part in parts for item in part] == list(range(count))
    sizes = [len(part) for part in parts]
    assert max(sizes) <= largest
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) == -(-count // largest)


def test_64_locations_are_asked_in_two_equal_halves():
    assert [len(part) for part in batches(range(64), largest=50)] == [32, 32]


def test_no_locations_are_no_batches():
    assert batches([], largest=50) == []


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_candidates_come_in_the_order_of_the_locations(tmp_path, concurrency):
    source = FakeSource(config(), scenes=SCENES, before_read=lambda place: None)
    assert search(source, tmp_path, concurrency=concurrency) == SCENES
    assert sorted(source.searches) == [(0, 1), (2, 3, 4), (5, 6, 7)]


def test_search_never_has_more_requests_in_flight_than_asked(tmp_path):
    source = FakeSource(config(), scenes=SCENES, delay_s=0.01)
    search(source, tmp_path, concurrency=2)
    assert source.most_in_flight == 2


def test_search_goes_on_where_it_stopped_and_never_asks_twice(tmp_path):
    def fail_at_the_last(place):
        if place.id == 7:
            raise SourceUnavailableError("away")

    stopped = FakeSource(config(), scenes=SCENES, before_read=fail_at_the_last)
    with pytest.raises(SourceUnavailableError, match="away"):
        search(stopped, tmp_path, concurrency=1)
    again = FakeSource(config(), scenes=SCENES)
    assert search(again, tmp_path) == SCENES
    assert again.searches == [(5, 6, 7)]


def test_an_answer_that_was_damaged_on_disk_is_asked_for_again(tmp_path, caplog):
    search(FakeSource(config(), scenes=SCENES), tmp_path)
    kept = tmp_path / f"{batch_key(config(), PLACES[2:5])}.parquet"
    kept.write_bytes(kept.read_bytes()[:-20])
    again = FakeSource(config(), scenes=SCENES)
    assert search(again, tmp_path) == SCENES
    assert again.searches == [(2, 3, 4)]
    assert "asked again" in caplog.text


def test_answers_of_another_config_or_version_are_not_used(monkeypatch):
    here = batch_key(config(), PLACES)
    assert batch_key(small_config(clouds={"max_scene_percent": 10}), PLACES) != here
    assert batch_key(config(), PLACES[1:]) != here
    monkeypatch.setattr("builders.versions.SEARCH", 1_000)
    assert batch_key(config(), PLACES) != here


def test_an_answer_about_other_locations_is_refused(tmp_path):
    class Mixed(FakeSource):
        def search(self, locations):
            return [*super().search(locations), SCENES[0]]

    with pytest.raises(SourceError, match="scenes of location 0, which was not asked for"):
        search(Mixed(config(), scenes=SCENES), tmp_path, PLACES[4:])


def test_a_search_job_writes_its_candidates_and_leaves_no_spool(tmp_path):
    layout = Layout("small", root=tmp_path)
    write_locations(PLACES, layout.locations)
    source = FakeSource(config(), scenes=SCENES)
    run_search(config(), source, layout, search=0, concurrency=2, out=layout.candidates(0))
    assert read_candidates(layout.candidates(0)) == Candidates(SCENES, {})
    assert not search_spool(layout, 0).exists()


def test_locations_without_any_candidate_are_counted(tmp_path, caplog):
    caplog.set_level("INFO")
    search(FakeSource(config(), scenes=SCENES), tmp_path)
    assert (
        "8 locations searched in 3 batches: 28 candidates; 1 locations have none, 0 were refused"
        in caplog.text
    )


# A location that the provider refuses to search ---------------------------------------------------------------


FIFTY = [location(number) for number in range(50)]
SCENES_OF_FIFTY = [
    Scene(place.id, season, "s2_l1c", f"{place.id}-{season}", 1000, covers=True, crs_epsg=32632)
    for place in FIFTY
    for season in (0, 1)
]
OTHERS = [scene for scene in SCENES_OF_FIFTY if scene.location_id != 17]


def refuse(*numbers: int):
    def before(place):
        if place.id in numbers:
            raise RequestRefusedError(f"HTTP 400: polygon of {place.id} is not valid")

    return before


def test_a_refused_location_costs_the_others_nothing_and_few_requests(tmp_path, caplog):
    source = FakeSource(small_config(), scenes=SCENES_OF_FIFTY, before_read=refuse(17))
    found = search_locations(small_config(), source, FIFTY, spool=tmp_path, concurrency=2)
    assert found == Candidates(OTHERS, {17: "HTTP 400: polygon of 17 is not valid"})
    assert len(source.searches) <= 2 * math.ceil(math.log2(len(FIFTY))) + 1
    assert "location 17: the provider refused the search" in caplog.text


def test_what_was_asked_in_halves_is_not_asked_again(tmp_path):
    def refuse_and_fail(place):
        refuse(17)(place)
        if place.id == 49:
            raise SourceUnavailableError("away")

    stopped = FakeSource(small_config(), scenes=SCENES_OF_FIFTY, before_read=refuse_and_fail)
    with pytest.raises(SourceUnavailableError):
        search_locations(small_config(), stopped, FIFTY, spool=tmp_path, concurrency=1)
    again = FakeSource(small_config(), scenes=SCENES_OF_FIFTY, before_read=refuse(17))
    found = search_locations(small_config(), again, FIFTY, spool=tmp_path, concurrency=1)
    assert found.scenes == OTHERS
    assert list(found.refusals) == [17]
    assert [len(asked) for asked in again.searches] == [50, 25]
    third = FakeSource(small_config())
    assert search_locations(small_config(), third, FIFTY, spool=tmp_path, concurrency=1) == found
    assert third.searches == []


@given(st.sets(st.integers(0, 49), max_size=50))
def test_whichever_are_refused_all_others_are_found(tmp_path_factory, refused):
    source = FakeSource(small_config(), scenes=SCENES_OF_FIFTY, before_read=refuse(*refused))
    spool = tmp_path_factory.mktemp("spool")
    found = search_locations(small_config(), source, FIFTY, spool=spool, concurrency=1)
    assert set(found.refusals) == refused
    assert {scene.location_id for scene in found.scenes} == set(range(50)) - refused


def test_a_refused_search_ends_as_refused_with_the_words_of_the_provider(tmp_path):
    layout = Layout("small", root=tmp_path)
    write_locations(PLACES, layout.locations)
    source = FakeSource(config(), scenes=SCENES, before_read=refuse(3))
    run_search(config(), source, layout, search=0, concurrency=2, out=layout.candidates(0))
    run_choose(config(), layout, search=0, out=layout.scenes(0))
    plans = read_plans(layout.scenes(0), PLACES)
    outcomes = fetch_plans(config(), source, plans, layout=layout, job=0, concurrency=1)
    assert outcomes[3].status is Status.REFUSED
    assert outcomes[3].reason.endswith("HTTP 400: polygon of 3 is not valid")
    assert outcomes[5].status is Status.NO_SCENE
    assert source.reads == []
