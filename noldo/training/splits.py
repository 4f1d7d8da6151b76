"""The splits that a recipe names, as data sets: a store of this project, or tiles as others published them."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from noldo.dataset import NoldoS12
from noldo.errors import ConfigError, StoreError
from noldo.files import Cache
from noldo.legend import Legend
from noldo.training.data_keys import Data
from noldo.training.label_transforms import (
    LARGEST_LABEL,
    IgnoredClasses,
    NoisyLabels,
    Transform,
    refuse_odd_labels,
    with_largest_label,
)
from noldo.training.left_out import left_out_of, tell

if TYPE_CHECKING:
    from noldo.published.tiles import PublishedTiles

_LOG = logging.getLogger(__name__)


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

    def set_transform(self, transform: Transform | None, *, keeps_nothing: bool = False) -> None:
        """Choose what each sample goes through; see `NoldoS12.set_transform`."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


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
    if data.noise is not None and split == "train":
        transform = NoisyLabels(data.noise, num_classes=len(found.legend.classes), seed=seed)
    if data.ignore_classes:
        transform = IgnoredClasses(data.ignore_classes, legend=found.legend, after=transform)
    found.set_transform(transform, keeps_nothing=True)
    return found


def open_stored(data: Data, *, split: str, modalities: Sequence[str], seed: int, **options: Any) -> NoldoS12:
    """A store of this project, as a recipe names it; `options` of `NoldoS12`. Train alone is read by way of copies, if the recipe has
    them: other splits would have whole shards copied for a few of their locations.
    """
    copies = data.cache if split == "train" else None
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
        cache=None if copies is None else Cache(copies.folder, copies.max_gb),
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


def first_of(data_set: Samples, limit: int | None) -> Subset[dict[str, Any]]:
    """The first samples of a data set, or all."""
    count = len(data_set) if limit is None else min(limit, len(data_set))
    return Subset(cast(Dataset[dict[str, Any]], data_set), range(count))


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
