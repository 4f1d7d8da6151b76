"""Keeps patch centres apart: accepts places one after another, each only if no accepted one is nearer.

Distances are measured between points in space (WGS84, earth-centred), so that nothing happens at the
antimeridian or towards the poles. Over a few kilometres the straight line is shorter than the
geodesic by less than a millimetre; over long ones it is converted on a sphere (within 0.5 %).
"""

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SEMI_MAJOR_AXIS_M = 6_378_137.0
ECCENTRICITY_SQUARED = 6.694_379_990_141e-3
"""WGS84 ellipsoid (NGA.STND.0036)."""

MEAN_RADIUS_M = 6_371_008.8
"""Mean radius of WGS84 (IUGG)."""

_ROW = 1 << 40
_PLANE = 1 << 80
_NEIGHBOURS = tuple(x + y * _ROW + z * _PLANE for x, y, z in product((0, -1, 1), repeat=3))


def earth_centred(lon: Floats, lat: Floats) -> Floats:
    """Points on the WGS84 ellipsoid in metres; axes (place, xyz)."""
    lam, phi = np.radians(lon), np.radians(lat)
    normal = SEMI_MAJOR_AXIS_M / np.sqrt(1 - ECCENTRICITY_SQUARED * np.sin(phi) ** 2)
    return np.stack(
        [
            normal * np.cos(phi) * np.cos(lam),
            normal * np.cos(phi) * np.sin(lam),
            normal * (1 - ECCENTRICITY_SQUARED) * np.sin(phi),
        ],
        axis=-1,
    )


def _chord_m(distance_m: float) -> float:
    angle = distance_m / MEAN_RADIUS_M
    if angle < 1e-3:  # the sphere is needed only where the straight line is noticeably shorter
        return distance_m
    return 2 * MEAN_RADIUS_M * math.sin(angle / 2) if angle < math.pi else math.inf


class Spacing:
    """The places accepted so far, in cubes as wide as the distance to keep.

    Whatever is too near to a place lies in its cube or in one of the 26 around it.
    """

    def __init__(self, distance_m: float) -> None:
        """Keep centres `distance_m` metres apart; 0 lets everything pass."""
        self._chord_m = _chord_m(distance_m)
        self._cubes: dict[int, list[tuple[float, float, float, int]]] = {}
        self._count = 0

    def cubes(self, points: Floats) -> list[int]:
        """Number of the cube of each point; axes of `points` (place, xyz), metres."""
        if self._chord_m == 0:
            return [0] * len(points)
        cells = np.floor(points / self._chord_m).astype(np.int64)
        return [x + y * _ROW + z * _PLANE for x, y, z in cells.tolist()]

    def accept(self, point: tuple[float, float, float], cube: int) -> int | None:
        """Take in a point unless an earlier one is too near.

        Parameters
        ----------
        point
            Earth-centred x, y, z in metres.
        cube
            Its entry of `cubes`.

        Returns
        -------
        None if it was accepted; else the rank (0, 1, ... in order of acceptance) of one that is too near.
        """
        x, y, z = point
        limit = self._chord_m * self._chord_m
        if limit:
            for step in _NEIGHBOURS:
                for other_x, other_y, other_z, rank in self._cubes.get(cube + step, ()):
                    if (x - other_x) ** 2 + (y - other_y) ** 2 + (z - other_z) ** 2 < limit:
                        return rank
            self._cubes.setdefault(cube, []).append((x, y, z, self._count))
        self._count += 1
        return None
