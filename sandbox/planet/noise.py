"""Hashes and smooth noise: the only randomness of the synthetic Earth.

Everything is a pure function of integers or of a place on the sphere, so a pixel has the same value
whatever window it was asked in. Smooth noise lives in three dimensions: on a sphere it then has no
seam, no pole and no date line.
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint32]

_PRIMES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
"""Odd multipliers with well spread bits (xxHash, specification section "Constants")."""

_LACUNARITY = 2.03
"""Ratio of two octaves' cells; not 2, so that their lattices never coincide."""

_SAMPLES_OF_DISTRIBUTION = 40_000
_QUANTILES = 257


def mix(words: Words) -> Words:
    """Scramble 32-bit words one by one (`lowbias32`, C. Wellons, "Prospecting for hash functions", 2018)."""
    words = words ^ (words >> np.uint32(16))
    words *= np.uint32(0x7FEB352D)
    words ^= words >> np.uint32(15)
    words *= np.uint32(0x846CA68B)
    words ^= words >> np.uint32(16)
    return words


def key(*parts: int) -> int:
    """A 32-bit number that stands for these integers, in this order."""
    state = 0x2545F491
    for part in parts:
        state = _mix_one(state * 31 ^ _mix_one(part & 0xFFFFFFFF) ^ _mix_one((part >> 32) & 0xFFFFFFFF))
    return state


def word(text: str) -> int:
    """A 32-bit number that stands for a text."""
    return zlib.crc32(text.encode())


def chance(*parts: int) -> float:
    """A number in 0..1 that stands for these integers."""
    return key(*parts) / 2**32


def _mix_one(word: int) -> int:
    word &= 0xFFFFFFFF
    word ^= word >> 16
    word = word * 0x7FEB352D & 0xFFFFFFFF
    word ^= word >> 15
    word = word * 0x846CA68B & 0xFFFFFFFF
    return word ^ word >> 16


def lattice_hash(*indices: npt.NDArray[np.integer], seed: int) -> Words:
    """Hash of integer coordinates (up to three arrays that broadcast), negative ones included."""
    state: Words | np.uint32 = np.uint32(seed & 0xFFFFFFFF)
    for index, prime in zip(indices, _PRIMES, strict=False):
        state = state ^ (index.astype(np.uint32) * np.uint32(prime))
    return mix(np.atleast_1d(state).astype(np.uint32, copy=False))


def unit(words: Words) -> Floats:
    """Hashes as numbers in 0..1 (24 bits)."""
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def value_noise(points_m: npt.NDArray[np.float64], *, cell_m: float, seed: int | Sequence[int]) -> Floats:
    """Random numbers at the nodes of a cubic lattice, smoothly interpolated.

    Parameters
    ----------
    points_m
        Axes (3, ...): Cartesian coordinates in metres.
    cell_m
        Edge of a lattice cell in metres.
    seed
        One of them, or several: then points are (3, n) and there is one row of noise for each.

    Returns
    -------
    Numbers in 0..1, one a point: (...), or (seed, n).
    """
    scaled = points_m / cell_m
    base = np.floor(scaled)
    fraction = (scaled - base).astype(np.float32)
    fraction *= fraction * (np.float32(3) - np.float32(2) * fraction)
    nodes = base.astype(np.int64).astype(np.uint32)
    nodes *= np.array(_PRIMES, np.uint32).reshape(3, *[1] * (points_m.ndim - 1))
    ends = [(nodes[axis], nodes[axis] + np.uint32(_PRIMES[axis])) for axis in range(3)]
    plane = [x ^ y for x in ends[0] for y in ends[1]]
    level = [z ^ _as_words(seed) for z in ends[2]]
    corner = unit(mix(np.stack([xy ^ z for xy in plane for z in level])))
    pairs = corner[0::2] + (corner[1::2] - corner[0::2]) * fraction[2]
    pairs = pairs[0::2] + (pairs[1::2] - pairs[0::2]) * fraction[1]
    blended: Floats = pairs[0] + (pairs[1] - pairs[0]) * fraction[0]
    return blended


def _as_words(seed: int | Sequence[int]) -> np.uint32 | Words:
    if isinstance(seed, int):
        return np.uint32(seed & 0xFFFFFFFF)
    return np.array(seed, np.uint32)[:, None]


def fractal(
    points_m: npt.NDArray[np.float64],
    *,
    cell_m: float,
    octaves: int,
    seed: int | Sequence[int],
    gain: float = 0.5,
) -> Floats:
    """Octaves of value noise, each finer and weaker (`gain`) than the one before.

    Returns
    -------
    Numbers in 0..1, gathered around 0.5.
    """
    total: Floats | np.float32 = np.float32(0)
    weight, weights, cell = 1.0, 0.0, cell_m
    for octave in range(octaves):
        own = key(seed, octave) if isinstance(seed, int) else [key(one, octave) for one in seed]
        total = total + np.float32(weight) * value_noise(points_m, cell_m=cell, seed=own)
        weights += weight
        weight *= gain
        cell /= _LACUNARITY
    return np.asarray(total * np.float32(1 / weights))


def uniform(
    points_m: npt.NDArray[np.float64],
    *,
    cell_m: float,
    octaves: int,
    seed: int | Sequence[int],
    gain: float = 0.5,
) -> Floats:
    """`fractal`, stretched so that values are spread evenly over 0..1.

    A threshold t then splits the Earth into shares t and 1 - t.
    """
    rough = fractal(points_m, cell_m=cell_m, octaves=octaves, seed=seed, gain=gain)
    quantiles = _distribution(octaves, gain)
    levels = np.linspace(0.0, 1.0, _QUANTILES)
    return np.interp(rough, quantiles, levels).astype(np.float32)


@lru_cache(maxsize=32)
def _distribution(octaves: int, gain: float) -> npt.NDArray[np.float64]:
    """Quantiles of `fractal`, from a sample far larger than its cells."""
    rng = np.random.default_rng(np.random.SeedSequence(octaves))
    points = rng.uniform(-1e4, 1e4, (3, _SAMPLES_OF_DISTRIBUTION))
    sample = np.sort(fractal(points, cell_m=1.0, octaves=octaves, seed=octaves, gain=gain))
    places = np.linspace(0, sample.size - 1, _QUANTILES).round().astype(np.intp)
    return sample[places].astype(np.float64)
