"""A labelled source and an unlabelled target, step by step: batches of the one, each with a batch of the other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from noldo.errors import ConfigError
from noldo.training.feed import MakeOrder, order_of, train_batches
from noldo.training.recipe import SelfTrainRecipe
from noldo.training.sampler import EpochBatches, RareClassBatches, Shares
from noldo.training.splits import Samples, class_counts, crop_to_load, first_of, open_unlabelled
from noldo.training.task import Batch, Feed

TARGET = "target"
"""Key of a batch: the target's batch of the same step, a batch as well."""


@dataclass(frozen=True)
class _Pairs:
    """Batches of an epoch: sample i of the source stands beside sample i of the target."""

    source: Iterable[Batch]
    source_order: EpochBatches
    target: Iterable[Batch]
    target_order: EpochBatches

    def __iter__(self) -> Iterator[Batch]:
        """Of the steps that are left, as the order of the source has been told."""
        self.target_order.epoch = self.source_order.epoch
        self.target_order.first_step = self.source_order.first_step
        for source, target in zip(self.source, self.target, strict=True):
            yield {**source, TARGET: target}


def order_of_source(recipe: SelfTrainRecipe, train: Samples) -> MakeOrder:
    """What makes the order of the source; for rare classes, its labels are read once.

    Parameters
    ----------
    train
        The source.

    Raises
    ------
    ConfigError, StoreError
        If they can't be.
    """
    rare, steps = recipe.method.rare_classes, recipe.steps_per_epoch
    if rare is None:
        return order_of(recipe.data, train, steps_per_epoch=steps)
    if recipe.data.order == "window":
        raise ConfigError(
            "method.rare_classes draws locations from all of the source; write `data.order: global`, or leave rare_classes out"
        )
    counts = class_counts(recipe.data, modality=recipe.modality, seed=recipe.seed)
    return partial(RareClassBatches, counts=counts, temperature=rare.temperature, steps_per_epoch=steps)


def with_target(source: Feed, *, recipe: SelfTrainRecipe, rank: int, num_ranks: int) -> Feed:
    """The feed of a source, each of its batches with one of the target, under `TARGET`.

    The target goes on from epoch to epoch, pass after pass, however large it is: which locations a step has is a function of seed and
    step alone.

    Raises
    ------
    ConfigError, StoreError
        If the target lacks what the recipe names, or fills no step.
    """
    data, crop_px = recipe.target, recipe.augmentation.crop_px
    where = f"target {data.where}"
    open_one = partial(open_unlabelled, data, modalities=(recipe.modality,), seed=recipe.seed)
    target = open_one(crop_px=crop_to_load(open_one(), crop_px, where=where))
    learnt = first_of(target, data.max_train)
    shares = Shares(len(learnt), batch_size=recipe.batch_size, num_ranks=num_ranks, rank=rank)
    shares.check(where=f"{where}, split train")
    make_order = order_of(data, target, steps_per_epoch=source.steps_per_epoch)
    order = make_order(shares, seed=recipe.seed)

    def set_epoch(epoch: int) -> None:
        source.set_epoch(epoch)
        target.set_epoch(epoch)

    pairs = _Pairs(
        source.train,
        source.order,
        train_batches(target, order, data=data, batch_size=recipe.batch_size),
        order,
    )
    return replace(source, train=pairs, set_epoch=set_epoch)
