"""Lazy images: a band knows its name, type and projection, and reads pixels of whatever grid is asked for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sandbox.geometries import LON_LAT, Geometry, Projection
from sandbox.refusals import Refusal


@dataclass(frozen=True)
class PixelGrid:
    """A window of pixels."""

    projection: Projection
    """The affine starts at the outer corner of the first pixel."""
    width: int
    height: int


@dataclass(frozen=True)
class Pixels:
    """Pixels of one band on one grid."""

    values: npt.NDArray[Any]
    """(height, width) in the band's dtype; anything where masked."""
    mask: npt.NDArray[Any]
    """(height, width): bool, or float32 0..1 where a picture is half transparent."""


Reader = Callable[[PixelGrid], Pixels]


@dataclass(frozen=True, eq=False)
class LazyBand:
    """One band of an image."""

    name: str
    dtype: str
    """NumPy name."""
    projection: Projection
    """Default projection: what `Image.projection` answers and where `resample` takes its neighbours."""
    read: Reader
    """Pixels on any grid, by the nearest source pixel unless the image was resampled. Asking twice is cheap."""
    size: tuple[int, int] | None = None
    """(width, height) in pixels of the projection; None: unbounded."""
    footprint: Geometry | None = None
    """Where the band exists; None: everywhere."""

    def with_read(self, read: Reader, **changes: Any) -> "LazyBand":
        """The band with other pixels, remembered for as long as the request lasts."""
        return replace(self, read=cache(read), **changes)


@dataclass(frozen=True, eq=False)
class Element:
    """What collections hold: properties, a place and a name."""

    properties: Mapping[str, Any] = field(default_factory=dict)
    geometry: Geometry | None = None
    """`.geo`: of an image, its footprint."""
    index: str | None = None
    """`system:index`."""

    def get(self, name: str) -> Any:
        """A property, or None."""
        if name == "system:index" and self.index is not None:
            return self.index
        return self.geometry if name == ".geo" else self.properties.get(name)

    def with_properties(self, changes: Mapping[str, Any]) -> Self:
        """A copy with these properties set; footprint and bands stay."""
        changes = dict(changes)
        index = changes.pop("system:index", self.index)
        return replace(self, properties={**self.properties, **changes}, index=index)


@dataclass(frozen=True, eq=False)
class Feature(Element):
    """A geometry, possibly null, with properties."""


@dataclass(frozen=True, eq=False)
class Image(Element):
    """Bands with properties. Bands are made on use: most images of a search are never looked at."""

    make_bands: Callable[[], tuple[LazyBand, ...]] = tuple
    id: str | None = None
    """Asset id; None for what was computed."""
    grid: PixelGrid | None = None
    """Extent of a download, where `clipToBoundsAndScale` gave one."""

    @property
    def bands(self) -> tuple[LazyBand, ...]:
        """All bands in order."""
        return self.make_bands()

    @property
    def band_names(self) -> list[str]:
        """Names in order."""
        return [band.name for band in self.bands]

    def with_bands(self, make: Callable[[], Iterable[LazyBand]]) -> "Image":
        """The image with other bands, made on use; properties stay, the asset id does not."""
        return replace(self, make_bands=cache(lambda: tuple(make())), id=None)

    def each_band(self, change: Callable[[LazyBand], LazyBand]) -> "Image":
        """The image with every band changed alike."""
        return self.with_bands(lambda: [change(band) for band in self.bands])


def image_of(make: Callable[[], Iterable[LazyBand]]) -> Image:
    """An image that was computed: no properties, no footprint."""
    return Image().with_bands(make)


INTEGER_TYPES = ("uint8", "int8", "uint16", "int16", "int32", "uint32")
"""Smallest first; the order in which a range of integers looks for its type."""


def integer_type(lowest: float, highest: float) -> str:
    """Smallest integer type that holds a range, else float64."""
    for name in INTEGER_TYPES:
        limits = np.iinfo(name)
        if limits.min <= lowest and highest <= limits.max:
            return name
    return "float64"


def common_type(first: str, second: str) -> str:
    """Type that holds the values of both: integers keep to integers, else the wider float."""
    types = np.dtype(first), np.dtype(second)
    if all(dtype.kind in "iu" for dtype in types):
        limits = [np.iinfo(dtype) for dtype in types]
        return integer_type(min(one.min for one in limits), max(one.max for one in limits))
    floats = [dtype.itemsize for dtype in types if dtype.kind == "f"]
    return "float64" if max(floats) == 8 else "float32"


def constant_type(value: float) -> str:
    """Type of a constant image: the smallest integer that holds it, or float64."""
    return integer_type(value, value) if float(value).is_integer() else "float64"


def constant_band(value: float, *, name: str = "constant") -> LazyBand:
    """The same value everywhere, in degrees at a pixel of one degree."""
    dtype = constant_type(value)

    def read(grid: PixelGrid) -> Pixels:
        shape = (grid.height, grid.width)
        return Pixels(np.full(shape, value, dtype), np.ones(shape, bool))

    return LazyBand(name, dtype, Projection(LON_LAT), cache(read))


def constant_image(value: object) -> Image:
    """One band for a number, one for each number of a list or dictionary.

    Raises
    ------
    Refusal
        If something else than finite numbers was given.
    """
    if isinstance(value, dict):
        named = list(value.items())
    elif isinstance(value, list):
        named = [(f"constant_{index}", item) for index, item in enumerate(value)]
    else:
        named = [("constant", value)]
    for _, item in named:
        if not isinstance(item, int | float) or not np.isfinite(item):
            raise Refusal(f"Image.constant: expected finite numbers, found {item!r}.", named=True)
    return image_of(lambda: [constant_band(item, name=name) for name, item in named])


def masked(grid: PixelGrid, dtype: str) -> Pixels:
    """Nothing was observed here."""
    shape = (grid.height, grid.width)
    return Pixels(np.zeros(shape, dtype), np.zeros(shape, bool))
