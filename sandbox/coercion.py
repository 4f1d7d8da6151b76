"""What the server makes of an argument: a number where an image is expected becomes a constant image, and so on."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import shapely

from sandbox.assets import Assets
from sandbox.dates import Date, DateRange, parse_date
from sandbox.elements import Algorithm, Collection, Filter, listed
from sandbox.geometries import Geometry, Projection, from_geojson
from sandbox.images import Element, Feature, Image, constant_image
from sandbox.reducers import Reducer
from sandbox.refusals import Refusal

Deferred = Callable[[], Any]
"""Annotation of an argument that is evaluated only if it is called."""


class WrongTypeError(ValueError):
    """An argument can't be taken for what is expected."""


def type_name(value: object) -> str:
    """The name that Earth Engine gives to the type of a value."""
    for kind, name in _NAMES:
        if isinstance(value, kind):
            return name
    return type(value).__name__


_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "Boolean"),
    (int, "Integer"),
    (float, "Float"),
    (str, "String"),
    (list, "List"),
    (dict, "Dictionary"),
    (Image, "Image"),
    (Feature, "Feature"),
    (Collection, "FeatureCollection"),
    (Geometry, "Geometry"),
    (Projection, "Projection"),
    (Date, "Date"),
    (DateRange, "DateRange"),
    (Filter, "Filter"),
    (Reducer, "Reducer"),
    (type(None), "null"),
)


def _exactly(kind: type) -> Callable[[Any], Any]:
    def take(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        raise WrongTypeError

    return take


def to_image(value: Any) -> Image:
    """An image; numbers and lists of numbers become constants."""
    if isinstance(value, Image):
        return value
    if isinstance(value, int | float | list):
        return constant_image(value)
    raise WrongTypeError


def to_geometry(value: Any) -> Geometry:
    """A geometry, that of a feature or image, the union of a collection, or GeoJSON."""
    if isinstance(value, Geometry):
        return value
    if isinstance(value, Collection):
        return union_of(value)
    if isinstance(value, Element):
        if value.geometry is None:
            raise Refusal("Null geometry.")
        return value.geometry
    if isinstance(value, dict):
        return from_geojson(value)
    raise WrongTypeError


def union_of(collection: Collection) -> Geometry:
    """All places of a collection in one geometry, in degrees."""
    shapes = [one.geometry.lon_lat for one in collection.elements if one.geometry is not None]
    return Geometry(shapely.union_all(shapes))


def to_element(value: Any) -> Element:
    """A feature or an image; a geometry becomes a feature without properties."""
    if isinstance(value, Element):
        return value
    if isinstance(value, Geometry):
        return Feature(geometry=value)
    raise WrongTypeError


def to_collection(value: Any) -> Collection:
    """A collection; a list of elements, or one element, becomes one."""
    if isinstance(value, Collection):
        return value
    if isinstance(value, Element | Geometry):
        value = [value]
    if isinstance(value, list):
        elements = [to_element(item) for item in value]
        return listed(elements, of_images=bool(elements) and isinstance(elements[0], Image))
    raise WrongTypeError


def to_projection(value: Any) -> Projection:
    """A projection, or the default one of a CRS code."""
    if isinstance(value, Projection):
        return value
    if isinstance(value, str):
        return Projection(value)
    raise WrongTypeError


def to_date(value: Any) -> Date:
    """A date, milliseconds since 1970 UTC, or ISO 8601 text."""
    if isinstance(value, Date):
        return value
    if isinstance(value, str):
        return parse_date(value)
    if isinstance(value, int | float):
        return Date(int(value))
    raise WrongTypeError


def to_date_range(value: Any) -> DateRange:
    """A range of time; a date is the range of its own millisecond."""
    if isinstance(value, DateRange):
        return value
    date = to_date(value)
    return DateRange(date.ms, date.ms + 1)


def to_float(value: Any) -> float | int:
    """A number as it is: whole numbers stay integers."""
    if isinstance(value, int | float):
        return value
    raise WrongTypeError


def to_int(value: Any) -> int:
    """A whole number."""
    if isinstance(value, int | float) and float(value).is_integer():
        return int(value)
    raise WrongTypeError


def to_bool(value: Any) -> bool:
    """A truth value; numbers are true unless 0."""
    if isinstance(value, int | float):
        return bool(value)
    raise WrongTypeError


def to_algorithm(value: Any) -> Algorithm:
    """A function of the graph."""
    if callable(value):
        return value  # type: ignore[no-any-return]  # callable() can't tell the signature
    raise WrongTypeError


COERCIONS: Mapping[Any, Callable[[Any], Any]] = MappingProxyType(
    {
        Image: to_image,
        Geometry: to_geometry,
        Element: to_element,
        Collection: to_collection,
        Projection: to_projection,
        Date: to_date,
        DateRange: to_date_range,
        Filter: _exactly(Filter),
        Reducer: _exactly(Reducer),
        Assets: _exactly(Assets),
        Algorithm: to_algorithm,
        float: to_float,
        int: to_int,
        bool: to_bool,
        str: _exactly(str),
        list[Any]: _exactly(list),
        dict[str, Any]: _exactly(dict),
        object: lambda value: value,
        Deferred: lambda value: value,
    }
)
"""How each annotation of a server function is filled."""

EXPECTED: Mapping[Any, str] = MappingProxyType(
    {list[Any]: "List<Object>", dict[str, Any]: "Dictionary<Object>", Image: "Image<unknown bands>"}
    | {Collection: "FeatureCollection", float: "Float", int: "Integer", str: "String", bool: "Boolean"}
)
"""Names in messages, where they differ from the class."""
