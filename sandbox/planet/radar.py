"""Backscatter of the synthetic Earth in the two polarisations of Sentinel-1.

A pixel of the radar's lattice shows the 10 m pixel of the zone's lattice that holds its centre.
"""

from functools import lru_cache

import numpy as np

from sandbox.planet.lattice import Doubles, Window
from sandbox.planet.noise import key, lattice_hash
from sandbox.planet.truth import CROPS, NUM_STRAINS, Ground, ground_of

POLARISATIONS = ("VV", "VH")

_MEAN_DB = np.array(
    [
        # water, trees, grass, flooded, crops, shrub, built, bare, snow
        [-20.0, -8.5, -12.0, -9.5, -11.5, -12.5, -4.5, -15.0, -14.0],
        [-27.5, -14.0, -19.0, -16.5, -18.0, -19.5, -12.0, -23.5, -22.0],
    ]
)
"""Sigma nought in dB at 38 degrees by polarisation and class; drawn by hand, typical of C band."""
_SPREAD_DB = np.array([1.5, 0.8, 1.0, 1.2, 1.4, 1.0, 2.5, 1.2, 1.0])
_TEXTURE_DB = np.array([0.2, 0.9, 0.5, 0.7, 0.5, 0.8, 2.2, 0.5, 0.4])
_CROP_SEASON_DB = (1.2, 3.0)
_DB_PER_DEGREE = -0.13
_REFERENCE_ANGLE = 38.0
_LOOKS = 4


def backscatter(
    window: Window, angle: Doubles, *, polarisation: str, take: int, day_of_year: int, seed: int
) -> Doubles:
    """Sigma nought in dB, float64 (y, x).

    Parameters
    ----------
    window
        10 m pixels of the zone.
    angle
        Incidence angle in degrees, (y, x).
    """
    number = POLARISATIONS.index(polarisation)
    padded = window.padded()
    inside = window.inside(padded)
    ground = ground_of(padded, seed=seed)
    mean = _season_means(ground, inside, number, day_of_year)
    mean = mean + _TEXTURE_DB[ground.truth[inside]] * ground.texture[inside]
    mean = mean + 12 * (ground.shade[inside].astype(np.float64) - 1) * (ground.truth[inside] != 0)
    speckle = 10 * np.log10(_speckle(window, key(seed, take, 51 + number)))
    scattered: Doubles = mean + _DB_PER_DEGREE * (angle - _REFERENCE_ANGLE) + speckle
    return scattered


def _season_means(ground: Ground, inside: tuple[slice, slice], number: int, day_of_year: int) -> Doubles:
    north, south = _means(number, day_of_year)
    code = ground.code[inside]
    mean: Doubles = south[code] + (north[code] - south[code]) * ground.north[inside]
    return mean


@lru_cache(maxsize=512)
def _means(number: int, day_of_year: int) -> tuple[Doubles, Doubles]:
    """dB by code in the north and in the south; crops follow their growth."""
    rng = np.random.default_rng(np.random.SeedSequence([50, number]))
    spread = np.repeat(_SPREAD_DB, NUM_STRAINS) * rng.uniform(-1, 1, _SPREAD_DB.size * NUM_STRAINS)
    base = np.repeat(_MEAN_DB[number], NUM_STRAINS) + spread
    tables = []
    for shift in (0.0, 182.6):
        table = base.copy()
        day = (day_of_year + shift) % 365.25
        peaks = 125 + 16 * np.arange(NUM_STRAINS)
        growth = np.exp(-(((((day - peaks + 182) % 365.25) - 182) / 45.0) ** 2))
        table[CROPS * NUM_STRAINS : (CROPS + 1) * NUM_STRAINS] += _CROP_SEASON_DB[number] * (growth - 0.4)
        tables.append(table)
    return tables[0], tables[1]


def _speckle(window: Window, seed: int) -> Doubles:
    """Gamma distributed with mean 1 (four looks): minus the logarithm of a product of uniform numbers."""
    columns = np.arange(window.column, window.column + window.width)[None, :]
    rows = np.arange(window.row, window.row + window.height)[:, None]
    product = np.ones((window.height, window.width))
    for half in range(_LOOKS // 2):
        words = lattice_hash(columns, rows, seed=key(seed, window.crs_epsg, half))
        product *= ((words & np.uint32(0xFFFF)) + 0.5) / 65536.0
        product *= ((words >> np.uint32(16)) + 0.5) / 65536.0
    return np.asarray(-np.log(product) / _LOOKS)
