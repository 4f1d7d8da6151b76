"""The index, `nol.parquet`: one row a location tried, with everything that was decided about it.

A GeoParquet 1.1 file: `geometry` is the outline of the patch in longitude and latitude. The loader does
not need it; people and evaluations do.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noldo.errors import MissingExtraError, StoreError, StoreFormatError

if TYPE_CHECKING:
    import pyarrow as pa

GEO_METADATA: dict[str, Any] = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon", "MultiPolygon"]}},
}
"""Value of the file's `geo` key. Without `crs`, GeoParquet 1.1 means OGC:CRS84: longitude, latitude.

A patch that crosses the antimeridian is two polygons."""


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(
            "the index is parquet, which needs pyarrow; run `pip install 'noldo-s12[build]'` or `pip install pyarrow`"
        ) from None
    return pyarrow


def index_schema() -> "pa.Schema":
    """Columns and types of the index, with the GeoParquet metadata.

    Per location: `id`; `status` and `reason` (empty for kept); `split`; `place`; `lon`, `lat` of the centre
    in degrees; `crs_epsg`, `x_ul`, `y_ul` in metres and `transform` (a, b, c, d, e, f of 10 m pixels);
    `shard` and `row` (of the store, not of the shard); `geometry`.

    Per season, as lists in the order of the season axis: sensing times, scene ids, `cloud_percent` of the
    whole scene, `coverage_*` and `label_share` of the patch (0..1), `class_counts` in pixels, `rank` of the
    candidate (0 is the first choice), and how the scene was stored. A location that was refused before any
    pixel was read has empty lists.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    """
    pa = _pyarrow()
    return pa.schema([*_location_fields(pa), *_season_fields(pa)], metadata={"geo": json.dumps(GEO_METADATA)})


def _location_fields(pa: Any) -> list[Any]:
    return [
        pa.field("id", pa.int64()),
        pa.field("status", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("split", pa.string()),
        pa.field("place", pa.string()),
        pa.field("lon", pa.float64()),
        pa.field("lat", pa.float64()),
        pa.field("crs_epsg", pa.int32()),
        pa.field("x_ul", pa.int64()),
        pa.field("y_ul", pa.int64()),
        pa.field("transform", pa.list_(pa.float64())),
        pa.field("shard", pa.int32()),
        pa.field("row", pa.int32()),
        pa.field("geometry", pa.binary()),
    ]


def _season_fields(pa: Any) -> list[Any]:
    types = {
        "time_s2": pa.timestamp("ms", tz="UTC"),
        "time_s1": pa.timestamp("ms", tz="UTC"),
        "scene_s2_l1c": pa.string(),
        "scene_s2_l2a": pa.string(),
        "scene_dynamic_world": pa.string(),
        "scene_s1_grd": pa.string(),
        "cloud_percent": pa.float32(),
        "coverage_s2": pa.float32(),
        "coverage_s1": pa.float32(),
        "label_share": pa.float32(),
        "class_counts": pa.list_(pa.int32()),
        "rank": pa.int8(),
        "tile": pa.string(),
        "baseline": pa.string(),
        "offset_removed": pa.bool_(),
        "off_zone": pa.bool_(),
        "off_lattice": pa.bool_(),
        "orbit_pass": pa.string(),
        "relative_orbit": pa.int16(),
        "choice_reason": pa.string(),
    }
    return [pa.field(name, pa.list_(type_)) for name, type_ in types.items()]


def optional_fields() -> "dict[str, pa.Field]":
    """Columns that an index has where they mean something, by name: of clean labels, and of imported data.

    `name` of the tile or patch at its source; `window` (first row, row stop, first column, column stop) of the valid
    10 m pixels, kept or not. Clean labels: `label_date`; `label_days` from it to the Sentinel-2 scene; `own_scene`, the scene
    is the one that was labelled; `label_resampled`, the label was off the 10 m lattice; `biome`, `hemisphere` as the table of
    tiles says; `expert_counts`, `osm_counts`, `dfc2020_counts` in pixels of each class. Screening: `osm_polygons` burnt;
    `osm_share` of the window (0..1); `osm_common` pixels that both sources label and whose classes can be compared;
    `osm_agreement` share of them (0..1); `osm_decision` in words. Imports: `georeference` (`exact`, `approximate`, `none`);
    `source_crs` and `source_bounds` (x_min, y_min, x_max, y_max) as published.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    """
    pa = _pyarrow()
    counts = pa.list_(pa.int32())
    types = {
        "name": pa.string(),
        "window": pa.list_(pa.int32()),
        "label_date": pa.date32(),
        "label_days": pa.float32(),
        "own_scene": pa.bool_(),
        "label_resampled": pa.bool_(),
        "biome": pa.string(),
        "hemisphere": pa.string(),
        "expert_counts": counts,
        "osm_counts": counts,
        "dfc2020_counts": counts,
        "osm_polygons": pa.int32(),
        "osm_share": pa.float32(),
        "osm_common": pa.int32(),
        "osm_agreement": pa.float32(),
        "osm_decision": pa.string(),
        "georeference": pa.string(),
        "source_crs": pa.string(),
        "source_bounds": pa.list_(pa.float64()),
    }
    return {name: pa.field(name, type_) for name, type_ in types.items()}


def extended_schema(optional: Sequence[str]) -> "pa.Schema":
    """`index_schema` with some of `optional_fields` behind it, in their own order."""
    schema = index_schema()
    for name, field in optional_fields().items():
        if name in optional:
            schema = schema.append(field)
    return schema


def read_index(path: Path) -> "pa.Table":
    """Read the index, in row order.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    StoreError
        If there is no index.
    StoreFormatError
        If it is no parquet file, or lacks columns of this format.
    """
    pa = _pyarrow()
    try:
        # Not memory-mapped and not kept open: the file may be replaced meanwhile.
        source = pa.BufferReader(path.read_bytes())
        # Without pyarrow's threads: at the end of a short process they may abort it (apache/arrow issue 34314).
        with pa.parquet.ParquetFile(source, pre_buffer=False) as file:
            table = file.read(use_threads=False)
    except OSError as error:
        raise StoreError(f"{path}: can't be read ({error.strerror or error}); run the build again") from None
    except pa.ArrowInvalid as error:
        raise StoreFormatError(
            f"{path}: not a parquet file ({str(error).splitlines()[0]}); delete it and run the build again"
        ) from None
    known = {field.name: field for field in index_schema()}
    missing = known.keys() - set(table.column_names)
    known |= optional_fields()
    wrong = [
        name
        for name, field in known.items()
        if name in missing or (name in table.column_names and table.schema.field(name).type != field.type)
    ]
    if wrong:
        raise StoreFormatError(
            f"{path}: columns {', '.join(wrong)} are missing or of another type; delete it and run the build again"
        )
    return table
