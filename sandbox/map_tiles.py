"""Expressions that are kept to be fetched later: map layers, tile by tile, and downloads.

Expressions are evaluated when they are fetched, and the oldest are forgotten. There are no overviews: a tile
that would need more than `resampling.MAX_WINDOW_PX` source pixels is transparent (zoom in).
"""

import hashlib
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from sandbox.geometries import Projection
from sandbox.images import Image, PixelGrid
from sandbox.pixels_out import band_choice, picture, png
from sandbox.refusals import Refusal

KEPT = 256
"""Expressions of each kind that are remembered."""

TILE_PX = 256
WEB_MERCATOR = "EPSG:3857"
HALF_WORLD_M = math.pi * 6_378_137.0
"""Half the width of the square map of Web Mercator (EPSG:3857), in metres."""

MAX_ZOOM = 24


class Shelf:
    """Request bodies by a name made from their content."""

    def __init__(self, *, kept: int = KEPT) -> None:
        self._kept = kept
        self._bodies: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, body: Mapping[str, Any]) -> str:
        """Keep a body; the same body gets the same name."""
        name = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]
        with self._lock:
            self._bodies[name] = body
            self._bodies.move_to_end(name)
            while len(self._bodies) > self._kept:
                self._bodies.popitem(last=False)
        return name

    def get(self, name: str) -> Mapping[str, Any]:
        """The body of this name.

        Raises
        ------
        Refusal
            If it is unknown or forgotten.
        """
        with self._lock:
            body = self._bodies.get(name)
        if body is None:
            raise Refusal(f"'{name}' not found.", status=404)
        return body


def tile_grid(zoom: int, column: int, row: int) -> PixelGrid:
    """Pixels of a tile of the usual web map.

    Raises
    ------
    Refusal
        If there is no such tile.
    """
    if not (0 <= zoom <= MAX_ZOOM and 0 <= column < 2**zoom and 0 <= row < 2**zoom):
        raise Refusal(f"Tile {zoom}/{column}/{row} does not exist.", status=404)
    side = 2 * HALF_WORLD_M / 2**zoom
    pixel = side / TILE_PX
    corner = (pixel, 0.0, -HALF_WORLD_M + column * side, 0.0, -pixel, HALF_WORLD_M - row * side)
    return PixelGrid(Projection(WEB_MERCATOR, corner), TILE_PX, TILE_PX)


def tile(image: Image, body: Mapping[str, Any], grid: PixelGrid) -> bytes:
    """A PNG of one tile; transparent where too much would have to be read."""
    try:
        return png(picture(band_choice(body, image), grid))
    except Refusal as refusal:
        if "memory limit" not in refusal.message:
            raise
        return png(np.zeros((grid.height, grid.width, 4), np.uint8))
