"""Batches for the loop: order and readers of the data sets of one recipe."""

from functools import partial
from typing import Any, Protocol, cast

import torch
from torch.utils.data import DataLoader, default_collate

from noldo.dataset import NoldoS12
from noldo.ring_loader import RingLoader
from noldo.training.data_keys import Data
from noldo.training.label_transforms import refuse_odd_labels
from noldo.training.sampler import EpochBatches, Shares, WindowBatches, same_size_batches
from noldo.training.splits import Samples, first_of
from noldo.training.task import Draw, Feed


class MakeOrder(Protocol):
    """Makes the order of samples."""

    def __call__(self, shares: Shares, *, seed: int) -> EpochBatches:
        """As `EpochBatches`."""
        ...


def order_of(data: Data, train: Samples, *, steps_per_epoch: int | None = None) -> MakeOrder:
    """What makes the order that a recipe asks for.

    Parameters
    ----------
    train
        The data set; of a store, if the order is one of windows.
    steps_per_epoch
        See `EpochBatches`.
    """
    if data.order == "global":
        return partial(EpochBatches, steps_per_epoch=steps_per_epoch)
    shards = cast(NoldoS12, train).shards[: data.max_train]
    return partial(
        WindowBatches, shards=shards, window_shards=data.window_shards, steps_per_epoch=steps_per_epoch
    )


def make_feed(
    train: Samples,
    val: Samples | None,
    *,
    data: Data,
    batch_size: int,
    seed: int,
    rank: int = 0,
    num_ranks: int = 1,
    draw: Draw,
    make_order: MakeOrder | None = None,
) -> Feed:
    """Put together what the loop reads from.

    Parameters
    ----------
    train, val
        Data sets; `val` hands out whole tiles or centre crops, and is never told of epochs: its seasons stay the same.
    make_order
        Makes the order of the samples of train; None: the one that the recipe asks for.

    Raises
    ------
    ConfigError
        If there is too little to learn from.
    """
    learnt = first_of(train, data.max_train)
    shares = Shares(len(learnt), batch_size=batch_size, num_ranks=num_ranks, rank=rank)
    shares.check(where=f"{data.where}, split train")
    order = (make_order or order_of(data, train))(shares, seed=seed)
    batches = None
    if val is not None and len(val):
        batches = whole_tiles(
            val, data=data, batch_size=batch_size, rank=rank, num_ranks=num_ranks, limit=data.max_val
        )
    return Feed(
        # The order has positions of `learnt` alone, which are the first ones of `train`.
        train=train_batches(train, order, data=data, batch_size=batch_size),
        order=order,
        set_epoch=train.set_epoch,
        check=partial(refuse_odd_labels, legend=train.legend, where=data.where),
        val=batches,
        draw=draw,
        steps_per_epoch=order.steps_per_epoch,
    )


def whole_tiles(
    data_set: Samples,
    *,
    data: Data,
    batch_size: int,
    rank: int = 0,
    num_ranks: int = 1,
    limit: int | None = None,
) -> DataLoader[Any]:
    """Every sample once, over all ranks together, in batches of one size."""
    chosen = first_of(data_set, limit)
    batches = same_size_batches(data_set.sides_px[: len(chosen)], batch_size=batch_size)
    return loader_of(chosen, batches[rank::num_ranks], data=data)


def train_batches(
    data_set: Any, order: EpochBatches, *, data: Data, batch_size: int
) -> DataLoader[Any] | RingLoader:
    """Batches of train, of samples of one size, read as a recipe asks for."""
    if data.loader == "workers":
        return loader_of(data_set, order, data=data)
    return RingLoader(data_set, batches=order, batch_size=batch_size, num_threads=max(1, data.num_workers))


def loader_of(data_set: Any, batches: Any, *, data: Data) -> DataLoader[Any]:
    """Batches of samples, read by processes of torch.

    Parameters
    ----------
    batches
        Positions of samples, a list a batch.
    """
    is_remote = any("://" in place for place in (data.store, data.label_store or ""))
    return DataLoader(
        data_set,
        batch_sampler=batches,
        num_workers=data.num_workers,
        persistent_workers=data.num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Its own: drawing the workers' seeds from the common one would change what dropout draws.
        generator=torch.Generator().manual_seed(0),
        collate_fn=default_collate,
        # Clients of object stores have threads, which a fork would lose.
        multiprocessing_context="spawn" if is_remote and data.num_workers else None,
    )
