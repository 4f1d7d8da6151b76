"""Where published items lie, as far as their files say: on a UTM grid, around a centre in degrees, or nowhere."""

import re

from builders.import_items import NOWHERE, Georeference, Placement
from builders.patches import centres, grid_around
from noldo.errors import InputError
from noldo.grids import Grid

ON_GRID_M = 0.01
"""A corner nearer to a whole metre than this lies on it: coordinates are rounded when files are written."""

REACH_M = (1e7, 2e7)
"""Beyond these eastings and northings lies nothing: UTM runs from 0 to 1e6 and from 0 to 1e7, and far outside degrees are infinite."""

PIXEL_M = 10

_UTM = re.compile(r"(?:EPSG:)?(32[67][0-9]{2})")

Bounds = tuple[float, float, float, float]


def utm_code(crs: str) -> int:
    """EPSG code of a UTM zone on WGS84, or 0 if it is none."""
    found = _UTM.fullmatch(crs)
    return int(found[1]) if found and 1 <= int(found[1]) % 100 <= 60 else 0


def raster_placement(
    *,
    crs: str,
    transform: tuple[float, ...],
    bounds: Bounds,
    side_px: int,
    georeference: Georeference = "exact",
) -> Placement:
    """Where a raster lies.

    Parameters
    ----------
    crs, transform, bounds
        As `builders.published_geotiff.Raster` has them.
    side_px
        Its longer side in pixels of 10 m.
    georeference
        What is known of the data set; pixels of 10 m in UTM whose corner is no whole metre are `approximate` anyhow.

    Returns
    -------
    Of a raster in degrees, the grid is an estimate around its centre. Any other raster has no known place.
    """
    if not crs:
        return NOWHERE
    a, b, x_ul, d, e, y_ul = transform
    nowhere = Placement(source_crs=crs, source_bounds=bounds)
    if utm_code(crs) and (round(a, 6), round(b, 9), round(d, 9), round(e, 6)) == (PIXEL_M, 0, 0, -PIXEL_M):
        return corner_placement(
            utm_code(crs), x_ul, y_ul, side_px=side_px, georeference=georeference, source=nowhere
        )
    if crs == "EPSG:4326":
        x_min, y_min, x_max, y_max = bounds
        return centre_placement((x_min + x_max) / 2, (y_min + y_max) / 2, side_px=side_px, source=nowhere)
    return nowhere


def corner_placement(
    crs_epsg: int,
    x_ul: float,
    y_ul: float,
    *,
    side_px: int,
    georeference: Georeference = "exact",
    source: Placement = NOWHERE,
) -> Placement:
    """Of an outer upper-left corner in metres of a UTM zone; `source` has what was published."""
    if not (abs(x_ul) < REACH_M[0] and abs(y_ul) < REACH_M[1]):
        return source
    grid = Grid(crs_epsg, round(x_ul), round(y_ul), side_px)
    is_whole = max(abs(x_ul - grid.x_ul), abs(y_ul - grid.y_ul)) <= ON_GRID_M
    lon, lat = centres([grid])
    return Placement(
        grid=grid,
        georeference=georeference if is_whole else "approximate",
        lon=float(lon[0]),
        lat=float(lat[0]),
        source_crs=source.source_crs,
        source_bounds=source.source_bounds,
    )


def centre_placement(lon: float, lat: float, *, side_px: int, source: Placement = NOWHERE) -> Placement:
    """An estimate from a centre in degrees: pixels may be turned against the grid, and lie some metres off."""
    try:
        grid = grid_around(lon, lat, size_px=side_px)
    except InputError:
        return source
    return Placement(
        grid=grid,
        georeference="approximate",
        lon=lon,
        lat=lat,
        source_crs=source.source_crs,
        source_bounds=source.source_bounds,
    )
