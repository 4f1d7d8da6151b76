import hashlib
import tracemalloc
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noldo.errors import ConfigError
from noldo.training.sampler import EpochBatches, Shares, WindowBatches, same_size_batches

sizes = st.tuples(st.integers(1, 60), st.integers(1, 7), st.integers(1, 4))


def batches(shares: Shares, *, seed: int = 0, epoch: int = 0, first_step: int = 0) -> list[list[int]]:
    order = EpochBatches(shares, seed=seed)
    order.epoch, order.first_step = epoch, first_step
    found = list(order)
    assert len(found) == len(order)
    return found


@given(sizes)
def test_ranks_share_an_epoch_without_overlap_and_leave_out_less_than_a_step(size):
    num_samples, batch_size, num_ranks = size
    dealt = [
        one
        for rank in range(num_ranks)
        for batch in batches(Shares(num_samples, batch_size=batch_size, num_ranks=num_ranks, rank=rank))
        for one in batch
    ]
    assert len(dealt) == len(set(dealt))
    left_out = Shares(num_samples, batch_size=batch_size, num_ranks=num_ranks).num_left_out
    assert len(dealt) + left_out == num_samples
    assert left_out < batch_size * num_ranks


@given(sizes, st.integers(0, 20))
def test_an_epoch_that_goes_on_repeats_nothing_and_loses_nothing(size, first_step):
    num_samples, batch_size, _ = size
    shares = Shares(num_samples, batch_size=batch_size)
    first_step = min(first_step, shares.num_steps)
    assert batches(shares, first_step=first_step) == batches(shares)[first_step:]


@given(sizes)
def test_one_process_with_the_whole_batch_sees_the_same_locations_in_the_same_step(size):
    num_samples, batch_size, num_ranks = size
    whole = batches(Shares(num_samples, batch_size=batch_size * num_ranks))
    dealt = [
        batches(Shares(num_samples, batch_size=batch_size, num_ranks=num_ranks, rank=rank))
        for rank in range(num_ranks)
    ]
    assert whole == [list(chain(*parts)) for parts in zip(*dealt, strict=True)]


def test_each_epoch_has_its_own_order_and_each_seed_too():
    shares = Shares(50, batch_size=5)
    assert batches(shares, epoch=0) == batches(shares, epoch=0)
    assert batches(shares, epoch=0) != batches(shares, epoch=1)
    assert batches(shares, seed=0) != batches(shares, seed=1)


def test_too_few_samples_for_a_step_are_an_error_that_says_what_to_lower():
    with pytest.raises(ConfigError, match=r"x: 7 locations .* takes 4 on each of 2 ranks; lower batch_size"):
        Shares(7, batch_size=4, num_ranks=2).check(where="x")


@given(st.lists(st.sampled_from([510, 512, 522]), max_size=30), st.integers(1, 5))
def test_batches_of_one_size_hold_every_sample_once(sides, batch_size):
    found = same_size_batches(sides, batch_size=batch_size)
    assert sorted(chain(*found)) == list(range(len(sides)))
    for batch in found:
        assert len({sides[one] for one in batch}) == 1
        assert len(batch) <= batch_size
    assert np.ceil(len(sides) / batch_size) <= len(found)


windows = st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 12))


def window_order(shards, window_shards, *, batch_size=1, seed=0, num_ranks=1, rank=0, **options):
    shares = Shares(len(shards), batch_size=batch_size, num_ranks=num_ranks, rank=rank)
    return WindowBatches(shares, seed=seed, shards=np.array(shards), window_shards=window_shards, **options)


def pass_of(order: EpochBatches, *, epoch: int = 0, first_step: int = 0) -> list[list[int]]:
    order.epoch, order.first_step = epoch, first_step
    return list(order)


@given(windows, st.integers(0, 2**40), st.integers(0, 10**6))
def test_windows_give_every_sample_once_and_few_shards_at_a_time(window, seed, epoch):
    shards, window_shards = window
    dealt = list(chain(*pass_of(window_order(shards, window_shards, seed=seed), epoch=epoch)))
    assert sorted(dealt) == list(range(len(shards)))
    left = {one: shards.count(one) for one in shards}
    met: list[int] = []
    for position in dealt:
        if shards[position] not in met:
            assert not any(left[one] for one in met[: len(met) // window_shards * window_shards])
            met.append(shards[position])
        left[shards[position]] -= 1


@given(windows, st.integers(0, 9))
def test_a_window_of_all_shards_is_the_global_order(window, epoch):
    shards, _ = window
    everywhere = EpochBatches(Shares(len(shards), batch_size=1), seed=3)
    order = window_order(shards, len(set(shards)), seed=3)
    assert pass_of(order, epoch=epoch) == pass_of(everywhere, epoch=epoch)


@given(windows, st.integers(1, 4), st.integers(1, 4), st.integers(0, 20), st.integers(0, 3))
def test_windows_are_dealt_to_any_number_of_ranks_from_any_step_alike(
    window, batch_size, num_ranks, first, epoch
):
    shards, window_shards = window
    whole = pass_of(window_order(shards, window_shards, batch_size=batch_size * num_ranks), epoch=epoch)
    first = min(first, len(whole))
    dealt = [
        pass_of(
            window_order(shards, window_shards, batch_size=batch_size, num_ranks=num_ranks, rank=rank),
            epoch=epoch,
            first_step=first,
        )
        for rank in range(num_ranks)
    ]
    assert whole[first:] == [list(chain(*parts)) for parts in zip(*dealt, strict=True)]


def test_windows_have_other_shards_and_another_order_in_each_pass_and_for_each_seed():
    shards = [position // 5 for position in range(50)]
    first = pass_of(window_order(shards, 2))
    assert first == pass_of(window_order(shards, 2))
    assert first != pass_of(window_order(shards, 2), epoch=1)
    assert first != pass_of(window_order(shards, 2, seed=1))
    shorter = window_order(shards, 2, steps_per_epoch=20)
    assert pass_of(shorter) + pass_of(shorter, epoch=1) == first[:40]


@pytest.mark.parametrize("kind", ["global", "window"])
def test_over_many_passes_each_sample_is_at_each_position_equally_often(kind):
    """Chi-square of each sample's positions, 19 degrees of freedom: 63.7 is exceeded once in a million times."""
    num, passes = 20, 2_000
    order: EpochBatches = window_order((np.arange(num) // 4).tolist(), 2)
    if kind == "global":
        order = EpochBatches(Shares(num, batch_size=1), seed=0)
    counts = np.zeros((num, num), int)
    for epoch in range(passes):
        counts[list(chain(*pass_of(order, epoch=epoch))), np.arange(num)] += 1
    expected = passes / num
    assert ((counts - expected) ** 2 / expected).sum(axis=1).max() < 63.7


@pytest.mark.parametrize(("kind", "digest"), [("global", "816757e188ad36df"), ("window", "7e4b9af95363e903")])
def test_the_order_of_a_seed_stays_what_it_was(kind, digest):
    """Runs that were kept, and those that go on with another NumPy, follow it."""
    shards = (np.arange(1_000) // 64).tolist()
    order: EpochBatches = window_order(shards, 4, seed=42)
    if kind == "global":
        order = EpochBatches(Shares(1_000, batch_size=1), seed=42)
    dealt = np.array(pass_of(order, epoch=7), np.int64)
    assert hashlib.sha256(dealt.tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("kind", ["global", "window"])
def test_the_state_of_an_order_is_two_numbers_and_a_pass_of_the_whole_corpus_is_small(kind):
    num, batch_size = 251_079, 128
    shards = np.arange(num) // 64
    shares = Shares(num, batch_size=batch_size)

    def fresh() -> EpochBatches:
        if kind == "global":
            return EpochBatches(shares, seed=1)
        return WindowBatches(shares, seed=1, shards=shards, window_shards=16)

    whole = pass_of(fresh(), epoch=3)
    order = fresh()
    tracemalloc.start()
    assert pass_of(order, epoch=3, first_step=1_900) == whole[1_900:]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (4 if kind == "global" else 24) * 10**6


def test_a_window_without_a_shard_is_refused():
    with pytest.raises(ConfigError, match="window_shards 0: expected 1 or more"):
        window_order([0, 1], 0)
