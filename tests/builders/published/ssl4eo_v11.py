"""SSL4EO-S12 v1.1 in its published layout, small: patches of 24 px, five samples a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zarr
from numcodecs import Blosc

from noldo.products import S1_BANDS, S2_L1C_BANDS, S2_L2A_BANDS, S2_RESOLUTION_M

SIDE_PX = 24
FOLDERS = {"s2_l1c": "S2L1C", "s2_l2a": "S2L2A", "s1_grd": "S1GRD"}
BANDS = {"s2_l1c": S2_L1C_BANDS, "s2_l2a": S2_L2A_BANDS, "s1_grd": S1_BANDS}
FILES = {
    "train": {"000001": ("0000173", "0000012"), "000002": ("0080717", "0060573", "0179869")},
    "val": {"000001": ("0012333",)},
}
TIMES = np.array(
    ["2020-03-02T10:36:29", "2020-06-12T10:36:29", "2020-09-10T10:36:29", "2020-12-05T10:36:29"], "M8[ns]"
)


@dataclass(frozen=True)
class PublishedV11:
    """What was written."""

    root: Path
    values: dict[tuple[str, str], np.ndarray] = field(default_factory=dict, repr=False)
    """(product, sample) to (season, band, y, x)."""

    def zip(self, product: str, split: str = "train", number: str = "000001") -> Path:
        """One file."""
        return self.root / split / FOLDERS[product] / f"ssl4eos12_{split}_seasonal_data_{number}.zarr.zip"


def write_ssl4eo_v11(
    root: Path,
    *,
    products: Sequence[str] = tuple(FOLDERS),
    offset: int = 0,
    resampled: bool = False,
    chunk_samples: int = 1,
    zarr_format: int = 2,
    renamed: Mapping[str, str] | None = None,
) -> PublishedV11:
    """Write all files; pixels are random, but coarse bands are copies unless `resampled`."""
    found = PublishedV11(root)
    generator = np.random.default_rng(0)
    for split, files in FILES.items():
        for number, samples in files.items():
            for product in products:
                values = np.stack([_pixels(product, generator, resampled=resampled) for _ in samples])
                if product != "s1_grd":
                    values = (values + offset).astype(np.int16)
                for name, one in zip(samples, values, strict=True):
                    found.values[product, name] = one
                path = found.zip(product, split, number)
                write_zip(
                    path,
                    product,
                    samples,
                    values,
                    chunk_samples=chunk_samples,
                    zarr_format=zarr_format,
                    renamed=renamed,
                )
    return found


def _pixels(product: str, generator: np.random.Generator, *, resampled: bool) -> np.ndarray:
    """(season, band, y, x)."""
    planes = []
    for band in BANDS[product]:
        factor = 1 if resampled else S2_RESOLUTION_M.get(band, 10) // 10
        side = SIDE_PX // factor
        if product == "s1_grd":
            coarse = generator.uniform(-30, 5, (4, side, side)).astype(np.float16)
        else:
            coarse = generator.integers(10, 80 if band == "B10" else 12_000, (4, side, side)).astype(np.int16)
        planes.append(coarse.repeat(factor, 1).repeat(factor, 2))
    return np.stack(planes, axis=1)


def write_zip(
    path: Path,
    product: str,
    samples: Sequence[str],
    values: np.ndarray,
    *,
    chunk_samples: int = 1,
    zarr_format: int = 2,
    renamed: Mapping[str, str] | None = None,
    left_out: Sequence[str] = (),
) -> None:
    """Write one file: `values` (sample, season, band, y, x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    store = zarr.storage.ZipStore(path, mode="w")
    group = zarr.open_group(store, mode="w", zarr_format=zarr_format)
    arrays = _variables(product, samples, values)
    for name, (array, dimensions) in arrays.items():
        if name in left_out:
            continue
        own = (renamed or {}).get(name, name)
        chunks = (chunk_samples, 1, *values.shape[2:]) if name == "bands" else array.shape
        packed = {"compressors": Blosc()} if zarr_format == 2 else {}
        attributes: dict[str, object] = {"_ARRAY_DIMENSIONS": dimensions}
        if array.dtype.kind == "i" and name == "time_":
            attributes |= {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}
        group.create_array(own, data=array, chunks=chunks, attributes=attributes, **packed)
    store.close()


def _variables(
    product: str, samples: Sequence[str], values: np.ndarray
) -> dict[str, tuple[np.ndarray, list[str]]]:
    count = len(samples)
    corners = np.array([600_000 + 10 * int(name) for name in samples], np.float64)[:, None]
    bands = [
        name.lower() if product == "s1_grd" else f"B{int(name[1:]):02d}" if name != "B8A" else name
        for name in BANDS[product]
    ]
    times = np.tile(TIMES, (count, 1))
    seconds = times.astype("M8[s]").astype(np.int64)
    stamps = [str(one).replace("-", "").replace(":", "") for one in TIMES.astype("M8[s]")]
    if product == "s1_grd":
        scenes = [f"S1B_IW_GRDH_1SDV_{one}_{one}_032918_03D02A_0D7F" for one in stamps]
    else:
        scenes = [f"{one}_{one}_T51TXG" for one in stamps]
    return {
        "bands": (values, ["sample", "time", "band", "y", "x"]),
        "band": (np.array(bands), ["band"]),
        "sample": (np.array(samples), ["sample"]),
        "time": (np.arange(4), ["time"]),
        "time_": (seconds if product == "s1_grd" else times, ["sample", "time"]),
        "file_id": (np.tile(np.array(scenes), (count, 1)), ["sample", "time"]),
        "center_lon": (np.full(count, 10.5), ["sample"]),
        "center_lat": (np.full(count, 47.8), ["sample"]),
        "crs": (np.full(count, 32632), ["sample"]),
        "x_": (corners + 5 + 10 * np.arange(SIDE_PX), ["sample", "x"]),
        "y_": (np.tile(5_300_035.0 - 10 * np.arange(SIDE_PX), (count, 1)), ["sample", "y"]),
        "cloud_mask": (np.zeros((count, 4, SIDE_PX, SIDE_PX), np.uint8), ["sample", "time", "y", "x"]),
    }
