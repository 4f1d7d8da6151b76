"""Bytes on disk of the same pixels: our store, the authors' LMDBs, and zips in the manner of SSL4EO-S12 v1.1.

    NOLDO_REAL_DATA=FOLDER python -m benchmarks.sizes
    python -m benchmarks.sizes --made-up [--locations 16]

Real images are read in place (`benchmarks.real_pixels`); what is written lies in a temporary folder and is deleted. Nothing is resampled: bands of
20 and 60 m that were published on 10 m are stored at their own resolution by taking the upper left pixel of each 2 x 2 or 6 x 6, after
it was checked that all pixels of such a block are alike.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import Blosc

from benchmarks import made_up_store, real_pixels
from benchmarks.page_cache import files_of
from benchmarks.peers.cromss import record_bytes, write_lmdbs
from benchmarks.peers.locations import Location, location_of, on_fine_grid
from benchmarks.peers.ssl4eo_zip import write_zips
from benchmarks.records import headline, keep, machine, table, versions
from noldo.errors import InputError, NoldoError
from noldo.products import DB_PER_STEP, S1_BANDS, ArraySpec, array_specs
from noldo.quantization import SSL4EO_UINT8, band_ranges, dequantize, quantize
from noldo.reader import StoreReader
from noldo.store import StoreLayout, create_store, write_shard

PACKAGES = ("numpy", "numcodecs", "zarr", "lmdb", "rasterio")
STORE, LMDB, ZIP = "our store", "authors' LMDB of uint8", "zip like v1.1"
ZIP_OURS = "zip like v1.1, with our compressor"
TARGETS = {"T7 our store / authors' LMDB": 0.65, "T7 our store / zip like v1.1": 0.70}


@dataclass(frozen=True)
class PixelSet:
    """Locations of one size and product."""

    name: str
    locations: Sequence[Location]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--made-up", action="store_true", help="pixels of benchmarks.made_up_store")
    parser.add_argument("--locations", type=int, default=16, help="made-up ones")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            sets = made_up(Path(scratch), arguments.locations) if arguments.made_up else real()
            record = compare(sets, Path(scratch))
        except NoldoError as error:
            sys.exit(f"benchmarks.sizes: {error}")
    record["command"] = "python -m benchmarks.sizes" + (
        f" --made-up --locations {arguments.locations}" if arguments.made_up else ""
    )
    text = page(record)
    print(text)
    print(keep(record, text, name="sizes-made-up" if arguments.made_up else "sizes"), file=sys.stderr)


def real() -> list[PixelSet]:
    root = real_pixels.folder()
    return [
        PixelSet("TerraMesh: L1C, S1 and labels", real_pixels.terramesh(root)),
        PixelSet("BigEarthNet: L2A and S1", real_pixels.bigearthnet(root)),
    ]


def made_up(scratch: Path, num_locations: int, *, patch_size_px: int = 264) -> list[PixelSet]:
    path = scratch / "made-up.zarr"
    made_up_store.write(path, made_up_store.layout_of(num_locations, patch_size_px=patch_size_px))
    reader = StoreReader.open(path)
    return [
        PixelSet("made up: L1C, S1 and labels", [location_of(reader, row) for row in range(num_locations)])
    ]


def compare(sets: Sequence[PixelSet], scratch: Path) -> dict[str, Any]:
    found = {one.name: _sizes(one.locations, scratch / str(number)) for number, one in enumerate(sets)}
    total = {
        way: sum(sizes["bytes"][way] for sizes in found.values()) for way in (STORE, LMDB, ZIP, ZIP_OURS)
    }
    return {
        **machine(),
        "packages": versions(PACKAGES),
        "sets": found,
        "ratios": {
            "T7 our store / authors' LMDB": total[STORE] / total[LMDB],
            "T7 our store / zip like v1.1": total[STORE] / total[ZIP],
            "our store / zip like v1.1, with our compressor": total[STORE] / total[ZIP_OURS],
        },
    }


def _sizes(locations: Sequence[Location], folder: Path) -> dict[str, Any]:
    store = folder / "nol.zarr"
    layout = layout_of(locations)
    write_store(store, layout, locations)
    radar_error_db = check_lossless(StoreReader.open(store), locations)
    write_lmdbs(folder / "lmdb", locations)
    ours = Blosc(cname="zstd", clevel=5, shuffle=Blosc.SHUFFLE)
    zips = {
        ZIP: write_zips(folder / "zip", locations),
        ZIP_OURS: write_zips(folder / "zstd", locations, compressor=ours),
    }
    pixels = [path for spec in layout.specs for path in files_of(store / spec.name / "c")]
    return {
        "locations": len(locations),
        "seasons": len(locations[0].optical),
        "side_px": layout.patch_size_px,
        "bytes": {
            STORE: _bytes(pixels),
            LMDB: record_bytes(folder / "lmdb"),
            **{name: _bytes(paths) for name, paths in zips.items()},
        },
        "metadata_bytes": _bytes(files_of(store)) - _bytes(pixels),
        "radar_error_db": radar_error_db,
        "lmdb_error": lmdb_error(locations),
    }


def _bytes(paths: Any) -> int:
    return sum(path.stat().st_size for path in paths)


def layout_of(locations: Sequence[Location]) -> StoreLayout:
    """The store that a build would make of them, in one shard."""
    first = locations[0]
    products = {first.product: first.bands, "s1_grd": S1_BANDS}
    if first.labels is not None:
        products["dynamic_world"] = ("label",)
    return StoreLayout(
        specs=array_specs(products),
        num_locations=len(locations),
        season_names=tuple(f"season{number}" for number in range(len(first.optical))),
        patch_size_px=first.optical.shape[-1],
        locations_per_shard=min(64, len(locations)),
        codec="small",
    )


def write_store(path: Path, layout: StoreLayout, locations: Sequence[Location]) -> None:
    create_store(path, layout, attributes={"title": "bytes of the same pixels"})
    for spec in layout.specs:
        for shard in range(layout.num_shards):
            items = np.stack([_stored(locations[row], spec) for row in layout.rows_of(shard)])
            write_shard(path, spec, shard=shard, items=items)


def _stored(location: Location, spec: ArraySpec) -> np.ndarray:
    """(season, band?, y, x) as this array holds it.

    Raises
    ------
    InputError
        If a coarse band is not made of blocks of equal pixels, so that its native grid would lose something.
    """
    if spec.product == "s1_grd":
        return np.rint(location.radar_db / DB_PER_STEP).astype(np.int16)
    if spec.is_label:
        assert location.labels is not None
        return location.labels
    fine = location.optical[:, [location.bands.index(band) for band in spec.bands]]
    step = spec.resolution_m // 10
    native = fine[..., ::step, ::step]
    if not np.array_equal(on_fine_grid(native, spec.resolution_m), fine):
        raise InputError(
            f"{spec.name}: bands on 10 m are no copies of pixels of {spec.resolution_m} m; these images can't be "
            "compared at native resolution"
        )
    return native


def check_lossless(reader: StoreReader, locations: Sequence[Location]) -> float:
    """Compare what the store gives back with the pixels it was made of: equal, and radar to the largest error in dB, which is returned."""
    worst = 0.0
    for row, location in enumerate(locations):
        for spec in reader.layout.specs:
            pixels = reader.pixels(spec, row=row, seasons=range(len(location.optical)))
            if spec.product == "s1_grd":
                worst = max(worst, float(np.abs(pixels * DB_PER_STEP - location.radar_db).max()))
            else:
                np.testing.assert_array_equal(pixels, _stored(location, spec))
    assert worst <= DB_PER_STEP / 2 + 1e-5, f"radar is off by {worst} dB"
    return worst


def lmdb_error(locations: Sequence[Location]) -> dict[str, float]:
    """What bytes lose: root mean square of the error of reflectance x 10,000, and share of its values that were clipped."""
    ranges = band_ranges(SSL4EO_UINT8, product=locations[0].product, bands=locations[0].bands)
    squares, clipped = [], []
    for location in locations:
        stored = quantize(location.optical, ranges)
        squares.append(np.mean((dequantize(stored, ranges) - location.optical.astype(np.float64)) ** 2))
        clipped.append(np.mean((stored == 0) | (stored == 255)))
    return {"rms": float(np.sqrt(np.mean(squares))), "clipped": float(np.mean(clipped))}


def page(record: dict[str, Any]) -> str:
    goals = [
        [name, f"{value:.3f}", f"<= {TARGETS[name]:.2f}" if name in TARGETS else "none"]
        for name, value in record["ratios"].items()
    ]
    text = (
        headline(record, title="Bytes on disk")
        + ".\n\nPixels only: shards with their indexes, pages of the LMDBs that hold records, zips without coordinates. Our store is without loss, but for radar, which is "
        "rounded to 0.01 dB; the LMDBs keep a byte a value. Bands of 20 and 60 m are at their own resolution in our store, and repeated to 10 m in the others; "
        "they were published as exact copies, or at their own resolution, which the benchmark checks. Real images have one season: labels of four in one "
        "chunk would compress better.\n\n" + table(["bytes, all images together", "found", "goal"], goals)
    )
    for name, one in record["sets"].items():
        count = one["locations"] * one["seasons"]
        error = one["lmdb_error"]
        rows = [
            [way, f"{size / count / 1e3:,.1f}", f"{one['bytes'][STORE] / size:.3f}"]
            for way, size in one["bytes"].items()
        ]
        text += (
            f"\n## {name}\n\n{one['locations']} locations of {one['seasons']} season(s), {one['side_px']} px.\n\n"
            + table(["way", "kB a season", "our store / this"], rows)
            + f"\nRadar in our store is off by at most {one['radar_error_db']:.4f} dB. Reflectance in the LMDB is off by {error['rms']:,.0f} of 10,000 "
            f"(root mean square), and {error['clipped']:.1%} of its values are at an end of the range. Metadata of our store, whatever its size: "
            f"{one['metadata_bytes'] / 1e3:,.0f} kB.\n"
        )
    return text


if __name__ == "__main__":
    main()
