"""Pickles that hold nothing but data, read without `pickle`: no code of a stranger can run, because none is ever looked up.

CromSS stores each array as a pickled tuple `(bytes, shape, id)`. This reads such values from the opcodes themselves: tuples,
bytes, strings, whole numbers, None and truth values. Any other opcode is refused. One thing that is not plain is understood:
a NumPy integer, which is how pandas hands ids to the official script. Its pickle names two functions of NumPy; here they are
two words that are compared, never called.

Bytes are views of the pickle: nothing is copied or allocated, whatever lengths it tells.
"""

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from noldo.errors import InputError

MAX_PARTS: Final = 1000
"""Values in one pickle; a record of CromSS has about ten, and thirty with a NumPy integer."""

MAX_INT_BYTES: Final = 8


class PlainPickleError(InputError):
    """A pickle is damaged, or holds something else than it should."""


class ForbiddenPickleError(PlainPickleError):
    """A pickle asks to run code, or is made of opcodes that data do not need."""


@dataclass(frozen=True)
class _Name:
    """Something that a pickle names and that is not looked up."""

    module: str
    name: str


@dataclass(frozen=True)
class _IntegerType:
    """The dtype of a NumPy integer, e.g. `i8`, as far as a pickle has told."""

    kind: str
    order: str = ""


_MARK = object()
_SCALARS = (_Name("numpy.core.multiarray", "scalar"), _Name("numpy._core.multiarray", "scalar"))
_DTYPE = _Name("numpy", "dtype")
_KINDS = tuple(f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8))


def read_plain_pickle(content: bytes | memoryview, *, where: str) -> Any:
    """The value of a pickle.

    Parameters
    ----------
    where
        File and key, for messages.

    Returns
    -------
    Tuples, strings, ints, bools, None; bytes as read-only views of `content`.

    Raises
    ------
    ForbiddenPickleError
        If it asks for anything else; names the opcode. Nothing was executed.
    PlainPickleError
        If it is damaged.
    """
    machine = _Machine(memoryview(content).toreadonly().cast("B"), where=where)
    return machine.run()


class _Machine:
    """Reads opcodes (Python's `pickletools`, protocols 2 to 5) onto a stack."""

    def __init__(self, content: memoryview, *, where: str) -> None:
        self._content = content
        self._where = where
        self._at = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._parts = 0

    def run(self) -> Any:
        """Up to STOP, which must be the last byte."""
        while (code := self._bytes(1)[0]) != ord("."):
            self._parts += 1
            action = _ACTIONS.get(code)
            if action is None:
                raise self._forbidden(code)
            if self._parts > 3 * MAX_PARTS or len(self._stack) > MAX_PARTS:
                raise self._damaged(f"more than {MAX_PARTS} values")
            action(self)
        if len(self._stack) != 1 or self._at != len(self._content):
            raise self._damaged(
                f"{len(self._stack)} values, and it ends at byte {self._at} of {len(self._content)}"
            )
        value = self._stack[0]
        if _is_unfinished(value):
            raise self._damaged("it names a function and does nothing with it")
        return value

    def _forbidden(self, code: int) -> ForbiddenPickleError:
        known = next((one.name for one in pickletools.opcodes if ord(one.code) == code), "unknown")
        return ForbiddenPickleError(
            f"{self._where}: pickle with opcode {known} (byte {code}) at {self._at - 1}: that is no plain data and may run code, so it was not read; "
            "don't use this file"
        )

    def _damaged(self, fault: str) -> PlainPickleError:
        return PlainPickleError(
            f"{self._where}: not a pickle of (bytes, shape, id): {fault}; fetch the file again"
        )

    def _bytes(self, count: int) -> memoryview:
        if count < 0 or count > len(self._content) - self._at:
            raise self._damaged(f"{count} bytes wanted at {self._at} of {len(self._content)}")
        self._at += count
        return self._content[self._at - count : self._at]

    def _number(self, layout: str) -> int:
        value: int = struct.unpack(layout, self._bytes(struct.calcsize(layout)))[0]
        return value

    def _text(self, length: int) -> str:
        try:
            return str(self._bytes(length), "utf-8")
        except UnicodeDecodeError:
            raise self._damaged("a string that is not UTF-8") from None

    def _pop(self) -> Any:
        if not self._stack:
            raise self._damaged("a value is missing")
        return self._stack.pop()

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def skip_frame(self) -> None:
        """FRAME, PROTO: tell how much follows, and the version; nothing depends on them."""
        self._number("<Q")

    def skip_protocol(self) -> None:
        self._number("<B")

    def push_bytes(self, layout: str) -> None:
        self._push(self._bytes(self._number(layout)))

    def push_text(self, layout: str) -> None:
        self._push(self._text(self._number(layout)))

    def push_number(self, layout: str) -> None:
        self._push(self._number(layout))

    def push_long(self, layout: str) -> None:
        length = self._number(layout)
        if length > MAX_INT_BYTES:
            raise self._damaged(f"a whole number of {length} bytes")
        self._push(int.from_bytes(self._bytes(length), "little", signed=True))

    def push_constant(self, value: Any) -> None:
        self._push(value)

    def push_tuple(self, length: int) -> None:
        self._push(tuple(reversed([self._pop() for _ in range(length)])))

    def push_tuple_to_mark(self) -> None:
        values: list[Any] = []
        while (value := self._pop()) is not _MARK:
            values.append(value)
        self._push(tuple(reversed(values)))

    def keep(self) -> None:
        """MEMOIZE."""
        self._keep_at(len(self._memo))

    def keep_as(self, layout: str) -> None:
        self._keep_at(self._number(layout))

    def _keep_at(self, place: int) -> None:
        if not self._stack:
            raise self._damaged("a value is missing")
        self._memo[place] = self._stack[-1]

    def recall(self, layout: str) -> None:
        place = self._number(layout)
        value = self._memo.get(place, _MARK)
        # A tuple that is used again and again would be a small pickle of endless size.
        if value is _MARK or isinstance(value, tuple):
            raise self._damaged("it refers to a value that can't be referred to")
        self._push(value)

    def push_name(self) -> None:
        """GLOBAL: two lines."""
        rest = bytes(self._content[self._at : self._at + 200])
        lines = rest.split(b"\n", 2)
        if len(lines) < 3:
            raise self._forbidden(ord("c"))
        self._push_known(_Name(lines[0].decode("latin-1"), lines[1].decode("latin-1")), ord("c"))
        self._at += len(lines[0]) + len(lines[1]) + 2

    def push_stacked_name(self) -> None:
        """STACK_GLOBAL."""
        name, module = self._pop(), self._pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise self._forbidden(0x93)
        self._push_known(_Name(module, name), 0x93)

    def _push_known(self, name: _Name, code: int) -> None:
        if name != _DTYPE and name not in _SCALARS:
            error = self._forbidden(code)
            raise ForbiddenPickleError(f"{error} (it names {name.module[:40]}.{name.name[:40]})")
        self._push(name)

    def reduce(self) -> None:
        """REDUCE, for `numpy.dtype("i8", False, True)` and `scalar(dtype, bytes)` alone."""
        arguments, function = self._pop(), self._pop()
        if function == _DTYPE and isinstance(arguments, tuple) and arguments and arguments[0] in _KINDS:
            self._push(_IntegerType(arguments[0]))
        elif function in _SCALARS and _is_scalar(arguments):
            kind, content = arguments
            is_big = kind.order == ">"
            signed = kind.kind[0] == "i"
            self._push(int.from_bytes(content, "big" if is_big else "little", signed=signed))
        else:
            raise self._forbidden(ord("R"))

    def build(self) -> None:
        """BUILD, for the state of a dtype, of which only the byte order matters."""
        state, target = self._pop(), self._pop()
        if not isinstance(target, _IntegerType) or not isinstance(state, tuple) or len(state) < 2:
            raise self._forbidden(ord("b"))
        if state[1] not in ("<", ">", "|", "="):
            raise self._forbidden(ord("b"))
        finished = _IntegerType(target.kind, state[1])
        self._memo = {place: finished if one is target else one for place, one in self._memo.items()}
        self._push(finished)


def _is_scalar(arguments: Any) -> bool:
    return (
        isinstance(arguments, tuple)
        and len(arguments) == 2
        and isinstance(arguments[0], _IntegerType)
        and isinstance(arguments[1], memoryview)
        and len(arguments[1]) == int(arguments[0].kind[1])
    )


def _is_unfinished(value: Any) -> bool:
    rest = [value]
    while rest:
        part = rest.pop()
        if part is _MARK or isinstance(part, _Name | _IntegerType):
            return True
        if isinstance(part, tuple):
            rest += part
    return False


_ACTIONS: Final[dict[int, Callable[[_Machine], None]]] = {
    0x80: _Machine.skip_protocol,
    0x95: _Machine.skip_frame,
    ord("C"): lambda m: m.push_bytes("<B"),
    ord("B"): lambda m: m.push_bytes("<I"),
    0x8E: lambda m: m.push_bytes("<Q"),
    0x8C: lambda m: m.push_text("<B"),
    ord("X"): lambda m: m.push_text("<I"),
    ord("K"): lambda m: m.push_number("<B"),
    ord("M"): lambda m: m.push_number("<H"),
    ord("J"): lambda m: m.push_number("<i"),
    0x8A: lambda m: m.push_long("<B"),
    ord("N"): lambda m: m.push_constant(None),
    0x88: lambda m: m.push_constant(True),
    0x89: lambda m: m.push_constant(False),
    ord(")"): lambda m: m.push_tuple(0),
    0x85: lambda m: m.push_tuple(1),
    0x86: lambda m: m.push_tuple(2),
    0x87: lambda m: m.push_tuple(3),
    ord("("): lambda m: m.push_constant(_MARK),
    ord("t"): _Machine.push_tuple_to_mark,
    0x94: _Machine.keep,
    ord("q"): lambda m: m.keep_as("<B"),
    ord("r"): lambda m: m.keep_as("<I"),
    ord("h"): lambda m: m.recall("<B"),
    ord("j"): lambda m: m.recall("<I"),
    ord("c"): _Machine.push_name,
    0x93: _Machine.push_stacked_name,
    ord("R"): _Machine.reduce,
    ord("b"): _Machine.build,
}
"""By opcode byte; what is not here is refused."""


@dataclass(frozen=True)
class PickledArray:
    """One record of CromSS: `(bytes, shape)` or `(bytes, shape, id)`."""

    content: memoryview
    """Raw values, C order."""
    shape: tuple[int, ...]
    id: int | str | None
    """As stored; None in records that have none."""


MAX_SIDE: Final = 1 << 16
MAX_AXES: Final = 5


def read_pickled_array(content: bytes | memoryview, *, where: str) -> PickledArray:
    """One record of CromSS, checked but for its dtype, which a record does not tell.

    Raises
    ------
    ForbiddenPickleError
        If it asks to run code.
    PlainPickleError
        If it is damaged, or something else.
    """
    value = read_plain_pickle(content, where=where)
    is_record = isinstance(value, tuple) and len(value) in (2, 3) and isinstance(value[0], memoryview)
    if not is_record or not _is_shape(value[1]):
        raise PlainPickleError(
            f"{where}: not a pickle of (bytes, shape, id) but of {_kinds(value)}; fetch the file again"
        )
    number = value[2] if len(value) == 3 else None
    if number is not None and (isinstance(number, bool) or not isinstance(number, int | str)):
        raise PlainPickleError(f"{where}: an id of type {type(number).__name__}; fetch the file again")
    return PickledArray(value[0], value[1], number)


def _is_shape(value: Any) -> bool:
    if not isinstance(value, tuple) or not 0 < len(value) <= MAX_AXES:
        return False
    return all(isinstance(one, int) and not isinstance(one, bool) and 0 < one <= MAX_SIDE for one in value)


def _kinds(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(type(one).__name__ for one in value[:5])})"
    return type(value).__name__
