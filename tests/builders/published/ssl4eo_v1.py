"""SSL4EO-S12 v1.0 in its published layout, small: patches of 24 px."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from noldo.products import S1_BANDS, S2_L1C_BANDS, S2_L2A_BANDS, S2_RESOLUTION_M
from tests.builders.published.geotiffs import write_tif

SIDE_PX = 24
DATES = ("20200302", "20200612", "20200910", "20201205")
BANDS = {"s2c": S2_L1C_BANDS, "s2a": S2_L2A_BANDS, "s1": S1_BANDS}


def scene_names(modality: str) -> list[str]:
    """Four scenes, by date."""
    if modality == "s1":
        return [f"S1A_IW_GRDH_1SDV_{date}T053406_{date}T053431_032918_03D02A_0D7F" for date in DATES]
    return [f"{date}T103629_{date}T103631_T32TPT" for date in DATES]


@dataclass(frozen=True)
class PublishedV1:
    """What was written."""

    root: Path
    ids: tuple[int, ...]
    planes: dict[tuple[str, int, int, str], np.ndarray] = field(default_factory=dict, repr=False)
    """(modality, id, season, band) to (y, x)."""
    labels: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, repr=False)
    """(id, season) to (y, x)."""

    def tif(self, modality: str, location: int, season: int, band: str) -> Path:
        """File of a band."""
        scene = scene_names(modality)[season]
        return self.root / modality / f"{location:07d}" / scene / f"{band}.tif"

    def bands(self, modality: str, location: int, names: Sequence[str]) -> np.ndarray:
        """(season, band, y, x) of bands of one size."""
        return np.stack(
            [
                np.stack([self.planes[modality, location, season, name] for name in names])
                for season in range(4)
            ]
        )


def degrees_transform(lon: float, lat: float, side_px: int) -> tuple[float, ...]:
    """Pixels of 10 m, roughly, in degrees: how the set was published."""
    step = 0.0024 / side_px
    return (step * 1.4, 0.0, lon - step * 0.7 * side_px, 0.0, -step, lat + step * side_px / 2)


def write_ssl4eo_v1(
    root: Path,
    *,
    ids: Sequence[int] = (3, 17, 24, 31, 40),
    modalities: Sequence[str] = ("s1", "s2c", "s2a"),
    as_bytes: bool = False,
    upsampled: bool = False,
    labels: bool = False,
) -> PublishedV1:
    """Write some locations; their pixels are random."""
    found = PublishedV1(root, tuple(ids))
    generator = np.random.default_rng(0)
    for location in ids:
        for modality in modalities:
            for season in range(4):
                for band in BANDS[modality]:
                    values = _pixels(modality, band, generator, as_bytes=as_bytes)
                    found.planes[modality, location, season, band] = values
                    factor = SIDE_PX // len(values) if upsampled else 1
                    write_tif(
                        found.tif(modality, location, season, band),
                        values.repeat(factor, 0).repeat(factor, 1),
                        crs="EPSG:4326",
                        transform=degrees_transform(10.5, 47.8, len(values) * factor),
                    )
        if labels:
            for season, scene in enumerate(scene_names("s2c")):
                values = generator.integers(0, 9, (SIDE_PX, SIDE_PX)).astype(np.int16)
                found.labels[location, season] = values
                folder = root.parent / "ssl4eo_s12_nol/dw_noisy_labels" / f"{location:07d}" / scene
                write_tif(folder / "label.tif", values)
    return found


def _pixels(modality: str, band: str, generator: np.random.Generator, *, as_bytes: bool) -> np.ndarray:
    side = SIDE_PX * 10 // S2_RESOLUTION_M.get(band, 10)
    if as_bytes:
        return generator.integers(0, 256, (side, side)).astype(np.uint8)
    if modality == "s1":
        return generator.uniform(-30, 5, (side, side)).astype(np.float32)
    return generator.integers(0, 12_000, (side, side)).astype(np.uint16)
