"""Reading pixels, and noticing every lost or damaged byte."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noldo.codecs import ChunkCodec, image_codec, with_checksum
from noldo.errors import ChunkCorruptError, ShardMissingError, StoreError, StoreFormatError
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
    from concurrent.futures import ThreadPoolExecutor

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
