"""Publishing to S3 and reading from there, against a loopback server in a process of its own."""

import pickle
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from noldo.dataset import NoldoS12
from noldo.errors import MissingExtraError, ShardMissingError, StoreError
from noldo.info import info
from noldo.publish import publish
from noldo.reader import StoreReader
from noldo.remote import RemoteFiles, object_store
from noldo.store import open_store, shard_path
from noldo.verify import verify
from tests.noldo.made_up_data_set import DataSet


@pytest.fixture(scope="module")
def published(data_set: DataSet, new_bucket: Callable[[], str]) -> str:
    """URL of a published data set that no test changes."""
    url = f"{new_bucket()}/some/prefix"
    publish(data_set.root, url)
    return url


def test_all_files_are_sent(data_set: DataSet, bucket: str) -> None:
    files = [path for path in data_set.root.rglob("*") if path.is_file()]
    sent = publish(data_set.root, bucket)
    assert (sent.num_files, sent.num_sent) == (len(files), len(files))
    assert sent.sent_bytes == sum(path.stat().st_size for path in files)
    assert RemoteFiles(bucket).sizes() == {
        path.relative_to(data_set.root).as_posix(): path.stat().st_size for path in files
    }


def test_what_is_published_loads_like_the_original(data_set: DataSet, published: str) -> None:
    local, remote = (NoldoS12(root, split=None, season="all") for root in (data_set.root, published))
    for expected, found in zip(local, remote, strict=True):
        assert expected["id"] == found["id"]
        for name in ("s2_l1c_10m", "s2_l1c_20m", "s2_l1c_60m", "s1_grd_10m", "mask"):
            assert torch.equal(expected[name], found[name])


def test_summary_and_zarr_are_those_of_the_original(data_set: DataSet, published: str) -> None:
    assert info(published) == info(f"{published}/nol.zarr") == info(data_set.root)
    spec = data_set.layout.specs[0]
    array = open_store(f"{published}/nol.zarr")[spec.name]
    assert np.array_equal(array[:2], data_set.pixels[spec.name][:2])


def test_publishing_again_sends_only_what_changed(own_data_set: DataSet, bucket: str) -> None:
    publish(own_data_set.root, bucket)
    assert publish(own_data_set.store, bucket).num_sent == 0
    path = shard_path(own_data_set.store, own_data_set.layout.specs[0], 1)
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)  # of the same length
    seen: list[tuple[int, int]] = []
    sent = publish(own_data_set.root, bucket, progress=lambda done, total: seen.append((done, total)))
    assert (sent.num_sent, sent.sent_bytes) == (1, len(content))
    assert seen[-1] == (sent.num_files, sent.num_files)


def test_an_unfinished_data_set_is_not_published(own_data_set: DataSet, bucket: str) -> None:
    (own_data_set.root / "nol.json").unlink()
    with pytest.raises(StoreError, match=r"nol\.json: can't be read"):
        publish(own_data_set.root, bucket)
    assert RemoteFiles(bucket).sizes() == {}


def test_a_lost_remote_shard_is_an_error(own_data_set: DataSet, bucket: str) -> None:
    import obstore

    publish(own_data_set.root, bucket)
    obstore.delete(object_store(bucket), "nol.zarr/s1_grd_10m/c/1/0/0/0/0")
    with pytest.raises(ShardMissingError, match=f"{bucket}/nol.zarr/s1_grd_10m/c/1/0/0/0/0"):
        NoldoS12(bucket, modalities=["s1_grd"], labels=None)[2]


def test_a_connection_is_not_pickled(data_set: DataSet, published: str) -> None:
    # Our own bytes: spawned workers get the reader so.
    reader = pickle.loads(pickle.dumps(StoreReader.open(f"{published}/nol.zarr")))
    assert np.array_equal(reader.row_values("id"), data_set.rows["id"])


def test_where_nothing_is_it_is_told(bucket: str, data_set: DataSet) -> None:
    with pytest.raises(StoreError, match="no store here"):
        NoldoS12(f"{bucket}/nothing")
    with pytest.raises(StoreError, match="not finished"):
        info(f"{bucket}/nothing")
    with pytest.raises(
        StoreError, match=r"404 Not Found\); check bucket, network and the credentials"
    ) as caught:
        publish(data_set.root, "s3://no-bucket-of-this-name")
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="local folders only"):
        verify(bucket)


def test_other_schemes_and_a_missing_obstore_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="scheme 'ftp' is not supported"):
        NoldoS12("ftp://somewhere/else")
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(MissingExtraError, match="pip install obstore"):
        NoldoS12("s3://somewhere/else")


# Last, because forking disturbs the connections that this process has open.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_spawned_workers_load_and_forked_ones_say_why_not(published: str) -> None:
    samples = NoldoS12(published, modalities=["s1_grd"], season=0)
    spawned = DataLoader(samples, batch_size=3, num_workers=1, multiprocessing_context="spawn")
    assert [int(one) for batch in spawned for one in batch["id"]] == samples.ids.tolist()
    forked = DataLoader(samples, batch_size=3, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(StoreError, match='multiprocessing_context="spawn"'):
        list(forked)
