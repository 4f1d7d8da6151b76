import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyproj import Geod

from builders.config import parse_config
from builders.location_table import ROWS_PER_GROUP, count_locations, read_locations, write_locations
from builders.locations import plan_locations, run_locations
from builders.records import Location
from builders.splits import assign_splits
from noldo.errors import ConfigError, InputError, StoreError
from noldo.grids import Grid, utm_epsg

ROOT = Path(__file__).resolve().parents[2]


def everywhere(lon, lat):
    return np.ones(np.shape(lon), dtype=bool)


def east(lon, lat):
    return lon > 0


def build(*, patch_size_px=264, split=None, **locations):
    tree = {
        "name": "test",
        "locations": {
            key: str(value) if isinstance(value, Path) else value for key, value in locations.items()
        },
        "seasons": [{"name": "summer", "date": "2021-06-21"}],
        "patch_size_px": patch_size_px,
        "split": split or {"val": 0.2, "test": 0.2},
    }
    return parse_config(tree, where="test")


def points(tmp_path, *rows):
    path = tmp_path / "points.csv"
    path.write_text("id,lon,lat,name\n" + "".join(f"{row}\n" for row in rows))
    return path


def numbered(count):
    return [
        Location(
            id=3 * row,
            lon=row / 7,
            lat=-row / 11,
            grid=Grid(32632, 60 * row, 600, 264),
            place=f"Ž{row}",
            split="val",
        )
        for row in range(count)
    ]


def test_drawn_locations_are_numbered_and_carry_grid_place_and_split():
    config = build(count=300, seed=7)
    locations = plan_locations(config, is_land=everywhere)
    assert [location.id for location in locations] == list(range(300))
    assert all(location.grid.crs_epsg == utm_epsg(location.lon, location.lat) for location in locations)
    assert all(location.grid.size_px == 264 and location.place for location in locations)
    assert {location.split for location in locations} == {"train", "val", "test"}
    lon = np.array([location.lon for location in locations])
    lat = np.array([location.lat for location in locations])
    assert [location.split for location in locations] == assign_splits(lon, lat, config.split)
    assert min(lat) < 0 < max(lat)


def test_a_smaller_build_is_the_beginning_of_a_larger_one():
    few = plan_locations(build(count=20), is_land=everywhere)
    assert few == plan_locations(build(count=200), is_land=everywhere)[:20]


def test_the_users_cities_and_sigma_are_used(tmp_path):
    cities = tmp_path / "cities.csv"
    cities.write_text("name,lon,lat,population\nBergen,5.32,60.39,1\n")
    locations = plan_locations(build(count=40, cities=cities, sigma_km=20), is_land=everywhere)
    assert {location.place for location in locations} == {"Bergen"}
    geod = Geod(ellps="WGS84")
    steps = [geod.inv(5.32, 60.39, location.lon, location.lat)[2] for location in locations]
    assert np.sqrt(np.mean(np.square(steps)) / 2) == pytest.approx(20_000, rel=0.25)


def test_no_room_is_an_error(tmp_path):
    cities = tmp_path / "cities.csv"
    cities.write_text("name,lon,lat,population\nA,10,50,1\n")
    with pytest.raises(ConfigError, match=r"locations.count: 1000 asked for"):
        plan_locations(build(count=1000, cities=cities, sigma_km=1), is_land=everywhere)


def test_the_users_points_keep_their_ids_and_come_in_their_order(tmp_path):
    path = points(tmp_path, "30,10,50,C", "5,11,50,", "20,12,50,B")
    locations = plan_locations(build(count=3, points=path), is_land=everywhere)
    assert [(location.id, location.place) for location in locations] == [(5, ""), (20, "B"), (30, "C")]
    assert [location.lon for location in locations] == pytest.approx([11, 12, 10], abs=1e-3)
    assert all((grid.x_ul % 60, grid.y_ul % 60) == (0, 0) for grid in (one.grid for one in locations))


@pytest.mark.parametrize("count", [2, 4])
def test_a_count_that_is_not_that_of_the_points_is_an_error_that_says_the_right_one(tmp_path, count):
    path = points(tmp_path, "1,10,50,", "2,11,50,", "3,12,50,")
    with pytest.raises(InputError, match=rf"3 places, but locations.count is {count}; set `count: 3`"):
        plan_locations(build(count=count, points=path), is_land=everywhere)


def test_points_at_sea_are_an_error_that_names_five_and_counts_all(tmp_path):
    path = points(tmp_path, "0,10,50,", *(f"{id_},-{id_}0,50," for id_ in range(1, 8)))
    with pytest.raises(InputError) as caught:
        plan_locations(build(count=8, points=path), is_land=east)
    message = str(caught.value)
    assert message.startswith(f"{path}: 7 places at sea")
    assert "line 3 (id 1): lon -10, lat 50; line 4 (id 2)" in message
    assert "line 7 (id 5)" in message
    assert "line 8" not in message
    assert message.endswith("; and 2 more; move or remove them")


def test_points_at_sea_are_found_with_real_coastlines(tmp_path):
    path = points(tmp_path, "1,13.4,52.5,Berlin", "2,-40,40,Atlantic")
    with pytest.raises(InputError, match=r"1 places at sea .*line 3 \(id 2\): lon -40, lat 40"):
        plan_locations(build(count=2, points=path))


def test_points_too_near_to_each_other_are_an_error_that_names_the_pair(tmp_path):
    path = points(tmp_path, "1,10,50,", "2,10.05,50,", "3,12,50,")
    with pytest.raises(
        InputError, match=r"1 places are nearer than 3734 m .*line 3 \(id 2\) and line 2 \(id 1\)"
    ):
        plan_locations(build(count=3, points=path), is_land=everywhere)
    assert len(plan_locations(build(count=3, points=path, min_spacing_m=3000), is_land=everywhere)) == 3


def test_points_that_snap_to_one_patch_are_an_error_even_without_spacing(tmp_path):
    path = points(tmp_path, "1,10,50,", "2,10.00001,50,")
    with pytest.raises(
        InputError, match=r"1 places have the same patch .*line 3 \(id 2\) and line 2 \(id 1\)"
    ):
        plan_locations(build(count=2, points=path, min_spacing_m=0), is_land=everywhere)


def test_points_beyond_84_north_are_an_error(tmp_path):
    path = points(tmp_path, "1,10,50,", "2,10,84.5,Ice")
    with pytest.raises(
        InputError, match=r"1 places lie beyond 84 N or 80 S.*line 3 \(id 2\): lon 10, lat 84.5"
    ):
        plan_locations(build(count=2, points=path), is_land=everywhere)


def test_match_keeps_overlaps_and_sea_and_says_how_many(tmp_path, caplog):
    path = tmp_path / "sampled_locations.csv"
    path.write_text("0,10.0,50.0\n1,10.02,50.0\n2,-20.0,50.0\n3,10.0,50.0\n")
    with caplog.at_level("INFO"):
        locations = plan_locations(build(count=4, points=path, match=True), is_land=east)
    assert [location.id for location in locations] == [0, 1, 2, 3]
    assert [location.lon for location in locations] == pytest.approx([10, 10.02, -20, 10], abs=1e-3)
    assert (
        "4 places, all kept; 1 at sea, 1 with the patch of another, 0 beyond -56..84 degrees" in caplog.text
    )


def test_a_builds_own_coordinates_given_back_to_match_give_the_same_patches(tmp_path):
    drawn = plan_locations(build(count=500), is_land=everywhere)
    path = tmp_path / "published.csv"
    path.write_text("".join(f"{one.id},{one.lon},{one.lat}\n" for one in drawn))
    matched = plan_locations(build(count=500, points=path, match=True), is_land=everywhere)
    assert [replace(one, place="") for one in drawn] == matched


def test_antarctic_points_are_kept_and_counted(tmp_path, caplog):
    path = points(tmp_path, "1,0,-79,")
    with caplog.at_level("INFO"):
        (location,) = plan_locations(build(count=1, points=path), is_land=everywhere)
    assert location.grid.y_ul % 60 == 40
    assert "1 beyond -56..84 degrees" in caplog.text


def test_the_verb_writes_one_table_and_says_what_it_refused(tmp_path, caplog):
    out = tmp_path / "work" / "locations.parquet"
    config = build(count=64)
    with caplog.at_level("INFO"):
        run_locations(config, out)
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()] == [
        Path("work/locations.parquet")
    ]
    assert read_locations(out) == plan_locations(config)
    assert "draws around 10000 cities: 64 locations; refused" in caplog.text
    assert "at sea" in caplog.text
    assert "64 locations (" in caplog.text


def test_a_failed_verb_leaves_the_old_table(tmp_path):
    out = tmp_path / "locations.parquet"
    out.write_bytes(b"old")
    with pytest.raises(InputError):
        run_locations(build(count=1, points=tmp_path / "nowhere.csv"), out)
    assert out.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["locations.parquet"]


def test_a_table_that_cant_be_written_is_an_error(tmp_path):
    (tmp_path / "locations.parquet").mkdir()
    with pytest.raises(StoreError, match=r"locations.parquet: can't be written"):
        write_locations(numbered(1), tmp_path / "locations.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["locations.parquet"]


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 0),
        (0, 1),
        (5, 261),
        (ROWS_PER_GROUP - 1, ROWS_PER_GROUP + 1),
        (0, 2500),
        (2499, 2500),
        (2500, 2500),
    ],
)
def test_any_rows_of_the_table_come_back_as_they_were(tmp_path, start, stop):
    locations = numbered(2500)
    write_locations(locations, tmp_path / "l.parquet")
    assert read_locations(tmp_path / "l.parquet", start, stop) == locations[start:stop]


def test_without_an_end_all_rows_come_back(tmp_path):
    write_locations(numbered(1500), tmp_path / "l.parquet")
    assert read_locations(tmp_path / "l.parquet") == numbered(1500)
    assert count_locations(tmp_path / "l.parquet") == 1500


def test_only_the_groups_that_are_asked_for_are_read(tmp_path):
    """A table whose other groups are damaged still gives the rows of a sound one."""
    path = tmp_path / "l.parquet"
    write_locations(numbered(3 * ROWS_PER_GROUP), path)
    content = bytearray(path.read_bytes())
    content[4:64] = b"\0" * 60  # the first group lies first
    path.write_bytes(content)
    start = ROWS_PER_GROUP
    assert read_locations(path, start, start + 9) == numbered(start + 9)[start:]
    with pytest.raises(InputError, match="not a readable parquet file"):
        read_locations(path, 0, 9)


def test_the_same_locations_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_locations(numbered(1500), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_locations([*numbered(1499), replace(numbered(1500)[-1], place="Z")], tmp_path / "b")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_a_table_that_cant_be_used_is_one_line(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "l.parquet"
    with pytest.raises(InputError, match=r"l.parquet: no such table"):
        read_locations(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"l.parquet: not a readable parquet file"):
        read_locations(path)
    pq.write_table(pa.table({"id": [1]}), path)
    with pytest.raises(InputError, match=r"l.parquet: columns \['id'\], expected \['id', 'lon'"):
        read_locations(path)
    write_locations(numbered(10), path)
    with pytest.raises(InputError, match=r"rows 5 to 11 wanted, but there are 10"):
        read_locations(path, 5, 11)


MEASURED_RUN = """
import json, pathlib, sys, time
began = time.perf_counter()
from builders.config import load_config
from builders.locations import run_locations
run_locations(load_config(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2]))
status = pathlib.Path("/proc/self/status").read_text()
peak_kb = int(status.split("VmHWM:")[1].split()[0])
print(json.dumps({"seconds": time.perf_counter() - began, "peak_bytes": 1024 * peak_kb}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_the_papers_251_079_locations_take_under_2_minutes_and_2_gb(tmp_path):
    """Measured in a process of its own; on one core about 15 s and 1.45 GB, 6 s of it the coastlines."""
    out = tmp_path / "locations.parquet"
    config = ROOT / "config" / "noldo_s12.yaml"
    done = subprocess.run(
        [sys.executable, "-c", MEASURED_RUN, str(config), str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout)
    assert measured["seconds"] < 120
    assert measured["peak_bytes"] < 2e9
    assert count_locations(out) == 251_079
    locations = read_locations(out)
    assert len({location.grid for location in locations}) == 251_079
    assert _nearest_m(locations) >= 264 * 10 * 2**0.5 - 0.01
    assert all(one.grid.crs_epsg == utm_epsg(one.lon, one.lat) for one in locations)
    assert plan_locations(build(count=500, split={"val": 0.01}))[:500] == locations[:500]


def _nearest_m(locations):
    """Least distance between two centres in metres, by another method than the sampling's."""
    from pyproj import Transformer
    from scipy.spatial import cKDTree

    to_centre = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    lon = [location.lon for location in locations]
    lat = [location.lat for location in locations]
    points = np.stack(to_centre.transform(lon, lat, np.zeros(len(lon))), axis=1)
    distances, _ = cKDTree(points).query(points, k=2)
    return distances[:, 1].min()
