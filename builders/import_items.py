"""What an importer says of a published data set: its items, what one of them holds, and what is wrong with it.

An importer is a plan (`ImportPlan`) and a function that reads one item (`ReadItem`); `builders.import_store` does the rest.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from noldo.errors import InputError
from noldo.grids import Grid
from noldo.manifest import SeasonRecord, SourceRecord
from noldo.products import ArraySpec
from noldo.rows import SPLITS
from noldo.status import Status

Georeference = Literal["exact", "approximate", "none"]

IMPORT_VERSION = 1
"""Raised when the same published files would give other bytes: an import that has begun is then not gone on with."""

MAX_ID = 2**63 - 1
"""Ids are int64 in the index and in the store."""

MAX_NAMED = 5
"""Names in one message; the others are counted."""


class BadItemError(InputError):
    """One item can't be used; its row is masked, with this reason."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(f"{what}: {detail}")
        self.what = what
        """Kind of fault, by which skipped items are counted, e.g. `missing file`."""


@dataclass(frozen=True)
class Placement:
    """Where an item lies, as far as its files say."""

    grid: Grid | None = None
    """Its 10 m pixels in UTM, corner rounded to metres; None: no known place."""
    georeference: Georeference = "none"
    """`approximate`: the corner may be up to 10 px off."""
    lon: float | None = None
    lat: float | None = None
    """Centre in degrees WGS84."""
    source_crs: str = ""
    """As published, e.g. `EPSG:4326`."""
    source_bounds: tuple[float, float, float, float] | None = None
    """x_min, y_min, x_max, y_max in units of `source_crs`, as published."""


NOWHERE = Placement()


@dataclass(frozen=True)
class Item:
    """One location as published: what is known before its pixels are read."""

    id: int
    """Stable number, 0 .. `MAX_ID`."""
    name: str
    """Of the tile or patch at its source."""
    split: str
    """`train`, `val` or `test`."""
    key: Any = None
    """Whatever the importer finds the item's files by; part of no output."""
    place: str = ""
    status: Status = Status.KEPT
    """Anything else: the row is masked, and no pixel is read."""
    reason: str = ""
    """Why it is masked; empty for kept."""
    placement: Placement = NOWHERE
    columns: Mapping[str, object] = field(default_factory=dict)
    """Columns of the index (`noldo.index`) that hold whether or not the item is kept."""


@dataclass(frozen=True)
class Reading:
    """What one item holds."""

    arrays: Mapping[str, np.ndarray]
    """By array name, (season, band?, y, x) in the stored dtype. May be smaller than a patch if the plan says so."""
    placement: Placement | None = None
    """None: as the item says."""
    columns: Mapping[str, object] = field(default_factory=dict)
    """Columns of the index, e.g. `time_s2`: a list of milliseconds (or None), one a season."""
    counted: Mapping[str, int] = field(default_factory=dict)
    """What was changed on the way, in words, to a number of pixels; summed over all kept items."""


ReadItem = Callable[[Item], Reading]
"""Reads one item. Raises `BadItemError` if the item can't be used, `InputError` if the import must stop."""


@dataclass(frozen=True)
class ImportPlan:
    """All that decides what an import writes, besides the pixels."""

    importer: str
    """E.g. `ssl4eo-v1`."""
    subset: str
    """`nol`, `dw`, `osm` or `dfc2020`: name of the store."""
    specs: tuple[ArraySpec, ...]
    seasons: tuple[SeasonRecord, ...]
    patch_size_px: int
    items: Sequence[Item]
    """In the order of the rows."""
    sources: tuple[SourceRecord, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    """What the importer was told: JSON values, no folders of this machine."""
    notes: tuple[str, ...] = ()
    """What a user of the data should know, a sentence each."""
    columns: tuple[str, ...] = ()
    """Names of further optional columns of the index."""
    label_product: str = ""
    """Whose class shares are those of the subset; empty: no labels."""
    may_be_smaller: bool = False
    """Items smaller than a patch are stored at its upper left; otherwise they are bad."""
    unmatched: tuple[str, ...] = ()
    """Names that were found at the source and belong to no item."""

    def config(self) -> dict[str, object]:
        """What the manifest keeps as its config."""
        return {"importer": self.importer, "version": IMPORT_VERSION, **self.options}

    def config_digest(self) -> str:
        """SHA-256 of `config`."""
        return _digest(self.config())

    def fingerprint(self) -> str:
        """SHA-256 of what must not change while an import goes on: config, arrays and items."""
        items = [(item.id, item.name, item.split, int(item.status)) for item in self.items]
        arrays = [(spec.name, spec.bands, spec.dtype) for spec in self.specs]
        seasons = [season.name for season in self.seasons]
        return _digest([self.config(), self.subset, arrays, seasons, self.patch_size_px, items])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def check_items(items: Sequence[Item], *, where: str) -> None:
    """Refuse what would make no index.

    Raises
    ------
    InputError
        If there is no item, an id stands twice or is none of the store, or a split is unknown.
    """
    if not items:
        raise InputError(
            f"{where}: nothing to import was found there; give the folder that holds the data set"
        )
    seen: dict[int, str] = {}
    for item in items:
        if not 0 <= item.id <= MAX_ID or item.split not in SPLITS:
            raise InputError(
                f"{where}: {item.name} has id {item.id} and split {item.split!r}; expected an id from 0 to {MAX_ID} and "
                f"one of {', '.join(SPLITS)}"
            )
        if item.id in seen:
            raise InputError(
                f"{where}: {seen[item.id]} and {item.name} both have id {item.id}; remove one of them"
            )
        seen[item.id] = item.name
