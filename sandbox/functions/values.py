"""Server functions of plain values: numbers, strings, dictionaries, dates, conditions."""

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sandbox.coercion import Deferred, to_bool
from sandbox.dates import UNIT_MS, Date, DateRange, advance, format_date, get_field, parse_date, unit_name
from sandbox.elements import Algorithm
from sandbox.functions.binding import Registry
from sandbox.refusals import Refusal

registry = Registry()
function = registry.function

UNARY: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "abs": abs,
        "ceil": math.ceil,
        "floor": math.floor,
        "round": lambda value: math.floor(value + 0.5),
        "sqrt": math.sqrt,
        "exp": math.exp,
        "log": math.log,
        "not": lambda value: int(not value),
        "toInt": int,
        "int": int,
        "toFloat": float,
        "float": float,
    }
)
BINARY: Mapping[str, Callable[[float, float], float]] = MappingProxyType(
    {
        "add": operator.add,
        "subtract": operator.sub,
        "multiply": operator.mul,
        "divide": operator.truediv,
        "mod": math.fmod,
        "pow": operator.pow,
        "min": min,
        "max": max,
        "and": lambda left, right: int(bool(left) and bool(right)),
        "or": lambda left, right: int(bool(left) or bool(right)),
        "eq": lambda left, right: int(left == right),
        "neq": lambda left, right: int(left != right),
        "lt": lambda left, right: int(left < right),
        "lte": lambda left, right: int(left <= right),
        "gt": lambda left, right: int(left > right),
        "gte": lambda left, right: int(left >= right),
    }
)


def _unary(compute: Callable[[float], float]) -> Callable[..., float]:
    def number(input_: float) -> float:
        return compute(input_)

    return number


def _binary(compute: Callable[[float, float], float]) -> Callable[..., float]:
    def number(left: float, right: float) -> float:
        return compute(left, right)

    return number


for _name, _compute in UNARY.items():
    function(f"Number.{_name}")(_unary(_compute))
for _name, _combine in BINARY.items():
    function(f"Number.{_name}")(_binary(_combine))


@function("Number.parse")
def parse_number(input_: str, radix: int = 10) -> float:
    """Read a number."""
    try:
        return int(input_, radix)
    except ValueError:
        return float(input_)


@function("Number.format")
def format_number(number: float, pattern: str = "%s") -> str:
    """Write a number by a printf pattern."""
    plain = int(number) if float(number).is_integer() else number
    return pattern % plain


@function("If")
def choose(*, condition: Deferred, true_case: Deferred, false_case: Deferred) -> Any:
    """One of two values; only the chosen one is evaluated. Null, 0 and "" are false."""
    value = condition()
    if isinstance(value, int | float):
        value = to_bool(value)
    elif isinstance(value, str):
        value = bool(value)
    return (true_case if value not in (None, False) else false_case)()


@function("IsEqual")
def is_equal(left: object, right: object) -> bool:
    """Whether two values are equal."""
    return left == right


@function("String")
def text(input_: object) -> str:
    """A value as text."""
    if isinstance(input_, float) and input_.is_integer():
        return str(int(input_))
    return input_ if isinstance(input_, str) else json.dumps(input_)


@function("String.cat")
def cat_text(string1: str, string2: str) -> str:
    """Both, one after the other."""
    return string1 + string2


@function("String.length")
def text_length(string: str) -> int:
    """Number of characters."""
    return len(string)


@function("String.slice")
def slice_text(string: str, start: int, end: int | None = None) -> str:
    """Characters from start to before end; negative positions count from the end."""
    return string[start:end]


@function("String.split")
def split_text(string: str, regex: str, flags: str = "") -> list[str]:
    """Parts between the matches of a regular expression."""
    return re.split(regex, string, flags=_flags(flags))


@function("String.replace")
def replace_text(input_: str, regex: str, replacement: str, flags: str = "") -> str:
    """The first match replaced; all of them with the flag `g`."""
    python = re.sub(r"\$(\d)", r"\\\1", replacement)
    return re.sub(regex, python, input_, count=0 if "g" in flags else 1, flags=_flags(flags))


@function("String.match")
def match_text(input_: str, regex: str, flags: str = "") -> list[str]:
    """The first match and its groups; all matches with the flag `g`; empty if there is none."""
    if "g" in flags:
        return [found[0] for found in re.finditer(regex, input_, flags=_flags(flags))]
    found = re.search(regex, input_, flags=_flags(flags))
    return [found[0], *found.groups("")] if found else []


def _flags(flags: str) -> int:
    return re.IGNORECASE if "i" in flags else 0


@function("String.index")
def index_text(target: str, pattern: str) -> int:
    """Position of the first occurrence, or -1."""
    return target.find(pattern)


@function("String.equals")
def equal_text(reference: str, target: object) -> bool:
    """Whether both are the same text."""
    return reference == target


@function("String.compareTo")
def compare_text(string1: str, string2: str) -> int:
    """-1, 0 or 1 as the first comes before, is equal to, or comes after the second."""
    return (string1 > string2) - (string1 < string2)


@function("String.toLowerCase")
def lower_text(string: str) -> str:
    """In small letters."""
    return string.lower()


@function("String.toUpperCase")
def upper_text(string: str) -> str:
    """In capitals."""
    return string.upper()


@function("String.trim")
def trim_text(string: str) -> str:
    """Without white space at both ends."""
    return string.strip()


@function("String.encodeJSON")
def encode_json(object_: object) -> str:
    """A plain value as JSON."""
    return json.dumps(object_)


@function("String.decodeJSON")
def decode_json(string: str) -> Any:
    """The value of a JSON text."""
    return json.loads(string)


@function("Dictionary")
def dictionary(input_: object = None) -> dict[str, Any]:
    """A dictionary, from one or from a flat list of keys and values."""
    if isinstance(input_, list):
        return dict(zip(input_[::2], input_[1::2], strict=True))
    return dict(input_) if isinstance(input_, dict) else {}


@function("Dictionary.fromLists")
def from_lists(keys: list[Any], values: list[Any]) -> dict[str, Any]:
    """Keys and values of the same number."""
    if len(keys) != len(values):
        raise Refusal(f"Keys ({len(keys)}) and values ({len(values)}) must have the same length.")
    return dict(zip(keys, values, strict=True))


@function("Dictionary.get")
def get_entry(dictionary: dict[str, Any], key: str, default_value: object = None) -> Any:
    """Value of a key."""
    if key not in dictionary and default_value is None:
        raise Refusal(f"Dictionary does not contain key: '{key}'.")
    return dictionary.get(key, default_value)


@function("Dictionary.getNumber", "Dictionary.getString")
def get_typed_entry(dictionary: dict[str, Any], key: str) -> Any:
    """Value of a key."""
    return get_entry(dictionary, key)


@function("Dictionary.set")
def set_entry(dictionary: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """A copy with one more entry."""
    return {**dictionary, key: value}


@function("Dictionary.combine")
def combine(first: dict[str, Any], second: dict[str, Any], *, overwrite: bool = True) -> dict[str, Any]:
    """The entries of both; the second wins if `overwrite`."""
    return {**first, **second} if overwrite else {**second, **first}


@function("Dictionary.keys")
def keys(dictionary: dict[str, Any]) -> list[str]:
    """Keys in alphabetical order."""
    return sorted(dictionary)


@function("Dictionary.values")
def values(dictionary: dict[str, Any], keys: list[Any] | None = None) -> list[Any]:
    """Values in the order of the keys."""
    return [get_entry(dictionary, key) for key in (sorted(dictionary) if keys is None else keys)]


@function("Dictionary.size")
def dictionary_size(dictionary: dict[str, Any]) -> int:
    """Number of entries."""
    return len(dictionary)


@function("Dictionary.contains")
def contains_key(dictionary: dict[str, Any], key: str) -> bool:
    """Whether there is such a key."""
    return key in dictionary


@function("Dictionary.map")
def map_dictionary(dictionary: dict[str, Any], base_algorithm: Algorithm) -> dict[str, Any]:
    """A function of key and value for each entry."""
    return {key: base_algorithm(key, value) for key, value in dictionary.items()}


@function("Dictionary.select")
def select_entries(
    dictionary: dict[str, Any], selectors: list[Any], *, ignore_missing: bool = False
) -> dict[str, Any]:
    """The entries of these keys."""
    wanted = [key for key in selectors if key in dictionary or not ignore_missing]
    return {key: get_entry(dictionary, key) for key in wanted}


@function("Date")
def date(value: object, time_zone: str | None = None) -> Date:
    """An instant from milliseconds, ISO 8601 text, or a date."""
    if time_zone not in {None, "UTC", "Etc/UTC"}:
        raise Refusal(f"The sandbox knows UTC only, not the time zone '{time_zone}'.")
    if isinstance(value, Date):
        return value
    if isinstance(value, str):
        return parse_date(value)
    if isinstance(value, int | float):
        return Date(int(value))
    raise Refusal("Parameter 'value' is required and may not be null.")


@function("Date.millis")
def millis(date: Date) -> int:
    """Milliseconds since 1970 UTC."""
    return date.ms


@function("Date.advance")
def advance_date(date: Date, delta: float, unit: str) -> Date:
    """A date some units later."""
    return advance(date, delta=delta, unit=unit)


@function("Date.difference")
def difference(date: Date, start: Date, unit: str) -> float:
    """Time from start to date in some unit."""
    return (date.ms - start.ms) / UNIT_MS[unit_name(unit)]


@function("Date.format")
def write_date(date: Date, format_: str | None = None) -> str:
    """A date by a Joda-Time pattern."""
    return format_date(date, format_)


@function("Date.get")
def date_field(date: Date, unit: str) -> int:
    """A field of the calendar."""
    return get_field(date, unit)


@function("Date.fromYMD")
def from_ymd(year: int, month: int, day: int) -> Date:
    """Midnight UTC of a day."""
    return parse_date(f"{year:04d}-{month:02d}-{day:02d}")


@function("DateRange")
def date_range(start: Date, end: Date | None = None) -> DateRange:
    """From start to before end; one millisecond if there is no end."""
    return DateRange(start.ms, start.ms + 1 if end is None else end.ms)


@function("DateRange.start")
def range_start(date_range: DateRange) -> Date:
    """Its first instant."""
    return Date(int(date_range.start_ms))


@function("DateRange.end")
def range_end(date_range: DateRange) -> Date:
    """The first instant after it."""
    return Date(int(date_range.end_ms))
