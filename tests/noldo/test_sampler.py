from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noldo.errors import ConfigError
from noldo.training.sampler import EpochBatches, Shares, same_size_batches

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
