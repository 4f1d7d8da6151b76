"""Server functions that look at the pixels of a region."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import shapely

from sandbox.functions.binding import Registry
from sandbox.functions.images import placed
from sandbox.geometries import Geometry, Projection
from sandbox.images import Feature, Image, PixelGrid
from sandbox.reducers import Reducer
from sandbox.refusals import Refusal
from sandbox.resampling import inside

registry = Registry()
function = registry.function

MAX_RECTANGLE_PX = 262_144
"""Largest region of `sampleRectangle` in pixels (believed, not documented)."""


def region_grid(geometry: Geometry, projection: Projection) -> PixelGrid:
    """The smallest window of a projection's pixels that holds a geometry.

    Raises
    ------
    Refusal
        If the projection is sheared.
    """
    a, b, c, d, e, f = projection.transform
    if b or d:
        raise Refusal("The sandbox takes regions on grids without shear only.")
    x_min, y_min, x_max, y_max = geometry.to(projection.crs).shape.bounds
    columns = sorted(((x_min - c) / a, (x_max - c) / a))
    rows = sorted(((y_min - f) / e, (y_max - f) / e))
    left, top = math.floor(columns[0] + 1e-6), math.floor(rows[0] + 1e-6)
    width, height = math.ceil(columns[1] - 1e-6) - left, math.ceil(rows[1] - 1e-6) - top
    corner = (a, b, c + a * left, d, e, f + e * top)
    return PixelGrid(Projection(projection.crs, corner), max(width, 1), max(height, 1))


def _place_of(image: Image, geometry: Geometry | None) -> Geometry:
    place = geometry or image.geometry
    if place is None:
        raise Refusal("The image is unbounded: a region is required.")
    return place


def _projection_of(image: Image, crs: Projection | None) -> Projection:
    return image.bands[0].projection if crs is None else crs


@function("Image.reduceRegion")
def reduce_region(
    image: Image,
    reducer: Reducer,
    *,
    geometry: Geometry | None = None,
    scale: float | None = None,
    crs: Projection | None = None,
    crs_transform: list[Any] | None = None,
    best_effort: bool = False,
    max_pixels: float = 1e7,
    tile_scale: float = 1.0,
) -> dict[str, Any]:
    """A reducer over the pixels whose centre lies in a region, for each band; pixels weigh alike."""
    place = _place_of(image, geometry)
    grid = region_grid(place, placed(_projection_of(image, crs), crs_transform, scale))
    if grid.width * grid.height > max_pixels:
        raise Refusal(
            f"Too many pixels in the region. Found {grid.width * grid.height}, but maxPixels allows only "
            f"{max_pixels:g}. Ensure that you are not aggregating at a higher resolution than you intended."
        )
    within, results = inside(place, grid), {}
    for band in image.bands:
        pixels = band.read(grid)
        values = pixels.values[within & (pixels.mask > 0)].tolist()
        found = reducer.named([(value,) for value in values])
        single = len(found) == 1
        results.update({band.name if single else f"{band.name}_{key}": value for key, value in found.items()})
    return results


@function("Image.sampleRectangle")
def sample_rectangle(
    image: Image,
    region: Geometry | None = None,
    properties: list[Any] | None = None,
    default_value: float | None = None,
    default_array_value: object = None,
) -> Feature:
    """The pixels of a region as lists, a property for each band."""
    place = _place_of(image, region)
    grid = region_grid(place, _projection_of(image, None))
    if grid.width * grid.height > MAX_RECTANGLE_PX:
        raise Refusal(f"Too many pixels in sample: {grid.width * grid.height}; at most {MAX_RECTANGLE_PX}.")
    arrays: dict[str, Any] = {name: image.get(str(name)) for name in properties or ()}
    for band in image.bands:
        pixels = band.read(grid)
        if default_value is None and not np.all(pixels.mask):
            raise Refusal(
                f"Fully or partially masked pixels in band '{band.name}'; use unmask or 'defaultValue'."
            )
        arrays[band.name] = np.where(pixels.mask > 0, pixels.values, default_value or 0).tolist()
    return Feature(arrays, geometry=place)


@function("Image.clipToBoundsAndScale")
def clip_to_bounds_and_scale(
    input_: Image,
    *,
    geometry: Geometry | None = None,
    width: int | None = None,
    height: int | None = None,
    max_dimension: int | None = None,
    scale: float | None = None,
) -> Image:
    """Fixes the extent and the size of a download; pixels are sampled when it is fetched."""
    place = _place_of(input_, geometry)
    native = _projection_of(input_, None)
    grid = region_grid(place, native if scale is None else native.at_scale(scale))
    if width is None and height is None and max_dimension is None:
        return replace(input_, grid=grid)
    bounds = shapely.bounds(place.to(native.crs).shape)
    span_x, span_y = float(bounds[2] - bounds[0]), float(bounds[3] - bounds[1])
    if width is None and height is None:
        longest = max(span_x, span_y)
        width = max(1, round((max_dimension or 1) * span_x / longest))
    width = width or max(1, round((height or 1) * span_x / span_y))
    height = height or max(1, round(width * span_y / span_x))
    fitted = (span_x / width, 0.0, float(bounds[0]), 0.0, -span_y / height, float(bounds[3]))
    return replace(input_, grid=PixelGrid(Projection(native.crs, fitted), width, height))
