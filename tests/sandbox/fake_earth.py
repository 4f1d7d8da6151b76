"""A small catalogue whose pixels are a pure function of scene, band, column and row."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyproj import Transformer
from shapely import Polygon, box, segmentize, transform

from noldo.products import S2_L1C_BANDS, S2_L2A_BANDS, S2_RESOLUTION_M
from sandbox.catalogue import Band, Catalogue, SceneRecord

L1C, L2A = "COPERNICUS/S2_HARMONIZED", "COPERNICUS/S2_SR_HARMONIZED"
S1, DW = "COPERNICUS/S1_GRD", "GOOGLE/DYNAMICWORLD/V1"
DAY_MS = 86_400_000
JULY_MS = 1_656_633_600_000  # 2022-07-01 UTC
TILE_M = 109_800
DW_CLASSES = (
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

CORNERS = {
    "32TPT": (32632, 600_000, 5_300_040),
    "32TQT": (32632, 699_960, 5_300_040),
    "33TUN": (32633, 199_980, 5_300_040),
    "19HBU": (32719, 699_960, 6_100_000),
}
"""Tile -> zone and upper-left corner, on the 60 m lattice of the zone."""

SWATH_EDGE = "32TPT"
"""In the second scene of this tile, the eastern half is not observed."""


@dataclass(frozen=True)
class Scene:
    """How to make one scene."""

    collection: str
    tile: str
    day: int
    cloud: float | None
    twins: tuple[str, ...] = ()

    @property
    def index(self) -> str:
        return f"2022{self.day:04d}T103041_2022{self.day:04d}T103037_T{self.tile}"


def _scenes() -> list[Scene]:
    made = []
    for tile in CORNERS:
        for number, day in enumerate((3, 8, 13, 18)):
            cloud = [12.5, 3.0, None, 40.0][number]
            for collection in (L1C, L2A, DW):
                if collection == DW and (cloud is None or cloud > 35):
                    continue
                if collection == L2A and day == 8 and tile == "32TQT":
                    continue
                made.append(Scene(collection, tile, day, cloud))
        made += [Scene(S1, tile, day, None) for day in (2, 9)]
    return made


def outline(epsg: int, x: float, y: float, width: float, height: float) -> Polygon:
    """A rectangle of a zone in degrees."""
    change = Transformer.from_crs(epsg, 4326, always_xy=True)
    dense = segmentize(box(x, y - height, x + width, y), 10_000)
    return transform(dense, change.transform, interleaved=False)


def pixel(asset: str, band: str, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Integers 1..10000, broadcast from columns and rows: the fake Earth."""
    seed = zlib.crc32(f"{asset}/{band}".encode()) % 65_521
    mixed = columns.astype(np.int64) * 7919 + rows.astype(np.int64) * 104_729 + seed
    return (mixed ^ (mixed >> 7)) % 10_000 + 1


class FakeCatalogue:
    """Four tiles in three zones, one south; four dates each, with twins missing here and there."""

    def __init__(self) -> None:
        self._records = {(s.collection, s.index): self._record(s) for s in _scenes()}
        self._tiles = {(s.collection, s.index): s for s in _scenes()}

    def _record(self, scene: Scene) -> SceneRecord:
        epsg, x, y = CORNERS[scene.tile]
        width = TILE_M / 2 if scene.tile == SWATH_EDGE and scene.day == 8 else TILE_M
        properties: dict[str, Any] = {}
        if scene.collection == S1:
            properties = {
                "instrumentMode": "IW",
                "transmitterReceiverPolarisation": ["VV", "VH"] if scene.day == 2 else ["VV"],
                "orbitProperties_pass": "DESCENDING",
                "relativeOrbitNumber_start": 66,
            }
        else:
            properties = {"MGRS_TILE": scene.tile, "PROCESSING_BASELINE": "04.00"}
            if scene.cloud is not None:
                properties["CLOUDY_PIXEL_PERCENTAGE"] = scene.cloud
        time_ms = JULY_MS + scene.day * DAY_MS
        return SceneRecord(
            scene.collection, scene.index, time_ms, outline(epsg, x, y, width, TILE_M), properties
        )

    def collections(self) -> frozenset[str]:
        return frozenset({L1C, L2A, S1, DW})

    def find(
        self, collection: str, *, bounds: tuple[float, float, float, float], start_ms: int, end_ms: int
    ) -> list[SceneRecord]:
        area = box(*bounds)
        found = [
            record
            for record in self._records.values()
            if record.collection == collection
            and start_ms <= record.time_start_ms < end_ms
            and box(*record.footprint.bounds).intersects(area)
        ]
        return sorted(found, key=lambda record: (record.time_start_ms, record.index))

    def scene(self, collection: str, index: str) -> SceneRecord | None:
        return self._records.get((collection, index))

    def bands(self, scene: SceneRecord) -> Sequence[Band]:
        epsg, x, y = CORNERS[self._tiles[scene.collection, scene.index].tile]
        if scene.collection == S1:
            x, y = x + 3.7, y - 4.2
            names = scene.properties["transmitterReceiverPolarisation"]
            specs = [*((str(name), "float64", 10) for name in names or ()), ("angle", "float32", 10)]
        elif scene.collection == DW:
            specs = [*((name, "float32", 10) for name in DW_CLASSES), ("label", "uint8", 10)]
        else:
            bands = S2_L1C_BANDS if scene.collection == L1C else S2_L2A_BANDS
            specs = [(name, "uint16", S2_RESOLUTION_M[name]) for name in bands]
            specs += [("SCL", "uint8", 20)] if scene.collection == L2A else []
        return [
            Band(name, dtype, epsg, (m, 0, x, 0, -m, y), TILE_M // m, TILE_M // m) for name, dtype, m in specs
        ]

    def read(
        self, scene: SceneRecord, band: str, *, column: int, row: int, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        info = next(one for one in self.bands(scene) if one.name == band)
        columns, rows = np.arange(column, column + width)[None, :], np.arange(row, row + height)[:, None]
        values = pixel(f"{scene.collection}/{scene.index}", band, columns, rows)
        mask = (columns >= 0) & (columns < info.width) & (rows >= 0) & (rows < info.height)
        made = self._tiles[scene.collection, scene.index]
        if made.tile == SWATH_EDGE and made.day == 8:
            mask = mask & (columns < info.width // 2)
        if scene.collection == DW:
            mask = mask & ((columns // 40 + rows // 40) % 7 != 0)  # clouds
        if info.dtype == "uint8":
            values = values % 9
        elif info.dtype == "float32":
            values = values / 10_000
        elif info.dtype == "float64":
            values = values / 400 - 25
        return values.astype(info.dtype), np.broadcast_to(mask, values.shape)


def _fits_the_contract() -> Catalogue:
    return FakeCatalogue()
