"""Footprints: convex shapes in metres of a zone, so that outline and mask of an image can't disagree."""

from dataclasses import dataclass

import numpy as np
from shapely import Polygon, segmentize

from sandbox.catalogue import Band
from sandbox.planet.lattice import Doubles
from sandbox.planet.tiles import to_degrees

_DENSE_M = 15_000
"""Longest edge of an outline in degrees: straighter in a zone than in lon/lat by less than 10 m."""


@dataclass(frozen=True)
class Shape:
    """A convex polygon in a UTM zone."""

    crs_epsg: int
    corners_m: tuple[tuple[float, float], ...]
    """(x, y), each once, counter-clockwise."""

    def mask(self, band: Band, *, column: int, row: int, width: int, height: int) -> np.ndarray:
        """Pixels of a window of the band whose centres lie inside the shape and the image: bool (y, x)."""
        step_x, _, left, _, step_y, top = band.transform
        columns = np.arange(column, column + width)[None, :]
        rows = np.arange(row, row + height)[:, None]
        inside = (columns >= 0) & (columns < band.width) & (rows >= 0) & (rows < band.height)
        x, y = left + step_x * (columns + 0.5), top + step_y * (rows + 0.5)
        ends = zip(self.corners_m, self.corners_m[1:] + self.corners_m[:1], strict=True)
        for (x0, y0), (x1, y1) in ends:
            inside = inside & ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0)
        return inside

    def outline(self) -> Polygon:
        """The shape in lon/lat degrees; beyond 180 where the zone reaches over the date line."""
        dense = segmentize(Polygon(self.corners_m), _DENSE_M)
        return Polygon(to_degrees(self.crs_epsg, np.array(dense.exterior.coords)))

    def samples(self, num: int) -> Doubles:
        """About num x num places (point, 2) of a regular raster inside the shape, in metres."""
        x_min, y_min, x_max, y_max = Polygon(self.corners_m).bounds
        steps = (np.arange(num) + 0.5) / num
        x, y = np.meshgrid(x_min + (x_max - x_min) * steps, y_min + (y_max - y_min) * steps)
        inside = np.ones(x.shape, bool)
        ends = zip(self.corners_m, self.corners_m[1:] + self.corners_m[:1], strict=True)
        for (x0, y0), (x1, y1) in ends:
            inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0
        return np.stack([x[inside], y[inside]], axis=-1)


def shape_of(crs_epsg: int, polygon: Polygon) -> Shape:
    """A shapely polygon (convex, in metres) as a shape."""
    corners = np.array(polygon.exterior.coords)[:-1]
    if not polygon.exterior.is_ccw:
        corners = corners[::-1]
    return Shape(crs_epsg, tuple((float(x), float(y)) for x, y in corners))
