"""Expert tiles: the truth wherever they are marked, and every fault that was planted is there."""

import csv
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import openpyxl
import pytest
import rasterio
from affine import Affine
from shapely import Point, from_wkt

from noldo.grids import Grid
from noldo.legend import DYNAMIC_WORLD
from sandbox.expert_files import COLUMNS, META_COLUMNS, write_tiles
from sandbox.expert_sites import OSM_SHARES
from sandbox.experts import ExpertTile, expected_labels, expert_tiles
from sandbox.osm_extract import places_of
from sandbox.planet import SyntheticEarth
from sandbox.planet.labels import observed
from sandbox.planet.optical_scenes import L1C, L2A, take_named
from sandbox.planet.orbits import DAY_MS, date_ms
from sandbox.planet.osm import expected_osm
from sandbox.planet.osm_parcels import region_of
from sandbox.planet.radar_scenes import S1_GRD
from sandbox.planet.tiles import tile_named

ROOT = Path(__file__).parents[2]
EARTH = SyntheticEarth()
TILES = 20
"""The fewest with one of everything."""


@pytest.fixture(scope="module")
def tiles() -> tuple[ExpertTile, ...]:
    return expert_tiles(0, TILES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiles) -> Path:
    path = tmp_path_factory.mktemp("experts")
    write_tiles(path, tiles, with_xlsx=True)
    return path


@pytest.fixture(scope="module")
def expected(folder):
    return json.loads((folder / "expected.json").read_text())["tiles"]


@pytest.fixture(scope="module")
def table(folder):
    with (folder / "tiles.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def meta(folder):
    with (folder / "labels/dw_test/meta.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def kept(tiles) -> list[ExpertTile]:
    return [tile for tile in tiles if tile.outcome == "kept"]


def bands(path: Path) -> dict[str | None, np.ndarray]:
    with rasterio.open(path) as file:
        return dict(zip(file.descriptions, file.read(), strict=True))


def day_ms(tile: ExpertTile) -> int:
    return date_ms(tile.date.year, tile.date.month, tile.date.day)


def test_labels_are_the_truth_wherever_they_are_marked(folder, tiles, expected):
    for tile in kept(tiles):
        truth = EARTH.truth(tile.grid)
        read = bands(folder / expected[tile.id]["file"])
        marks = read["lulc" if tile.layout == "validation" else None]
        classed = (marks >= 1) & (marks <= 9)
        np.testing.assert_array_equal(marks[classed] - 1, truth[classed])
        np.testing.assert_array_equal(expected_labels(tile), np.where(classed, truth, 255))
        assert set(np.unique(marks[~classed])) <= {0, 10}


def test_most_of_a_tile_is_marked_but_never_the_borders_of_its_classes(tiles):
    shares = []
    for tile in kept(tiles):
        labels, truth = expected_labels(tile), EARTH.truth(tile.grid)
        shares.append((labels < 255).mean())
        differ = (truth[1:, 1:] != truth[:-1, :-1]) | (truth[1:, :-1] != truth[:-1, 1:])
        for corner in (labels[1:, 1:], labels[:-1, :-1], labels[1:, :-1], labels[:-1, 1:]):
            assert (corner[differ] == 255).all()
        assert len(np.unique(truth)) >= 3
    assert min(shares) >= 0.6
    assert max(shares) <= 0.8
    assert np.ptp(shares) > 0.05


def test_clouds_are_marked_where_the_annotated_scene_has_them(tiles):
    cloudy = 0
    for tile in kept(tiles):
        marks, take = tile.markup(), tile.take
        clear = observed(tile.window, take=take.number, day_of_year=take.day_of_year, seed=0)
        assert not clear[marks == 10].any()
        assert clear[(marks > 0) & (marks < 10)].all()
        cloudy += (marks == 10).any()
    assert cloudy >= 2


def test_files_of_the_training_layout_lie_where_the_table_says(folder, tiles, table, expected):
    assert [row["dw_id"] for row in table] == [tile.id for tile in tiles if tile.layout == "training"]
    for row in table:
        if expected[row["dw_id"]]["outcome"] in ("missing_file", "not_utm"):
            continue
        path = folder / "labels/Experts" / row["hemisphere"] / row["biome"] / f"{row['dw_id']}.tif"
        with rasterio.open(path) as file:
            assert (file.count, file.dtypes, file.shape) == (1, ("uint8",), (510, 510))
            assert f"EPSG:{file.crs.to_epsg()}" == row["crs"]
            assert file.bounds == pytest.approx(from_wkt(row["geometry"]).bounds)
            numbers = np.bincount(file.read(1).ravel(), minlength=14) / 510**2
        shares = {name: float(row[name]) for name in COLUMNS[-10:]}
        assert shares["Water"] == pytest.approx(numbers[1], abs=1e-6)
        assert shares["Scrub"] == pytest.approx(numbers[6], abs=1e-6)
        assert shares["Clouds"] == pytest.approx(numbers[10], abs=1e-6)
        assert re.fullmatch(r"dw_-?\d+\.\d{10}_-?\d+\.\d{10}-\d{8}", row["dw_id"])
        assert (
            row["dw_id"]
            == f"dw_{float(row['lon']):.10f}_{float(row['lat']):.10f}-{row['date'].replace('-', '')}"
        )
        assert re.fullmatch(r"expert_\d+", row["labeler"])


def test_files_of_the_validation_layout_have_two_named_bands(folder, tiles, meta):
    validation = [tile for tile in tiles if tile.layout == "validation"]
    assert len(validation) == TILES // 5
    assert [tuple(row) for row in meta] == [META_COLUMNS] * len(validation)
    assert [row["filename"] for row in meta] == [tile.id for tile in validation]
    for tile in validation:
        path = folder / "labels/dw_test" / f"label_{tile.id}.tif"
        assert "." not in tile.id
        with rasterio.open(path) as file:
            assert (file.descriptions, file.dtypes) == (("label", "lulc"), ("uint8", "uint8"))
            assert file.shape == (512, 512)
            assert file.transform == Affine(10, 0, tile.corner_m[0], 0, -10, tile.corner_m[1])
            label, lulc = file.read()
        marked = (lulc > 0) & (lulc < 10)
        agreement = (label[marked] == lulc[marked] - 1).mean()
        assert label.max() < len(DYNAMIC_WORLD.classes)
        assert 0.5 < agreement < 0.99, "a model's answer: mostly right, counted from 0"


def test_a_workbook_has_both_sheets_of_the_published_one(folder, table):
    book = openpyxl.load_workbook(folder / "tiles.xlsx")
    rows = {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets}
    assert list(rows) == ["expert", "non_expert"]
    assert rows["expert"][0] == rows["non_expert"][0] == COLUMNS
    assert [str(row[0]) for row in rows["expert"][1:]] == [row["dw_id"] for row in table]
    assert {row[0] for row in rows["non_expert"][1:]} < {row[0] for row in rows["expert"]}


def test_the_named_scene_covers_the_tile_in_its_zone_and_has_little_cloud(tiles, table, meta):
    products = {row["dw_id"]: row["S2_PRODUCT_ID"] for row in table}
    indices = {row["filename"]: row["s2_system_index"] for row in meta}
    for tile in kept(tiles):
        record = EARTH.scene(L1C, tile.scene)
        assert record.footprint.contains(tile.outline)
        assert tile_named(tile.scene[-5:]).crs_epsg == tile.crs_epsg
        assert tile.scene[:8] == f"{tile.date:%Y%m%d}"
        cloud = record.properties["CLOUDY_PIXEL_PERCENTAGE"]
        assert (cloud > 20) == ("cloudy_own_scene" in tile.flags)
        if "other_scene" in tile.flags:
            continue
        if tile.layout == "validation":
            assert indices[tile.id] == tile.scene
            continue
        sensed, _, mgrs = tile.scene.split("_")
        parts = products[tile.id].split("_")
        assert (parts[0][:2], parts[1], parts[2], parts[5]) == ("S2", "MSIL1C", sensed, mgrs)
        assert parts[4] == f"R{record.properties['SENSING_ORBIT_NUMBER']:03d}"
        assert parts[3] == f"N{record.properties['PROCESSING_BASELINE'].replace('.', '')}"


def test_every_kept_tile_can_be_paired_with_radar(tiles):
    for tile in kept(tiles):
        time_ms = EARTH.scene(L1C, tile.scene).time_start_ms
        passes = EARTH.find(
            S1_GRD,
            bounds=tile.outline.bounds,
            start_ms=time_ms - 15 * DAY_MS,
            end_ms=time_ms + 15 * DAY_MS,
        )
        assert any(
            one.footprint.contains(tile.outline)
            and one.properties["instrumentMode"] == "IW"
            and len(one.properties["transmitterReceiverPolarisation"]) == 2
            for one in passes
        )


def test_each_fault_is_planted_and_told(folder, tiles, expected):
    assert {one["outcome"] for one in expected.values()} == {
        "kept", "missing_file", "unmarked", "unknown_class", "not_utm", "no_scene",
    }  # fmt: skip
    paths = {tile.id: path for tile in tiles if (path := expected[tile.id]["file"])}
    on_disk = {str(path.relative_to(folder)) for path in folder.rglob("*.tif")}
    assert on_disk == set(paths.values())
    for tile in tiles:
        if tile.outcome == "missing_file":
            assert not list(folder.rglob(f"*{tile.id}*"))
        elif tile.outcome == "unmarked":
            assert not bands(folder / paths[tile.id])[None].any()
        elif tile.outcome == "unknown_class":
            assert bands(folder / paths[tile.id])[None].max() == 13
        elif tile.outcome == "not_utm":
            with rasterio.open(folder / paths[tile.id]) as file:
                assert file.crs.to_epsg() == 4326
                assert Point(tile.centre).within(tile.outline)
                assert file.bounds.left < tile.centre[0] < file.bounds.right


def test_where_no_scene_is_there_is_none_for_months(tiles):
    without = [tile for tile in tiles if tile.outcome == "no_scene"]
    assert [tile.date.year < 2016 for tile in without] == [True, False]
    for tile in without:
        start_ms, end_ms = day_ms(tile) - 40 * DAY_MS, day_ms(tile) + 40 * DAY_MS
        assert EARTH.find(L1C, bounds=tile.outline.bounds, start_ms=start_ms, end_ms=end_ms) == []
        assert tile.scene is None


def test_each_flaw_to_live_with_is_planted_and_told(tiles, expected):
    flags = Counter(flag for tile in kept(tiles) for flag in expected[tile.id]["flags"])
    assert set(flags) == {"off_lattice", "other_scene", "cloudy_own_scene", "no_l2a", "near_zone_border"}
    for tile in kept(tiles):
        x, y = tile.corner_m
        assert (x % 10 != 0 and y % 10 != 0) == ("off_lattice" in tile.flags)
        assert (EARTH.scene(L2A, tile.scene) is None) == ("no_l2a" in tile.flags)
        assert expected[tile.id]["named"] == ("other_scene" not in tile.flags)
        named = take_named(tile.system_index, seed=0)
        assert (named is None) == ("other_scene" in tile.flags)


def test_where_another_scene_is_named_the_annotated_one_is_the_only_one_that_day(tiles):
    others = [tile for tile in kept(tiles) if "other_scene" in tile.flags]
    assert {tile.layout for tile in others} == {"training", "validation"}
    for tile in others:
        time_ms = EARTH.scene(L1C, tile.scene).time_start_ms
        found = EARTH.find(
            L1C, bounds=tile.outline.bounds, start_ms=time_ms - DAY_MS + 1, end_ms=time_ms + DAY_MS
        )
        same_zone = [one.index for one in found if tile_named(one.index[-5:]).crs_epsg == tile.crs_epsg]
        assert same_zone == [tile.scene]
        assert tile.system_index[:8] == tile.product_id.split("_")[2][:8] == f"{tile.date:%Y%m%d}"


def test_an_off_lattice_file_is_nearest_to_the_pixels_it_was_made_of(tiles):
    tile = next(tile for tile in tiles if "off_lattice" in tile.flags)
    x, y = tile.corner_m
    nearest = Grid(tile.crs_epsg, 10 * round(x / 10), 10 * round(y / 10), tile.window.width)
    assert nearest == tile.grid


def test_tiles_are_all_over_the_world_and_apart(tiles):
    centres = np.array([tile.centre for tile in tiles])
    zones = {tile.crs_epsg for tile in tiles}
    assert len(zones) > 12
    assert {epsg // 100 for epsg in zones} == {326, 327}
    for i, j in zip(*np.triu_indices(len(tiles), 1), strict=True):
        assert np.abs(centres[i] - centres[j]).max() > 0.1
    assert len({tile.id for tile in tiles}) == len(tiles)
    border = next(tile for tile in tiles if tile.at_zone_border)
    lon_min, _, lon_max, _ = border.outline.bounds
    assert (lon_min // 6) != (lon_max // 6)
    assert sum(not tile.is_on_60m_lattice for tile in tiles) > 0.8 * len(tiles)


def test_each_tile_lies_in_one_region_of_the_map_and_is_known_as_well_as_told(tiles, expected):
    told = Counter(expected[tile.id]["osm"] for tile in kept(tiles))
    assert set(told) == {"kept", "sparse", "unmapped", "outdated"}
    for tile in tiles:
        regions = {region_of(lon, lat, seed=0) for lon, lat in tile.outline.buffer(0.02).exterior.coords}
        assert regions == {tile.region}
        least, most = OSM_SHARES[tile.region]
        assert least <= (expected_osm(tile.grid, seed=0) < 255).mean() <= most


def test_a_tile_is_the_same_however_many_there_are(tiles):
    assert expert_tiles(0, 3) == tiles[:3]


def test_the_same_arguments_give_the_same_bytes(tmp_path, tiles):
    write_tiles(tmp_path / "here", tiles[:3], with_xlsx=True)
    run(tmp_path, "experts", "--count", "3", "--xlsx", "--out", "there")
    here, there = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("here", "there")
    )
    assert here == there
    assert len(here) == 3 + 4


def test_a_folder_of_tiles_says_what_an_extract_is_for(folder, tiles):
    for place, tile in zip(places_of(str(folder)), tiles, strict=True):
        assert place.symmetric_difference(tile.outline).area < 0.01 * place.area, "or 4 m off"


def test_no_tiles_are_refused_in_one_line(tmp_path):
    done = run(tmp_path, "experts", "--count", "0", "--out", "there", check=False)
    assert done.returncode == 1
    assert done.stderr == "error: --count 0: expected at least 1 tile\n"


def run(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=check,
    )
