"""A small finished data set of made-up pixels: what a build leaves behind, without a build."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from noldo.legend import DYNAMIC_WORLD
from noldo.manifest import (
    ArrayRecord,
    BandStatistics,
    LegendRecord,
    Manifest,
    RequestCounts,
    RunReport,
    SeasonRecord,
    SourceRecord,
    write_manifest,
    write_run_report,
)
from noldo.metadata import grid_of
from noldo.products import NUM_DYNAMIC_WORLD_CLASSES, S2_L1C_BANDS, S2_L2A_BANDS, ArraySpec, array_specs
from noldo.rows import NO_TIME, SPLITS
from noldo.status import Status
from noldo.store import StoreLayout, create_store, write_rows, write_shard

PRODUCTS = {
    "s2_l1c": S2_L1C_BANDS,
    "s2_l2a": S2_L2A_BANDS,
    "s2_scl": ("SCL",),
    "s1_grd": ("VV", "VH"),
    "dynamic_world": ("label",),
}

LAYOUT = StoreLayout(
    specs=array_specs(PRODUCTS),
    num_locations=10,
    season_names=("winter", "spring", "summer"),
    patch_size_px=12,
    locations_per_shard=4,
    codec="small",
)
"""Three shards an array; the last one holds two locations."""

REFUSED_ROWS = {3: Status.NO_SCENE, 9: Status.NO_LABELS}
SPLIT_OF_ROW = (0, 0, 1, 0, 0, 0, 2, 0, 1, 0)
FIRST_TIME = 1_600_000_000
"""2020-09-13 12:26:40 UTC, in seconds since 1970."""


@dataclass(frozen=True)
class DataSet:
    """Paths and contents of a data set."""

    root: Path
    layout: StoreLayout
    pixels: dict[str, np.ndarray]
    """Array name to (location, season, band?, y, x)."""
    rows: dict[str, np.ndarray]

    @property
    def store(self) -> Path:
        return self.root / "nol.zarr"

    @property
    def kept(self) -> np.ndarray:
        """Rows that were kept."""
        return np.flatnonzero(self.rows["status"] == Status.KEPT)


def made_up_pixels(layout: StoreLayout, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Values in the range of each product with some no data; refused rows hold nothing else."""
    random = np.random.default_rng(seed)
    num_seasons = len(layout.season_names)
    pixels = {}
    for spec in layout.specs:
        low, high = (-2500, 500) if spec.dtype == "int16" else (0, 9) if spec.is_label else (0, 12_000)
        shape = (layout.num_locations, *spec.item_shape(num_seasons, layout.patch_size_px))
        values = random.integers(low, high, shape).astype(spec.dtype)
        values[random.random(shape) < 0.02] = spec.no_data
        for row in refused_rows(layout):
            values[row] = spec.no_data
        pixels[spec.name] = values
    return pixels


def refused_rows(layout: StoreLayout) -> dict[int, Status]:
    return {row: status for row, status in REFUSED_ROWS.items() if row < layout.num_locations}


def made_up_rows(layout: StoreLayout) -> dict[str, np.ndarray]:
    """The small arrays."""
    position = np.arange(layout.num_locations)
    status = np.zeros(layout.num_locations, np.uint8)
    for row, refused in refused_rows(layout).items():
        status[row] = refused
    times = FIRST_TIME + position[:, None] * 86_400 + np.arange(len(layout.season_names)) * 7_776_000
    times[status != Status.KEPT] = NO_TIME
    return {
        "id": 100 + 7 * position,
        "status": status,
        "split": np.resize(np.array(SPLIT_OF_ROW, np.uint8), layout.num_locations),
        "crs_epsg": np.where(position % 2, 32_733, 32_632).astype(np.int32),
        "x_ul": 600_000 + 60 * position,
        "y_ul": 5_000_040 - 60 * position,
        "time_s2": times,
        "time_s1": np.where(times == NO_TIME, NO_TIME, times + 3_600),
        "window": np.tile(np.array([0, layout.patch_size_px] * 2, np.int32), (layout.num_locations, 1)),
    }


def write_shards(
    store: Path, layout: StoreLayout, pixels: dict[str, np.ndarray], *, backwards: bool = False
) -> None:
    """Write all shards, in one order or the other."""
    jobs = [(spec, shard) for spec in layout.specs for shard in range(layout.num_shards)]
    for spec, shard in reversed(jobs) if backwards else jobs:
        rows = layout.rows_of(shard)
        write_shard(store, spec, shard=shard, items=pixels[spec.name][rows.start : rows.stop])


def write_data_set(
    root: Path,
    *,
    layout: StoreLayout = LAYOUT,
    backwards: bool = False,
    attributes: dict[str, object] | None = None,
    change: Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], None] | None = None,
) -> DataSet:
    """Write store, index, manifest and run record to a folder; `change` may alter pixels and rows before."""
    data_set = DataSet(root, layout, made_up_pixels(layout), made_up_rows(layout))
    if change is not None:
        change(data_set.pixels, data_set.rows)
    create_store(
        data_set.store,
        layout,
        attributes={"subset": "nol", "synthetic": True, "license": "CC0-1.0", **(attributes or {})},
    )
    write_shards(data_set.store, layout, data_set.pixels, backwards=backwards)
    write_rows(data_set.store, data_set.rows)
    write_index(data_set)
    write_manifest(root / "nol.json", made_up_manifest(data_set))
    write_run_report(root / "nol.run.json", RunReport(requests=RequestCounts(metadata=1, pixels=10)))
    return data_set


def class_counts(data_set: DataSet) -> np.ndarray:
    """(location, season, class) pixels of Dynamic World."""
    labels = data_set.pixels["dynamic_world_10m"]
    return np.stack([(labels == one).sum(axis=(2, 3)) for one in range(NUM_DYNAMIC_WORLD_CLASSES)], axis=-1)


def made_up_manifest(data_set: DataSet) -> Manifest:
    layout, status = data_set.layout, data_set.rows["status"]
    counts = class_counts(data_set)[data_set.kept].sum(axis=0)
    splits = data_set.rows["split"][data_set.kept]
    return Manifest(
        format_version=1,
        subset="nol",
        name="made_up",
        synthetic=True,
        config={"name": "made_up"},
        config_digest="0" * 64,
        patch_size_px=layout.patch_size_px,
        seasons=tuple(
            SeasonRecord(name=name, date=dt.date(2020, 1 + 3 * position, 15), window_days=45)
            for position, name in enumerate(layout.season_names)
        ),
        products=PRODUCTS,
        arrays=tuple(ArrayRecord.of(spec, layout) for spec in layout.specs),
        legends={"dynamic_world": LegendRecord.of(DYNAMIC_WORLD)},
        statistics={spec.name: _statistics(spec, data_set) for spec in layout.specs if not spec.is_label},
        class_counts={
            "dynamic_world_10m": {
                name: tuple(counts[season].tolist()) for season, name in enumerate(layout.season_names)
            }
        },
        class_shares=dict(
            zip(DYNAMIC_WORLD.classes, (counts.sum(axis=0) / counts.sum()).tolist(), strict=True)
        ),
        locations_kept=len(data_set.kept),
        locations_tried=layout.num_locations,
        status_counts={one.name.lower(): int((status == one).sum()) for one in Status},
        split_counts={name: int((splits == code).sum()) for code, name in enumerate(SPLITS)},
        sources=(
            SourceRecord(product="s2_l1c", collection="MADE/UP", licence="CC0-1.0", attribution="Made up."),
        ),
        locations_per_shard=layout.locations_per_shard,
        codec=layout.codec,
        files={"store": "nol.zarr", "index": "nol.parquet", "run": "nol.run.json"},
    )


def _statistics(spec: ArraySpec, data_set: DataSet) -> tuple[BandStatistics, ...]:
    values = np.moveaxis(data_set.pixels[spec.name][data_set.kept], 2, 0).reshape(len(spec.bands), -1)
    found = [band[band != spec.no_data] for band in values]
    return tuple(
        BandStatistics(
            band=name,
            count=len(band),
            no_data_share=1 - len(band) / values.shape[1],
            mean=float(band.mean()),
            std=float(band.std()),
            minimum=int(band.min()),
            maximum=int(band.max()),
        )
        for name, band in zip(spec.bands, found, strict=True)
    )


def write_index(data_set: DataSet, *, changed: dict[str, list[object]] | None = None) -> None:
    """Write `nol.parquet`; `changed` replaces columns, to plant a fault."""
    import pyarrow as pa
    import pyarrow.parquet

    from noldo.index import index_schema

    columns = _location_columns(data_set) | _season_columns(data_set) | (changed or {})
    pa.parquet.write_table(pa.table(columns, schema=index_schema()), data_set.root / "nol.parquet")


def _location_columns(data_set: DataSet) -> dict[str, list[object]]:
    import shapely

    rows, layout = data_set.rows, data_set.layout
    position = range(layout.num_locations)
    return {
        **{name: rows[name].tolist() for name in ("id", "crs_epsg", "x_ul", "y_ul")},
        "status": [Status(code).name.lower() for code in rows["status"]],
        "reason": ["" if code == Status.KEPT else "made up" for code in rows["status"]],
        "split": [SPLITS[code] for code in rows["split"]],
        "place": [f"Place {row}" for row in position],
        "lon": [9.0 + row for row in position],
        "lat": [45.0 + row for row in position],
        "transform": [
            [10.0, 0.0, float(x), 0.0, -10.0, float(y)]
            for x, y in zip(rows["x_ul"], rows["y_ul"], strict=True)
        ],
        "shard": [row // layout.locations_per_shard for row in position],
        "row": list(position),
        "geometry": [shapely.box(9.0 + row, 45.0 + row, 9.1 + row, 45.1 + row).wkb for row in position],
    }


def _season_columns(data_set: DataSet) -> dict[str, list[object]]:
    """Lists a season for kept rows; null for the others."""
    num_seasons = len(data_set.layout.season_names)
    kept = set(data_set.kept.tolist())
    constant: dict[str, object] = {
        "scene_s2_l1c": "L1C",
        "scene_s2_l2a": "L2A",
        "scene_dynamic_world": "DW",
        "scene_s1_grd": "S1",
        "cloud_percent": 3.5,
        "coverage_s2": 1.0,
        "coverage_s1": 1.0,
        "label_share": 0.98,
        "rank": 0,
        "tile": "32TPT",
        "baseline": "04.00",
        "offset_removed": True,
        "off_zone": False,
        "off_lattice": False,
        "orbit_pass": "ASCENDING",
        "relative_orbit": 15,
        "choice_reason": "closest",
    }
    counts = class_counts(data_set).tolist()
    columns: dict[str, list[object]] = {
        name: [[value] * num_seasons if row in kept else None for row in range(data_set.layout.num_locations)]
        for name, value in constant.items()
    }
    columns["class_counts"] = [counts[row] if row in kept else None for row in range(len(counts))]
    for name in ("time_s2", "time_s1"):
        times = data_set.rows[name].tolist()
        columns[name] = [
            [dt.datetime.fromtimestamp(time, dt.UTC) for time in times[row]] if row in kept else None
            for row in range(len(times))
        ]
    return columns


def small_layout(**changes: object) -> StoreLayout:
    """The layout above with some fields replaced."""
    return replace(LAYOUT, **changes)


def first_chunk_of(data_set: DataSet, name: str, *, shard: int = 0) -> tuple[Path, int]:
    """A shard file and the length of its index."""
    from noldo.store import shard_path

    spec = data_set.layout.spec(name)
    return shard_path(data_set.store, spec, shard), grid_of(spec, data_set.layout).index_bytes
