"""The user's own places, from CSV, GeoJSON or GeoParquet, and what makes them unusable.

CSV, in UTF-8, separated by commas:

* with a header: `lon` and `lat` (or longitude, latitude) in any place, and if there are such columns `id`
  (or index, idx) and `name` (or place, city); other columns are not read;
* without one (the first line is numbers only): `lon, lat`, or `id, lon, lat` and anything after them. The
  latter is how SSL4EO-S12 and its relatives publish their coordinates (`sampled_locations.csv`: index, lon,
  lat; `checked_locations.csv`: index, lon, lat, success).

GeoJSON: Point features; the id is the feature's `id`, or its property `id`. GeoParquet: a column of points.
Both may have another coordinate system, and are brought to WGS84.

Whole numbers are kept as ids; any other ids become the row's number, and the name unless there is one.
"""

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builders.csv_table import number, read_csv
from noldo.errors import InputError
from noldo.grids import MAX_LATITUDE, MIN_LATITUDE

logger = logging.getLogger(__name__)

NUM_NAMED = 5
"""How many offenders a message names; it counts all."""

_ALIASES = {
    "lon": "lon",
    "longitude": "lon",
    "lat": "lat",
    "latitude": "lat",
    "id": "id",
    "index": "id",
    "idx": "id",
    "name": "name",
    "place": "name",
    "city": "name",
}

_WHOLE_NUMBER = re.compile(r"\d{1,18}(\.0+)?")


@dataclass(frozen=True)
class Point:
    """One of the user's places."""

    id: int
    lon: float
    """Degrees WGS84, -180..180."""
    lat: float
    """Degrees WGS84, -80..84."""
    name: str
    """May be empty."""
    where: str
    """How to find it in the file, e.g. `line 3 (id 17)`."""


@dataclass(frozen=True)
class _Raw:
    """A place before its id is decided; text is empty where the file has none."""

    where: str
    id_text: str
    lon: float
    lat: float
    name: str


def read_points(path: Path) -> list[Point]:
    """Read and check the user's places.

    Returns
    -------
    Places by ascending id.

    Raises
    ------
    InputError
        If the file can't be used, ids repeat, or a place lies outside -180..180 or -80..84 degrees.
    """
    readers = {
        ".csv": _read_csv,
        ".geojson": _read_geojson,
        ".json": _read_geojson,
        ".parquet": _read_geoparquet,
        ".geoparquet": _read_geoparquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: places are read from {', '.join(readers)}; convert the file, or correct its ending"
        )
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct locations.points")
    raw = reader(path)
    if not raw:
        raise InputError(f"{path}: no places in it; expected at least one")
    points = _identified(path, raw)
    _check_limits(path, points)
    return sorted(points, key=lambda point: point.id)


def refuse(path: Path, offenders: Sequence[str], *, found: str, remedy: str) -> None:
    """Raise an error that names the first offenders and counts all; with none, do nothing."""
    if offenders:
        named = "; ".join(offenders[:NUM_NAMED])
        more = f"; and {len(offenders) - NUM_NAMED} more" if len(offenders) > NUM_NAMED else ""
        raise InputError(f"{path}: {len(offenders)} {found}: {named}{more}; {remedy}")


def _identified(path: Path, raw: Sequence[_Raw]) -> list[Point]:
    if empty := [one.where for one in raw if not one.id_text]:
        if len(empty) < len(raw):
            refuse(
                path, empty, found="places have no id, others have", remedy="give every place an id, or none"
            )
        return [_point(one, rank, one.name) for rank, one in enumerate(raw)]
    counts = Counter(_whole_number(one.id_text) or one.id_text for one in raw)
    repeated = [f"{name} ({times} times)" for name, times in counts.items() if times > 1]
    refuse(path, repeated, found="ids are not unique", remedy="give each place an id of its own")
    if all(_whole_number(one.id_text) for one in raw):
        return [_point(one, int(_whole_number(one.id_text)), one.name) for one in raw]
    logger.info("%s: ids are not all whole numbers: rows are numbered from 0, and ids kept as names", path)
    return [_point(one, rank, one.name or one.id_text) for rank, one in enumerate(raw)]


def _whole_number(text: str) -> str:
    """Digits without leading zeros or a fraction of zeros; empty if it is anything else."""
    return str(int(text.partition(".")[0])) if _WHOLE_NUMBER.fullmatch(text) else ""


def _point(raw: _Raw, id_: int, name: str) -> Point:
    where = f"{raw.where} (id {raw.id_text})" if raw.id_text else raw.where
    return Point(id=id_, lon=raw.lon, lat=raw.lat, name=name, where=where)


def _check_limits(path: Path, points: Sequence[Point]) -> None:
    places = [(point, f"{point.where}: lon {point.lon:g}, lat {point.lat:g}") for point in points]
    refuse(
        path,
        [text for point, text in places if not (abs(point.lon) <= 180 and abs(point.lat) <= 90)],
        found="places are not on the Earth",
        remedy="expected degrees, lon -180..180 before lat -90..90; are the columns swapped?",
    )
    refuse(
        path,
        [text for point, text in places if not MIN_LATITUDE <= point.lat <= MAX_LATITUDE],
        found="places lie beyond 84 N or 80 S, where UTM and Sentinel-2's tiles end",
        remedy="remove them",
    )


def _read_csv(path: Path) -> list[_Raw]:
    rows = read_csv(path, aliases=_ALIASES, required=("lon", "lat"), headless=("id", "lon", "lat"))
    return [
        _Raw(
            where=f"line {row.line}",
            id_text=row.cells.get("id", ""),
            lon=number(path, row, "lon"),
            lat=number(path, row, "lat"),
            name=row.cells.get("name", ""),
        )
        for row in rows
    ]


def _read_geojson(path: Path) -> list[_Raw]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); give a readable file") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); save it as GeoJSON") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("features"), list):
        raise InputError(f"{path}: no FeatureCollection; save the places as GeoJSON features")
    raw = [_feature(path, rank, feature) for rank, feature in enumerate(tree["features"])]
    return _in_degrees(path, raw, _geojson_crs(tree))


def _geojson_crs(tree: Mapping[str, Any]) -> str:
    """The `crs` member of the 2008 draft, which GDAL still writes; RFC 7946 knows degrees only."""
    crs = tree.get("crs")
    name = crs.get("properties", {}).get("name") if isinstance(crs, dict) else None
    return str(name) if name else "OGC:CRS84"


def _feature(path: Path, rank: int, feature: Any) -> _Raw:
    where = f"feature {rank}"
    try:
        geometry, properties = feature["geometry"], feature.get("properties") or {}
        kind, (lon, lat) = geometry["type"], geometry["coordinates"][:2]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{path}, {where}: not a GeoJSON feature with a point; correct or remove it"
        ) from None
    if kind != "Point":
        raise InputError(f"{path}, {where}: a {kind}, expected a Point; give the centre of each patch")
    if not all(type(value) in {int, float} and math.isfinite(value) for value in (lon, lat)):
        raise InputError(f"{path}, {where}: coordinates {lon!r}, {lat!r}, expected two numbers; correct it")
    id_ = feature.get("id", properties.get("id"))
    return _Raw(where, "" if id_ is None else str(id_), float(lon), float(lat), _name(properties))


def _read_geoparquet(path: Path) -> list[_Raw]:
    import geopandas
    import pyarrow as pa

    try:
        table = geopandas.read_parquet(path)
    except (ValueError, OSError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: not readable GeoParquet ({reason}); write it with GeoPandas or GDAL"
        ) from None
    if table.crs is None:
        raise InputError(f"{path}: no coordinate system; write it with one, e.g. OGC:CRS84")
    columns = {
        _ALIASES.get(name.lower(), name): name for name in table.columns if name != table.geometry.name
    }
    ids, names = (_texts(table, columns.get(name)) for name in ("id", "name"))
    raw = []
    for rank, (geometry, id_, name) in enumerate(zip(table.geometry, ids, names, strict=True)):
        if geometry is None or geometry.geom_type != "Point" or geometry.is_empty:
            kind = "nothing" if geometry is None or geometry.is_empty else f"a {geometry.geom_type}"
            raise InputError(f"{path}, row {rank}: {kind}, expected a Point; give the centre of each patch")
        raw.append(_Raw(f"row {rank}", id_, geometry.x, geometry.y, name))
    return _in_degrees(path, raw, table.crs)


def _texts(table: Any, column: str | None) -> list[str]:
    """Cells of a column as text; missing ones, and all of a column that is not there, are empty."""
    if column is None:
        return [""] * len(table)
    cells = table[column]
    return [_text(value) if known else "" for value, known in zip(cells.tolist(), cells.notna(), strict=True)]


def _in_degrees(path: Path, raw: Sequence[_Raw], crs: Any) -> list[_Raw]:
    """Bring places from another coordinate system to WGS84."""
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    try:
        found = CRS.from_user_input(crs)
    except CRSError:
        raise InputError(f"{path}: unknown coordinate system {crs!r}; write the places in degrees") from None
    to_degrees = Transformer.from_crs(found, "OGC:CRS84", always_xy=True)
    lon, lat = to_degrees.transform([one.lon for one in raw], [one.lat for one in raw])
    return [_Raw(one.where, one.id_text, x, y, one.name) for one, x, y in zip(raw, lon, lat, strict=True)]


def _name(properties: Mapping[str, Any]) -> str:
    named = {_ALIASES.get(str(key).lower(), ""): value for key, value in properties.items()}
    return _text(named.get("name"))


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()
