"""What lies around a patch, in degrees: a little more than the patch, so that whatever is cut off can't be seen in it.

Cutting keeps projecting and burning cheap, whether a forest is a hectare or a country.
"""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from builders.outlines import outlines
from builders.polygons import Geometries, only_polygons
from noldo.grids import Grid

MARGIN_DEG = 0.001
"""Added on each side: 111 m, and 11 m from west to east at 84 degrees. The outline is within half a metre of the true
edge (`builders.outlines`), and the outermost pixel centres lie 5 m inside of that."""


def surroundings(grids: Sequence[Grid]) -> Geometries:
    """Box in degrees around each patch; axis (patch,). Around a patch across the antimeridian: two boxes in one."""
    found: Geometries = np.empty(len(grids), dtype=object)
    for position, shape in enumerate(outlines(grids)):
        found[position] = _box(shape)
    return found


def _box(shape: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    _, south, _, north = shape.bounds
    low, high = south - MARGIN_DEG, north + MARGIN_DEG
    parts = [part.bounds for part in shapely.get_parts(shape)]
    boxes = [
        shapely.box(max(west - MARGIN_DEG, -180.0), low, min(east + MARGIN_DEG, 180.0), high)
        for west, _, east, _ in parts
    ]
    return boxes[0] if len(boxes) == 1 else MultiPolygon(boxes)


def cut(geometries: Geometries, boxes: Geometries) -> Geometries:
    """What of each polygon lies in its box; axis (polygon,) for both.

    Parameters
    ----------
    geometries
        Valid polygons.
    boxes
        Of `surroundings`.

    Returns
    -------
    Polygon or MultiPolygon each; None where at most an edge is shared.
    """
    pieces = geometries.copy()
    reaches_out = ~_within(shapely.bounds(geometries), shapely.bounds(boxes))
    reaches_out |= shapely.get_type_id(boxes) == shapely.GeometryType.MULTIPOLYGON
    pieces[reaches_out] = only_polygons(shapely.intersection(geometries[reaches_out], boxes[reaches_out]))
    return pieces


def _within(inner: NDArray[np.float64], outer: NDArray[np.float64]) -> NDArray[np.bool_]:
    low: NDArray[np.bool_] = np.all(inner[:, :2] >= outer[:, :2], axis=1)
    high: NDArray[np.bool_] = np.all(inner[:, 2:] <= outer[:, 2:], axis=1)
    return low & high
