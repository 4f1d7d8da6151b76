"""A whole source in a few lines, with a fault to plant: what `check-source` must find, without a server."""

import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from builders.config import BuildConfig
from builders.metadata import reference_date, s2_window
from builders.pixel_reader import PixelReader
from builders.raw_requests import RawSource
from builders.records import (
    COLLECTIONS,
    DYNAMIC_WORLD,
    S1_GRD,
    S2_L1C,
    S2_L2A,
    Location,
    Scene,
    SeasonChoice,
)
from builders.request_size import LIMIT_BYTES
from builders.stack import Layer
from noldo.errors import RequestTooLargeError
from noldo.grids import Grid
from noldo.products import S2_RESOLUTION_M

TILE_M = 109_800
PROFILE = (
    " EECU.s PeakMem  Count  Description\n  0.250    2.7M      1  Loading\n  1.5      -        3  Plumbing\n"
)


class FakeRawSource:
    """Every location has one clear acquisition a season, on a tile of its own. Override a method to plant a fault."""

    restricted = False
    profile = PROFILE
    limit_bytes = LIMIT_BYTES

    def __init__(self, config: BuildConfig) -> None:
        self.config = config
        self.places: dict[str, Location] = {}
        self._reader = PixelReader(config, lambda layers, grid, kind: self.stack(layers, grid))

    def search(self, locations: Sequence[Location]) -> list[Scene]:
        return [
            scene
            for place in locations
            for season in range(len(self.config.seasons))
            for scene in self.scenes(place, season)
        ]

    def scenes(self, place: Location, season: int) -> list[Scene]:
        index = f"{place.id}-{season}"
        wanted = self.config.seasons[season]
        time_ms = s2_window(wanted, reference_date(wanted, place)).reference_ms
        is_last = season == len(self.config.seasons) - 1
        self.places |= {index: place, f"S1-{index}": place}
        optical = {
            "covers": True,
            "crs_epsg": place.grid.crs_epsg,
            "tile": "32TMT",
            "cloud_percent": 3.0,
            "baseline": "04.00" if is_last else "03.01",
            "offset_removed": is_last,
        }
        twins = [
            Scene(place.id, season, product, index, time_ms, **optical)
            for product in (S2_L1C, S2_L2A, DYNAMIC_WORLD)
        ]
        radar = Scene(
            location_id=place.id,
            season=season,
            product=S1_GRD,
            index=f"S1-{index}",
            time_ms=time_ms,
            covers=True,
            crs_epsg=place.grid.crs_epsg,
            orbit_pass="DESCENDING",
            relative_orbit=66,
        )
        return [*twins[:2], radar, twins[2]]

    def read(
        self, location: Location, choices: Sequence[SeasonChoice], *, fallback: bool
    ) -> Mapping[str, np.ndarray]:
        assert not fallback
        return self._reader.read(location, choices, fallback=fallback)

    def asset(self, asset: str) -> Mapping[str, Any]:
        collection, index = asset.rsplit("/", 1)
        place = self.places[index]
        if collection == COLLECTIONS[S1_GRD]:
            bands = dict.fromkeys(("VV", "VH"), ("DOUBLE", 10))
        elif collection == COLLECTIONS[DYNAMIC_WORLD]:
            bands = {"water": ("FLOAT", 10), "label": ("INT", 10)}
        else:
            bands = {name: ("INT", size) for name, size in (S2_RESOLUTION_M | {"SCL": 20}).items()}
        return {"id": asset, "bands": [self.band(place, name, *kind) for name, kind in bands.items()]}

    def band(self, place: Location, name: str, precision: str, size_m: int) -> dict[str, Any]:
        x_ul, y_ul = origin(place)
        affine = {"scaleX": size_m, "scaleY": -size_m, "translateX": x_ul, "translateY": y_ul}
        largest = 255 if name in {"SCL", "label"} else 65535
        data_type = {"precision": precision} | ({"range": {"max": largest}} if precision == "INT" else {})
        grid = {"crsCode": f"EPSG:{place.grid.crs_epsg}", "affineTransform": affine}
        return {"id": name, "dataType": data_type, "grid": grid}

    def stored_pixels(self, asset: str, *, bands: Sequence[str], grid: Mapping[str, Any]) -> bytes:
        side, affine = grid["dimensions"]["width"], grid["affineTransform"]
        counted = side * side * len(bands) * 3
        if counted > self.limit_bytes:
            raise self.too_large(counted)
        if side > 1000:
            side = 1  # a size trial: what it holds is not looked at
        place = self.places[asset.rsplit("/", 1)[1]]
        plane = self.plane(
            asset,
            bands[0],
            place,
            x=affine["translateX"] + affine["scaleX"] * (np.arange(side) + 0.5),
            y=affine["translateY"] + affine["scaleY"] * (np.arange(side) + 0.5),
            outside=0,
        )
        return npy({name: plane.astype("<u2") for name in bands})

    def too_large(self, counted: int) -> Exception:
        return RequestTooLargeError(
            f"HTTP 400: Total request size ({counted} bytes) must be less than or equal to {LIMIT_BYTES} bytes."
        )

    def stacked_pixels(self, layers: Sequence[Layer], grid: Grid) -> bytes:
        array = self.stack(layers, grid)
        return npy({name: array[name] for name in array.dtype.names or ()})

    def stack(self, layers: Sequence[Layer], grid: Grid) -> np.ndarray:
        bands = [(layer, band) for layer in layers for band in layer.bands]
        dtype = [(band.name, np.dtype(layer.dtype).newbyteorder("<")) for layer, band in bands]
        array = np.empty((grid.size_px, grid.size_px), dtype=dtype)
        steps = 10 * (np.arange(grid.size_px) + 0.5)
        for layer, band in bands:
            array[band.name] = self.plane(
                layer.asset,
                band.source,
                self.places[layer.index],
                x=grid.x_ul + steps,
                y=grid.y_ul - steps,
                outside=self.outside(layer),
            )
        return array

    def outside(self, layer: Layer) -> float:
        return layer.no_data

    def plane(
        self, asset: str, band: str, place: Location, *, x: np.ndarray, y: np.ndarray, outside: float
    ) -> np.ndarray:
        """Values (y, x) at places in metres: a function of asset, band, column and row of the band's own grid."""
        size_m = S2_RESOLUTION_M.get(band, 20 if band == "SCL" else 10)
        x_ul, y_ul = origin(place)
        column, row = np.floor((x - x_ul) / size_m), np.floor((y_ul - y) / size_m)
        values = self.value(asset, band, place, column[None, :], row[:, None])
        inside = (column >= 0) & (column < TILE_M // size_m)
        inside = inside[None, :] & ((row >= 0) & (row < TILE_M // size_m))[:, None]
        return np.where(inside, values, outside)

    def value(
        self, asset: str, band: str, place: Location, column: np.ndarray, row: np.ndarray
    ) -> np.ndarray:
        pattern = column * 7 + row * 13 + zlib.crc32(f"{asset}/{band}".encode()) % 100
        if band in {"VV", "VH"}:
            return -5.0 - pattern % 20
        return pattern % (9 if band in {"SCL", "label"} else 3000)

    def profiled(self, work: Callable[[], Any]) -> tuple[Any, str]:
        return work(), self.profile


def origin(place: Location) -> tuple[int, int]:
    """Corner of the tile that a place lies on: the patch is 6 km inside."""
    return place.grid.x_ul - 6_000, place.grid.y_ul + 6_000


def npy(fields: Mapping[str, np.ndarray]) -> bytes:
    shape = next(iter(fields.values())).shape
    array = np.empty(shape, dtype=[(name, plane.dtype) for name, plane in fields.items()])
    for name, plane in fields.items():
        array[name] = plane
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


_FITS: type[RawSource] = FakeRawSource
"""mypy proves that the fake is a source."""
