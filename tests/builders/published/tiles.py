"""Tiles of NoLDO-S12 and patches of DFC2020 in their published layouts, small."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.builders.published.geotiffs import UTM, write_tif

SIDE_PX = 24
NAMES = {
    "train": (
        "-0.0520777954_32.9493499204-20190816",
        "10.5000000000_47.8000000000-20180301",
        "9.1_45.2-20190505",
    ),
    "test": ("-0p6481384406_6p8231873947-20190226",),
}
WRONG = ("EPSG:3857", (2.0, 0.0, 1_168_000.0, 0.0, -2.0, 6_070_000.0))
"""Place of the published OpenStreetMap labels."""


@dataclass(frozen=True)
class PublishedTiles:
    """What was written."""

    root: Path
    arrays: dict[tuple[str, str], np.ndarray] = field(default_factory=dict, repr=False)
    """(name, kind) to what the file holds."""
    paths: dict[tuple[str, str], Path] = field(default_factory=dict, repr=False)


def write_noldo_tiles(root: Path, *, osm: bool = False) -> PublishedTiles:
    """Tiles of @DW or @OSM; those of training are two pixels smaller."""
    found = PublishedTiles(root)
    generator = np.random.default_rng(0)
    subset = "osm" if osm else "dw"
    for split, names in NAMES.items():
        side = SIDE_PX - 2 if split == "train" else SIDE_PX
        for number, name in enumerate(names):
            folder = root / "data_s12" / f"{subset}_{split}"
            transform = (10.0, 0.0, 600_000.0 + 10_000 * number, 0.0, -10.0, 5_300_040.0)
            arrays = {
                "image_s1/s1": generator.uniform(-30, 5, (2, side, side)).astype(np.float32),
                "image_s2/s2": generator.integers(0, 12_000, (13, side, side)).astype(np.int16),
                "label_dw/dw": generator.integers(0, 11, (side, side)).astype(np.uint8),
            }
            if osm:
                arrays["label_osm/osm"] = generator.integers(0, 14, (side, side)).astype(np.uint8)
            for start, array in arrays.items():
                kind = start.split("/")[1]
                found.arrays[name, kind] = array
                path = found.paths[name, kind] = folder / f"{start}_{name}.tif"
                crs, place = WRONG if kind == "osm" else (UTM[0], transform)
                if kind == "dw" and split == "test":
                    model = generator.integers(0, 9, (side, side)).astype(np.uint8)
                    write_tif(
                        path, np.stack([model, array]), crs=crs, transform=place, bands=("label", "lulc")
                    )
                else:
                    write_tif(path, array, crs=crs, transform=place)
    return found


def write_dfc2020(root: Path, *, numbers: Sequence[int] = (0, 2, 10), flat: bool = False) -> PublishedTiles:
    """Patches of both splits."""
    found = PublishedTiles(root)
    generator = np.random.default_rng(0)
    for split in ("validation", "test"):
        for number in numbers:
            arrays = {
                "s1": generator.uniform(-30, 5, (2, SIDE_PX, SIDE_PX)).astype(
                    np.float64 if number else np.float32
                ),
                "s2": generator.integers(0, 12_000, (13, SIDE_PX, SIDE_PX)).astype(np.uint16),
                "dfc": generator.integers(1, 11, (SIDE_PX, SIDE_PX)).astype(np.uint8),
            }
            for kind, array in arrays.items():
                name = f"{split} {number}"
                found.arrays[name, kind] = array
                folder = root if flat else root / f"ROIs0000_{split}" / f"{kind}_0"
                path = found.paths[name, kind] = folder / f"ROIs0000_{split}_{kind}_0_p{number}.tif"
                transform = (10.0, 0.0, 600_000.0 + 10_000 * number, 0.0, -10.0, 5_300_040.0)
                write_tif(path, array, transform=transform)
    return found
