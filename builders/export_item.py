"""The STAC item of one location: where and when it is, what its files hold, and what is known about it."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builders.export_bands import bands_of, legend_of, unit_of
from builders.export_plan import PlannedFile, PlannedLocation
from builders.outlines import outlines
from noldo.manifest import Manifest
from noldo.products import ArraySpec
from noldo.rows import NO_TIME

if TYPE_CHECKING:
    import shapely

Document = dict[str, Any]

GEOTIFF = "image/tiff; application=geotiff"
EXTENSIONS: Mapping[str, str] = {
    prefix: f"https://stac-extensions.github.io/{name}/schema.json"
    for prefix, name in (
        ("proj:", "projection/v2.0.0"),
        ("eo:", "eo/v2.0.0"),
        ("raster:", "raster/v2.0.0"),
        ("classification:", "classification/v2.0.0"),
        ("file:", "file/v2.1.0"),
    )
}
"""Prefix of fields to the schema that says what they are."""

SHA256_MULTIHASH = "1220"
"""Prefix of a SHA-256 as the file extension writes it: function 0x12, 0x20 bytes."""

TOLD_ELSEWHERE = frozenset(
    {"id", "status", "split", "lon", "lat", "crs_epsg", "x_ul", "y_ul", "row", "shard", "geometry"}
)
"""Columns of the index that the item has in another form, or that say how the store is cut."""

SCENE_COLUMNS: Mapping[str, str] = {
    "s2_l1c": "scene_s2_l1c",
    "s2_l2a": "scene_s2_l2a",
    "s2_scl": "scene_s2_l2a",
    "s1_grd": "scene_s1_grd",
    "dynamic_world": "scene_dynamic_world",
    "dynamic_world_probability": "scene_dynamic_world",
}
"""Product to the column of the index that names its scenes."""


@dataclass(frozen=True)
class FileRecord:
    """One GeoTIFF that was written."""

    size: int
    """Bytes."""
    sha256: str
    """64 hex digits."""


@dataclass(frozen=True)
class LocationFacts:
    """What store and index say about one location."""

    subset: str
    index: Mapping[str, Any]
    """Its row of the index, column to value."""
    window: tuple[int, ...]
    """First row, row stop, first column, column stop of the valid 10 m pixels."""
    times: Mapping[str, Sequence[int]]
    """`time_s2`, `time_s1`: seconds since 1970, one a season."""


@dataclass(frozen=True)
class Span:
    """From when to when a location was seen."""

    start: dt.datetime
    end: dt.datetime
    source: str
    """`acquisitions`; `seasons` where no time is known; `unknown` where not even a date is."""


def item_document(
    location: PlannedLocation,
    records: Mapping[PlannedFile, FileRecord],
    facts: LocationFacts,
    manifest: Manifest,
) -> Document:
    """JSON of the item; links and files are relative to it.

    Parameters
    ----------
    records
        Its files, in the order of the store's arrays.
    """
    import pystac

    shape = outlines([location.grid])[0] if location.grid is not None else None
    span = span_of(facts, manifest)
    item = pystac.Item(
        id=str(location.id),
        geometry=None if shape is None else _geojson(shape),
        bbox=None if shape is None else list(bbox_of(shape)),
        datetime=None,
        start_datetime=span.start,
        end_datetime=span.end,
        properties=_properties(location, facts, manifest, span),
        collection=facts.subset,
    )
    for relation, href in (
        ("root", "../../catalog.json"),
        ("parent", "../collection.json"),
        ("collection", "../collection.json"),
    ):
        item.add_link(pystac.Link(relation, href, media_type=pystac.MediaType.JSON))
    for file, record in records.items():
        fields = asset_fields(file.spec) | _of_season(file, facts) | _of_place(file.spec, location)
        checksum = {"file:size": record.size, "file:checksum": SHA256_MULTIHASH + record.sha256}
        asset = pystac.Asset(
            href=f"./{file.key}.tif",
            title=f"{file.spec.name}, {manifest.seasons[file.season].name}",
            media_type=GEOTIFF,
            roles=roles_of(file.spec),
            extra_fields=fields | checksum,
        )
        item.add_asset(file.key, asset)
    item.stac_extensions = extensions_of(
        [item.properties, *(one.extra_fields for one in item.assets.values())]
    )
    document: Document = item.to_dict(include_self_link=False, transform_hrefs=False)
    return document


def extensions_of(parts: Iterable[Document]) -> list[str]:
    """Schemas of the extensions of which there are fields: some refuse to be named for nothing."""
    names = {name for part in parts for fields in (part, *part.get("bands", ())) for name in fields}
    return [url for prefix, url in EXTENSIONS.items() if any(name.startswith(prefix) for name in names)]


def roles_of(spec: ArraySpec) -> list[str]:
    """Roles of an asset."""
    return ["data", "labels"] if spec.is_label else ["data"]


def asset_fields(spec: ArraySpec) -> Document:
    """What is the same for every file of an array: bands, scales, classes."""
    fields: Document = {
        "data_type": spec.dtype,
        "raster:spatial_resolution": spec.resolution_m,
        "noldo:array": spec.name,
        "noldo:product": spec.product,
        "bands": [_band(spec, position) for position in range(len(bands_of(spec)))],
    }
    if spec.has_no_data:
        fields["nodata"] = spec.no_data
    if unit := unit_of(spec):
        fields["unit"] = unit
    if spec.quantization:
        fields["noldo:quantization"] = spec.quantization
    legend = legend_of(spec)
    if legend is not None:
        classes = [
            {"value": value, "name": name, "title": name.replace("_", " "), "color_hint": colour[1:].upper()}
            for value, (name, colour) in enumerate(zip(legend.classes, legend.colours, strict=True))
        ]
        no_label = {"value": spec.no_data, "name": "no_data", "title": "no label", "nodata": True}
        fields["classification:classes"] = [*classes, no_label]
    return fields


def _band(spec: ArraySpec, position: int) -> Document:
    band = bands_of(spec)[position]
    found: Document = {"name": band.name}
    if band.wavelength_um is not None:
        found |= {"eo:common_name": band.common_name, "eo:center_wavelength": band.wavelength_um}
    if not spec.is_label:
        found |= {"raster:scale": band.scale, "raster:offset": band.offset}
    return found


def _of_place(spec: ArraySpec, location: PlannedLocation) -> Document:
    side = spec.side_px(location.side_px)
    fields: Document = {"proj:shape": [side, side]}
    if location.grid is not None:
        fields["proj:transform"] = list(location.grid.transform(spec.resolution_m))
    return fields


def _of_season(file: PlannedFile, facts: LocationFacts) -> Document:
    """Time, scene and clouds of one season, as far as they are known."""
    product = file.spec.product
    fields: Document = {}
    if product in SCENE_COLUMNS:
        time = facts.times["time_s1" if product == "s1_grd" else "time_s2"][file.season]
        if time != NO_TIME:
            fields["datetime"] = _text(_moment(time))
        if (scene := _of_index(facts, SCENE_COLUMNS[product], file.season)) is not None:
            fields["noldo:scene"] = scene
    clouds = _of_index(facts, "cloud_percent", file.season)
    if product.startswith("s2_") and clouds is not None:
        fields["eo:cloud_cover"] = _short(clouds)
    return fields


def _of_index(facts: LocationFacts, column: str, season: int) -> Any:
    values = facts.index.get(column)
    return values[season] if values else None


def _properties(location: PlannedLocation, facts: LocationFacts, manifest: Manifest, span: Span) -> Document:
    index = facts.index
    title = index.get("place") or index.get("name") or f"{facts.subset} {location.id}"
    properties: Document = {"title": title}
    if location.grid is not None:
        properties |= {
            "proj:code": f"EPSG:{location.grid.crs_epsg}",
            "proj:shape": [location.side_px, location.side_px],
            "proj:transform": list(location.grid.transform()),
        }
    properties |= {
        "noldo:id": location.id,
        "noldo:subset": facts.subset,
        "noldo:row": location.row,
        "noldo:status": index["status"],
        "noldo:split": index["split"],
        "noldo:synthetic": manifest.synthetic,
        "noldo:seasons": [season.name for season in manifest.seasons],
        "noldo:window": list(facts.window),
        "noldo:times": span.source,
    }
    facts_of_index = {name: _plain(value) for name, value in index.items() if name not in TOLD_ELSEWHERE}
    return properties | {
        f"noldo:{name}": value for name, value in facts_of_index.items() if value not in (None, "")
    }


def _plain(value: Any) -> Any:
    """A scalar as JSON has it; None for lists, which the files' own fields tell."""
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float):
        return _short(value)
    return value if isinstance(value, str | int | bool) else None


def _short(value: float) -> float:
    """The shortest number that is the same as float32: the index stores no more."""
    return float(str(np.float32(value)))


def is_timeless(manifest: Manifest, times: Sequence[np.ndarray]) -> bool:
    """Whether neither acquisitions nor dates of seasons say when a location was seen."""
    dated = any(season.date is not None for season in manifest.seasons)
    return not dated and all((one == NO_TIME).all() for one in times)


def span_of(facts: LocationFacts, manifest: Manifest) -> Span:
    """First and last acquisition; without any, the dates of the seasons; without those, 1970 and a word about it."""
    times = [time for name in ("time_s2", "time_s1") for time in facts.times[name] if time != NO_TIME]
    if times:
        return Span(_moment(min(times)), _moment(max(times)), "acquisitions")
    dates = [
        season.date + dt.timedelta(days=days)
        for season in manifest.seasons
        if season.date is not None
        for days in (-season.window_days, season.window_days)
    ]
    if dates:
        return Span(_midnight(min(dates)), _midnight(max(dates)), "seasons")
    return Span(_moment(NO_TIME), _moment(NO_TIME), "unknown")


def _moment(seconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _midnight(date: dt.date) -> dt.datetime:
    return dt.datetime(date.year, date.month, date.day, tzinfo=dt.UTC)


def _text(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _geojson(shape: "shapely.Polygon | shapely.MultiPolygon") -> Document:
    import shapely.geometry

    return _listed(shapely.geometry.mapping(shape))  # type: ignore[no-any-return]


def _listed(value: Any) -> Any:
    """Tuples as lists, which is what reading the JSON back gives."""
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value


def bbox_of(shape: "shapely.Polygon | shapely.MultiPolygon") -> tuple[float, float, float, float]:
    """West, south, east, north in degrees; west > east across the antimeridian (RFC 7946, section 5.2)."""
    import shapely

    west, south, east, north = shape.bounds
    if isinstance(shape, shapely.MultiPolygon) and east - west > 180.0:
        west = min(part.bounds[0] for part in shape.geoms if part.bounds[0] >= 0)
        east = max(part.bounds[2] for part in shape.geoms if part.bounds[2] <= 0)
    return west, south, east, north
