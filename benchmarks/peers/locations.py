"""A location as others publish it: every band on the grid of 10 m."""

from dataclasses import dataclass

import numpy as np

from noldo.products import DB_PER_STEP, S2_L1C_BANDS
from noldo.reader import StoreReader


@dataclass(frozen=True)
class Location:
    """Axes: season, band, y, x; all of one height and width."""

    product: str
    """`s2_l1c` or `s2_l2a`."""
    bands: tuple[str, ...]
    """Names along the band axis of `optical`."""
    optical: np.ndarray
    """(season, band, y, x) uint16, reflectance x 10,000 without offset; coarse bands are repeated."""
    radar_db: np.ndarray
    """(season, 2, y, x) float32, VV and VH."""
    labels: np.ndarray | None
    """(season, y, x) uint8, classes of Dynamic World; None: there are none."""


def location_of(reader: StoreReader, row: int) -> Location:
    """A location of a store with L1C, Sentinel-1 and Dynamic World, such as `made_up_store` writes."""
    seasons = range(len(reader.layout.season_names))
    planes: dict[str, np.ndarray] = {}
    for spec in (one for one in reader.layout.specs if one.product == "s2_l1c"):
        fine = on_fine_grid(reader.pixels(spec, row=row, seasons=seasons), spec.resolution_m)
        planes |= {band: fine[:, position] for position, band in enumerate(spec.bands)}
    radar = reader.pixels(reader.layout.spec("s1_grd_10m"), row=row, seasons=seasons)
    return Location(
        product="s2_l1c",
        bands=S2_L1C_BANDS,
        optical=np.stack([planes[band] for band in S2_L1C_BANDS], axis=1),
        radar_db=radar.astype(np.float32) * np.float32(DB_PER_STEP),
        labels=reader.pixels(reader.layout.spec("dynamic_world_10m"), row=row, seasons=seasons),
    )


def on_fine_grid(values: np.ndarray, resolution_m: int) -> np.ndarray:
    """(..., y, x) of any resolution to 10 m, each pixel repeated."""
    factor = resolution_m // 10
    return values.repeat(factor, axis=-2).repeat(factor, axis=-1)
