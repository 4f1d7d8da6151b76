"""Collections of images and features, the filters that thin them, and what they are mapped by."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.geometries import Geometry
from sandbox.images import Element, Image
from sandbox.lazy import lazy

Elements = Sequence[Element]
Algorithm = Callable[..., Any]
"""A function of the graph, called with its arguments in order."""


@dataclass(frozen=True)
class Filter:
    """A predicate, with what an index can make of it."""

    matches: Callable[[Element], bool]
    place: Geometry | None = None
    """Nothing matches unless it meets this; None: anywhere."""
    times_ms: tuple[float, float] | None = None
    """Nothing matches unless `system:time_start` lies in [start, end); None: any time."""


@dataclass(frozen=True, eq=False)
class Collection:
    """Elements in order, found or computed when they are first asked for."""

    make: Callable[[], Elements]
    of_images: bool
    """What an empty collection calls itself."""
    id: str | None = None
    """Asset id, of a stored collection."""
    refine: Callable[[Filter], "Collection"] | None = None
    """Narrows the search of a stored collection, instead of reading it all."""

    @lazy
    def elements(self) -> Elements:
        """All elements, in order."""
        return self.make()

    @property
    def holds_images(self) -> bool:
        """Whether the elements are images; an empty collection stays what it was."""
        return isinstance(self.elements[0], Image) if self.elements else self.of_images

    def filtered(self, by: Filter) -> "Collection":
        """The elements that pass a filter."""
        if self.refine is not None:
            return self.refine(by)
        return self.derived(lambda: [element for element in self.elements if by.matches(element)])

    def derived(self, make: Callable[[], Elements]) -> "Collection":
        """A collection of the same kind with other elements."""
        return Collection(make, of_images=self.of_images)


@dataclass(frozen=True, eq=False)
class Nested(Element):
    """A collection as an element of another one, until it is flattened."""

    members: Collection | None = None


def listed(elements: Iterable[Element], *, of_images: bool) -> Collection:
    """A collection of known elements; those without a name are named by their position."""
    named = tuple(
        element
        if element.get("system:index") is not None
        else element.with_properties({"system:index": str(n)})
        for n, element in enumerate(elements)
    )
    return Collection(lambda: named, of_images=of_images)
