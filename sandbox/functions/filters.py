"""Server functions that make filters.

A comparison with a property that an element lacks is false; `Filter.not` of it is therefore true, as on
Earth Engine. Filters that compare two fields belong to joins, which are not modelled.
"""

import datetime as dt
from collections.abc import Callable
from typing import Any

import shapely

from sandbox.coercion import to_date_range, to_geometry
from sandbox.elements import Filter
from sandbox.functions.binding import Registry
from sandbox.geometries import Geometry
from sandbox.images import Element
from sandbox.refusals import Refusal

registry = Registry()
function = registry.function

GEOMETRY_FIELDS = frozenset({".geo", ".all"})
"""Selectors that stand for the place of an element."""


def _value_of(element: Element, name: str) -> Any:
    return element.geometry if name in GEOMETRY_FIELDS else element.get(name)


def _comparison(
    compare: Callable[[Any, Any], bool],
    *,
    left_field: str | None,
    right_value: Any,
    right_field: str | None,
    left_value: Any,
) -> Callable[[Element], bool]:
    """A predicate of the field and the constant, in the order in which they were named."""
    if left_field is not None and right_field is None:
        name, known = left_field, right_value

        def pair(value: Any) -> bool:
            return compare(value, known)

    elif right_field is not None and left_field is None:
        name, known = right_field, left_value

        def pair(value: Any) -> bool:
            return compare(known, value)

    else:
        raise Refusal("The sandbox compares one field with one value; joins are not modelled.")
    if known is None:
        raise Refusal("A value to compare with is required and may not be null.")

    def matches(element: Element) -> bool:
        value = _value_of(element, name)
        return value is not None and bool(pair(value))

    return matches


def _comparable(left: Any, right: Any) -> bool:
    kinds = (int | float, str)
    return any(isinstance(left, kind) and isinstance(right, kind) for kind in kinds)


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: _comparable(left, right) and test(left, right)


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "equals": lambda left, right: left == right,
    "notEquals": lambda left, right: left != right,
    "lessThan": _ordered(lambda left, right: left < right),
    "lessThanOrEquals": _ordered(lambda left, right: left <= right),
    "greaterThan": _ordered(lambda left, right: left > right),
    "greaterThanOrEquals": _ordered(lambda left, right: left >= right),
    "listContains": lambda left, right: isinstance(left, list) and right in left,
    "inList": lambda left, right: isinstance(right, list) and left in right,
    "stringContains": lambda left, right: str(right) in str(left),
    "stringStartsWith": lambda left, right: str(left).startswith(str(right)),
    "stringEndsWith": lambda left, right: str(left).endswith(str(right)),
}
"""Comparisons of properties by the name after `Filter.`."""


def _publish(name: str, compare: Callable[[Any, Any], bool]) -> None:
    @function(f"Filter.{name}")
    def comparison(
        left_field: str | None = None,
        right_value: object = None,
        right_field: str | None = None,
        left_value: object = None,
    ) -> Filter:
        """A comparison of a property with a value."""
        return Filter(
            _comparison(
                compare,
                left_field=left_field,
                right_value=right_value,
                right_field=right_field,
                left_value=left_value,
            )
        )


for _name, _compare in COMPARISONS.items():
    _publish(_name, _compare)

RELATIONS: dict[str, tuple[Callable[[Any, Any], Any], bool]] = {
    "intersects": (shapely.intersects, True),
    "contains": (shapely.contains, True),
    "isContained": (shapely.within, True),
    "disjoint": (shapely.disjoint, False),
}
"""Relation of the left to the right geometry; whether it implies that they meet."""


def _publish_relation(name: str, relation: Callable[[Any, Any], Any], *, meets: bool) -> None:
    def relate(left: Geometry, right: Geometry) -> bool:
        return left.compare(relation, right)

    @function(f"Filter.{name}")
    def filter_by_place(
        left_field: str | None = None,
        right_value: object = None,
        right_field: str | None = None,
        left_value: object = None,
        max_error: object = None,
    ) -> Filter:
        """A relation of the element's place to a geometry, in degrees; the error margin is zero."""
        given = right_value if left_value is None else left_value
        place = None if given is None else to_geometry(given)
        matches = _comparison(
            relate,
            left_field=left_field,
            right_value=place if left_value is None else None,
            right_field=right_field,
            left_value=None if left_value is None else place,
        )
        return Filter(matches, place=place if meets else None)


for _name, (_relation, _meets) in RELATIONS.items():
    _publish_relation(_name, _relation, meets=_meets)


@function("Filter.dateRangeContains")
def date_range_contains(
    left_value: object,
    right_field: str | None = None,
    left_field: str | None = None,
    right_value: object = None,
) -> Filter:
    """The time in a field lies in a range; the end is excluded."""
    if left_value is None or right_field is None:
        raise Refusal("The sandbox compares a given range with a field; joins are not modelled.")
    span = to_date_range(left_value)
    matches = _comparison(
        lambda _, value: isinstance(value, int | float) and span.start_ms <= value < span.end_ms,
        left_field=left_field,
        right_value=right_value,
        right_field=right_field,
        left_value=span,
    )
    timed = right_field == "system:time_start"
    return Filter(matches, times_ms=(span.start_ms, span.end_ms) if timed else None)


@function("Filter.notNull")
def not_null(properties: list[Any]) -> Filter:
    """All of these properties exist."""
    return Filter(lambda element: all(element.get(name) is not None for name in properties))


@function("Filter.and")
def all_of(filters: list[Any]) -> Filter:
    """Every filter passes."""
    times = [one.times_ms for one in filters if one.times_ms is not None]
    return Filter(
        lambda element: all(one.matches(element) for one in filters),
        place=next((one.place for one in filters if one.place is not None), None),
        times_ms=(max(t[0] for t in times), min(t[1] for t in times)) if times else None,
    )


@function("Filter.or")
def any_of(filters: list[Any]) -> Filter:
    """At least one filter passes."""
    return Filter(lambda element: any(one.matches(element) for one in filters))


@function("Filter.not")
def none_of(filter_: Filter) -> Filter:
    """The filter does not pass."""
    return Filter(lambda element: not filter_.matches(element))


@function("Filter.always")
def always() -> Filter:
    """Everything passes."""
    return Filter(lambda element: True)


@function("Filter.rangeContains")
def range_contains(field: str, min_value: float, max_value: float) -> Filter:
    """A number lies in a range, ends included."""

    def matches(element: Element) -> bool:
        value = element.get(field)
        return isinstance(value, int | float) and min_value <= value <= max_value

    return Filter(matches)


_CALENDAR: dict[str, Callable[[dt.datetime], int]] = {
    "day_of_year": lambda moment: moment.timetuple().tm_yday,
    "day_of_month": lambda moment: moment.day,
    "month": lambda moment: moment.month,
    "year": lambda moment: moment.year,
    "hour": lambda moment: moment.hour,
}


@function("Filter.calendarRange")
def calendar_range(start: int, end: int | None = None, field: str = "day_of_year") -> Filter:
    """A field of `system:time_start` lies in a range, ends included; start > end wraps around."""
    if field not in _CALENDAR:
        raise Refusal(f"The sandbox knows the calendar fields {', '.join(_CALENDAR)}, not '{field}'.")
    last = start if end is None else end

    def matches(element: Element) -> bool:
        time_ms = element.get("system:time_start")
        if time_ms is None:
            return False
        value = _CALENDAR[field](dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC))
        return start <= value <= last if start <= last else value >= start or value <= last

    return Filter(matches)
