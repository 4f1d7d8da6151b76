"""NPY files that came as answers, viewed as arrays without a copy (NumPy enhancement proposal 1).

Not by NumPy's reader, which caps the header, guesses at headers of Python 2 with a warning, and fails on garbled ones in many
ways.
"""

import ast
import math
import threading
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from builders.retries import GarbledAnswerError

_LENGTH_BYTES = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}
"""Version of an NPY file: how many bytes the length of its header has."""

_PARSING = threading.Lock()
"""Threads that build syntax trees at once may fail with a SystemError (python/cpython 106905), and answers come on many."""


def view_npy(data: bytes) -> npt.NDArray[np.void]:
    """The array of an NPY file: plain numbers, row by row. It can't be written to.

    Raises
    ------
    GarbledAnswerError
        If it is no such file, or not a whole one. Pickled objects are never loaded.
    """
    try:
        dtype, shape, offset = _read_header(data)
        wanted = offset + math.prod(shape) * dtype.itemsize
    except (
        *(ValueError, SyntaxError, TypeError, LookupError, AttributeError, RecursionError, MemoryError),
    ) as error:
        raise GarbledAnswerError(f"{len(data)} bytes that are no NPY array ({error})") from error
    if len(data) != wanted:
        raise GarbledAnswerError(f"{len(data)} bytes that are no NPY array (its header asks for {wanted})")
    return np.frombuffer(data, dtype=dtype, offset=offset).reshape(shape)


def _read_header(data: bytes) -> tuple[np.dtype[np.void], tuple[int, ...], int]:
    """Dtype, shape, and where the numbers begin."""
    if data[:6] != b"\x93NUMPY" or data[6:8] not in _LENGTH_BYTES:
        raise ValueError(f"it begins with {data[:8]!r}")
    start = 8 + _LENGTH_BYTES[data[6:8]]
    end = start + int.from_bytes(data[8:start], "little")
    return *_parsed(data[start:end]), end


@lru_cache(maxsize=32)
def _parsed(text: bytes) -> tuple[np.dtype[np.void], tuple[int, ...]]:
    """Dtype and shape; the answers to a build's requests have the same few headers."""
    with _PARSING:
        header = ast.literal_eval(text.decode())
    dtype, shape = np.lib.format.descr_to_dtype(header["descr"]), tuple(header["shape"])
    is_plain = all(isinstance(length, int) and length > 0 for length in shape)
    if dtype.hasobject or header["fortran_order"] or not is_plain or not dtype.itemsize:
        raise ValueError(f"{dtype} of shape {shape}, expected plain numbers, row by row")
    return dtype, shape
