"""Weather over a datatake: clouds, their shadows and haze, on the ground's coordinates.

Clouds belong to the pass of the satellite, not to a tile, so that tiles that overlap show the same.
A scene's cloud percentage is the share of sample points under the very field its pixels are masked by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sandbox.planet.lattice import Doubles, Floats, Window, nodes_of, to_pixels
from sandbox.planet.noise import key, uniform

SHADOW_NODES = (10, 14)
"""Length of the shadow of a cloud 1.5 km high in the forenoon: nodes of 60 m in x and in y."""

_RING = max(SHADOW_NODES)
_NORTH_EPSG = 326


@dataclass(frozen=True)
class Sky:
    """Weather over the pixels of a window, axes (y, x)."""

    opacity: Floats
    """0 clear, 1 thick cloud."""
    shadow: Floats
    """0 lit, 1 in shadow."""
    haze: Floats
    """Aerosol relative to a mean day, 0.6..1.6."""

    @property
    def cloudy(self) -> np.ndarray:
        """Pixels that count as cloud (bool)."""
        covered: np.ndarray = self.opacity >= CLOUD_OPACITY
        return covered

    @property
    def shaded(self) -> np.ndarray:
        """Pixels that count as cloud shadow (bool); none of them cloudy."""
        dark: np.ndarray = (self.shadow >= 0.5) & (self.opacity < CLOUD_OPACITY)
        return dark


CLOUD_OPACITY = 0.35
"""Opacity at the border between cloud and clear sky."""

_EDGE = 0.10
"""Width of a cloud's fringe, in quantiles of the cloud field."""


def depth(points_m: Doubles, lat: Doubles, *, take: int, day_of_year: int, seed: int) -> Floats:
    """How deep in cloud the places are: above 0 in a cloud, below 0 in the clear.

    Parameters
    ----------
    points_m
        Axes (3, ...): places on the sphere.
    lat
        Their latitude in degrees.
    take
        Number of the datatake.
    """
    climate, billows, weather = _fields(points_m, key(seed, take, 1), key(seed, take, 2), seed)
    return _depth(climate, billows, weather, np.asarray(lat), _winter(day_of_year))


def depths(
    points_m: Doubles, lat: Doubles, *, takes: Sequence[int], days_of_year: Sequence[int], seed: int
) -> Floats:
    """`depth` at places (3, n) for several datatakes at once: (take, n)."""
    first, second = ([key(seed, take, number) for take in takes] for number in (1, 2))
    climate, billows, weather = _fields(points_m, first, second, seed)
    winter = np.array([_winter(day) for day in days_of_year], np.float32)[:, None]
    return _depth(climate, billows, weather, np.asarray(lat), winter)


def _fields(
    points_m: Doubles, of_billows: int | Sequence[int], of_weather: int | Sequence[int], seed: int
) -> tuple[Floats, Floats, Floats]:
    """Quantiles of climate (lasting), of single clouds, and of the day's weather."""
    climate = uniform(points_m, cell_m=900_000, octaves=3, seed=key(seed, 31))
    billows = uniform(points_m, cell_m=9_000, octaves=5, seed=of_billows, gain=0.55)
    weather = uniform(points_m, cell_m=350_000, octaves=2, seed=of_weather)
    return climate, billows, weather


def _winter(day_of_year: int) -> np.float32:
    """1 in mid January, -1 half a year later."""
    return np.float32(np.cos(2 * np.pi * (day_of_year - 15) / 365.25))


def _depth(
    climate: Floats, billows: Floats, weather: Floats, lat: Doubles, winter: Floats | np.float32
) -> Floats:
    """Share of sky under cloud, by climate, season and weather, against the field of single clouds."""
    season = np.clip(lat / 30, -1, 1).astype(np.float32) * winter
    mean = np.float32(0.24) + np.float32(0.70) * climate**2 + np.float32(0.10) * season
    covered = np.clip((weather - (1 - mean)) / np.float32(0.55) + np.float32(0.5), 0, 1)
    deep: Floats = covered * np.float32(1.08) - np.float32(0.04) - billows
    return deep


@lru_cache(maxsize=10)
def sky_of(window: Window, *, take: int, day_of_year: int, seed: int) -> Sky:
    """Weather over a window that begins and ends at nodes."""
    nodes = nodes_of(window, _RING)
    deep = depth(nodes.points_m, nodes.lat, take=take, day_of_year=day_of_year, seed=seed)
    inner = slice(_RING, -_RING)
    caster = _towards_sun(deep, window)
    haze = uniform(nodes.points_m[:, inner, inner], cell_m=40_000, octaves=2, seed=key(seed, take, 3))
    day = np.float32(0.6 + 0.5 * key(seed, take, 4) / 2**32)
    opacity, shadow = (to_pixels(_opacity(field)) for field in (deep[inner, inner], caster))
    shadow = np.clip(shadow / np.float32(2 * CLOUD_OPACITY), 0, 1)
    return Sky(opacity, shadow * (1 - opacity), to_pixels(day + np.float32(0.5) * haze))


def _opacity(deep: Floats) -> Floats:
    thick: Floats = np.clip(deep / np.float32(_EDGE) + np.float32(CLOUD_OPACITY), 0, 1)
    return thick


def _towards_sun(deep: Floats, window: Window) -> Floats:
    """The cloud field where the light of a node comes from: south-east in the north, north-east in the south."""
    east, away = SHADOW_NODES
    down = away if window.crs_epsg // 100 == _NORTH_EPSG else -away
    height, width = deep.shape
    rows = slice(_RING + down, height - _RING + down)
    columns = slice(_RING + east, width - _RING + east)
    return deep[rows, columns]
