"""The search for tiles, each with a date of its own, through the real client against the sandbox."""

import datetime as dt
import shutil
from dataclasses import replace

import numpy as np
import pytest

from builders.config import parse_config
from builders.earth_engine import EarthEngine
from builders.layout import Layout
from builders.outlines import outlines
from builders.patches import place_patches
from builders.records import COLLECTIONS, S1_GRD, S2_L1C, Location
from sandbox.planet import SyntheticEarth
from sandbox.server import serving

DAY_MS = 86_400_000
PLACES = (
    (9.1, 48.7, dt.date(2018, 6, 14)),
    (24.5, -30.2, dt.date(2019, 11, 2)),
    (-60.3, 5.1, dt.date(2019, 2, 5)),
)
CONFIG = parse_config(
    {
        "name": "tiles",
        "source": {"url": "sandbox", "credentials": "anonymous"},
        "seasons": [{"name": "s", "date": "2021-03-20"}],
        "dw": {"count": 3},
    },
    where="test",
).of_subset("dw")


def locations() -> list[Location]:
    lon, lat = (np.array([place[axis] for place in PLACES]) for axis in (0, 1))
    patches = place_patches(lon, lat, size_px=510)
    return [
        Location(number, *place[:2], grid, "", "train", date=place[2])
        for number, (grid, place) in enumerate(zip(patches.grids, PLACES, strict=True))
    ]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    with serving(SyntheticEarth(0)) as server:
        engine = EarthEngine.connect(
            CONFIG, url=server.url, claim=2, stage="search", job="0", layout=Layout("tiles", folder)
        )
        try:
            scenes = engine.search(locations())
        finally:
            engine.close()
        requests = server.log.summary()
    shutil.rmtree(folder)
    return scenes, requests


def midnight_ms(date: dt.date) -> int:
    return int(dt.datetime(date.year, date.month, date.day, tzinfo=dt.UTC).timestamp() * 1000)


@pytest.mark.parametrize(("product", "margin_days"), [(S2_L1C, 0), (S1_GRD, 15)])
def test_each_tile_gets_the_scenes_around_its_own_date(found, product, margin_days):
    scenes, _ = found
    earth = SyntheticEarth(0)
    for place in locations():
        start = midnight_ms(place.date) - (15 + margin_days) * DAY_MS
        end = midnight_ms(place.date) + (16 + margin_days) * DAY_MS
        (outline,) = outlines([place.grid])
        expected = {
            record.index
            for record in earth.find(COLLECTIONS[product], bounds=outline.bounds, start_ms=start, end_ms=end)
            if record.footprint.intersects(outline)
        }
        names = {scene.index for scene in scenes if (scene.location_id, scene.product) == (place.id, product)}
        assert names
        assert names <= expected
        assert len(names) >= 0.9 * len(expected)  # footprints of Sentinel-1 without VH are left out


def test_cloudy_scenes_are_named_too(found):
    scenes, _ = found
    assert max(scene.cloud_percent for scene in scenes if scene.product == S2_L1C) > 20


def test_three_dates_are_one_request(found):
    _, requests = found
    assert requests["endpoints"]["value:compute"] == 1


def test_a_dated_season_and_a_tile_of_that_date_find_the_same(tmp_path):
    place = locations()[0]
    season = {"name": "s", "date": str(place.date), "window_days": 15}
    dated = parse_config(
        {
            "name": "dated",
            "source": {"url": "sandbox", "credentials": "anonymous"},
            "seasons": [season],
            "clouds": {"max_scene_percent": 100},
        },
        where="test",
    )
    with serving(SyntheticEarth(0)) as server:
        answers = []
        for config, location in ((dated, replace(place, date=None)), (CONFIG, place)):
            engine = EarthEngine.connect(
                config, url=server.url, claim=1, stage="search", job="0", layout=Layout("x", tmp_path)
            )
            answers.append(engine.search([location]))
            engine.close()
    by_name = [sorted(answer, key=lambda scene: (scene.product, scene.index)) for answer in answers]
    assert by_name[0] == by_name[1] != []


def test_where_a_list_is_cut_a_tile_keeps_the_scenes_nearest_to_its_date(tmp_path, monkeypatch):
    monkeypatch.setattr("builders.metadata.MAX_S2_SCENES", 3)
    place = locations()[0]
    with serving(SyntheticEarth(0)) as server:
        engine = EarthEngine.connect(
            CONFIG, url=server.url, claim=1, stage="search", job="0", layout=Layout("x", tmp_path)
        )
        scenes = [scene for scene in engine.search([place]) if scene.product == S2_L1C]
        engine.close()
    (outline,) = outlines([place.grid])
    start, end = midnight_ms(place.date) - 15 * DAY_MS, midnight_ms(place.date) + 16 * DAY_MS
    every = SyntheticEarth(0).find(COLLECTIONS[S2_L1C], bounds=outline.bounds, start_ms=start, end_ms=end)
    noon = midnight_ms(place.date) + DAY_MS // 2
    apart = sorted(abs(one.time_start_ms - noon) for one in every if one.footprint.intersects(outline))
    assert len(scenes) == 3 < len(apart)
    assert sorted(abs(scene.time_ms - noon) for scene in scenes) == apart[:3]
