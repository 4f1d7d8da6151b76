"""The client layer against the sandbox's server, over HTTP, through the unmodified Earth Engine client."""

import datetime as dt
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyproj
import pytest
import shapely

from builders.config import BuildConfig
from builders.earth_engine import EarthEngine, stack_graph
from builders.layout import Layout
from builders.quota_state import SharedQuotaState, clear_holds, state_path
from builders.records import COLLECTIONS, DYNAMIC_WORLD, S1_GRD, S2_L1C, S2_L2A, Location, Scene, SeasonChoice
from builders.request_log import summarise
from builders.stack import Layer, merged, season_layers
from noldo.errors import (
    AuthenticationError,
    ConfigError,
    QuotaSpentError,
    RequestRefusedError,
    SceneUnavailableError,
    SourceUnavailableError,
)
from noldo.grids import Grid, snapped_grid, utm_epsg
from noldo.products import NO_DATA_DB, NO_DATA_UINT16, S2_RESOLUTION_M, array_specs
from sandbox.catalogue import Band, Catalogue, SceneRecord
from sandbox.server import SandboxServer, serving
from sandbox.synthetic import SyntheticEarth

ROOT = Path(__file__).parents[2]

SIDE_M = 109_800
SIZE_PX = 24
CONFIG = BuildConfig.model_validate(
    {
        "name": "test",
        "patch_size_px": SIZE_PX,
        "seasons": [
            {"name": "spring", "date": "2021-04-15", "window_days": 20},
            {"name": "summer", "date": "2021-07-15", "window_days": 20},
        ],
        "products": {"dynamic_world_probability": True},
        "source": {
            "url": "http://127.0.0.1:1",
            "credentials": "anonymous",
            "max_per_second": 10_000,
            "deadline_s": 20,
        },
    }
)
CLASSES = (
    "water",
    "trees",
    "grass",
    "flooded_vegetation",
    "crops",
    "shrub_and_scrub",
    "built",
    "bare",
    "snow_and_ice",
)


@dataclass(frozen=True)
class Tile:
    name: str
    epsg: int
    x_ul: int
    y_ul: int


NORTH = Tile("32TPT", 32632, 600_000, 5_300_040)
EAST = Tile("33TTN", 32633, 199_980, 5_300_040)
"""The same ground as the eastern part of NORTH, in the next zone."""
SOUTH = Tile("21HUB", 32721, 300_000, 6_100_000)


def milliseconds(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)


def day_after(day: str) -> str:
    return (dt.date.fromisoformat(day) + dt.timedelta(days=1)).isoformat()


def footprint(tile: Tile, *, west_m: int = 0) -> shapely.Polygon:
    """The tile, less a strip at its western side."""
    x = np.array([west_m, SIDE_M, SIDE_M, west_m]) + tile.x_ul
    y = tile.y_ul - np.array([SIDE_M, SIDE_M, 0, 0])
    to_lon_lat = pyproj.Transformer.from_crs(tile.epsg, 4326, always_xy=True)
    dense = shapely.segmentize(shapely.Polygon(zip(x, y, strict=True)), 1000)
    return shapely.transform(dense, lambda xy: np.stack(to_lon_lat.transform(*xy.T), axis=1))


class FakeCatalogue:
    """Scenes made by hand; each pixel is a function of asset, band, column and row."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], SceneRecord] = {}
        self.epsg: dict[str, int] = {}
        self.corner: dict[str, tuple[float, float]] = {}
        self.blind_columns: dict[str, int] = {}
        """10 m columns at the western side that a scene did not observe."""

    def add_s2(
        self,
        tile: Tile,
        day: str,
        *,
        cloud: float | None = 5.0,
        baseline: str | None = "03.00",
        twins: Sequence[str] = (S2_L2A, DYNAMIC_WORLD),
        west_m: int = 0,
        named: str = "",
        shift_m: tuple[float, float] = (0, 0),
        **properties: Any,
    ) -> str:
        index = named or f"{day.replace('-', '')}T103041_{day.replace('-', '')}T103037_T{tile.name}"
        s2 = {
            "CLOUDY_PIXEL_PERCENTAGE": cloud,
            "PROCESSING_BASELINE": baseline,
            "MGRS_TILE": tile.name,
        } | properties
        known = {key: value for key, value in s2.items() if value is not None}
        for product in (S2_L1C, *twins):
            collection = COLLECTIONS[product]
            self.records[collection, index] = SceneRecord(
                collection=collection,
                index=index,
                time_start_ms=milliseconds(f"{day}T10:30:41"),
                footprint=footprint(tile, west_m=west_m),
                properties={} if product == DYNAMIC_WORLD else known,
            )
        self.epsg[index] = tile.epsg
        self.corner[index] = (tile.x_ul + shift_m[0], tile.y_ul - shift_m[1])
        self.blind_columns[index] = west_m // 10
        return index

    def add_s1(
        self, tile: Tile, day: str, *, polarisations: Sequence[str] = ("VV", "VH"), **properties: Any
    ) -> str:
        index = f"S1A_IW_GRDH_1SDV_{day.replace('-', '')}T053012_{tile.name}"
        s1 = {
            "instrumentMode": "IW",
            "transmitterReceiverPolarisation": list(polarisations),
            "orbitProperties_pass": "DESCENDING",
            "relativeOrbitNumber_start": 66,
        } | properties
        self.records[COLLECTIONS[S1_GRD], index] = SceneRecord(
            collection=COLLECTIONS[S1_GRD],
            index=index,
            time_start_ms=milliseconds(f"{day}T05:30:12"),
            footprint=footprint(tile),
            properties={key: value for key, value in s1.items() if value is not None},
        )
        self.epsg[index] = tile.epsg
        self.corner[index] = (tile.x_ul + 3.7, tile.y_ul - 6.2)
        self.blind_columns[index] = 0
        return index

    def collections(self) -> frozenset[str]:
        return frozenset(COLLECTIONS.values())

    def find(
        self, collection: str, *, bounds: tuple[float, float, float, float], start_ms: int, end_ms: int
    ) -> list[SceneRecord]:
        box = shapely.box(*bounds)
        found = [
            one
            for one in self.records.values()
            if one.collection == collection
            and start_ms <= one.time_start_ms < end_ms
            and shapely.box(*one.footprint.bounds).intersects(box)
        ]
        return sorted(found, key=lambda one: (one.time_start_ms, one.index))

    def scene(self, collection: str, index: str) -> SceneRecord | None:
        return self.records.get((collection, index))

    def bands(self, scene: SceneRecord) -> Sequence[Band]:
        if scene.collection == COLLECTIONS[S1_GRD]:
            names = dict.fromkeys(scene.properties["transmitterReceiverPolarisation"], ("float64", 10))
        elif scene.collection == COLLECTIONS[DYNAMIC_WORLD]:
            names = dict.fromkeys(CLASSES, ("float32", 10)) | {"label": ("uint8", 10)}
        else:
            names = {name: ("uint16", size) for name, size in S2_RESOLUTION_M.items()}
            if scene.collection == COLLECTIONS[S2_L2A]:
                del names["B10"]
                names["SCL"] = ("uint8", 20)
        x, y = self.corner[scene.index]
        return [
            Band(
                name, dtype, self.epsg[scene.index], (size, 0, x, 0, -size, y), SIDE_M // size, SIDE_M // size
            )
            for name, (dtype, size) in names.items()
        ]

    def read(
        self, scene: SceneRecord, band: str, *, column: int, row: int, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        described = next(one for one in self.bands(scene) if one.name == band)
        columns = np.arange(column, column + width, dtype=np.int64)[None, :]
        rows = np.arange(row, row + height, dtype=np.int64)[:, None]
        seed = crc32(f"{scene.collection}/{scene.index}/{band}".encode())
        mixed = (columns * 2654435761 + rows * 40503 + seed) % 65521
        size_m = int(described.transform[0])
        seen = (columns >= self.blind_columns[scene.index] * 10 // size_m) & (columns < described.width)
        seen = seen & (rows >= 0) & (rows < described.height)
        return self._scaled(mixed, described).astype(described.dtype), seen

    def _scaled(self, mixed: np.ndarray, band: Band) -> np.ndarray:
        if band.dtype == "uint16":
            return mixed % 11_000
        if band.name in {"SCL", "label"}:
            return mixed % (12 if band.name == "SCL" else 9)
        return mixed / 65521 if band.dtype == "float32" else mixed / 65521 * 40 - 35


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builders.caller.back_off_s", lambda attempt, *, rng: 0.01)


@pytest.fixture(scope="module")
def catalogue() -> FakeCatalogue:
    made = FakeCatalogue()
    for tile in (NORTH, SOUTH):
        for day in ("2021-04-10", "2021-07-11"):
            made.add_s2(tile, day)
            made.add_s1(tile, day_after(day))
    return made


@pytest.fixture(scope="module")
def server(catalogue: FakeCatalogue) -> Iterator[SandboxServer]:
    with serving(catalogue, max_per_second=10_000) as running:
        yield running


@pytest.fixture
def quiet_server(server: SandboxServer) -> Iterator[SandboxServer]:
    """The server without faults, and with an empty log, before and after."""
    control(server, "reset")
    yield server
    control(server, "reset")


def control(server: SandboxServer, verb: str, **settings: Any) -> dict[str, Any]:
    if verb == "log":
        request = urllib.request.Request(f"{server.url}/control/log?records=1000")
    else:
        request = urllib.request.Request(
            f"{server.url}/control/{verb}", data=json.dumps(settings).encode(), method="POST"
        )
    with urllib.request.urlopen(request) as answer:
        tree: dict[str, Any] = json.load(answer)
    return tree


@contextmanager
def connected(
    server: SandboxServer, folder: Path, *, config: BuildConfig = CONFIG, claim: int = 8, **source: Any
) -> Iterator[EarthEngine]:
    if source:
        config = config.model_copy(update={"source": config.source.model_copy(update=source)})
    engine = EarthEngine.connect(
        config, url=server.url, claim=claim, stage="fetch", job="0", layout=Layout("test", folder)
    )
    try:
        yield engine
    finally:
        engine.close()


def location(tile: Tile, *, east_m: int, south_m: int, number: int = 0) -> Location:
    """A patch of which the tile's offsets are given, from its upper-left corner to the patch's centre."""
    grid = snapped_grid(tile.x_ul + east_m, tile.y_ul - south_m, crs_epsg=tile.epsg, size_px=SIZE_PX)
    lon, lat = pyproj.Transformer.from_crs(tile.epsg, 4326, always_xy=True).transform(*grid.centre)
    return Location(number, lon, lat, grid, "", "train")


def choice(season: int, s2_index: str, s1_index: str, **changes: Any) -> SeasonChoice:
    plain = SeasonChoice(
        location_id=0, season=season, rank=0, s2_index=s2_index, s1_index=s1_index, time_s2_ms=0, time_s1_ms=0,
        cloud_percent=5.0, crs_epsg=32632, tile="", baseline="", offset_removed=False, orbit_pass="",
        relative_orbit=0, off_zone=False, reason="",
    )  # fmt: skip
    return replace(plain, **changes)


def choices_of(tile: Tile) -> list[SeasonChoice]:
    days = ("2021-04-10", "2021-07-11")
    return [
        choice(
            season,
            f"{day.replace('-', '')}T103041_{day.replace('-', '')}T103037_T{tile.name}",
            f"S1A_IW_GRDH_1SDV_{day_after(day).replace('-', '')}T053012_{tile.name}",
        )
        for season, day in enumerate(days)
    ]


def native(
    catalogue: Catalogue, asset: tuple[str, str], band: str, grid: Grid
) -> tuple[np.ndarray, np.ndarray]:
    """(values, mask) of the stored pixels under a grid that lies on their lattice."""
    record = catalogue.scene(COLLECTIONS[asset[0]], asset[1])
    assert record is not None
    described = next(one for one in catalogue.bands(record) if one.name == band)
    size_m, _, x, _, _, y = described.transform
    side = grid.size_px * 10 // int(size_m)
    column, row = (grid.x_ul - x) / size_m, (y - grid.y_ul) / size_m
    assert column == int(column)
    assert row == int(row)
    return catalogue.read(record, band, column=int(column), row=int(row), width=side, height=side)


def nearest(
    catalogue: FakeCatalogue, asset: tuple[str, str], band: str, grid: Grid, *, resolution_m: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """(values, mask) of the stored pixels that hold the centres of the grid's pixels, in any zone."""
    record = catalogue.scene(COLLECTIONS[asset[0]], asset[1])
    assert record is not None
    described = next(one for one in catalogue.bands(record) if one.name == band)
    size_m, _, x_ul, _, _, y_ul = described.transform
    side = grid.size_px * 10 // resolution_m
    centres = (np.arange(side) + 0.5) * resolution_m
    x, y = np.meshgrid(grid.x_ul + centres, grid.y_ul - centres)
    x, y = pyproj.Transformer.from_crs(grid.crs_epsg, described.crs_epsg, always_xy=True).transform(x, y)
    columns, rows = np.floor((x - x_ul) / size_m).astype(int), np.floor((y_ul - y) / size_m).astype(int)
    left, top = columns.min(), rows.min()
    values, mask = catalogue.read(
        record, band, column=left, row=top, width=int(np.ptp(columns)) + 1, height=int(np.ptp(rows)) + 1
    )
    return values[rows - top, columns - left], mask[rows - top, columns - left]


CENTRE = location(NORTH, east_m=50_000, south_m=50_000)
SPECS = {spec.name: spec for spec in array_specs(CONFIG.products.selected())}


def searched(
    made: FakeCatalogue, places: Sequence[Location], folder: Path, *, config: BuildConfig = CONFIG
) -> list[Scene]:
    with serving(made, max_per_second=10_000) as running, connected(running, folder, config=config) as engine:
        return engine.search(places)


def spring(scenes: Sequence[Scene], product: str = S2_L1C) -> list[Scene]:
    return [scene for scene in scenes if scene.season == 0 and scene.product == product]


def test_a_search_tells_of_every_scene_what_the_provider_knows(quiet_server: SandboxServer, tmp_path: Path):
    with connected(quiet_server, tmp_path) as engine:
        scenes = engine.search([CENTRE])
    keys = [(scene.season, scene.product) for scene in scenes]
    assert keys == [
        (season, product) for season in (0, 1) for product in (S2_L1C, S2_L2A, S1_GRD, DYNAMIC_WORLD)
    ]
    spring_choice = choices_of(NORTH)[0]
    assert spring(scenes) == [
        Scene(
            location_id=0,
            season=0,
            product=S2_L1C,
            index=spring_choice.s2_index,
            time_ms=milliseconds("2021-04-10T10:30:41"),
            covers=True,
            crs_epsg=32632,
            tile="32TPT",
            cloud_percent=5.0,
            baseline="03.00",
        )
    ]
    assert spring(scenes, S1_GRD) == [
        Scene(
            location_id=0,
            season=0,
            product=S1_GRD,
            index=spring_choice.s1_index,
            time_ms=milliseconds("2021-04-11T05:30:12"),
            covers=True,
            crs_epsg=0,
            orbit_pass="DESCENDING",
            relative_orbit=66,
        )
    ]
    assert spring(scenes, DYNAMIC_WORLD)[0].crs_epsg == 32632, "its name tells the tile"


def test_fifty_locations_are_one_request(quiet_server: SandboxServer, tmp_path: Path):
    places = [
        location(
            (NORTH, SOUTH)[number % 2], east_m=20_000 + 1_500 * number, south_m=40_000, number=number * 7
        )
        for number in range(50)
    ]
    with connected(quiet_server, tmp_path) as engine:
        scenes = engine.search(places)
    assert control(quiet_server, "log")["endpoints"]["value:compute"] == 1
    assert [scene.location_id for scene in scenes] == sorted(scene.location_id for scene in scenes)
    assert {scene.location_id for scene in scenes} == {place.id for place in places}
    zones = {scene.location_id: scene.crs_epsg for scene in scenes if scene.product == S2_L1C}
    assert zones == {place.id: place.grid.crs_epsg for place in places}, "southern tiles are 327xx"


def test_a_place_without_scenes_is_an_empty_answer_not_an_error(quiet_server: SandboxServer, tmp_path: Path):
    far = location(Tile("", 32610, 500_000, 4_000_020), east_m=0, south_m=0)
    with connected(quiet_server, tmp_path) as engine:
        assert engine.search([far]) == []


def test_a_patch_across_the_antimeridian_can_be_searched(quiet_server: SandboxServer, tmp_path: Path):
    x, y = pyproj.Transformer.from_crs(4326, 32601, always_xy=True).transform(-180.0, 52.0)
    grid = snapped_grid(x, y, crs_epsg=32601, size_px=SIZE_PX)
    with connected(quiet_server, tmp_path) as engine:
        assert engine.search([Location(0, 180.0, 52.0, grid, "", "train")]) == []


def test_clouds_are_limited_at_the_provider_and_the_clearest_come_first(tmp_path: Path):
    made = FakeCatalogue()
    for day, cloud in (("04-01", 12.0), ("04-06", 20.0), ("04-11", 20.001), ("04-16", 3.0), ("04-21", 3.0)):
        made.add_s2(NORTH, f"2021-{day}", cloud=cloud)
    scenes = searched(made, [CENTRE], tmp_path)
    found = [(scene.cloud_percent, scene.index[:8]) for scene in spring(scenes)]
    assert found == [(3.0, "20210416"), (3.0, "20210421"), (12.0, "20210401"), (20.0, "20210406")], (
        "equally clear: the closest to the reference date comes first"
    )
    assert len(spring(scenes, DYNAMIC_WORLD)) == 4, "twins are asked for by name"


def test_the_window_is_whole_days_and_wider_for_sentinel_1(tmp_path: Path):
    made = FakeCatalogue()
    for day in ("2021-03-25", "2021-03-26", "2021-05-05", "2021-05-06"):
        made.add_s2(NORTH, day)
    for day in ("2021-03-10", "2021-03-11", "2021-05-20", "2021-05-21"):
        made.add_s1(NORTH, day)
    scenes = searched(made, [CENTRE], tmp_path)
    assert {scene.index[:8] for scene in spring(scenes)} == {"20210326", "20210505"}
    days = {scene.index.split("_")[4][:8] for scene in spring(scenes, S1_GRD)}
    assert days == {"20210311", "20210520"}


def test_only_dual_polarised_interferometric_wide_swaths_are_found(tmp_path: Path):
    made = FakeCatalogue()
    made.add_s2(NORTH, "2021-04-10")
    made.add_s1(NORTH, "2021-04-10", polarisations=("VV",))
    made.add_s1(NORTH, "2021-04-11", instrumentMode="EW")
    good = made.add_s1(NORTH, "2021-04-12")
    scenes = searched(made, [CENTRE], tmp_path)
    assert [scene.index for scene in spring(scenes, S1_GRD)] == [good]


def test_missing_twins_are_simply_not_there(tmp_path: Path):
    made = FakeCatalogue()
    without_labels = made.add_s2(NORTH, "2021-04-10", twins=(S2_L2A,))
    without_l2a = made.add_s2(NORTH, "2021-04-12", twins=(DYNAMIC_WORLD,))
    scenes = searched(made, [CENTRE], tmp_path)
    assert {scene.index for scene in spring(scenes)} == {without_labels, without_l2a}
    assert [scene.index for scene in spring(scenes, S2_L2A)] == [without_labels]
    assert [scene.index for scene in spring(scenes, DYNAMIC_WORLD)] == [without_l2a]


def test_scenes_that_lack_properties_are_found_and_their_number_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO")
    made = FakeCatalogue()
    bare = made.add_s2(NORTH, "2021-04-10", cloud=None, baseline=None, MGRS_TILE=None)
    made.add_s1(NORTH, "2021-04-11", orbitProperties_pass=None, relativeOrbitNumber_start=None)
    (found,) = spring(scenes := searched(made, [CENTRE], tmp_path))
    assert (found.index, found.cloud_percent, found.baseline, found.tile) == (bare, None, "", "32TPT")
    (pass_,) = spring(scenes, S1_GRD)
    assert (pass_.orbit_pass, pass_.relative_orbit) == ("", 0)
    assert "'s2_l1c.CLOUDY_PIXEL_PERCENTAGE': 1" in caplog.text


def test_scenes_of_an_archive_are_asked_for_their_projection_once_a_request(tmp_path: Path):
    made = FakeCatalogue()
    made.add_s2(NORTH, "2021-04-10", named="place_7", MGRS_TILE=None, radiometric_offset=-1000)
    with serving(made) as running, connected(running, tmp_path) as engine:
        scenes = engine.search([CENTRE, location(NORTH, east_m=52_000, south_m=50_000, number=1)])
        assert control(running, "log")["endpoints"]["value:compute"] == 2
    assert {scene.crs_epsg for scene in scenes} == {32632}
    assert all(scene.offset_removed == (scene.product in {S2_L1C, S2_L2A}) for scene in scenes)


@pytest.mark.parametrize(
    ("baseline", "offset", "removed"),
    [
        ("02.09", None, False),
        ("04.00", None, True),
        ("05.10", None, True),
        ("05.10", 0, False),
        ("02.09", -1000, True),
    ],
)
def test_the_offset_of_baseline_4_is_told_by_the_scene_or_else_by_its_baseline(
    tmp_path: Path, baseline: str, offset: int | None, removed: bool
):
    made = FakeCatalogue()
    made.add_s2(NORTH, "2021-04-10", baseline=baseline, radiometric_offset=offset)
    assert spring(searched(made, [CENTRE], tmp_path))[0].offset_removed is removed


@pytest.mark.parametrize(("east_m", "covers"), [(30_190, True), (30_070, False), (29_890, False)])
def test_a_footprint_covers_a_patch_only_as_a_whole(tmp_path: Path, east_m: int, covers: bool):
    made = FakeCatalogue()
    made.add_s2(NORTH, "2021-04-10", west_m=30_000)
    (found,) = spring(searched(made, [location(NORTH, east_m=east_m, south_m=50_010)], tmp_path))
    assert found.covers is covers


@pytest.mark.parametrize(
    "place",
    [
        location(NORTH, east_m=50_000, south_m=50_000),
        location(NORTH, east_m=130, south_m=130),
        location(NORTH, east_m=109_600, south_m=3_000),
        location(SOUTH, east_m=50_000, south_m=109_600),
    ],
    ids=["middle", "upper left", "right edge", "south"],
)
def test_every_stored_pixel_is_an_exact_copy_at_native_resolution(
    catalogue: FakeCatalogue, quiet_server: SandboxServer, tmp_path: Path, place: Location
):
    choices = choices_of(NORTH if place.grid.crs_epsg == NORTH.epsg else SOUTH)
    with connected(quiet_server, tmp_path) as engine:
        arrays = engine.read(place, choices, fallback=False)
    assert control(quiet_server, "log")["endpoints"]["image:computePixels"] == 1
    assert not arrays["off_lattice"].any()
    for name, spec in SPECS.items():
        assert arrays[name].shape == spec.item_shape(2, SIZE_PX)
        assert arrays[name].dtype == spec.dtype
    for season, one in enumerate(choices):
        for product, band, stored in s2_planes(arrays, season):
            values, mask = native(catalogue, (product, one.s2_index), band, place.grid)
            assert mask.all()
            assert np.array_equal(stored, values), (season, product, band)
        for number, name in enumerate(CLASSES):
            values, _ = native(catalogue, (DYNAMIC_WORLD, one.s2_index), name, place.grid)
            stored = arrays["dynamic_world_probability_10m"][season, number]
            assert np.array_equal(stored, np.rint(values.astype(np.float64) * 254)), name


def s2_planes(arrays: Mapping[str, np.ndarray], season: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """(product of the catalogue, band, stored plane) of everything that comes with the Sentinel-2 scene."""
    for name, spec in SPECS.items():
        if spec.product in {"s2_l1c", "s2_l2a"}:
            for number, band in enumerate(spec.bands):
                yield spec.product, band, arrays[name][season, number]
    yield S2_L2A, "SCL", arrays["s2_scl_20m"][season]
    yield DYNAMIC_WORLD, "label", arrays["dynamic_world_10m"][season]


def test_sentinel_1_is_interpolated_to_within_half_a_step(
    catalogue: FakeCatalogue, quiet_server: SandboxServer, tmp_path: Path
):
    (one, *_) = choices_of(NORTH)
    with connected(quiet_server, tmp_path) as engine:
        stored = engine.read(CENTRE, [one], fallback=False)["s1_grd_10m"][0]
    record = catalogue.scene(COLLECTIONS[S1_GRD], one.s1_index)
    assert record is not None
    x, y = catalogue.corner[one.s1_index]
    column, row = (CENTRE.grid.x_ul + 5 - x) / 10 - 0.5, (y - CENTRE.grid.y_ul + 5) / 10 - 0.5
    right, below = column % 1, row % 1
    for number, band in enumerate(("VV", "VH")):
        db, _ = catalogue.read(
            record, band, column=int(column), row=int(row), width=SIZE_PX + 1, height=SIZE_PX + 1
        )
        across = db[:, :-1] * (1 - right) + db[:, 1:] * right
        expected = across[:-1] * (1 - below) + across[1:] * below
        assert np.abs(stored[number] / 100 - expected).max() <= 0.00501


def test_sentinel_1_by_the_nearest_pixel_if_the_config_says_so(
    catalogue: FakeCatalogue, quiet_server: SandboxServer, tmp_path: Path
):
    config = CONFIG.model_copy(
        update={"pairing": CONFIG.pairing.model_copy(update={"s1_resampling": "nearest"})}
    )
    (one, *_) = choices_of(NORTH)
    with connected(quiet_server, tmp_path, config=config) as engine:
        stored = engine.read(CENTRE, [one], fallback=False)["s1_grd_10m"][0]
    for number, band in enumerate(("VV", "VH")):
        values, _ = nearest(catalogue, (S1_GRD, one.s1_index), band, CENTRE.grid)
        expected = np.rint(values.astype(np.float32).astype(np.float64) * 100)
        assert np.array_equal(stored[number], expected)


def test_what_a_scene_did_not_observe_is_no_data_inside_and_outside_its_footprint(tmp_path: Path):
    made = FakeCatalogue()
    index = made.add_s2(NORTH, "2021-04-10", west_m=30_000)
    pass_ = made.add_s1(NORTH, "2021-04-11")
    edge = location(NORTH, east_m=30_000, south_m=108_090)
    beyond = location(NORTH, east_m=30_120, south_m=109_800)
    with serving(made) as running, connected(running, tmp_path) as engine:
        at_edge = engine.read(edge, [choice(0, index, pass_)], fallback=False)
        at_corner = engine.read(beyond, [choice(0, index, pass_)], fallback=False)
    for place, arrays in ((edge, at_edge), (beyond, at_corner)):
        for product, band, stored in s2_planes(arrays, 0):
            values, mask = native(made, (product, index), band, place.grid)
            no_data = NO_DATA_UINT16 if stored.dtype == np.uint16 else 255
            assert 0 < mask.mean() < 1
            assert np.array_equal(stored, np.where(mask, values, no_data)), (product, band)
    assert (at_edge["s1_grd_10m"] > NO_DATA_DB).all()
    unseen = at_corner["s1_grd_10m"] == NO_DATA_DB
    assert 0.4 < unseen.mean() < 0.6
    assert (at_corner["dynamic_world_probability_10m"][0, :, -1] == 255).all()


def test_a_scene_of_another_zone_is_interpolated_and_its_classes_are_not(tmp_path: Path):
    made = FakeCatalogue()
    index = made.add_s2(EAST, "2021-04-10")
    pass_ = made.add_s1(NORTH, "2021-04-11")
    lon, lat = pyproj.Transformer.from_crs(32633, 4326, always_xy=True).transform(240_000, 5_250_000)
    x, y = pyproj.Transformer.from_crs(4326, 32632, always_xy=True).transform(lon, lat)
    place = Location(0, lon, lat, snapped_grid(x, y, crs_epsg=32632, size_px=SIZE_PX), "", "train")
    with serving(made) as running, connected(running, tmp_path) as engine:
        arrays = engine.read(place, [choice(0, index, pass_, crs_epsg=32633, off_zone=True)], fallback=False)
        assert control(running, "log")["endpoints"]["image:computePixels"] == 1
    assert arrays["off_lattice"].tolist() == [True]
    for product, band, stored in s2_planes(arrays, 0):
        resolution_m = SIZE_PX * 10 // stored.shape[-1]
        expected, mask = nearest(made, (product, index), band, place.grid, resolution_m=resolution_m)
        assert mask.all()
        if band in {"SCL", "label"}:
            assert np.array_equal(stored, expected), band
        else:
            interpolated = bilinear(made, (product, index), band, place.grid, resolution_m=resolution_m)
            assert np.abs(stored.astype(float) - interpolated).max() <= 0.51, band
            assert not np.array_equal(stored, expected)


def bilinear(
    made: FakeCatalogue, asset: tuple[str, str], band: str, grid: Grid, *, resolution_m: int
) -> np.ndarray:
    """Interpolated between the four stored pixels around each centre of the grid, in any zone."""
    record = made.scene(COLLECTIONS[asset[0]], asset[1])
    assert record is not None
    described = next(one for one in made.bands(record) if one.name == band)
    size_m, _, x_ul, _, _, y_ul = described.transform
    centres = (np.arange(grid.size_px * 10 // resolution_m) + 0.5) * resolution_m
    x, y = np.meshgrid(grid.x_ul + centres, grid.y_ul - centres)
    x, y = pyproj.Transformer.from_crs(grid.crs_epsg, described.crs_epsg, always_xy=True).transform(x, y)
    columns, rows = (x - x_ul) / size_m - 0.5, (y_ul - y) / size_m - 0.5
    left, top = np.floor(columns).astype(int), np.floor(rows).astype(int)
    values, _ = made.read(
        record,
        band,
        column=int(left.min()),
        row=int(top.min()),
        width=int(np.ptp(left)) + 2,
        height=int(np.ptp(top)) + 2,
    )
    a, b = top - top.min(), left - left.min()
    right, below = columns - left, rows - top
    upper = values[a, b] * (1 - right) + values[a, b + 1] * right
    lower = values[a + 1, b] * (1 - right) + values[a + 1, b + 1] * right
    interpolated: np.ndarray = upper * (1 - below) + lower * below
    return interpolated


@pytest.mark.parametrize(("native_lattice", "num_requests"), [(True, 2), (False, 1)])
def test_off_the_lattice_each_value_is_that_of_the_pixel_nearest_to_the_cells_centre(
    tmp_path: Path, native_lattice: bool, num_requests: int
):
    made = FakeCatalogue()
    index = made.add_s2(NORTH, "2021-04-10", shift_m=(13.0, 4.0))
    straight = made.add_s2(NORTH, "2021-07-11")
    pass_ = made.add_s1(NORTH, "2021-04-11")
    choices = [choice(0, index, pass_), choice(1, straight, pass_)]
    with serving(made) as running, connected(running, tmp_path, native_lattice=native_lattice) as engine:
        arrays = engine.read(CENTRE, choices, fallback=False)
        assert control(running, "log")["endpoints"]["image:computePixels"] == num_requests
    assert arrays["off_lattice"].tolist() == [True, not native_lattice]
    for season, one in enumerate(choices):
        for product, band, stored in s2_planes(arrays, season):
            resolution_m = SIZE_PX * 10 // stored.shape[-1]
            values, mask = nearest(
                made, (product, one.s2_index), band, CENTRE.grid, resolution_m=resolution_m
            )
            assert mask.all()
            assert np.array_equal(stored, values), (season, product, band)
    summary = summarise(Layout("test", tmp_path).requests)
    assert (summary["pixels"], summary["fallback"]) == (1, num_requests - 1)


def test_a_single_season_and_fewer_products_are_read_alone(
    catalogue: FakeCatalogue, quiet_server: SandboxServer, tmp_path: Path
):
    products = CONFIG.products.model_copy(
        update={
            "s2_l1c": ("B4", "B1"),
            "s2_l2a": (),
            "s2_scl": False,
            "s1_grd": (),
            "dynamic_world_probability": False,
        }
    )
    config = CONFIG.model_copy(update={"products": products})
    (_, one) = choices_of(NORTH)
    with connected(quiet_server, tmp_path, config=config) as engine:
        assert {scene.product for scene in engine.search([CENTRE])} == {S2_L1C, DYNAMIC_WORLD}
        arrays = engine.read(CENTRE, [replace(one, s1_index="", time_s1_ms=0)], fallback=False)
    assert set(arrays) == {"s2_l1c_10m", "s2_l1c_60m", "dynamic_world_10m", "off_lattice"}
    values, _ = native(catalogue, (S2_L1C, one.s2_index), "B1", CENTRE.grid)
    assert np.array_equal(arrays["s2_l1c_60m"][0, 0], values)


@pytest.fixture(scope="module")
def undisturbed(server: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, np.ndarray]:
    """What a read gives when nothing goes wrong."""
    with connected(server, tmp_path_factory.mktemp("undisturbed")) as engine:
        return engine.read(CENTRE, choices_of(NORTH), fallback=False)


def assert_same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429},
        {"status": 429, "message": "Quota exceeded for quota metric 'Number of read requests' and limit 'Number of "
         "read requests per minute per user'"},
        {"status": 500},
        {"status": 502, "html": True},
        {"status": 503},
        {"status": 503, "html": True, "message": "Ok"},
        {"kind": "truncate"},
        {"kind": "garble"},
        {"kind": "reset"},
        {"kind": "hang"},
    ],
    ids=lambda fault: "-".join(str(value)[:9] for value in fault.values()),
)  # fmt: skip
def test_passing_faults_change_nothing_but_the_number_of_attempts(
    quiet_server: SandboxServer,
    undisturbed: Mapping[str, np.ndarray],
    tmp_path: Path,
    fault: dict[str, Any],
):
    # Short only where the deadline itself is the fault: a busy machine may be slow to answer anything else.
    deadline_s = 3 if fault.get("kind") == "hang" else 20
    with connected(quiet_server, tmp_path, deadline_s=deadline_s) as engine:
        control(quiet_server, "faults", next=[{**fault, "endpoint": "image:computePixels"}])
        assert_same(engine.read(CENTRE, choices_of(NORTH), fallback=False), undisturbed)
        if fault.get("kind") != "garble":
            control(quiet_server, "faults", next=[fault])
        assert len(engine.search([CENTRE])) == 8
    summary = summarise(Layout("test", tmp_path).requests)
    num_faults = 1 if fault.get("kind") == "garble" else 2
    assert (summary["pixels"], summary["metadata"]) == (1, 1)
    assert (summary["retried"], summary["failed"]) == (num_faults, num_faults)


def test_many_random_faults_change_nothing(
    quiet_server: SandboxServer, undisturbed: Mapping[str, np.ndarray], tmp_path: Path
):
    control(
        quiet_server,
        "faults",
        seed=3,
        rates={"429": 0.1, "500": 0.1, "503": 0.1, "truncate": 0.1, "garble": 0.1, "reset": 0.1},
    )
    failures: list[BaseException] = []
    with connected(quiet_server, tmp_path) as engine:

        def work() -> None:
            try:
                for _ in range(3):
                    assert_same(engine.read(CENTRE, choices_of(NORTH), fallback=False), undisturbed)
            except BaseException as error:  # noqa: BLE001 - shown by the assertion below
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    summary = summarise(Layout("test", tmp_path).requests)
    assert summary["pixels"] == 24
    assert summary["retried"] == summary["failed"] > 5
    assert control(quiet_server, "log")["max_concurrent"] <= 8


TOO_LARGE = {
    "status": 400,
    "message": "Total request size (60000000 bytes) must be less than or equal to 50331648 bytes.",
}
OUT_OF_MEMORY = {"status": 400, "message": "User memory limit exceeded."}
TIMED_OUT = {"status": 400, "message": "Computation timed out."}


@pytest.mark.parametrize(
    ("faults", "num_fallbacks"),
    [([TOO_LARGE], 2), ([OUT_OF_MEMORY], 2), ([TIMED_OUT], 2), ([TOO_LARGE, OUT_OF_MEMORY], 8)],
    ids=["size", "memory", "time", "twice"],
)
def test_too_large_requests_are_split_by_season_and_then_by_product(
    quiet_server: SandboxServer,
    undisturbed: Mapping[str, np.ndarray],
    tmp_path: Path,
    faults: list[dict[str, Any]],
    num_fallbacks: int,
):
    with connected(quiet_server, tmp_path) as engine:
        control(quiet_server, "faults", next=faults)
        assert_same(engine.read(CENTRE, choices_of(NORTH), fallback=False), undisturbed)
    summary = summarise(Layout("test", tmp_path).requests)
    assert (summary["pixels"], summary["fallback"]) == (1, num_fallbacks)


def test_a_search_that_is_too_large_is_asked_in_halves(quiet_server: SandboxServer, tmp_path: Path):
    places = [
        location(NORTH, east_m=40_000 + 3_000 * number, south_m=40_000, number=number) for number in range(4)
    ]
    with connected(quiet_server, tmp_path) as engine:
        whole = engine.search(places)
        control(quiet_server, "faults", next=[TIMED_OUT])
        assert engine.search(places) == whole


def test_a_request_that_is_wrong_is_refused_with_the_providers_words(
    quiet_server: SandboxServer, tmp_path: Path
):
    with connected(quiet_server, tmp_path) as engine:
        control(
            quiet_server,
            "faults",
            next=[{"status": 400, "message": "Exported bands must have compatible data types"}],
        )
        with pytest.raises(RequestRefusedError, match="HTTP 400: Exported bands must have compatible"):
            engine.read(CENTRE, choices_of(NORTH), fallback=False)
    assert summarise(Layout("test", tmp_path).requests)["retried"] == 0


@pytest.mark.parametrize("missing", ["s2_index", "s1_index"])
def test_a_scene_that_can_not_be_read_is_named(quiet_server: SandboxServer, tmp_path: Path, missing: str):
    index = getattr(choices_of(NORTH)[1], missing)
    control(quiet_server, "faults", missing_scenes=[index])
    with connected(quiet_server, tmp_path) as engine, pytest.raises(SceneUnavailableError) as caught:
        engine.read(CENTRE, choices_of(NORTH), fallback=False)
    assert caught.value.index == index


def test_a_scene_without_the_bands_is_found_also_if_the_provider_does_not_name_it(tmp_path: Path):
    made = FakeCatalogue()
    index = made.add_s2(NORTH, "2021-04-10")
    good, bad = made.add_s1(NORTH, "2021-04-11"), made.add_s1(NORTH, "2021-04-12", polarisations=("VV",))
    with (
        serving(made) as running,
        connected(running, tmp_path) as engine,
        pytest.raises(SceneUnavailableError, match="no matching bands") as caught,
    ):
        engine.read(CENTRE, [choice(0, index, good), choice(1, index, bad)], fallback=False)
    assert caught.value.index == bad


def test_a_spent_quota_stops_this_job_and_the_next_until_it_is_cleared(
    quiet_server: SandboxServer, undisturbed: Mapping[str, np.ndarray], tmp_path: Path
):
    control(quiet_server, "faults", daily_quota=1)
    with connected(quiet_server, tmp_path) as engine:
        engine.read(CENTRE, choices_of(NORTH), fallback=False)
        for _ in range(2):
            with pytest.raises(QuotaSpentError, match=r"daily_eecu_usage_time.*UTC"):
                engine.read(CENTRE, choices_of(NORTH), fallback=False)
    sent = control(quiet_server, "log")["requests"]
    assert sent == 2, "once it is known, nobody asks"
    with pytest.raises(QuotaSpentError), connected(quiet_server, tmp_path):
        pytest.fail("connected")
    control(quiet_server, "faults", daily_quota=None)
    clear_holds(Layout("test", tmp_path), CONFIG.source)
    with connected(quiet_server, tmp_path) as engine:
        assert_same(engine.read(CENTRE, choices_of(NORTH), fallback=False), undisturbed)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("at_start_up", [False, True])
def test_refused_credentials_stop_every_job_and_say_what_to_do(
    quiet_server: SandboxServer, tmp_path: Path, status: int, at_start_up: bool
):
    if at_start_up:
        control(quiet_server, "faults", authentication=status, authentication_at_start_up=True)
        with (
            pytest.raises(AuthenticationError, match=f"HTTP {status}.*earthengine authenticate"),
            connected(quiet_server, tmp_path),
        ):
            pytest.fail("connected")
    else:
        with connected(quiet_server, tmp_path) as engine:
            control(quiet_server, "faults", authentication=status)
            with pytest.raises(AuthenticationError, match=f"HTTP {status}.*earthengine authenticate"):
                engine.read(CENTRE, choices_of(NORTH), fallback=False)
    before = control(quiet_server, "log")["start_up"]
    with pytest.raises(AuthenticationError), connected(quiet_server, tmp_path):
        pytest.fail("connected")
    assert control(quiet_server, "log")["start_up"] == before, "the other job did not ask"


def test_an_outage_longer_than_the_patience_ends_the_job_and_a_shorter_one_does_not(
    quiet_server: SandboxServer, undisturbed: Mapping[str, np.ndarray], tmp_path: Path
):
    with connected(quiet_server, tmp_path, patience_s=2) as engine:
        control(quiet_server, "faults", outage={"seconds": 0.15})
        assert_same(engine.read(CENTRE, choices_of(NORTH), fallback=False), undisturbed)
        control(quiet_server, "faults", outage={"seconds": 30})
        with pytest.raises(SourceUnavailableError, match=r"HTTP 503.*run the same command again"):
            engine.read(CENTRE, choices_of(NORTH), fallback=False)


def test_a_provider_that_is_not_there_ends_the_job_after_the_patience(
    catalogue: FakeCatalogue, tmp_path: Path
):
    with serving(catalogue) as running:
        gone = running
    with pytest.raises(SourceUnavailableError, match="refused"), connected(gone, tmp_path, patience_s=0.1):
        pytest.fail("connected")


def test_a_restricted_project_is_said_once_and_asked_one_by_one(
    quiet_server: SandboxServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    control(quiet_server, "faults", restricted=True, latency_s=0.01)
    with connected(quiet_server, tmp_path) as engine:
        threads = [
            threading.Thread(target=engine.read, args=(CENTRE, choices_of(NORTH)), kwargs={"fallback": False})
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    log = control(quiet_server, "log")
    assert log["endpoints"]["image:computePixels"] == 4
    assert log["max_concurrent"] == 1
    assert len([one for one in caplog.records if "restricts" in one.message]) == 1


def test_compute_time_is_tagged_by_stage(quiet_server: SandboxServer, tmp_path: Path):
    with connected(quiet_server, tmp_path) as engine:
        engine.search([CENTRE])
        engine.read(CENTRE, choices_of(NORTH), fallback=False)
    records = control(quiet_server, "log")["records"]
    tags = {one["endpoint"]: one["workload_tag"] for one in records if not one["start_up"]}
    assert tags == {"value:compute": "meta", "image:computePixels": "pixels"}


def test_sizes_are_logged_as_the_provider_counts_them(quiet_server: SandboxServer, tmp_path: Path):
    with connected(quiet_server, tmp_path) as engine:
        engine.read(CENTRE, choices_of(NORTH), fallback=True)
    summary = summarise(Layout("test", tmp_path).requests)
    log = control(quiet_server, "log")
    assert summary["largest_bytes"] == log["largest_bytes"] > 0
    assert (summary["fallback"], summary["pixels"], summary["start_up"]) == (1, 0, log["start_up"])


def test_nobody_but_the_endpoint_is_asked_for_anything(
    quiet_server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import socket

    asked: set[str] = set()
    look_up = socket.getaddrinfo

    def noting(host: Any, *args: Any, **options: Any) -> Any:
        asked.add(host)
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", noting)
    with connected(quiet_server, tmp_path) as engine:
        engine.search([CENTRE])
    assert asked == {"127.0.0.1"}
    assert socket.getdefaulttimeout() is None


def test_tokens_travel_but_are_never_written_down(
    quiet_server: SandboxServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    from google.oauth2.credentials import Credentials

    caplog.set_level("DEBUG")
    secret = "ya29.not-a-real-token"
    credentials = Credentials(
        token=secret,
        refresh_token="1//not-real",
        client_id="x",
        client_secret="hush-hush",
        token_uri="http://127.0.0.1:9/t",
    )
    monkeypatch.setattr("ee.data.get_persistent_credentials", lambda: credentials)
    with connected(quiet_server, tmp_path, credentials="user") as engine:
        engine.search([CENTRE])
        control(quiet_server, "faults", authentication=401)
        monkeypatch.setattr("builders.caller.back_off_s", lambda attempt, *, rng: 0.2)
        engine._caller._patience_s = 0.0
        with pytest.raises((AuthenticationError, SourceUnavailableError)) as caught:
            engine.read(CENTRE, choices_of(NORTH), fallback=False)
    layout = Layout("test", tmp_path)
    written = [str(caught.value), caplog.text]
    written += [path.read_text() for path in (*layout.requests.iterdir(), *layout.quota.glob("*.json"))]
    assert layout.requests.is_dir()
    for text in written:
        assert secret not in text
        assert "not-real" not in text
        assert "hush" not in text


def test_without_stored_credentials_the_command_to_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet_server: SandboxServer
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with (
        pytest.raises(AuthenticationError, match="earthengine authenticate"),
        connected(quiet_server, tmp_path, credentials="user"),
    ):
        pytest.fail("connected")
    assert control(quiet_server, "log")["start_up"] == 0


def test_a_claim_beyond_the_quota_is_refused(quiet_server: SandboxServer, tmp_path: Path):
    with pytest.raises(ConfigError, match="max_concurrent"), connected(quiet_server, tmp_path, claim=41):
        pytest.fail("connected")


def test_a_cool_down_reaches_other_jobs_through_the_state_file(
    quiet_server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("builders.caller.back_off_s", lambda attempt, *, rng: 0.3)
    state = SharedQuotaState(state_path(Layout("test", tmp_path), CONFIG.source))
    with connected(quiet_server, tmp_path) as engine:
        control(quiet_server, "faults", next=[{"status": 429}])
        engine.search([CENTRE])
    assert state.read().cool_down_until > 0


@pytest.fixture(scope="module")
def earth_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The synthetic Earth, served by a process of its own as in a build."""
    ready = tmp_path_factory.mktemp("earth") / "ready.json"
    command = [sys.executable, "-m", "sandbox", "serve", "--ready-file", str(ready), "--exit-with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT) as process:
        while not ready.exists():
            assert process.poll() is None
            time.sleep(0.02)
        yield json.loads(ready.read_text())["url"]


def test_pixels_of_the_synthetic_earth_are_what_its_catalogue_says(earth_url: str, tmp_path: Path):
    earth = SyntheticEarth(0)
    places = []
    for number, (lon, lat) in enumerate([(9.1, 47.7), (-58.5, -34.6), (77.2, 28.5)]):
        epsg = utm_epsg(lon, lat)
        x, y = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
        grid = snapped_grid(x, y, crs_epsg=epsg, size_px=SIZE_PX)
        places.append(Location(number, lon, lat, grid, "", "train"))
    layout = Layout("test", tmp_path)
    engine = EarthEngine.connect(CONFIG, url=earth_url, claim=2, stage="fetch", job="0", layout=layout)
    scenes = engine.search(places)
    num_planes = 0
    for place in places:
        wanted = usable_choices(scenes, place)
        arrays = engine.read(place, wanted, fallback=False)
        for season, one in enumerate(wanted):
            for product, band, stored in s2_planes(arrays, season):
                values, mask = native(earth, (product, one.s2_index), band, place.grid)
                no_data = NO_DATA_UINT16 if stored.dtype == np.uint16 else 255
                assert np.array_equal(stored, np.where(mask, values, no_data)), (product, band)
                num_planes += 1
    engine.close()
    assert num_planes >= 3 * 27, "at least a season of each place"
    summary = summarise(layout.requests)
    assert (summary["metadata"], summary["pixels"], summary["failed"]) == (1, 3, 0)


def usable_choices(scenes: Sequence[Scene], place: Location) -> list[SeasonChoice]:
    """For each season that has them all: the first scene that covers, with its twins, and a pass of Sentinel-1."""
    chosen = []
    for season in (0, 1):
        found = [scene for scene in scenes if (scene.location_id, scene.season) == (place.id, season)]
        names = {product: {one.index for one in found if one.product == product} for product in COLLECTIONS}
        twins = names[S2_L2A] & names[DYNAMIC_WORLD]
        whole = [one for one in found if one.product == S2_L1C and one.covers and one.index in twins]
        near = [one for one in whole if one.crs_epsg == place.grid.crs_epsg]
        passes = [one for one in found if one.product == S1_GRD and one.covers]
        if near and passes:
            chosen.append(choice(season, near[0].index, passes[0].index))
    return chosen


def by_methods(layer: Layer, grid: Grid) -> Any:
    """The layer as one would write it with the client's own classes."""
    import ee

    image = ee.Image(layer.asset).select([b.source for b in layer.bands], [b.name for b in layer.bands])
    if layer.bilinear:
        image = image.resample("bilinear")
    if layer.at_centres:
        image = image.reproject(f"EPSG:{grid.crs_epsg}", list(grid.transform(layer.resolution_m)))
    if layer.dtype == "float32":
        return image.unmask(layer.no_data, False).toFloat()
    if layer.bilinear:
        image = image.round().toUint16()
    return image.unmask(int(layer.no_data), False)


def written_out(graph: Any) -> Any:
    """A graph as the client sends it, without references; a list of constants is a constant."""
    import ee

    sent = ee.serializer.encode(graph)

    def whole(node: Any) -> Any:
        if isinstance(node, list):
            return [whole(one) for one in node]
        if not isinstance(node, dict):
            return node
        if "valueReference" in node:
            return whole(sent["values"][node["valueReference"]])
        found = {key: whole(one) for key, one in node.items()}
        values = found.get("arrayValue", {}).get("values", [{}])
        constants = [one.get("constantValue") for one in values]
        return found if None in constants else {"constantValue": constants}

    return whole(sent["values"][sent["result"]])


@pytest.mark.parametrize("off_zone", [False, True])
def test_the_graph_of_a_request_is_what_the_client_s_own_methods_make(
    server: SandboxServer, tmp_path: Path, off_zone: bool
):
    specs = array_specs(CONFIG.products.selected())
    chosen = [replace(choice, off_zone=off_zone) for choice in choices_of(NORTH)]
    layers = merged(
        layer
        for position, choice in enumerate(chosen)
        for layer in season_layers(choice, position=position, specs=specs, config=CONFIG)
    )
    assert {layer.at_centres for layer in layers} == ({False, True} if off_zone else {False})
    with connected(server, tmp_path):
        for layer in layers:
            found = stack_graph([layer], CENTRE.grid)
            assert written_out(found) == written_out(by_methods(layer, CENTRE.grid))
        first, second, third = (by_methods(layer, CENTRE.grid) for layer in layers[:3])
        expected = first.addBands(second).addBands(third)
        assert written_out(stack_graph(layers[:3], CENTRE.grid)) == written_out(expected)
