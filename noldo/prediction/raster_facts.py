"""What a GeoTIFF says of itself, and whether a network can take it: which of its bands, and what their numbers mean.

Pure: facts in; band numbers, stored numbers or an error out. Nothing is guessed. A number counts as a store's does:

* Sentinel-2: uint16, reflectance x 10,000, without an offset; 65535 is no data;
* Sentinel-1: float32 or float64, dB; or int16, hundredths of a dB, with -32768 as no data.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noldo.errors import RasterError
from noldo.products import DB_PER_STEP, ArraySpec

PIXEL_M = 10.0
"""Side of the pixels that networks are trained on."""

_TOLERANCE = 0.01
"""Share of that side that a pixel may differ by: a reprojected grid is seldom exact."""

_FLOATS = ("float32", "float64")

_ENOUGH_PIXELS = 1000
"""Of which some are negative if they are dB: calm water lies at -25, forest at -8, and only cities may reach above 0."""


@dataclass(frozen=True)
class RasterFacts:
    """A file, as its header tells."""

    where: str
    """Its name, for messages."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    bands: tuple[str, ...]
    """Descriptions, in the order of the file; empty strings where there are none."""
    dtype: str
    """NumPy name, the same of all bands."""
    scales: tuple[float, ...]
    """Stored number x scale + offset = value, as the file says: 1 and 0 where it says nothing."""
    offsets: tuple[float, ...]
    """See `scales`, a band each."""
    metres_per_unit: float | None
    """Of the CRS; None: it is not projected, or there is none."""
    has_crs: bool
    """Whether it says where it lies."""
    transform: tuple[float, ...]
    """Affine (a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f."""


def band_numbers(
    facts: RasterFacts, wanted: Sequence[str], *, names: Sequence[str] | None = None
) -> tuple[int, ...]:
    """Numbers (from 1) of the wanted bands in a file; other bands of it are ignored.

    Parameters
    ----------
    wanted
        As in `noldo.products`. B02 is B2, and letters may be small.
    names
        Of all bands of the file, in its order, in place of their descriptions.

    Raises
    ------
    RasterError
        If names and bands are not as many, a wanted band is missing, or two have its name.
    """
    if names is not None and len(names) != len(facts.bands):
        raise RasterError(
            f"{facts.where}: {len(facts.bands)} bands, but --bands names {len(names)} ({', '.join(names)}); name each "
            "band of the file, in its order"
        )
    told = facts.bands if names is None else names
    found = [_plain(name) for name in told]
    if missing := [band for band in wanted if band not in found]:
        there = ", ".join(name or "one without a name" for name in told)
        raise RasterError(
            f"{facts.where}: no band {', '.join(missing)}; the network takes {', '.join(wanted)}, the file has {there}; "
            "give another file, or name its bands in their order, e.g. --bands B2,B3,B4"
        )
    if twice := [band for band in wanted if found.count(band) > 1]:
        raise RasterError(
            f"{facts.where}: more than one band {', '.join(twice)}; name the file's bands with --bands, each once"
        )
    return tuple(found.index(band) + 1 for band in wanted)


def _plain(name: str) -> str:
    """A band's name as `noldo.products` spells it, if it is one: `b02` is B2."""
    return re.sub(r"^B0(?=\d)", "B", name.strip().upper())


def require_values(facts: RasterFacts, numbers: Sequence[int], *, spec: ArraySpec) -> None:
    """Refuse numbers that do not mean what a store's mean.

    Parameters
    ----------
    numbers
        Of the bands that are read, from 1.
    spec
        The array that they would be stored in.

    Raises
    ------
    RasterError
        If the dtype is another, or the file says that a number has another scale or an offset.
    """
    is_decibels = spec.product == "s1_grd"
    allowed = (spec.dtype, *(_FLOATS if is_decibels else ()))
    if facts.dtype not in allowed:
        meaning = (
            "dB as float32 or float64, or hundredths of a dB as int16"
            if is_decibels
            else "reflectance x 10,000 as uint16"
        )
        raise RasterError(
            f"{facts.where}: numbers of type {facts.dtype}, expected {meaning}; convert them, e.g. with gdal_calc.py or "
            "gdal_translate -ot"
        )
    expected = (1.0,) if facts.dtype in _FLOATS else (1.0, spec.scale)
    for number in numbers:
        scale, offset = facts.scales[number - 1], facts.offsets[number - 1]
        if offset or not any(math.isclose(scale, one, rel_tol=1e-6) for one in expected):
            raise RasterError(
                f"{facts.where}: band {number} says that values are {scale:g} x number {offset:+g}, expected no offset and a "
                f"scale of {' or '.join(f'{one:g}' for one in expected)}; write a file without them first"
            )


def grid_doubts(facts: RasterFacts) -> str | None:
    """One line on a grid that the network was not trained for; None: there is nothing to say.

    It is said and not refused: the map is on the file's own grid and so in its right place, resampling has a price too, and
    whether classes still look like themselves at 20 m is for the user to judge.
    """
    a, b, _, d, e, _ = facts.transform
    doubts = []
    if not facts.has_crs:
        doubts.append("it has no CRS, and neither will the map")
    elif facts.metres_per_unit is None:
        doubts.append("its CRS is not projected (degrees, not metres)")
    else:
        sides = (math.hypot(a, d) * facts.metres_per_unit, math.hypot(b, e) * facts.metres_per_unit)
        if any(abs(side - PIXEL_M) > _TOLERANCE * PIXEL_M for side in sides):
            doubts.append(f"its pixels are {sides[0]:.4g} x {sides[1]:.4g} m")
    if facts.has_crs and (b or d or a < 0 or e > 0):
        doubts.append("its first row is not its northern border")
    if not doubts:
        return None
    return (
        f"{facts.where}: {' and '.join(doubts)}; the network learnt from 10 m pixels in UTM, north up, and may be wrong on "
        "others (gdalwarp -tr 10 10 makes such a grid)"
    )


def as_stored(
    planes: NDArray[np.generic], observed: NDArray[np.bool_], *, spec: ArraySpec, where: str
) -> NDArray[np.generic]:
    """Numbers of a file as a store holds them.

    Parameters
    ----------
    planes
        (band, y, x) of a dtype that `require_values` accepts.
    observed
        The same axes: False where the file says no data.
    spec
        The array that they would be stored in.
    where
        Name of the file, for messages.

    Returns
    -------
    The same axes, in the array's dtype, with its no-data value where nothing was observed; dB are rounded to hundredths,
    and infinities (the logarithm of 0) are no data.

    Raises
    ------
    RasterError
        If dB are beyond -327.67 .. 327.67, which no radar measures: a no-data value that the file does not declare. If none of many
        is negative: powers, not dB.
    """
    if planes.dtype == spec.dtype:
        return np.where(observed, planes, planes.dtype.type(spec.no_data))
    decibels = np.where(observed & np.isfinite(planes), planes, np.nan)
    if np.isfinite(decibels).sum() >= _ENOUGH_PIXELS and not (decibels < 0).any():
        raise RasterError(
            f"{where}: no value below 0 among {np.isfinite(decibels).sum()}, but backscatter in dB is mostly negative; if these are "
            "powers, give 10 * log10 of them"
        )
    steps = np.round(decibels / DB_PER_STEP)
    if (odd := np.abs(steps) > np.iinfo(spec.dtype).max).any():
        raise RasterError(
            f"{where}: {decibels[odd][0]:g} dB, which no radar measures; if it stands for no data, declare it: gdal_edit.py "
            f"-a_nodata {decibels[odd][0]:g}"
        )
    return np.where(np.isnan(steps), spec.no_data, steps).astype(spec.dtype)
