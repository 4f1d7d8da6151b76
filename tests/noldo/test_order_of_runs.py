"""Runs whose locations come in windows of shards."""

from pathlib import Path

import pytest
import torch

from noldo.dataset import NoldoS12
from noldo.errors import ConfigError, RunInterruptedError
from noldo.training.feed import order_of
from noldo.training.recipe import Recipe
from noldo.training.run_folder import RunFolder, read_checkpoint
from noldo.training.runs import Running, run_recipe
from noldo.training.sampler import EpochBatches, Shares, WindowBatches
from noldo.training.splits import open_stored
from tests.noldo.made_up_data_set import DataSet
from tests.noldo.training_set import (
    TRAIN,
    pretrain_recipe,
    self_train_recipe,
    transfer_recipe,
    write_training_set,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return write_training_set(tmp_path_factory.mktemp("set"))


def in_windows(store: DataSet, **more: object) -> dict[str, object]:
    """Keys of data: windows of one shard."""
    place = {"store": str(store.root), "bands": 3, "num_workers": 0}
    return {**place, "order": "window", "window_shards": 1, **more}


def ids_of(recipe: Recipe, *, epoch: int = 0) -> list[list[int]]:
    """Locations of each step of an epoch, from the order that a recipe asks for."""
    train = open_stored(recipe.data, split="train", modalities=("s1_grd",), seed=recipe.seed)
    count = len(train) if recipe.data.max_train is None else recipe.data.max_train
    order = order_of(recipe.data, train)(Shares(count, batch_size=recipe.batch_size), seed=recipe.seed)
    order.epoch = epoch
    return [train.ids[batch].tolist() for batch in order]


def test_rows_of_a_split_and_of_a_limit_are_found_in_their_shards(store: DataSet) -> None:
    samples = NoldoS12(store.root)
    assert samples.shards.tolist() == [row // 4 for row in TRAIN]
    for limit, num in ((None, 5), (3, 3)):
        recipe = transfer_recipe(store.root, data=in_windows(store, max_train=limit), batch_size=1)
        found = [one for batch in ids_of(recipe) for one in batch]
        assert sorted(found) == sorted(samples.ids[:num].tolist())
        shards = [int(samples.shards[samples.ids.tolist().index(one)]) for one in found]
        assert shards in (sorted(shards), sorted(shards, reverse=True))


def test_what_a_location_shows_does_not_depend_on_the_order_it_comes_in(store: DataSet) -> None:
    samples = NoldoS12(store.root, modalities=["s1_grd"], crop_px=12, seed=5)
    samples.set_epoch(3)
    shares = Shares(len(samples), batch_size=1)
    orders = (
        EpochBatches(shares, seed=1),
        WindowBatches(shares, seed=1, shards=samples.shards, window_shards=1),
    )
    seen = [{int(samples[one]["id"]): samples[one] for (one,) in order} for order in orders]
    for number, sample in seen[0].items():
        assert seen[1][number]["season"] == sample["season"]
        assert torch.equal(seen[1][number]["s1_grd_10m"], sample["s1_grd_10m"])


@pytest.fixture(scope="module")
def whole(store: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in windows that nothing stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    run_recipe(pretrain_recipe(store.root, data=in_windows(store), epochs=1), out=out)
    return out


@pytest.mark.parametrize("loader", ["workers", "ring"])
def test_a_run_in_windows_that_was_stopped_goes_on_to_the_same_weights(
    store: DataSet, whole: Path, tmp_path: Path, loader: str
) -> None:
    recipe = pretrain_recipe(store.root, data=in_windows(store), epochs=1)
    looks = iter(range(100))
    with pytest.raises(RunInterruptedError):
        run_recipe(recipe, out=tmp_path / "run", running=Running(stop=lambda: next(looks) >= 0))
    again = pretrain_recipe(store.root, data=in_windows(store, loader=loader), epochs=1)
    run_recipe(again, out=tmp_path / "run")
    one, other = (
        read_checkpoint(RunFolder(out).checkpoint("last"))["network"] for out in (whole, tmp_path / "run")
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_run_goes_on_with_copies_of_shards_to_the_same_weights(
    store: DataSet, whole: Path, tmp_path: Path
) -> None:
    looks = iter(range(100))
    with pytest.raises(RunInterruptedError):
        run_recipe(
            pretrain_recipe(store.root, data=in_windows(store), epochs=1),
            out=tmp_path / "run",
            running=Running(stop=lambda: next(looks) >= 0),
        )
    cache = {"folder": str(tmp_path / "cache"), "max_gb": 0.1}
    run_recipe(
        pretrain_recipe(store.root, data=in_windows(store, cache=cache), epochs=1), out=tmp_path / "run"
    )
    one, other = (
        read_checkpoint(RunFolder(out).checkpoint("last"))["network"] for out in (whole, tmp_path / "run")
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert len(list((tmp_path / "cache").glob("*/*"))) > 2


def test_source_and_target_have_each_their_own_order(store: DataSet, tmp_path: Path) -> None:
    recipe = self_train_recipe(store.root, target=in_windows(store), epochs=1)
    assert run_recipe(recipe, out=tmp_path)["epochs"] == 1


def test_windows_are_refused_where_there_are_no_shards_or_classes_are_drawn(
    store: DataSet, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="order window: of stores, not of tiles"):
        transfer_recipe(store.root, data={"store": "x", "layout": "openearthmap", "order": "window"})
    cache = {"folder": "x", "max_gb": 1}
    with pytest.raises(ConfigError, match="cache: of stores, not of tiles"):
        transfer_recipe(store.root, data={"store": "x", "layout": "openearthmap", "cache": cache})
    recipe = self_train_recipe(
        store.root, data=in_windows(store), method={"rare_classes": {"temperature": 0.5}}
    )
    with pytest.raises(ConfigError, match="rare_classes draws locations from all of the source"):
        run_recipe(recipe, out=tmp_path)
