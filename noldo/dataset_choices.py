"""What of a store a data set hands out: its locations, images, season and labels, as the caller's words choose them."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from noldo.bands import BandChoice, chosen_bands
from noldo.errors import ConfigError
from noldo.files import Cache
from noldo.label_rows import LabelRows
from noldo.paths import find_subset
from noldo.products import PREDICTED_LABELS, ArraySpec
from noldo.reader import StoreReader
from noldo.rows import SPLITS
from noldo.status import Status

Season = Literal["random", "all"] | int | str

LABEL_SOURCES = ("truth", "osm", "expert", "dfc2020", "dynamic_world", *PREDICTED_LABELS)
"""Label products, cleanest first: a store's own labels are the first of these that it holds."""


def kept_rows(reader: StoreReader, split: str | None, only: Collection[int] | None) -> dict[str, np.ndarray]:
    """Kept locations of a split: `id`, `crs_epsg`, `x_ul` and `y_ul` (m) of each, and its `row` of the store; (sample,) each.

    Raises
    ------
    ConfigError
        If there is no such split, or `only` names what is not kept in it.
    """
    if split is not None and split not in SPLITS:
        raise ConfigError(f"split {split!r}: expected one of {', '.join(SPLITS)}, or None for all")
    kept = reader.row_values("status") == Status.KEPT
    if split is not None:
        kept &= reader.row_values("split") == SPLITS.index(split)
    if only is not None:
        ids = reader.row_values("id")
        if unknown := sorted(set(only) - set(ids[kept].tolist())):
            raise ConfigError(
                f"only: {len(unknown)} ids are no kept locations of {reader.files.where}, split {split}, e.g. {unknown[0]}"
            )
        kept &= np.isin(ids, list(only))
    rows = np.flatnonzero(kept)
    values = {name: reader.row_values(name)[rows] for name in ("id", "crs_epsg", "x_ul", "y_ul")}
    return values | {"row": rows}


def label_rows(
    reader: StoreReader,
    rows: np.ndarray,
    label_store: str | Path | None,
    *,
    subset: str,
    cache: Cache | None,
) -> LabelRows:
    """Where the labels of these rows are: in this store, or in the subset of the same name of another one; see `LabelRows.of_other`."""
    if label_store is None:
        return LabelRows(reader, rows)
    labels = StoreReader.open(find_subset(label_store, subset=subset).store, cache=cache)
    return LabelRows.of_other(labels, reader, rows)


def _is_stored(reader: StoreReader, product: str) -> bool:
    return any(spec.product == product for spec in reader.layout.specs)


def chosen_images(
    reader: StoreReader, modalities: Sequence[str] | None, bands: BandChoice
) -> list[tuple[ArraySpec, list[int] | None]]:
    """Arrays to read, each with the positions of the chosen bands (None: all, or no band axis).

    Raises
    ------
    ConfigError
        If a modality or band is not stored.
    """
    if modalities is None:
        optical = [name for name in ("s2_l1c", "s2_l2a") if _is_stored(reader, name)][:1]
        modalities = [*optical, *(name for name in ("s1_grd",) if _is_stored(reader, name))]
    modalities = (modalities,) if isinstance(modalities, str) else tuple(modalities)
    specs = reader.layout.specs
    stored = {spec.product for spec in specs if spec.product not in LABEL_SOURCES}
    if unknown := [name for name in modalities if name not in stored]:
        raise ConfigError(
            f"modalities {', '.join(unknown)}: not in {reader.files.where}, which has {', '.join(sorted(stored))}"
        )
    chosen: list[tuple[ArraySpec, list[int] | None]] = []
    for modality in modalities:
        arrays = [spec for spec in specs if spec.product == modality]
        if not modality.startswith("s2_l"):
            chosen += [(spec, None) for spec in arrays]
            continue
        available = tuple(band for spec in arrays for band in spec.bands)
        wanted = chosen_bands(bands, product=modality, stored=available)
        for spec in arrays:
            positions = [position for position, band in enumerate(spec.bands) if band in wanted]
            if positions:
                chosen.append((spec, None if len(positions) == len(spec.bands) else positions))
    return chosen


def chosen_season(reader: StoreReader, season: Season) -> Season:
    """`random`, `all`, or a position on the season axis.

    Raises
    ------
    ConfigError
        If it is none of them.
    """
    names = reader.layout.season_names
    if season in ("random", "all"):
        return season
    if isinstance(season, str) and season in names:
        return names.index(season)
    if isinstance(season, int) and 0 <= season < len(names):
        return season
    raise ConfigError(
        f"season {season!r}: expected random, all, one of {', '.join(names)}, or 0 .. {len(names) - 1}"
    )


def label_spec(reader: StoreReader, labels: str | None, source: str | None) -> ArraySpec | None:
    """The array of labels: of the source that is asked for, or of the cleanest that is stored; None: no labels.

    Raises
    ------
    ConfigError
        If there is no such, or another word than season, all or None is given.
    """
    if labels not in ("season", "all", None):
        raise ConfigError(f"labels {labels!r}: expected season, all or None")
    if labels is None:
        return None
    stored = {spec.product: spec for spec in reader.layout.specs if spec.product in LABEL_SOURCES}
    for wanted in LABEL_SOURCES if source is None else (source,):
        if wanted in stored:
            return stored[wanted]
    raise ConfigError(
        f"label_source {source!r}: {reader.files.where} has {', '.join(stored) or 'no labels; give labels=None'}"
    )
