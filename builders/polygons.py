"""Polygons in longitude and latitude, made fit for use: valid, and cut where the antimeridian is.

Arrays of geometries have one axis (polygon,); an element that is None has been dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

Geometries = NDArray[np.object_]
Bools = NDArray[np.bool_]

_EAST = shapely.box(0.0, -90.0, 180.0, 90.0)
_WEST = shapely.box(180.0, -90.0, 360.0, 90.0)


@dataclass(frozen=True)
class Cleaned:
    """Polygons as they can be used. All axes are (polygon,)."""

    geometries: Geometries
    """Valid Polygon or MultiPolygon, longitudes in -180..180; None where nothing was left."""
    split: Bools
    """It ran across the antimeridian in one piece, and was cut there."""
    repaired: Bools
    """It was invalid, and something was left after the repair."""

    @property
    def dropped(self) -> Bools:
        """Nothing was left of it."""
        dropped: Bools = shapely.is_missing(self.geometries)
        return dropped


def clean_polygons(geometries: Sequence[BaseGeometry | None] | Geometries) -> Cleaned:
    """Cut polygons at the antimeridian and repair invalid ones.

    A repair (`shapely.make_valid`) keeps the polygons that the rings enclose: a bow tie becomes two triangles,
    a spike disappears. What encloses no surface is dropped, and so is a ring around a pole.
    """
    fit: Geometries = np.array(geometries, dtype=object)
    fit[shapely.is_empty(fit)] = None
    split = _wide(fit)
    for position in np.flatnonzero(split).tolist():
        whole = split_at_antimeridian(fit[position])
        split[position] = whole is not fit[position]
        fit[position] = whole
    invalid = ~shapely.is_valid(fit) & ~shapely.is_missing(fit)
    fit[invalid] = shapely.make_valid(fit[invalid])
    fit = only_polygons(fit)
    return Cleaned(geometries=fit, split=split, repaired=invalid & ~shapely.is_missing(fit))


def only_polygons(geometries: Geometries) -> Geometries:
    """Leave points and lines out of each geometry; None where no polygon is left."""
    kept = geometries.copy()
    kinds = shapely.get_type_id(geometries)
    as_they_are = np.isin(kinds, [shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON])
    kept[as_they_are & shapely.is_empty(geometries)] = None
    for position in np.flatnonzero(~as_they_are).tolist():
        kept[position] = _polygons_of(geometries[position])
    return kept


def _polygons_of(geometry: BaseGeometry | None) -> Polygon | MultiPolygon | None:
    if geometry is None:
        return None
    parts = shapely.get_parts(shapely.get_parts(geometry))  # a collection may hold a MultiPolygon
    polygons = [part for part in parts if isinstance(part, Polygon) and not part.is_empty]
    if len(polygons) < 2:
        return polygons[0] if polygons else None
    return MultiPolygon(polygons)


def _wide(geometries: Geometries) -> Bools:
    bounds = shapely.bounds(geometries)
    wide: Bools = bounds[:, 2] - bounds[:, 0] > 180.0  # NaN, of None, is not wider
    return wide


def split_at_antimeridian(geometry: Polygon | MultiPolygon) -> Polygon | MultiPolygon | None:
    """Cut a polygon in two where it runs across 180 degrees.

    An edge that spans more than 180 degrees of longitude means the short way round, across the antimeridian.
    Without such an edge the geometry is returned as it is, however wide. With one, every ring is read anew in
    0..360 degrees, and a point belongs to the polygon if an odd number of rings enclose it: which ring is a hole
    of which can't be seen from longitudes that jump.

    Returns
    -------
    Polygons on both sides, longitudes in -180..180; None for a ring around a pole.
    """
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts(geometry))]
    if not any(_jumps(ring) for ring in rings):
        return geometry
    unwrapped = [_unwrapped(ring) for ring in rings]
    if any(_jumps(ring) for ring in unwrapped):
        return None
    discs = [shapely.make_valid(Polygon(ring)) for ring in unwrapped]
    whole = reduce(shapely.symmetric_difference, discs)
    west = shapely.transform(shapely.intersection(whole, _WEST), lambda points: points - (360.0, 0.0))
    halves = only_polygons(np.array([shapely.intersection(whole, _EAST), west], dtype=object))
    parts = [part for half in halves if half is not None for part in shapely.get_parts(half)]
    return MultiPolygon(parts) if parts else None


def _unwrapped(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    if not _jumps(ring) and ring[:, 0].max() > 0.0:
        return ring
    unwrapped = ring.copy()
    unwrapped[unwrapped[:, 0] < 0.0, 0] += 360.0
    return unwrapped


def _jumps(ring: NDArray[np.float64]) -> bool:
    return bool((np.abs(np.diff(ring[:, 0])) > 180.0).any())
