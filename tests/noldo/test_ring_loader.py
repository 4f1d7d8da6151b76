import gc
import os
import signal
import time

import numpy as np
import psutil
import pytest
import torch
from torch.utils.data import DataLoader

from noldo.dataset import NoldoS12
from noldo.errors import ConfigError, ShardMissingError, StoreError
from noldo.ring_loader import RingLoader
from noldo.store import shard_path
from noldo.training.sampler import EpochBatches, Shares
from tests.noldo.made_up_data_set import DataSet, write_data_set

Batches = list[dict[str, torch.Tensor]]


def copies(loader) -> Batches:
    return [{name: value.clone() for name, value in batch.items()} for batch in loader]


def same(first: Batches, second: Batches) -> bool:
    return len(first) == len(second) and all(
        one.keys() == other.keys()
        and all(
            torch.equal(torch.nan_to_num(value), torch.nan_to_num(other[name])) for name, value in one.items()
        )
        for one, other in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("num_threads", [1, 3])
def test_batches_are_those_of_a_data_loader_epoch_after_epoch(data_set: DataSet, num_threads: int) -> None:
    samples = NoldoS12(data_set.root, split=None, labels="all", seed=4)
    order = EpochBatches(Shares(len(samples), batch_size=3), seed=7)
    expected = DataLoader(samples, batch_sampler=order)
    loader = RingLoader(samples, batches=order, batch_size=3, num_threads=num_threads, num_slots=2)
    for epoch in (0, 1, 5):
        samples.set_epoch(epoch)
        order.epoch = epoch
        assert same(copies(loader), copies(expected))
    order.first_step = 1
    assert same(copies(loader), copies(expected)[0:])
    assert len(loader) == len(order) == 1
    loader.close()


def test_an_iteration_that_is_given_up_leaves_nothing_to_the_next(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, split=None, season=0)
    batches = [[0, 1], [2, 3], [4, 5], [6, 7]]
    loader = RingLoader(samples, batches=batches, batch_size=2, num_slots=3)
    whole = copies(loader)
    for wanted in (1, 2, 3):
        for number, _ in enumerate(loader, start=1):
            if number == wanted:
                break
        assert same(copies(loader), whole)
    loader.close()


def test_the_last_batch_may_be_smaller(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, split=None, season=0)
    loader = RingLoader(samples, batches=[[0, 1, 2], [3]], batch_size=3)
    assert [batch["id"].tolist() for batch in loader] == [samples.ids[:3].tolist(), samples.ids[3:4].tolist()]
    loader.close()


def test_a_batch_may_be_empty(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, split=None, season=0)
    loader = RingLoader(samples, batches=[[0, 1], [], [2]], batch_size=2)
    assert [len(batch["id"]) for batch in loader] == [2, 0, 1]
    loader.close()


def test_what_reading_raises_is_raised_here(tmp_path) -> None:
    data_set = write_data_set(tmp_path)
    spec = next(one for one in data_set.layout.specs if one.name == "s1_grd_10m")
    shard_path(data_set.store, spec, 1).unlink()
    samples = NoldoS12(data_set.root, split=None)
    loader = RingLoader(samples, batches=[[0], [1], [4]], batch_size=1)
    with pytest.raises(ShardMissingError, match="shard 1 of s1_grd_10m is missing"):
        copies(loader)


def test_a_reader_that_dies_is_an_error_and_no_hang(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, split=None)
    loader = RingLoader(samples, batches=[[0], [1], [2], [4]] * 50, batch_size=1, num_slots=2)
    iterator = iter(loader)
    next(iterator)
    reader = psutil.Process(loader.process_id)
    os.kill(reader.pid, signal.SIGKILL)
    with pytest.raises(StoreError, match="the process that reads samples ended with code -9"):
        list(iterator)


def test_the_reader_ends_with_the_loader(data_set: DataSet) -> None:
    loader = RingLoader(NoldoS12(data_set.root, split=None), batches=[[0], [1]], batch_size=1)
    copies(loader)
    reader = psutil.Process(loader.process_id)
    del loader
    gc.collect()
    give_up = time.monotonic() + 20
    while reader.is_running() and reader.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < give_up
        time.sleep(0.05)


def turned(sample):
    return {**sample, "s2_l1c_10m": sample["s2_l1c_10m"].transpose(-1, -2)}


def swapped(sample):
    return {
        **sample,
        "s1_grd_10m": sample["s1_grd_10m"].flip(0),
        "also": sample["mask"],
        "mask": sample["mask"] * 0,
    }


class WithAnEarlierOne:
    """Mixes in the sample before, as copies and pastes of objects do."""

    def __init__(self):
        self._earlier = None

    def __call__(self, sample):
        earlier, self._earlier = self._earlier, sample
        return (
            sample if earlier is None else {**sample, "mask": torch.maximum(sample["mask"], earlier["mask"])}
        )


@pytest.mark.parametrize(
    "transform", [turned, swapped, WithAnEarlierOne()], ids=["turned", "swapped", "kept"]
)
def test_a_transform_may_turn_exchange_and_keep_what_it_is_given(data_set: DataSet, transform) -> None:
    samples = NoldoS12(data_set.root, split=None, season=1, transform=transform)
    plain = NoldoS12(data_set.root, split=None, season=1)
    batches = [[one] for one in (0, 3, 1, 2, 4, 5, 6, 7)] * 3
    again = WithAnEarlierOne() if isinstance(transform, WithAnEarlierOne) else transform
    expected = [
        {name: torch.as_tensor(value)[None] for name, value in again(plain[index]).items()}
        for (index,) in batches
    ]
    samples[0]
    loader = RingLoader(samples, batches=batches, batch_size=1, num_threads=1, num_slots=2)
    found = copies(loader)
    loader.close()
    if isinstance(transform, WithAnEarlierOne):
        found, expected = found[1:], expected[1:]  # the first one was looked at before
    assert same(found, expected)


class Turned:
    """A data set that says itself where its samples go, and turns one of them there."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"image": torch.arange(4).reshape(2, 2).T}

    def samples_into(self, outs, indices) -> list[dict[str, torch.Tensor]]:
        for out in outs:
            out["image"][...] = np.arange(4).reshape(2, 2)
        return [{"image": torch.from_numpy(out["image"]).T} for out in outs]

    def __len__(self) -> int:
        return 1


def test_a_view_of_the_slot_in_another_order_is_copied_in_that_order() -> None:
    loader = RingLoader(Turned(), batches=[[0]], batch_size=1)
    assert copies(loader)[0]["image"].tolist() == [[[0, 2], [1, 3]]]
    loader.close()


class Odd:
    """Samples of two sizes."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"image": torch.zeros(2 + index)}

    def __len__(self) -> int:
        return 2


def test_samples_of_another_size_are_named() -> None:
    loader = RingLoader(Odd(), batches=[[0], [1]], batch_size=1)
    with pytest.raises(StoreError, match=r"sample 1: image is \(3,\), that of the first is \(2,\)"):
        copies(loader)


@pytest.mark.parametrize("options", [{"num_threads": 0}, {"num_slots": 1}, {"batch_size": 0}])
def test_too_little_of_anything_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least"):
        RingLoader(Odd(), **{"batches": [[0]], "batch_size": 1, **options})


def test_values_that_no_tensor_holds_are_refused() -> None:
    with pytest.raises(ConfigError, match="sample key name: str"):
        RingLoader([{"name": "x", "value": np.int64(3)}], batches=[[0]], batch_size=1)


def test_a_reader_that_died_between_iterations_is_told_too(data_set: DataSet) -> None:
    loader = RingLoader(NoldoS12(data_set.root, split=None), batches=[[0]], batch_size=1)
    copies(loader)
    psutil.Process(loader.process_id).kill()
    psutil.Process(loader.process_id).wait(20)
    with pytest.raises(StoreError, match="the process that reads samples ended"):
        copies(loader)


def test_an_iteration_that_another_one_replaced_says_so(data_set: DataSet) -> None:
    loader = RingLoader(NoldoS12(data_set.root, split=None), batches=[[0], [1], [2]], batch_size=1)
    first = iter(loader)
    next(first)
    assert len(copies(loader)) == 3
    with pytest.raises(StoreError, match="ended when another one began"):
        list(first)
    loader.close()
