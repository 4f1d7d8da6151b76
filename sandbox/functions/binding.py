"""Server functions: Python functions under Earth Engine's names, bound by their annotations.

The names of the arguments are the Python names in camel case, without a trailing underscore
(`same_footprint` is `sameFootprint`, `list_` is `list`); a test compares them with the client's own list.
An argument without a default is required. `Assets` is filled in by the evaluation, `Deferred` arrives as a
function of no arguments.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from sandbox.assets import Assets
from sandbox.coercion import COERCIONS, EXPECTED, Deferred, WrongTypeError, type_name
from sandbox.lazy import lazy
from sandbox.refusals import Refusal

Implementation = TypeVar("Implementation", bound=Callable[..., Any])


@dataclass(frozen=True)
class Parameter:
    """One argument of a server function."""

    name: str
    """As Earth Engine calls it."""
    python_name: str
    kind: Any
    """A key of `COERCIONS`."""
    required: bool
    has_default: bool

    def take(self, value: Any) -> Any:
        """The value as the function wants it.

        Raises
        ------
        Refusal
            If it is of another type.
        """
        try:
            return COERCIONS[self.kind](value)
        except WrongTypeError:
            expected = EXPECTED.get(self.kind) or getattr(self.kind, "__name__", str(self.kind))
            raise Refusal(
                f"Parameter '{self.name}': Invalid type. Expected type: {expected}. "
                f"Actual type: {type_name(value)}."
            ) from None


@dataclass(frozen=True)
class ServerFunction:
    """A function that graphs may call."""

    name: str
    parameters: tuple[Parameter, ...]
    implementation: Callable[..., Any]
    assets_name: str | None
    """Python name of the argument that takes the stored images, if there is one."""

    @lazy
    def names(self) -> frozenset[str]:
        """Arguments by Earth Engine's names."""
        return frozenset(parameter.name for parameter in self.parameters)

    def call(self, nodes: Mapping[str, Any], evaluate: Callable[[Any], Any], assets: Assets) -> Any:
        """Evaluate the nodes of the arguments and call.

        Raises
        ------
        Refusal
            If an argument is unknown, missing or of the wrong type, or the function refuses.
        """
        try:
            return self.implementation(**self._bound(nodes, evaluate, assets))
        except Refusal as refusal:
            if refusal.named:
                raise
            raise Refusal(f"{self.name}: {refusal.message}", status=refusal.status, named=True) from None

    def _bound(
        self, nodes: Mapping[str, Any], evaluate: Callable[[Any], Any], assets: Assets
    ) -> dict[str, Any]:
        if not nodes.keys() <= self.names:
            unknown = ", ".join(sorted(nodes.keys() - self.names))
            raise Refusal(f"The sandbox does not implement the argument(s) {unknown}.")
        bound: dict[str, Any] = {} if self.assets_name is None else {self.assets_name: assets}
        for parameter in self.parameters:
            node = nodes.get(parameter.name)
            if parameter.kind == Deferred:
                bound[parameter.python_name] = partial(_evaluated, node, evaluate)
                continue
            value = None if node is None else evaluate(node)
            if value is not None:
                bound[parameter.python_name] = parameter.take(value)
            elif parameter.required:
                raise Refusal(f"Parameter '{parameter.name}' is required and may not be null.")
            elif not parameter.has_default:
                bound[parameter.python_name] = None
        return bound


def _evaluated(node: Any, evaluate: Callable[[Any], Any]) -> Any:
    return None if node is None else evaluate(node)


class Registry:
    """Server functions by name; each module of functions fills one."""

    def __init__(self) -> None:
        self.functions: dict[str, ServerFunction] = {}

    def function(self, *names: str) -> Callable[[Implementation], Implementation]:
        """Publish the decorated function under these names."""

        def publish(implementation: Implementation) -> Implementation:
            for name in names:
                self.functions[name] = server_function(name, implementation)
            return implementation

        return publish


def server_function(name: str, implementation: Callable[..., Any]) -> ServerFunction:
    """Read the arguments of a server function from its annotations."""
    hints = get_type_hints(implementation)
    parameters, assets_name = [], None
    for python_name, parameter in inspect.signature(implementation).parameters.items():
        kind = _without_none(hints[python_name])
        if kind is Assets:
            assets_name = python_name
            continue
        has_default = parameter.default is not inspect.Parameter.empty
        required = not has_default and kind is hints[python_name] and kind is not object
        parameters.append(Parameter(camel_case(python_name), python_name, kind, required, has_default))
    return ServerFunction(name, tuple(parameters), implementation, assets_name)


def camel_case(python_name: str) -> str:
    """`right_value` -> `rightValue`, `list_` -> `list`."""
    return re.sub(r"_(\w)", lambda match: match[1].upper(), python_name.rstrip("_"))


def _without_none(hint: Any) -> Any:
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if len(kinds) == 1 and NoneType in get_args(hint) else hint
