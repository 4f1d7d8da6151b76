"""Where the labels of each sample are: in the store of its images, or in another one that has the same locations."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from noldo.errors import ConfigError
from noldo.reader import StoreReader
from noldo.status import Status

_PLACE = ("crs_epsg", "x_ul", "y_ul")


@dataclass(frozen=True)
class LabelRows:
    """A reader, and a row of its store for each sample."""

    reader: StoreReader
    rows: np.ndarray
    """(sample,) int64."""

    @classmethod
    def of_other(cls, labels: StoreReader, images: StoreReader, rows: np.ndarray) -> Self:
        """Rows of a store of labels that are the locations of some rows of a store of images, found by id.

        Raises
        ------
        ConfigError
            If seasons or patches differ, or a location is missing or lies elsewhere.
        """
        _require_same_axes(labels, images)
        kept = np.flatnonzero(labels.row_values("status") == Status.KEPT)
        row_of_id = dict(zip(labels.row_values("id")[kept].tolist(), kept.tolist(), strict=True))
        ids = images.row_values("id")[rows].tolist()
        if missing := [one for one in ids if one not in row_of_id]:
            raise ConfigError(
                f"{labels.files.where}: no labels for {len(missing)} of {len(ids)} locations of {images.files.where}, e.g. "
                f"{missing[0]}; make them of this store"
            )
        found = np.array([row_of_id[one] for one in ids], np.int64)
        for name in _PLACE:
            moved = labels.row_values(name)[found] != images.row_values(name)[rows]
            if moved.any():
                raise ConfigError(
                    f"{labels.files.where}: location {ids[int(moved.argmax())]} lies elsewhere ({name}) than in "
                    f"{images.files.where}; make the labels of this store"
                )
        return cls(labels, found)


def _require_same_axes(labels: StoreReader, images: StoreReader) -> None:
    pairs = {
        "seasons": (labels.layout.season_names, images.layout.season_names),
        "patch of": (f"{labels.layout.patch_size_px} px", f"{images.layout.patch_size_px} px"),
    }
    for what, (there, here) in pairs.items():
        if there != here:
            raise ConfigError(
                f"{labels.files.where}: {what} {there}, but {images.files.where} has {here}; make the labels of this store"
            )
