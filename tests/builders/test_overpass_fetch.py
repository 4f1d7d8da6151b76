"""The spool of areas: what a run that failed or was killed has is not asked for again."""

import datetime as dt
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shapely import MultiPolygon, Polygon, box

from builders.areas import Area
from builders.overpass import PatchAreas
from builders.overpass_fetch import areas_path, check_policy, fetch_areas, read_areas, write_areas
from builders.records import Location
from noldo.errors import ChunkCorruptError, ConfigError, RequestRefusedError
from noldo.grids import Grid
from sandbox.server import serving
from tests.builders.osm_places import SIDE_M, Country, counted, inject, source
from tests.sandbox.fake_earth import FakeCatalogue

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def earth():
    return FakeCatalogue()


def locations(number):
    """Patches side by side, from west to east."""
    return [
        Location(row, 0.0, 0.0, Grid(32632, 600_000 + row * SIDE_M, 5_300_040, 264), "", "train")
        for row in range(number)
    ]


@pytest.fixture
def belt():
    """A field in each patch but the third."""
    osm = Country()
    for row in (0, 1, 3, 4, 5):
        osm.field(row + 1, row * SIDE_M + 100, 100, 100, 100, landuse="forest")
    return osm


def test_a_run_that_failed_asks_only_for_the_rest(earth, belt, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with serving(earth, osm=belt) as server:
        overpass = source(server, margin_m=100)
        fetch_areas(locations(3), overpass, tmp_path)
        inject(server, next=[{"status": 400, "endpoint": "overpass:interpreter"}])
        with pytest.raises(RequestRefusedError):
            fetch_areas(locations(5), overpass, tmp_path)
        counts = fetch_areas(locations(6), overpass, tmp_path)
        assert counted(server)["overpass:interpreter"] == 3 + 1 + 3
        assert (counts.num_patches, counts.num_resumed, counts.num_empty, counts.num_areas) == (6, 3, 1, 5)
        assert "6 of 6 patches have their areas (3 from an earlier run): 5 areas" in caplog.text
        assert fetch_areas(locations(6), overpass, tmp_path).num_resumed == 6
        assert counted(server)["overpass:interpreter"] == 7


KILLED = """
import sys
from pathlib import Path
from builders.overpass import Overpass
from builders.overpass_access import OverpassAccess
from builders.overpass_server import OverpassServer
from builders.overpass_fetch import fetch_areas
from tests.builders.osm_places import SMALL_TABLE
from tests.builders.test_overpass_fetch import locations

server = OverpassServer(sys.argv[1], origin="belt")
source = Overpass(OverpassAccess(server), table=SMALL_TABLE, margin_m=100)
fetch_areas(locations(6), source, Path(sys.argv[2]))
"""


def test_a_run_that_was_killed_asks_only_for_the_rest(earth, belt, tmp_path):
    with serving(earth, osm=belt, log=tmp_path / "log.jsonl") as server:
        inject(server, latency_s=0.1)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, server.overpass_url, str(tmp_path / "spool")],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        give_up = time.monotonic() + 60
        while not areas_path(tmp_path / "spool", 1).exists():
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.01)
        process.kill()
        process.wait()
        kept = {path.name for path in (tmp_path / "spool").glob("*.areas")}
        before = counted(server)["overpass:interpreter"]
        inject(server, latency_s=0)
        resumed = source(server, margin_m=100, origin="belt")
        counts = fetch_areas(locations(6), resumed, tmp_path / "spool")
        assert 2 <= len(kept) < 6
        assert counts.num_resumed == len(kept)
        assert counted(server)["overpass:interpreter"] - before == 6 - len(kept)
        whole = fetch_areas(locations(6), source(server, margin_m=100), tmp_path / "fresh")
    assert (counts.num_areas, counts.num_empty) == (whole.num_areas, whole.num_empty) == (5, 1)
    for row in range(6):
        assert (
            read_areas(areas_path(tmp_path / "spool", row))[0]
            == read_areas(areas_path(tmp_path / "fresh", row))[0]
        )


def test_another_question_and_a_damaged_file_are_asked_again(earth, belt, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (patch,) = locations(1)
    path = areas_path(tmp_path, 0)
    with serving(earth, osm=belt) as server:

        def asks(**options):
            before = counted(server)["overpass:interpreter"]
            fetch_areas([patch], source(server, **options), tmp_path)
            return counted(server)["overpass:interpreter"] - before

        fetch_areas([patch], source(server), tmp_path)
        content = path.read_bytes()
        assert asks() == asks(margin_m=1000.0) == 0
        assert asks(margin_m=500) == 1
        assert asks(margin_m=500, date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)) == 1
        assert asks(margin_m=500, origin="elsewhere") == 1
        assert asks() == 1
        assert path.read_bytes() == content
        path.write_bytes(content[:-5])
        assert asks() == 1
        assert "0.areas: no whole list of areas (its bytes do not match their checksum)" in caplog.text
        assert path.read_bytes() == content


def test_areas_come_back_from_the_spool_as_they_were(tmp_path):
    holed = Polygon(box(0, 0, 1, 1).exterior.coords, [box(0.1, 0.1, 0.2, 0.2).exterior.coords])
    found = PatchAreas(
        (Area("relation", 2**40, 3, 0.1 + 0.2, holed), Area("way", 1, 13, 1e-9, MultiPolygon([holed]))),
        1,
        2,
        3,
    )
    write_areas(tmp_path / "0.areas", found, key="k")
    assert read_areas(tmp_path / "0.areas") == (found, "k")
    assert json.loads((tmp_path / "0.areas").read_bytes().splitlines()[0])["key"] == "k"


@pytest.mark.parametrize("content", [b"", b"[]\n{}", b"nothing"])
def test_a_file_that_is_no_list_of_areas_says_so(tmp_path, content):
    (tmp_path / "0.areas").write_bytes(content)
    with pytest.raises(ChunkCorruptError, match=r"0\.areas: no whole list of areas"):
        read_areas(tmp_path / "0.areas")


def test_more_patches_than_the_rules_allow_are_refused_before_anything_is_asked(earth, belt, tmp_path):
    check_policy(5_000)
    with pytest.raises(ConfigError, match=r"5001 patches .* take areas from extracts"):
        check_policy(5_001)
    with serving(earth, osm=belt) as server:
        with pytest.raises(ConfigError, match="3 patches are too many"):
            fetch_areas(locations(3), source(server), tmp_path, max_patches=2)
        assert counted(server) == {}
        assert fetch_areas(locations(3), source(server), tmp_path, max_patches=None).num_patches == 3
