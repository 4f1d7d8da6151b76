"""The index, `nol.parquet`: one row a location tried, with everything that was decided about it.

A GeoParquet 1.1 file: `geometry` is the outline of the patch in longitude and latitude. The loader does
not need it; people and evaluations do.
"""

import json
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
    wrong = [
        field.name
        for field in index_schema()
        if field.name not in table.column_names or table.schema.field(field.name).type != field.type
    ]
    if wrong:
        raise StoreFormatError(
            f"{path}: columns {', '.join(wrong)} are missing or of another type; delete it and run the build again"
        )
    return table
