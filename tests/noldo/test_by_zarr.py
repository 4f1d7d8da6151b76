"""Arrays that somebody stored anew in another way: the same values, by zarr-python."""

import json
import logging
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import GzipCodec

from noldo.dataset import NoldoS12
from noldo.digest import digest
from noldo.errors import ChunkCorruptError, StoreError, StoreFormatError
from noldo.reader import StoreReader
from noldo.remote import object_store
from noldo.verify import verify
from tests.noldo.made_up_data_set import DataSet, write_data_set

WITH_GZIP: dict[str, Any] = {"shards": None, "compressors": GzipCodec()}


def store_anew(store: Path, name: str, **how: Any) -> None:
    """An array with the same values and attributes, stored in another way."""
    group = zarr.open_group(store, mode="r+", use_consolidated=False)
    old: Any = group[name]
    values, attributes, names = old[...], dict(old.attrs), old.metadata.dimension_names
    new = group.create_array(
        name, shape=values.shape, dtype=values.dtype, fill_value=old.fill_value, attributes=attributes,
        dimension_names=names, overwrite=True, **how,
    )  # fmt: skip
    new[...] = values
    consolidate(store)


def consolidate(store: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        zarr.consolidate_metadata(store)


@pytest.fixture(scope="module")
def anew(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """A store whose images of Sentinel-1 have other chunks and codecs, whose labels have other shards, and one small array too."""
    found = write_data_set(tmp_path_factory.mktemp("anew"))
    store_anew(found.store, "s1_grd_10m", chunks=(2, 2, 1, 7, 5), **WITH_GZIP)
    labels: Any = zarr.open_array(found.store / "dynamic_world_10m", mode="r")
    store_anew(found.store, "dynamic_world_10m", chunks=(1, *labels.shape[1:]), shards=(2, *labels.shape[1:]))
    store_anew(found.store, "status", chunks=(3,), **WITH_GZIP)
    return found


def test_what_is_stored_otherwise_is_found_by_its_metadata(
    anew: DataSet, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        reader = StoreReader.open(anew.store)
    assert reader.by_zarr == {"s1_grd_10m", "dynamic_world_10m", "status"}
    assert "s1_grd_10m: stored otherwise than by this format, so zarr-python reads it" in caplog.text


def test_a_store_of_ours_is_read_by_our_code_also_after_zarr_wrote_its_metadata(tmp_path: Path) -> None:
    found = write_data_set(tmp_path)
    assert not StoreReader.open(found.store).by_zarr
    before = (found.store / "zarr.json").read_bytes()
    consolidate(found.store)
    assert (found.store / "zarr.json").read_bytes() != before
    assert not StoreReader.open(found.store).by_zarr


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(["s1_grd_10m", "dynamic_world_10m", "s2_l1c_10m"]),
    row=st.integers(0, 7),
    seasons=st.lists(st.integers(0, 2), min_size=1, max_size=4),
)
def test_pixels_are_the_same_however_they_are_stored(
    anew: DataSet, name: str, row: int, seasons: list[int]
) -> None:
    reader = StoreReader.open(anew.store)
    pixels = reader.pixels(reader.layout.spec(name), row=row, seasons=seasons)
    assert np.array_equal(pixels, anew.pixels[name][row, seasons])
    assert pixels.dtype == anew.pixels[name].dtype


def test_samples_are_the_same_also_of_a_pickled_data_set(anew: DataSet, data_set: DataSet) -> None:
    expected = NoldoS12(data_set.root, split=None, labels="all", seed=3)
    samples = NoldoS12(anew.root, split=None, labels="all", seed=3)
    samples[0]
    again = pickle.loads(pickle.dumps(samples))  # our own bytes: spawned workers get the data set so
    assert len(samples) == len(expected)
    for index in range(len(expected)):
        for key, value in expected[index].items():
            assert np.array_equal(value, again[index][key], equal_nan=key == "bounds")


def test_verify_says_what_it_cannot_check_and_nothing_else(anew: DataSet) -> None:
    told = verify(anew.root).problems
    assert [line.split(": ")[0].rsplit("/", 1)[1] for line in told] == [
        "dynamic_world_10m",
        "s1_grd_10m",
        "status",
    ]
    assert all("its bytes can't be checked" in line for line in told)


def test_the_digest_is_of_values_and_so_the_same(anew: DataSet, data_set: DataSet) -> None:
    assert digest(anew.root) == digest(data_set.root)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("s1_grd_10m", {"fill_value": 0}, "fill_value 0, but this format has -32768"),
        ("s1_grd_10m", {"shape": (10, 3, 2, 1, 1)}, r"shape \[10, 3, 2, 1, 1\], but this format has"),
        ("status", {"dtype": "int16"}, "data_type int16, but this format has uint8"),
    ],
)
def test_what_an_array_holds_has_to_be_of_the_format(
    tmp_path: Path, name: str, change: dict[str, Any], words: str
) -> None:
    found = write_data_set(tmp_path)
    old: Any = zarr.open_array(found.store / name, mode="r")
    attributes, names = dict(old.attrs), old.metadata.dimension_names
    how = {"shape": old.shape, "dtype": old.dtype, "fill_value": old.fill_value, **change}
    group = zarr.open_group(found.store, mode="r+", use_consolidated=False)
    group.create_array(name, attributes=attributes, dimension_names=names, overwrite=True, **how)
    consolidate(found.store)
    with pytest.raises(StoreFormatError, match=words):
        StoreReader.open(found.store)


def test_behind_a_url_it_is_read_too_and_an_unreachable_store_is_no_damage(
    anew: DataSet, data_set: DataSet, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore
    from obstore.exceptions import GenericError

    store = object_store(bucket)
    for file in (path for path in anew.root.rglob("*") if path.is_file()):
        obstore.put(store, file.relative_to(anew.root).as_posix(), file.read_bytes())
    samples = NoldoS12(bucket, split=None, season=1)
    expected = NoldoS12(data_set.root, split=None, season=1)
    assert torch.equal(samples[3]["s1_grd_10m"], expected[3]["s1_grd_10m"])
    assert torch.equal(samples[3]["mask"], expected[3]["mask"])

    async def lost(*_: object, **__: object) -> None:
        raise GenericError("error sending request: connection refused")

    monkeypatch.setattr("zarr.storage.ObjectStore.get", lost)
    with pytest.raises(StoreError, match="can't be reached") as told:
        samples[4]
    assert not isinstance(told.value, ChunkCorruptError)


def test_an_index_in_the_group_that_is_older_than_the_array_is_told_by_verify(tmp_path: Path) -> None:
    found = write_data_set(tmp_path)
    store_anew(found.store, "s1_grd_10m", chunks=(1, 1, 2, 4, 4), **WITH_GZIP)
    group = (found.store / "zarr.json").read_bytes()
    store_anew(found.store, "s1_grd_10m", chunks=(1, 3, 2, 12, 12), shards=None)
    (found.store / "zarr.json").write_bytes(group)
    assert any("s1_grd_10m/zarr.json: differs from its copy" in line for line in verify(found.root).problems)


def test_damage_is_one_line_that_names_the_array(tmp_path: Path) -> None:
    found = write_data_set(tmp_path)
    store_anew(found.store, "s1_grd_10m", chunks=(1, 1, 2, 4, 4), **WITH_GZIP)
    reader = StoreReader.open(found.store)
    for chunk in (path for path in (found.store / "s1_grd_10m" / "c").rglob("*") if path.is_file()):
        chunk.write_bytes(b"nothing that gzip knows")
    with pytest.raises(ChunkCorruptError, match="s1_grd_10m: can't be decoded by zarr"):
        reader.pixels(reader.layout.spec("s1_grd_10m"), row=0, seasons=[0])


def test_a_codec_that_zarr_does_not_know_is_one_line(tmp_path: Path) -> None:
    found = write_data_set(tmp_path)
    for file in (found.store / "zarr.json", found.store / "s1_grd_10m" / "zarr.json"):
        document = json.loads(file.read_bytes())
        arrays = document.get("consolidated_metadata", {}).get("metadata", {"": document})
        arrays.get("s1_grd_10m", document)["codecs"] = [{"name": "of_nobody"}]
        file.write_text(json.dumps(document))
    reader = StoreReader.open(found.store)
    with pytest.raises(StoreError, match="s1_grd_10m: can't be opened with zarr"):
        reader.pixels(reader.layout.spec("s1_grd_10m"), row=0, seasons=[0])
