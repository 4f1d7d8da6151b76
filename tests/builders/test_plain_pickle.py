"""Pickles of strangers are read as data, or refused with their key; nothing is executed."""

import contextlib
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.plain_pickle import (
    ForbiddenPickleError,
    PlainPickleError,
    read_pickled_array,
    read_plain_pickle,
)

PROTOCOLS = (3, 4, 5)
"""Protocol 2 of Python 3 makes a function call of `bytes`."""

plain = st.recursive(
    st.one_of(
        *(st.binary(max_size=300), st.text(max_size=20), st.none(), st.booleans()),
        st.integers(-(2**63), 2**63 - 1),
    ),
    lambda inner: st.lists(inner, max_size=5).map(tuple),
    max_leaves=20,
)


def as_bytes(value):
    """Views become bytes, so that values can be compared."""
    if isinstance(value, tuple):
        return tuple(as_bytes(part) for part in value)
    return bytes(value) if isinstance(value, memoryview) else value


@given(plain, st.sampled_from(PROTOCOLS))
def test_plain_values_are_read_as_pickle_reads_them(value, protocol):
    assert as_bytes(read_plain_pickle(pickle.dumps(value, protocol), where="x")) == value


@given(
    st.sampled_from(["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4", ">u8"]),
    st.integers(0, 100),
    st.sampled_from(PROTOCOLS),
)
def test_a_numpy_integer_is_an_integer(dtype, number, protocol):
    """Ids that come out of a pandas table are pickled so."""
    value = np.array([number], dtype)[0] if dtype[0] == ">" else np.dtype(dtype).type(number)
    found = read_plain_pickle(pickle.dumps((b"ab", (1, 2), value), protocol), where="x")
    assert (bytes(found[0]), found[1], found[2]) == (b"ab", (1, 2), number)
    assert type(found[2]) is int


def test_a_negative_numpy_integer_keeps_its_sign_and_the_module_names_of_both_numpys_are_known():
    content = pickle.dumps((b"", (1,), np.int64(-5)))
    assert b"numpy._core.multiarray" in content or b"numpy.core.multiarray" in content
    assert read_plain_pickle(content, where="x")[2] == -5
    other = content.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    assert read_plain_pickle(other, where="x")[2] == -5


def test_arrays_are_views_of_the_pickle():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = pickle.dumps((array.tobytes(), array.shape, "s1_a.tif"))
    record = read_pickled_array(content, where="x")
    assert (record.shape, record.id) == ((2, 3, 4), "s1_a.tif")
    assert record.content.readonly
    found = np.frombuffer(record.content, np.uint8).reshape(record.shape)
    np.testing.assert_array_equal(found, array)
    assert np.shares_memory(found, np.frombuffer(content, np.uint8))


def test_a_record_without_an_id_has_none():
    assert read_pickled_array(pickle.dumps((b"abc", (3,))), where="x").id is None


class Runs:
    """Runs a command when it is unpickled by `pickle`."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("nest", ["alone", "in a tuple", "deep", "as the id", "in the shape"])
def test_a_pickle_that_runs_a_command_is_refused_and_runs_nothing(tmp_path: Path, protocol, nest):
    trace = tmp_path / "trace"
    bad = Runs(f"touch {trace}")
    value = {
        "alone": bad,
        "in a tuple": (b"x", bad),
        "deep": (b"x", (1, (2, (3, (4, bad))))),
        "as the id": (b"x", (1,), bad),
        "in the shape": (b"x", (bad,), 5),
    }[nest]
    content = pickle.dumps(value, protocol)
    with pytest.raises(ForbiddenPickleError, match=r"labels\.lmdb, key 7: pickle with opcode"):
        read_pickled_array(content, where="labels.lmdb, key 7")
    assert not trace.exists()
    pickle.loads(content)  # our own, to see that it would have run
    assert trace.exists(), "or the test shows nothing"


class Inner:
    """Hides a pickle in a call of `pickle.loads`."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self):
        return pickle.loads, (self.content,)  # named, not called: the reader has to refuse it


def test_a_pickle_in_a_pickle_is_refused(tmp_path: Path):
    trace = tmp_path / "trace"
    content = pickle.dumps((b"x", (1,), Inner(pickle.dumps(Runs(f"touch {trace}")))))
    with pytest.raises(ForbiddenPickleError, match=r"STACK_GLOBAL.*_pickle\.loads"):
        read_pickled_array(content, where="x")
    as_data = pickle.dumps((pickle.dumps(Runs(f"touch {trace}")), (1,), 5))
    assert read_pickled_array(as_data, where="x").id == 5, "bytes stay bytes, whatever is in them"
    assert not trace.exists()


HAND_MADE = {
    "GLOBAL": b"cos\nsystem\n(S'true'\ntR.",
    "INST": b"(ios\nsystem\n.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "NEWOBJ": b"\x80\x02)\x81.",
    "NEWOBJ_EX": b"\x80\x04)\x92.",
    "OBJ": b"(o.",
    "PERSID": b"P0\n.",
    "BINPERSID": b"K\x00Q.",
    "EXT1": b"\x82\x01.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
    "EMPTY_LIST": b"].",
    "EMPTY_DICT": b"}.",
    "BUILD": b"K\x01K\x02b.",
    "REDUCE": b"\x80\x04\x8c\x05numpy\x8c\x05dtype\x93\x8c\x01O\x89\x88\x87R.",
    "unknown": b"\xff.",
}


@pytest.mark.parametrize("opcode", list(HAND_MADE))
def test_opcodes_that_data_do_not_need_are_refused_by_name(opcode):
    with pytest.raises(ForbiddenPickleError, match=rf"opcode {opcode} "):
        read_plain_pickle(HAND_MADE[opcode], where="x")


def test_names_of_numpy_can_be_used_for_nothing_else():
    """`numpy.core.multiarray.scalar` of an object dtype would unpickle its bytes."""
    dtype = b"\x8c\x05numpy\x8c\x05dtype\x93"
    scalar = b"\x8c\x15numpy.core.multiarray\x8c\x06scalar\x93"
    inner = pickle.dumps(b"x")
    for content in (
        dtype + b"\x8c\x02O8\x89\x88\x87R.",
        dtype + b"\x8c\x02V8\x89\x88\x87R.",
        scalar + dtype + b"\x8c\x02i8\x89\x88\x87RC" + bytes([len(inner)]) + inner + b"\x86R.",
        scalar + b"K\x01K\x02\x86R.",
        dtype + scalar + b"\x85R.",
        dtype + b".",
        scalar + b".",
        dtype + b"\x8c\x02i8\x89\x88\x87R.",
    ):
        with pytest.raises(PlainPickleError):
            read_plain_pickle(b"\x80\x04" + content, where="x")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"\x80\x04.",
        b"K",
        b"K\x01",
        b"K\x01K\x02.",
        b"K\x01.rest",
        b"(K\x01.",
        b"t.",
        b"h\x05.",
        b"\x94.",
        b"C\x10abc.",
        b"B" + struct.pack("<I", 2**32 - 1) + b"abc.",
        b"\x8e" + struct.pack("<Q", 2**63) + b"abc.",
        b"X" + struct.pack("<I", 3) + b"\xff\xff\xff.",
        b"\x8a\xff" + bytes(255) + b".",
    ],
)
def test_damaged_pickles_are_said_to_be(content):
    with pytest.raises(PlainPickleError, match="key 3"):
        read_plain_pickle(content, where="x.lmdb, key 3")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_an_error(content):
    with contextlib.suppress(PlainPickleError):
        read_plain_pickle(content, where="x")


def test_a_small_pickle_of_endless_size_or_depth_is_refused():
    doubled = b"K\x01\x85\x94" + b"".join(b"h" + bytes([n]) * 1 + b"\x86\x94" for n in range(200)) + b"."
    laughs = b"K\x01\x85q\x00" + b"h\x00h\x00\x86q\x00" * 500 + b"."
    deep = b"K\x01" + b"\x85" * 2_000 + b"."
    wide = b"(" + b"K\x01" * 100_000 + b"t."
    for content in (doubled, laughs, wide):
        with pytest.raises(PlainPickleError):
            read_plain_pickle(content, where="x")
    read_plain_pickle(deep, where="x")  # as deep as it is, it is no danger
    with pytest.raises(PlainPickleError):
        read_pickled_array(deep, where="x")


@pytest.mark.parametrize(
    "value",
    [
        5,
        (b"x",),
        ("x", (1,), 5),
        (b"x", (), 5),
        (b"x", (0,), 5),
        (b"x", (-1,), 5),
        (b"x", (1 << 40,), 5),
        (b"x", (True,), 5),
        (b"x", (1,) * 6, 5),
        (b"x", ("1",), 5),
        (b"x", (1,), b"5"),
        (b"x", (1,), True),
        (b"x", (1,), 5, 6),
    ],
)
def test_what_is_no_record_is_refused_with_what_it_is(value):
    with pytest.raises(PlainPickleError, match="key 3"):
        read_pickled_array(pickle.dumps(value), where="key 3")
