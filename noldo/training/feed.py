"""Batches for the loop: data sets, order and workers of one recipe."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from noldo.dataset import NoldoS12
from noldo.errors import ConfigError, StoreError
from noldo.legend import Legend
from noldo.products import UNLABELLED
from noldo.ring_loader import RingLoader
from noldo.training.label_noise import with_noise
from noldo.training.left_out import left_out_of, tell
from noldo.training.recipe import Data, LabelNoise
from noldo.training.sampler import EpochBatches, Shares, same_size_batches
from noldo.training.task import Draw, Feed

if TYPE_CHECKING:
    from noldo.published.tiles import PublishedTiles

_LOG = logging.getLogger(__name__)

Transform = Callable[[dict[str, Any]], dict[str, Any]]
"""Of a sample."""


class MakeOrder(Protocol):
    """Makes the order of samples."""

    def __call__(self, shares: Shares, *, seed: int) -> EpochBatches:
        """As `EpochBatches`."""
        ...


class Samples(Protocol):
    """What is learnt from: `NoldoS12`, or tiles as others published them (`noldo.published`).

    A sample has what `InputStep` takes of its modalities, `mask` (Y, X) or (S, Y, X) uint8 with 255 for no label, `id` int and
    `season` int; it is square.
    """

    @property
    def legend(self) -> Legend:
        """Classes of `mask`."""
        ...

    @property
    def has_labels(self) -> bool:
        """Whether there are any labels."""
        ...

    @property
    def sides_px(self) -> np.ndarray:
        """(sample,) side of each sample, in pixels."""
        ...

    @property
    def crop_step_px(self) -> int:
        """Crops begin and end at multiples of it."""
        ...

    @property
    def season_names(self) -> tuple[str, ...]:
        """What `season` counts."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that seasons and crops are drawn for."""
        ...

    def set_transform(self, transform: Transform | None) -> None:
        """Choose what each sample goes through."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


def crop_to_load(train: Samples, crop_px: int, *, where: str) -> int | None:
    """Side of the square that is read for a crop on the device: whole coarse pixels; None: whole patches.

    Parameters
    ----------
    train
        The data set without a crop.

    Raises
    ------
    ConfigError
        If a tile is smaller than the crop.
    """
    sides = train.sides_px
    if not len(sides):
        return None
    if crop_px > sides.min():
        raise ConfigError(
            f"augmentation.crop_px {crop_px}: the smallest patch of {where} has {sides.min()} px; give at most that"
        )
    wanted = -(-crop_px // train.crop_step_px) * train.crop_step_px
    if wanted <= sides.min():
        return wanted
    if sides.min() == sides.max():
        return None
    raise ConfigError(
        f"augmentation.crop_px {crop_px}: {where} has tiles of {sides.min()} to {sides.max()} px, and {wanted} are read "
        f"for it (whole pixels of every band); give at most {sides.min() // train.crop_step_px * train.crop_step_px}"
    )


def require_one_size(train: Samples, *, where: str) -> None:
    """Refuse tiles of different size, where whole patches are read.

    Raises
    ------
    ConfigError
        With the sizes.
    """
    sides = train.sides_px
    if len(sides) and sides.min() != sides.max():
        raise ConfigError(
            f"{where}: tiles of {sides.min()} to {sides.max()} px, but pretraining takes whole patches of one size; "
            "choose another data.subset"
        )


LARGEST_LABEL = "largest_label"
"""Key of a sample: the largest class id in its labels; -1 if nothing is labelled."""


def with_largest_label(sample: dict[str, Any]) -> dict[str, Any]:
    """Look at labels where they are read: a wrong one on a GPU would end the process without a word."""
    mask: torch.Tensor = sample["mask"]
    # 255 + 1 is 0 in uint8.
    return sample | {LARGEST_LABEL: int((mask + 1).max()) - 1}


class NoisyLabels:
    """Transform of a sample: errors of the recipe in its labels, and the largest of them."""

    def __init__(self, noise: LabelNoise, *, num_classes: int, seed: int) -> None:
        self._noise, self._num_classes, self._seed = noise, num_classes, seed

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The sample; labels that are no class are left for `refuse_odd_labels`."""
        checked = with_largest_label(sample)
        if checked[LARGEST_LABEL] >= self._num_classes:
            return checked
        mask: torch.Tensor = sample["mask"]
        is_stack = mask.dim() == 3
        noisy = with_noise(
            (mask if is_stack else mask[None]).numpy(),
            seasons=range(len(mask)) if is_stack else (sample["season"],),
            location=sample["id"],
            num_classes=self._num_classes,
            noise=self._noise,
            seed=self._seed,
        )
        return with_largest_label(sample | {"mask": torch.from_numpy(noisy if is_stack else noisy[0])})


class IgnoredClasses:
    """Transform of a sample, after another: classes that count as unlabelled, in whatever labels it left."""

    def __init__(self, names: Sequence[str], *, legend: Legend, after: Transform) -> None:
        """Find the classes.

        Raises
        ------
        ConfigError
            If a name is none of the legend.
        """
        if unknown := [name for name in names if name not in legend.classes]:
            raise ConfigError(
                f"data.ignore_classes {', '.join(unknown)}: legend {legend.name} has {', '.join(legend.classes)}"
            )
        self._ids = torch.tensor([legend.classes.index(name) for name in names], dtype=torch.uint8)
        self._after = after

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The sample, with 255 in place of these classes."""
        before = self._after(sample)
        mask: torch.Tensor = before["mask"]
        return with_largest_label(
            before | {"mask": mask.masked_fill(torch.isin(mask, self._ids), UNLABELLED)}
        )


def refuse_odd_labels(batch: Mapping[str, Any], *, legend: Legend, where: str) -> bool:
    """Stop at labels that are no class.

    Returns
    -------
    Whether anything is labelled at all.

    Raises
    ------
    StoreError
        Naming the location.
    """
    largest: torch.Tensor = batch[LARGEST_LABEL]
    if int(largest.max()) < len(legend.classes):
        return int(largest.max()) >= 0
    at = int(largest.argmax())
    raise StoreError(
        f"{where}: location {int(batch['id'][at])}: class id {int(largest[at])}, but legend {legend.name} has 0 .. "
        f"{len(legend.classes) - 1}, and 255; see `noldo verify`"
    )


def open_split(
    data: Data,
    *,
    split: str,
    modalities: Sequence[str],
    seed: int,
    is_told: bool = False,
    **options: Any,
) -> Samples:
    """The data set of one split, without the classes that the recipe ignores; train lacks what the recipe leaves out, and has the
    errors that it puts into labels.

    Parameters
    ----------
    is_told
        Say in the log what is left out.
    options
        Of `NoldoS12`; of tiles, `crop_px` alone means something: they have one season.

    Raises
    ------
    ConfigError, InputError, StoreError
        If the store lacks what the recipe names.
    """
    found: Samples
    if data.layout == "noldo":
        found = stored = open_stored(data, split=split, modalities=modalities, seed=seed, **options)
        if split == "train" and (data.hold_out is not None or data.drop_worst is not None):
            left = left_out_of(data, stored)
            if is_told:
                tell(left, data)
            found = stored = open_stored(
                data, split=split, modalities=modalities, seed=seed, only=left.kept, **options
            )
        if stored.classes_left_out and is_told and split == "train":
            _LOG.warning(
                "%s: labels read as %s, where %s has no counterpart: pixels of it are left out",
                data.store, data.legend, ", ".join(stored.classes_left_out),
            )  # fmt: skip
    else:
        found = open_published(
            data, split=split, modalities=modalities, seed=seed, crop_px=options.get("crop_px")
        )
    transform: Transform = with_largest_label
    found.set_transform(transform)
    if data.noise is not None and split == "train":
        transform = NoisyLabels(data.noise, num_classes=len(found.legend.classes), seed=seed)
        found.set_transform(transform)
    if data.ignore_classes:
        found.set_transform(IgnoredClasses(data.ignore_classes, legend=found.legend, after=transform))
    return found


def open_stored(data: Data, *, split: str, modalities: Sequence[str], seed: int, **options: Any) -> NoldoS12:
    """A store of this project, as a recipe names it; `options` of `NoldoS12`."""
    return NoldoS12(
        data.store,
        subset=data.subset,
        modalities=tuple(modalities),
        bands=data.bands if "s2_l1c" in modalities else None,
        split=split,
        label_source=data.label_source,
        label_store=data.label_store,
        legend=data.legend,
        seed=seed,
        **options,
    )


def open_published(
    data: Data,
    *,
    split: str,
    modalities: Sequence[str],
    seed: int = 0,
    crop_px: int | None = None,
    with_labels: bool = True,
) -> "PublishedTiles":
    """Tiles in the layout that a recipe names; see `noldo.published.opening.open_tiles`."""
    from noldo.published.opening import open_tiles

    return open_tiles(
        data.store,
        layout=data.layout,
        split=split,
        modalities=modalities,
        label_source=data.label_source,
        label_store=data.label_store,
        with_labels=with_labels,
        folders=data.folders,
        class_numbers=data.class_numbers,
        fold=data.fold,
        region_distance_m=data.region_distance_m,
        crop_px=crop_px,
        seed=seed,
    )


def open_unlabelled(
    data: Data, *, modalities: Sequence[str], seed: int, crop_px: int | None = None
) -> Samples:
    """The train split of a store, or of published tiles, for its images alone: its labels, if it has any, are not read.

    Raises
    ------
    ConfigError, StoreError
        If the store lacks what the recipe names.
    """
    if data.layout != "noldo":
        return open_published(
            data, split="train", modalities=modalities, seed=seed, crop_px=crop_px, with_labels=False
        )
    return open_stored(data, split="train", modalities=modalities, seed=seed, labels=None, crop_px=crop_px)


def class_counts(data: Data, *, modality: str, seed: int) -> np.ndarray:
    """Labelled pixels of each location of train, as far as it is learnt from: (sample, class), all seasons together.

    Every label of the split is read once.

    Raises
    ------
    ConfigError, StoreError
        If the store has no such labels, none at all, or some that are no class.
    """
    # Tiles are listed, and partly unlabelled, by their images; of stores, labels alone are read.
    modalities = () if data.layout == "noldo" else (modality,)
    data_set = open_split(data, split="train", modalities=modalities, seed=seed, season="all", labels="all")
    num_classes = len(data_set.legend.classes)
    where = f"{data.where}, split train"
    counts = np.zeros((len(first_of(data_set, data.max_train)), num_classes), np.int64)
    for position in range(len(counts)):
        sample = data_set[position]
        one = {LARGEST_LABEL: torch.tensor([sample[LARGEST_LABEL]]), "id": torch.tensor([sample["id"]])}
        refuse_odd_labels(one, legend=data_set.legend, where=where)
        counts[position] = np.bincount(sample["mask"].numpy().ravel(), minlength=256)[:num_classes]
    if not counts.any():
        raise StoreError(f"{where}: no labelled pixel to count classes of; see `noldo info`")
    return counts


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
    make_order: MakeOrder = EpochBatches,
) -> Feed:
    """Put together what the loop reads from.

    Parameters
    ----------
    train, val
        Data sets; `val` hands out whole tiles or centre crops, and is never told of epochs: its seasons stay the same.
    make_order
        Makes the order of the samples of train.

    Raises
    ------
    ConfigError
        If there is too little to learn from.
    """
    learnt = first_of(train, data.max_train)
    shares = Shares(len(learnt), batch_size=batch_size, num_ranks=num_ranks, rank=rank)
    shares.check(where=f"{data.where}, split train")
    order = make_order(shares, seed=seed)
    batches = None
    if val is not None and len(val):
        batches = whole_tiles(
            val, data=data, batch_size=batch_size, rank=rank, num_ranks=num_ranks, limit=data.max_val
        )
    return Feed(
        train=train_batches(learnt, order, data=data, batch_size=batch_size),
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


def first_of(data_set: Samples, limit: int | None) -> Subset[dict[str, Any]]:
    """The first samples of a data set, or all."""
    count = len(data_set) if limit is None else min(limit, len(data_set))
    return Subset(cast(Dataset[dict[str, Any]], data_set), range(count))


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


def require_samples(data_set: Samples, *, where: str) -> None:
    """Refuse an empty split.

    Raises
    ------
    ConfigError
        If it has no location.
    """
    if not len(data_set):
        raise ConfigError(f"{where}: no kept location in this split; see `noldo info`")


def require_label_files(data_set: Samples, *, where: str) -> None:
    """Refuse a split whose labels were not published, before anything is learnt.

    Raises
    ------
    ConfigError
        If it has samples, and none has a label.
    """
    if len(data_set) and not data_set.has_labels:
        raise ConfigError(
            f"{where}: no labels in this split; put them there, draw a fold (data.fold), or judge on val (judged_split: val)"
        )
