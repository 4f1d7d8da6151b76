import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import osmium
import pytest
import shapely

from benchmarks.made_up_extract import LISTED, MadeUpExtract, Member, box, bulk, difficulties
from benchmarks.osm_extract import measure
from builders.area_spool import RECORD, SpoolWriter, read_spool, record, spool_path
from builders.burn import burn
from builders.osm_extract import collect_areas, read_areas, sum_areas
from builders.osm_reader import MEMORY_UP_TO_BYTES, NUM_NAMED, AreaReader, choose_node_index
from builders.osm_report import ExtractReport
from builders.patches import place_patches
from builders.surroundings import surroundings
from builders.tag_table import class_of, load_tag_table
from noldo.errors import ChunkCorruptError, InputError, StoreError
from noldo.legend import OSM_LAND_USE

TABLE = load_tag_table("ohsome-1")
LON, LAT = 9.5, 48.5


def patches_at(*places, size_px=120, first_id=100):
    lon, lat = np.array(places, dtype=float).T
    return list(enumerate(place_patches(lon, lat, size_px=size_px).grids, start=first_id))


def class_id(name):
    return OSM_LAND_USE.classes.index(name)


def names(areas):
    return {f"{area.osm_type} {area.osm_id}" for area in areas}


def whole_areas(path, tmp_path):
    """Every area of an extract, uncut: (osm type, id, geometry)."""
    found = []
    for batch in AreaReader(path, TABLE, node_index="memory", scratch=tmp_path):
        kinds = np.where(batch.is_relation, "relation", "way").tolist()
        found += zip(kinds, batch.osm_ids.tolist(), batch.geometries, strict=True)
    return found


@pytest.fixture(scope="module")
def difficult(tmp_path_factory):
    made_up = difficulties(LON, LAT)
    return made_up.names, made_up.extract.write(tmp_path_factory.mktemp("osm") / "difficult.osm.pbf")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return bulk(600, seed=7).write(tmp_path_factory.mktemp("osm") / "many.osm.pbf")


MANY_PATCHES = patches_at(
    *[(9.0 + 0.17 * x, 48.0 + 0.17 * y) for x in (0.2, 0.5, 0.8) for y in (0.2, 0.5, 0.8)]
)


def test_what_is_hard_about_extracts_is_used_repaired_or_counted(difficult, tmp_path):
    names_of, path = difficult
    tally = sum_areas(path, TABLE)
    used = {f"{kind} {osm_id}" for kind, osm_id, _ in whole_areas(path, tmp_path)}
    assert used == {
        names_of[name]
        for name in (
            "enclosing",
            "wood",
            "lake in the wood",
            "crossing itself",
            "around the antimeridian",
            "two tags",
            "holed",
        )
    }
    assert sum(tally.num_areas) == len(used)
    assert tally.num_areas[class_id("forests")] == 2  # the wood, and landuse before leisure
    assert (tally.num_repaired, tally.num_split) == (1, 1)
    assert set(tally.invalid) == {
        names_of[name] for name in ("flat", "too short", "rings that cross", "without ways")
    }
    assert set(tally.cut_off) == {names_of[name] for name in ("cut off way", "cut off", "cut off by nodes")}
    assert (tally.num_invalid, tally.num_cut_off_ways, tally.num_cut_off_relations) == (4, 1, 2)
    assert tally.num_linear == 3  # the cliff, area=no, and the open way
    assert tally.num_other_relations == 1


def test_areas_are_measured_by_class(difficult):
    tally = sum_areas(difficult[1], TABLE)
    metres_per_degree = 6_371_007.181 * np.pi / 180
    square = (metres_per_degree * 0.004) ** 2 * np.cos(np.radians(LAT))
    assert tally.areas_m2[class_id("water_bodies")] == pytest.approx(square, rel=1e-4)
    assert tally.areas_m2[class_id("permanent_crops")] == pytest.approx(square * 3 / 4, rel=1e-3)
    assert tally.areas_m2[class_id("pastures")] == pytest.approx(square / 4 / 2, rel=1e-4)  # two triangles


def test_no_more_than_some_are_named_but_all_are_counted(tmp_path):
    extract = MadeUpExtract()
    for _ in range(NUM_NAMED + 5):
        extract.relation([Member(10**9)], landuse="forest")
    tally = sum_areas(extract.write(tmp_path / "torn.osm.pbf"), TABLE)
    assert tally.num_cut_off_relations == NUM_NAMED + 5
    assert tally.cut_off == tuple(f"relation {number}" for number in range(1, NUM_NAMED + 1))


def test_every_patch_gets_the_areas_that_meet_its_surroundings_cut_to_them(many, tmp_path):
    report = collect_areas(many, MANY_PATCHES, TABLE, tmp_path, per_job=4)
    areas = whole_areas(many, tmp_path)
    found = {patch: each for job in range(3) for patch, each in read_areas(tmp_path, job).items()}
    num_hits, met = 0, set()
    for (patch, _), around in zip(
        MANY_PATCHES, surroundings([grid for _, grid in MANY_PATCHES]), strict=True
    ):
        expected = {
            f"{kind} {osm_id}": shape.intersection(around)
            for kind, osm_id, shape in areas
            if shape.intersection(around).area > 0
        }
        assert names(found[patch]) == set(expected)
        for area in found[patch]:
            assert area.geometry.equals(expected[f"{area.osm_type} {area.osm_id}"])
        num_hits += len(expected)
        met |= set(expected)
    assert num_hits > 40
    assert (report.num_hits, report.num_areas_met) == (num_hits, len(met))
    assert (report.num_patches, report.num_patches_met) == (9, 9)
    assert report.tally == sum_areas(many, TABLE)
    assert sum(report.tally.num_areas) == 600


def test_a_job_holds_consecutive_patches(many, tmp_path):
    collect_areas(many, MANY_PATCHES, TABLE, tmp_path, per_job=4)
    assert [sorted(read_areas(tmp_path, job)) for job in range(4)] == [
        [100, 101, 102, 103],
        [104, 105, 106, 107],
        [108],
        [],
    ]


def test_labels_from_the_spool_are_those_of_the_whole_areas(difficult, tmp_path):
    _, path = difficult
    patches = patches_at((LON, LAT))
    collect_areas(path, patches, TABLE, tmp_path)
    labels = burn(read_areas(tmp_path, 0)[100], patches[0][1]).labels
    assert labels[60, 60] == class_id("water_bodies")
    assert labels[60, 40] == class_id("forests")  # the wood around the lake
    assert labels[0, 0] == class_id("arable_land")  # what encloses everything
    assert (labels != 255).all()


def test_an_area_that_encloses_all_patches_is_in_each_with_its_true_size(difficult, tmp_path):
    names_of, path = difficult
    patches = patches_at(*[(LON + 0.1 * x, LAT) for x in range(-5, 6)])
    collect_areas(path, patches, TABLE, tmp_path)
    found = read_areas(tmp_path, 0)
    for patch, grid in patches:
        (area,) = [each for each in found[patch] if f"{each.osm_type} {each.osm_id}" == names_of["enclosing"]]
        assert area.area_m2 > 3e10
        assert burn([area], grid).num_enclosing == 1


@pytest.mark.parametrize("lon", [179.9995, -179.9995, 179.95, -179.95])
def test_an_area_across_the_antimeridian_reaches_patches_on_both_sides(difficult, tmp_path, lon):
    _, path = difficult
    patches = patches_at((lon, LAT), (0.0, LAT))
    report = collect_areas(path, patches, TABLE, tmp_path)
    found = read_areas(tmp_path, 0)
    assert set(found) == {100}
    assert report.num_hits == 1
    assert (burn(found[100], patches[0][1]).labels == class_id("shrub_and_herbaceous")).all()


@pytest.mark.parametrize("index", ["sparse_file", "dense_file"])
def test_node_positions_may_lie_in_a_file_that_is_gone_afterwards(many, tmp_path, index):
    in_memory, in_file = tmp_path / "memory", tmp_path / "file"
    collect_areas(many, MANY_PATCHES, TABLE, in_memory, node_index="memory")
    report = collect_areas(many, MANY_PATCHES, TABLE, in_file, node_index=index)
    assert report.node_index == index
    assert read_areas(in_file, 0) == read_areas(in_memory, 0)
    assert sorted(path.name for path in in_file.rglob("*")) == ["0.areas", "collected.json", "many"]


def test_the_index_follows_the_size_of_the_extract():
    assert choose_node_index(10**6) == "memory"
    assert choose_node_index(MEMORY_UP_TO_BYTES) == "memory"
    assert choose_node_index(MEMORY_UP_TO_BYTES + 1) == "sparse_file"
    assert choose_node_index(4 * 10**9) == "sparse_file"  # Germany
    assert choose_node_index(80 * 10**9) == "dense_file"  # the planet


def test_a_finished_extract_is_not_read_again(many, tmp_path):
    seen = []
    arguments = {"patches": MANY_PATCHES, "table": TABLE, "out": tmp_path / "out", "progress": seen.append}
    own = tmp_path / "own.osm.pbf"
    own.write_bytes(many.read_bytes())
    first = collect_areas(own, **arguments)
    assert seen == [600]
    assert collect_areas(own, **arguments) == first
    os.utime(own, ns=(1, 1))  # copied or checked out anew: the same bytes
    assert collect_areas(own, **arguments) == first
    assert seen == [600]


@pytest.mark.parametrize("change", ["extract", "table", "patches", "jobs"])
def test_an_extract_is_read_again_for_another_purpose(many, tmp_path, change):
    own = tmp_path / "own.osm.pbf"
    own.write_bytes(many.read_bytes())
    out = tmp_path / "out"
    collect_areas(own, MANY_PATCHES, TABLE, out)
    if change == "extract":
        bulk(30, seed=8).write(own)
    patches = MANY_PATCHES[:-1] if change == "patches" else MANY_PATCHES
    table = load_tag_table("osmlanduser-1") if change == "table" else TABLE
    seen = []
    report = collect_areas(
        own, patches, table, out, per_job=3 if change == "jobs" else 256, progress=seen.append
    )
    assert seen == [30 if change == "extract" else 600]
    assert report.table == table.name
    assert sum(len(each) for each in read_areas(out, 0).values()) <= report.num_hits
    assert [path.name for path in out.iterdir()] == ["own"]


KILLED = """
import os, signal, sys
from pathlib import Path
from builders import osm_reader
from builders.osm_extract import collect_areas
from builders.tag_table import load_tag_table
from tests.builders.test_osm_extract import MANY_PATCHES
osm_reader.BATCH_AREAS = 50

def die(num_areas):
    if num_areas >= 300:
        os.kill(os.getpid(), signal.SIGKILL)

collect_areas(Path(sys.argv[1]), MANY_PATCHES, load_tag_table("ohsome-1"), Path(sys.argv[2]),
              node_index="sparse_file", progress=die)
"""


def test_a_killed_pass_starts_over_and_finished_extracts_stay(many, tmp_path):
    other = bulk(40, seed=9).write(tmp_path / "other.osm.pbf")
    out = tmp_path / "out"
    collect_areas(other, MANY_PATCHES, TABLE, out)
    before = {path: path.stat().st_mtime_ns for path in (out / "other").iterdir()}
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, many, out],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(InputError, match="many: this extract has not been collected"):
        read_areas(out, 0, extracts=[other, many])
    assert read_areas(out, 0) == read_areas(out, 0, extracts=[other])
    collect_areas(many, MANY_PATCHES, TABLE, out)
    collect_areas(many, MANY_PATCHES, TABLE, tmp_path / "undisturbed")
    content = spool_path(out / "many", 0).read_bytes()
    assert content == spool_path(tmp_path / "undisturbed" / "many", 0).read_bytes()
    assert sorted(path.name for path in out.iterdir()) == ["many", "other"]
    assert {path: path.stat().st_mtime_ns for path in (out / "other").iterdir()} == before


def square_extract(path, *, width, timestamp, landuse="forest"):
    extract = MadeUpExtract()
    extract.ring(box(LON, LAT, width=width), landuse=landuse)
    return extract.write(path, timestamp=timestamp)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("2026-01-02T00:00:00Z", 0.002), ("2026-01-01T00:00:00Z", 0.003), "forests"),
        (("2026-01-01T00:00:00Z", 0.003), ("2026-01-02T00:00:00Z", 0.002), "pastures"),
        (("", 0.003), ("2026-01-01T00:00:00Z", 0.002), "pastures"),
        (("2026-01-01T00:00:00Z", 0.003), ("2026-01-01T00:00:00Z", 0.002), "forests"),
        (("", 0.002), ("", 0.003), "pastures"),
        (("", 0.002), ("", 0.002), "pastures"),
    ],
)
def test_where_extracts_overlap_an_area_is_used_once_the_newest_then_the_largest(
    tmp_path, first, second, expected
):
    patches = patches_at((LON, LAT))
    for name, (timestamp, width), landuse in (("a", first, "forest"), ("b", second, "meadow")):
        path = square_extract(tmp_path / f"{name}.osm.pbf", width=width, timestamp=timestamp, landuse=landuse)
        collect_areas(path, patches, TABLE, tmp_path / "out")
    (area,) = read_areas(tmp_path / "out", 0)[100]
    assert OSM_LAND_USE.classes[area.class_id] == expected


def test_spools_for_different_tags_are_not_mixed(tmp_path):
    patches = patches_at((LON, LAT))
    for name, table in (("a", TABLE), ("b", load_tag_table("osmlanduser-1"))):
        path = square_extract(tmp_path / f"{name}.osm.pbf", width=0.002, timestamp="")
        collect_areas(path, patches, table, tmp_path / "out")
    with pytest.raises(InputError, match=r"out/b: collected for other patches or tags than .*out/a"):
        read_areas(tmp_path / "out", 0)
    assert len(read_areas(tmp_path / "out", 0, extracts=[tmp_path / "a.osm.pbf"])[100]) == 1


def test_a_spool_that_changed_on_disk_is_noticed(many, tmp_path):
    collect_areas(many, MANY_PATCHES, TABLE, tmp_path)
    path = spool_path(tmp_path / "many", 0)
    content = path.read_bytes()
    for damaged in (content[:-1], bytes([content[0] ^ 1]) + content[1:]):
        path.write_bytes(damaged)
        with pytest.raises(ChunkCorruptError, match=r"0\.areas: \d+ bytes that are not the"):
            read_areas(tmp_path, 0)
    path.unlink()
    with pytest.raises(ChunkCorruptError, match="0 bytes"):
        read_areas(tmp_path, 0)


def test_nothing_collected_is_said(tmp_path):
    with pytest.raises(InputError, match="no extract has been collected"):
        read_areas(tmp_path, 0)


def test_the_spool_holds_no_more_in_memory_than_it_may(tmp_path):
    writer = SpoolWriter(tmp_path, buffer_bytes=1000)
    wkb = shapely.to_wkb(shapely.box(0, 0, 1, 1), byte_order=1)
    for number in range(50):
        one = record(number, is_relation=number % 2 == 1, osm_id=number, class_id=3, area_m2=1.5, wkb=wkb)
        writer.add(number % 3, one)
        on_disk = sum(path.stat().st_size for path in tmp_path.iterdir())
        assert (number + 1) * len(one) - on_disk < 1000
    writer.flush()
    found = [patch for job in range(3) for patch, _ in read_spool(tmp_path, job, writer.files)]
    assert sorted(found) == list(range(50))
    (_, area) = next(read_spool(tmp_path, 1, writer.files))
    assert (area.osm_type, area.osm_id, area.class_id, area.area_m2) == ("relation", 1, 3, 1.5)
    assert area.geometry.equals(shapely.box(0, 0, 1, 1))
    assert RECORD.size == 30


def test_a_report_survives_json(many, tmp_path):
    report = collect_areas(many, MANY_PATCHES, TABLE, tmp_path)
    assert ExtractReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    assert report.extract.timestamp == "2026-01-01T00:00:00Z"
    assert report.extract.size_bytes == many.stat().st_size
    assert len(report.extract.sha256) == 64
    assert report.peak_bytes > 10_000_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "PBF error"),
        (b"<!DOCTYPE html><html>busy</html>" * 50, "PBF error"),
        (b"<?xml version='1.0'?><osm version='0.6'></osm>", "PBF error"),
        ("half", "PBF error"),
        ("flipped", "failed to uncompress data"),
    ],
)
def test_a_damaged_file_is_one_clear_line(many, tmp_path, content, reason):
    whole = many.read_bytes()
    middle = len(whole) // 2
    special = {"half": whole[:middle], "flipped": whole[:middle] + b"\0" * 99 + whole[middle + 99 :]}
    path = tmp_path / "damaged.osm.pbf"
    path.write_bytes(special[content] if isinstance(content, str) else content)
    with pytest.raises(InputError) as error:
        collect_areas(path, MANY_PATCHES, TABLE, tmp_path / "out")
    message = str(error.value)
    assert "damaged.osm.pbf: not a readable .osm.pbf" in message
    assert reason in message
    assert "\n" not in message
    assert not list((tmp_path / "out").glob("*"))
    with pytest.raises(InputError):
        sum_areas(path, TABLE)


def test_a_missing_file_and_a_history_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no\.osm\.pbf: no such file"):
        collect_areas(tmp_path / "no.osm.pbf", MANY_PATCHES, TABLE, tmp_path)
    path = tmp_path / "planet.osh.pbf"
    header = osmium.io.Header()
    header.has_multiple_object_versions = True
    with osmium.SimpleWriter(str(path), header=header) as writer:
        writer.add_node(osmium.osm.mutable.Node(id=1, location=(0, 0)))
    with pytest.raises(InputError, match="a history file"):
        collect_areas(path, MANY_PATCHES, TABLE, tmp_path)


def test_no_room_for_the_node_file_is_said(many, tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("Could not resize file: Not enough space on filesystem: No space left on device")

    monkeypatch.setattr("osmium.FileProcessor.__iter__", full)
    with pytest.raises(StoreError, match=r"nodes\.index: no room for the positions of all nodes"):
        collect_areas(many, MANY_PATCHES, TABLE, tmp_path, node_index="sparse_file")


def test_the_benchmark_measures_what_it_is_given(many):
    row = measure(many, index="memory", num_patches=9)
    assert (row["areas"], row["patches"]) == (600, 9)
    assert row["file_mb"] == many.stat().st_size / 1e6
    assert row["cpu_s"] > 0


def test_a_made_up_extract_is_the_same_for_the_same_seed(many, tmp_path):
    assert bulk(600, seed=7).write(tmp_path / "again.osm.pbf").read_bytes() == many.read_bytes()


def test_bulk_tags_are_listed_so_that_benchmarks_measure_what_they_say():
    assert all(class_of(tags, TABLE) is not None for tags in LISTED)
