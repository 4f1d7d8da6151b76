"""Reading pixels, and noticing every lost or damaged byte."""

import errno
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noldo.codecs import ChunkCodec, image_codec, with_checksum
from noldo.errors import ChunkCorruptError, ShardMissingError, StoreError, StoreFormatError
from noldo.files import MAX_OPEN_FILES, RANGES_AHEAD, ByteRange, Descriptor, LocalFiles
from noldo.pixel_reads import PixelRead
from noldo.products import ArraySpec
from noldo.reader import StoreReader
from noldo.shard_scan import all_shards, read_items
from noldo.store import create_store, shard_path
from tests.noldo.made_up_data_set import LAYOUT, DataSet, write_data_set

NAMES = [spec.name for spec in LAYOUT.specs]


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    row=st.integers(0, LAYOUT.num_locations - 1),
    seasons=st.lists(st.integers(0, 2), min_size=1, max_size=4),
)
def test_any_seasons_in_any_order_are_what_was_written(
    data_set: DataSet, name: str, row: int, seasons: list[int]
) -> None:
    reader = StoreReader.open(data_set.store)
    pixels = reader.pixels(reader.layout.spec(name), row=row, seasons=seasons)
    assert np.array_equal(pixels, data_set.pixels[name][row, seasons])
    assert pixels.dtype == data_set.pixels[name].dtype


@st.composite
def _wanted(draw: st.DrawFn) -> tuple[str, int, list[int], list[int] | None, tuple[slice, slice] | None]:
    """Array, row, seasons, bands and box of some pixels."""
    spec = LAYOUT.spec(draw(st.sampled_from(NAMES)))
    side = spec.side_px(LAYOUT.patch_size_px)
    bands = None
    if spec.bands and draw(st.booleans()):
        bands = draw(st.lists(st.integers(0, len(spec.bands) - 1), min_size=1, unique=True))
    box = None
    if draw(st.booleans()):
        first, last = sorted(draw(st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True)))
        box = slice(first, last), slice(side - last, side - first)
    seasons = draw(
        st.one_of(st.lists(st.integers(0, 2), min_size=1, max_size=4), st.just([0, 1, 2]), st.just([1]))
    )
    return spec.name, draw(st.integers(0, LAYOUT.num_locations - 1)), seasons, bands, box


@settings(max_examples=60, deadline=None)
@given(wanted=st.lists(_wanted(), max_size=50))
def test_what_is_read_together_is_what_was_written(data_set: DataSet, wanted: list[Any]) -> None:
    reader, reads, expected = StoreReader.open(data_set.store), [], []
    for name, row, seasons, bands, box in wanted:
        pixels = data_set.pixels[name][row, seasons]
        pixels = pixels if bands is None else pixels[:, bands]
        expected.append(pixels if box is None else pixels[(..., *box)])
        out = np.empty(expected[-1].shape, expected[-1].dtype)
        reads.append(PixelRead(out, reader.layout.spec(name), row, seasons, bands, box))
    reader.read_all(reads)
    for read, pixels in zip(reads, expected, strict=True):
        np.testing.assert_array_equal(read.out, pixels)


UNCACHED = {
    "cached": None,
    "not cached": lambda self, buffer, start: 0,
    "cached in part": lambda self, buffer, start: os.preadv(self.number, [buffer[:1]], start),
}
"""What a file tells of its first bytes without asking the disk; None: what it is."""


@pytest.mark.parametrize("read_cached", UNCACHED.values(), ids=UNCACHED)
def test_reading_many_places_at_once_opens_each_file_once_and_keeps_few_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_cached: Any
) -> None:
    if read_cached is not None:
        monkeypatch.setattr(Descriptor, "read_cached", read_cached)
    announced: list[int] = []
    monkeypatch.setattr(Descriptor, "will_need", lambda self, start, length: announced.append(start))
    opened, most = [], 0
    real = Descriptor.__init__
    monkeypatch.setattr(Descriptor, "__init__", lambda self, path: (opened.append(path), real(self, path))[1])
    num_threads, num_files = 4, MAX_OPEN_FILES + 2 * RANGES_AHEAD
    for number in range(num_threads * num_files):
        (tmp_path / f"{number}").write_bytes(number.to_bytes(4, "little"))
    files, before = LocalFiles(tmp_path), _num_open_files()

    def read(thread: int) -> int:
        numbers, found = range(thread * num_files, (thread + 1) * num_files), 0
        views = files.view_ranges([ByteRange(str(number), 0, 4) for number in numbers])
        for number, view in zip(numbers, views, strict=True):
            assert bytes(view) == number.to_bytes(4, "little")
            found = max(found, _num_open_files() - before)
        return found

    with ThreadPoolExecutor(num_threads) as pool:
        most = max(pool.map(read, range(num_threads)))
    assert len(opened) == num_threads * num_files
    # Besides those kept: what each thread was promised, and the listing of open files itself.
    assert most <= MAX_OPEN_FILES + num_threads * (RANGES_AHEAD + 1) < num_threads * num_files
    asked_once_a_window = num_threads * num_files // RANGES_AHEAD * (RANGES_AHEAD - 1)
    assert len(announced) == (asked_once_a_window if read_cached is not None else 0)


def test_a_file_system_that_can_not_tell_what_is_cached_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"12345678")
    real, asked = os.preadv, []

    def refused(number: int, buffers: Any, start: int, flags: int = 0) -> int:
        if flags:
            asked.append(start)
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return real(number, buffers, start)

    monkeypatch.setattr(os, "preadv", refused)
    views = LocalFiles(tmp_path).view_ranges([ByteRange("a", start, 2) for start in (0, 4, 6)])
    assert [bytes(view) for view in views] == [b"12", b"56", b"78"]
    assert asked == [0]


def _num_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def test_one_file_of_many_that_is_not_there_or_ends_too_early_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"1234")
    views = LocalFiles(tmp_path).view_ranges([ByteRange("a", 0, 4), ByteRange("b", 2, 4)])
    assert [bytes(view) for view in views] == [b"1234", b"34"]
    with pytest.raises(FileNotFoundError, match="nothing"):
        list(LocalFiles(tmp_path).view_ranges([ByteRange("a", 0, 4), ByteRange("nothing", 0, 4)]))
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder: can't be read"):
        list(LocalFiles(tmp_path).view_ranges([ByteRange("a", 0, 4), ByteRange("folder", 0, 4)]))


def test_small_arrays_are_what_was_written(data_set: DataSet) -> None:
    reader = StoreReader.open(data_set.store)
    for name, values in data_set.rows.items():
        assert np.array_equal(reader.row_values(name), values)


def test_a_pickled_reader_reads_on(data_set: DataSet) -> None:
    reader = StoreReader.open(data_set.store)
    spec = reader.layout.spec("s2_l1c_10m")
    before = reader.pixels(spec, row=0, seasons=[1])
    copy = pickle.loads(pickle.dumps(reader))  # our own bytes: spawned workers get the reader so
    assert np.array_equal(copy.pixels(spec, row=0, seasons=[1]), before)


@pytest.fixture(scope="module")
def to_damage(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """A data set whose files are damaged and mended again."""
    return write_data_set(tmp_path_factory.mktemp("damaged"))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["s2_l1c_10m", "s1_grd_10m", "dynamic_world_10m"]),
    at=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_no_flipped_bit_goes_unnoticed(to_damage: DataSet, name: str, at: float, bit: int) -> None:
    reader = StoreReader.open(to_damage.store)
    shard = next(one for one in all_shards(reader.layout) if one.spec.name == name and one.shard == 2)
    path = to_damage.store / shard.file
    whole = path.read_bytes()
    content = bytearray(whole)
    content[int(at * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        with pytest.raises(ChunkCorruptError, match=name):
            list(read_items(reader.files, shard, reader.layout))
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("damage", ["empty", "cut", "grown"])
def test_a_file_of_another_length_is_told_as_damaged(own_data_set: DataSet, damage: str) -> None:
    spec = LAYOUT.spec("s1_grd_10m")
    path = shard_path(own_data_set.store, spec, 0)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[:-9], "grown": content + b"\0"}[damage])
    with pytest.raises(ChunkCorruptError, match=r"s1_grd_10m/c/0/0/0/0/0.*delete this shard"):
        StoreReader.open(own_data_set.store).pixels(spec, row=0, seasons=[0])


def test_a_lost_shard_is_an_error_and_never_no_data(own_data_set: DataSet) -> None:
    spec = LAYOUT.spec("dynamic_world_10m")
    shard_path(own_data_set.store, spec, 1).unlink()
    reader = StoreReader.open(own_data_set.store)
    with pytest.raises(ShardMissingError, match=r"dynamic_world_10m/c/1/0/0/0: shard 1.*run the build again"):
        reader.pixels(spec, row=5, seasons=[0])
    assert reader.pixels(spec, row=3, seasons=[0]).shape == (1, 12, 12)


def test_an_unfinished_build_is_told(tmp_path: Path) -> None:
    create_store(tmp_path, LAYOUT, attributes={})
    with pytest.raises(StoreError, match="not finished"):
        StoreReader.open(tmp_path).row_values("status")


def test_a_path_without_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store here"):
        StoreReader.open(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't be read"):
        StoreReader.open(tmp_path / "file")


def test_a_chunk_of_another_size_is_not_taken_for_this_one() -> None:
    for codec in (image_codec("small", dtype="uint16"), ChunkCodec("zstd", level=9)):
        stored = codec.encode(np.arange(8, dtype=np.uint16))
        for size in (7, 9):
            with pytest.raises(ChunkCorruptError, match="here: checksum is right"):
                codec.decode(stored, np.empty(size, np.uint16), where="here")


def test_codecs_of_another_format_are_refused() -> None:
    for codec in (image_codec("fast", dtype="int16"), ChunkCodec("zstd", level=9)):
        assert ChunkCodec.from_metadata(codec.metadata(), where="") == codec
    with pytest.raises(StoreFormatError, match=r"here: chunks are stored with \['bytes', 'gzip'\]"):
        ChunkCodec.from_metadata([{"name": "bytes"}, {"name": "gzip"}], where="here")


def test_threads_that_read_at_once_get_what_one_reads_alone(data_set: DataSet) -> None:
    reader = StoreReader.open(data_set.store)
    wanted = [(spec, int(row)) for spec in reader.layout.specs for row in data_set.kept] * 5

    def read(one: tuple[ArraySpec, int]) -> np.ndarray:
        return reader.pixels(one[0], row=one[1], seasons=[2, 0])

    with ThreadPoolExecutor(4) as pool:
        for (spec, row), found in zip(wanted, pool.map(read, wanted), strict=True):
            np.testing.assert_array_equal(found, data_set.pixels[spec.name][row][[2, 0]])


@given(size=st.integers(1, 3_000), level=st.integers(1, 19), kept=st.integers(0, 40))
def test_the_length_of_a_zstd_chunk_is_told_by_its_header(size: int, level: int, kept: int) -> None:
    values = np.random.default_rng(size).integers(0, 3, size).astype(np.uint8)
    stored = ChunkCodec("zstd", level=level).encode(values)
    out = np.empty_like(values)
    ChunkCodec("zstd", level=level).decode(stored, out, where="here")
    np.testing.assert_array_equal(out, values)
    for wrong in (size + 1, max(0, size - 1)):
        with pytest.raises(ChunkCorruptError, match=f"it holds {size} bytes, expected {wrong}"):
            ChunkCodec("zstd", level=level).decode(stored, np.empty(wrong, np.uint8), where="here")
    cut = with_checksum(stored[: min(kept, len(stored) - 5)])
    with pytest.raises(ChunkCorruptError, match="can't be decoded"):
        ChunkCodec("zstd", level=level).decode(cut, np.empty_like(values), where="here")
