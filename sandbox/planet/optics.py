"""Reflectance of the synthetic Earth in the thirteen bands of Sentinel-2.

A pixel is a mixture of two spectra of its class, dormant and green; phenology by date and hemisphere
says how green. The spectra are drawn by hand after typical surface reflectances; they are not measured.
"""

from functools import lru_cache

import numpy as np

from noldo.products import S2_L1C_BANDS, S2_RESOLUTION_M
from sandbox.planet.lattice import Floats, Window, block_mean
from sandbox.planet.noise import key, lattice_hash
from sandbox.planet.sky import Sky, sky_of
from sandbox.planet.truth import (
    BARE,
    BUILT,
    CROPS,
    FLOODED,
    GRASS,
    NUM_STRAINS,
    SHRUB,
    SNOW,
    TREES,
    WATER,
    Classes,
    Ground,
    ground_of,
)

_DORMANT = np.array(
    [
        # B1 B2 B3 B4 B5 B6 B7 B8 B8A B9 B10 B11 B12, reflectance x 10,000, by class id
        [300, 290, 280, 190, 150, 110, 100, 80, 70, 60, 5, 25, 15],
        [350, 420, 540, 560, 850, 1300, 1500, 1650, 1800, 1900, 10, 1900, 1250],
        [500, 700, 950, 1080, 1450, 1900, 2100, 2300, 2500, 2600, 15, 3000, 2200],
        [350, 420, 550, 540, 750, 1000, 1150, 1250, 1300, 1350, 10, 1050, 650],
        [600, 850, 1150, 1450, 1700, 1850, 2000, 2150, 2300, 2400, 20, 2900, 2400],
        [600, 800, 1080, 1320, 1600, 1850, 2000, 2150, 2350, 2400, 20, 3100, 2500],
        [950, 1080, 1220, 1320, 1420, 1550, 1650, 1750, 1800, 1850, 25, 2000, 1850],
        [1100, 1350, 1850, 2300, 2550, 2700, 2850, 3000, 3200, 3300, 40, 3900, 3400],
        [8200, 8300, 8200, 8100, 8000, 7900, 7800, 7700, 7500, 6500, 60, 800, 600],
    ],
    np.float32,
)
_GREEN = np.array(
    [
        [300, 310, 340, 210, 170, 110, 100, 85, 70, 60, 5, 25, 15],
        [240, 250, 440, 260, 680, 2000, 2600, 2800, 3000, 3000, 10, 1450, 650],
        [340, 390, 740, 480, 1100, 2500, 3100, 3300, 3500, 3500, 10, 2000, 1000],
        [320, 340, 580, 390, 780, 1700, 2100, 2300, 2400, 2400, 10, 950, 450],
        [330, 360, 690, 410, 1050, 2900, 3700, 4000, 4200, 4200, 10, 1850, 850],
        [440, 540, 840, 820, 1220, 1900, 2200, 2400, 2600, 2600, 15, 2450, 1550],
        [800, 930, 1080, 1120, 1280, 1650, 1850, 1950, 2000, 2000, 25, 1950, 1700],
        [1050, 1300, 1780, 2200, 2480, 2680, 2850, 3000, 3200, 3300, 40, 3850, 3350],
        [8200, 8300, 8200, 8100, 8000, 7900, 7800, 7700, 7500, 6500, 60, 800, 600],
    ],
    np.float32,
)
_PATH = np.array([1050, 720, 430, 270, 200, 140, 110, 80, 60, 40, 6, 6, 4], np.float32)
"""Light scattered by clear air, reflectance x 10,000."""
_CLEARNESS = np.array(
    [0.80, 0.84, 0.88, 0.90, 0.91, 0.92, 0.92, 0.93, 0.95, 0.45, 0.03, 0.94, 0.93], np.float32
)
"""Share of the ground's light that gets through: B9 in the water vapour band, B10 opaque."""
_CLOUD = np.array([6400, 6500, 6300, 6200, 6300, 6400, 6500, 6600, 6600, 3600, 420, 4200, 3400], np.float32)
_RESIDUAL_HAZE = np.float32(0.07)
_VARIETY = {
    WATER: 0.10,
    TREES: 0.14,
    GRASS: 0.10,
    FLOODED: 0.14,
    CROPS: 0.15,
    SHRUB: 0.12,
    BUILT: 0.32,
    BARE: 0.10,
    SNOW: 0.04,
}
"""How much varieties of a class differ in brightness."""
_ROUGHNESS = np.array([0.03, 0.16, 0.07, 0.10, 0.06, 0.14, 0.22, 0.07, 0.03], np.float32)
"""Weight of fine texture by class."""
_NOISE_FLOOR, _NOISE_SHARE = np.float32(22.0), np.float32(0.012)
_SHADOW_LOSS = np.float32(0.55)
_MAX_VALUE = 20_000

SCL_DARK, SCL_SHADOW, SCL_VEGETATION, SCL_BARE, SCL_WATER = 2, 3, 4, 5, 6
SCL_UNCLASSIFIED, SCL_MEDIUM_CLOUD, SCL_HIGH_CLOUD, SCL_CIRRUS, SCL_SNOW = 7, 8, 9, 10, 11
"""Scene classes of ESA's Level-2A product definition, table "SCL"."""

_SCL_OF_CLASS = np.array(
    [SCL_WATER, *[SCL_VEGETATION] * 4, SCL_BARE, SCL_UNCLASSIFIED, SCL_BARE, SCL_SNOW], np.uint8
)


def reflectance(
    window: Window, band: str, *, surface: bool, take: int, day_of_year: int, seed: int
) -> np.ndarray:
    """Reflectance x 10,000 of a band on its native grid.

    Parameters
    ----------
    window
        10 m pixels; begins and ends at pixels of the band.
    surface
        At the ground (Level-2A) or above the atmosphere (Level-1C).
    take
        Number of the datatake.

    Returns
    -------
    uint16 (y, x); 0 is a legal value.
    """
    factor = S2_RESOLUTION_M[band] // 10
    number = S2_L1C_BANDS.index(band)
    padded = window.padded()
    inside = window.inside(padded)
    lit = _lit_ground(ground_of(padded, seed=seed), inside, number, day_of_year)
    ground = block_mean(lit, factor=factor)
    sky = sky_of(padded, take=take, day_of_year=day_of_year, seed=seed)
    seen = _through_air(ground, sky, inside, number, factor=factor, surface=surface)
    grain = _grain(window, factor=factor, seed=key(seed, take, number, int(surface)))
    seen = seen + grain * (_NOISE_FLOOR * min(1.0, float(_PATH[number]) / 40) + _NOISE_SHARE * seen)
    return np.clip(np.rint(seen), 0, _MAX_VALUE).astype(np.uint16)


def scene_classes(window: Window, *, take: int, day_of_year: int, seed: int) -> Classes:
    """Level-2A scene classification on its 20 m grid, uint8 (y, x); the truth is that of the upper-left pixel."""
    padded = window.padded()
    rows, columns = window.inside(padded)
    every = (slice(rows.start, rows.stop, 2), slice(columns.start, columns.stop, 2))
    ground = ground_of(padded, seed=seed)
    sky = sky_of(padded, take=take, day_of_year=day_of_year, seed=seed)
    green = _greenness(day_of_year)[0][ground.code[every]]
    green = green + (_greenness(day_of_year)[1][ground.code[every]] - green) * (1 - ground.north[every])
    classes = _SCL_OF_CLASS[ground.truth[every]]
    classes = np.where((classes == SCL_VEGETATION) & (green < 0.18), np.uint8(SCL_BARE), classes)
    classes[sky.shaded[every]] = SCL_SHADOW
    opacity = sky.opacity[every]
    classes[(opacity > 0.15) & (opacity < 0.35) & (classes != SCL_SHADOW)] = SCL_CIRRUS
    classes[sky.cloudy[every]] = SCL_MEDIUM_CLOUD
    classes[opacity > 0.7] = SCL_HIGH_CLOUD
    return classes.astype(np.uint8)


def _lit_ground(ground: Ground, inside: tuple[slice, slice], number: int, day_of_year: int) -> Floats:
    """Reflectance of the ground at 10 m, by class, variety, season, texture and relief."""
    code, north = ground.code[inside], ground.north[inside]
    upper, lower = _spectra(number, day_of_year)
    colour = lower[code]
    colour += (upper[code] - colour) * north
    rough = _ROUGHNESS[ground.truth[inside]] * ground.texture[inside]
    lit: Floats = colour * (1 + rough) * ground.shade[inside]
    return lit


def _through_air(
    ground: Floats, sky: Sky, inside: tuple[slice, slice], number: int, *, factor: int, surface: bool
) -> Floats:
    opacity, shadow, haze = (
        block_mean(field[inside], factor=factor) for field in (sky.opacity, sky.shadow, sky.haze)
    )
    below = ground * (1 - _SHADOW_LOSS * shadow)
    path = _PATH[number] * (_RESIDUAL_HAZE * (haze - 1) if surface else haze)
    through = np.float32(1) if surface else _CLEARNESS[number]
    clear = below * through + path
    seen: Floats = clear + (_CLOUD[number] - clear) * opacity
    return seen


def _grain(window: Window, *, factor: int, seed: int) -> Floats:
    """Noise of the sensor: triangular, mean 0, deviation 1; by absolute pixel of the band."""
    columns = np.arange(window.column // factor, (window.column + window.width) // factor)[None, :]
    rows = np.arange(window.row // factor, (window.row + window.height) // factor)[:, None]
    words = lattice_hash(columns, rows, seed=key(seed, window.crs_epsg))
    two = (words & np.uint32(0xFFFF)).astype(np.float32) + (words >> np.uint32(16)).astype(np.float32)
    return (two / np.float32(65536) - np.float32(1)) * np.float32(2.449)


@lru_cache(maxsize=512)
def _spectra(number: int, day_of_year: int) -> tuple[Floats, Floats]:
    """Reflectance of a band by code, in the north and in the south."""
    variety = _varieties()[:, number]
    dormant, green = (np.repeat(table[:, number], NUM_STRAINS) for table in (_DORMANT, _GREEN))
    north, south = (
        ((dormant + (green - dormant) * amount) * variety).astype(np.float32)
        for amount in _greenness(day_of_year)
    )
    return north, south


@lru_cache(maxsize=1)
def _varieties() -> Floats:
    """Brightness of each variety in each band: (code, band)."""
    rng = np.random.default_rng(np.random.SeedSequence(20))
    amounts = np.repeat([_VARIETY[class_id] for class_id in range(len(_DORMANT))], NUM_STRAINS)
    brightness = rng.uniform(-1, 1, amounts.size)
    tilt = rng.uniform(-0.5, 0.5, amounts.size)
    slope = np.linspace(-1, 1, len(S2_L1C_BANDS))
    table = 1 + amounts[:, None] * (brightness[:, None] + tilt[:, None] * slope)
    streets = BUILT * NUM_STRAINS + NUM_STRAINS - 1
    table[streets] = 0.72
    return table.astype(np.float32)


@lru_cache(maxsize=512)
def _greenness(day_of_year: int) -> tuple[Floats, Floats]:
    """How green each code is on a day (0..1): in the north, and in the south half a year later."""
    north, south = (_green_on((day_of_year + shift) % 365.25) for shift in (0.0, 182.6))
    return north, south


def _green_on(day: float) -> Floats:
    strain = np.arange(NUM_STRAINS)
    summer = 0.5 + 0.5 * np.cos(2 * np.pi * (day - 190) / 365.25)
    evergreen = np.where(strain < 3, 0.85, 0.15)
    flat = np.ones(NUM_STRAINS)
    harvest = np.exp(-((((day - (125 + 16 * strain) + 182) % 365.25 - 182) / 42.0) ** 2))
    by_class = {
        WATER: summer * flat,
        TREES: evergreen + (1 - evergreen) * summer,
        GRASS: 0.30 + 0.62 * summer * flat - 0.02 * strain,
        FLOODED: 0.25 + 0.70 * summer * flat,
        CROPS: 0.04 + 0.94 * harvest,
        SHRUB: 0.15 + 0.65 * summer * flat,
        BUILT: 0.2 + 0.6 * summer * flat,
        BARE: 0.5 * summer * flat,
        SNOW: 0 * flat,
    }
    return np.concatenate([by_class[class_id] for class_id in range(len(_DORMANT))]).astype(np.float32)
