"""An extract in memory: what it has near a polygon, and what it leaves out."""

import json
import os
import signal
from pathlib import Path
from urllib.parse import urlencode

import pytest
from shapely import box

from noldo.errors import InputError
from sandbox.osm_elements import Elements, Member, Node, OsmData, Relation, Way
from sandbox.osm_file import OsmFile
from sandbox.overpass import evaluate
from sandbox.overpass_query import parse
from tests.sandbox.fake_osm import FakeOsm, write_pbf
from tests.sandbox.loopback import call
from tests.sandbox.test_main import end, start

REAL = Path(os.environ.get("NOLDO_REAL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
LAUF = REAL / "osm" / "lauf-20200115.osm.pbf"
HERE = box(20, 10, 21, 11)
QUERY = (
    "[out:json];(nwr['natural'](poly:'10.0 20.0 10.0 21.0 11.0 21.0 11.0 20.0');(._;>;);"
    "nwr['landuse'](poly:'10.0 20.0 10.0 21.0 11.0 21.0 11.0 20.0');(._;>;););out;"
)


def fits_the_contract(osm: OsmFile) -> OsmData:
    return osm


@pytest.fixture
def town():
    osm = FakeOsm()
    osm.rectangle(1, 20.1, 10.1, 20.4, 10.4, landuse="forest", name="Grüner Wald")
    osm.rectangle(2, 15.0, 5.0, 25.0, 15.0, landuse="around")
    osm.rectangle(3, 20.6, 10.6, 20.9, 10.9)
    osm.rectangle(4, 40.0, 10.7, 40.1, 10.8)
    osm.multipolygon(5, [3, 4], [], natural="water")
    osm.rectangle(6, 50.0, 10.7, 50.1, 10.8, landuse="elsewhere")
    osm.node(20.5, 10.5, natural="tree")
    osm.node(20.55, 10.5)
    return osm


def read(tmp_path, elements):
    return OsmFile(write_pbf(tmp_path / "town.osm.pbf", elements))


def test_elements_come_back_as_they_were_written(tmp_path, town):
    near = read(tmp_path, town.elements).near(box(-180, -90, 180, 90))
    assert near.ways == town.elements.ways
    assert near.relations == town.elements.relations
    assert near.nodes == town.elements.nodes


def test_what_touches_a_polygon_is_near_it_with_all_that_it_is_made_of(tmp_path, town):
    near = read(tmp_path, town.elements).near(HERE)
    assert set(near.ways) == {1, 2, 3, 4}  # 4 is far, but a part of relation 5
    assert set(near.relations) == {5}
    made_of = {node for way in near.ways.values() for node in way.nodes}
    alone = {ref for ref, node in town.elements.nodes.items() if node.lat == 10.5}
    assert set(near.nodes) == made_of | alone


def test_a_query_finds_the_same_in_the_file_as_in_what_it_was_written_from(tmp_path, town):
    for enclosing_areas in (False, True):
        answers = [
            evaluate(parse(QUERY), data, enclosing_areas=enclosing_areas)
            for data in (town, read(tmp_path, town.elements))
        ]
        assert answers[0] == answers[1]
        assert (("way", 2) in {(one["type"], one["id"]) for one in answers[1]}) == enclosing_areas


def test_a_way_that_lacks_nodes_is_left_out_and_counted_and_its_relation_is_incomplete(tmp_path):
    nodes = {1: Node(1, 20.2, 10.2), 2: Node(2, 20.3, 10.2), 3: Node(3, 20.3, 10.3)}
    ways = {1: Way(1, (1, 2, 3, 1), {"landuse": "forest"}), 2: Way(2, (1, 2, 99, 1), {"landuse": "meadow"})}
    members = (Member("way", 1, "outer"), Member("way", 2, "inner"), Member("way", 77, "inner"))
    tags = {"type": "multipolygon", "natural": "water"}
    osm = read(tmp_path, Elements(nodes, ways, {3: Relation(3, members, tags)}))
    near = osm.near(HERE)
    assert set(near.ways) == {1}
    assert osm.num_incomplete_ways == 1
    assert "1 ways (1 more lack nodes)" in str(osm)
    assert near.relations[3].members == members


def test_a_relation_without_any_known_member_is_nowhere(tmp_path):
    relations = {1: Relation(1, (Member("way", 9, "outer"), Member("relation", 8, "")), {"natural": "water"})}
    near = read(tmp_path, Elements({}, {}, relations)).near(box(-180, -90, 180, 90))
    assert near == Elements({}, {}, {})


def test_a_relation_is_near_by_a_member_node(tmp_path):
    osm = FakeOsm()
    stop = osm.node(20.5, 10.5)
    osm.relation(1, Member("node", stop, "stop"), tags={"type": "site"})
    assert set(read(tmp_path, osm.elements).near(HERE).relations) == {1}
    assert set(read(tmp_path, osm.elements).near(box(30, 10, 31, 11)).relations) == set()


def test_a_file_that_is_none_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"gone\.osm\.pbf: can't be read as OpenStreetMap data"):
        OsmFile(tmp_path / "gone.osm.pbf")
    (tmp_path / "bad.osm.pbf").write_bytes(b"no extract" * 10)
    with pytest.raises(InputError, match=r"bad\.osm\.pbf: .*PBF error"):
        OsmFile(tmp_path / "bad.osm.pbf")


def test_the_process_serves_an_extract_beside_earth_engine(tmp_path, town):
    write_pbf(tmp_path / "town.osm.pbf", town.elements)
    process, ready = start(
        tmp_path, "--osm-extract", "town.osm.pbf", "--enclosing-areas", "--exit-with-stdin"
    )
    assert ready["overpass_url"] == ready["url"] + "/overpass/api"
    reply = call(ready["overpass_url"] + "/interpreter", urlencode({"data": QUERY}).encode())
    assert [one["id"] for one in json.loads(reply.body)["elements"] if one["type"] == "way"] == [1, 2, 3, 4]
    printed = end(process)
    assert "OpenStreetMap from town.osm.pbf: 22 nodes, 5 ways (0 more lack nodes) and 1 relations." in printed
    assert process.returncode == 0


def test_the_process_names_a_wrong_extract_in_one_line(tmp_path):
    process, ready = start(tmp_path, "--osm-extract", "gone.osm.pbf")
    assert (ready, process.wait(timeout=30)) == ({}, 1)
    assert "gone.osm.pbf: can't be read" in end(process)


def test_without_an_extract_the_process_serves_the_synthetic_earths(tmp_path):
    process, ready = start(tmp_path)
    try:
        assert call(ready["overpass_url"] + "/status").status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        end(process)


@pytest.mark.skipif(not LAUF.exists(), reason=f"{LAUF} is not there")
def test_a_real_extract_is_read_with_what_was_cut_off_left_out():
    osm = OsmFile(LAUF)
    assert str(osm) == "72206 nodes, 11526 ways (276 more lack nodes) and 406 relations"
    near = osm.near(box(11.27, 49.51, 11.28, 49.52))
    assert 1000 < len(near.ways) < 11526
    assert {ref for way in near.ways.values() for ref in way.nodes} <= set(near.nodes)
