"""What the loopback Earth Engine serves: scenes with footprints, properties and bands on native grids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from shapely import Polygon


@dataclass(frozen=True)
class Band:
    """One band of a scene on its own grid."""

    name: str
    dtype: str
    """NumPy name: uint8, uint16, float32 or float64."""
    crs_epsg: int
    transform: tuple[float, float, float, float, float, float]
    """Affine (a, b, c, d, e, f) of the band's own grid, in metres; north up."""
    width: int
    height: int


@dataclass(frozen=True)
class SceneRecord:
    """One image of one collection."""

    collection: str
    """Earth Engine collection id, e.g. `COPERNICUS/S2_HARMONIZED`."""
    index: str
    """`system:index`."""
    time_start_ms: int
    """`system:time_start`, milliseconds since 1970-01-01 UTC."""
    footprint: Polygon
    """In lon/lat degrees."""
    properties: Mapping[str, str | int | float | list[str] | None]
    """As Earth Engine names them (MGRS_TILE, CLOUDY_PIXEL_PERCENTAGE, ...); a property may be absent."""


class Catalogue(Protocol):
    """A set of collections. Thread-safe; scenes are found by place and time and made on use."""

    def collections(self) -> frozenset[str]:
        """Ids of the collections served."""
        ...

    def find(
        self,
        collection: str,
        *,
        bounds: tuple[float, float, float, float],
        start_ms: int,
        end_ms: int,
    ) -> list[SceneRecord]:
        """Scenes whose footprint's bounding box meets `bounds` (lon_min, lat_min, lon_max, lat_max) and
        whose start lies in [start_ms, end_ms), ordered by (time, index)."""
        ...

    def scene(self, collection: str, index: str) -> SceneRecord | None:
        """The scene of this name, or None."""
        ...

    def bands(self, scene: SceneRecord) -> Sequence[Band]:
        """Its bands in the collection's order."""
        ...

    def read(
        self, scene: SceneRecord, band: str, *, column: int, row: int, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values (height, width) in the band's dtype, and a bool mask (True: observed), of a window of the
        band's own grid. The window may leave the image: masked there."""
        ...
