"""Where wanted centres end up: each in its UTM zone, on the Sentinel-2 lattice, and back in degrees.

All functions work on many places at once, one projection call a zone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from noldo.grids import MAX_LATITUDE, MIN_LATITUDE, Grid, snapped_grid, utm_epsg

Floats = NDArray[np.float64]

DECIMALS = 9
"""Degrees are rounded to a tenth of a millimetre: the same numbers from any build of PROJ."""

_OUTLINE = ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.0, 0.5), (1.0, 0.5), (0.0, 1.0), (0.5, 1.0), (1.0, 1.0))
"""Corners and edge midpoints, as shares of the side from the upper left."""


@dataclass(frozen=True)
class Patches:
    """Snapped patches, in the order of the places they were made for."""

    grids: tuple[Grid, ...]
    lon: Floats
    """Longitude of each grid's centre in degrees WGS84, -180..180; axis (patch,)."""
    lat: Floats
    """Latitude of each grid's centre in degrees WGS84; axis (patch,)."""

    def __len__(self) -> int:
        """Number of patches."""
        return len(self.grids)


def place_patches(lon: Floats, lat: Floats, *, size_px: int) -> Patches:
    """Snap patches to the 60 m lattice of the UTM zone that each wanted centre lies in.

    Parameters
    ----------
    lon, lat
        Wanted centres in degrees WGS84; axis (patch,).
    size_px
        Pixels of 10 m along one side; a multiple of 6.

    Returns
    -------
    Patches whose centres are at most 30 m from the wanted ones in x and in y. A centre within that of
    a zone's edge may come to lie beyond it; the zone is that of the wanted place.

    Raises
    ------
    InputError
        If a place lies outside UTM, or the size is not a multiple of 6.
    """
    zones = np.array([utm_epsg(x, y) for x, y in zip(lon.tolist(), lat.tolist(), strict=True)], dtype=int)
    easting, northing = np.empty_like(lon), np.empty_like(lat)
    for epsg, rows in _by_zone(zones):
        easting[rows], northing[rows] = _zone(epsg).transform(lon[rows], lat[rows])
    grids = tuple(
        snapped_grid(x, y, crs_epsg=epsg, size_px=size_px)
        for x, y, epsg in zip(easting.tolist(), northing.tolist(), zones.tolist(), strict=True)
    )
    return Patches(grids, *centres(grids))


def in_own_zone(patches: Patches) -> NDArray[np.bool_]:
    """Whether each grid's own centre lies in its zone, as all but a few do; axis (patch,).

    Only then does asking for that centre give the same patch again.
    """
    return np.array(
        [
            MIN_LATITUDE <= lat <= MAX_LATITUDE and utm_epsg(lon, lat) == grid.crs_epsg
            for lon, lat, grid in zip(patches.lon.tolist(), patches.lat.tolist(), patches.grids, strict=True)
        ],
        dtype=bool,
    )


def grid_around(lon: float, lat: float, *, size_px: int) -> Grid:
    """The patch around a published centre, corner rounded to metres: what was published lies on no lattice of ours.

    Raises
    ------
    InputError
        If the place lies outside UTM.
    """
    epsg = utm_epsg(lon, lat)
    x, y = _zone(epsg).transform(lon, lat)
    return Grid(epsg, round(x - size_px * 5), round(y + size_px * 5), size_px)


def outline(grids: Sequence[Grid]) -> tuple[Floats, Floats]:
    """Longitudes and latitudes of the corners and edge midpoints; each with axes (patch, 8)."""
    columns = [_to_degrees(grids, right, down) for right, down in _OUTLINE]
    return np.stack([lon for lon, _ in columns], axis=1), np.stack([lat for _, lat in columns], axis=1)


def centres(grids: Sequence[Grid]) -> tuple[Floats, Floats]:
    """Longitudes and latitudes of the grids' centres in degrees WGS84; each with axis (patch,)."""
    return _to_degrees(grids, 0.5, 0.5)


def _to_degrees(grids: Sequence[Grid], right: float, down: float) -> tuple[Floats, Floats]:
    zones = np.array([grid.crs_epsg for grid in grids], dtype=int)
    easting = np.array([grid.x_ul + right * 10 * grid.size_px for grid in grids], dtype=float)
    northing = np.array([grid.y_ul - down * 10 * grid.size_px for grid in grids], dtype=float)
    lon, lat = np.empty_like(easting), np.empty_like(northing)
    for epsg, rows in _by_zone(zones):
        lon[rows], lat[rows] = _zone(epsg).transform(easting[rows], northing[rows], direction="INVERSE")
    return np.round(lon, DECIMALS), np.round(lat, DECIMALS)


def _by_zone(zones: NDArray[np.int_]) -> Iterator[tuple[int, NDArray[np.int_]]]:
    order = np.argsort(zones, kind="stable")
    epsgs, starts = np.unique(zones[order], return_index=True)
    if len(zones):  # np.split makes one empty piece of nothing
        yield from zip(epsgs.tolist(), np.split(order, starts[1:]), strict=True)


@lru_cache(maxsize=128)
def _zone(epsg: int) -> Transformer:
    return Transformer.from_crs("OGC:CRS84", f"EPSG:{epsg}", always_xy=True)
