"""Batches for the loop: data sets, order and workers of one recipe."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset, default_collate

from noldo.dataset import NoldoS12
from noldo.errors import ConfigError, StoreError
from noldo.legend import Legend
from noldo.training.label_noise import with_noise
from noldo.training.left_out import left_out_of, tell
from noldo.training.recipe import Data, LabelNoise
from noldo.training.sampler import EpochBatches, Shares, same_size_batches
from noldo.training.task import Draw, Feed


def crop_to_load(train: NoldoS12, crop_px: int, *, where: str) -> int | None:
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


def require_one_size(train: NoldoS12, *, where: str) -> None:
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
) -> NoldoS12:
    """The data set of one split; train lacks what the recipe leaves out, and has the errors that it puts into its labels.

    Parameters
    ----------
    is_told
        Say in the log what is left out.

    Raises
    ------
    ConfigError, StoreError
        If the store lacks what the recipe names.
    """
    open_one = partial(
        NoldoS12,
        data.store,
        subset=data.subset,
        modalities=tuple(modalities),
        bands=data.bands if "s2_l1c" in modalities else None,
        split=split,
        label_source=data.label_source,
        label_store=data.label_store,
        seed=seed,
        transform=with_largest_label,
        **options,
    )
    found = open_one()
    if split == "train" and (data.hold_out is not None or data.drop_worst is not None):
        left = left_out_of(data, found)
        if is_told:
            tell(left, data)
        found = open_one(only=left.kept)
    if data.noise is not None and split == "train":
        found.set_transform(NoisyLabels(data.noise, num_classes=len(found.legend.classes), seed=seed))
    return found


def make_feed(
    train: NoldoS12,
    val: NoldoS12 | None,
    *,
    data: Data,
    batch_size: int,
    seed: int,
    rank: int = 0,
    num_ranks: int = 1,
    draw: Draw,
) -> Feed:
    """Put together what the loop reads from.

    Parameters
    ----------
    train, val
        Data sets; `val` hands out whole tiles or centre crops, and is never told of epochs: its seasons stay the same.

    Raises
    ------
    ConfigError
        If there is too little to learn from.
    """
    learnt = first_of(train, data.max_train)
    shares = Shares(len(learnt), batch_size=batch_size, num_ranks=num_ranks, rank=rank)
    shares.check(where=f"{data.store}, {data.subset}, split train")
    order = EpochBatches(shares, seed=seed)
    batches = None
    if val is not None and len(val):
        batches = whole_tiles(
            val, data=data, batch_size=batch_size, rank=rank, num_ranks=num_ranks, limit=data.max_val
        )
    return Feed(
        train=_loader(learnt, order, data=data),
        order=order,
        set_epoch=train.set_epoch,
        check=partial(refuse_odd_labels, legend=train.legend, where=f"{data.store}, {data.subset}"),
        val=batches,
        draw=draw,
        steps_per_epoch=shares.num_steps,
    )


def whole_tiles(
    data_set: NoldoS12,
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
    return _loader(chosen, batches[rank::num_ranks], data=data)


def first_of(data_set: NoldoS12, limit: int | None) -> Subset[dict[str, Any]]:
    """The first samples of a data set, or all."""
    count = len(data_set) if limit is None else min(limit, len(data_set))
    return Subset(data_set, range(count))


def _loader(data_set: Any, batches: Any, *, data: Data) -> DataLoader[Any]:
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


def require_samples(data_set: NoldoS12, *, where: str) -> None:
    """Refuse an empty split.

    Raises
    ------
    ConfigError
        If it has no location.
    """
    if not len(data_set):
        raise ConfigError(f"{where}: no kept location in this split; see `noldo info`")
