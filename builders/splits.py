"""Training, validation and test by blocks of the Earth: neighbours are never on both sides. Or as lists say.

The Earth is cut into rows of equal height, and each row into columns about as wide as it is high. A
hash of seed and block decides, so a block's split depends on nothing but the config: not on how many
locations there are, nor on the other blocks.
"""

import hashlib
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builders.config_sections import Split
from builders.patches import Floats
from builders.spacing import MEAN_RADIUS_M
from noldo.errors import InputError

logger = logging.getLogger(__name__)


def blocks(lon: Floats, lat: Floats, *, block_km: float) -> NDArray[np.int64]:
    """Row and column of the block that each place lies in; axes (place, row-column).

    Blocks are `block_km` high and, in the middle of their row, about as wide; a row always holds whole
    blocks, so the antimeridian is a border like any other.
    """
    half_circle_km = math.pi * MEAN_RADIUS_M / 1000
    num_rows = max(1, round(half_circle_km / block_km))
    row = np.clip(np.floor((lat + 90) / 180 * num_rows), 0, num_rows - 1)
    middle = np.radians((row + 0.5) / num_rows * 180 - 90)
    num_columns = np.maximum(1, np.round(2 * half_circle_km * np.cos(middle) / block_km))
    column = np.floor((lon + 180) / 360 * num_columns) % num_columns
    return np.stack([row, column], axis=-1).astype(np.int64)


def split_of_block(row: int, column: int, split: Split) -> str:
    """`train`, `val` or `test`: a pure function of seed and block, in the shares of `split`."""
    text = f"{split.seed}:{row}:{column}".encode()
    draw = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64
    if draw < split.val:
        return "val"
    return "test" if draw < split.val + split.test else "train"


def assign_splits(lon: Floats, lat: Floats, split: Split) -> list[str]:
    """Split of each place, by the block that holds it."""
    pairs = [(row, column) for row, column in blocks(lon, lat, block_km=split.block_km).tolist()]
    names = {pair: split_of_block(*pair, split) for pair in set(pairs)}
    return [names[pair] for pair in pairs]


def listed_splits(split: Split, places: Sequence[tuple[int, str]]) -> list[str]:
    """Split of each place, as the lists of the config say; empty for places in none of them.

    Parameters
    ----------
    places
        (id, name) of each place; a line of a list may be either, or the name of a file of the place
        (`s2_<name>.tif`), or an id with zeros before it, as SSL4EO-S12's folders have it (`0000123`).

    Raises
    ------
    InputError
        If a list can't be read, a place stands in two of them, or a list has no place of this build.
    """
    listed: dict[str, str] = {}
    for name, path in split.lists.items():
        for line in _lines(path):
            if listed.setdefault(_key(line), name) != name:
                raise InputError(
                    f"{path}: {line} is listed for {listed[_key(line)]}, too; remove it from one of the lists"
                )
    found = [{listed[key] for key in _keys(*place) if key in listed} for place in places]
    for place, splits in zip(places, found, strict=True):
        if len(splits) > 1:
            raise InputError(
                f"place {place[0]} ({place[1]}) is listed by id for one split and by name for another; remove one"
            )
    _tell(split, listed, places, num_listed=sum(map(bool, found)))
    return [next(iter(splits), "") for splits in found]


_FILE = re.compile(r"(?:(?:s1|s2|s2c|s2a|dw|osm|label)_(?=dw_|-?\d))?(.*?)(?:\.tif)?")
"""Prefix and suffix of the files of a place, around its name."""


def _key(text: str) -> str:
    """What a line of a list and an id or a name of a place have in common."""
    found = _FILE.fullmatch(text)
    name = found[1] if found else text
    return str(int(name)) if name.isdigit() else name.removeprefix("dw_")


def _keys(id_: int, name: str) -> set[str]:
    return {str(id_), _key(name)} - {""}


def _tell(
    split: Split, listed: Mapping[str, str], places: Sequence[tuple[int, str]], *, num_listed: int
) -> None:
    """Counts for people; a list that knows none of the places is an error, and was meant for others."""
    known = {key for place in places for key in _keys(*place)}
    for name, path in split.lists.items():
        keys = [key for key, of in listed.items() if of == name]
        if not known & set(keys):
            raise InputError(
                f"{path}: none of its {len(keys)} entries is an id or a name of a place of this build (e.g. {places[0][0]} or "
                f"{places[0][1]!r}); correct split.lists"
            )
    unknown = sorted(listed.keys() - known)
    logger.info(
        "%d places are in the lists of splits, %d in none of them; %d listed names are no place of this build%s",
        num_listed,
        len(places) - num_listed,
        len(unknown),
        f", e.g. {unknown[0]}" if unknown else "",
    )


def _lines(path: Path) -> list[str]:
    """Entries of a list: the first cell of each line; blank lines and comments (#) are none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read as text ({error}); correct split.lists") from None
    cells = [line.split(",")[0].strip() for line in lines]
    return [cell for cell in cells if cell and not cell.startswith("#")]
