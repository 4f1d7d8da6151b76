"""Areas of OpenStreetMap around tiles, made up: stars of 12 to 60 points, some large, some across the edge."""

import numpy as np
import shapely

from benchmarks.made_up_extract import star
from builders.areas import Area, equal_areas_m2
from builders.burn import project
from builders.outlines import outlines
from builders.polygons import Geometries
from builders.surroundings import cut, surroundings
from noldo.grids import Grid, snapped_grid
from noldo.legend import OSM_LAND_USE

REACH = 1.2
"""Centres lie in a box so many times as wide as the tile's."""


def tile_grids(num_tiles: int, *, size_px: int) -> list[Grid]:
    """Tiles side by side."""
    return [
        snapped_grid(500_000.0 + 6_000 * number, 5_300_000.0, crs_epsg=32_632, size_px=size_px)
        for number in range(num_tiles)
    ]


def areas_around(grid: Grid, num_areas: int, *, seed: int) -> list[Area]:
    generator = np.random.default_rng(seed)
    west, south, east, north = outlines([grid])[0].bounds
    centre = np.array([(west + east) / 2, (south + north) / 2])
    spread = REACH * np.array([east - west, north - south])
    shapes = np.array(
        [
            shapely.Polygon(
                star(
                    generator,
                    centre + spread * (generator.random(2) - 0.5),
                    0.0005 * (1 + generator.pareto(2.0)),
                )
            )
            for _ in range(num_areas)
        ],
        dtype=object,
    )
    return [
        Area("way", number + 1, number % len(OSM_LAND_USE.classes), area_m2, shape)
        for number, (shape, area_m2) in enumerate(zip(shapes, equal_areas_m2(shapes).tolist(), strict=True))
    ]


def in_metres(areas: list[Area], grid: Grid) -> list[tuple[shapely.Geometry, int]]:
    """Polygon and class of what lies around the tile, largest first: nothing is left to do but to burn them."""
    ordered = sorted(areas, key=lambda area: area.order, reverse=True)
    whole: Geometries = np.array([area.geometry for area in ordered], dtype=object)
    pieces = cut(whole, np.full(len(whole), surroundings([grid])[0], dtype=object))
    is_there = ~shapely.is_missing(pieces)
    classes = [area.class_id for area, there in zip(ordered, is_there.tolist(), strict=True) if there]
    return list(zip(project(pieces[is_there], crs_epsg=grid.crs_epsg), classes, strict=True))
