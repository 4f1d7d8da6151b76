"""Server functions of masks and footprints."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sandbox.functions.bands import paired
from sandbox.functions.binding import Registry
from sandbox.geometries import Geometry
from sandbox.images import Image, LazyBand, PixelGrid, Pixels, common_type, constant_image
from sandbox.resampling import inside

registry = Registry()
function = registry.function


@function("Image.mask")
def mask(image: Image, mask: Image | None = None) -> Image:
    """The mask of each band as 0 or 1; with a second image, the image under that mask alone."""
    if mask is not None:
        return update_mask(image.each_band(_unmasked), mask)

    def as_values(band: LazyBand) -> LazyBand:
        def read(grid: PixelGrid) -> Pixels:
            seen = band.read(grid).mask > 0
            return Pixels(seen.astype(np.uint8), np.ones(seen.shape, bool))

        return band.with_read(read, dtype="uint8")

    return image.each_band(as_values)


def _unmasked(band: LazyBand) -> LazyBand:
    def read(grid: PixelGrid) -> Pixels:
        pixels = band.read(grid)
        return Pixels(np.where(pixels.mask > 0, pixels.values, 0), np.ones(pixels.mask.shape, bool))

    return band.with_read(read, footprint=None)


@function("Image.updateMask")
def update_mask(image: Image, mask: Image) -> Image:
    """Masked where the second image is masked or not above 0."""

    def under(band: LazyBand, cover: LazyBand) -> LazyBand:
        def read(grid: PixelGrid) -> Pixels:
            pixels, shade = band.read(grid), cover.read(grid)
            return Pixels(pixels.values, np.minimum(pixels.mask, _opacity(shade)))

        return band.with_read(read)

    return image.with_bands(lambda: [under(*pair) for pair in paired(image.bands, mask.bands)])


def _opacity(shade: Pixels) -> npt.NDArray[Any]:
    """A mask image's own values: fractions stay, whatever is masked counts as 0."""
    if shade.values.dtype.kind == "f":
        return np.where(shade.mask > 0, shade.values, 0).clip(0, 1).astype(np.float32)
    return np.asarray((shade.values > 0) & (shade.mask > 0))


@function("Image.selfMask")
def self_mask(image: Image) -> Image:
    """Masked where it is 0."""
    return image.each_band(lambda band: band.with_read(lambda grid: _without_zeros(band.read(grid))))


def _without_zeros(pixels: Pixels) -> Pixels:
    return Pixels(pixels.values, np.minimum(pixels.mask, pixels.values != 0))


@function("Image.unmask")
def unmask(input_: Image, value: Image | None = None, *, same_footprint: bool = True) -> Image:
    """Masked pixels filled with a value (0 without one).

    With `same_footprint` what lies outside of the scene's footprint stays masked; without, it is filled too.
    A value outside the band's type widens the type.
    """
    fill = constant_image(0) if value is None else value

    def filled(band: LazyBand, filler: LazyBand) -> LazyBand:
        dtype = common_type(band.dtype, filler.dtype)
        kept = band.footprint if same_footprint else None

        def read(grid: PixelGrid) -> Pixels:
            pixels, other = band.read(grid), filler.read(grid)
            seen = pixels.mask > 0
            values = np.where(seen, pixels.values, other.values).astype(dtype, copy=False)
            whole = other.mask if kept is None else other.mask & inside(kept, grid)
            return Pixels(values, seen | whole)

        return band.with_read(read, dtype=dtype, footprint=kept)

    return input_.with_bands(lambda: [filled(*pair) for pair in paired(input_.bands, fill.bands)])


@function("Image.clip")
def clip(input_: Image, geometry: Geometry) -> Image:
    """Masked outside of a geometry: a pixel belongs to it if its centre does."""
    clipped = input_.each_band(lambda band: _clipped(band, geometry))
    return replace(clipped, geometry=geometry)


def _clipped(band: LazyBand, geometry: Geometry) -> LazyBand:
    def read(grid: PixelGrid) -> Pixels:
        pixels = band.read(grid)
        return Pixels(pixels.values, np.minimum(pixels.mask, inside(geometry, grid)))

    return band.with_read(read, footprint=geometry)
