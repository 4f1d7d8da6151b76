"""Evaluates an expression graph, `{"result": KEY, "values": {KEY: node}}`.

A shared node is evaluated once. Inside a mapped function a node that depends on the function's argument is
evaluated once *for each element*: its value is remembered in the innermost frame that binds one of the
arguments it depends on.
"""

import base64
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sandbox.assets import Assets
from sandbox.functions.binding import ServerFunction
from sandbox.refusals import Refusal

Node = Mapping[str, Any]
NO_NAMES: frozenset[str] = frozenset()


@dataclass
class Frame:
    """The arguments of one call of a function of the graph, and what was computed from them."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    parent: "Frame | None" = None
    known: dict[str, Any] = field(default_factory=dict)
    """Values of shared nodes, by key."""

    def lookup(self, name: str) -> Any:
        """Value of an argument, of this call or of one around it."""
        frame: Frame | None = self
        while frame is not None:
            if name in frame.arguments:
                return frame.arguments[name]
            frame = frame.parent
        raise Refusal(f"Unbound argument reference '{name}'.", named=True)

    def holder_of(self, names: frozenset[str]) -> "Frame":
        """The innermost frame that binds one of these names; the outermost if none does."""
        frame = self
        while frame.parent is not None and names.isdisjoint(frame.arguments):
            frame = frame.parent
        return frame


class Evaluation:
    """One expression, evaluated against a set of functions and stored images."""

    def __init__(
        self, expression: object, *, functions: Mapping[str, ServerFunction], assets: Assets
    ) -> None:
        if not isinstance(expression, dict) or not isinstance(expression.get("values"), dict):
            raise Refusal("Expression must have 'result' and 'values'.", named=True)
        self._values: dict[str, Node] = expression["values"]
        self._result = expression.get("result")
        self._functions = functions
        self._assets = assets
        self._free: dict[str, frozenset[str]] = {}

    def result(self) -> Any:
        """Value of the whole expression.

        Raises
        ------
        Refusal
            If a node, function or argument is unknown, or a function refuses.
        """
        return self._shared(str(self._result), Frame())

    def _shared(self, key: str, frame: Frame) -> Any:
        holder = frame.holder_of(self._free_names(key))
        if key not in holder.known:
            holder.known[key] = self._value(self._node(key), frame)
        return holder.known[key]

    def _node(self, key: str) -> Node:
        try:
            return self._values[key]
        except KeyError:
            raise Refusal(f"Undefined value reference '{key}'.", named=True) from None

    def _value(self, node: Node, frame: Frame) -> Any:
        match node:
            case {"valueReference": key}:
                return self._shared(key, frame)
            case {"functionInvocationValue": invocation}:
                return self._invoke(invocation, frame)
            case {"constantValue": constant}:
                return constant
            case {"argumentReference": name}:
                return frame.lookup(name)
            case {"arrayValue": array}:
                return [self._value(item, frame) for item in array.get("values", ())]
            case {"dictionaryValue": dictionary}:
                return {key: self._value(item, frame) for key, item in dictionary.get("values", {}).items()}
            case {"functionDefinitionValue": definition}:
                return self._function(definition, frame)
            case {"integerValue": digits}:
                return int(digits)
            case {"bytesValue": text}:
                return base64.b64decode(text)
        raise Refusal(f"Unknown kind of node: {sorted(node)}.", named=True)

    def _function(self, definition: Node, frame: Frame) -> Callable[..., Any]:
        names = definition.get("argumentNames", ())

        def call(*values: Any) -> Any:
            return self._shared(definition["body"], Frame(dict(zip(names, values, strict=True)), frame))

        return call

    def _invoke(self, invocation: Node, frame: Frame) -> Any:
        nodes = invocation.get("arguments", {})
        evaluate = partial(self._value, frame=frame)
        if "functionReference" in invocation:
            function = self._shared(invocation["functionReference"], frame)
            return function(*map(evaluate, nodes.values()))
        name = invocation.get("functionName")
        known = self._functions.get(str(name))
        if known is None:
            raise Refusal(
                f"Unknown function '{name}': the sandbox implements {len(self._functions)} functions of Earth "
                "Engine, and this is not among them.",
                named=True,
            )
        return known.call(nodes, evaluate, self._assets)

    def _free_names(self, key: str) -> frozenset[str]:
        """Arguments that a shared node depends on, without those that it binds itself."""
        if key not in self._free:
            self._free[key] = NO_NAMES  # ends a cycle; the graph of a client has none
            self._free[key] = self._free_in(self._node(key))
        return self._free[key]

    def _free_in(self, node: Node) -> frozenset[str]:
        match node:
            case {"valueReference": key}:
                return self._free_names(key)
            case {"argumentReference": name}:
                return frozenset({name})
            case {"functionDefinitionValue": definition}:
                return self._free_names(definition["body"]) - {*definition.get("argumentNames", ())}
            case {"functionInvocationValue": invocation}:
                parts = [self._free_in(item) for item in invocation.get("arguments", {}).values()]
                if "functionReference" in invocation:
                    parts.append(self._free_names(invocation["functionReference"]))
                return NO_NAMES.union(*parts)
            case {"arrayValue": array}:
                return NO_NAMES.union(*map(self._free_in, array.get("values", ())))
            case {"dictionaryValue": dictionary}:
                return NO_NAMES.union(*map(self._free_in, dictionary.get("values", {}).values()))
        return NO_NAMES


def functions_used(expression: object) -> dict[str, int]:
    """How often each function is called in a graph, as it is written (a mapped call counts once)."""
    counts: Counter[str] = Counter()
    pending = [expression]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(name := item.get("functionName"), str):
                counts[name] += 1
            pending.extend(value for key, value in item.items() if key != "constantValue")
        elif isinstance(item, list):
            pending.extend(item)
    return dict(sorted(counts.items()))
