"""The client layer against the sandbox's server, over HTTP, through the unmodified Earth Engine client."""

import datetime as dt
import json
import threading
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
from builders.earth_engine import EarthEngine
from builders.layout import Layout
from builders.quota_state import SharedQuotaState, clear_holds, state_path
from builders.records import COLLECTIONS, DYNAMIC_WORLD, S1_GRD, S2_L1C, S2_L2A, Location, Scene, SeasonChoice
from builders.request_log import summarise
from noldo.errors import (
    AuthenticationError,
    ConfigError,
    QuotaSpentError,
    RequestRefusedError,
    SceneUnavailableError,
    SourceUnavailableError,
)
from noldo.grids import Grid, snapped_grid
from noldo.products import NO_DATA_DB, NO_DATA_UINT16, S2_RESOLUTION_M, array_specs
from sandbox.catalogue import Band, SceneRecord
from sandbox.server import SandboxServer, serving

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
        "source": {"url": "http://127.0.0.1:1", "credentials": "anonymous", "max_per_second": 10_000, "deadline_s": 20},
    }
)
CLASSES = ("water", "trees", "grass", "flooded_vegetation", "crops", "shrub_and_scrub", "built", "bare", "snow_and_ice")


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
        s2 = {"CLOUDY_PIXEL_PERCENTAGE": cloud, "PROCESSING_BASELINE": baseline, "MGRS_TILE": tile.name} | properties
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

    def add_s1(self, tile: Tile, day: str, *, polarisations: Sequence[str] = ("VV", "VH"), **properties: Any) -> str:
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
            names = {band: ("float64", 10) for band in scene.properties["transmitterReceiverPolarisation"]}
        elif scene.collection == COLLECTIONS[DYNAMIC_WORLD]:
            names = {name: ("float32", 10) for name in CLASSES} | {"label": ("uint8", 10)}
        else:
            names = {name: ("uint16", size) for name, size in S2_RESOLUTION_M.items()}
            if scene.collection == COLLECTIONS[S2_L2A]:
                del names["B10"]
                names["SCL"] = ("uint8", 20)
        x, y = self.corner[scene.index]
        return [
            Band(name, dtype, self.epsg[scene.index], (size, 0, x, 0, -size, y), SIDE_M // size, SIDE_M // size)
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


@pytest.fixture(scope="module")
def catalogue() -> FakeCatalogue:
    made = FakeCatalogue()
    for tile in (NORTH, SOUTH):
        for day in ("2021-04-10", "2021-07-11"):
            made.add_s2(tile, day)
            made.add_s1(tile, day.replace("-1", "-09") if False else f"{day[:-2]}{int(day[-2:]) + 1:02d}")
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
        request = urllib.request.Request(f"{server.url}/control/{verb}", data=json.dumps(settings).encode(), method="POST")
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
            f"S1A_IW_GRDH_1SDV_{day.replace('-', '')[:-2]}{int(day[-2:]) + 1:02d}T053012_{tile.name}",
        )
        for season, day in enumerate(days)
    ]


def native(catalogue: FakeCatalogue, asset: tuple[str, str], band: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
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


def nearest(catalogue: FakeCatalogue, asset: tuple[str, str], band: str, grid: Grid, *, resolution_m: int = 10) -> tuple[np.ndarray, np.ndarray]:
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


def test_smoke(catalogue, quiet_server, tmp_path):
    with connected(quiet_server, tmp_path) as engine:
        scenes = engine.search([location(NORTH, east_m=50_000, south_m=50_000)])
        for s in scenes:
            print(s)
        arrays = engine.read(location(NORTH, east_m=50_000, south_m=50_000), choices_of(NORTH), fallback=False)
        for k, v in arrays.items():
            print(k, v.shape, v.dtype)
    print(control(quiet_server, "log"))
    print(summarise(Layout("test", tmp_path).requests))
    assert 0
