"""Server functions of lists."""

from collections.abc import Iterator
from typing import Any

from sandbox.elements import Algorithm, Filter
from sandbox.functions.binding import Registry
from sandbox.images import Element
from sandbox.reducers import Reducer
from sandbox.refusals import Refusal

registry = Registry()
function = registry.function


@function("List.get", "List.getNumber", "List.getString", "List.getGeometry")
def get_item(list_: list[Any], index: int) -> Any:
    """The item at a position; negative positions count from the end."""
    if not -len(list_) <= index < len(list_):
        raise Refusal(f"List index must be between 0 and {len(list_) - 1}, or between {-len(list_)} and -1.")
    return list_[index]


@function("List.size", "List.length")
def size(list_: list[Any]) -> int:
    """Number of items."""
    return len(list_)


@function("List.map")
def map_list(list_: list[Any], base_algorithm: Algorithm, *, drop_nulls: bool = False) -> list[Any]:
    """A function of each item."""
    results = [base_algorithm(item) for item in list_]
    return [item for item in results if item is not None] if drop_nulls else results


@function("List.iterate")
def iterate(list_: list[Any], function: Algorithm, first: object = None) -> Any:
    """A function of each item and the result before."""
    result = first
    for item in list_:
        result = function(item, result)
    return result


@function("List.reduce")
def reduce_list(list_: list[Any], reducer: Reducer) -> Any:
    """One value from all items."""
    results = reducer.named([(item,) for item in list_])
    return next(iter(results.values())) if len(results) == 1 else results


@function("List.add")
def add(list_: list[Any], element: object) -> list[Any]:
    """With one more item at the end."""
    return [*list_, element]


@function("List.cat")
def cat(list_: list[Any], other: list[Any]) -> list[Any]:
    """Both, one after the other."""
    return [*list_, *other]


@function("List.contains")
def contains(list_: list[Any], element: object) -> bool:
    """Whether an item is equal to this."""
    return element in list_


@function("List.containsAll")
def contains_all(list_: list[Any], other: list[Any]) -> bool:
    """Whether all of the other items are among these."""
    return all(item in list_ for item in other)


@function("List.distinct")
def distinct(list_: list[Any]) -> list[Any]:
    """Without repetitions, in the order of first occurrence."""
    kept: list[Any] = []
    for item in list_:
        if item not in kept:
            kept.append(item)
    return kept


@function("List.equals")
def equals(list_: list[Any], other: list[Any]) -> bool:
    """Whether both hold equal items in the same order."""
    return list_ == other


@function("List.flatten")
def flatten(list_: list[Any]) -> list[Any]:
    """The items of all nested lists."""
    return list(_leaves(list_))


def _leaves(items: list[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, list):
            yield from _leaves(item)
        else:
            yield item


@function("List.frequency")
def frequency(list_: list[Any], element: object) -> int:
    """How many items are equal to this."""
    return list_.count(element)


@function("List.indexOf")
def index_of(list_: list[Any], element: object) -> int:
    """Position of the first item equal to this, or -1."""
    return list_.index(element) if element in list_ else -1


@function("List.insert")
def insert(list_: list[Any], index: int, element: object) -> list[Any]:
    """With one more item at a position."""
    return [*list_[:index], element, *list_[index:]]


@function("List.set")
def set_item(list_: list[Any], index: int, element: object) -> list[Any]:
    """With another item at a position."""
    get_item(list_, index)
    changed = list(list_)
    changed[index] = element
    return changed


@function("List.join")
def join(list_: list[Any], separator: str = "") -> str:
    """All items as one text."""
    return separator.join(item if isinstance(item, str) else f"{item:g}" for item in list_)


@function("List.remove")
def remove(list_: list[Any], element: object) -> list[Any]:
    """Without the first item equal to this."""
    position = index_of(list_, element)
    return list(list_) if position < 0 else [*list_[:position], *list_[position + 1 :]]


@function("List.removeAll")
def remove_all(list_: list[Any], other: list[Any]) -> list[Any]:
    """Without any item of the other list."""
    return [item for item in list_ if item not in other]


@function("List.repeat")
def repeat(value: object, count: int) -> list[Any]:
    """The same item many times."""
    return [value] * count


@function("List.reverse")
def reverse(list_: list[Any]) -> list[Any]:
    """In reverse order."""
    return list_[::-1]


@function("List.sequence")
def sequence(start: float, end: float | None = None, step: float = 1, count: int | None = None) -> list[Any]:
    """Numbers from start to end inclusive; evenly spaced if a count is given."""
    if count is not None:
        if end is not None and count > 1:
            step = (end - start) / (count - 1)
        return [start + step * position for position in range(count)]
    if end is None or step == 0:
        raise Refusal("Either 'end' with a non-zero 'step', or 'count' must be given.")
    return [start + step * position for position in range(int((end - start) // step) + 1)]


@function("List.slice")
def slice_list(list_: list[Any], start: int, end: int | None = None, step: int | None = None) -> list[Any]:
    """Items from start to before end."""
    return list_[start:end:step]


@function("List.sort")
def sort(list_: list[Any], keys: list[Any] | None = None) -> list[Any]:
    """In ascending order of the keys (of the items, without keys); numbers before text, ties as they were."""
    ranks = list_ if keys is None else keys
    if len(ranks) != len(list_):
        raise Refusal(f"Keys ({len(ranks)}) and list ({len(list_)}) must have the same length.")
    order = sorted(range(len(list_)), key=lambda position: sort_key(ranks[position]))
    return [list_[position] for position in order]


def sort_key(value: Any) -> tuple[int, Any]:
    """Order over values of mixed type: null, numbers, text, everything else as text."""
    if value is None:
        return 0, 0
    if isinstance(value, int | float):
        return 1, value
    return (2, value) if isinstance(value, str) else (3, str(value))


@function("List.unzip")
def unzip(list_: list[Any]) -> list[Any]:
    """Columns of a list of rows."""
    return [list(column) for column in zip(*list_, strict=True)]


@function("List.zip")
def zip_lists(list_: list[Any], other: list[Any]) -> list[Any]:
    """Pairs, as many as the shorter list has items."""
    return [list(pair) for pair in zip(list_, other, strict=False)]


@function("List.filter")
def filter_list(list_: list[Any], filter_: Filter) -> list[Any]:
    """Items that pass a filter on the selector `item`."""
    return [item for item in list_ if filter_.matches(Element({"item": item}))]
