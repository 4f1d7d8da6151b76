"""Outlines of patches in lon/lat: the geometry column of the index.

A patch is a square in its UTM zone; its edges are slightly curved in lon/lat and it may touch the
antimeridian. GeoParquet 1.1 asks for planar edges in OGC:CRS84, so edges get extra points and a patch
that crosses 180 degrees becomes two polygons.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from noldo.grids import Grid

if TYPE_CHECKING:
    import pyproj
    import shapely

MAX_SEGMENT_M = 1_500
"""Longest straight piece of an edge. A chord of L metres leaves the true edge by at most L^2 / (8 R) x
tan(latitude): 0.4 m at 84 degrees, less than a twentieth of a pixel."""

DECIMALS = 7
"""Degrees are rounded to about a centimetre, so that no version of PROJ changes the index."""


def geojson(outline: "shapely.Polygon | shapely.MultiPolygon") -> dict[str, Any]:
    """An outline as GeoJSON in lists: Earth Engine's client compares and encodes those, not shapely's tuples."""
    from shapely.geometry import mapping

    return {"type": outline.geom_type, "coordinates": _lists(mapping(outline)["coordinates"])}


def _lists(coordinates: Any) -> Any:
    return [_lists(part) for part in coordinates] if isinstance(coordinates, tuple) else coordinates


def outlines(grids: Sequence[Grid]) -> "list[shapely.Polygon | shapely.MultiPolygon]":
    """Outline of each patch in degrees (lon, lat), counter-clockwise, in the order of `grids`."""
    import shapely

    shapes: list[shapely.Polygon | shapely.MultiPolygon] = [shapely.Polygon()] * len(grids)
    by_zone: dict[int, list[int]] = defaultdict(list)
    for position, grid in enumerate(grids):
        by_zone[grid.crs_epsg].append(position)
    for crs_epsg, positions in by_zone.items():
        corners = [_ring_m(grids[position]) for position in positions]
        lon, lat = _to_lon_lat(crs_epsg).transform(*np.concatenate(corners).T)
        degrees = np.round(np.stack([lon, lat], axis=1), DECIMALS)
        ends = np.cumsum([len(corner) for corner in corners])[:-1]
        for position, ring in zip(positions, np.split(degrees, ends), strict=True):
            shapes[position] = _polygon(ring)
    return shapes


def _ring_m(grid: Grid) -> np.ndarray:
    """Closed ring (point, xy) in metres, counter-clockwise from the lower-left corner."""
    x_min, y_min, x_max, y_max = grid.bounds
    steps = math.ceil((x_max - x_min) / MAX_SEGMENT_M)
    x = np.linspace(x_min, x_max, steps + 1)
    y = np.linspace(y_min, y_max, steps + 1)
    low, high = np.full(steps, float(y_min)), np.full(steps, float(y_max))
    left, right = np.full(steps, float(x_min)), np.full(steps, float(x_max))
    xs = np.concatenate([x[:-1], right, x[:0:-1], left, x[:1]])
    ys = np.concatenate([low, y[:-1], high, y[:0:-1], y[:1]])
    return np.stack([xs, ys], axis=1)


@cache
def _to_lon_lat(crs_epsg: int) -> "pyproj.Transformer":
    import pyproj

    return pyproj.Transformer.from_crs(crs_epsg, "OGC:CRS84", always_xy=True)


def _polygon(ring: np.ndarray) -> "shapely.Polygon | shapely.MultiPolygon":
    import shapely

    if np.ptp(ring[:, 0]) < 180.0:
        return shapely.Polygon(ring)
    unwrapped = ring.copy()
    unwrapped[unwrapped[:, 0] < 0.0, 0] += 360.0
    whole = shapely.Polygon(unwrapped)
    east = shapely.clip_by_rect(whole, 0.0, -90.0, 180.0, 90.0)
    west = shapely.clip_by_rect(whole, 180.0, -90.0, 360.0, 90.0)
    west = shapely.transform(west, lambda points: points - (360.0, 0.0))
    halves = [half for half in (east, west) if isinstance(half, shapely.Polygon) and not half.is_empty]
    halves = [shapely.geometry.polygon.orient(half) for half in halves]
    return halves[0] if len(halves) == 1 else shapely.MultiPolygon(halves)
