"""Server functions that compute with pixels.

Types: sums, differences and products of integers get the smallest integer type that holds every possible
result; quotients and roots are float32, or float64 if an input is; comparisons are 0 or 1. A result is masked
where an input is masked.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from sandbox.elements import Collection
from sandbox.functions.bands import paired, select
from sandbox.functions.binding import Registry
from sandbox.geometries import LON_LAT, Geometry, Projection
from sandbox.images import Image, LazyBand, PixelGrid, Pixels, common_type, image_of, integer_type
from sandbox.refusals import Refusal

registry = Registry()
function = registry.function

Array = npt.NDArray[Any]
Ufunc = Callable[..., Array]
TypeRule = Callable[[str, str], str]


def _float_type(first: str, second: str) -> str:
    return "float64" if "float64" in {first, second} else "float32"


def _exact(compute: Callable[[int, int], int]) -> TypeRule:
    """Type of every result of integers, from the corners of their ranges."""

    def rule(first: str, second: str) -> str:
        if any(np.dtype(dtype).kind == "f" for dtype in (first, second)):
            return common_type(first, second)
        one, two = np.iinfo(first), np.iinfo(second)
        corners = [compute(int(a), int(b)) for a in (one.min, one.max) for b in (two.min, two.max)]
        return integer_type(min(corners), max(corners))

    return rule


def _flag(first: str, second: str) -> str:
    return "uint8"


BINARY: dict[str, tuple[Ufunc, TypeRule]] = {
    "add": (np.add, _exact(operator.add)),
    "subtract": (np.subtract, _exact(operator.sub)),
    "multiply": (np.multiply, _exact(operator.mul)),
    "divide": (np.divide, _float_type),
    "mod": (np.fmod, common_type),
    "pow": (np.power, _float_type),
    "min": (np.minimum, common_type),
    "max": (np.maximum, common_type),
    "eq": (np.equal, _flag),
    "neq": (np.not_equal, _flag),
    "lt": (np.less, _flag),
    "lte": (np.less_equal, _flag),
    "gt": (np.greater, _flag),
    "gte": (np.greater_equal, _flag),
    "and": (np.logical_and, _flag),
    "or": (np.logical_or, _flag),
}
"""Pixel by pixel operations of two images, by the name after `Image.`."""

UNARY: dict[str, tuple[Ufunc, Callable[[str], str]]] = {
    "round": (lambda values: np.floor(values + 0.5), lambda dtype: dtype),
    "floor": (np.floor, lambda dtype: dtype),
    "ceil": (np.ceil, lambda dtype: dtype),
    "abs": (np.abs, lambda dtype: dtype),
    "not": (np.logical_not, lambda _: "uint8"),
    "sqrt": (np.sqrt, lambda dtype: _float_type(dtype, dtype)),
    "log10": (np.log10, lambda dtype: _float_type(dtype, dtype)),
    "log": (np.log, lambda dtype: _float_type(dtype, dtype)),
    "exp": (np.exp, lambda dtype: _float_type(dtype, dtype)),
}
"""Pixel by pixel operations of one image. Halves are rounded up."""


def _intersection(first: Geometry | None, second: Geometry | None) -> Geometry | None:
    """Where both bands exist."""
    if first is None or second is None or first is second:
        return second if first is None else first
    return Geometry(shapely.intersection(first.lon_lat, second.lon_lat))


def combined(first: LazyBand, second: LazyBand, compute: Ufunc, dtype: str) -> LazyBand:
    """A band computed from two, under the name and projection of the first (of the second, if it is constant)."""
    placed = second if first.footprint is None and first.size is None else first

    def read(grid: PixelGrid) -> Pixels:
        one, two = first.read(grid), second.read(grid)
        mask = np.minimum(one.mask, two.mask)
        return _computed(compute, (one.values, two.values), mask, dtype)

    footprint = _intersection(first.footprint, second.footprint)
    return first.with_read(
        read, dtype=dtype, projection=placed.projection, size=placed.size, footprint=footprint
    )


def _computed(compute: Ufunc, inputs: Sequence[Array], mask: Array, dtype: str) -> Pixels:
    """Compute in a type wide enough; what is no finite number becomes masked."""
    wide = [values.astype(np.int64 if values.dtype.kind in "iu" else np.float64) for values in inputs]
    with np.errstate(all="ignore"):
        values = compute(*wide)
    if values.dtype.kind == "f":
        mask = np.minimum(mask, np.isfinite(values))
        values = np.where(mask > 0, values, 0)
    return Pixels(values.astype(dtype), mask)


def _publish_binary(name: str, compute: Ufunc, rule: TypeRule) -> None:
    @function(f"Image.{name}")
    def of_two(image1: Image, image2: Image) -> Image:
        """Pixel by pixel; a single band on either side goes with every band of the other."""

        def bands() -> list[LazyBand]:
            one, two = image1.bands, image2.bands
            if len(one) == 1 and len(two) > 1:
                one = tuple(replace(one[0], name=band.name) for band in two)
            return [combined(*pair, compute, rule(pair[0].dtype, pair[1].dtype)) for pair in paired(one, two)]

        return image_of(bands)


for _name, (_compute, _rule) in BINARY.items():
    _publish_binary(_name, _compute, _rule)


def _publish_unary(name: str, compute: Ufunc, rule: Callable[[str], str]) -> None:
    def changed(band: LazyBand) -> LazyBand:
        dtype = rule(band.dtype)

        def read(grid: PixelGrid) -> Pixels:
            pixels = band.read(grid)
            return _computed(compute, (pixels.values,), pixels.mask, dtype)

        return band.with_read(read, dtype=dtype)

    @function(f"Image.{name}")
    def of_one(value: Image) -> Image:
        """Pixel by pixel; bands keep their names."""
        return value.each_band(changed)


for _name, (_compute, _keep) in UNARY.items():
    _publish_unary(_name, _compute, _keep)


@function("Image.normalizedDifference")
def normalized_difference(input_: Image, band_names: list[Any] | None = None) -> Image:
    """(first - second) / (first + second) of two bands, as `nd`; masked where an input is negative."""
    names: list[Any] = band_names or [0, 1]

    def ratio(first: Array, second: Array) -> Array:
        value = (first - second) / (first + second)
        return np.asarray(np.where((first >= 0) & (second >= 0), value, np.nan))

    def bands() -> list[LazyBand]:
        first, second = select(input_, names[:2], ["nd", "other"]).bands
        return [combined(first, second, ratio, "float32")]

    return image_of(bands)


@function("Image.where")
def where(input_: Image, test: Image, value: Image) -> Image:
    """The second image where the test is not 0."""

    def chosen(band: LazyBand, flag: LazyBand, other: LazyBand) -> LazyBand:
        dtype = common_type(band.dtype, other.dtype)

        def read(grid: PixelGrid) -> Pixels:
            pixels, true, replacement = band.read(grid), flag.read(grid), other.read(grid)
            take = (true.values != 0) & (true.mask > 0) & (replacement.mask > 0)
            return Pixels(np.where(take, replacement.values, pixels.values).astype(dtype), pixels.mask)

        return band.with_read(read, dtype=dtype)

    def bands() -> list[LazyBand]:
        flags = [flag for _, flag in paired(input_.bands, test.bands)]
        others = [other for _, other in paired(input_.bands, value.bands)]
        return [chosen(*triple) for triple in zip(input_.bands, flags, others, strict=True)]

    return input_.with_bands(bands)


STACKS: dict[str, Callable[[np.ma.MaskedArray[Any, Any]], Any]] = {
    "min": lambda stack: stack.min(axis=0),
    "max": lambda stack: stack.max(axis=0),
    "mean": lambda stack: stack.mean(axis=0),
    "median": lambda stack: np.ma.median(stack, axis=0),  # type: ignore[no-untyped-call]  # NumPy has no types for it
    "sum": lambda stack: stack.sum(axis=0),
    "count": lambda stack: np.ma.masked_array(stack.count(axis=0)),
}
"""What a collection is reduced to, pixel by pixel, by the name after `reduce.`."""


def _publish_composite(name: str, compute: Callable[[np.ma.MaskedArray[Any, Any]], Any]) -> None:
    def stacked(layers: Sequence[LazyBand]) -> LazyBand:
        dtype = reduce(common_type, (layer.dtype for layer in layers))
        dtype = {"mean": "float64", "median": "float64", "sum": "float64", "count": "int32"}.get(name, dtype)

        def read(grid: PixelGrid) -> Pixels:
            read_layers = [layer.read(grid) for layer in layers]
            stack = np.ma.masked_array(
                np.stack([pixels.values for pixels in read_layers]),
                np.stack([pixels.mask == 0 for pixels in read_layers]),
            )
            result = compute(stack)
            return Pixels(result.filled(0).astype(dtype), ~np.ma.getmaskarray(result))

        return layers[0].with_read(
            read, dtype=dtype, projection=Projection(LON_LAT), size=None, footprint=None
        )

    @function(f"reduce.{name}")
    def composite(collection: Collection) -> Image:
        """All images in one, band by band; projection and footprint are lost, as in a mosaic."""

        def bands() -> list[LazyBand]:
            layers = [image.bands for image in collection.elements if isinstance(image, Image)]
            if not layers:
                raise Refusal(f"reduce.{name}: the collection is empty.", named=True)
            return [stacked([bands[n] for bands in layers]) for n in range(min(map(len, layers)))]

        return image_of(bands)


for _name, _stack in STACKS.items():
    _publish_composite(_name, _stack)
