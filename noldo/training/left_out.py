"""Which locations of train a run does not learn from: a fold that is held out, and those whose labels are worst."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noldo.audit.table import read_ranks
from noldo.dataset import NoldoS12
from noldo.errors import ConfigError
from noldo.training.data_keys import Data, DropWorst, fold_of

_LOG = logging.getLogger(__name__)

BLOCK_M = 50_000
"""Side of the squares that are held out as a whole, as long as those that splits are drawn by: neighbours see the same ground."""

_STREAM = 7
"""Of random numbers; 0 to 5 are those of seasons, crops, augmentation, order, dropout and noise."""

MAX_NAMED = 20
"""Ids in one line of the log."""


@dataclass(frozen=True)
class LeftOut:
    """Ids of the locations of a train split, by what becomes of them; each in sample order."""

    kept: tuple[int, ...]
    held_out: tuple[int, ...]
    dropped: tuple[int, ...]


def left_out_of(data: Data, train: NoldoS12) -> LeftOut:
    """What a recipe leaves out of its train split.

    Parameters
    ----------
    train
        All of the split.

    Raises
    ------
    ConfigError
        If the table of an audit can't be read, or is of other locations.
    """
    ids = train.ids
    is_held = np.zeros(len(ids), bool)
    if data.hold_out is not None:
        one, of = fold_of(data.hold_out)
        is_held = folds(ids, train.places, num_folds=of) == one
    dropped: frozenset[int] = frozenset()
    if data.drop_worst is not None:
        ranks = read_ranks(Path(data.drop_worst.file), score=data.drop_worst.score)
        dropped = dropped_of(ids[~is_held].tolist(), ranks, settings=data.drop_worst)
    held = tuple(ids[is_held].tolist())
    kept = tuple(one for one in ids[~is_held].tolist() if one not in dropped)
    return LeftOut(kept, held, tuple(one for one in ids.tolist() if one in dropped))


def tell(left: LeftOut, data: Data) -> None:
    """Say in the log what is not learnt from."""
    where = f"{data.store}, {data.subset}, split train"
    total = len(left.kept) + len(left.held_out) + len(left.dropped)
    for what, ids in ((f"hold_out {data.hold_out}", left.held_out), ("drop_worst", left.dropped)):
        if ids:
            more = f", and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
            named = ", ".join(map(str, ids[:MAX_NAMED]))
            _LOG.warning(
                "%s: %s leaves out %d of %d locations: %s%s", where, what, len(ids), total, named, more
            )


def folds(ids: np.ndarray, places: np.ndarray, *, num_folds: int) -> np.ndarray:
    """(location,) fold of each, from 1: squares of the Earth are dealt out in the order of their hashes.

    Parameters
    ----------
    ids
        (location,); what has no CRS is a square of its own.
    places
        (location, 3): EPSG code (0: not known), easting and northing of the upper left corner in metres.
    """
    blocks = [
        (crs, x // BLOCK_M, y // BLOCK_M) if crs else (0, one, 0)
        for one, (crs, x, y) in zip(ids.tolist(), places.tolist(), strict=True)
    ]
    order = sorted(set(blocks), key=lambda block: hashlib.sha256(repr(block).encode()).digest())
    fold_of_block = {block: 1 + position % num_folds for position, block in enumerate(order)}
    return np.array([fold_of_block[block] for block in blocks], np.int64)


def dropped_of(ids: Sequence[int], ranks: Mapping[int, int], *, settings: DropWorst) -> frozenset[int]:
    """Ids of the worst share, or as many at random.

    Parameters
    ----------
    ids
        Of the locations that would be learnt from.
    ranks
        Id to rank, 1 the worst; 0: not judged, which is never among the worst.

    Raises
    ------
    ConfigError
        If a location has not been audited.
    """
    if missing := [one for one in ids if one not in ranks]:
        raise ConfigError(
            f"data.drop_worst: {settings.file} has no line for {len(missing)} of {len(ids)} locations of train, e.g. {missing[0]}; "
            "audit all of them"
        )
    count = int(settings.share * len(ids))
    if settings.at_random is not None:
        order = np.random.default_rng([settings.at_random, _STREAM]).permutation(sorted(ids)).tolist()
        return frozenset(order[:count])
    judged = sorted((ranks[one], one) for one in ids if ranks[one])
    return frozenset(one for _, one in judged[:count])
