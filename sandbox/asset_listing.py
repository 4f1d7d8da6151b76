"""The filter language of `listAssets`, as far as the client writes it.

Terms joined by AND: startTime and endTime against a quoted instant, `intersects("GeoJSON")`, and
`properties.NAME` with = != < <= > >= and a number or a text.
"""

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import shapely

from sandbox.answers import asset_tree
from sandbox.assets import FAR_FUTURE, FAR_PAST, Assets
from sandbox.dates import parse_date
from sandbox.elements import Filter
from sandbox.geometries import Geometry, from_geojson
from sandbox.images import Element, Image
from sandbox.refusals import Refusal

PAGE_SIZE = 1000
"""Assets on a page unless the request asks for fewer."""

_TERM = re.compile(r'\s*(?P<name>[\w.:]+)\s*(?P<operator><=|>=|!=|=|<|>)\s*(?P<value>"[^"]*"|[^\s"]+)\s*')
_INTERSECTS = re.compile(r'\s*intersects\("(?P<shape>.*)"\)\s*', re.DOTALL)
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        "=": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
)


def parse_filter(text: str) -> tuple[Filter, ...]:
    """Read a filter.

    Raises
    ------
    Refusal
        If a term is not understood.
    """
    terms = re.split(r'\s+AND\s+(?=(?:[^"]*"[^"]*")*[^"]*$)', text)
    return tuple(_term(term) for term in terms if term.strip())


def _term(text: str) -> Filter:
    if match := _INTERSECTS.fullmatch(text):
        return _meets(_shape(match["shape"]))
    match = _TERM.fullmatch(text)
    if match is None:
        raise Refusal(f"Invalid filter: {text!r}.")
    name, compare, raw = match["name"], match["operator"], match["value"]
    if name in {"startTime", "endTime"}:
        return _time(compare, parse_date(raw.strip('"')).ms)
    if not name.startswith("properties."):
        raise Refusal(f"Invalid filter field {name!r}.")
    return _property(name.removeprefix("properties."), _OPERATORS[compare], raw)


def _shape(text: str) -> Geometry:
    if not text.lstrip().startswith("{"):
        return Geometry(shapely.from_wkt(text))
    try:
        return from_geojson(json.loads(text.replace("'", '"')))
    except json.JSONDecodeError:
        raise Refusal(f"Invalid GeoJSON in filter: {text[:120]}") from None


def _meets(place: Geometry) -> Filter:
    def matches(element: Element) -> bool:
        return element.geometry is not None and element.geometry.compare(shapely.intersects, place)

    return Filter(matches, place=place)


def _time(compare: str, limit_ms: int) -> Filter:
    spans = {
        ">=": (limit_ms, FAR_FUTURE),
        ">": (limit_ms + 1, FAR_FUTURE),
        "<": (FAR_PAST, limit_ms),
        "<=": (FAR_PAST, limit_ms + 1),
    }
    if compare not in spans:
        raise Refusal(f"Invalid comparison {compare!r} of a time.")
    start, end = spans[compare]
    return Filter(lambda element: start <= element.get("system:time_start") < end, times_ms=(start, end))


def _property(name: str, test: Callable[[Any, Any], bool], raw: str) -> Filter:
    text = raw.strip('"')
    try:
        number = float(text)
    except ValueError:
        number = None

    def matches(element: Element) -> bool:
        value = element.get(name)
        if isinstance(value, int | float):
            return number is not None and test(value, number)
        return isinstance(value, str) and test(value, text)

    return Filter(matches)


def list_assets(assets: Assets, parent: str, query: Mapping[str, str]) -> dict[str, Any]:
    """One page of the images of a collection, in order of time.

    Raises
    ------
    Refusal
        If there is no such collection, or the filter or the token is not understood.
    """
    if not assets.has_collection(parent):
        raise Refusal(f"Asset 'projects/earthengine-public/assets/{parent}' not found.", status=404)
    collection = assets.collection(parent)
    for one in parse_filter(query.get("filter", "")):
        collection = collection.filtered(one)
    try:
        start, size = int(query.get("pageToken") or 0), int(query.get("pageSize") or PAGE_SIZE)
    except ValueError:
        raise Refusal("Invalid page size or page token.") from None
    elements: Sequence[Element] = collection.elements
    page = elements[start : start + size]
    tree: dict[str, Any] = {"assets": [asset_tree(one) for one in page if isinstance(one, Image)]}
    if start + size < len(elements):
        tree["nextPageToken"] = str(start + size)
    return tree
