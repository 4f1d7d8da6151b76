"""Reducers: many rows of inputs to named outputs, over the columns of a collection or the pixels of a region.

Rows weigh alike: the partial coverage of pixels at the border of a region is not modelled.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

Rows = Sequence[tuple[Any, ...]]


@dataclass(frozen=True)
class Reducer:
    """A way to sum up rows."""

    inputs: int
    """Values in a row."""
    outputs: tuple[str, ...]
    reduce: Callable[[Rows], tuple[Any, ...]]
    """One value for each output."""

    def named(self, rows: Rows) -> dict[str, Any]:
        """Outputs by name."""
        return dict(zip(self.outputs, self.reduce(rows), strict=True))


def of_one(name: str, summarise: Callable[[list[Any]], Any]) -> Reducer:
    """A reducer of one input; nulls are left out."""

    def reduce(rows: Rows) -> tuple[Any, ...]:
        return (summarise([value for (value,) in rows if value is not None]),)

    return Reducer(1, (name,), reduce)


def to_list(tuple_size: int | None, num_optional: int) -> Reducer:
    """All values; or all tuples whose first `tuple_size - num_optional` values are not null."""
    if tuple_size is None:
        return of_one("list", lambda values: values)
    needed = tuple_size - num_optional

    def reduce(rows: Rows) -> tuple[Any, ...]:
        return ([list(row) for row in rows if all(value is not None for value in row[:needed])],)

    return Reducer(tuple_size, ("list",), reduce)


def repeated(reducer: Reducer, count: int) -> Reducer:
    """The reducer once for each of `count` groups of columns; every output becomes a list."""
    width = reducer.inputs

    def reduce(rows: Rows) -> tuple[Any, ...]:
        results = [
            reducer.reduce([row[start : start + width] for row in rows])
            for start in range(0, width * count, width)
        ]
        return tuple([result[output] for result in results] for output in range(len(reducer.outputs)))

    return Reducer(width * count, reducer.outputs, reduce)


def _or_null(summarise: Callable[[Iterable[Any]], Any]) -> Callable[[list[Any]], Any]:
    return lambda values: summarise(values) if values else None


def frequencies(values: Iterable[Any]) -> dict[str, int]:
    """How often each value occurs; whole numbers are written without a point."""
    written = (str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in values)
    return dict(sorted(Counter(written).items()))


SIMPLE: Mapping[str, Reducer] = MappingProxyType(
    {
        "count": of_one("count", len),
        "countDistinct": of_one("count", lambda values: len(set(values))),
        "first": of_one("first", lambda values: values[0] if values else None),
        "last": of_one("last", lambda values: values[-1] if values else None),
        "min": of_one("min", _or_null(min)),
        "max": of_one("max", _or_null(max)),
        "sum": of_one("sum", sum),
        "mean": of_one("mean", _or_null(statistics.fmean)),
        "median": of_one("median", _or_null(statistics.median)),
        "mode": of_one("mode", _or_null(statistics.mode)),
        "stdDev": of_one("stdDev", _or_null(statistics.pstdev)),
        "variance": of_one("variance", _or_null(statistics.pvariance)),
        "frequencyHistogram": of_one("histogram", frequencies),
        "minMax": Reducer(
            1,
            ("min", "max"),
            lambda rows: (
                min((v for (v,) in rows if v is not None), default=None),
                max((v for (v,) in rows if v is not None), default=None),
            ),
        ),
    }
)
"""Reducers without arguments, by the name after `Reducer.`."""
