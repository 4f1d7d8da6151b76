"""Server functions that make pictures: stretched bands, palettes, drawn outlines."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from sandbox.elements import Collection
from sandbox.functions.bands import paired, select
from sandbox.functions.binding import Registry
from sandbox.geometries import LON_LAT, Geometry, Projection
from sandbox.images import Image, LazyBand, PixelGrid, Pixels, common_type, constant_type, image_of
from sandbox.refusals import Refusal
from sandbox.resampling import inside

registry = Registry()
function = registry.function

RGB_NAMES = ("vis-red", "vis-green", "vis-blue")
CSS_COLOURS = {
    "black": "000000",
    "white": "ffffff",
    "red": "ff0000",
    "green": "008000",
    "lime": "00ff00",
    "blue": "0000ff",
    "yellow": "ffff00",
    "cyan": "00ffff",
    "magenta": "ff00ff",
    "gray": "808080",
    "grey": "808080",
    "orange": "ffa500",
    "purple": "800080",
    "brown": "a52a2a",
}
"""The names of CSS that maps use most; any other colour is written as hexadecimal digits."""


def colour(text: object) -> tuple[int, int, int, int]:
    """Red, green, blue and opacity (0..255) of `rrggbb`, `rrggbbaa`, `#...` or a name of CSS.

    Raises
    ------
    Refusal
        If it is no colour that is known here.
    """
    digits = CSS_COLOURS.get(str(text).lower(), str(text).removeprefix("#"))
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    try:
        red, green, blue, alpha = bytes.fromhex(digits.ljust(8, "f"))
    except ValueError:
        raise Refusal(f"Invalid color '{text}'.") from None
    return red, green, blue, alpha


def _numbers(value: object, count: int, *, default: float) -> list[float]:
    """One number for each of `count` bands."""
    if value is None:
        return [default] * count
    items: list[Any] = [value]
    if isinstance(value, str | list):
        items = value.split(",") if isinstance(value, str) else value
    numbers = [float(item) for item in items]
    if len(numbers) not in {1, count}:
        raise Refusal(f"Expected 1 or {count} numbers, found {len(numbers)}.")
    return numbers * count if len(numbers) == 1 else numbers


def _names(value: object) -> list[Any]:
    return value.split(",") if isinstance(value, str) else list(value) if isinstance(value, list) else []


@function("Image.visualize")
def visualize(
    image: Image,
    *,
    bands: object = None,
    gain: object = None,
    bias: object = None,
    min_: object = None,
    max_: object = None,
    gamma: object = None,
    opacity: float | None = None,
    palette: object = None,
    force_rgb_output: bool = False,
) -> Image:
    """Bands as an 8-bit picture of three bands: one through a palette (or grey), or three as red, green, blue."""

    def picture() -> list[LazyBand]:
        chosen = select(image, _names(bands) or list(range(min(3, len(image.bands))))).bands
        if len(chosen) not in {1, 3}:
            chosen = chosen[:1]
        low, high = _range(chosen, min_=min_, max_=max_, gain=gain, bias=bias)
        exponents = [1 / value for value in _numbers(gamma, len(chosen), default=1.0)]
        stretched = [_stretched(*one) for one in zip(chosen, low, high, exponents, strict=True)]
        colours = [colour(item)[:3] for item in _names(palette)] or [(0, 0, 0), (255, 255, 255)]
        return _rgb(stretched, np.array(colours, float), 1.0 if opacity is None else opacity)

    return image_of(picture)


def _range(
    bands: Sequence[LazyBand], *, min_: object, max_: object, gain: object, bias: object
) -> tuple[list[float], list[float]]:
    """Values that become 0 and 1, for each band."""
    count = len(bands)
    if gain is not None or bias is not None:
        gains, biases = _numbers(gain, count, default=1.0), _numbers(bias, count, default=0.0)
        low = [-b / g for g, b in zip(gains, biases, strict=True)]
        return low, [255 / g + start for g, start in zip(gains, low, strict=True)]
    limits = [np.iinfo(b.dtype) if np.dtype(b.dtype).kind in "iu" else None for b in bands]
    lowest = [0.0 if limit is None else float(limit.min) for limit in limits]
    highest = [1.0 if limit is None else float(limit.max) for limit in limits]
    return (
        lowest if min_ is None else _numbers(min_, count, default=0.0),
        highest if max_ is None else _numbers(max_, count, default=1.0),
    )


def _stretched(band: LazyBand, low: float, high: float, exponent: float) -> LazyBand:
    def read(grid: PixelGrid) -> Pixels:
        pixels = band.read(grid)
        share = ((pixels.values.astype(float) - low) / ((high - low) or 1.0)).clip(0, 1)
        return Pixels(share**exponent, pixels.mask)

    return band.with_read(read, dtype="float64")


def _rgb(bands: Sequence[LazyBand], palette: npt.NDArray[np.float64], opacity: float) -> list[LazyBand]:
    """Shares 0..1 of one or three bands as red, green and blue; seen where all of them are."""

    def read(channel: int, grid: PixelGrid) -> Pixels:
        layers = [band.read(grid) for band in bands]
        mask = np.minimum.reduce([layer.mask for layer in layers])
        if len(layers) == 1:
            steps = layers[0].values * (len(palette) - 1)
            values = np.interp(steps, np.arange(len(palette)), palette[:, channel])
        else:
            values = layers[channel].values * 255
        return Pixels(np.rint(values).astype(np.uint8), mask if opacity >= 1 else mask * np.float32(opacity))

    return [
        bands[0].with_read(partial(read, channel), dtype="uint8", name=name)
        for channel, name in enumerate(RGB_NAMES)
    ]


@function("Image.blend")
def blend(bottom: Image, top: Image) -> Image:
    """The second image over the first, by its opacity."""

    def over(below: LazyBand, above: LazyBand) -> LazyBand:
        dtype = common_type(below.dtype, above.dtype)

        def read(grid: PixelGrid) -> Pixels:
            back, front = below.read(grid), above.read(grid)
            share = front.mask.astype(float)
            rest = back.mask * (1 - share)
            total = share + rest
            mixed = (front.values * share + back.values * rest) / np.where(total > 0, total, 1)
            values = np.rint(mixed) if np.dtype(dtype).kind in "iu" else mixed
            return Pixels(values.astype(dtype), total.astype(np.float32))

        return below.with_read(read, dtype=dtype, footprint=None)

    return image_of(lambda: [over(*pair) for pair in paired(bottom.bands, top.bands)])


def _outline(geometry: Geometry, grid: PixelGrid, width_px: float) -> Geometry:
    """What a pen of some pixels draws along the edge of a geometry."""
    moved = geometry.to(grid.projection.crs)
    edge = moved.shape.boundary if moved.shape.geom_type.endswith("Polygon") else moved.shape
    reach = max(width_px, 1.0) / 2 * abs(grid.projection.transform[0])
    return Geometry(shapely.buffer(edge, reach), moved.crs)


def _drawn(collection: Collection, grid: PixelGrid, width_px: float | None) -> npt.NDArray[np.bool_]:
    """Pixels on an outline, or inside (no width) of any element."""
    result = np.zeros((grid.height, grid.width), bool)
    for place in (element.geometry for element in collection.elements):
        if place is not None:
            result |= inside(place if width_px is None else _outline(place, grid, width_px), grid)
    return result


@function("Image.paint")
def paint(image: Image, feature_collection: Collection, color: object = 0, width: object = None) -> Image:
    """The places of a collection drawn into an image: filled, or outlined with a pen of some pixels."""
    if not isinstance(color, int | float) or not isinstance(width, int | float | None):
        raise Refusal("The sandbox paints with one number and one width.")

    def painted(band: LazyBand) -> LazyBand:
        dtype = common_type(band.dtype, constant_type(color))

        def read(grid: PixelGrid) -> Pixels:
            pixels, drawn = band.read(grid), _drawn(feature_collection, grid, width or None)
            return Pixels(np.where(drawn, color, pixels.values).astype(dtype), np.maximum(pixels.mask, drawn))

        return band.with_read(read, dtype=dtype)

    return image.each_band(painted)


@function("Collection.style")
def style(
    collection: Collection,
    *,
    color: str = "black",
    point_size: int = 3,
    point_shape: str = "circle",
    width: float = 2.0,
    fill_color: str | None = None,
    line_type: str = "solid",
) -> Image:
    """The places of a collection as a picture: points and lines drawn with a pen, areas also filled."""
    *line, line_alpha = colour(color)
    *fill, fill_alpha = colour(fill_color) if fill_color is not None else (*line, line_alpha * 2 // 3)

    @cache
    def masks(grid: PixelGrid) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        edge = _drawn(collection, grid, width) if width else np.zeros((grid.height, grid.width), bool)
        area = _drawn(collection, grid, None)
        return edge, np.where(edge, line_alpha, area * fill_alpha).astype(np.float32) / 255

    def channel(index: int) -> LazyBand:
        def read(grid: PixelGrid) -> Pixels:
            edge, opacity = masks(grid)
            return Pixels(np.where(edge, line[index], fill[index]).astype(np.uint8), opacity)

        return LazyBand(RGB_NAMES[index], "uint8", Projection(LON_LAT), cache(read))

    return image_of(lambda: [channel(index) for index in range(3)])
