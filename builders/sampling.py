"""Draws patch centres around cities: the scheme of SSL4EO-S12 (Wang et al. 2023), in true metres.

A city is picked at random, all alike; the centre lies a Gaussian step from it. Steps are metres on the
ellipsoid, not degrees, so the cloud is round at any latitude. A draw that can't be used (outside
Sentinel-2's latitudes, on the edge of a UTM zone, at sea, too near to an earlier one) is thrown away and
counted.

Draws come in batches of a fixed size, each from a generator of its own, and are judged one after
another: so the first n locations are the same for any count from n on.
"""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

from builders.cities import City
from builders.land import LandTest, touches_land
from builders.patches import Floats, Patches, in_own_zone, place_patches
from builders.spacing import Spacing, earth_centred
from noldo.errors import ConfigError

logger = logging.getLogger(__name__)

SENTINEL_2_LATITUDES = (-56.0, 84.0)
"""Land that Sentinel-2 acquires systematically lies between these degrees (ESA, Sentinel-2 User Handbook:
56 S to 84 N). Antarctica is seen now and then only, so nothing is drawn there; the user's own points may
lie down to 80 S."""

BATCH_SIZE = 16_384
"""Draws judged together. Part of the scheme: another number gives other locations."""

MAX_FURTHER_BATCHES = 100
"""If the rest would take more batches than this at the present pace, there is no room left."""

_LEAST_SPACING_M = 1.0
"""Nearer than this, two snapped centres in one zone are the same patch."""


@dataclass(frozen=True)
class DrawCounts:
    """What became of all draws."""

    draws: int = 0
    outside: int = 0
    """Beyond Sentinel-2's latitudes."""
    on_edge: int = 0
    """Snapped across the edge of a UTM zone: from its own centre another patch would follow."""
    at_sea: int = 0
    too_near: int = 0
    """Nearer to an earlier location than the least spacing."""

    @property
    def accepted(self) -> int:
        """Draws that became locations."""
        return self.draws - self.outside - self.on_edge - self.at_sea - self.too_near

    def __add__(self, other: "DrawCounts") -> "DrawCounts":
        """Counts of both."""
        return DrawCounts(
            self.draws + other.draws,
            self.outside + other.outside,
            self.on_edge + other.on_edge,
            self.at_sea + other.at_sea,
            self.too_near + other.too_near,
        )


@dataclass(frozen=True)
class Sample:
    """Locations in the order in which they were accepted."""

    patches: Patches
    city: NDArray[np.int64]
    """Rank of the city each was drawn around; axis (patch,)."""
    counts: DrawCounts


def step_from(lon: Floats, lat: Floats, *, sigma_m: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Move each place by a Gaussian step, along the geodesic in a direction all alike.

    Parameters
    ----------
    lon, lat
        Degrees WGS84; axis (place,).
    sigma_m
        Standard deviation towards the east and towards the north, in metres.
    """
    east, north = sigma_m * rng.standard_normal((2, len(lon)))
    azimuth = np.degrees(np.arctan2(east, north))
    new_lon, new_lat, _ = Geod(ellps="WGS84").fwd(lon, lat, azimuth, np.hypot(east, north))
    return np.asarray(new_lon), np.asarray(new_lat)


def sample_locations(
    cities: Sequence[City],
    *,
    count: int,
    seed: int,
    sigma_m: float,
    min_spacing_m: float,
    size_px: int,
    is_land: LandTest,
) -> Sample:
    """Draw locations until there are `count`.

    Parameters
    ----------
    cities
        Each is picked equally often.
    sigma_m
        Standard deviation around a city, in metres.
    min_spacing_m
        Least geodesic distance between the centres of two (snapped) patches, in metres.
    size_px
        Side of a patch in pixels of 10 m.
    is_land
        Which points are land; see `builders.land`.

    Raises
    ------
    ConfigError
        If there is no room for so many; says how many fit.
    """
    spacing = Spacing(max(min_spacing_m, _LEAST_SPACING_M))
    parts: list[Sample] = []
    total = DrawCounts()
    for batch in itertools.count():
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(batch,)))
        drawn = _draw(cities, rng=rng, sigma_m=sigma_m, size_px=size_px)
        part = _judge(drawn, is_land=is_land, spacing=spacing, wanted=count - total.accepted)
        parts.append(part)
        total += part.counts
        missing = count - total.accepted
        logger.debug("batch %d: %d of %d locations", batch, total.accepted, count)
        if missing == 0:
            return _joined(parts, total)
        if missing > MAX_FURTHER_BATCHES * part.counts.accepted:
            raise ConfigError(_no_room(count, total, part.counts))
    raise AssertionError("unreachable: itertools.count never ends")


@dataclass(frozen=True)
class _Drawn:
    """One batch before it is judged."""

    patches: Patches
    """Of the draws inside the latitudes."""
    rank: NDArray[np.int64]
    """Position of each patch's draw in the batch."""
    city: NDArray[np.int64]
    """City of each patch."""


def _draw(cities: Sequence[City], *, rng: np.random.Generator, sigma_m: float, size_px: int) -> _Drawn:
    city = rng.integers(len(cities), size=BATCH_SIZE)
    centre_lon = np.array([one.lon for one in cities])[city]
    centre_lat = np.array([one.lat for one in cities])[city]
    lon, lat = step_from(centre_lon, centre_lat, sigma_m=sigma_m, rng=rng)
    south, north = SENTINEL_2_LATITUDES
    rank = np.flatnonzero((lat >= south) & (lat <= north))
    patches = place_patches(lon[rank], lat[rank], size_px=size_px)
    return _Drawn(patches, rank, city[rank])


def _judge(drawn: _Drawn, *, is_land: LandTest, spacing: Spacing, wanted: int) -> Sample:
    """Accept one after another until `wanted` are found; later draws are not counted."""
    patches = drawn.patches
    in_zone = in_own_zone(patches).tolist()
    on_land = touches_land(patches, is_land).tolist()
    points = earth_centred(patches.lon, patches.lat)
    accepted: list[int] = []
    on_edge = at_sea = too_near = 0
    draws = BATCH_SIZE
    for row, (point, cube) in enumerate(zip(points.tolist(), spacing.cubes(points), strict=True)):
        if not in_zone[row]:
            on_edge += 1
        elif not on_land[row]:
            at_sea += 1
        elif spacing.accept(tuple(point), cube) is not None:
            too_near += 1
        else:
            accepted.append(row)
            if len(accepted) == wanted:
                draws = int(drawn.rank[row]) + 1
                break
    outside = draws - len(accepted) - on_edge - at_sea - too_near
    counts = DrawCounts(draws, outside, on_edge, at_sea, too_near)
    chosen = Patches(
        tuple(patches.grids[row] for row in accepted), patches.lon[accepted], patches.lat[accepted]
    )
    return Sample(chosen, drawn.city[accepted], counts)


def _joined(parts: Sequence[Sample], counts: DrawCounts) -> Sample:
    patches = Patches(
        tuple(itertools.chain.from_iterable(part.patches.grids for part in parts)),
        np.concatenate([part.patches.lon for part in parts]),
        np.concatenate([part.patches.lat for part in parts]),
    )
    return Sample(patches, np.concatenate([part.city for part in parts]), counts)


def _no_room(count: int, total: DrawCounts, last: DrawCounts) -> str:
    return (
        f"locations.count: {count} asked for, but after {total.draws} draws only {total.accepted} fit (of the "
        f"last {last.draws}: {last.too_near} nearer to another than locations.min_spacing_m, {last.at_sea} at "
        f"sea, {last.outside} outside Sentinel-2's latitudes, {last.on_edge} on the edge of a zone, {last.accepted} accepted); "
        "lower the count or the spacing, or raise locations.sigma_km or locations.num_cities"
    )
