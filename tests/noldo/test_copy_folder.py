"""A folder of copies: bounded, shared, and never half of anything."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noldo.copy_folder import Copy, CopyFolder, NoCopyError, to_evict
from noldo.files import Cache, Descriptor

copies = st.lists(
    st.builds(Copy, name=st.uuids().map(lambda one: one.hex), num_bytes=st.integers(0, 99), used_ns=st.integers(0, 9)),
    unique_by=lambda one: one.name,
    max_size=9,
)  # fmt: skip


def folder(path: Path, max_bytes: int) -> CopyFolder:
    return CopyFolder(Cache(str(path), max_bytes / 1e9))


def name_of(number: int) -> str:
    return f"{number % 256:02x}{number:030x}"


def content_of(number: int, size: int) -> bytes:
    return bytes((number + place) % 251 for place in range(size))


def made(copies: CopyFolder, number: int, size: int) -> bytes:
    """What a copy holds."""
    file = copies.copy(name_of(number), size=size, pieces=[content_of(number, size)])
    return os.pread(file.number, size + 1, 0)


def files_of(copies: CopyFolder) -> dict[str, int]:
    """Name to bytes of what lies there."""
    return {one.name: one.stat().st_size for one in copies.path.iterdir() if len(one.name) >= 32}


@given(copies, st.integers(0, 500))
def test_the_least_recently_used_make_room_and_no_more_of_them_than_needed(found, max_bytes):
    names = to_evict(found, max_bytes=max_bytes)
    assert names is not None
    gone = [next(one for one in found if one.name == name) for name in names]
    left = [one for one in found if one.name not in names]
    assert sum(one.num_bytes for one in left) <= max_bytes
    assert all(one.used_ns <= other.used_ns for one in gone for other in left)
    if gone:
        assert sum(one.num_bytes for one in [*left, gone[-1]]) > max_bytes
    assert to_evict(found, max_bytes=-1) is None


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 3)), max_size=30))
def test_copies_are_right_and_never_more_than_allowed_together(tmp_path_factory, wanted):
    copies = folder(tmp_path_factory.mktemp("cache"), 100)
    for number, tens in wanted:
        size = 10 * tens + number
        assert made(copies, 100 * tens + number, size) == content_of(100 * tens + number, size)
        assert sum(files_of(copies).values()) <= 100
    with pytest.raises(NoCopyError, match="more than the 100 allowed"):
        made(copies, 9, 101)


def test_what_was_used_last_is_removed_last(tmp_path):
    copies = folder(tmp_path, 30)
    for number in (0, 1, 2, 0, 3):
        made(copies, number, 10)
    assert set(files_of(copies)) == {name_of(one) for one in (0, 2, 3)}


def test_a_copy_that_is_open_is_read_on_after_it_was_removed(tmp_path):
    copies = folder(tmp_path, 10)
    first = copies.copy(name_of(1), size=10, pieces=[content_of(1, 10)])
    made(copies, 2, 10)
    assert set(files_of(copies)) == {name_of(2)}
    assert os.pread(first.number, 10, 0) == content_of(1, 10)


def test_many_who_want_the_same_have_it_made_once(tmp_path):
    copies = folder(tmp_path, 10_000)
    times: list[int] = []

    def pieces(number: int) -> Iterator[bytes]:
        times.append(number)
        yield content_of(number, 500)

    def want(number: int) -> Descriptor:
        return copies.copy(name_of(number), size=500, pieces=pieces(number))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(want, [0, 1, 0, 1, 2, 2, 0, 1] * 5))
    assert sorted(times) == [0, 1, 2]
    assert os.pread(found[4].number, 500, 0) == content_of(2, 500)


def test_what_a_source_raises_is_passed_on_and_leaves_nothing(tmp_path):
    copies = folder(tmp_path, 100)

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        copies.copy(name_of(1), size=8, pieces=broken())
    with pytest.raises(NoCopyError, match="4 bytes came, expected 8"):
        copies.copy(name_of(1), size=8, pieces=[b"half"])
    assert files_of(copies) == {}


def test_a_copy_of_another_length_is_made_anew(tmp_path):
    copies = folder(tmp_path, 100)
    made(copies, 1, 50)
    os.truncate(copies.path / name_of(1), 20)
    assert made(copies, 1, 50) == content_of(1, 50)


KILLED = """
import sys, time
from noldo.copy_folder import CopyFolder
from noldo.files import Cache

def pieces():
    yield b"half"
    print("begun", flush=True)
    time.sleep(60)

CopyFolder(Cache(sys.argv[1], 1e-7)).copy(sys.argv[2], size=60, pieces=pieces())
"""


@pytest.mark.parametrize("wanted", [1, 2], ids=["the same", "another"])
def test_who_is_killed_while_making_a_copy_is_in_nobodys_way(tmp_path, wanted):
    copies = folder(tmp_path, 100)
    command = [sys.executable, "-c", KILLED, str(tmp_path), name_of(1)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        with pytest.raises(NoCopyError, match="60 of copies that are being made"):
            made(copies, 3, 70)
        process.send_signal(signal.SIGKILL)
    assert made(copies, wanted, 60) == content_of(wanted, 60)
    assert set(files_of(copies)) == {name_of(wanted)}


@pytest.fixture
def short_files() -> Iterator[None]:
    """No file may become longer than 1,000 bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_refuses_is_noticed_before_anything_is_fetched(tmp_path, short_files):
    copies = folder(tmp_path, 10_000)
    asked: list[int] = []

    def pieces() -> Iterator[bytes]:
        asked.append(1)
        yield content_of(1, 2_000)

    with pytest.raises(NoCopyError, match="File too large"):
        copies.copy(name_of(1), size=2_000, pieces=pieces())
    assert (asked, files_of(copies)) == ([], {})
