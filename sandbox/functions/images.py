"""Server functions that place images on other pixels, and put images together."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, get_args

from sandbox.elements import Collection
from sandbox.functions.bands import add_bands, select, unique
from sandbox.functions.binding import Registry
from sandbox.functions.geometry import affine_of
from sandbox.geometries import LON_LAT, Projection
from sandbox.images import Image, LazyBand, PixelGrid, Pixels, common_type, constant_image, image_of, masked
from sandbox.refusals import Refusal
from sandbox.resampling import Mode, resample, window_of

registry = Registry()
function = registry.function


def _on(band: LazyBand, projection: Projection, mode: Mode) -> LazyBand:
    """A band whose pixels are those of a projection, taken to other grids by a mode."""
    window = window_of(band.read, projection)

    def read(grid: PixelGrid) -> Pixels:
        return resample(window, projection=projection, size=None, dtype=band.dtype, grid=grid, mode=mode)

    return band.with_read(read, projection=projection)


@function("Image.resample")
def resample_image(image: Image, mode: str = "bilinear") -> Image:
    """Other grids get interpolated pixels of the default projection."""
    if mode not in get_args(Mode):
        raise Refusal(f"The sandbox interpolates 'bilinear' or 'nearest', not '{mode}'.")
    chosen: Mode = "bilinear" if mode == "bilinear" else "nearest"
    return image.each_band(lambda band: replace(_on(band, band.projection, chosen), size=band.size))


@function("Image.reproject")
def reproject(
    image: Image, crs: Projection, crs_transform: list[Any] | None = None, scale: float | None = None
) -> Image:
    """Computed on the pixels of a projection, then sampled by the nearest."""
    target = placed(crs, crs_transform, scale)
    return image.each_band(lambda band: replace(_on(band, target, "nearest"), size=None))


def placed(crs: Projection, crs_transform: list[Any] | None, scale: float | None) -> Projection:
    """A projection with another transform, or another scale."""
    if crs_transform is not None and scale is not None:
        raise Refusal("Cannot specify both 'crsTransform' and 'scale'.")
    if crs_transform is not None:
        return Projection(crs.crs, affine_of(crs_transform))
    return crs if scale is None else crs.at_scale(scale)


@function("Image.setDefaultProjection")
def set_default_projection(
    image: Image, crs: Projection, crs_transform: list[Any] | None = None, scale: float | None = None
) -> Image:
    """Another default projection; pixels stay."""
    target = placed(crs, crs_transform, scale)
    return image.each_band(lambda band: replace(band, projection=target, size=None))


@function("ImageCollection.mosaic")
def mosaic(collection: Collection) -> Image:
    """The last image on top; footprint, id and projection are lost (EPSG:4326 at 1 degree)."""

    def bands() -> list[LazyBand]:
        layers = [image.bands for image in collection.elements if isinstance(image, Image)]
        return [_stacked([bands[n] for bands in layers]) for n in range(min(map(len, layers), default=0))]

    return image_of(bands)


def _stacked(layers: Sequence[LazyBand]) -> LazyBand:
    dtype = reduce(common_type, (layer.dtype for layer in layers))

    def read(grid: PixelGrid) -> Pixels:
        result = masked(grid, dtype)
        values, seen = result.values, result.mask
        for layer in reversed(layers):
            if seen.all():
                break
            pixels = layer.read(grid)
            take = ~seen & (pixels.mask > 0)
            values[take] = pixels.values[take]
            seen |= take
        return Pixels(values, seen)

    return layers[0].with_read(read, dtype=dtype, projection=Projection(LON_LAT), size=None, footprint=None)


@function("ImageCollection.toBands")
def to_bands(collection: Collection) -> Image:
    """The bands of all images; names get the image's index as prefix."""

    def bands() -> list[LazyBand]:
        return unique(
            replace(band, name=f"{image.get('system:index')}_{band.name}")
            for image in collection.elements
            if isinstance(image, Image)
            for band in image.bands
        )

    return image_of(bands)


@function("Image.linkCollection")
def link_collection(
    input_: Image,
    image_collection: Collection,
    linked_bands: object = None,
    linked_properties: object = None,
    match_property_name: str = "system:index",
) -> Image:
    """Bands and properties of the first image of a collection with an equal property; masked if none has."""
    key = input_.get(match_property_name)
    candidates = [one for one in image_collection.elements if isinstance(one, Image)]
    match = next((one for one in candidates if one.get(match_property_name) == key), None)
    linked = input_
    if linked_bands is not None:
        names = linked_bands if isinstance(linked_bands, list) else [linked_bands]
        source = match or _nowhere(candidates, names)
        linked = replace(add_bands(linked, select(source, names)), id=None)
    if linked_properties is not None and match is not None:
        wanted = linked_properties if isinstance(linked_properties, list) else [linked_properties]
        linked = linked.with_properties({str(name): match.get(str(name)) for name in wanted})
    return linked


def _nowhere(candidates: Sequence[Image], names: Sequence[Any]) -> Image:
    """Masked bands of the collection's kind."""
    if candidates:
        return candidates[0].each_band(lambda band: band.with_read(lambda grid: masked(grid, band.dtype)))
    empty = constant_image(dict.fromkeys(map(str, names), 0))
    return empty.each_band(lambda band: band.with_read(lambda grid: masked(grid, band.dtype)))
