"""A catalogue of real scenes: anyone's own GeoTIFFs, described by STAC and served like Earth Engine's.

What an item needs
------------------
* `properties.datetime`: sensing start.
* What it is: `properties["noldo:collection"]`, an Earth Engine id (`COPERNICUS/S2_HARMONIZED`,
  `COPERNICUS/S2_SR_HARMONIZED`, `COPERNICUS/S1_GRD`, `GOOGLE/DYNAMICWORLD/V1`), or a STAC collection of
  `STAC_COLLECTIONS`.
* Its name: `properties["noldo:system_index"]`, or else the item's id without a last part `_L1C`, `_L2A`, `_DW`,
  `_S1`, `_GRD` or `_RTC`. The L1C, L2A and Dynamic World items of one acquisition share their name: so they
  become twins.
* `assets`: a GeoTIFF whose `bands` (or `eo:bands`) name its bands in order, or one asset a band, under the band's
  name. B1..B12 (also B01), B8A, SCL; VV, VH; `label` and Dynamic World's nine classes. Relative `href`s.
* `geometry`: the footprint in degrees; null: the outline of the first image.

What it may have: `eo:cloud_cover` (percent), `s2:mgrs_tile` or `grid:code`, `s2:processing_baseline`,
`sat:orbit_state`, `sat:relative_orbit`, `sar:instrument_mode` (default IW), `sar:polarizations` (default: the bands).

Pixels
------
* Sentinel-2 is served as uint16; negative numbers become 0. Bands lie on the grid of their file: where all have
  10 m pixels, so has B5.
* Sentinel-1 is served as float64 dB, Dynamic World's probabilities as float32 0..1, by the declared scale and
  offset. Labels and SCL as uint8.
* Masked: the no-data value that item or file declares; what a file's own mask excludes; numbers that are not
  finite; labels above 8. For Sentinel-2 without a declared value also 0 in all bands of the file, ESA's no data.
* Numbers of processing baseline 04.00 carry +1000; it is taken off as the HARMONIZED collections do (clamped at
  0). A scene carries it if `noldo:radiometric_offset` is -1000; or else if its bands declare an offset of -0.1;
  or else if `s2:processing_baseline` >= 04.00 and `earthsearch:boa_offset_applied` is not true; or else, for
  L1C, if no valid pixel of B10 is below 1000. L2A without any of these carries none. The property
  `radiometric_offset` (-1000.0 or 0.0) says what was added on the way.
"""

import bisect
import datetime as dt
import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from noldo.errors import InputError
from noldo.legend import DYNAMIC_WORLD
from noldo.products import S2_L1C_BANDS, S2_L2A_BANDS
from sandbox.catalogue import Band, SceneRecord
from sandbox.geometries import Geometry
from sandbox.stac import BandFile, Item, read_items

S2_L1C, S2_L2A = "COPERNICUS/S2_HARMONIZED", "COPERNICUS/S2_SR_HARMONIZED"
S1_GRD, DW = "COPERNICUS/S1_GRD", "GOOGLE/DYNAMICWORLD/V1"

STAC_COLLECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "sentinel-2-l1c": S2_L1C,
        "sentinel-2-l2a": S2_L2A,
        "sentinel-2-c1-l2a": S2_L2A,
        "sentinel-1-grd": S1_GRD,
        "sentinel-1-rtc": S1_GRD,
        "dynamic-world": DW,
    }
)
"""Collection ids of the public STAC catalogues, and what they are served as."""

BAND_TYPES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        S2_L1C: dict.fromkeys(S2_L1C_BANDS, "uint16"),
        S2_L2A: dict.fromkeys(S2_L2A_BANDS, "uint16") | {"SCL": "uint8"},
        S1_GRD: {"VV": "float64", "VH": "float64", "angle": "float32"},
        DW: dict.fromkeys(DYNAMIC_WORLD.classes, "float32") | {"label": "uint8"},
    }
)
"""Bands of each collection in Earth Engine's order, and their types."""

OFFSET = -1000.0
"""RADIO_ADD_OFFSET and BOA_ADD_OFFSET of processing baseline 04.00 (ESA, Sentinel-2 Products Specification)."""

OFFSET_BASELINE = 4.0
SUFFIX = re.compile(r"[_-](L1C|L2A|DW|S1|GRD|RTC)$", re.IGNORECASE)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SHARED_READ_PX = 1 << 20
"""Windows up to this size are read for all bands of a file at once, and remembered."""

PROBE_PX = 512
"""B10 is looked at on at most this many rows and columns."""

Array = npt.NDArray[Any]


class Archive:
    """Scenes of a STAC catalogue. Thread-safe; images are opened when they are read."""

    def __init__(self, path: Path) -> None:
        """Read the items of `path` (catalog.json, collection.json, an ItemCollection, an item).

        Raises
        ------
        InputError
            If an item can't be used; it names the item and the key.
        """
        self._items: dict[tuple[str, str], Item] = {}
        for item in read_items(path):
            key = _collection_of(item), _index_of(item)
            if key in self._items:
                raise item.wrong("id", key[1], f"a name that {self._items[key].id} does not have in {key[0]}")
            _check_bands(item, key[0])
            self._items[key] = item
        self._ordered = sorted((_time_ms(item), index, name) for (name, index), item in self._items.items())
        self._record = cache(self._make_record)

    def __len__(self) -> int:
        return len(self._items)

    def collections(self) -> frozenset[str]:
        """All four collections, also those without scenes: a search of them finds nothing."""
        return frozenset(BAND_TYPES)

    def find(
        self, collection: str, *, bounds: tuple[float, float, float, float], start_ms: int, end_ms: int
    ) -> list[SceneRecord]:
        """Scenes in a box of degrees and a range of time, ordered by time and name."""
        first = bisect.bisect_left(self._ordered, (start_ms,))
        last = bisect.bisect_left(self._ordered, (end_ms,))
        west, south, east, north = bounds
        found = []
        for _, index, name in self._ordered[first:last]:
            if name != collection:
                continue
            record = self._record(collection, index)
            x_min, y_min, x_max, y_max = record.footprint.bounds
            if x_min <= east and x_max >= west and y_min <= north and y_max >= south:
                found.append(record)
        return found

    def scene(self, collection: str, index: str) -> SceneRecord | None:
        """The scene of this name, or None."""
        return self._record(collection, index) if (collection, index) in self._items else None

    def bands(self, scene: SceneRecord) -> Sequence[Band]:
        """Bands that the item has, in Earth Engine's order."""
        types, files = BAND_TYPES[scene.collection], self._files(scene)
        return [_band(files[name], dtype) for name, dtype in types.items() if name in files]

    def read(
        self, scene: SceneRecord, band: str, *, column: int, row: int, width: int, height: int
    ) -> tuple[Array, Array]:
        """A window of a band; masked where it leaves the image."""
        file, dtype = self._files(scene)[band], BAND_TYPES[scene.collection][band]
        values = np.zeros((height, width), dtype)
        mask = np.zeros((height, width), bool)
        info = _image(file.path)
        left, right = max(column, 0), min(column + width, info.width)
        top, bottom = max(row, 0), min(row + height, info.height)
        if left < right and top < bottom:
            offset = float(str(scene.properties.get("radiometric_offset", 0)))
            inner, seen = _pixels(file, (left, top, right - left, bottom - top), dtype, offset=offset)
            place = slice(top - row, bottom - row), slice(left - column, right - column)
            values[place], mask[place] = inner, seen
        return values, mask

    def _files(self, scene: SceneRecord) -> dict[str, BandFile]:
        return {file.name: file for file in self._items[scene.collection, scene.index].bands}

    def _make_record(self, collection: str, index: str) -> SceneRecord:
        item = self._items[collection, index]
        footprint = item.footprint or outline_of(item.bands[0].path)
        return SceneRecord(collection, index, _time_ms(item), footprint, _properties(item, collection))


def _collection_of(item: Item) -> str:
    named = item.properties.get("noldo:collection") or STAC_COLLECTIONS.get(
        item.collection.lower(), item.collection
    )
    if named not in BAND_TYPES:
        raise item.wrong(
            "noldo:collection",
            named or None,
            f"one of {', '.join(BAND_TYPES)} (or a `collection` that implies it)",
        )
    return str(named)


def _index_of(item: Item) -> str:
    index = str(item.properties.get("noldo:system_index") or SUFFIX.sub("", item.id))
    if not re.fullmatch(r"[\w.-]+", index):
        raise item.wrong("noldo:system_index", index, "letters, digits, `_`, `-` and `.` only")
    return index


def _check_bands(item: Item, collection: str) -> None:
    unknown = [band.name for band in item.bands if band.name not in BAND_TYPES[collection]]
    if unknown or not item.bands:
        known = ", ".join(BAND_TYPES[collection])
        raise item.wrong("assets", unknown or "no asset that names its bands", f"bands out of {known}")


def _time_ms(item: Item) -> int:
    return (item.time - EPOCH) // dt.timedelta(milliseconds=1)


def _properties(item: Item, collection: str) -> dict[str, Any]:
    """Properties under Earth Engine's names; what the item lacks is absent."""
    told = item.properties
    if collection == S1_GRD:
        names = [band.name for band in item.bands if band.name != "angle"]
        found = {
            "instrumentMode": told.get("sar:instrument_mode", "IW"),
            "transmitterReceiverPolarisation": list(told.get("sar:polarizations", names)),
            "orbitProperties_pass": _upper(told.get("sat:orbit_state")),
            "relativeOrbitNumber_start": told.get("sat:relative_orbit"),
        }
    else:
        grid_code = str(told.get("grid:code", ""))
        tile = told.get("s2:mgrs_tile") or (
            grid_code.removeprefix("MGRS-") if grid_code.startswith("MGRS-") else None
        )
        found = {"MGRS_TILE": tile, "CLOUDY_PIXEL_PERCENTAGE": told.get("eo:cloud_cover")}
        if collection != DW:
            found["PROCESSING_BASELINE"] = told.get("s2:processing_baseline")
            found["radiometric_offset"] = radiometric_offset(item, collection)
    return {key: value for key, value in found.items() if value is not None}


def _upper(value: object) -> str | None:
    return None if value is None else str(value).upper()


def radiometric_offset(item: Item, collection: str) -> float:
    """What has to be added to the numbers of a Sentinel-2 scene: -1000.0 or 0.0.

    Raises
    ------
    InputError
        If the metadata say something else.
    """
    told = item.properties
    if (explicit := told.get("noldo:radiometric_offset")) is not None:
        if explicit not in {0, OFFSET}:
            raise item.wrong("noldo:radiometric_offset", explicit, f"0 or {OFFSET:g}")
        return float(explicit)
    reflectances = [band for band in item.bands if band.name != "SCL"]
    declared = {round(band.offset / band.scale) for band in reflectances if band.says_offset}
    if declared:
        if not declared <= {0, OFFSET} or len(declared) > 1:
            raise item.wrong(
                "raster:bands.offset / scale", sorted(declared), f"0 or {OFFSET:g} for all bands"
            )
        return float(declared.pop())
    if (baseline := told.get("s2:processing_baseline")) is not None:
        applied = told.get("earthsearch:boa_offset_applied") is True
        return OFFSET if _baseline(item, baseline) >= OFFSET_BASELINE and not applied else 0.0
    cirrus = [band for band in reflectances if band.name == "B10"]
    return OFFSET if collection == S2_L1C and cirrus and _all_above_offset(cirrus[0]) else 0.0


def _baseline(item: Item, text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        raise item.wrong("s2:processing_baseline", text, "a number such as 04.00") from None


class _Image:
    """The header of a GeoTIFF."""

    def __init__(self, path: Path) -> None:
        import rasterio

        try:
            with rasterio.open(path) as source:
                self.width, self.height, self.count = source.width, source.height, source.count
                self.transform = source.transform
                self.crs = source.crs
                self.dtypes: tuple[str, ...] = source.dtypes
        except rasterio.errors.RasterioIOError as error:
            raise InputError(f"{path}: not an image that GDAL reads ({error})") from None
        epsg = self.crs.to_epsg() if self.crs else None
        if epsg is None or self.transform.b or self.transform.d:
            raise InputError(
                f"{path}: found CRS {self.crs}, expected a CRS with EPSG code and a north-up grid"
            )
        self.epsg = int(epsg)


_image = lru_cache(maxsize=4096)(_Image)


def outline_of(path: Path) -> shapely.Polygon:
    """Footprint of an image in degrees, its edges cut into pieces of 1 km before they are projected.

    Raises
    ------
    InputError
        If the image can't be opened or has no CRS.
    """
    info = _image(path)
    a, _, left, _, e, top = info.transform[:6]
    frame = shapely.box(left, top + e * info.height, left + a * info.width, top)
    outline = Geometry(frame, f"EPSG:{info.epsg}").lon_lat
    assert isinstance(outline, shapely.Polygon)
    return outline


def _band(file: BandFile, dtype: str) -> Band:
    info = _image(file.path)
    if file.number > info.count:
        raise InputError(
            f"{file.path}: found {info.count} bands, expected at least {file.number} ({file.name})"
        )
    a, b, c, d, e, f = (float(number) for number in info.transform[:6])
    return Band(file.name, dtype, info.epsg, (a, b, c, d, e, f), info.width, info.height)


Area = tuple[int, int, int, int]
"""(column, row, width, height) inside an image."""


def _raw(path: Path, numbers: tuple[int, ...], area: Area) -> tuple[Array, Array, float | None]:
    """Numbers and masks (band, y, x) as stored, and the declared no-data value."""
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(path) as source:
        window = Window(*area)
        numbers_read = source.read(numbers, window=window)
        return numbers_read, source.read_masks(numbers, window=window) > 0, source.nodata


_shared_raw = lru_cache(maxsize=32)(_raw)


def _stored(file: BandFile, area: Area) -> tuple[Array, Array]:
    """Numbers of one band as stored, and which of them were observed."""
    shared = area[2] * area[3] <= SHARED_READ_PX
    numbers, masks, declared = (_shared_raw if shared else _raw)(file.path, file.siblings, area)
    position = file.siblings.index(file.number)
    values, mask = numbers[position], masks[position]
    if file.no_data is not None:
        mask = mask & (values != file.no_data)
    elif declared is None and file.name.startswith("B"):
        mask = mask & (numbers != 0).any(axis=0)
    return values, mask & np.isfinite(values)


def _pixels(file: BandFile, area: Area, dtype: str, *, offset: float) -> tuple[Array, Array]:
    """Values as served, and their mask."""
    stored, mask = _stored(file, area)
    if dtype in {"float32", "float64"}:
        values = np.where(mask, stored, 0).astype(np.float64) * file.scale + file.offset
        return values.astype(dtype), mask
    if stored.dtype.kind not in "iu":
        raise InputError(f"{file.path}, band {file.name}: found {stored.dtype}, expected integers")
    whole = np.where(mask, stored, 0).astype(np.int64)
    if dtype == "uint8":
        top = 8 if file.name == "label" else 255
        mask = mask & (whole >= 0) & (whole <= top)
        return np.where(mask, whole, 0).astype(dtype), mask
    return np.where(mask, (whole + int(offset)).clip(0, 65535), 0).astype(dtype), mask


def _all_above_offset(file: BandFile) -> bool:
    """No valid pixel of B10 is below 1000. Without the offset, cirrus reflectance is a few tens."""
    info = _image(file.path)
    step = max(1, -(-max(info.width, info.height) // PROBE_PX))
    rows = [_stored(file, (0, row, info.width, 1)) for row in range(0, info.height, step)]
    observed = np.concatenate([values[mask] for values, mask in rows])
    return observed.size > 0 and bool((observed >= -OFFSET).all())
