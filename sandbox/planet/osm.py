"""The synthetic Earth's OpenStreetMap: its land cover as people map it, with what they leave out and get wrong.

A pure function of place, seed and UTM zone: each zone has a map of its own, on its own raster, and a query is answered
from the map of the zone that its centre lies in.
"""

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from noldo.errors import InputError
from noldo.grids import Grid, utm_epsg
from noldo.products import UNLABELLED
from sandbox.osm_elements import Elements, Node, OsmData, Relation, Way
from sandbox.planet.lattice import PIXEL_M, central_meridian, row_origin_m, to_zone, unwrapped, window_of
from sandbox.planet.osm_noise import noise_of
from sandbox.planet.osm_parcels import Cell, cells_in, parcels_of
from sandbox.planet.osm_shapes import areas_of

MOST_CELLS = 3600
"""A query of more cells (about 160 x 160 km) is refused, as Overpass refuses what takes too long."""

_DENSE_DEG = 0.05
_MARGIN_PX = 2


class SyntheticOsm:
    """`sandbox.osm_elements.OsmData` of the synthetic Earth. Nothing is stored but bounded caches."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def near(self, polygon: BaseGeometry) -> Elements:
        """Every element of the cells that the polygon's bounding box touches.

        Parameters
        ----------
        polygon
            Degrees, lon lat; not empty.

        Raises
        ------
        InputError
            If its centre lies outside UTM, or it is too large.
        """
        nodes: dict[int, Node] = {}
        ways: dict[int, Way] = {}
        relations: dict[int, Relation] = {}
        for cell in _cells_near(polygon):
            for part in (areas_of(cell, seed=self._seed), noise_of(cell, seed=self._seed)):
                nodes.update(part.nodes)
                ways.update(part.ways)
                relations.update(part.relations)
        return Elements(nodes, ways, relations)


def expected_osm(grid: Grid, *, seed: int) -> npt.NDArray[np.uint8]:
    """What a reader of the map gets on a patch in the patch's own zone.

    Returns
    -------
    uint8 (y, x): ids of `noldo.legend.OSM_LAND_USE`, 255 where nothing is drawn.
    """
    window = window_of(grid)
    right, bottom = window.column + window.width, window.row + window.height
    classes = np.full((window.height, window.width), UNLABELLED, np.uint8)
    for cell in cells_in(grid.crs_epsg, columns=(window.column, right - 1), rows=(window.row, bottom - 1)):
        own = cell.window
        top, left = max(own.row, window.row), max(own.column, window.column)
        end_row, end_column = min(own.row + own.height, bottom), min(own.column + own.width, right)
        drawn = parcels_of(cell, seed=seed).classes
        classes[
            top - window.row : end_row - window.row, left - window.column : end_column - window.column
        ] = drawn[top - own.row : end_row - own.row, left - own.column : end_column - own.column]
    return classes


def _cells_near(polygon: BaseGeometry) -> list[Cell]:
    centre = polygon.centroid
    crs_epsg = utm_epsg((centre.x + 180.0) % 360.0 - 180.0, centre.y)
    lon, lat = shapely.get_coordinates(shapely.segmentize(polygon, _DENSE_DEG)).T
    x, y = to_zone(crs_epsg).transform(unwrapped(lon, around=central_meridian(crs_epsg)), lat)
    columns = np.asarray(x) / PIXEL_M
    rows = (row_origin_m(crs_epsg) - np.asarray(y)) / PIXEL_M
    if not (np.isfinite(columns).all() and np.isfinite(rows).all()):
        raise InputError(
            f"an area around lon {centre.x:.4f}, lat {centre.y:.4f} leaves UTM; ask for a smaller one"
        )
    (left, right), (top, bottom) = (
        (int(axis.min()) - _MARGIN_PX, int(axis.max()) + _MARGIN_PX) for axis in (columns, rows)
    )
    cells = cells_in(crs_epsg, columns=(left, right), rows=(top, bottom))
    if len(cells) > MOST_CELLS:
        raise InputError(
            f"an area of {len(cells)} cells around lon {centre.x:.4f}, lat {centre.y:.4f}; expected at most "
            f"{MOST_CELLS}, about 160 x 160 km; ask for smaller ones"
        )
    return cells


def _fits_the_contract() -> OsmData:
    return SyntheticOsm()
