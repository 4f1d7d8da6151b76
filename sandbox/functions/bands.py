"""Server functions that load images, choose and name their bands, and change types.

Casts: a value that does not fit the new integer type is refused (what the service does is not known, and a
silent wrap would hide a mistake); fractions are cut off.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from sandbox.assets import Assets
from sandbox.functions.binding import Registry
from sandbox.geometries import Projection
from sandbox.images import Image, LazyBand, PixelGrid, Pixels, constant_image
from sandbox.refusals import Refusal

registry = Registry()
function = registry.function

TYPES = {
    "Byte": "uint8",
    "Uint8": "uint8",
    "Int8": "int8",
    "Uint16": "uint16",
    "Int16": "int16",
    "Short": "int16",
    "Uint32": "uint32",
    "Int32": "int32",
    "Int": "int32",
    "Float": "float32",
    "Double": "float64",
}
"""NumPy types by the name after `Image.to`; without `to` they begin with a small letter."""


@function("Image.load")
def load(assets: Assets, id_: str, version: int | None = None) -> Image:
    """A stored image."""
    return assets.image(id_)


@function("Image.constant")
def constant(value: object) -> Image:
    """The same number everywhere; one band for each number of a list."""
    return constant_image(value)


@function("Image.select")
def select(input_: Image, band_selectors: list[Any], new_names: list[Any] | None = None) -> Image:
    """Bands by name, position or regular expression; exact names win."""

    def bands() -> list[LazyBand]:
        chosen = [band for selector in band_selectors for band in _chosen(input_.bands, selector)]
        return chosen if new_names is None else _named(chosen, new_names)

    return input_.with_bands(bands)


def _chosen(bands: Sequence[LazyBand], selector: object) -> list[LazyBand]:
    if isinstance(selector, int | float):
        if not 0 <= int(selector) < len(bands):
            raise Refusal(
                f"Image.select: Band index {selector} is out of range 0..{len(bands) - 1}.", named=True
            )
        return [bands[int(selector)]]
    exact = [band for band in bands if band.name == selector]
    found = exact or [band for band in bands if re.fullmatch(str(selector), band.name)]
    if not found:
        names = ", ".join(band.name for band in bands)
        raise Refusal(
            f"Image.select: Band pattern '{selector}' was applied to an Image with no matching bands. "
            f"Available bands: [{names}]",
            named=True,
        )
    return found


def _named(bands: Sequence[LazyBand], names: Sequence[Any]) -> list[LazyBand]:
    if len(bands) != len(names):
        raise Refusal(f"Got {len(bands)} bands, but {len(names)} new names.")
    return unique(replace(band, name=str(name)) for band, name in zip(bands, names, strict=True))


def unique(bands: Iterable[LazyBand]) -> list[LazyBand]:
    """Bands with a suffix `_1`, `_2`, ... where a name repeats."""
    named: dict[str, LazyBand] = {}
    for band in bands:
        name, number = band.name, 0
        while name in named:
            number += 1
            name = f"{band.name}_{number}"
        named[name] = band if name == band.name else replace(band, name=name)
    return list(named.values())


@function("Image.rename")
def rename(input_: Image, names: list[Any]) -> Image:
    """All bands under new names."""
    flat = names[0] if names and isinstance(names[0], list) else names
    return input_.with_bands(lambda: _named(input_.bands, flat))


@function("Image.addBands")
def add_bands(
    dst_img: Image, src_img: Image, names: list[Any] | None = None, *, overwrite: bool = False
) -> Image:
    """The bands of both; a repeated name gets a suffix, or replaces the band if `overwrite`."""

    def bands() -> list[LazyBand]:
        added = src_img.bands if names is None else select(src_img, names).bands
        if not overwrite:
            return unique([*dst_img.bands, *added])
        return list({band.name: band for band in (*dst_img.bands, *added)}.values())

    return dst_img.with_bands(bands)


@function("Image.cat")
def cat(images: list[Any]) -> Image:
    """The bands of all images."""
    first, *others = images
    combined: Image = reduce(add_bands, others, first)
    return combined


@function("Image.bandNames")
def band_names(image: Image) -> list[str]:
    """Names of the bands."""
    return image.band_names


@function("Image.projection")
def image_projection(image: Image) -> Projection:
    """The default projection, if all bands share one."""
    projections = {band.projection for band in image.bands}
    if len(projections) != 1:
        raise Refusal(
            "The bands of the specified image contains different projections. "
            "Use Image.select to pick a single band."
        )
    return projections.pop()


def paired(first: Sequence[LazyBand], second: Sequence[LazyBand]) -> list[tuple[LazyBand, LazyBand]]:
    """Bands that belong together: one for all, or as many on both sides."""
    if len(second) == 1:
        return [(band, second[0]) for band in first]
    if len(first) != len(second):
        raise Refusal(
            f"Images must have the same number of bands, or one; found {len(first)} and {len(second)}."
        )
    return list(zip(first, second, strict=True))


def cast(band: LazyBand, dtype: str) -> LazyBand:
    """A band in another type; what does not fit is refused when it is read."""
    if band.dtype == dtype:
        return band

    def read(grid: PixelGrid) -> Pixels:
        pixels = band.read(grid)
        values = np.where(pixels.mask > 0, pixels.values, 0)
        if np.dtype(dtype).kind in "iu":
            values = np.trunc(values)
        _check_range(values, dtype, band.name)
        return Pixels(values.astype(dtype), pixels.mask)

    return band.with_read(read, dtype=dtype)


def _check_range(values: npt.NDArray[Any], dtype: str, name: str) -> None:
    """Refuse what an integer type can't hold, NaN included."""
    if np.dtype(dtype).kind not in "iu":
        return
    limits, lowest, highest = np.iinfo(dtype), values.min(initial=0), values.max(initial=0)
    if not (lowest >= limits.min and highest <= limits.max):
        raise Refusal(
            f"Band '{name}' has values from {lowest} to {highest}, which do not fit {dtype} "
            f"({limits.min}..{limits.max})."
        )


def _publish_cast(name: str, dtype: str) -> None:
    @function(f"Image.to{name}", f"Image.{name[0].lower()}{name[1:]}")
    def to_type(value: Image) -> Image:
        """All bands in another type."""
        return value.each_band(lambda band: cast(band, dtype))


for _name, _dtype in TYPES.items():
    _publish_cast(_name, _dtype)
