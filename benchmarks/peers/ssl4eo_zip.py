"""Zips in the manner of SSL4EO-S12 v1.1: a Zarr v2 group, every band on the grid of 10 m, a chunk a sample and season.

Known, and done so: int16 reflectance with coarse bands repeated, Sentinel-1 as float16 dB, Blosc as Zarr v2 has it by default (lz4, level 5,
byte shuffle), one zip a product. Labels are not in v1.1; they lie here as its cloud mask does, uint8 and a season a chunk. Coordinates, times and
names are left out.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zarr
from numcodecs import Blosc

from benchmarks.peers.locations import Location

DEFAULT = Blosc()
"""lz4, level 5, byte shuffle."""


def write_zips(folder: Path, locations: Sequence[Location], *, compressor: Blosc = DEFAULT) -> list[Path]:
    """One zip each of optical bands, radar and labels (if there are any), all of the same locations; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [
        _write(folder / "optical.zarr.zip", [one.optical.astype(np.int16) for one in locations], compressor),
        _write(folder / "radar.zarr.zip", [one.radar_db.astype(np.float16) for one in locations], compressor),
    ]
    labels = [one.labels for one in locations if one.labels is not None]
    return [*found, _write(folder / "labels.zarr.zip", labels, compressor)] if labels else found


def _write(path: Path, items: Sequence[np.ndarray], compressor: Blosc) -> Path:
    store = zarr.storage.ZipStore(path, mode="w")
    array = zarr.create_array(
        store,
        name="bands",
        shape=(len(items), *items[0].shape),
        chunks=(1, 1, *items[0].shape[1:]),
        dtype=items[0].dtype,
        compressors=compressor,
        zarr_format=2,
    )
    for position, item in enumerate(items):
        array[position] = item
    store.close()
    return path


def optical_of(path: Path, position: int) -> np.ndarray:
    """(season, band, y, x) of one sample, to see that nothing was lost."""
    store = zarr.storage.ZipStore(path, mode="r")
    values = np.asarray(zarr.open_array(store, path="bands", mode="r")[position])
    store.close()
    return values
