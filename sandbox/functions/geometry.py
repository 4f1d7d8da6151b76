"""Server functions of geometries and projections."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import shapely
import shapely.affinity
from shapely.geometry.base import BaseGeometry

from sandbox.functions.binding import Registry
from sandbox.geometries import IDENTITY, LON_LAT, Affine, Geometry, Projection, flat_numbers, local_metres
from sandbox.refusals import Refusal

registry = Registry()
function = registry.function


def affine_of(numbers: Sequence[Any]) -> Affine:
    """Six numbers as an affine.

    Raises
    ------
    Refusal
        If there are not six.
    """
    values = tuple(float(number) for number in numbers)
    if len(values) != 6:
        raise Refusal(f"A transform has 6 numbers, found {len(values)}.")
    return values


def _built(shape: BaseGeometry, crs: Projection | None, *, geodesic: bool | None) -> Geometry:
    """A geometry from coordinates in pixels of a projection (metres or degrees, if it has no transform)."""
    if crs is None:
        return Geometry(shape, geodesic=geodesic is not False)
    if crs.transform != IDENTITY:
        a, b, c, d, e, f = crs.transform
        shape = shapely.affinity.affine_transform(shape, [a, b, d, e, c, f])
    return Geometry(shape, crs.crs, geodesic=bool(geodesic))


def _points(coordinates: list[Any]) -> list[tuple[float, float]]:
    numbers = list(flat_numbers(coordinates))
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _polygon(rings: list[Any]) -> shapely.Polygon:
    """Rings of points; one ring may come without its outer list, or as flat numbers."""
    if rings and (not isinstance(rings[0], list) or not isinstance(rings[0][0], list)):
        rings = [rings]
    outer, *holes = [_points(ring) for ring in rings]
    return shapely.Polygon(outer, holes)


@function("GeometryConstructors.Point")
def point(coordinates: list[Any], crs: Projection | None = None) -> Geometry:
    """One place."""
    return _built(shapely.Point(_points(coordinates)[0]), crs, geodesic=None)


@function("GeometryConstructors.MultiPoint")
def multi_point(coordinates: list[Any], crs: Projection | None = None) -> Geometry:
    """Many places."""
    return _built(shapely.MultiPoint(_points(coordinates)), crs, geodesic=None)


@function("GeometryConstructors.LineString", "GeometryConstructors.LinearRing")
def line(
    coordinates: list[Any],
    crs: Projection | None = None,
    *,
    geodesic: bool | None = None,
    max_error: object = None,
) -> Geometry:
    """A line through places."""
    return _built(shapely.LineString(_points(coordinates)), crs, geodesic=geodesic)


@function("GeometryConstructors.Polygon")
def polygon(
    coordinates: list[Any],
    crs: Projection | None = None,
    *,
    geodesic: bool | None = None,
    max_error: object = None,
    even_odd: bool = True,
) -> Geometry:
    """An outline with holes."""
    return _built(_polygon(coordinates), crs, geodesic=geodesic)


@function("GeometryConstructors.MultiPolygon")
def multi_polygon(
    coordinates: list[Any],
    crs: Projection | None = None,
    *,
    geodesic: bool | None = None,
    max_error: object = None,
    even_odd: bool = True,
) -> Geometry:
    """Many outlines with holes."""
    shape = shapely.MultiPolygon([_polygon(rings) for rings in coordinates])
    return _built(shape, crs, geodesic=geodesic)


@function("GeometryConstructors.Rectangle")
def rectangle(
    coordinates: list[Any],
    crs: Projection | None = None,
    *,
    geodesic: bool | None = None,
    even_odd: bool = True,
) -> Geometry:
    """A box from two opposite corners, flat or as pairs."""
    x, y = zip(*_points(coordinates), strict=True)
    return _built(shapely.box(min(x), min(y), max(x), max(y)), crs, geodesic=geodesic)


@function("GeometryConstructors.BBox")
def bbox(west: float, south: float, east: float, north: float) -> Geometry:
    """A box in degrees."""
    return Geometry(shapely.box(west, south, east, north), geodesic=False)


@function("Geometry.bounds")
def bounds(geometry: Geometry, max_error: object = None, proj: Projection | None = None) -> Geometry:
    """The box around a geometry, in degrees or another CRS."""
    moved = geometry.to(LON_LAT if proj is None else proj.crs)
    return Geometry(shapely.envelope(moved.shape), moved.crs, geodesic=False)


@function("Geometry.buffer")
def buffer(
    geometry: Geometry, distance: float, max_error: object = None, proj: Projection | None = None
) -> Geometry:
    """Everything within a distance in metres, or in units of a projection."""
    moved = geometry.to(local_metres(geometry) if proj is None else proj.crs)
    grown = Geometry(shapely.buffer(moved.shape, distance), moved.crs)
    return grown if proj is not None else grown.to(LON_LAT)


@function("Geometry.centroid")
def centroid(geometry: Geometry, max_error: object = None, proj: Projection | None = None) -> Geometry:
    """The middle."""
    moved = geometry.to(local_metres(geometry) if proj is None else proj.crs)
    middle = Geometry(shapely.centroid(moved.shape), moved.crs)
    return middle if proj is not None else middle.to(LON_LAT)


@function("Geometry.convexHull")
def convex_hull(geometry: Geometry, max_error: object = None, proj: Projection | None = None) -> Geometry:
    """The convex hull."""
    moved = geometry if proj is None else geometry.to(proj.crs)
    return Geometry(shapely.convex_hull(moved.shape), moved.crs, geodesic=moved.geodesic)


@function("Geometry.transform")
def transform(
    geometry: Geometry,
    proj: Projection | None = None,
    max_error: object = None,
    *,
    geodesic: bool | None = None,
) -> Geometry:
    """The same place in another CRS."""
    return geometry.to(LON_LAT if proj is None else proj.crs)


@function("Geometry.coordinates")
def coordinates(geometry: Geometry) -> list[Any]:
    """Coordinates as in GeoJSON."""
    return list(geometry.geojson()["coordinates"])


@function("Geometry.type")
def geometry_type(geometry: Geometry) -> str:
    """Type as in GeoJSON."""
    return str(geometry.shape.geom_type)


@function("Geometry.projection")
def geometry_projection(geometry: Geometry) -> Projection:
    """The CRS of the coordinates."""
    return Projection(geometry.crs)


@function("Geometry.area")
def area(geometry: Geometry, max_error: object = None, proj: Projection | None = None) -> float:
    """Square metres on the ellipsoid, or square units of a projection."""
    return geometry.area_m2() if proj is None else float(geometry.to(proj.crs).shape.area)


@function("Geometry.perimeter", "Geometry.length")
def perimeter(geometry: Geometry, max_error: object = None, proj: Projection | None = None) -> float:
    """Metres on the ellipsoid, or units of a projection."""
    return geometry.length_m() if proj is None else float(geometry.to(proj.crs).shape.length)


def _publish_relation(name: str, relation: Callable[[Any, Any], Any]) -> None:
    @function(f"Geometry.{name}")
    def relate(
        left: Geometry, right: Geometry, max_error: object = None, proj: Projection | None = None
    ) -> bool:
        """A relation of two places, in degrees; the error margin is zero."""
        return left.compare(relation, right)


for _name, _relation in (
    ("intersects", shapely.intersects),
    ("contains", shapely.contains),
    ("containedIn", shapely.within),
):
    _publish_relation(_name, _relation)


@function("Geometry.disjoint")
def disjoint(
    left: Geometry, right: Geometry, max_error: object = None, proj: Projection | None = None
) -> bool:
    """Whether two places have no point in common."""
    return not left.compare(shapely.intersects, right)


def _publish_combination(name: str, combine: Callable[[Any, Any], BaseGeometry]) -> None:
    @function(f"Geometry.{name}")
    def combined(
        left: Geometry, right: Geometry, max_error: object = None, proj: Projection | None = None
    ) -> Geometry:
        """Two places combined, in degrees or another CRS."""
        crs = LON_LAT if proj is None else proj.crs
        return Geometry(combine(left.to(crs).shape, right.to(crs).shape), crs)


for _name, _combine in (
    ("intersection", shapely.intersection),
    ("union", shapely.union),
    ("difference", shapely.difference),
    ("symmetricDifference", shapely.symmetric_difference),
):
    _publish_combination(_name, _combine)


@function("Projection")
def projection(
    crs: object, transform: list[Any] | None = None, transform_wkt: str | None = None
) -> Projection:
    """A CRS with an affine."""
    code = crs.crs if isinstance(crs, Projection) else str(crs)
    if transform_wkt is not None:
        raise Refusal("The sandbox takes a transform as 6 numbers, not as WKT.")
    made = Projection(code, IDENTITY if transform is None else affine_of(transform))
    if not np.isfinite(made.metres_per_unit):
        raise Refusal(f"The CRS '{code}' has no unit.")
    return made


@function("Projection.crs")
def crs_of(projection: Projection) -> str:
    """Authority code."""
    return projection.crs


@function("Projection.nominalScale")
def nominal_scale(proj: Projection) -> float:
    """Size of a pixel in metres."""
    return proj.nominal_scale_m


@function("Projection.atScale")
def at_scale(projection: Projection, meters: float) -> Projection:
    """The same CRS with pixels of this size."""
    return projection.at_scale(meters)


@function("Projection.transform")
def transform_wkt(projection: Projection) -> str:
    """The affine as WKT."""
    a, b, c, d, e, f = projection.transform
    numbers = {"0_0": a, "0_1": b, "0_2": c, "1_0": d, "1_1": e, "1_2": f}
    parameters = ", ".join(f'PARAMETER["elt_{name}", {value}]' for name, value in numbers.items())
    return f'PARAM_MT["Affine", PARAMETER["num_row", 3.0], PARAMETER["num_col", 3.0], {parameters}]'


@function("ErrorMargin")
def error_margin(value: float | None = None, unit: str = "meters") -> dict[str, Any]:
    """How exact geometry has to be; accepted, never used."""
    return {"type": "ErrorMargin", "value": value, "unit": unit}
