"""Folds for cross-validation that share no region: neighbours look alike, and a random split would have them on both sides.

Pure: places of tiles in, numbers out. A region is a connected component of tiles whose centres are closer than a distance. Positions are
on a sphere, so that tiles of different CRS compare.
"""

import re
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from noldo.errors import ConfigError

_EARTH_RADIUS_M = 6_371_008.8
"""Mean radius of the Earth (IUGG)."""

Positions = NDArray[np.float64]
"""(tile, 3): metres from the centre of the Earth. Distances are chords, shorter than arcs by less than 1 mm in 10 km."""


@dataclass(frozen=True)
class Fold:
    """One of several folds."""

    number: int
    """From 1."""
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `2/5`.

        Raises
        ------
        ConfigError
            If it is none.
        """
        found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]) or int(found[2]) < 2:
            raise ConfigError(f"data.fold {text}: expected e.g. 1/5, the first of five folds")
        return cls(int(found[1]), int(found[2]))


def positions(lon_lat_deg: NDArray[np.float64]) -> Positions:
    """Positions of tile centres.

    Parameters
    ----------
    lon_lat_deg
        (tile, 2) longitude and latitude in degrees.
    """
    lon, lat = np.deg2rad(lon_lat_deg).T
    units = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    found: Positions = _EARTH_RADIUS_M * units
    return found


def regions_of(places: Positions, *, distance_m: float) -> NDArray[np.int64]:
    """(tile,) number of its region, counted from 0 in the order of their first tiles.

    Parameters
    ----------
    distance_m
        Tiles closer than this are of one region, and so are those that a chain of such tiles joins.
    """
    regions = np.full(len(places), -1, np.int64)
    for start in range(len(places)):
        if regions[start] >= 0:
            continue
        region = regions.max() + 1
        regions[start] = region
        waiting = [start]
        while waiting:
            free = np.flatnonzero(regions < 0)
            gaps = np.linalg.norm(places[free] - places[waiting.pop()], axis=1)
            near = free[gaps < distance_m]
            regions[near] = region
            waiting += near.tolist()
    return regions


def folds_of(regions: NDArray[np.int64], *, num_folds: int) -> NDArray[np.int64]:
    """(tile,) number of its fold from 0: whole regions, the largest first, each to the fold with the fewest tiles.

    Raises
    ------
    ConfigError
        If there are fewer regions than folds.
    """
    sizes = np.bincount(regions)
    if len(sizes) < num_folds:
        raise ConfigError(
            f"{num_folds} folds of {len(sizes)} regions; ask for fewer folds, or lower data.region_distance_m if regions were "
            "joined"
        )
    fold_of_region = np.zeros(len(sizes), np.int64)
    filled = np.zeros(num_folds, np.int64)
    for region in np.argsort(-sizes, kind="stable"):
        fold = int(filled.argmin())
        fold_of_region[region] = fold
        filled[fold] += sizes[region]
    return fold_of_region[regions]


@dataclass(frozen=True)
class FoldFacts:
    """What is to be known of one fold."""

    num_tiles: int
    num_regions: int
    gap_m: float
    """Between centres, to the nearest tile of another fold."""


def facts_of(
    places: Positions, regions: NDArray[np.int64], folds: NDArray[np.int64]
) -> tuple[FoldFacts, ...]:
    """Size and distance of each fold."""
    return tuple(
        FoldFacts(
            int((folds == fold).sum()),
            len(np.unique(regions[folds == fold])),
            _smallest_gap(places[folds == fold], places[folds != fold]),
        )
        for fold in range(int(folds.max()) + 1)
    )


def _smallest_gap(ours: Positions, others: Positions) -> float:
    """Metres; a tile at a time, so that memory stays that of one list of tiles."""
    gaps = [float(np.linalg.norm(others - one, axis=1).min()) for one in ours if len(others)]
    return min(gaps, default=float("inf"))
