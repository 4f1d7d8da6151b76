"""Stores that are read by way of copies: the same pixels, each shard fetched once, nothing wrong when something breaks."""

import logging
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from noldo.copy_folder import SUBFOLDER
from noldo.dataset import NoldoS12
from noldo.errors import ChunkCorruptError, ShardMissingError, StoreError
from noldo.files import Cache
from noldo.pixel_reads import PixelRead
from noldo.products import ArraySpec
from noldo.publish import publish
from noldo.reader import StoreReader
from noldo.remote import object_store
from noldo.store import shard_path, write_shard
from noldo.training.sampler import Shares, WindowBatches
from tests.noldo.loopback_s3 import Service
from tests.noldo.made_up_data_set import LAYOUT, DataSet, write_data_set

NAMES = [spec.name for spec in LAYOUT.specs]
IMAGES = ("s2_l1c", "s1_grd")
SHARD = re.compile(r"/nol\.zarr/((?:s1|s2|dynamic_world)_\w+/c/\d+)/0")


def cache_of(path: Path, max_bytes: float) -> Cache:
    return Cache(str(path), max_bytes / 1e9)


def copies_in(path: Path) -> list[Path]:
    return [one for one in (path / SUBFOLDER).iterdir() if len(one.name) >= 32]


def total_of(path: Path) -> int:
    return sum(one.stat().st_size for one in copies_in(path))


@settings(max_examples=30)
@given(
    max_bytes=st.sampled_from([100, 3_000, 20_000, 10**6]),
    wanted=st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.integers(0, LAYOUT.num_locations - 1),
            st.lists(st.integers(0, 2), min_size=1, max_size=3),
        ),
        max_size=12,
    ),
)
def test_pixels_are_the_same_whatever_fits_into_the_cache(
    data_set: DataSet,
    tmp_path_factory: pytest.TempPathFactory,
    max_bytes: int,
    wanted: list[tuple[str, int, list[int]]],
) -> None:
    place = tmp_path_factory.mktemp("cache")
    reader = StoreReader.open(data_set.store, cache=cache_of(place, max_bytes))
    for name, row, seasons in wanted:
        pixels = reader.pixels(reader.layout.spec(name), row=row, seasons=seasons)
        assert np.array_equal(pixels, data_set.pixels[name][row, seasons])
        assert total_of(place) <= max_bytes


def copy_of_one(data_set: DataSet, cache: Cache, spec: ArraySpec) -> Path:
    """The copy that reading one location makes."""
    StoreReader.open(data_set.store, cache=cache).pixels(spec, row=5, seasons=[0])
    (copy,) = copies_in(Path(cache.folder))
    return copy


@settings(max_examples=30)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), is_cut=st.booleans())
def test_a_damaged_copy_is_made_anew_and_never_gives_wrong_pixels(
    data_set: DataSet, tmp_path_factory: pytest.TempPathFactory, at: float, bit: int, is_cut: bool
) -> None:
    cache, spec = cache_of(tmp_path_factory.mktemp("cache"), 10**6), LAYOUT.spec("s1_grd_10m")
    copy = copy_of_one(data_set, cache, spec)
    content = bytearray(copy.read_bytes())
    content[int(at * len(content))] ^= 1 << bit
    copy.write_bytes(content[: int(at * len(content))] if is_cut else content)
    reader = StoreReader.open(data_set.store, cache=cache)
    for row in range(4, 8):
        pixels = reader.pixels(spec, row=row, seasons=[2, 0, 1])
        assert np.array_equal(pixels, data_set.pixels[spec.name][row, [2, 0, 1]])


@settings(max_examples=30)
@given(at=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
def test_damage_that_is_met_among_many_reads_is_mended_for_all_of_them(
    data_set: DataSet, tmp_path_factory: pytest.TempPathFactory, at: list[float]
) -> None:
    cache, spec = cache_of(tmp_path_factory.mktemp("cache"), 10**6), LAYOUT.spec("s1_grd_10m")
    copy = copy_of_one(data_set, cache, spec)
    content = bytearray(copy.read_bytes())
    for one in at:
        content[int(one * len(content))] ^= 1
    copy.write_bytes(content)
    reader = StoreReader.open(data_set.store, cache=cache)
    wanted = [(row, season) for row in range(4, 8) for season in range(3)]
    outs = np.zeros((len(wanted), *data_set.pixels[spec.name].shape[2:]), spec.dtype)
    reads = [
        PixelRead(outs[number][None], spec, row, [season]) for number, (row, season) in enumerate(wanted)
    ]
    reader.read_all(reads)
    for out, (row, season) in zip(outs, wanted, strict=True):
        np.testing.assert_array_equal(out, data_set.pixels[spec.name][row, season])


def test_a_shard_that_is_damaged_where_it_lies_is_told(own_data_set: DataSet, tmp_path: Path) -> None:
    path = shard_path(own_data_set.store, LAYOUT.spec("s1_grd_10m"), 1)
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    samples = NoldoS12(own_data_set.root, modalities=["s1_grd"], labels=None, season=0, split=None,
                       cache=cache_of(tmp_path / "cache", 10**6))  # fmt: skip
    with pytest.raises(ChunkCorruptError, match=f"{own_data_set.store}/s1_grd_10m/c/1"):
        [samples[one] for one in range(len(samples))]


def test_a_store_that_was_written_anew_is_copied_anew(own_data_set: DataSet, tmp_path: Path) -> None:
    cache, spec = cache_of(tmp_path / "cache", 10**6), LAYOUT.spec("dynamic_world_10m")
    before = StoreReader.open(own_data_set.store, cache=cache)
    assert np.array_equal(before.pixels(spec, row=0, seasons=[0]), own_data_set.pixels[spec.name][0, [0]])
    other = 8 - np.minimum(own_data_set.pixels[spec.name][:4], 8)
    write_shard(own_data_set.store, spec, shard=0, items=other)
    after = StoreReader.open(own_data_set.store, cache=cache)
    assert np.array_equal(after.pixels(spec, row=0, seasons=[0]), other[0, [0]])


def test_a_folder_that_can_not_be_is_one_line(data_set: DataSet, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file/noldo-copies: can't be written") as caught:
        NoldoS12(data_set.root, cache=cache_of(tmp_path / "file", 10**6))
    assert "\n" not in str(caught.value)


@pytest.fixture
def short_files() -> Iterator[None]:
    """No file may become longer than 100 bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_without_room_shards_are_read_where_they_are_and_the_log_says_so_once(
    data_set: DataSet, tmp_path: Path, short_files: None, caplog: pytest.LogCaptureFixture
) -> None:
    samples = NoldoS12(data_set.root, split=None, season="all", cache=cache_of(tmp_path, 10**6))
    for expected, found in zip(NoldoS12(data_set.root, split=None, season="all"), samples, strict=True):
        assert torch.equal(expected["s2_l1c_10m"], found["s2_l1c_10m"])
    (record,) = caplog.records
    assert "no copy of" in record.message
    assert "File too large" in record.message
    assert copies_in(tmp_path) == []


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Twelve shards of two locations."""
    layout = replace(LAYOUT, num_locations=24, locations_per_shard=2)
    return write_data_set(tmp_path_factory.mktemp("many"), layout=layout)


def test_a_cache_that_is_too_small_for_its_order_is_told(
    many_shards: DataSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def read(samples: NoldoS12, order: list[int]) -> None:
        for position in order * 4:
            samples[position]

    options = {"modalities": ["s1_grd"], "season": 0, "labels": None, "split": None}
    whole = NoldoS12(many_shards.root, cache=cache_of(tmp_path / "large", 10**6), **options)  # type: ignore[arg-type]
    read(whole, list(range(len(whole))))
    assert caplog.records == []
    largest = max(path.stat().st_size for path in copies_in(tmp_path / "large"))
    small = NoldoS12(many_shards.root, cache=cache_of(tmp_path / "small", largest), **options)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING), pytest.MonkeyPatch.context() as patch:
        patch.setattr("noldo.staging.MUCH", 3)
        read(small, [*range(0, len(small), 2), *range(1, len(small), 2)])
    (record,) = caplog.records
    assert "are removed before they are used; allow more (max_gb), read in windows" in record.message


@pytest.fixture(scope="module")
def published(many_shards: DataSet, new_bucket: Callable[[], str]) -> str:
    """URL of that data set."""
    url = new_bucket()
    publish(many_shards.root, url)
    return url


def shards_fetched(service: Service, url: str, *, before: int) -> Counter[str]:
    """How often each shard was asked for, since so many requests."""
    bucket = url.removeprefix("s3:/")
    asked = [
        path for method, path in service.requests()[before:] if method == "GET" and path.startswith(bucket)
    ]
    return Counter(match[1] for path in asked if (match := SHARD.search(path)))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_in_windows_each_shard_of_an_object_store_is_fetched_once_and_two_windows_are_kept(
    many_shards: DataSet, published: str, service: Service, tmp_path: Path, num_workers: int
) -> None:
    local = NoldoS12(many_shards.root, modalities=IMAGES, split=None, seed=4)
    window, of_two_locations = 3, [many_shards.store / name / "c" for name in NAMES]
    largest = sum(
        max(one.stat().st_size for one in path.rglob("0") if one.is_file()) for path in of_two_locations
    )
    cache = cache_of(tmp_path, 2 * window * largest)
    remote = NoldoS12(published, modalities=IMAGES, split=None, seed=4, cache=cache)
    order = WindowBatches(Shares(len(local), batch_size=2), seed=1, shards=local.shards, window_shards=window)
    before = len(service.requests())
    loader = DataLoader(
        remote, batch_sampler=order, num_workers=num_workers, prefetch_factor=1 if num_workers else None,
        multiprocessing_context="spawn" if num_workers else None,
    )  # fmt: skip
    seen = 0
    for batch in loader:
        for place, number in enumerate(batch["id"].tolist()):
            expected = local[local.ids.tolist().index(number)]
            for name in ("s2_l1c_10m", "s2_l1c_60m", "s1_grd_10m", "mask"):
                assert torch.equal(batch[name][place], expected[name])
            seen += 1
        assert total_of(tmp_path) <= cache.max_bytes
    assert seen == len(local)
    found = shards_fetched(service, published, before=before)
    assert len(found) == 12 * 5  # four image arrays and the labels
    assert set(found.values()) == {1}


READ_ALL = """
import sys
from noldo.files import Cache
from noldo.reader import StoreReader
url, folder = sys.argv[1:]
reader = StoreReader.open(url + "/nol.zarr", cache=Cache(folder, 1e-3))
layout = reader.layout
found = [reader.pixels(spec, row=row, seasons=[0]).sum() for row in range(layout.num_locations) for spec in layout.specs]
print(sum(map(int, found)), flush=True)
"""


def total_of_pixels(many_shards: DataSet) -> int:
    """What the process above prints."""
    return sum(int(pixels[:, 0].sum()) for pixels in many_shards.pixels.values())


def reading(url: str, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", READ_ALL, url, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy())


def test_two_processes_at_once_fetch_each_shard_once_and_a_third_none(
    many_shards: DataSet, published: str, service: Service, tmp_path: Path
) -> None:
    expected = total_of_pixels(many_shards)
    before = len(service.requests())
    both = [reading(published, tmp_path) for _ in range(2)]
    assert [int(one.communicate()[0]) for one in both] == [expected] * 2
    assert set(shards_fetched(service, published, before=before).values()) == {1}
    before = len(service.requests())
    assert int(reading(published, tmp_path).communicate()[0]) == expected
    assert not shards_fetched(service, published, before=before)


def test_a_process_that_is_killed_leaves_copies_that_the_next_one_goes_on_with(
    many_shards: DataSet, published: str, service: Service, tmp_path: Path
) -> None:
    before = len(service.requests())
    with reading(published, tmp_path) as process:
        give_up = time.monotonic() + 60
        while len(shards_fetched(service, published, before=before)) < 5:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert int(reading(published, tmp_path).communicate()[0]) == total_of_pixels(many_shards)
    found = shards_fetched(service, published, before=before)
    assert sum(found.values()) <= len(found) + 1  # the one that was being fetched
    assert not [one for one in copies_in(tmp_path) if one.suffix]


def test_threads_that_meet_a_damaged_copy_together_all_read_the_new_one(
    many_shards: DataSet, published: str, tmp_path: Path
) -> None:
    reader = StoreReader.open(f"{published}/nol.zarr", cache=cache_of(tmp_path, 10**8))
    spec = reader.layout.spec("s1_grd_10m")
    rows = range(reader.layout.locations_per_shard)
    right = [reader.pixels(spec, row=row, seasons=[0]) for row in rows]
    for copy in copies_in(tmp_path):
        copy.write_bytes(bytes(copy.stat().st_size))
    again = pickle.loads(pickle.dumps(reader))  # our own bytes, with nothing open: spawned workers get it so
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: again.pixels(spec, row=row % len(rows), seasons=[0]), range(64)))
    for position, one in enumerate(found):
        np.testing.assert_array_equal(one, right[position % len(rows)])


def test_a_lost_shard_and_one_that_changes_meanwhile_are_told(
    own_data_set: DataSet, bucket: str, tmp_path: Path
) -> None:
    import obstore

    publish(own_data_set.root, bucket)
    obstore.delete(object_store(bucket), "nol.zarr/s1_grd_10m/c/1/0/0/0/0")
    samples = NoldoS12(
        bucket, modalities=["s1_grd"], labels=None, split=None, cache=cache_of(tmp_path, 10**6)
    )
    with pytest.raises(ShardMissingError, match=f"{bucket}/nol.zarr/s1_grd_10m/c/1/0/0/0/0"):
        samples[4]
    first = "nol.zarr/s1_grd_10m/c/0/0/0/0/0"
    whole = own_data_set.root / first
    samples[0]
    for copy in copies_in(tmp_path):
        copy.unlink()
    obstore.put(object_store(bucket), first, whole.read_bytes()[::-1])
    again = pickle.loads(pickle.dumps(samples))  # our own bytes: spawned workers get the data set so
    samples._reader.files.forget("s1_grd_10m/c/0/0/0/0/0", since=time.monotonic())
    with pytest.raises(StoreError, match="was written anew since this process read from it"):
        samples[0]
    with pytest.raises(ChunkCorruptError):
        again[0]
