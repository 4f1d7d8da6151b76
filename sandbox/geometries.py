"""Geometries and projections as the expression graph knows them.

Edges of a projected geometry are straight in its own CRS; they are cut into 1 km pieces before they are
turned into degrees, or they would cut corners. Edges given in degrees are straight in degrees: at the size
of a patch the difference to a geodesic is far below a pixel.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from sandbox.lazy import lazy
from sandbox.refusals import Refusal

Affine = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f."""

Bounds = tuple[float, float, float, float]
"""(x_min, y_min, x_max, y_max)."""

LON_LAT = "EPSG:4326"
DEGREE_M = 6_378_137.0 * np.pi / 180.0
"""Metres in a degree of the equator (WGS84), Earth Engine's nominal size of a degree."""

EDGE_M = 1000.0
"""Longest piece of an edge before a change of CRS, in metres."""

ANTIMERIDIAN = 176.0
"""Degrees of longitude beyond which a shape may be written on either side of 180: a scene is under 4 wide."""

IDENTITY: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
WORLD: Bounds = (-180.0, -90.0, 180.0, 90.0)
_GEOD = Geod(ellps="WGS84")


@lru_cache(maxsize=512)
def _parsed(crs: str) -> CRS:
    try:
        return CRS.from_user_input(crs)
    except CRSError:
        raise Refusal(f"The CRS of a projection could not be parsed: {crs!r}.") from None


@lru_cache(maxsize=512)
def transformer(source: str, target: str) -> Transformer:
    """Thread-safe change of CRS with x first (pyproj keeps one context a thread).

    Raises
    ------
    Refusal
        If a CRS is unknown.
    """
    return Transformer.from_crs(_parsed(source), _parsed(target), always_xy=True)


@dataclass(frozen=True)
class Projection:
    """A CRS and the affine of its pixels."""

    crs: str
    """Authority code, e.g. `EPSG:32632`."""
    transform: Affine = IDENTITY

    @property
    def metres_per_unit(self) -> float:
        """Nominal size of one unit of the CRS in metres."""
        parsed = _parsed(self.crs)
        return float(DEGREE_M) if parsed.is_geographic else float(parsed.axis_info[0].unit_conversion_factor)

    @property
    def nominal_scale_m(self) -> float:
        """Size of a pixel in metres, the geometric mean of both sides."""
        a, b, _, d, e, _ = self.transform
        return float(np.sqrt(abs(a * e - b * d))) * self.metres_per_unit

    def at_scale(self, scale_m: float) -> "Projection":
        """The same axes with pixels of this size.

        Raises
        ------
        Refusal
            If the size is not positive.
        """
        if not scale_m > 0:
            raise Refusal(f"Scale must be positive, found {scale_m}.")
        size = scale_m / self.metres_per_unit
        sx = 1.0 if self.transform[0] >= 0 else -1.0
        sy = 1.0 if self.transform[4] >= 0 else -1.0
        return Projection(self.crs, (sx * size, 0.0, 0.0, 0.0, sy * size, 0.0))


@dataclass(frozen=True, eq=False)
class Geometry:
    """A shape with its CRS."""

    shape: BaseGeometry
    crs: str = LON_LAT
    geodesic: bool = True

    @lazy
    def lon_lat(self) -> BaseGeometry:
        """The shape in degrees, prepared for many comparisons."""
        return self._prepared(LON_LAT)

    def _prepared(self, crs: str) -> BaseGeometry:
        projected = self.to(crs).shape
        shapely.prepare(projected)
        return projected

    def to(self, crs: str) -> "Geometry":
        """The same place in another CRS."""
        if crs == self.crs:
            return self
        dense = self.shape if self.crs == LON_LAT else shapely.segmentize(self.shape, EDGE_M)
        change = transformer(self.crs, crs)

        def move(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            return np.column_stack(change.transform(points[:, 0], points[:, 1]))

        moved = shapely.transform(dense, move)
        return Geometry(moved, crs, geodesic=self.geodesic)

    @lazy
    def bounds(self) -> Bounds:
        """Box in degrees; the whole world for a shape without points."""
        box = self.lon_lat.bounds
        return WORLD if np.isnan(box[0]) else (float(box[0]), float(box[1]), float(box[2]), float(box[3]))

    @property
    def boxes(self) -> tuple[Bounds, ...]:
        """`bounds`, and the same box a turn around the Earth where it touches the antimeridian."""
        west, south, east, north = self.bounds
        turns = [0.0] + [360.0] * (west < -ANTIMERIDIAN) + [-360.0] * (east > ANTIMERIDIAN)
        return tuple((west + turn, south, east + turn, north) for turn in turns)

    def compare(self, relation: Callable[[BaseGeometry, BaseGeometry], Any], other: "Geometry") -> bool:
        """Whether a relation of shapely's holds, also across the antimeridian."""
        if relation(self.lon_lat, other.lon_lat):
            return True
        return any(
            relation(self.lon_lat, shapely.affinity.translate(other.lon_lat, xoff=box[0] - other.bounds[0]))
            for box in other.boxes[1:]
        )

    def area_m2(self) -> float:
        """Area on the ellipsoid in square metres."""
        area, _ = _GEOD.geometry_area_perimeter(shapely.orient_polygons(self.lon_lat))
        return abs(float(area))

    def length_m(self) -> float:
        """Length of the lines, or of the outline, on the ellipsoid in metres."""
        return float(_GEOD.geometry_length(self.lon_lat))

    def geojson(self) -> dict[str, Any]:
        """GeoJSON as Earth Engine answers it: lists, `geodesic`, and `crs` where it is not degrees."""
        tree: dict[str, Any] = {
            "type": self.shape.geom_type,
            **{key: _lists(value) for key, value in mapping(self.shape).items() if key != "type"},
        }
        if self.crs != LON_LAT:
            tree["crs"] = {"type": "name", "properties": {"name": self.crs}}
        tree["geodesic"] = self.geodesic
        return tree


def _lists(value: Any) -> Any:
    """Shapely's mapping has tuples; JSON and comparisons want lists."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, tuple | list) else value


def local_metres(geometry: Geometry) -> str:
    """The UTM zone of the middle of a geometry: a CRS in which distances are metres."""
    x_min, y_min, x_max, y_max = geometry.bounds
    zone = min(int(((x_min + x_max) / 2 + 180) // 6) + 1, 60)
    return f"EPSG:{(32600 if y_min + y_max >= 0 else 32700) + zone}"


def flat_numbers(coordinates: Sequence[Any]) -> Iterator[float]:
    """All numbers of nested coordinate lists, in order."""
    for item in coordinates:
        if isinstance(item, list | tuple):
            yield from flat_numbers(item)
        else:
            yield float(item)


def from_geojson(tree: dict[str, Any]) -> Geometry:
    """Read a GeoJSON geometry in degrees.

    Raises
    ------
    Refusal
        If it is no geometry.
    """
    try:
        return Geometry(shape(tree))
    except (AttributeError, KeyError, TypeError, ValueError, shapely.errors.ShapelyError):
        raise Refusal(f"Invalid GeoJSON geometry: {str(tree)[:120]}") from None
