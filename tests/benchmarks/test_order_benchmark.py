"""The measures of `benchmarks.order`, where they are known."""

import numpy as np
import pytest

from benchmarks.order import batch_mates_again, compare, fetches, page, spread_of_a_shard


def test_larger_windows_shuffle_better_and_every_window_fetches_each_shard_once():
    record = compare(2_048, per_shard=16, batch_size=16)
    found = record["orders"]
    windows = [found[f"window {one}"] for one in (1, 4, 16, 64)]
    for name in ("shards of a batch", "spread of a shard"):
        values = [one[name] for one in windows]
        assert values == sorted(values)
        assert values[-1] < found["global, cache of 64"][name] == pytest.approx(1, abs=0.1)
    assert windows[0]["batch mates again"] > 10 * windows[-1]["batch mates again"]
    assert [one["fetches"] for one in windows] == [1.0] * 4
    assert found["global, cache of 16"]["fetches"] > 10
    assert "| window 16 |" in page(record)


def test_orders_that_are_known_have_the_measures_that_they_should():
    in_order = np.arange(300)
    assert spread_of_a_shard(in_order, in_order // 3) == pytest.approx(4 / 3 / 100)
    batches = list(in_order.reshape(30, 10))
    assert batch_mates_again(batches, batches, 300) == pytest.approx(299 / 9)
    assert fetches([0, 1, 0, 2, 1, 0], 2) == 5
