"""One zip of SSL4EO-S12 v1.1: which of its variables is what, and the times, places and names that they hold."""

import re
from collections import Counter
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

_FAR_AWAY = np.datetime64("2100-01-01", "ms")
"""Times after it, or before 1970, are no times of a scene."""

_MILLISECONDS = {
    **{"day": 86_400_000.0, "hour": 3_600_000.0, "minute": 60_000.0, "second": 1_000.0},
    **{"millisecond": 1.0, "microsecond": 1e-3, "nanosecond": 1e-6},
}
_UNITS = re.compile(
    rf"(?P<unit>{'|'.join(_MILLISECONDS)})s? since (?P<day>\d{{4}}-\d\d-\d\d)"
    r"([T ](?P<time>\d\d:\d\d:\d\d(\.\d{1,9})?))?( ?(Z|UTC|\+00:?00))?",
    re.ASCII,
)
_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")

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
        if values.ndim not in (1, 2):
            raise InputError(f"{self.zip.where}: {name} has shape {values.shape}, expected (sample,)")
        found = _texts(values if values.ndim == 1 else values[:, 0])
        if twins := [one for one, count in Counter(found).items() if count > 1]:
            raise InputError(f"{self.zip.where}: sample {twins[0]} is there {found.count(twins[0])} times")
        return found

    @cached_property
    def bands(self) -> list[str]:
        """Names of the bands, as this project calls them; empty if the file does not say."""
        if "band" not in self.names:
            return []
        published = [name.upper() for name in _texts(self.zip.whole(self.names["band"]).ravel())]
        return [_BAND.sub(r"B\1", name) for name in published]

    def row(self, what: str, at: int) -> Any:
        """Values of one sample of a small variable; None if there is no such variable, or it is not one of samples."""
        name = self.names.get(what)
        if name is None or self.zip.arrays[name].shape[:1] != (len(self.samples),):
            return None
        if what not in self._small:
            self._small[what] = self.zip.whole(name)
        return self._small[what][at]

    def texts(self, what: str, at: int) -> list[str] | None:
        """Strings of one sample: of each season, if the variable has that axis; None as `row`."""
        values = self.row(what, at)
        return None if values is None else _texts(np.atleast_1d(values).ravel())

    def numbers(self, what: str, at: int) -> np.ndarray | None:
        """Finite numbers of one sample, as float64; None if there are no such."""
        values = self.row(what, at)
        if values is None or np.asarray(values).dtype.kind not in "iuf":
            return None
        found = np.asarray(values, np.float64)
        return found if np.isfinite(found).all() else None


def _texts(values: np.ndarray) -> list[str]:
    return [
        one.decode(errors="backslashreplace") if isinstance(one, bytes) else str(one)
        for one in values.tolist()
    ]


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
    if values.dtype.kind in "iuf":
        values = _decoded_times(
            values, str(attributes.get("units")), str(attributes.get("calendar", "standard"))
        )
    if values.dtype.kind != "M":
        return None
    dates = values.astype("datetime64[ms]")
    is_plausible = np.isnat(dates) | ((dates >= np.datetime64(0, "ms")) & (dates < _FAR_AWAY))
    return dates if is_plausible.all() else None


def _decoded_times(numbers: np.ndarray, units: str, calendar: str) -> np.ndarray:
    """Numbers by the CF conventions (4.4, Time Coordinate), as xarray writes them; unchanged if they are no times."""
    found = _UNITS.fullmatch(units)
    if found is None or calendar not in _CALENDARS:
        return numbers
    milliseconds = numbers.astype(np.float64) * _MILLISECONDS[found["unit"]]
    is_told = np.abs(milliseconds) < np.iinfo(np.int64).max / 4
    whole = np.where(is_told, milliseconds, 0).round().astype("timedelta64[ms]")
    try:
        origin = np.datetime64(f"{found['day']}T{found['time'] or '00:00:00'}", "ms")
    except ValueError:
        return numbers
    dates: np.ndarray = np.where(is_told, origin + whole, np.datetime64("NaT"))
    return dates


def placement_of(opened: ModalityZip, at: int, *, side_px: int) -> Placement:
    """By the coordinates of the pixels, or else by the centre in degrees."""
    told = opened.texts("crs", at) or [""]
    crs = told[0] if len(set(told)) == 1 else ""
    name = f"EPSG:{crs}" if crs.isdecimal() else crs
    x, y = _axis(opened, "x", at, side_px=side_px), _axis(opened, "y", at, side_px=side_px)
    lon, lat = (opened.numbers(what, at) for what in ("lon", "lat"))
    if utm_code(name) and x is not None and y is not None and _is_lattice(x, 10) and _is_lattice(y, -10):
        x_ul, y_ul = float(x[0]) - 5, float(y[0]) + 5
        bounds = (x_ul, y_ul - 10 * side_px, x_ul + 10 * side_px, y_ul)
        source = Placement(source_crs=name, source_bounds=bounds)
        return corner_placement(utm_code(name), x_ul, y_ul, side_px=side_px, source=source)
    if lon is not None and lat is not None and lon.ndim == lat.ndim == 0:
        return centre_placement(float(lon), float(lat), side_px=side_px, source=Placement(source_crs=name))
    return Placement(source_crs=name)


def _axis(opened: ModalityZip, what: str, at: int, *, side_px: int) -> np.ndarray | None:
    found = opened.numbers(what, at)
    return found if found is not None and found.shape == (side_px,) else None


def _is_lattice(metres: np.ndarray, step_m: int) -> bool:
    return bool(np.allclose(np.diff(metres), step_m))
