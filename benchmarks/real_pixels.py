"""Real satellite images as locations of one season, read in place from the folder that `NOLDO_REAL_DATA` names; none of it is part of this project.

* `terramesh/S2L1C`, `S1RTC` and `DW`: three places of TerraMesh (CC-BY-SA-4.0; contains modified Copernicus Sentinel data). 13 bands on one grid of 10 m, radar in dB
  (terrain-corrected, rounded to float16), classes that Google's Dynamic World model gave.
* `bigearthnet`: two places of BigEarthNet (CDLA-Permissive-1.0): L2A at native resolution, Sentinel-1 GRD in dB; no labels.
"""

import os
from pathlib import Path

import numpy as np

from benchmarks.peers.locations import Location, on_fine_grid
from noldo.errors import InputError
from noldo.products import S1_BANDS, S2_L1C_BANDS, S2_L2A_BANDS, S2_RESOLUTION_M

VARIABLE = "NOLDO_REAL_DATA"
OFFSET = 1000
"""Added to reflectance by ESA's baseline 04.00 and later; cirrus (B10) tells it, for clear air reflects next to nothing there."""
STEP_PX = 6
"""A patch has whole pixels of 60 m."""


def folder() -> Path:
    """Where real data lie.

    Raises
    ------
    InputError
        If the variable is not set, or the images are not there.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        raise InputError(
            f"{VARIABLE} is not set: give the folder that holds terramesh and bigearthnet, or --made-up"
        )
    for name in ("terramesh/S2L1C", "terramesh/S1RTC", "terramesh/DW", "bigearthnet"):
        if not (Path(named) / name).is_dir():
            raise InputError(f"{VARIABLE}={named}: no folder {name} in it; correct it, or give --made-up")
    return Path(named)


def terramesh(root: Path) -> list[Location]:
    """L1C, radar and labels of the places of TerraMesh, cut to whole pixels of 60 m from the upper left corner; the offset is taken off."""
    found = []
    for path in sorted((root / "terramesh/S2L1C").glob("*.tif")):
        optical = _read(path).astype(np.int32)
        if optical[S2_L1C_BANDS.index("B10")].min() >= OFFSET:
            optical -= OFFSET
        labels = _read(root / f"terramesh/DW/{path.stem}_dwlabel.tif")[0].astype(np.uint8)
        side = optical.shape[-1] // STEP_PX * STEP_PX
        found.append(
            Location(
                product="s2_l1c",
                bands=S2_L1C_BANDS,
                optical=_reflectance(optical, path)[None, :, :side, :side],
                radar_db=_read(root / f"terramesh/S1RTC/{path.name}").astype(np.float32)[
                    None, :, :side, :side
                ],
                labels=labels[None, :side, :side],
            )
        )
    return found


def bigearthnet(root: Path) -> list[Location]:
    """L2A and radar of the places of BigEarthNet; bands of 20 and 60 m are repeated to 10 m."""
    found = []
    for radar in sorted((root / "bigearthnet").glob("S1*_IW_GRDH_*")):
        place = radar.name.split("_", 6)[-1]
        (optical,) = (root / "bigearthnet").glob(f"S2*_{place}")
        bands = [
            on_fine_grid(_read(optical / f"{optical.name}_{_file_name(band)}.tif"), S2_RESOLUTION_M[band])
            for band in S2_L2A_BANDS
        ]
        db = [_read(radar / f"{radar.name}_{name}.tif") for name in S1_BANDS]
        found.append(
            Location(
                product="s2_l2a",
                bands=S2_L2A_BANDS,
                optical=_reflectance(np.concatenate(bands), optical)[None],
                radar_db=np.concatenate(db).astype(np.float32)[None],
                labels=None,
            )
        )
    return found


def _file_name(band: str) -> str:
    return band if band.endswith("A") else f"B{int(band[1:]):02d}"


def _read(path: Path) -> np.ndarray:
    import rasterio

    with rasterio.open(path) as file:
        pixels: np.ndarray = file.read()
        return pixels


def _reflectance(values: np.ndarray, path: Path) -> np.ndarray:
    if values.min() < 0 or values.max() >= np.iinfo(np.int16).max:
        raise InputError(
            f"{path}: reflectance x 10,000 from {values.min()} to {values.max()}; expected 0 to 32766"
        )
    return values.astype(np.uint16)
