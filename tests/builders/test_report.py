import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.choice import choose
from builders.report import coarse_land, run_report
from builders.report_data import causes_of, read_report_data
from builders.report_figures import Axis, Mark, bar_chart
from builders.report_gallery import choose_varied, gallery, shown_seasons
from builders.report_map import (
    Places,
    equal_earth,
    find_regions,
    region_map,
    world_map,
)
from builders.report_page import CHAPTERS, Part, page
from builders.request_log import RequestLog, RequestRecord
from noldo.errors import StoreError
from noldo.legend import DYNAMIC_WORLD
from noldo.status import Status
from tests.builders.made_up_build import REASONS, finish, made_up_config, make_up


def all_land(lon, lat):
    return np.abs(lat) < 50


def text_of(build) -> str:
    data = read_report_data(build.layout)
    return page([Part(data, gallery(build.layout.store, data))], land=all_land)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    build = make_up(tmp_path_factory.mktemp("built"))
    log = RequestLog(build.layout.requests, stage="fetch", job="0")
    for kind in ("metadata", "pixels", "pixels", "pixels", "fallback"):
        log.append(RequestRecord(kind, 1, "ok", 200, 40_000_000, 1_000_000, 0.1))
    finish(build)
    return build


class Loads(HTMLParser):
    """Everything that a browser would load, and whether elements are nested well."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self):
        super().__init__()
        self.loaded, self.open, self.ids, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        for name in ("src", "srcset", "data", "poster", "background"):
            if found.get(name):
                self.loaded.append(found[name])
        if tag == "link":
            self.loaded.append(found["href"])
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(text: str) -> Loads:
    parser = Loads()
    parser.feed(text)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    return parser


def test_the_page_loads_nothing_from_elsewhere(built):
    text = text_of(built)
    assert all(uri.startswith("data:") for uri in parsed(text).loaded)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    script = text[text.index("<script>") :]
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|https?://", script)
    assert "default-src 'none'" in text


def test_the_page_has_every_chapter_its_contents_promise(built):
    assert set(CHAPTERS) <= set(parsed(text_of(built)).ids)


def test_every_refusal_is_counted_and_shown_with_its_reason(built):
    text = text_of(built)
    words = " ".join("".join(parsed(text).text).split())
    for status, reason in REASONS.items():
        if status != Status.KEPT:
            assert reason in words
            assert html.escape(reason) in text
    for label, count in (("no usable scene", 3), ("not covered", 1), ("request refused", 1)):
        assert re.search(rf"{label}</th><td class=\"number\">{count}</td>", text)


def test_the_page_says_that_it_is_synthetic_and_how_to_get_real_imagery(built):
    text = text_of(built)
    assert "SYNTHETIC" in text
    assert "--configfile config/noldo_s12.yaml" in text


def test_a_page_about_real_imagery_has_no_such_banner(tmp_path):
    config = made_up_config(source={"url": "https://earthengine-highvolume.googleapis.com", "project": "p"})
    build = make_up(tmp_path, config=config)
    finish(build)
    assert "SYNTHETIC" not in text_of(build)
    assert "Contains modified Copernicus Sentinel data" in text_of(build)


def test_requests_stand_beside_those_of_the_published_script(built):
    text = text_of(built)
    assert '<span class="compare-value">0.50</span>' in text  # 5 requests, 10 locations
    assert '<span class="compare-value">18</span>' in text  # 9 a season, 2 seasons


def test_class_shares_stand_beside_the_papers(built):
    text = text_of(built)
    shares = read_report_data(built.layout).manifest.class_shares
    assert f'<td class="number">{100 * shares["crops"]:.2f}</td><td class="number muted">22.65</td>' in text
    assert all(colour in text for colour in DYNAMIC_WORLD.colours)


def test_the_gallery_shows_every_season_of_kept_locations_only(built):
    exhibits = gallery(built.layout.store, read_report_data(built.layout))
    kept = {one.location_id for one in built.outcomes if one.status == Status.KEPT}
    assert {exhibit.location_id for exhibit in exhibits} == kept
    assert [[picture.season for picture in row] for row in exhibits[0].rows] == [["winter", "summer"]] * 3


def test_the_report_is_written_with_real_land(built):
    run_report(built.config, built.layout)
    assert built.layout.report.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_build_that_kept_nothing_has_a_clear_page(tmp_path):
    build = make_up(tmp_path, statuses=[Status.NO_SCENE, Status.REFUSED])
    finish(build)
    text = text_of(build)
    parsed(text)
    assert "No location was kept, so there is nothing to show." in text
    assert html.escape(REASONS[Status.REFUSED]) in text


def test_one_season_without_radar_and_labels_alone_is_reported_too(tmp_path):
    config = made_up_config(
        2,
        seasons=[{"name": "summer", "date": "2021-06-21"}],
        products={"s2_l1c": ["B1"], "s2_l2a": [], "s2_scl": False, "s1_grd": []},
    )
    build = make_up(tmp_path, config=config, statuses=[Status.KEPT, Status.KEPT])
    finish(build)
    exhibits = gallery(build.layout.store, read_report_data(build.layout))
    assert [len(row) for row in exhibits[0].rows] == [1]
    assert "labels: Dynamic World" in text_of(build)


def test_names_from_outside_are_escaped(tmp_path):
    build = make_up(tmp_path)
    finish(build)
    text = text_of(build)
    assert "Ort &amp; Stelle" in text
    assert "<no such band>" not in text


def test_an_unfinished_build_is_named(tmp_path):
    build = make_up(tmp_path)
    with pytest.raises(StoreError, match=r"nol\.json"):
        read_report_data(build.layout)


def test_causes_leave_out_what_is_particular_to_a_location():
    seasons = ["winter", "spring"]
    assert causes_of(
        "no usable scene in winter (5 scenes: 4 cloud >= 20 %, 1 no Sentinel-1 within 15 days), "
        "spring (no scene up to 20 % cloud in the window)",
        seasons=seasons,
    ) == ["cloud >= 20 %", "no Sentinel-1 within 15 days", "no scene up to 20 % cloud in the window"]
    assert causes_of(
        "winter: 2020_T32: 12.0 % of the patch labelled, 50.0 % wanted; 2 more with one of these scenes. "
        "spring: 2021_T32: 13.1 % of the patch labelled, 50.0 % wanted",
        seasons=seasons,
    ) == ["a part of the patch labelled, 50.0 % wanted"]
    assert causes_of("", seasons=seasons) == ["(no reason given)"]


@given(st.text(max_size=80))
def test_every_reason_has_a_cause(reason):
    assert causes_of(reason, seasons=["winter"])


def test_the_gallery_begins_with_the_most_mixed_place_and_goes_far_from_it():
    pure, other, mixed, again = [90, 0, 0], [0, 90, 0], [30, 30, 30], [31, 29, 30]
    counts = np.array([pure, again, mixed, other])[:, None]
    assert choose_varied(counts, number=3) == [2, 0, 3]
    assert choose_varied(counts[:0]) == []
    assert sorted(choose_varied(counts, number=9)) == [0, 1, 2, 3]


@pytest.mark.parametrize(("number", "shown"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3]), (12, [0, 4, 7, 11])])
def test_at_most_four_seasons_are_shown(number, shown):
    assert shown_seasons(number) == shown


def test_histograms_drop_no_value():
    chart = bar_chart(
        np.array([-50.0, 0.0, 0.2, 99.0, np.nan]), Axis(-10, 10, 4, " d", (-10, 0, 10)), label="days"
    )
    counts = [int(number) for number in re.findall(r": (\d+)</title>", chart)]
    assert counts == [1, 2, 1]
    assert "histogram of 4 values" in chart


def test_bars_beyond_a_limit_are_marked():
    chart = bar_chart(
        np.array([0.1, 0.9]),
        Axis(0, 1, 10, "", (0, 1)),
        label="share",
        mark=Mark(0.5, "needed", refused_below=True),
    )
    assert chart.count('class="bar refused"') == 1
    assert chart.count('class="bar"') == 1


def test_equal_earth_is_equal_in_area():
    lat = np.linspace(-80, 80, 161)
    x, y = equal_earth(np.ones_like(lat), lat)
    areas = (x[:-1] + x[1:]) / 2 * np.diff(y)
    sphere = np.radians(1.0) * np.diff(np.sin(np.radians(lat)))
    np.testing.assert_allclose(areas, sphere, rtol=1e-4)


def test_a_few_groups_of_places_get_maps_and_a_globe_of_places_does_not():
    here = np.array([10.0, 10.5, 11.0]), np.array([48.0, 48.1, 48.0])
    there = np.array([-70.0, -70.2]), np.array([-33.0, -33.1])
    lon, lat = (np.concatenate(pair) for pair in zip(here, there, strict=True))
    regions = find_regions(lon, lat)
    assert [region.count for region in regions] == [2, 3]
    assert find_regions(np.arange(-170.0, 170.0, 20.0), np.zeros(17)) == []
    assert find_regions(np.array([]), np.array([])) == []
    places = [Places("kept", lon, lat)]
    assert region_map(places, regions[1], land=all_land).count("M") > 3
    assert world_map(places, regions, land=all_land).count('class="region"') == 2


def test_the_coarse_land_mask_knows_land_from_sea():
    land = coarse_land()
    assert land(np.array([11.5, -30.0, 25.0]), np.array([48.1, 40.0, -29.0])).tolist() == [True, False, True]


def test_what_the_choice_of_scenes_says_is_understood(tmp_path):
    config = made_up_config()
    location = make_up(tmp_path).locations[0]
    refusal = choose(location, [], config).refusal
    assert refusal
    (cause,) = causes_of(refusal, seasons=["winter", "summer"])
    assert "no scene" in cause
    assert "winter" not in cause
