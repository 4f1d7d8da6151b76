"""Polygons to pixels: a class for every pixel whose centre a polygon covers.

Where polygons overlap, the smaller one is seen (Schultz et al. 2017, doi 10.1016/j.jag.2017.07.014), or that of the
more important class (Fonte et al. 2016). Class ids are never resampled: polygons are burnt on the patch's own grid.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from builders.areas import Area
from builders.polygons import Geometries, clean_polygons
from builders.surroundings import cut, surroundings
from noldo.errors import InputError
from noldo.grids import Grid
from noldo.products import UNLABELLED

MAX_SEGMENT_DEG = 0.001
"""Longest piece of an edge that is projected as a straight line: at most 111 m.

An edge is straight in degrees, and slightly curved in its UTM zone. The chord of a piece of L metres leaves the curve
by at most L^2 / (8 R) x tan(latitude): 2 mm at 84 degrees, where OpenStreetMap itself rounds to a centimetre."""


Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Burnt:
    """Labels of one patch, and what became of the areas they were made from."""

    labels: Labels
    """(y, x): class ids of `noldo.legend.OSM_LAND_USE`; 255 where there is no area."""
    num_areas: int
    """Areas given: the sum of the next three."""
    num_burnt: int
    """Areas that reach into the patch's surroundings; one may cover no pixel centre, or none that is seen."""
    num_outside: int
    """Areas that lie elsewhere."""
    num_dropped: int
    """Areas without a surface, even after a repair."""
    num_repaired: int
    """Areas that were invalid and are used as repaired."""
    num_split: int
    """Areas that ran across the antimeridian in one piece."""
    num_enclosing: int
    """Areas that cover the whole patch."""


def burn(areas: Sequence[Area], grid: Grid, *, priorities: Mapping[int, int] | None = None) -> Burnt:
    """Labels of a patch from the areas around it; their order does not matter.

    Parameters
    ----------
    areas
        Longitude and latitude in degrees. They may be cut off outside of the patch's surroundings.
    grid
        The patch.
    priorities
        None: where areas overlap, the smaller one is seen; of equal ones a way before a relation, then the lower
        id. Otherwise class id to rank: the lower rank is seen, and the smaller area within a rank
        (`builders.tag_table.ranked`).

    Raises
    ------
    InputError
        If a class has no priority.
    """
    ordered = sorted(areas, key=_order(priorities), reverse=True)  # what is seen is burnt last
    cleaned = clean_polygons([area.geometry for area in ordered])
    (box,) = surroundings([grid])
    there = ~cleaned.dropped
    near = there & shapely.intersects(cleaned.geometries, box)
    pieces: Geometries = np.full(len(ordered), None, dtype=object)
    pieces[near] = cut(cleaned.geometries[near], np.full(int(near.sum()), box, dtype=object))
    burnt = ~shapely.is_missing(pieces)
    return Burnt(
        labels=rasterize(
            project(pieces[burnt], crs_epsg=grid.crs_epsg),
            [area.class_id for area, is_burnt in zip(ordered, burnt.tolist(), strict=True) if is_burnt],
            transform=grid.transform(),
            shape=grid.shape(),
        ),
        num_areas=len(ordered),
        num_burnt=int(burnt.sum()),
        num_outside=int((there & ~burnt).sum()),
        num_dropped=int(cleaned.dropped.sum()),
        num_repaired=int(cleaned.repaired.sum()),
        num_split=int(cleaned.split.sum()),
        num_enclosing=int(shapely.equals(pieces[burnt], box).sum()),
    )


def _order(priorities: Mapping[int, int] | None) -> Callable[[Area], tuple[float, ...]]:
    if priorities is None:
        return lambda area: (*area.order, area.class_id)

    def by_rank(area: Area) -> tuple[float, ...]:
        if area.class_id not in priorities:
            raise InputError(
                f"{area.osm_type} {area.osm_id}: class {area.class_id} has no priority, expected one of "
                f"{sorted(priorities)}; use the priorities of the table that the classes come from"
            )
        return (priorities[area.class_id], *area.order)

    return by_rank


def project(geometries: Geometries, *, crs_epsg: int) -> Geometries:
    """Polygons in degrees to metres of a UTM zone, with points added along long edges (`MAX_SEGMENT_DEG`).

    A polygon across the border of the zone is projected as a whole: UTM goes on beyond its zones.
    """
    if not len(geometries):
        return geometries
    fine = shapely.segmentize(geometries, MAX_SEGMENT_DEG)
    projected: Geometries = shapely.transform(fine, _to_zone(crs_epsg))
    return projected


@cache
def _to_zone(crs_epsg: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    transformer = pyproj.Transformer.from_crs("OGC:CRS84", crs_epsg, always_xy=True)

    def to_zone(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)

    return to_zone


def rasterize(
    geometries: Sequence[BaseGeometry] | Geometries,
    values: Sequence[int],
    *,
    transform: tuple[float, float, float, float, float, float],
    shape: tuple[int, int],
) -> Labels:
    """Burn polygons that are in the coordinates of the grid already; the last one is seen.

    Parameters
    ----------
    geometries
        Not empty; axis (polygon,).
    values
        0..254, one a polygon.
    transform
        Affine (a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f.
    shape
        (rows, columns); pixels need not be square.

    Returns
    -------
    (y, x): the value of the last polygon that covers the pixel's centre, 255 where there is none.
    """
    from rasterio.features import rasterize as rasterize_shapes

    if not len(geometries):
        return np.full(shape, UNLABELLED, dtype=np.uint8)
    labels: Labels = rasterize_shapes(
        zip(_geojson(geometries), values, strict=True),
        out_shape=shape,
        fill=UNLABELLED,
        transform=Affine(*transform),
        all_touched=False,
        dtype="uint8",
    )
    return labels


def _geojson(geometries: Sequence[BaseGeometry] | Geometries) -> list[dict[str, object]]:
    """Polygons as rasterio reads them: made here from all points at once, because a shape of shapely gives them one by one.

    A geometry becomes a MultiPolygon where another one is; the pixels are the same.
    """
    kind, points, offsets = shapely.to_ragged_array(geometries)
    nested = points.tolist()
    for ends in offsets:
        nested = [nested[first:stop] for first, stop in pairwise(ends.tolist())]
    name = "Polygon" if kind == shapely.GeometryType.POLYGON else "MultiPolygon"
    return [{"type": name, "coordinates": one} for one in nested]
