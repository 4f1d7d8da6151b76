"""Bands as they were published, on the way to the arrays that hold them.

Sentinel-2 measures some bands at 20 and 60 m; many data sets publish all of them at 10 m. Where the fine pixels are exact
copies of the coarse ones, every second or sixth of them is all there is, and is what is stored. Where they are not, the
bands were resampled: they are stored as they are, in an array that says so, and only if that was asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from builders.import_items import BadItemError
from builders.pixels import decibels_to_int16, decimate
from noldo.errors import InputError
from noldo.products import S2_RESOLUTION_M, ArraySpec, array_specs, published_spec
from noldo.quantization import SSL4EO_UINT8

FINEST_M = 10

BELOW_ZERO = "Reflectances below zero, stored as 0"


@dataclass(frozen=True)
class Form:
    """In which form a product was published."""

    product: str
    bands: tuple[str, ...]
    """In published order."""
    quantized: bool = False
    """Bytes by the rule of SSL4EO-S12 rather than measured numbers."""
    upsampled: bool = False
    """All bands on one grid of 10 m, and to be kept so: not exact copies of coarse pixels."""

    @property
    def specs(self) -> tuple[ArraySpec, ...]:
        """Arrays that hold it."""
        if self.quantized:
            return (published_spec(self.product, self.bands, quantization=SSL4EO_UINT8),)
        if self.upsampled and self.product != "s1_grd":
            return (published_spec(self.product, self.bands),)
        return array_specs({self.product: self.bands})


def stored_bands(planes: Mapping[str, np.ndarray], form: Form, *, where: str) -> dict[str, np.ndarray]:
    """Arrays of one or more scenes of a product.

    Parameters
    ----------
    planes
        Band to (season, y, x): in the stored dtype, each at its native resolution, or at 10 m.
    where
        Name of the item, for messages.

    Returns
    -------
    By array name, (season, band, y, x).

    Raises
    ------
    BadItemError
        If a band has a size that is neither.
    InputError
        If a coarse band was published at 10 m and is no exact copy, and the form does not say that it is kept so.
    """
    side_px = max(plane.shape[-1] for plane in planes.values())
    arrays: dict[str, np.ndarray] = {}
    for spec in form.specs:
        stack = [
            _plane(planes[band], band, spec, form=form, side_px=side_px, where=where) for band in spec.bands
        ]
        arrays[spec.name] = np.stack(stack, axis=1)
    return arrays


def _plane(
    plane: np.ndarray, band: str, spec: ArraySpec, *, form: Form, side_px: int, where: str
) -> np.ndarray:
    """One band (season, y, x) at the resolution of its array."""
    native_m = S2_RESOLUTION_M.get(band, FINEST_M)
    height, width = plane.shape[-2:]
    wanted_px = side_px * FINEST_M // spec.resolution_m
    if (height, width) == (wanted_px, wanted_px):
        return plane
    coarse_px = side_px * FINEST_M // native_m
    if form.quantized and (height, width) == (coarse_px, coarse_px):
        # Bytes have one array for all bands: each coarse pixel is repeated, which loses and invents nothing.
        factor = native_m // FINEST_M
        return plane.repeat(factor, axis=-2).repeat(factor, axis=-1)
    if (height, width) != (side_px, side_px):
        raise BadItemError(
            "wrong size", f"{band} has {height} x {width} px, expected {wanted_px} x {wanted_px}"
        )
    return _decimated(plane, band, factor=spec.resolution_m // FINEST_M, where=where)


def _decimated(plane: np.ndarray, band: str, *, factor: int, where: str) -> np.ndarray:
    if plane.shape[-1] % factor or plane.shape[-2] % factor:
        raise BadItemError(
            "wrong size",
            f"{band} of {where} has {plane.shape[-2]} x {plane.shape[-1]} px, no multiple of {factor}: not copies of pixels "
            f"of {factor * FINEST_M} m; if all are like this, run with --keep-upsampled",
        )
    found = [decimate(season, factor=factor) for season in plane]
    if not all(constant for _, constant in found):
        raise InputError(
            f"{where}: {band} was resampled to 10 m: its pixels are no copies of pixels of {factor * FINEST_M} m; run with "
            "--keep-upsampled, which stores all bands as they are"
        )
    return np.stack([coarse for coarse, _ in found])


def as_reflectance(values: np.ndarray, *, where: str, offset: int = 0) -> tuple[np.ndarray, int]:
    """Published whole numbers as uint16, and how many were below zero.

    Parameters
    ----------
    values
        Reflectance x 10,000, plus `offset`.
    offset
        Taken off; what falls below zero becomes 0, as it does at the provider.

    Raises
    ------
    BadItemError
        If they are no whole numbers of 16 bits.
    """
    if values.dtype.kind not in "iu" or values.dtype.itemsize > 4:
        raise BadItemError("wrong type", f"{where} holds {values.dtype}, expected whole numbers of 16 bits")
    if values.dtype == np.uint16 and not offset:
        return values, 0
    wide = values.astype(np.int64) - offset
    if int(wide.max(initial=0)) >= 65535:
        raise BadItemError("wrong type", f"{where} holds {int(wide.max()) + offset}, expected at most 65534")
    return np.maximum(wide, 0).astype(np.uint16), int((wide < 0).sum())


def as_backscatter(values: np.ndarray, *, where: str) -> np.ndarray:
    """Published decibels as int16 hundredths; the error is at most 0.005 dB.

    Raises
    ------
    BadItemError
        If they are no decibels.
    """
    if values.dtype.kind != "f":
        raise BadItemError(
            "wrong type", f"{where} holds {values.dtype}, expected decibels as floating point numbers"
        )
    try:
        stored: np.ndarray = decibels_to_int16(values)
    except ValueError as error:
        raise BadItemError("no decibels", f"{where} holds {error}") from None
    return stored


def as_bytes(values: np.ndarray, *, where: str) -> np.ndarray:
    """Published bytes, as they are.

    Raises
    ------
    BadItemError
        If they are none.
    """
    if values.dtype != np.uint8:
        raise BadItemError("wrong type", f"{where} holds {values.dtype}, expected bytes")
    return values


def wanted_products(chosen: Sequence[str], known: Mapping[str, object]) -> tuple[str, ...]:
    """Products in the order of `known`.

    Raises
    ------
    InputError
        If one is unknown.
    """
    if strange := [name for name in chosen if name not in known]:
        raise InputError(f"products {', '.join(strange)}: expected some of {', '.join(known)}")
    return tuple(name for name in known if name in chosen)
