"""Scenes: where and when they exist, what they are called, and that masks follow footprints."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Point, box, covers, points

from sandbox.catalogue import Catalogue
from sandbox.planet import SyntheticEarth
from sandbox.planet.lattice import to_geographic
from sandbox.planet.optical_scenes import DYNAMIC_WORLD, L1C, L2A
from sandbox.planet.orbits import DAY_MS, date_ms
from sandbox.planet.radar_scenes import S1_GRD
from sandbox.planet.tiles import TILE_M, sheet_of, tile_named, tiles_near

EARTH: Catalogue = SyntheticEarth()
MUNICH, CORDOBA = (11.5, 48.1), (-64.2, -31.4)
SUMMER = (date_ms(2021, 5, 7), date_ms(2021, 8, 5))


def found(collection: str, place: tuple[float, float], span: tuple[int, int] = SUMMER):
    lon, lat = place
    bounds = (lon - 0.01, lat - 0.01, lon + 0.01, lat + 0.01)
    return EARTH.find(collection, bounds=bounds, start_ms=span[0], end_ms=span[1])


def test_the_earth_serves_four_collections():
    assert EARTH.collections() == {L1C, L2A, DYNAMIC_WORLD, S1_GRD}
    assert found("COPERNICUS/NOTHING", MUNICH) == []


@pytest.mark.parametrize("collection", [L1C, L2A, DYNAMIC_WORLD, S1_GRD])
@pytest.mark.parametrize("place", [MUNICH, CORDOBA])
def test_every_scene_found_is_found_again_by_its_name(collection, place):
    records = found(collection, place)
    assert len(records) >= 5
    for record in records:
        assert EARTH.scene(collection, record.index) == record
        lon_min, lat_min, lon_max, lat_max = record.footprint.bounds
        assert lon_min <= place[0] + 0.01
        assert lon_max >= place[0] - 0.01
        assert lat_min <= place[1] + 0.01
        assert lat_max >= place[1] - 0.01
        assert SUMMER[0] <= record.time_start_ms < SUMMER[1]
    assert [(r.time_start_ms, r.index) for r in records] == sorted(
        (r.time_start_ms, r.index) for r in records
    )


def test_names_of_no_scene_give_none():
    wrong = ["", "a_b_c", "20210704T103041_20210704T103037_T32TPT", "20210704T103041_20210704T103037_T99ZZZ"]
    assert [EARTH.scene(L1C, name) for name in wrong] == [None] * 4
    assert EARTH.scene(S1_GRD, "S1A_IW_GRDH_1SDV_20210704T053041_20210704T053106_038632_FFFFFF_3B2C") is None
    assert EARTH.scene("COPERNICUS/NOTHING", wrong[2]) is None


def test_twins_share_their_name():
    level1, level2, labels = (found(name, MUNICH) for name in (L1C, L2A, DYNAMIC_WORLD))
    names = {record.index: record for record in level1}
    assert all(re.fullmatch(r"\d{8}T\d{6}_\d{8}T\d{6}_T\d\d[A-Z]{3}", name) for name in names)
    for twin in (*level2, *labels):
        assert names[twin.index].footprint == twin.footprint
        assert names[twin.index].time_start_ms == twin.time_start_ms
    for label in labels:
        percent = names[label.index].properties.get("CLOUDY_PIXEL_PERCENTAGE")
        assert percent is None or percent <= 35


def test_a_time_interval_is_half_open_and_splits_cleanly():
    whole = found(L1C, MUNICH)
    cut = whole[len(whole) // 2].time_start_ms
    first, second = found(L1C, MUNICH, (SUMMER[0], cut)), found(L1C, MUNICH, (cut, SUMMER[1]))
    assert first + second == whole
    assert second[0].time_start_ms == cut


def test_a_place_is_seen_every_five_days_in_the_forenoon():
    records = [r for r in found(L1C, MUNICH) if r.footprint.covers(Point(MUNICH))]
    orbits = Counter(record.properties["SENSING_ORBIT_NUMBER"] for record in records)
    days = {record.time_start_ms // DAY_MS for record in records}
    assert len(days) >= 15 * len(orbits)
    hours = [(record.time_start_ms % DAY_MS) / 3.6e6 + MUNICH[0] / 15 for record in records]
    assert all(9.5 < hour < 11.5 for hour in hours)


def test_early_years_lack_surface_reflectance():
    span = (date_ms(2018, 3, 1), date_ms(2018, 11, 1))
    early, all_early = len(found(L2A, MUNICH, span)), len(found(L1C, MUNICH, span))
    assert 0 < early < 0.6 * all_early
    assert len(found(L2A, MUNICH)) > 0.9 * len(found(L1C, MUNICH))
    before = (date_ms(2016, 6, 1), date_ms(2016, 9, 1))
    assert found(L1C, MUNICH, before)
    assert found(L2A, MUNICH, before) == []
    assert found(L1C, MUNICH, (date_ms(2014, 1, 1), date_ms(2015, 6, 1))) == []


def test_sentinel1_is_thinner_without_its_second_satellite():
    before = found(S1_GRD, MUNICH, (date_ms(2021, 6, 1), date_ms(2021, 9, 1)))
    after = found(S1_GRD, MUNICH, (date_ms(2022, 6, 1), date_ms(2022, 9, 1)))
    assert len(after) < 0.7 * len(before)
    assert {record.index[:3] for record in after} == {"S1A"}


def test_processing_baseline_changes_in_january_2022():
    span = (date_ms(2022, 1, 5), date_ms(2022, 2, 15))
    for record in found(L1C, MUNICH, span):
        if name := record.properties.get("PROCESSING_BASELINE"):
            assert (name == "04.00") == (record.time_start_ms >= date_ms(2022, 1, 25))


@settings(max_examples=30, deadline=None)
@given(lon=st.floats(-179.9, 179.9), lat=st.floats(-79, 83.5))
def test_every_place_lies_in_a_tile_on_the_lattice(lon, lat):
    tiles = tiles_near((lon, lat, lon, lat))
    inside = []
    for tile in tiles:
        assert tile_named(tile.name) == tile
        south = tile.crs_epsg // 100 == 327
        assert (tile.x_ul % 60, tile.y_ul % 60) == (0, 40 if south else 0)
        x, y = to_geographic(tile.crs_epsg).transform(lon, lat, direction="INVERSE")
        inside.append(0 <= x - tile.x_ul <= TILE_M and 0 <= tile.y_ul - y <= TILE_M)
    assert any(inside)


def test_tile_names_are_unique_and_known_corners_agree():
    tiles = [
        tile
        for zone in (1, 31, 32, 33, 60)
        for pole in (32600, 32700)
        for tile in sheet_of(pole + zone).tiles
    ]
    assert len({tile.name for tile in tiles}) == len(tiles)
    known = tile_named("32TPT")
    assert known is not None
    assert (known.crs_epsg, known.x_ul, known.y_ul) == (32632, 600_000, 5_300_040)
    assert tile_named("61TPT") is None
    assert tile_named("32IPT") is None


def test_tiles_reach_over_the_border_of_their_zone():
    zones = {tile.crs_epsg for tile in tiles_near((11.9, 47.0, 12.1, 47.1))}
    assert zones == {32632, 32633}


@pytest.mark.parametrize(("collection", "band", "step"), [(L1C, "B2", 10), (L2A, "SCL", 20), (L1C, "B9", 60)])
def test_mask_is_the_footprint_at_a_swath_edge(collection, band, step):
    record = next(
        r
        for tile_place in ((lon / 10, 45.0) for lon in range(-1000, 1000, 7))
        for r in found(collection, tile_place, (date_ms(2021, 6, 1), date_ms(2021, 6, 11)))
        if len(r.footprint.exterior.coords) > 8 and edge_window(r, step) is not None
    )
    column, row = edge_window(record, step)
    place = {"column": column, "row": row, "width": 48, "height": 48}
    _, mask = EARTH.read(record, band, **place)
    inside = inside_footprint(record, step, **place)
    assert 0.02 < mask.mean() < 0.98
    assert (mask == inside).mean() > 0.98


def edge_window(record, step):
    """A window of 48 px around a place where the swath's edge crosses the tile, or None."""
    tile = tile_named(record.index[-5:])
    assert tile is not None
    lons, lats = np.array(record.footprint.exterior.coords).T
    x, y = to_geographic(tile.crs_epsg).transform(lons, lats, direction="INVERSE")
    middle_x, middle_y = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
    off_x = np.minimum(middle_x - tile.x_ul, tile.x_ul + TILE_M - middle_x)
    off_y = np.minimum(tile.y_ul - middle_y, middle_y - tile.y_ul + TILE_M)
    clear = np.flatnonzero(np.minimum(off_x, off_y) > 4000)
    if not clear.size:
        return None
    column = int((middle_x[clear[0]] - tile.x_ul) // step) - 24
    return column, int((tile.y_ul - middle_y[clear[0]]) // step) - 24


def inside_footprint(record, step, *, column, row, width, height):
    tile = tile_named(record.index[-5:])
    assert tile is not None
    x = tile.x_ul + step * (column + np.arange(width) + 0.5)
    y = tile.y_ul - step * (row + np.arange(height) + 0.5)
    lon, lat = to_geographic(tile.crs_epsg).transform(*np.meshgrid(x, y))
    return covers(record.footprint, points(lon, lat))


def test_a_window_outside_the_image_is_masked():
    record = found(L1C, MUNICH)[0]
    values, mask = EARTH.read(record, "B2", column=-70, row=-70, width=60, height=60)
    assert not mask.any()
    assert not values.any()
    assert values.dtype == np.uint16


def test_radar_lies_on_a_lattice_of_its_own_and_its_mask_is_its_footprint():
    record = next(r for r in found(S1_GRD, CORDOBA) if r.footprint.covers(box(-64.3, -31.5, -64.1, -31.3)))
    bands = EARTH.bands(record)
    assert [(band.name, band.dtype) for band in bands][-1] == ("angle", "float32")
    assert bands[0].transform[2] % 10 != 0
    assert bands[0].transform[5] % 10 != 0
    x, y = to_geographic(bands[0].crs_epsg).transform(*CORDOBA, direction="INVERSE")
    column = int((x - bands[0].transform[2]) // 10)
    row = int((bands[0].transform[5] - y) // 10)
    values, mask = EARTH.read(record, "VV", column=column, row=row, width=60, height=60)
    assert mask.all()
    assert values.dtype == np.float64
    corner, outside = EARTH.read(record, "VV", column=0, row=0, width=30, height=30)
    assert not outside[0, 0]
    assert corner[0, 0] == 0
    angle, _ = EARTH.read(record, "angle", column=column, row=row, width=60, height=60)
    assert 29 < angle.mean() < 47


def test_bad_scenes_exist_as_they_do_on_earth():
    """Split datatakes, other modes, single polarisation and lost properties, over a broad region."""
    span = (date_ms(2021, 6, 1), date_ms(2021, 7, 11))
    optical = EARTH.find(L1C, bounds=(0.0, 45.0, 20.0, 46.0), start_ms=span[0], end_ms=span[0] + 20 * DAY_MS)
    starts = Counter((r.index.split("_")[0], r.index[-5:]) for r in optical)
    assert max(starts.values()) == 2
    assert any(len(r.properties) < 5 for r in optical)
    radar = [r for lon in range(-10, 100, 3) for r in found(S1_GRD, (float(lon), 46.0), span)]
    assert {r.properties["instrumentMode"] for r in radar} == {"IW", "EW"}
    assert {len(r.properties["transmitterReceiverPolarisation"]) for r in radar} == {1, 2}
    assert {r.properties["orbitProperties_pass"] for r in radar} == {"ASCENDING", "DESCENDING"}
