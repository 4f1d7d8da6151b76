"""What an imagery provider holds, before anything is made of it: for checking the provider, never for a build."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from builders.npy import view_npy
from builders.records import Location, Scene, SeasonChoice
from builders.retries import GarbledAnswerError
from builders.stack import Layer
from noldo.errors import SourceError
from noldo.grids import Grid

Answer = TypeVar("Answer")


class RawSource(Protocol):
    """An `ImagerySource` that also shows its answers as they came. `builders.earth_engine` is one."""

    @property
    def restricted(self) -> bool:
        """The provider has said that the project's parallelism is restricted."""
        ...

    def search(self, locations: Sequence[Location]) -> list[Scene]:
        """As `ImagerySource.search`."""
        ...

    def read(
        self, location: Location, choices: Sequence[SeasonChoice], *, fallback: bool
    ) -> Mapping[str, np.ndarray]:
        """As `ImagerySource.read`."""
        ...

    def asset(self, asset: str) -> Mapping[str, Any]:
        """What the provider says about a stored image: properties, bands, their types and grids."""
        ...

    def stored_pixels(self, asset: str, *, bands: Sequence[str], grid: Mapping[str, object]) -> bytes:
        """Pixels of a stored image as NPY, nothing unmasked or cast."""
        ...

    def stacked_pixels(self, layers: Sequence[Layer], grid: Grid) -> bytes:
        """The answer to a pixel request of a build, as NPY."""
        ...

    def profiled(self, work: Callable[[], Answer]) -> tuple[Answer, str]:
        """Do some work, with the provider's profile of it; empty if it makes none."""
        ...


def decode_npy(data: bytes) -> np.ndarray:
    """The structured array (y, x) of an NPY answer, with the dtypes that the provider gave it.

    Raises
    ------
    SourceError
        If it is no such array.
    """
    try:
        array = view_npy(data)
    except GarbledAnswerError as error:
        raise SourceError(str(error)) from error
    if array.dtype.names is None or array.ndim != 2:
        raise SourceError(f"an array {array.dtype} of shape {array.shape}, expected one field a band")
    return array


def band_of(asset: Mapping[str, Any], band: str) -> Mapping[str, Any]:
    """Description of one band of an asset.

    Raises
    ------
    SourceError
        If the asset has no such band.
    """
    for one in asset.get("bands", ()):
        if one.get("id") == band:
            return one  # type: ignore[no-any-return]  # JSON has no types
    raise SourceError(f"{asset.get('id', 'an asset')} describes no band {band}")


def lattice_of(band: Mapping[str, Any]) -> tuple[str, float, float, float]:
    """(CRS, pixel size, x and y of the upper-left corner) of a band's own grid, in metres.

    Zeros may be missing in the provider's JSON.

    Raises
    ------
    SourceError
        If the band has no grid.
    """
    try:
        grid = band["grid"]
        affine = grid["affineTransform"]
        return (
            str(grid["crsCode"]),
            float(affine["scaleX"]),
            float(affine.get("translateX", 0.0)),
            float(affine.get("translateY", 0.0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"band {band.get('id')}: no grid ({error!r})") from error


def native_window(band: Mapping[str, Any], patch: Grid) -> dict[str, object] | None:
    """The patch on a band's own grid, for `stored_pixels`; None if the patch does not fall on whole pixels of it.

    Raises
    ------
    SourceError
        If the band has no grid.
    """
    crs, size_m, x_origin, y_origin = lattice_of(band)
    column, row = (patch.x_ul - x_origin) / size_m, (y_origin - patch.y_ul) / size_m
    side = patch.size_px * 10 / size_m
    if crs != f"EPSG:{patch.crs_epsg}" or not all(number.is_integer() for number in (column, row, side)):
        return None
    return window(crs, size_m=size_m, x_ul=patch.x_ul, y_ul=patch.y_ul, side_px=int(side))


def window(crs: str, *, size_m: float, x_ul: float, y_ul: float, side_px: int) -> dict[str, object]:
    """A square grid as the provider's API writes it, in metres."""
    return {
        "crsCode": crs,
        "dimensions": {"width": side_px, "height": side_px},
        "affineTransform": {
            "scaleX": size_m,
            "shearX": 0,
            "translateX": x_ul,
            "shearY": 0,
            "scaleY": -size_m,
            "translateY": y_ul,
        },
    }
