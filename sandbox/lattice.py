"""Windows of a UTM zone's 10 m lattice, and how fields get onto its pixels.

Slow fields are computed at *nodes*, 60 m apart and at absolute positions of the zone, and
interpolated; so what a pixel gets depends on the pixel, never on the window it was asked in.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from pyproj import Transformer

from noldo.grids import Grid

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius of the IUGG; the synthetic Earth's relief lives on this sphere."""

PIXEL_M = 10
NODE_PX = 6
"""Pixels from node to node: nodes are the corners of the 60 m lattice of Sentinel-2."""

SOUTHERN_FALSE_NORTHING_M = 10_000_000
_ALIGN_PX = 24
_MARGIN_PX = 6


@dataclass(frozen=True)
class Window:
    """A rectangle of 10 m pixels, placed on the lattice of a whole UTM zone."""

    crs_epsg: int
    """UTM zone: 326xx north, 327xx south."""
    column: int
    """First column: easting / 10 m."""
    row: int
    """First row, counted southwards from the equator (north: negative) or from the false northing (south)."""
    width: int
    height: int

    @property
    def x_ul(self) -> int:
        """Easting of the outer upper-left corner in metres."""
        return self.column * PIXEL_M

    @property
    def y_ul(self) -> int:
        """Northing of the outer upper-left corner in metres."""
        return row_origin_m(self.crs_epsg) - self.row * PIXEL_M

    def padded(self) -> "Window":
        """A window around this one, with a margin and on a coarser raster, so that neighbours share it."""
        left = (self.column - _MARGIN_PX) // _ALIGN_PX * _ALIGN_PX
        top = (self.row - _MARGIN_PX) // _ALIGN_PX * _ALIGN_PX
        right = -(-(self.column + self.width + _MARGIN_PX) // _ALIGN_PX) * _ALIGN_PX
        bottom = -(-(self.row + self.height + _MARGIN_PX) // _ALIGN_PX) * _ALIGN_PX
        return Window(self.crs_epsg, left, top, right - left, bottom - top)

    def on_nodes(self) -> "Window":
        """The smallest window around this one that begins and ends at nodes."""
        left, top = self.column // NODE_PX * NODE_PX, self.row // NODE_PX * NODE_PX
        right = -(-(self.column + self.width) // NODE_PX) * NODE_PX
        bottom = -(-(self.row + self.height) // NODE_PX) * NODE_PX
        return Window(self.crs_epsg, left, top, right - left, bottom - top)

    def inside(self, outer: "Window") -> tuple[slice, slice]:
        """Rows and columns of this window in the arrays of an outer one."""
        top, left = self.row - outer.row, self.column - outer.column
        return slice(top, top + self.height), slice(left, left + self.width)


def row_origin_m(crs_epsg: int) -> int:
    """Northing of row 0: the equator in the zone's own numbers."""
    return SOUTHERN_FALSE_NORTHING_M if crs_epsg // 100 == 327 else 0


def window_of(grid: Grid) -> Window:
    """The window that a patch grid is."""
    row = (row_origin_m(grid.crs_epsg) - grid.y_ul) // PIXEL_M
    return Window(grid.crs_epsg, grid.x_ul // PIXEL_M, row, grid.size_px, grid.size_px)


@lru_cache(maxsize=256)
def to_geographic(crs_epsg: int) -> Transformer:
    """From a zone's metres to lon/lat degrees (x before y)."""
    return Transformer.from_crs(crs_epsg, 4326, always_xy=True)


@lru_cache(maxsize=256)
def to_zone(crs_epsg: int) -> Transformer:
    """From lon/lat degrees to a zone's metres (x before y)."""
    return Transformer.from_crs(4326, crs_epsg, always_xy=True)


def on_sphere(lon: Doubles, lat: Doubles) -> Doubles:
    """Cartesian coordinates in metres, axes (3, ...), of places given in degrees."""
    lam, phi = np.deg2rad(lon), np.deg2rad(lat)
    across = np.cos(phi)
    return EARTH_RADIUS_M * np.stack([across * np.cos(lam), across * np.sin(lam), np.sin(phi)])


@dataclass(frozen=True)
class Nodes:
    """The nodes of a window: (rows + 1, columns + 1) and `ring` more on each side."""

    lon: Doubles
    """Degrees, unwrapped around the zone's central meridian."""
    lat: Doubles
    """Degrees."""
    points_m: Doubles
    """Axes (3, y, x): places on the sphere."""


@lru_cache(maxsize=64)
def nodes_of(window: Window, ring: int = 0) -> Nodes:
    """Nodes of a window that begins and ends at nodes."""
    step_m = NODE_PX * PIXEL_M
    x = window.x_ul + step_m * np.arange(-ring, window.width // NODE_PX + 1 + ring, dtype=np.float64)
    y = window.y_ul - step_m * np.arange(-ring, window.height // NODE_PX + 1 + ring, dtype=np.float64)
    lon, lat = to_geographic(window.crs_epsg).transform(*np.meshgrid(x, y))
    lon = unwrapped(lon, around=central_meridian(window.crs_epsg))
    return Nodes(lon, lat, on_sphere(lon, lat))


def central_meridian(crs_epsg: int) -> float:
    """Longitude of the middle of a UTM zone in degrees."""
    return crs_epsg % 100 * 6.0 - 183.0


def unwrapped(lon: Doubles, *, around: float) -> Doubles:
    """Longitudes moved by whole turns to within 180 degrees of `around`."""
    shifted: Doubles = (lon - around + 180.0) % 360.0 - 180.0 + around
    return shifted


def to_pixels(nodes: Floats) -> Floats:
    """Bilinear interpolation from nodes, axes (..., y, x), to the centres of the pixels between them."""
    steps = ((np.arange(NODE_PX) + 0.5) / NODE_PX).astype(nodes.dtype)
    left, right = nodes[..., :-1, None], nodes[..., 1:, None]
    wide = (left + (right - left) * steps).reshape(*nodes.shape[:-1], -1)
    upper, lower = wide[..., :-1, None, :], wide[..., 1:, None, :]
    tall = upper + (lower - upper) * steps[:, None]
    return tall.reshape(*nodes.shape[:-2], -1, wide.shape[-1])


def to_pixels_exact(nodes: Doubles) -> Doubles:
    """`to_pixels` in double precision, for coordinates in metres."""
    exact: Doubles = to_pixels(nodes)  # type: ignore[arg-type,assignment]  # the dtype follows the input
    return exact


def block_mean(pixels: Floats, *, factor: int) -> Floats:
    """Mean over squares of `factor` x `factor` pixels, always added in the same order."""
    if factor == 1:
        return pixels
    rows = sum((pixels[i::factor] for i in range(1, factor)), start=pixels[0::factor])
    total = sum((rows[:, i::factor] for i in range(1, factor)), start=rows[:, 0::factor])
    mean: Floats = total * np.float32(1 / factor**2)
    return mean
