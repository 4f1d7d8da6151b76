"""Which files an export writes: pure decisions from what the store says of itself and of its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from builders.export_layout import asset_key
from noldo.crops import imagery_sides_px
from noldo.errors import ConfigError, StoreError
from noldo.grids import Grid
from noldo.products import ArraySpec
from noldo.status import Status
from noldo.store import StoreLayout

FINEST_M = 10

WHOLE_PATCHES = "nol"
"""Subset whose locations are never padded."""

MAX_NAMED = 5
"""Locations named in one message; the others are counted."""


@dataclass(frozen=True)
class PlannedFile:
    """One season of one array of a location."""

    key: str
    """Name without its end."""
    spec: ArraySpec
    season: int
    """Position on the season axis."""


@dataclass(frozen=True)
class PlannedLocation:
    """One location that has pixels."""

    row: int
    """Of the store."""
    id: int
    side_px: int
    """Pixels of 10 m along one side that are written: those beyond are padding."""
    grid: Grid | None
    """Where these pixels lie; None: no known place."""


@dataclass(frozen=True)
class ExportPlan:
    """What to write."""

    files: tuple[PlannedFile, ...]
    """Of every location: array by array, its seasons in order."""
    locations: tuple[PlannedLocation, ...]
    """In row order."""


def planned_files(layout: StoreLayout, *, products: Sequence[str] | None = None) -> tuple[PlannedFile, ...]:
    """Files of a location, of all products or some.

    Raises
    ------
    ConfigError
        If the store lacks a product, or a season's name can't be part of a file's name.
    """
    stored = dict.fromkeys(spec.product for spec in layout.specs)
    missing = [product for product in products or () if product not in stored]
    if missing:
        raise ConfigError(f"no product {', '.join(missing)} in the store; it has {', '.join(stored)}")
    wanted = stored if products is None else set(products)
    return tuple(
        PlannedFile(asset_key(name, spec.name), spec, season)
        for spec in layout.specs
        if spec.product in wanted
        for season, name in enumerate(layout.season_names)
    )


def planned_locations(
    layout: StoreLayout,
    rows: Mapping[str, np.ndarray],
    *,
    subset: str,
    where: str,
    ids: Sequence[int] | None = None,
) -> tuple[PlannedLocation, ...]:
    """Kept locations, all or some of them.

    Parameters
    ----------
    rows
        The small arrays of the store, by name (`noldo.rows`).
    where
        Name of the store, for messages.

    Raises
    ------
    StoreError
        If an id is unknown or was not kept, or nothing was kept.
    """
    kept = rows["status"] == Status.KEPT
    chosen = kept if ids is None else kept & np.isin(rows["id"], list(ids))
    if ids is not None:
        _require_kept(ids, set(rows["id"].tolist()), set(rows["id"][kept].tolist()), where=where)
    if not chosen.any():
        raise StoreError(
            f"{where}: no location was kept, so there is nothing to export; `noldo info` counts them"
        )
    return tuple(_planned(row, layout, rows, subset=subset) for row in np.flatnonzero(chosen).tolist())


def _require_kept(ids: Sequence[int], known: set[int], kept: set[int], *, where: str) -> None:
    for what, wrong in (
        ("no such location", [one for one in ids if one not in known]),
        ("not kept, so without pixels", [one for one in ids if one in known and one not in kept]),
    ):
        if wrong:
            raise StoreError(
                f"{where}: ids {named(wrong)}: {what}; kept ones are {named(sorted(kept)) or '(none)'}"
            )


def named(ids: Sequence[int]) -> str:
    """The first ids of many, and how many more."""
    more = f" and {len(ids) - MAX_NAMED:,} more" if len(ids) > MAX_NAMED else ""
    return ", ".join(str(one) for one in ids[:MAX_NAMED]) + more


def _planned(
    row: int, layout: StoreLayout, rows: Mapping[str, np.ndarray], *, subset: str
) -> PlannedLocation:
    side = layout.patch_size_px
    if subset != WHOLE_PATCHES:
        side = int(imagery_sides_px(layout, rows["window"][row : row + 1])[0])
    epsg, x_ul, y_ul = (int(rows[name][row]) for name in ("crs_epsg", "x_ul", "y_ul"))
    grid = Grid(epsg, x_ul, y_ul, side) if epsg else None
    return PlannedLocation(row=row, id=int(rows["id"][row]), side_px=side, grid=grid)
