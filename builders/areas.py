"""Areas of OpenStreetMap: a class, a shape, and the size that decides which of two overlapping ones is seen."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

AUTHALIC_RADIUS_M = 6_371_007.181
"""Radius of the sphere with the surface of the WGS84 ellipsoid, in metres (Snyder, Map Projections, 1987, table 2)."""


@dataclass(frozen=True)
class Area:
    """One polygon with a land-use class."""

    osm_type: str
    """`way` or `relation`."""
    osm_id: int
    class_id: int
    """Of `noldo.legend.OSM_LAND_USE`."""
    area_m2: float
    """Of the whole polygon, before anything was cut off: `equal_area_m2`."""
    geometry: Polygon | MultiPolygon
    """Longitude and latitude in degrees; may be cut off beyond the patch that it was collected for."""

    @property
    def order(self) -> tuple[float, bool, int]:
        """Ascending where the smaller polygon wins; equal areas by type and id, so that no two are equal."""
        return self.area_m2, self.osm_type == "relation", self.osm_id


def equal_area_m2(geometry: Polygon | MultiPolygon) -> float:
    """Surface of a polygon in degrees, in m2, on the authalic sphere.

    Polygons that overlap lie at the same latitude, where the error of the sphere (below 0.5 %) is the same for both.
    Rounded to a square centimetre, so that a ring has one size, wherever it is read from.
    """
    return round(float(shapely.transform(geometry, _cylindrical).area), 4)


def equal_areas_m2(geometries: NDArray[np.object_]) -> NDArray[np.float64]:
    """`equal_area_m2` of many polygons; axis (polygon,)."""
    areas: NDArray[np.float64] = np.round(shapely.area(shapely.transform(geometries, _cylindrical)), 4)
    return areas


def _cylindrical(lonlat: np.ndarray) -> np.ndarray:
    """Lambert's cylindrical equal-area projection: axes (point, lon-lat) to (point, x-y) in metres."""
    radians = np.radians(lonlat)
    return AUTHALIC_RADIUS_M * np.stack([radians[:, 0], np.sin(radians[:, 1])], axis=-1)
