"""What the documents of a Zarr array say, as far as it is read. They come from strangers: each value is looked at before it is used.

Zarr 2 (`.zarray` and `.zattrs`) and Zarr 3 (`zarr.json`) are told apart by their group. Read are plain dtypes and strings of
any length, packed by blosc, lz4, zstd or not at all. Everything else could run code or unpack without bound, or is not needed.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from builders.archive_members import MIB

MAX_METADATA_BYTES = MIB
MAX_CHUNK_BYTES = 512 * MIB
"""The largest chunk that makes sense: a file of 64 locations is 464 MB."""

MAX_TEXTS = MIB
"""Strings of any length in one chunk."""

MAX_AXES = 6
MAX_SIDE = 1 << 31

_V2_COMPRESSORS = ("blosc", "lz4", "zstd")
"""Those whose chunks tell their unpacked length."""

_V3_COMPRESSORS = ("blosc", "zstd")

_V2_DTYPE = re.compile(
    r"[<>|](b1|[iu][1248]|f[248]|[US][1-9]\d{0,3}|[mM]8\[([1-9]\d{0,3})?(Y|M|W|D|h|m|s|ms|us|ns)\])"
)
"""Plain values of a size: no fields, no objects."""

_V3_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_FILLS: Mapping[str, type | tuple[type, ...]] = {
    **{"b": (bool, int), "i": int, "u": int, "f": (int, float), "m": int, "M": int, "U": str, "T": str},
}
"""Kind of a dtype to what fills it in JSON; `T` stands for strings of any length."""

T = TypeVar("T")


@dataclass(frozen=True)
class ArrayFacts:
    """What the metadata of an array tell."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any] | None
    """As stored, byte order included. None: strings of any length."""
    compressor: str | None
    order: Literal["C", "F"]
    """Of the values in a chunk."""
    prefix: str
    """Before the first number in the name of a chunk."""
    separator: str
    """Between two numbers in the name of a chunk."""
    fill: Any
    """Value of the chunks that are not there; None: not told in a way that is read."""
    attributes: Mapping[str, Any]

    @property
    def chunk_bytes(self) -> int:
        """Of one unpacked chunk; 0 for strings of any length."""
        return 0 if self.dtype is None else math.prod(self.chunks) * self.dtype.itemsize

    def chunk_name(self, place: Sequence[int]) -> str:
        """Of the chunk at a place in the grid, within the array's folder."""
        numbers = [str(number) for number in place]
        if self.prefix:
            return self.separator.join([self.prefix, *numbers])
        return self.separator.join(numbers or ["0"])


def json_object(content: bytes) -> dict[str, Any]:
    """A document.

    Raises
    ------
    ValueError
        If it is no JSON object.
    """
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise ValueError("no JSON object")
    return tree


def array_facts(tree: Mapping[str, Any], *, attributes: Mapping[str, Any] | None) -> ArrayFacts:
    """What a document of an array says.

    Parameters
    ----------
    tree
        `.zarray`, or `zarr.json`.
    attributes
        `.zattrs` of Zarr 2; None: this is Zarr 3, which has them in its document.

    Raises
    ------
    ValueError
        If it is stored in a way that is not read.
    """
    facts = _facts_v3(tree) if attributes is None else _facts_v2(tree, attributes)
    if len(facts.shape) != len(facts.chunks):
        raise ValueError(f"shape {facts.shape} in chunks of {facts.chunks}")
    if facts.chunk_bytes > MAX_CHUNK_BYTES:
        raise ValueError(f"chunks of {facts.chunk_bytes} bytes, at most {MAX_CHUNK_BYTES} are read")
    if facts.dtype is None and math.prod(facts.chunks) > MAX_TEXTS:
        raise ValueError(f"chunks of {math.prod(facts.chunks)} strings, at most {MAX_TEXTS} are read")
    return facts


def _facts_v2(tree: Mapping[str, Any], attributes: Mapping[str, Any]) -> ArrayFacts:
    compressor = None if tree.get("compressor") is None else _name_of(tree["compressor"], "id")
    if compressor not in (None, *_V2_COMPRESSORS):
        raise ValueError(f"compressor {compressor!r:.40}, expected {', '.join(_V2_COMPRESSORS)}")
    filters = [_name_of(one, "id") for one in _told({"filters": [], **_given(tree)}, "filters", list)]
    is_text = tree.get("dtype") == "|O" and filters == ["vlen-utf8"]
    if filters and not is_text:
        raise ValueError(f"filters {', '.join(filters):.80}")
    dtype = None if is_text else _v2_dtype(tree.get("dtype"))
    return ArrayFacts(
        shape=_sizes(tree, "shape"),
        chunks=_sizes(tree, "chunks"),
        dtype=dtype,
        compressor=compressor,
        order="F" if _one_of(tree, "order", ("C", "F"), default="C") == "F" else "C",
        prefix="",
        separator=_one_of(tree, "dimension_separator", (".", "/"), default="."),
        fill=_fill(tree.get("fill_value"), dtype),
        attributes=attributes,
    )


def _facts_v3(tree: Mapping[str, Any]) -> ArrayFacts:
    is_text = tree.get("data_type") == "string"
    codecs = _told(tree, "codecs", list)
    names = [_name_of(one, "name") for one in codecs]
    # One compressor: a second would unpack what the first tells nothing of.
    if names[:1] != ["vlen-utf8" if is_text else "bytes"] or names[1:] not in (
        [],
        *([one] for one in _V3_COMPRESSORS),
    ):
        raise ValueError(
            f"codecs {', '.join(names):.80}, expected bytes (or vlen-utf8), and one of {', '.join(_V3_COMPRESSORS)}"
        )
    grid, keys = _told(tree, "chunk_grid", dict), _told(tree, "chunk_key_encoding", dict)
    if _name_of(grid, "name") != "regular":
        raise ValueError(f"chunk grid {_name_of(grid, 'name'):.40}")
    is_default = _one_of(keys, "name", ("default", "v2")) == "default"
    endian = _one_of(_configuration(codecs[0]), "endian", ("little", "big"), default="little")
    dtype = (
        None if is_text else _v3_dtype(tree.get("data_type")).newbyteorder("<" if endian == "little" else ">")
    )
    return ArrayFacts(
        shape=_sizes(tree, "shape"),
        chunks=_sizes(_configuration(grid), "chunk_shape"),
        dtype=dtype,
        compressor=names[1] if len(names) > 1 else None,
        order="C",
        prefix="c" if is_default else "",
        separator=_one_of(_configuration(keys), "separator", ("/", "."), default="/" if is_default else "."),
        fill=_fill(tree.get("fill_value"), dtype),
        attributes=_told({"attributes": {}, **_given(tree)}, "attributes", dict),
    )


def _given(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tree.items() if value is not None}


def _told(tree: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = tree.get(name)
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {value!r:.60}")
    return value


def _one_of(tree: Mapping[str, Any], name: str, words: Sequence[str], *, default: str = "") -> str:
    value = tree.get(name, default)
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{name} is {value!r:.60}, expected {' or '.join(words)}")
    return value


def _name_of(value: Any, key: str) -> str:
    """Of a codec or the like: a word, or an object that has one."""
    return value if isinstance(value, str) else _told(value if isinstance(value, dict) else {}, key, str)


def _configuration(value: Any) -> dict[str, Any]:
    found = value.get("configuration") if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _sizes(tree: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Pixels along each axis."""
    values = _told(tree, name, list)
    if len(values) > MAX_AXES or not all(type(one) is int and 0 < one <= MAX_SIDE for one in values):
        raise ValueError(
            f"{name} {values!r:.80}, expected up to {MAX_AXES} whole numbers from 1 to {MAX_SIDE}"
        )
    return tuple(values)


def _v2_dtype(name: Any) -> "np.dtype[Any]":
    if not isinstance(name, str):
        raise ValueError("values of several fields")
    if not _V2_DTYPE.fullmatch(name):
        raise ValueError(f"dtype {name:.40}")
    return np.dtype(name)


def _v3_dtype(name: Any) -> "np.dtype[Any]":
    own = _configuration(name)
    if isinstance(name, str) and name in _V3_DTYPES:
        return np.dtype(name)
    if isinstance(name, dict) and name.get("name") == "fixed_length_utf32":
        return _v2_dtype(f"<U{_told(own, 'length_bytes', int) // 4}")
    if isinstance(name, dict) and name.get("name") == "numpy.datetime64":
        return _v2_dtype(f"<M8[{_told(own, 'scale_factor', int)}{_told(own, 'unit', str)}]")
    raise ValueError(f"data type {name!r:.60}")


def _fill(value: Any, dtype: "np.dtype[Any] | None") -> Any:
    """What stands where no chunk is; None if that is not told, or in a way that is not read."""
    kind = "T" if dtype is None else dtype.kind
    if kind == "f" and isinstance(value, str):
        value = _NOT_FINITE.get(value)
    if value is None or not isinstance(value, _FILLS.get(kind, ())):
        return None
    try:
        with np.errstate(all="ignore"):
            return value if dtype is None else np.array(value, dtype)[()]
    except (ValueError, OverflowError):
        return None
