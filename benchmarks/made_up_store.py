"""A store whose pixels compress as real ones do: what reading costs is then what it costs on real data.

Smooth fields with noise of a width that makes 1 byte of about 1.6 of Sentinel-2 and of Sentinel-1, as measured on real scenes;
labels are large areas, the same in most seasons.
"""

from pathlib import Path

import numpy as np

from noldo.products import NUM_DYNAMIC_WORLD_CLASSES, S2_L1C_BANDS, ArraySpec, array_specs
from noldo.store import StoreLayout, create_store, write_rows, write_shard

SEASONS = ("winter", "spring", "summer", "autumn")
PRODUCTS = {"s2_l1c": S2_L1C_BANDS, "s1_grd": ("VV", "VH"), "dynamic_world": ("label",)}
NUM_CLASSES = NUM_DYNAMIC_WORLD_CLASSES
NOISE = {"uint16": 40.0, "int16": 60.0}
"""Standard deviation in stored steps."""


def layout_of(
    num_locations: int, *, codec: str = "small", locations_per_shard: int = 64, patch_size_px: int = 264
) -> StoreLayout:
    return StoreLayout(
        specs=array_specs(PRODUCTS),
        num_locations=num_locations,
        season_names=SEASONS,
        patch_size_px=patch_size_px,
        locations_per_shard=locations_per_shard,
        codec=codec,
    )


def write(path: Path, layout: StoreLayout, *, seed: int = 0) -> None:
    create_store(path, layout, attributes={"title": "made up", "synthetic": True})
    for position, spec in enumerate(layout.specs):
        for shard in range(layout.num_shards):
            random = np.random.default_rng([seed, position, shard])
            items = np.stack([item(spec, layout, random) for _ in layout.rows_of(shard)])
            write_shard(path, spec, shard=shard, items=items)
    write_rows(path, _rows(layout))


def item(spec: ArraySpec, layout: StoreLayout, random: np.random.Generator) -> np.ndarray:
    shape = spec.item_shape(len(layout.season_names), layout.patch_size_px)
    side = shape[-1]
    coarse = max(2, side // 33)
    fields = random.normal(size=(*shape[:-2], coarse, coarse))
    weights = _weights(coarse, side)
    smooth = weights @ fields @ weights.T
    if spec.is_label:
        areas = np.digitize(smooth[:1], [-1.0, -0.4, 0.0, 0.4, 1.0])
        return np.broadcast_to(areas, shape).astype(spec.dtype)
    level, width = (-1200, 300) if spec.dtype == "int16" else (2000, 600)
    values = level + width * smooth + NOISE[spec.dtype] * random.normal(size=shape)
    return np.clip(np.rint(values), -4000 if spec.dtype == "int16" else 0, 20_000).astype(spec.dtype)


def _weights(coarse: int, side: int) -> np.ndarray:
    """(fine, coarse) of linear interpolation from corner to corner, as scipy's `zoom` of order 1; a node with a GPU may lack it."""
    places = np.linspace(0, coarse - 1, side)
    weights: np.ndarray = np.clip(1 - np.abs(places[:, None] - np.arange(coarse)), 0, None)
    return weights


def _rows(layout: StoreLayout) -> dict[str, np.ndarray]:
    position = np.arange(layout.num_locations)
    times = 1_600_000_000 + position[:, None] * 86_400 + np.arange(len(layout.season_names)) * 7_776_000
    return {
        "id": position,
        "status": np.zeros(layout.num_locations, np.uint8),
        "split": np.zeros(layout.num_locations, np.uint8),
        "crs_epsg": np.full(layout.num_locations, 32_632, np.int32),
        "x_ul": 600_000 + 2_640 * position,
        "y_ul": np.full(layout.num_locations, 5_000_040),
        "time_s2": times,
        "time_s1": times + 3_600,
        "window": np.tile(np.array([0, layout.patch_size_px] * 2, np.int32), (layout.num_locations, 1)),
    }
