"""Overpass on loopback: what is understood, what is found, how it fails; and that osmnx, unmodified, reads it."""

import http.client
import json
import re
import time
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from sandbox.osm_elements import Member
from sandbox.overpass import evaluate
from sandbox.overpass_query import parse
from sandbox.refusals import Refusal
from sandbox.server import serving
from tests.sandbox.fake_osm import FakeOsm
from tests.sandbox.loopback import call, constant_value

BOX = "10.0 20.0 10.0 21.0 11.0 21.0 11.0 20.0 10.0 20.0"
"""Latitude 10..11, longitude 20..21."""
WORLD = box(20, 10, 21, 11)
INTERPRETER = "/overpass/api/interpreter"
STATUS = "/overpass/api/status"


def query(*searches, down=True, settings="[out:json][timeout:180]"):
    """As osmnx writes it."""
    below = "(._;>;);" if down else ""
    parts = "".join(f"({search}(poly:'{BOX}');{below});" for search in searches)
    return f"{settings};({parts});out;"


def found(osm, *searches, enclosing_areas=False, **options):
    elements = evaluate(parse(query(*searches, **options)), osm, enclosing_areas=enclosing_areas)
    return [(element["type"], element["id"]) for element in elements]


def ways(osm, tag="landuse", **options):
    return {ref for kind, ref in found(osm, f"way['{tag}']", down=False, **options) if kind == "way"}


def relations(osm, tag="natural", **options):
    return {
        ref for kind, ref in found(osm, f"relation['{tag}']", down=False, **options) if kind == "relation"
    }


@pytest.fixture
def town():
    """A forest with a pond in it, and a lake with an island."""
    osm = FakeOsm()
    osm.rectangle(1, 20.1, 10.1, 20.4, 10.4, landuse="forest")
    osm.rectangle(2, 20.2, 10.2, 20.3, 10.3, natural="water", name="Mary's")
    osm.rectangle(3, 20.6, 10.6, 20.9, 10.9)
    osm.rectangle(4, 20.7, 10.7, 20.8, 10.8)
    osm.multipolygon(5, [3], [4], natural="water")
    osm.node(20.5, 10.5, natural="tree")
    return osm


@pytest.fixture
def overpass(earth, town):
    with serving(earth, osm=town, max_per_second=100_000.0) as running:
        yield running


def post(server, text, **options):
    return call(server.url + INTERPRETER, urlencode({"data": text}).encode(), **options)


def inject(server, **changes):
    assert call(server.url + "/control/faults", changes).status == 200


def log_of(server):
    return call(server.url + "/control/log").json()


# What is understood


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("kind", ["way", "relation", "rel", "node", "nwr"])
def test_kinds_and_both_quotes_are_understood(quote, kind):
    tag = f"[{quote}landuse{quote}={quote}forest{quote}]"
    (search,) = parse(query(kind + tag)).searches()
    assert search.tags == (("landuse", "forest"),)
    assert search.polygon.equals(WORLD)
    assert search.name == f"{'relation' if kind == 'rel' else kind}[landuse=forest]"


@given(st.text(min_size=1), st.text())
def test_every_tag_that_python_can_quote_is_understood_unless_it_writes_numbers_for_characters(key, value):
    if re.search(r"\\[^nt\\'\"]", repr(key) + repr(value)):
        return
    (search,) = parse(query(f"way[{key!r}={value!r}]")).searches()
    assert search.tags == ((key, value),)


def test_settings_are_read_and_a_key_may_stand_alone():
    text = query(
        "way['landuse']", settings='[out:json][timeout:25][maxsize:1000][date:"2020-01-15T00:00:00Z"]'
    )
    parsed = parse(text)
    assert parsed.settings == {
        "out": "json",
        "timeout": "25",
        "maxsize": "1000",
        "date": "2020-01-15T00:00:00Z",
    }
    assert [search.tags for search in parsed.searches()] == [(("landuse", None),)]


def test_comments_line_breaks_and_other_orders_are_understood():
    text = f'[out:json];\n// forests\nway(poly:"{BOX}") [landuse = forest];\n/* and\nbelow */ (._;>;);\nout body;'
    (search,) = parse(text).searches()
    assert search.tags == (("landuse", "forest"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "only JSON is served"),
        ("[out:xml];out;", "setting [out:xml] is not understood"),
        ("[out:json][bbox:1];out;", "setting [bbox:1] is not understood"),
        ("[out:json];out;", "a query without any statement"),
        ("[timeout:5];way['a'](poly:'0 0 0 1 1 1');out;", "begin the query with [out:json]"),
        ("[out:json];way['a'~'b'](poly:'0 0 0 1 1 1');out;", "column 19: parse error: '~' is not understood"),
        ("[out:json];way['a'!='b'](poly:'0 0 0 1 1 1');out;", "'!' is not understood"),
        ("[out:json];way['a'](47.0,11.0,48.0,12.0);out;", "',' is not understood"),
        ("[out:json];way['a'](around:10);out;", "'poly' expected - 'around' found"),
        ("[out:json];way['a'];out;", "needs a tag and one (poly:...)"),
        ("[out:json];way(poly:'0 0 0 1 1 1');out;", "needs a tag and one (poly:...)"),
        ("[out:json];way['a'](poly:'0 0 0 1 1 1')out;", "';' expected - 'out' found"),
        (
            "[out:json];\nnode['a'](poly:'0 0 0 1 1');out;",
            "line 2, column 16: parse error: poly: at least three",
        ),
        ("[out:json];way['a'](poly:'0 0 0 1 95 1');out;", "within -90..90"),
        ("[out:json];way['a'](poly:'0 0 0 1 x 1');out;", "could not convert"),
        ("[out:json];way['a'](poly:'0 0 1 1 0 1 1 0');out;", "Self-intersection"),
        ("[out:json];(way['a'](poly:'0 0 0 1 1 1');>>;);out;", "column 43: parse error: ';' expected"),
        ("[out:json];(way['a'](poly:'0 0 0 1 1 1');", "statement expected - end of query found"),
        ("[out:json];way['a'](poly:'0 0 0 1 1 1');out;out;", "nothing may follow 'out;'"),
        ("[out:json];way['a'](poly:'0 0 0 1 1 1');out geom;", "';' expected - 'geom' found"),
        ("[out:json];way['a'", "end of query found"),
        ("[out:json];way['a", '"\'" is not understood'),
        ("[out:json][date:\"2020-02-31T00:00:00Z\"];way['a'](poly:'0 0 0 1 1 1');out;", "day"),
    ],
)
def test_what_is_not_understood_is_a_400_that_says_so(overpass, text, message):
    reply = post(overpass, text)
    assert reply.status == 400
    assert reply.headers["Content-Type"].startswith("text/html")
    assert message in reply.body.decode()


def test_the_place_of_an_error_is_told_by_line_and_column():
    with pytest.raises(Refusal, match=r"^line 3, column 1: parse error: statement expected - 'foo' found"):
        parse("[out:json]\n;\nfoo;out;")


# What is found


def test_a_way_is_found_if_a_part_of_it_lies_inside():
    osm = FakeOsm()
    osm.rectangle(1, 20.2, 10.2, 20.3, 10.3, landuse="inside")
    osm.rectangle(2, 19.0, 10.2, 20.3, 10.3, landuse="half")
    osm.way(3, [(19, 10.5), (22, 10.6)], closed=False, landuse="crosses without a node inside")
    osm.rectangle(4, 19.0, 10.2, 20.0, 10.3, landuse="touches the border")
    osm.rectangle(5, 25.0, 10.2, 26.0, 10.3, landuse="elsewhere")
    assert ways(osm) == {1, 2, 3}


def test_an_area_around_the_polygon_is_found_only_on_request():
    osm = FakeOsm()
    osm.rectangle(1, 15, 5, 25, 15, landuse="forest")
    osm.way(2, [(15, 5), (25, 5), (25, 15)], closed=False, landuse="line")
    osm.rectangle(3, 30, 5, 35, 15, landuse="east of it")
    assert ways(osm) == set()
    assert ways(osm, enclosing_areas=True) == {1}


def test_a_multipolygon_around_the_polygon_is_found_on_request_unless_the_polygon_lies_in_its_hole():
    osm = FakeOsm()
    osm.rectangle(1, 10, 0, 30, 20)
    osm.rectangle(2, 15, 5, 25, 15)
    osm.rectangle(3, 18, 8, 23, 13)
    osm.multipolygon(10, [1], [], natural="lake")
    osm.multipolygon(11, [1], [2], natural="hole")
    osm.multipolygon(12, [1, 3], [2], natural="island in the hole")
    osm.multipolygon(13, [1, 99], [], natural="incomplete")
    osm.relation(14, Member("way", 1, "outer"), tags={"type": "site", "natural": "no area"})
    assert relations(osm) == set()
    assert relations(osm, enclosing_areas=True) == {10, 12}


def test_a_multipolygon_of_open_ways_is_found_on_request_too():
    osm = FakeOsm()
    south = osm.way(1, [(15, 5), (25, 5)], closed=False)
    north = osm.way(2, [(25, 5), (25, 15), (15, 15), (15, 5)], closed=False)
    osm.multipolygon(10, [south, north], [], natural="lake")
    assert relations(osm, enclosing_areas=True) == {10}


def test_a_relation_is_found_by_a_member_inside_even_if_it_is_incomplete():
    osm = FakeOsm()
    osm.rectangle(1, 20.2, 10.2, 20.3, 10.3)
    osm.multipolygon(10, [1, 99], [], natural="water")
    stop = osm.node(20.5, 10.5)
    osm.relation(11, Member("node", stop, "stop"), Member("relation", 10, ""), tags={"natural": "route"})
    osm.relation(12, Member("relation", 10, ""), tags={"natural": "of relations"})
    assert relations(osm) == {10, 11}


def test_nodes_are_found_also_on_the_border():
    osm = FakeOsm()
    inside, border = osm.node(20.5, 10.5, natural="tree"), osm.node(20.0, 10.5, natural="tree")
    osm.node(19.9, 10.5, natural="tree")
    assert found(osm, "node['natural'='tree']") == [("node", inside), ("node", border)]


def test_everything_below_comes_along_once_and_in_order(town):
    everything = found(town, "relation['natural'='water']", "way['natural'='water']", "node['natural']")
    nodes = [("node", ref) for ref in (*range(5, 9), *range(9, 13), *range(13, 17), 17)]
    assert everything == [*nodes, ("way", 2), ("way", 3), ("way", 4), ("relation", 5)]
    assert found(town, "relation['natural']", down=False) == [("relation", 5)]


def test_members_that_the_data_lack_do_not_come_along_but_are_named():
    osm = FakeOsm()
    osm.rectangle(1, 20.2, 10.2, 20.3, 10.3)
    osm.relation(
        10,
        Member("way", 1, "outer"),
        Member("way", 99, "outer"),
        Member("relation", 11, ""),
        tags={"type": "multipolygon", "natural": "water"},
    )
    osm.multipolygon(11, [1], [])
    elements = evaluate(parse(query("relation['natural']")), osm, enclosing_areas=False)
    assert [(one["type"], one["id"]) for one in elements[-2:]] == [("way", 1), ("relation", 10)]
    assert [member["ref"] for member in elements[-1]["members"]] == [1, 99, 11]


def test_all_tags_of_a_search_must_match(town):
    town.rectangle(6, 20.2, 10.2, 20.3, 10.3, natural="water", water="pond")
    assert found(town, "way['natural'='water']['water']", down=False) == [("way", 6)]
    assert found(town, "way['natural'='water'][water=lake]", down=False) == []
    assert found(town, "nwr['natural']", down=False) == [
        ("node", 17),
        ("way", 2),
        ("way", 6),
        ("relation", 5),
    ]


def test_elements_are_written_as_overpass_does(overpass):
    elements = post(overpass, query("nwr['natural'='water']")).json()["elements"]
    assert elements[0] == {"type": "node", "id": 5, "lat": 10.2, "lon": 20.2}
    assert {
        "type": "way",
        "id": 2,
        "nodes": [5, 6, 7, 8, 5],
        "tags": {"natural": "water", "name": "Mary's"},
    } in elements
    assert elements[-1] == {
        "type": "relation",
        "id": 5,
        "members": [
            {"type": "way", "ref": 3, "role": "outer"},
            {"type": "way", "ref": 4, "role": "inner"},
        ],
        "tags": {"type": "multipolygon", "natural": "water"},
    }


# How it is served


def test_get_and_post_give_the_same_bytes(overpass):
    text = query("way['landuse'='forest']")
    posted = post(overpass, text)
    got = call(f"{overpass.url}{INTERPRETER}?{urlencode({'data': text})}")
    assert posted.status == got.status == 200
    assert posted.body == got.body
    assert posted.headers["Content-Type"].startswith("application/json")
    assert len(posted.json()["elements"]) == 5


def test_connections_are_kept_open(overpass):
    connection = http.client.HTTPConnection("127.0.0.1", overpass.server_port, timeout=10)
    for _ in range(2):
        connection.request("GET", STATUS)
        reply = connection.getresponse()
        assert reply.version == 11
        assert len(reply.read()) == int(reply.headers["Content-Length"])
    connection.close()
    assert log_of(overpass)["endpoints"] == {"overpass:status": 2}


def test_a_past_date_is_announced_in_the_answer(overpass):
    dated = query("way['landuse']", settings='[out:json][date:"2020-01-15T00:00:00Z"]')
    assert post(overpass, dated).json()["osm3s"]["timestamp_osm_base"] == "2020-01-15T00:00:00Z"


def test_the_status_has_six_lines_and_the_fifth_announces_free_slots(overpass):
    reply = call(overpass.url + STATUS)
    lines = reply.body.decode().splitlines()
    assert reply.headers["Content-Type"] == "text/plain"
    assert len(lines) == 6
    assert lines[4] == "2 slots available now."


def test_without_data_every_path_says_how_to_serve_some(server):
    for path in (STATUS, f"{INTERPRETER}?data=x"):
        reply = call(server.url + path)
        assert reply.status == 404
        assert "--osm-extract" in reply.body.decode()


def test_other_paths_are_404(overpass):
    reply = call(overpass.url + "/overpass/api/interpreters")
    assert reply.status == 404
    assert "/overpass/api/interpreter are" in reply.body.decode()


def test_requests_are_counted_by_path_and_component(overpass):
    post(overpass, query("way['landuse'='forest']", "way['landuse'='meadow']"))
    post(overpass, query("way['landuse'='forest']", "nwr[natural]"))
    call(overpass.url + STATUS)
    log = log_of(overpass)
    assert log["endpoints"] == {"overpass:interpreter": 2, "overpass:status": 1}
    assert log["components"] == {"way[landuse=forest]": 2, "way[landuse=meadow]": 1, "nwr[natural]": 1}


def test_neither_quota_nor_credentials_of_earth_engine_matter(earth, town):
    with serving(earth, osm=town, max_per_second=1, faults=None) as server:
        inject(server, authentication=403)
        assert [call(server.url + STATUS).status for _ in range(5)] == [200] * 5
        assert post(server, query("way['landuse']")).status == 200


def test_a_defect_of_the_data_is_a_page_of_words(earth, caplog):
    class Broken(FakeOsm):
        def near(self, polygon):
            raise LookupError("no such drawer")

    with serving(earth, osm=Broken()) as server:
        reply = post(server, query("way['landuse']"))
    assert reply.status == 400
    assert "no such drawer" in reply.body.decode()


# How it fails on request


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 429}, "Dispatcher_Client::request_read_and_idx::rate_limited"),
        ({"kind": "504"}, "Dispatcher_Client::request_read_and_idx::timeout"),
        ({"status": 504, "message": "gone fishing"}, "gone fishing"),
        ({"status": 500}, "An internal error has occurred."),
    ],
)
def test_queued_errors_are_pages_and_pass(overpass, fault, said):
    inject(overpass, next=[{**fault, "endpoint": "overpass:interpreter", "times": 2}])
    assert call(overpass.url + STATUS).status == 200
    first, second, third = (post(overpass, query("way['landuse']")) for _ in range(3))
    assert first.status == second.status == fault.get("status", 504)
    assert said in first.body.decode()
    assert first.headers["Content-Type"].startswith("text/html")
    assert third.status == 200


def test_a_remark_comes_with_half_of_the_answer(overpass):
    whole = post(overpass, query("way['landuse']")).json()
    inject(overpass, next=[{"kind": "remark"}, {"kind": "remark", "message": "runtime error: out of memory"}])
    assert call(overpass.url + STATUS).body.startswith(b"Connected as")
    first, second, third = (post(overpass, query("way['landuse']")).json() for _ in range(3))
    assert first["elements"] == whole["elements"][:2]
    assert "Query timed out" in first["remark"]
    assert second["remark"] == "runtime error: out of memory"
    assert third == whole
    assert log_of(overpass)["faults"] == {"remark": 2}


def test_an_answer_may_be_no_json(overpass):
    inject(overpass, next=[{"kind": "not_json"}])
    reply = post(overpass, query("way['landuse']"))
    assert reply.status == 200
    with pytest.raises(ValueError, match="Expecting value"):
        reply.json()


def test_a_slow_answer_is_whole(overpass):
    whole = post(overpass, query("way['landuse']")).body
    inject(overpass, next=[{"kind": "slow"}], slow_s=0.3)
    started = time.monotonic()
    assert post(overpass, query("way['landuse']")).body == whole
    assert time.monotonic() - started >= 0.25


def test_the_status_can_be_made_to_say_anything(overpass):
    later = "Slot available after: 2026-01-01T00:00:30Z, in 25 seconds."
    inject(overpass, next=[{"kind": "busy", "message": later}, {"kind": "busy"}])
    assert post(overpass, query("way['landuse']")).status == 200
    lines = [call(overpass.url + STATUS).body.decode().splitlines()[4] for _ in range(3)]
    assert lines[0] == later
    assert lines[1].startswith("Currently running queries")
    assert lines[2] == "2 slots available now."


def test_faults_of_overpass_never_meet_earth_engine(overpass):
    inject(overpass, next=[{"kind": "remark"}, {"kind": "not_json"}, {"kind": "busy"}])
    reply = call(overpass.url + "/v1/projects/test-project/value:compute", constant_value(1))
    assert reply.json() == {"result": 1}
    inject(overpass, rates={"remark": 1.0})
    assert call(overpass.url + "/v1/projects/test-project/value:compute", constant_value(1)).status == 200


# The public client, unmodified


@pytest.fixture
def osmnx(overpass, monkeypatch):
    """With its own rate limit; its pauses are noted instead of slept."""
    import socket

    import osmnx

    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)  # the client replaces it for the process
    monkeypatch.setattr(osmnx.settings, "overpass_url", overpass.overpass_url)
    monkeypatch.setattr(
        osmnx.settings, "max_query_area_size", 1e12
    )  # larger ones are cut into several queries
    monkeypatch.setattr(osmnx.settings, "use_cache", False)
    monkeypatch.setattr(osmnx.settings, "doh_url_template", None)
    pauses = []
    monkeypatch.setattr("osmnx._overpass.time", SimpleNamespace(sleep=pauses.append))
    osmnx.pauses = pauses
    yield osmnx
    del osmnx.pauses


def test_osmnx_assembles_areas_with_their_holes(osmnx, overpass):
    frame = osmnx.features_from_bbox((20, 10, 21, 11), {"natural": ["water"], "landuse": True})
    areas = {ref: row.geometry.area for (_, ref), row in frame.iterrows()}
    assert areas == pytest.approx({1: 0.09, 2: 0.01, 5: 0.08})
    log = log_of(overpass)
    assert log["components"]["relation[natural=water]"] == 1
    assert log["components"]["node[landuse]"] == 1
    assert log["endpoints"] == {"overpass:interpreter": 1, "overpass:status": 1}
    assert osmnx.pauses == [0]


def test_osmnx_understands_the_status(osmnx, overpass):
    inject(
        overpass,
        next=[
            {"kind": "busy"},
            {"kind": "busy", "message": "Slot available after: 2020-01-01T00:00:00Z, in -9 seconds."},
        ],
    )
    osmnx.features_from_bbox((20, 10, 21, 11), {"landuse": True})
    assert osmnx.pauses == [5, 1]  # running: ask again; a slot in the past: a second


def test_osmnx_repeats_a_429_after_its_own_pause(osmnx, overpass):
    inject(overpass, next=[{"status": 429, "endpoint": "overpass:interpreter"}])
    osmnx.features_from_bbox((20, 10, 21, 11), {"landuse": True})
    assert 55 in osmnx.pauses


def test_osmnx_finds_nothing_where_nothing_is(osmnx):
    with pytest.raises(osmnx._errors.InsufficientResponseError, match="No matching features"):
        osmnx.features_from_bbox((20, 10, 21, 11), {"leisure": ["marina"]})


def test_the_query_of_osmnx_is_what_is_parsed_here(osmnx):
    coordinates = osmnx._overpass._make_overpass_polygon_coord_strs(box(11, 47.9, 11.1, 48))[0]
    text = osmnx._overpass._create_overpass_features_query(
        coordinates, {"landuse": ["forest", "meadow"], "leisure": True}
    )
    names = [search.name for search in parse(text).searches()]
    assert names[:3] == ["node[landuse=forest]", "way[landuse=forest]", "relation[landuse=forest]"]
    assert names[-1] == "relation[leisure]"
    assert json.dumps(names).count("[") == 10
