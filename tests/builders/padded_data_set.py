"""A finished subset @DW of made-up tiles: one season, imagery padded to the patch, labels of fewer rows, one tile nowhere."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noldo.manifest import write_manifest
from noldo.products import array_specs
from noldo.store import StoreLayout, create_store, write_rows
from tests.noldo.made_up_data_set import (
    DataSet,
    made_up_manifest,
    made_up_pixels,
    made_up_rows,
    write_index,
    write_shards,
)

LAYOUT = StoreLayout(
    specs=array_specs(
        {
            "s2_l1c": ("B2", "B5", "B1"),
            "s1_grd": ("VV", "VH"),
            "dynamic_world": ("label",),
            "expert": ("label",),
        }
    ),
    num_locations=5,
    season_names=("label_date",),
    patch_size_px=24,
    locations_per_shard=2,
    codec="small",
)

WINDOWS = ((0, 13, 0, 10), (0, 24, 0, 24), (0, 12, 0, 12), (0, 0, 0, 0), (0, 5, 0, 7))
SIDES = (18, 24, 12, 0, 12)
"""Of the valid squares; row 3 was not kept."""

NOWHERE_ROW = 2


@dataclass(frozen=True)
class Padded:
    """A subset that is not `nol`."""

    root: Path
    pixels: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]

    @property
    def store(self) -> Path:
        return self.root / "dw.zarr"


def write_padded_data_set(root: Path) -> Padded:
    """Write store, index, manifest."""
    pixels, rows = made_up_pixels(LAYOUT), made_up_rows(LAYOUT)
    rows["window"] = np.array(WINDOWS, np.int32)
    for name in ("crs_epsg", "x_ul", "y_ul"):
        rows[name] = rows[name].copy()
        rows[name][NOWHERE_ROW] = 0
    for spec in LAYOUT.specs:
        for row, side in enumerate(SIDES):
            edge = spec.side_px(side)
            pixels[spec.name][row, ..., edge:, :] = spec.no_data
            pixels[spec.name][row, ..., :, edge:] = spec.no_data
    for row, (_, bottom, _, right) in enumerate(WINDOWS):
        pixels["expert_10m"][row, ..., bottom:, :] = 255
        pixels["expert_10m"][row, ..., :, right:] = 255
    data_set = DataSet(root, LAYOUT, pixels, rows)
    store = root / "dw.zarr"
    create_store(store, LAYOUT, attributes={"subset": "dw", "synthetic": True, "license": "CC0-1.0"})
    write_shards(store, LAYOUT, pixels)
    write_rows(store, rows)
    _write_index(data_set)
    manifest = made_up_manifest(data_set)
    # Each location has a date of its own.
    seasons = tuple(season.model_copy(update={"date": None}) for season in manifest.seasons)
    write_manifest(root / "dw.json", manifest.model_copy(update={"subset": "dw", "seasons": seasons}))
    return Padded(root, pixels, rows)


def _write_index(data_set: DataSet) -> None:
    rows = data_set.rows
    transform = [
        [10.0, 0.0, float(x), 0.0, -10.0, float(y)] if epsg else None
        for epsg, x, y in zip(rows["crs_epsg"], rows["x_ul"], rows["y_ul"], strict=True)
    ]
    places = ["Place 0", "", "", "", "Place 4"]
    write_index(data_set, changed={"transform": transform, "place": places})
    (data_set.root / "nol.parquet").rename(data_set.root / "dw.parquet")
