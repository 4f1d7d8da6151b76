"""From the array that came back to the arrays that are stored. Pure, and the hot loop of a build's client side.

The answer interleaves all bands pixel by pixel, at 10 m. It is taken apart a few rows at a time, so that what is
read lies in the processor's cache for all bands; 20 and 60 m bands are checked to be constant blocks and decimated.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from builders.npy import view_npy
from builders.retries import GarbledAnswerError
from builders.stack import MASKED_FLOAT, BandTarget, Layer
from noldo.errors import RequestRefusedError
from noldo.products import (
    DB_PER_STEP,
    NO_DATA_DB,
    NUM_DYNAMIC_WORLD_CLASSES,
    PROBABILITY_STEPS,
    UNLABELLED,
    ArraySpec,
)

ROWS_AT_ONCE = 24
"""Multiple of 6, so that coarse pixels stay whole. 24 rows of 264 px of 240 bytes are 1.5 MB."""

NO_DATA_PROBABILITY = 255
LARGEST_DB_STEP = 32767
"""327.67 dB. Sentinel-1 backscatter lies within -50..30 dB; beyond this it is no backscatter in dB."""

STEPS_PER_DB = round(1 / DB_PER_STEP)


def parse_npy(data: bytes, *, names: Sequence[str], side_px: int) -> npt.NDArray[np.void]:
    """View the bytes of an NPY file as a structured array, without a copy.

    Parameters
    ----------
    names
        Fields that must be there, in any order.
    side_px
        Expected rows and columns.

    Returns
    -------
    Axes (y, x), one field a band.

    Raises
    ------
    GarbledAnswerError
        If it is not such a file, whole and of this shape. Pickled objects are never loaded.
    """
    found = view_npy(data)
    if found.shape != (side_px, side_px):
        raise GarbledAnswerError(f"an NPY array of shape {found.shape}, expected {(side_px, side_px)}")
    if missing := set(names) - set(found.dtype.names or ()):
        raise GarbledAnswerError(f"bands {sorted(missing)} are missing in the answer")
    return found


def unpack(
    answer: npt.NDArray[np.void],
    layers: Sequence[Layer],
    *,
    specs: Mapping[str, ArraySpec],
    arrays: Mapping[str, np.ndarray],
) -> set[int]:
    """Store the bands of an answer.

    Parameters
    ----------
    answer
        Axes (y, x), a field a band, pixels of 10 m.
    layers
        What was asked for: every band goes to its place.
    specs
        By array name.
    arrays
        Filled in place; by array name, axes (choice, band?, y, x), at native resolution.

    Returns
    -------
    Positions of the choices of which a 20 or 60 m band is not made of constant blocks: their coarse arrays
    hold the upper-left 10 m pixel of each block, which is no copy of anything.

    Raises
    ------
    RequestRefusedError
        If a value can't be what its band holds. Names scene, band and value.
    """
    uneven: set[int] = set()
    targets = list(_targets(layers, specs=specs, arrays=arrays))
    for start in range(0, len(answer), ROWS_AT_ONCE):
        rows = answer[start : start + ROWS_AT_ONCE]
        for layer, band, factor, plane in targets:
            fine = np.ascontiguousarray(rows[band.name])
            coarse, constant = decimate(fine, factor=factor)
            if not constant:
                uneven.add(layer.position)
            try:
                stored = as_stored(coarse, product=layer.product)
            except ValueError as error:
                raise RequestRefusedError(
                    f"{layer.asset} {band.source}: {error}; the scene is not what the build expects"
                ) from None
            first = start // factor
            plane[first : first + len(stored)] = stored
    return uneven


def _targets(
    layers: Sequence[Layer], *, specs: Mapping[str, ArraySpec], arrays: Mapping[str, np.ndarray]
) -> Iterator[tuple[Layer, BandTarget, int, np.ndarray]]:
    """Each band with the factor of its decimation and the plane (y, x) that it fills."""
    for layer in layers:
        for band in layer.bands:
            spec = specs[band.array]
            planes = arrays[band.array][layer.position]
            yield layer, band, spec.resolution_m // 10, planes[band.band] if spec.bands else planes


def decimate(fine: np.ndarray, *, factor: int) -> tuple[np.ndarray, bool]:
    """Every `factor`-th row and column, and whether all pixels of each block are equal.

    Parameters
    ----------
    fine
        Axes (y, x); both sides are multiples of the factor.
    """
    if factor == 1:
        return fine, True
    rows = fine.reshape(len(fine) // factor, factor, -1)
    first = rows[:, 0]
    columns = first.reshape(len(first), -1, factor)
    coarse = columns[:, :, 0]
    constant = bool((rows[:, 1:] == rows[:, :1]).all() and (columns[:, :, 1:] == columns[:, :, :1]).all())
    return coarse, constant


def as_stored(values: np.ndarray, *, product: str) -> np.ndarray:
    """Values of one product as the store keeps them, no data included.

    Raises
    ------
    ValueError
        If a value can't be what the product holds.
    """
    if product == "s1_grd":
        return decibels_to_int16(values)
    if product == "dynamic_world_probability":
        return probabilities_to_uint8(values)
    if product == "dynamic_world":
        return labels_to_uint8(values)
    return _exactly(values, dtype=np.uint8 if product == "s2_scl" else np.uint16)


def decibels_to_int16(backscatter_db: np.ndarray) -> npt.NDArray[np.int16]:
    """Round backscatter to hundredths of a decibel, halves to even.

    Parameters
    ----------
    backscatter_db
        Float, any shape. -9999 and NaN are no data, and so is -inf: no power was received.

    Returns
    -------
    Hundredths of a decibel; no data becomes -32768. The error is at most 0.005 dB.

    Raises
    ------
    ValueError
        If a value is outside -327.67 .. 327.67 dB.
    """
    observed = backscatter_db > MASKED_FLOAT
    steps = np.rint(np.where(observed, backscatter_db, 0.0).astype(np.float64) * STEPS_PER_DB)
    if not (np.abs(steps) <= LARGEST_DB_STEP).all():
        worst = steps.flat[np.argmax(np.abs(steps))] / STEPS_PER_DB
        raise ValueError(f"{worst:g} dB, expected -327.67 .. 327.67 dB")
    return np.where(observed, steps, NO_DATA_DB).astype(np.int16)


def probabilities_to_uint8(probability: np.ndarray) -> npt.NDArray[np.uint8]:
    """Probabilities 0..1 in steps of 1/254, halves to even; no data (-9999, NaN) becomes 255.

    Raises
    ------
    ValueError
        If a value is outside 0..1 by more than rounding.
    """
    observed = probability > MASKED_FLOAT
    steps = np.rint(np.where(observed, probability, 0.0).astype(np.float64) * PROBABILITY_STEPS)
    if not ((steps >= 0) & (steps <= PROBABILITY_STEPS)).all():
        raise ValueError("a probability outside 0 .. 1")
    return np.where(observed, steps, NO_DATA_PROBABILITY).astype(np.uint8)


def labels_to_uint8(labels: np.ndarray) -> npt.NDArray[np.uint8]:
    """Dynamic World classes 0..8, or 255.

    Raises
    ------
    ValueError
        If there is another number.
    """
    classes = _exactly(labels, dtype=np.uint8)
    if ((classes >= NUM_DYNAMIC_WORLD_CLASSES) & (classes != UNLABELLED)).any():
        raise ValueError(f"class {classes[classes != UNLABELLED].max()}, expected 0 .. 8 or {UNLABELLED}")
    return classes


def _exactly(values: np.ndarray, *, dtype: type[np.uint8 | np.uint16]) -> np.ndarray:
    """The same numbers in another dtype: a provider may widen the bands of a stack to a common one."""
    if values.dtype.newbyteorder("=") == dtype:
        return values
    limits = np.iinfo(dtype)
    if not ((values >= limits.min) & (values <= limits.max) & (values == np.rint(values))).all():
        raise ValueError(f"a {values.dtype} that is no {dtype.__name__}")
    return values.astype(dtype)
