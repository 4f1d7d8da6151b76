"""One zip of SSL4EO-S12 v1.1: which of its variables is what, and the times, places and names that they hold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from builders.import_items import BadItemError, Placement
from builders.import_places import centre_placement, corner_placement, utm_code
from builders.scene_names import scene_time_ms
from builders.zarr_zip import ZarrZip
from noldo.errors import InputError

KNOWN_NAMES = {
    "bands": ("bands", "image", "data"),
    "sample": ("sample", "sample_id"),
    "time": ("time_", "time"),
    "scene": ("file_id", "product_id"),
    "band": ("band",),
    "crs": ("crs",),
    "x": ("x_", "x"),
    "y": ("y_", "y"),
    "lon": ("center_lon",),
    "lat": ("center_lat",),
}
"""What is looked for, to the names it may have; the first that is there is taken."""

_BAND = re.compile(r"B0?(\d+A?)")


@dataclass(frozen=True)
class ModalityZip:
    """One zip, and what its variables are called."""

    zip: ZarrZip
    names: Mapping[str, str]
    """What is looked for (`KNOWN_NAMES`) to the variable it was found in."""
    _small: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    """Variables that were read, by what they are."""

    @cached_property
    def samples(self) -> list[str]:
        """Names of the samples, in the order of the first axis."""
        name = self.names.get("sample")
        if name is None:
            raise InputError(
                f"{self.zip.where}: no variable with the names of the samples; give --variables.sample"
            )
        values = self.zip.whole(name)
        return [str(value) for value in (values if values.ndim == 1 else values[:, 0]).tolist()]

    @cached_property
    def bands(self) -> list[str]:
        """Names of the bands, as this project calls them; empty if the file does not say."""
        if "band" not in self.names:
            return []
        published = [str(name).upper() for name in self.zip.whole(self.names["band"]).tolist()]
        return [_BAND.sub(r"B\1", name) for name in published]

    def row(self, what: str, at: int) -> Any:
        """Values of one sample of a small variable; None if there is no such variable, or it is not one of samples."""
        name = self.names.get(what)
        if name is None or self.zip.arrays[name].shape[:1] != (len(self.samples),):
            return None
        if what not in self._small:
            self._small[what] = self.zip.whole(name)
        return self._small[what][at]


def variables_of(archive: ZarrZip, told: Mapping[str, str]) -> dict[str, str]:
    """What is looked for, to the variable that holds it."""
    found = {}
    for what, names in KNOWN_NAMES.items():
        candidates = (told[what],) if what in told else names
        known = [name for name in candidates if name in archive.arrays]
        if what in told and not known:
            raise InputError(f"{archive.where}: no variable {told[what]}; it has {', '.join(archive.arrays)}")
        if known:
            found[what] = known[0]
    return found


def band_positions(opened: ModalityZip, wanted: Sequence[str], *, count: int) -> list[int]:
    """Positions on the published band axis of the bands of this project, in its order."""
    published = opened.bands or list(wanted)
    if count != len(published) or set(wanted) - set(published):
        found = ", ".join(opened.bands) or f"{count} bands"
        raise BadItemError("missing band", f"{opened.zip.where} has {found}, expected {', '.join(wanted)}")
    return [published.index(band) for band in wanted]


def times_of(opened: ModalityZip, at: int, scenes: Sequence[str] | None) -> list[int | None] | None:
    """Milliseconds since 1970, by the variable of times, or else by the names of the scenes."""
    values = opened.row("time", at)
    if values is not None and np.ndim(values) == 1:
        dates = _as_dates(values, opened.zip.arrays[opened.names["time"]].attributes)
        if dates is not None:
            return [None if np.isnat(one) else int(one.astype(np.int64)) for one in dates]
    return [scene_time_ms(name) for name in scenes] if scenes else None


def _as_dates(values: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray | None:
    """Times as datetime64[ms]; None if they are none."""
    import xarray as xr

    if values.dtype.kind in "iuf" and "units" in attributes:
        told = {name: attributes[name] for name in ("units", "calendar") if name in attributes}
        try:
            values = xr.decode_cf(xr.Dataset({"time": ("season", values, told)}))["time"].to_numpy()
        except (ValueError, OverflowError):
            return None
    return values.astype("datetime64[ms]") if values.dtype.kind == "M" else None


def placement_of(opened: ModalityZip, at: int, *, side_px: int) -> Placement:
    """By the coordinates of the pixels, or else by the centre in degrees."""
    crs, x, y = (opened.row(what, at) for what in ("crs", "x", "y"))
    lon, lat = (opened.row(what, at) for what in ("lon", "lat"))
    name = "" if crs is None else f"EPSG:{crs}" if str(crs).isdecimal() else str(crs)
    is_axis = all(values is not None and np.ndim(values) == 1 and len(values) == side_px for values in (x, y))
    if utm_code(name) and is_axis and np.allclose(np.diff(x), 10) and np.allclose(np.diff(y), -10):
        x_ul, y_ul = float(x[0]) - 5, float(y[0]) + 5
        bounds = (x_ul, y_ul - 10 * side_px, x_ul + 10 * side_px, y_ul)
        source = Placement(source_crs=name, source_bounds=bounds)
        return corner_placement(utm_code(name), x_ul, y_ul, side_px=side_px, source=source)
    if lon is not None and lat is not None:
        return centre_placement(float(lon), float(lat), side_px=side_px, source=Placement(source_crs=name))
    return Placement(source_crs=name)
