"""Server functions of collections, features and their properties."""

import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sandbox.assets import Assets
from sandbox.coercion import to_element, type_name, union_of
from sandbox.dates import Date
from sandbox.elements import Algorithm, Collection, Elements, Filter, Nested, listed
from sandbox.functions.binding import Registry
from sandbox.functions.lists import sort_key
from sandbox.geometries import Geometry, Projection
from sandbox.images import Element, Feature, Image
from sandbox.reducers import SIMPLE, Reducer, frequencies, repeated, to_list
from sandbox.refusals import Refusal

registry = Registry()
function = registry.function


@function("ImageCollection.load")
def load_collection(assets: Assets, id_: str, version: int | None = None) -> Collection:
    """A stored collection."""
    return assets.collection(id_)


@function("ImageCollection.fromImages")
def from_images(images: list[Any]) -> Collection:
    """A collection of these images."""
    return listed([_image(item) for item in images], of_images=True)


def _image(item: object) -> Image:
    if isinstance(item, Image):
        return item
    raise Refusal(f"Expected images, found {type(item).__name__}.")


@function("Collection")
def collection_of(features: list[Any]) -> Collection:
    """A collection of these features, or of collections that are to be flattened."""
    return listed([_member(item) for item in features], of_images=False)


@function("Collection.filter")
def filter_collection(collection: Collection, filter_: Filter) -> Collection:
    """The elements that pass."""
    return collection.filtered(filter_)


@function("Collection.limit")
def limit(
    collection: Collection, limit: int | None = None, key: str | None = None, *, ascending: bool = True
) -> Collection:
    """The first elements, after sorting by a property; ties stay in order, null comes first."""

    def elements() -> Elements:
        found = list(collection.elements)
        if key is not None:
            found = sorted(found, key=lambda element: sort_key(element.get(key)), reverse=not ascending)
        return found[:limit]

    return collection.derived(elements)


@function("Collection.first")
def first(collection: Collection) -> Element | None:
    """The first element, or null."""
    return collection.elements[0] if collection.elements else None


@function("Collection.size")
def size(collection: Collection) -> int:
    """Number of elements."""
    return len(collection.elements)


@function("Collection.toList")
def to_element_list(collection: Collection, count: int, offset: int = 0) -> list[Any]:
    """Elements from an offset, at most `count`."""
    return list(collection.elements[offset : offset + count])


@function("Collection.map")
def map_collection(
    collection: Collection, base_algorithm: Algorithm, *, drop_nulls: bool = False
) -> Collection:
    """A function of each element; results keep the element's `system:index`."""

    def elements() -> Elements:
        mapped = []
        for element in collection.elements:
            result = base_algorithm(element)
            if result is None and drop_nulls:
                continue
            mapped.append(_renamed(_member(result), element.get("system:index")))
        return mapped

    return collection.derived(elements)


def _member(item: object) -> Element:
    if isinstance(item, Collection):
        return Nested(members=item)
    if isinstance(item, Element | Geometry):
        return to_element(item)
    raise Refusal(f"Elements must be features, images or collections, found {type_name(item)}.")


def _renamed(element: Element, index: str | None) -> Element:
    return replace(element, index=index)


@function("Collection.iterate")
def iterate(collection: Collection, function: Algorithm, first: object = None) -> Any:
    """A function of each element and the result before."""
    result = first
    for element in collection.elements:
        result = function(element, result)
    return result


@function("Collection.merge", "ImageCollection.merge")
def merge(collection1: Collection, collection2: Collection) -> Collection:
    """Both, one after the other; names get the prefix `1_` or `2_`."""

    def elements() -> Elements:
        return [
            _renamed(element, f"{number}_{element.get('system:index')}")
            for number, part in ((1, collection1), (2, collection2))
            for element in part.elements
        ]

    return collection1.derived(elements)


@function("Collection.flatten")
def flatten(collection: Collection) -> Collection:
    """The elements of collections in a collection; names are joined by `_`."""

    def elements() -> Elements:
        return [
            _renamed(element, f"{part.get('system:index')}_{element.get('system:index')}")
            for part in collection.elements
            for element in _members_of(part)
        ]

    return collection.derived(elements)


def _members_of(part: Element) -> Elements:
    if isinstance(part, Nested) and part.members is not None:
        return part.members.elements
    raise Refusal("Expected a collection of collections.")


@function("Collection.distinct")
def distinct(collection: Collection, properties: object) -> Collection:
    """The first element of each combination of property values."""
    names = properties if isinstance(properties, list) else [str(properties)]

    def elements() -> Elements:
        kept: dict[str, Element] = {}
        for element in collection.elements:
            kept.setdefault(str([element.get(name) for name in names]), element)
        return list(kept.values())

    return collection.derived(elements)


@function("Collection.geometry")
def collection_geometry(collection: Collection, max_error: object = None) -> Geometry:
    """The union of all places."""
    return union_of(collection)


@function("Collection.reduceColumns")
def reduce_columns(
    collection: Collection, reducer: Reducer, selectors: list[Any], weight_selectors: list[Any] | None = None
) -> dict[str, Any]:
    """A reducer over properties."""
    if len(selectors) != reducer.inputs:
        raise Refusal(f"Need {reducer.inputs} input(s) for the reducer, found {len(selectors)} selectors.")
    if weight_selectors:
        raise Refusal("The sandbox does not weigh rows.")
    return reducer.named([tuple(element.get(name) for name in selectors) for element in collection.elements])


@function("AggregateFeatureCollection.array")
def aggregate_array(collection: Collection, property_: str) -> list[Any]:
    """Values of a property; elements without it are left out."""
    values = (element.get(property_) for element in collection.elements)
    return [value for value in values if value is not None]


def _publish_aggregate(name: str, summarise: Callable[[list[Any]], Any]) -> None:
    @function(f"AggregateFeatureCollection.{name}")
    def aggregate(collection: Collection, property_: str) -> Any:
        """One value from a property of all elements that have it."""
        return summarise(aggregate_array(collection, property_))


for _name, _summarise in (
    ("count", len),
    ("count_distinct", lambda values: len(set(values))),
    ("first", lambda values: values[0] if values else None),
    ("min", lambda values: min(values, default=None)),
    ("max", lambda values: max(values, default=None)),
    ("sum", sum),
    ("mean", lambda values: statistics.fmean(values) if values else None),
    ("histogram", frequencies),
):
    _publish_aggregate(_name, _summarise)


@function("Feature")
def feature(
    geometry: object = None, metadata: dict[str, Any] | None = None, geometry_key: str | None = None
) -> Element:
    """A place with properties; a feature given as the place keeps its own."""
    if isinstance(geometry, Element) and not metadata:
        return geometry
    place = None if geometry is None else to_element(geometry).geometry
    return Feature(geometry=place).with_properties(metadata or {})


@function("Feature.geometry", "Element.geometry", "Image.geometry")
def geometry_of(
    feature: Element, max_error: object = None, proj: Projection | None = None, geodesics: object = None
) -> Geometry | None:
    """The place; of an image, its footprint."""
    if feature.geometry is None or proj is None:
        return feature.geometry
    return feature.geometry.to(proj.crs)


@function("Feature.setGeometry")
def set_geometry(feature: Element, geometry: Geometry | None = None) -> Element:
    """The feature at another place."""
    return replace(feature, geometry=geometry)


@function("Feature.id", "Image.id")
def element_id(element: Element) -> str | None:
    """`system:index`."""
    return element.index


@function("Element.get", "Element.getNumber", "Element.getString")
def get_property(object_: Element, property_: str) -> Any:
    """A property, or null."""
    return object_.get(property_)


@function("Element.set")
def set_property(object_: Element, key: str, value: object = None) -> Element:
    """With one property set."""
    return object_.with_properties({key: value})


@function("Element.setMulti")
def set_properties(object_: Element, properties: dict[str, Any]) -> Element:
    """With many properties set."""
    return object_.with_properties(properties)


@function("Element.propertyNames")
def property_names(element: Element) -> list[str]:
    """Names of all properties."""
    names = set(element.properties) | ({"system:index"} if element.index is not None else set())
    return sorted(names)


@function("Element.toDictionary")
def to_dictionary(element: Element, properties: list[Any] | None = None) -> dict[str, Any]:
    """Properties as a dictionary; without a list, all that are not of the system."""
    names = property_names(element) if properties is None else properties
    kept = names if properties is not None else [name for name in names if not name.startswith("system:")]
    return {name: element.get(name) for name in kept}


@function("Element.copyProperties", "Image.copyProperties")
def copy_properties(
    destination: Element | None = None,
    source: Element | None = None,
    properties: list[Any] | None = None,
    exclude: list[Any] | None = None,
) -> Element | None:
    """With the properties of another element; without a list, all that are not of the system."""
    if destination is None or source is None:
        return destination
    copied = to_dictionary(source, properties)
    return destination.with_properties({k: v for k, v in copied.items() if k not in (exclude or ())})


@function("Image.date")
def image_date(image: Element) -> Date:
    """`system:time_start` as a date."""
    time_ms = image.get("system:time_start")
    if time_ms is None:
        raise Refusal("The image has no 'system:time_start'.")
    return Date(int(time_ms))


@function("Reducer.toList")
def list_reducer(tuple_size: int | None = None, num_optional: int = 0) -> Reducer:
    """Collects values or tuples."""
    return to_list(tuple_size, num_optional)


@function("Reducer.repeat")
def repeat_reducer(reducer: Reducer, count: int) -> Reducer:
    """The reducer once for each group of columns."""
    return repeated(reducer, count)


def _publish_reducer(name: str, reducer: Reducer) -> None:
    @function(f"Reducer.{name}")
    def make() -> Reducer:
        """A reducer without arguments."""
        return reducer


for _name, _reducer in SIMPLE.items():
    _publish_reducer(_name, _reducer)
