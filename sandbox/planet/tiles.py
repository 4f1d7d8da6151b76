"""Tiles of Sentinel-2: squares of 109.8 km on a raster of 100 km in every UTM zone, named as in MGRS.

The letters follow the Military Grid Reference System (NGA.SIG.0012, annexes A and B): columns repeat every
three zones, rows every 2,000 km and are moved by five letters in even zones. Unlike the real tiling,
a square that a border of latitude bands cuts has one tile, named after the band of its middle.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from shapely import Polygon, box

from noldo.grids import LATTICE_M, SOUTHERN_OFFSET_M
from sandbox.planet.lattice import Doubles, central_meridian, to_geographic, unwrapped

TILE_M = 109_800
SQUARE_M = 100_000
NUM_ZONES = 60

Bounds = tuple[float, float, float, float]

_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
"""By zone number modulo 3."""
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_BOX_MARGIN_DEG = 0.05


@dataclass(frozen=True)
class Tile:
    """One square of the tiling."""

    name: str
    """Zone, latitude band, column and row letter: `32TPT`."""
    crs_epsg: int
    x_ul: int
    """Easting of the outer upper-left corner in metres, 0 mod 60."""
    y_ul: int
    """Northing of it, 0 mod 60 in the north and 40 mod 60 in the south."""

    @property
    def outline_m(self) -> Polygon:
        """Its border in metres of the zone."""
        return box(self.x_ul, self.y_ul - TILE_M, self.x_ul + TILE_M, self.y_ul)

    @property
    def centre_m(self) -> tuple[float, float]:
        """Its middle in metres of the zone."""
        return self.x_ul + TILE_M / 2, self.y_ul - TILE_M / 2


@dataclass(frozen=True)
class Sheet:
    """All tiles of one zone in one hemisphere."""

    tiles: tuple[Tile, ...]
    boxes: Doubles
    """(tile, 4): lon_min, lat_min, lon_max, lat_max, a little too large, unwrapped around the zone."""


def tiles_near(bounds: Bounds) -> list[Tile]:
    """Tiles whose bounding box may meet the bounds (degrees), of any zone."""
    lon_min, lat_min, lon_max, lat_max = bounds
    found: list[Tile] = []
    for crs_epsg in _zones_near(bounds):
        sheet = sheet_of(crs_epsg)
        if not sheet.tiles:
            continue
        boxes = sheet.boxes
        rows = (boxes[:, 1] <= lat_max) & (boxes[:, 3] >= lat_min)
        columns = np.zeros(rows.shape, bool)
        for turn in (-360.0, 0.0, 360.0):
            columns |= (boxes[:, 0] <= lon_max + turn) & (boxes[:, 2] >= lon_min + turn)
        found += [sheet.tiles[i] for i in np.flatnonzero(rows & columns)]
    return found


def tile_named(name: str) -> Tile | None:
    """The tile of this name, or None."""
    if len(name) != 5 or not name[:2].isdigit() or name[2] not in _BANDS:
        return None
    zone = int(name[:2])
    if not 1 <= zone <= NUM_ZONES:
        return None
    return _by_name((32600 if name[2] >= "N" else 32700) + zone).get(name)


@lru_cache(maxsize=NUM_ZONES * 2)
def sheet_of(crs_epsg: int) -> Sheet:
    """The tiles of a zone: those whose 100 km square reaches into it."""
    square_x, square_y = np.meshgrid(np.arange(1, 9), np.arange(0, 94))
    if crs_epsg // 100 == 327:
        square_y = 99 - square_y
    squares = np.stack([square_x.ravel(), square_y.ravel()], axis=1)
    steps = np.array([(i, j) for i in (0.0, 0.5, 1.0) for j in (0.0, 0.5, 1.0)])
    corners = SQUARE_M * (squares[:, None, :] + steps)
    lon, lat = _degrees(crs_epsg, corners)
    kept = _reaches_zone(crs_epsg, lon, lat)
    tiles = tuple(
        _tile(crs_epsg, int(x), int(y), float(middle))
        for (x, y), middle in zip(squares[kept], lat[kept, 4], strict=True)
    )
    origins = np.array([(tile.x_ul, tile.y_ul - TILE_M) for tile in tiles], float).reshape(-1, 1, 2)
    lon, lat = _degrees(crs_epsg, origins + TILE_M * steps)
    low = np.stack([lon.min(1), lat.min(1)], axis=1) - _BOX_MARGIN_DEG
    high = np.stack([lon.max(1), lat.max(1)], axis=1) + _BOX_MARGIN_DEG
    return Sheet(tiles, np.concatenate([low, high], axis=1))


@lru_cache(maxsize=NUM_ZONES * 2)
def _by_name(crs_epsg: int) -> dict[str, Tile]:
    return {tile.name: tile for tile in sheet_of(crs_epsg).tiles}


def zone_limits(crs_epsg: int, lat: Doubles) -> tuple[Doubles, Doubles]:
    """West and east border of a zone at latitudes, with the exceptions of Norway and Svalbard; west >= east: none."""
    zone = crs_epsg % 100
    west = np.full(lat.shape, zone * 6.0 - 186.0)
    east = west + 6.0
    norway, svalbard = (lat >= 56.0) & (lat < 64.0), lat >= 72.0
    if zone in (31, 32):
        (east if zone == 31 else west)[norway] = 3.0
    if zone in (31, 33, 35, 37):
        west[svalbard] = {31: 0.0, 33: 9.0, 35: 21.0, 37: 33.0}[zone]
        east[svalbard] = {31: 9.0, 33: 21.0, 35: 33.0, 37: 42.0}[zone]
    if zone in (32, 34, 36):
        east[svalbard] = west[svalbard]
    return west, east


def to_degrees(crs_epsg: int, points_m: Doubles) -> Doubles:
    """Places (..., 2) in metres of a zone as lon/lat, unwrapped around the zone's central meridian."""
    lon, lat = _degrees(crs_epsg, points_m)
    return np.stack([lon, lat], axis=-1)


def _degrees(crs_epsg: int, points_m: Doubles) -> tuple[Doubles, Doubles]:
    lon, lat = to_geographic(crs_epsg).transform(points_m[..., 0], points_m[..., 1])
    return unwrapped(np.asarray(lon), around=central_meridian(crs_epsg)), np.asarray(lat)


def _reaches_zone(crs_epsg: int, lon: Doubles, lat: Doubles) -> np.ndarray:
    """Whether any of the points (square, point) lies inside the zone."""
    west, east = zone_limits(crs_epsg, lat)
    inside = ((lon >= west) & (lon < east) & (lat <= 84.0) & (lat >= -80.0)).any(axis=1)
    return np.asarray(inside)


def _tile(crs_epsg: int, square_x: int, square_y: int, lat: float) -> Tile:
    zone = crs_epsg % 100
    north = crs_epsg // 100 == 326
    lat = max(lat, 0.0) if north else min(lat, -1e-9)
    band = _BANDS[min(int((lat + 80.0) // 8), len(_BANDS) - 1)]
    column = _COLUMNS[zone % 3][square_x - 1]
    row = _ROWS[(square_y + (0 if zone % 2 else 5)) % len(_ROWS)]
    offset = 0 if north else SOUTHERN_OFFSET_M
    x_ul = square_x * SQUARE_M // LATTICE_M * LATTICE_M
    y_ul = -(-((square_y + 1) * SQUARE_M - offset) // LATTICE_M) * LATTICE_M + offset
    return Tile(f"{zone:02d}{band}{column}{row}", crs_epsg, x_ul, y_ul)


def _zones_near(bounds: Bounds) -> list[int]:
    """Zones within one (in the far north: two) of the bounds, in the hemispheres they touch."""
    lon_min, lat_min, lon_max, lat_max = bounds
    reach = 12.0 if max(abs(lat_min), abs(lat_max)) > 70.0 else 6.0
    if lon_max - lon_min + 2 * reach >= 360.0:
        zones = list(range(1, NUM_ZONES + 1))
    else:
        first, last = (int((lon + 180.0) // 6) for lon in (lon_min - reach, lon_max + reach))
        zones = sorted({index % NUM_ZONES + 1 for index in range(first, last + 1)})
    epsg: list[int] = []
    if lat_max >= -1.0:
        epsg += [32600 + zone for zone in zones]
    if lat_min <= 1.0:
        epsg += [32700 + zone for zone in zones]
    return epsg
