"""Areas through osmnx, unmodified, from an Overpass server on this machine: what is found, and what fails."""

import datetime as dt
import gzip
import logging
import os
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import shapely
from shapely import MultiPolygon

from builders.areas import equal_area_m2
from builders.outlines import outlines
from builders.overpass import Overpass, PatchAreas, query_polygons
from builders.overpass_exchange import slot_wait_s
from builders.overpass_fetch import AreaSource
from builders.overpass_server import OverpassServer
from builders.tag_table import area_class
from noldo.errors import ConfigError, RequestRefusedError, SourceError, SourceUnavailableError
from noldo.grids import snapped_grid, utm_epsg
from sandbox.osm_elements import Member
from sandbox.osm_file import OsmFile
from sandbox.server import serving
from tests.builders.osm_places import PATCH, SIDE_M, Country, Time, counted, inject, source, table_of
from tests.builders.test_transport import answer
from tests.builders.test_transport import serving as serving_bytes
from tests.sandbox.fake_earth import FakeCatalogue

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("NOLDO_REAL_DATA", ROOT.parent / "shared" / "data")) / "osm"
STATUS = (
    b"Connected as: 1\nCurrent time: x\nAnnounced endpoint: none\nRate limit: 2\n2 slots available now.\n"
)


@pytest.fixture(scope="module")
def earth():
    return FakeCatalogue()


@pytest.fixture
def country():
    """A forest with a lake in it that has an island, and a meadow across the patch's border."""
    osm = Country()
    osm.field(1, 200, 200, 1000, 1000, landuse="forest")
    osm.field(2, 400, 400, 400, 400)
    osm.field(3, 500, 500, 100, 100)
    osm.multipolygon(4, [2], [3], natural="water", name="Lake")
    osm.field(5, -300, 2000, 600, 100, landuse="meadow")
    return osm


@pytest.fixture
def server(earth, country):
    with serving(earth, osm=country) as running:
        yield running


def fits_the_contract(overpass: Overpass) -> AreaSource:
    return overpass


def ids(found):
    return [(area.osm_type, area.osm_id, area.class_id) for area in found.areas]


EVERYTHING = [("relation", 4, 13), ("way", 1, 8), ("way", 5, 7)]


# What is found


def test_areas_come_whole_with_class_and_size(server):
    found = source(server).areas(PATCH)
    assert ids(found) == EVERYTHING
    lake, forest, meadow = found.areas
    assert lake.area_m2 == pytest.approx(150_000, rel=0.005)
    assert forest.area_m2 == pytest.approx(1_000_000, rel=0.005)
    assert meadow.area_m2 == pytest.approx(60_000, rel=0.005)  # also the half beyond the patch
    assert len(lake.geometry.interiors) == 1
    assert all(area.area_m2 == equal_area_m2(area.geometry) for area in found.areas)
    assert (found.num_beside, found.num_lines, found.num_broken) == (0, 0, 0)
    assert source(server).areas(PATCH) == found


def test_a_patch_takes_one_status_and_one_query_for_the_values_of_the_table(server):
    overpass = source(server)
    overpass.areas(PATCH)
    assert counted(server) == {"overpass:interpreter": 1, "overpass:status": 1}
    assert overpass.requests == {"status": 1, "query": 1}
    components = counted(server, "components")
    assert {name for name in components if name.startswith("way")} == {
        "way[landuse=forest]",
        "way[landuse=meadow]",
        "way[natural=water]",
        "way[natural=cliff]",
        "way[leisure=park]",
    }
    assert len(components) == 15


def test_a_patch_without_areas_is_empty(earth):
    with serving(earth, osm=Country()) as server:
        assert source(server).areas(PATCH) == PatchAreas(())


def test_areas_that_only_lie_in_the_margin_are_counted_and_left_out(server, country):
    country.field(10, SIDE_M + 100, 100, 100, 100, landuse="forest")
    country.field(11, SIDE_M + 1100, 100, 100, 100, landuse="forest")
    found = source(server).areas(PATCH)
    assert ids(found) == EVERYTHING
    assert found.num_beside == 1


def test_an_area_around_the_patch_is_found_if_its_outline_is_within_the_margin(server, country):
    country.field(10, -500, -9000, 18_000, 18_000, landuse="forest")
    assert ("way", 10, 8) in ids(source(server, margin_m=1000).areas(PATCH))
    assert ids(source(server, margin_m=0).areas(PATCH)) == EVERYTHING


def test_an_area_around_the_margin_too_is_missing_unless_the_server_finds_such(earth, country):
    country.field(10, -9000, -9000, 18_000, 18_000, landuse="forest")
    for enclosing_areas in (False, True):
        with serving(earth, osm=country, enclosing_areas=enclosing_areas) as server:
            assert (("way", 10, 8) in ids(source(server).areas(PATCH))) == enclosing_areas


def test_the_class_is_that_of_our_table_whatever_else_an_object_is(server, country):
    country.field(10, 1500, 200, 100, 100, leisure="park", landuse="forest", natural="cliff")
    country.field(9, 1300, 200, 100, 100, natural="cliff")  # a line, even where it closes
    country.field(11, 1700, 200, 100, 100, leisure="park", landuse="unknown")
    country.field(12, 1900, 200, 100, 100, landuse="unknown")
    country.field(13, 2100, 200, 100, 100, leisure="park", area="no")
    found = source(server).areas(PATCH)
    assert ids(found) == [*EVERYTHING, ("way", 10, 8), ("way", 11, 4)]
    assert found.num_lines == 2


def test_points_lines_and_broken_relations_are_counted(server, country, caplog):
    caplog.set_level(logging.INFO)
    country.node(*country.at(1500, 1500), leisure="park")
    country.line(10, (1500, 1600), (1600, 1600), landuse="forest")
    country.line(11, (1500, 1700), (1600, 1700), (1600, 1800))
    country.multipolygon(12, [11], [], natural="water")  # its ring is open
    country.multipolygon(13, [2, 999], [], natural="water")  # a way is missing
    country.relation(14, Member("way", 1, ""), tags={"type": "site", "natural": "water"})
    country.line(15, (1500, 1900), (1600, 2000), (1600, 1900), (1500, 2000), closed=True, landuse="forest")
    found = source(server).areas(PATCH)
    assert ids(found) == [*EVERYTHING, ("way", 15, 8)]
    assert isinstance(found.areas[-1].geometry, MultiPolygon)  # two triangles of a figure of eight
    assert (found.num_lines, found.num_broken) == (2, 2)
    assert "relation 12: no area can be made of its members" in caplog.text


def test_a_patch_with_nothing_but_a_broken_relation_says_so(earth):
    osm = Country()
    osm.line(1, (1500, 1700), (1600, 1700), (1600, 1800))
    osm.multipolygon(2, [1], [], natural="water")
    with serving(earth, osm=osm) as server:
        assert source(server).areas(PATCH) == PatchAreas((), num_broken=1)


def test_tags_that_osmnx_would_take_for_its_own_do_no_harm(server, country):
    country.field(10, 1500, 200, 100, 100, landuse="forest", id="A 7", element="fire", geometry="round")
    country.field(11, 1700, 200, 100, 100)
    country.relation(
        12,
        Member("way", 11, "outer"),
        tags={"type": "multipolygon", "natural": "water", "members": "3", "id": "x"},
    )
    assert ids(source(server).areas(PATCH)) == [
        ("relation", 4, 13),
        ("relation", 12, 13),
        ("way", 1, 8),
        ("way", 5, 7),
        ("way", 10, 8),
    ]


def patch_at(lon, lat):
    from pyproj import Transformer

    epsg = utm_epsg(lon, lat)
    x, y = Transformer.from_crs("OGC:CRS84", epsg, always_xy=True).transform(lon, lat)
    return snapped_grid(x, y, crs_epsg=epsg, size_px=264)


@pytest.mark.parametrize(("lon", "lat"), [(179.999, -16.8), (-179.995, 66.5)])
def test_a_patch_across_180_degrees_is_asked_in_two_queries(earth, lon, lat):
    patch = patch_at(lon, lat)
    osm = Country(patch)
    osm.rectangle(1, 179.995, lat - 0.001, 180.0, lat + 0.001, landuse="forest")
    osm.rectangle(2, -180.0, lat - 0.001, -179.995, lat + 0.001, landuse="meadow")
    osm.rectangle(3, 0.0, lat - 0.001, 0.005, lat + 0.001, landuse="forest")
    osm.multipolygon(4, [1, 2], [], natural="water")
    with serving(earth, osm=osm) as server:
        found = source(server).areas(patch)
        assert counted(server)["overpass:interpreter"] == 2
    assert ids(found) == [("relation", 4, 13), ("way", 1, 8), ("way", 2, 7)]


@pytest.mark.parametrize(("lon", "lat"), [(11.0, 48.0), (179.999, -16.8), (-179.995, 66.5), (5.0, 79.0)])
@pytest.mark.parametrize("margin_m", [0, 1000, 1234.5])
def test_query_polygons_hold_the_patch_and_its_margin_but_for_a_metre_at_180_degrees(lon, lat, margin_m):
    patch = patch_at(lon, lat)
    asked = shapely.union_all(query_polygons(patch, margin_m=margin_m))
    missing = outlines([patch])[0].difference(asked)
    assert missing.area <= 2e-5 * 0.1
    assert all(abs(x) >= 179.9999 for x in missing.bounds[::2] if missing.area)
    side = 2640 + 2 * margin_m
    metres = sum(equal_area_m2(part) for part in shapely.get_parts(asked))
    assert side**2 * 0.98 < metres < (side + 20) ** 2 * 1.02


def test_settings_say_who_asks_and_about_when():
    moment = dt.datetime(2020, 1, 15, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    settings = OverpassServer("http://localhost:1/api", date=moment, memory_bytes=1000).settings()
    assert settings["overpass_settings"].format(timeout=180, maxsize="") == (
        '[out:json][timeout:180][date:"2020-01-15T00:00:00Z"]'
    )
    assert settings["overpass_memory"] == 1000
    assert settings["http_user_agent"].startswith("noldo-s12/")
    assert settings["use_cache"] is False
    assert settings["doh_url_template"] is None


def test_a_past_state_can_be_asked_for(server):
    moment = dt.datetime(2020, 1, 15, tzinfo=dt.UTC)
    assert ids(source(server, date=moment, memory_bytes=2**30).areas(PATCH)) == EVERYTHING


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "overpass-api.de/api"}, "expected one like https://overpass-api.de/api"),
        ({"date": dt.datetime(2020, 1, 1)}, "with a time zone"),
    ],
)
def test_a_wrong_server_is_refused_at_once(options, message):
    with pytest.raises(ConfigError, match=message):
        OverpassServer(**options)


def test_a_negative_margin_is_refused(server):
    with pytest.raises(ConfigError, match="margin_m -1"):
        source(server, margin_m=-1)


# osmnx and the process


def test_the_process_stays_as_it_was(server, tmp_path, monkeypatch):
    import osmnx

    monkeypatch.chdir(tmp_path)
    before = dict(vars(osmnx.settings)), socket.getaddrinfo
    source(server).areas(PATCH)
    assert (dict(vars(osmnx.settings)), socket.getaddrinfo) == before
    assert list(tmp_path.iterdir()) == []


def test_two_servers_can_be_asked_from_two_threads(earth, country):
    other = Country()
    other.field(77, 100, 100, 100, 100, landuse="forest")
    results = {}
    with serving(earth, osm=country) as one, serving(earth, osm=other) as two:

        def ask(name, server):
            results[name] = [ids(source(server).areas(PATCH)) for _ in range(3)]

        threads = [threading.Thread(target=ask, args=args) for args in (("one", one), ("two", two))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {"one": [EVERYTHING] * 3, "two": [[("way", 77, 8)]] * 3}


def test_proxies_of_the_environment_are_left_out_on_loopback(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert ids(source(server).areas(PATCH)) == EVERYTHING


def test_requests_say_who_asks_carry_no_secrets_and_may_be_compressed(tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    empty = gzip.compress(b'{"elements": []}')

    def reply(connection, request):
        if b"/status" in request:
            connection.sendall(answer(STATUS))
        else:
            connection.sendall(answer(empty, headers={"Content-Encoding": "gzip"}))

    with serving_bytes(reply) as server:
        assert source(server.url + "/api").areas(PATCH) == PatchAreas(())
    assert len(server.requests) == 2
    for request in server.requests:
        assert b"User-Agent: noldo-s12/" in request
        assert b"authorization" not in request.lower()


# What fails


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429},
        {"status": 504},
        {"status": 500},
        {"status": 502, "html": True},
        {"kind": "remark"},
        {"kind": "not_json"},
        {"kind": "garble"},
        {"kind": "truncate"},
        {"kind": "reset"},
    ],
    ids=str,
)
def test_what_passes_is_waited_for_and_never_taken_for_an_answer(server, fault):
    inject(server, next=[{**fault, "endpoint": "overpass:interpreter", "times": 2}])
    passing = Time()
    overpass = source(server, passing)
    started = time.monotonic()
    assert ids(overpass.areas(PATCH)) == EVERYTHING
    assert time.monotonic() - started < 5
    assert overpass.requests == {"status": 3, "query": 3, "failed": 2}
    assert len(passing.pauses) == 2
    if fault in ({"status": 429}, {"status": 504}, {"kind": "remark"}):
        assert min(passing.pauses) >= 5


def test_a_broken_status_is_waited_for_as_well(server):
    for fault in ({"status": 503}, {"kind": "reset"}, {"kind": "truncate"}):
        inject(server, next=[{**fault, "endpoint": "overpass:status"}])
    overpass = source(server, Time())
    assert ids(overpass.areas(PATCH)) == EVERYTHING
    assert overpass.requests == {"status": 4, "query": 1, "failed": 3}


def test_an_answer_that_trickles_beyond_the_deadline_is_asked_again(server):
    inject(server, next=[{"kind": "slow", "endpoint": "overpass:interpreter"}], slow_s=10)
    overpass = source(server, Time(), deadline_s=2)
    started = time.monotonic()
    assert ids(overpass.areas(PATCH)) == EVERYTHING
    assert 1 < time.monotonic() - started < 8  # a tenth of it comes each second
    assert overpass.requests["failed"] == 1


def test_silence_is_left_after_the_timeout(server):
    inject(server, next=[{"kind": "hang", "endpoint": "overpass:interpreter"}])
    overpass = source(server, Time(), timeout_s=1)
    assert ids(overpass.areas(PATCH)) == EVERYTHING
    assert overpass.requests["failed"] == 1


def test_a_slot_is_waited_for_as_the_status_says(server):
    after = "Slot available after: 2026-01-01T00:00:30Z, in 42 seconds."
    inject(server, next=[{"kind": "busy", "message": after}, {"kind": "busy"}])
    passing = Time()
    overpass = source(server, passing)
    assert ids(overpass.areas(PATCH)) == EVERYTHING
    assert passing.pauses == [42.0, 5.0]
    assert overpass.requests == {"status": 3, "query": 1, "failed": 2}


def test_a_server_without_slots_is_not_asked_for_any(server):
    inject(server, next=[{"kind": "busy"}])
    overpass = source(server, rate_limit=False)
    assert ids(overpass.areas(PATCH)) == EVERYTHING
    assert counted(server) == {"overpass:interpreter": 1}


@pytest.mark.parametrize(
    ("lines", "wait_s"),
    [
        ("Rate limit: 2\n2 slots available now.", None),
        ("Rate limit: 2\n1 slots available now.\nSlot available after: x, in 9 seconds.", None),
        ("Rate limit: 0\nCurrently running queries (pid):", None),
        (
            "Rate limit: 2\nSlot available after: x, in 9 seconds.\nSlot available after: x, in 4 seconds.",
            4.0,
        ),
        ("Rate limit: 2\nSlot available after: x, in -3 seconds.", 1.0),
        ("Rate limit: 2\nCurrently running queries (pid):\n12 2 3", 5.0),
    ],
)
def test_the_status_tells_how_long_to_wait(lines, wait_s):
    assert slot_wait_s(f"Connected as: 1\nCurrent time: x\n{lines}\n") == wait_s


def test_patience_ends_without_sleeping_longer_than_it(server):
    inject(server, outage={"seconds": 600})
    passing = Time()
    with pytest.raises(SourceUnavailableError) as caught:
        source(server, passing, patience_s=100).areas(PATCH)
    message = str(caught.value)
    assert "times in 100 s, last with: HTTP 503: Error: The service is currently unavailable." in message
    assert "run the same command again later" in message
    assert "\n" not in message
    assert passing.now == pytest.approx(100)


def test_a_part_of_an_answer_is_an_error_in_the_end(server):
    inject(server, next=[{"kind": "remark", "times": 1000}])
    with pytest.raises(SourceUnavailableError, match=r"only a part of the answer: .*Query timed out"):
        source(server, patience_s=20).areas(PATCH)


def test_a_server_that_is_not_there_is_an_error_in_the_end():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(SourceUnavailableError, match=r"Connection refused|ConnectionRefusedError"):
        source(f"http://127.0.0.1:{port}/api", patience_s=20).areas(PATCH)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("status", [400, 403, 414])
def test_a_refusal_is_final_and_one_line(server, status):
    inject(
        server,
        next=[{"status": status, "message": "line 1: not\nwith me", "endpoint": "overpass:interpreter"}],
    )
    with pytest.raises(RequestRefusedError) as caught:
        source(server).areas(PATCH)
    assert str(caught.value) == (
        f"{server.overpass_url}/interpreter: HTTP {status}: Error: line 1: not with me"
    )
    assert counted(server) == {"overpass:interpreter": 1, "overpass:status": 1}


def test_a_url_without_overpass_is_final(earth):
    with (
        serving(earth) as server,
        pytest.raises(RequestRefusedError, match=r"status: HTTP 404: .*rate_limit"),
    ):
        source(server).areas(PATCH)


def test_an_answer_that_osmnx_can_not_read_is_one_line():
    strange = b'{"elements": [{"type": "way", "id": 1, "tags": {"landuse": "forest"}}]}'

    def reply(connection, request):
        connection.sendall(answer(STATUS if b"/status" in request else strange))

    with serving_bytes(reply) as server, pytest.raises(SourceError, match="osmnx can't make geometries"):
        source(server.url + "/api").areas(PATCH)


# Real data: the same areas by two ways

TABLE_A = """
1 landuse residential retail
2 landuse industrial commercial port railway lock
2 leisure marina
3 landuse quarry construction landfill brownfield
4 landuse recreation_ground allotments village_green cemetery grass
4 leisure park garden pitch golf_course playground stadium recreation_ground common dog_park
5 landuse farmland farmyard greenhouse_horticulture greenhouse
6 landuse vineyard orchard
7 landuse meadow
8 landuse forest
8 natural wood
9 landuse greenfield
9 natural grassland scrub heath fell
10 natural beach scree shingle bare_rock sand glacier mud rock cliff fill
11 natural wetland
12 landuse salt_pond
13 landuse basin reservoir
13 natural water pond
"""
CLASSES = {
    (key, value): int(number)
    for number, key, *values in (line.split() for line in TABLE_A.strip().splitlines())
    for value in values
}
OHSOME = table_of("ohsome", ("landuse", "natural", "leisure"), CLASSES)


def areas_by_pyosmium(path):
    """Square metres by class, by pyosmium's own assembly; nothing of the project but the projection."""
    import osmium

    factory = osmium.geom.WKBFactory()
    metres = Counter()
    for entry in osmium.FileProcessor(str(path)).with_areas():
        if isinstance(entry, osmium.osm.Area):
            kind = "way" if entry.from_way() else "relation"
            class_id = area_class(dict(entry.tags), OHSOME, osm_type=kind)
            if class_id is not None:
                polygon = shapely.from_wkb(bytes.fromhex(factory.create_multipolygon(entry)))
                metres[class_id] += equal_area_m2(polygon)
    return metres


@pytest.mark.parametrize(
    ("name", "lon", "lat", "side_km", "num_areas", "num_cut_off"),
    [
        ("lauf-20200115", 11.278, 49.515, 24, 1345, 8),
        # Reaches to Lake Constance; beyond 50 km, osmnx asks in parts, each with its own overlap.
        pytest.param("liechtenstein-20220721", 9.555, 47.26, 72, 4792, 0, marks=pytest.mark.slow),
    ],
)
def test_overpass_and_pyosmium_agree_on_a_real_extract(
    earth, *, name, lon, lat, side_km, num_areas, num_cut_off
):
    path = REAL / f"{name}.osm.pbf"
    if not path.exists():
        pytest.skip(f"{path} is absent; point NOLDO_REAL_DATA to a folder that has it")
    middle = patch_at(lon, lat)
    x, y = middle.centre
    wide = snapped_grid(x, y, crs_epsg=middle.crs_epsg, size_px=side_km * 100 // 6 * 6)
    with serving(earth, osm=OsmFile(path)) as server:
        found = source(server, table=OHSOME, margin_m=0).areas(wide)
        queries = counted(server)["overpass:interpreter"]
    metres = Counter()
    for area in found.areas:
        metres[area.class_id] += area.area_m2
    expected = areas_by_pyosmium(path)
    assert dict(metres) == pytest.approx(dict(expected), rel=1e-3)
    assert len(found.areas) == num_areas
    assert queries == (1 if side_km <= 50 else 4)
    assert (found.num_beside, found.num_broken) == (0, num_cut_off)  # relations that lack ways in the extract
