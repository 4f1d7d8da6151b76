"""Is there land in a patch? Coastlines of OpenStreetMap and GSHHG, offline.

The test is roaring-landmask's (MIT; its data are derived from OpenStreetMap, ODbL, and GSHHG, LGPL).
Lakes and rivers are land there, as in the published sampling, where only the sea is left out.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from builders.patches import Floats, Patches, outline

Bools = NDArray[np.bool_]
LandTest = Callable[[Floats, Floats], Bools]
"""Longitudes and latitudes in degrees to whether each is on land, or close to the shore; any shape."""

_EAST_END = 179.9999
"""The mask calls everything at exactly 180 degrees sea; 11 m aside it knows."""


@lru_cache(maxsize=1)
def land_test() -> LandTest:
    """The test with real coastlines. Loading takes 5 to 8 s and 1.4 GB at its peak, once a process."""
    from roaring_landmask import RoaringLandmask

    mask = RoaringLandmask.new()

    def is_land(lon: Floats, lat: Floats) -> Bools:
        x = np.clip(np.ascontiguousarray(lon, dtype=float).ravel(), -_EAST_END, _EAST_END)
        y = np.ascontiguousarray(lat, dtype=float).ravel()
        found: Bools = np.asarray(mask.contains_many(x, y), dtype=bool)
        return found.reshape(np.shape(lon))

    return is_land


def touches_land(patches: Patches, is_land: LandTest) -> Bools:
    """Whether each patch is on land or on a coast; axis (patch,).

    That is: its centre, a corner or the middle of an edge is on land. An island smaller than half a
    patch that lies between these nine points counts as sea.
    """
    found = np.array(is_land(patches.lon, patches.lat), dtype=bool)
    rest = np.flatnonzero(~found)
    if len(rest):
        lon, lat = outline([patches.grids[row] for row in rest.tolist()])
        found[rest] = is_land(lon, lat).any(axis=1)
    return found
