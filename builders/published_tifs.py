"""GeoTIFFs of a published data set: read from wherever they lie, and turned into arrays of a tile."""

import numpy as np

from builders.archive_files import SourceFiles
from builders.import_items import BadItemError, Georeference, Placement
from builders.import_places import raster_placement
from builders.published_bands import Form, as_backscatter, as_reflectance, stored_bands
from builders.published_geotiff import MAX_FILE_BYTES, Raster, read_geotiff
from noldo.products import S1_BANDS, S2_L1C_BANDS

S1_FORM = Form("s1_grd", S1_BANDS)
S2_FORM = Form("s2_l1c", S2_L1C_BANDS, upsampled=True)
"""All bands on the grid of the label, whatever they were measured on."""

NOTE_RESAMPLED = "All bands of Sentinel-2 and Sentinel-1 were resampled to the grid of the label."
"""Of the tiles of NoLDO-S12."""


def read_tif(files: SourceFiles, path: str) -> Raster:
    """One file.

    Raises
    ------
    BadItemError
        If it is missing, or can't be read as what it is.
    InputError
        If the disk can't be read.
    """
    try:
        content = files.read(path, limit=MAX_FILE_BYTES)
    except FileNotFoundError:
        raise BadItemError("missing file", path) from None
    return read_geotiff(content, where=path)


def place_of(raster: Raster, *, side_px: int, georeference: Georeference = "exact") -> Placement:
    """Where a raster lies; `side_px` in pixels of 10 m."""
    return raster_placement(
        crs=raster.crs,
        transform=raster.transform,
        bounds=raster.bounds,
        side_px=side_px,
        georeference=georeference,
    )


def tile_images(s1: np.ndarray, s2: np.ndarray, *, where: str) -> tuple[dict[str, np.ndarray], int]:
    """Arrays of one season of a tile on one grid, and how many reflectances were below zero.

    Parameters
    ----------
    s1
        (2, y, x) decibels: VV, VH.
    s2
        (13, y, x) reflectance x 10,000.

    Raises
    ------
    BadItemError
        If bands are missing, or values are none of these.
    """
    reflectance, below = as_reflectance(s2, where=f"Sentinel-2 of {where}")
    arrays = {
        **_one_season(reflectance, S2_FORM, where=where),
        **_one_season(as_backscatter(s1, where=f"Sentinel-1 of {where}"), S1_FORM, where=where),
    }
    return arrays, below


def _one_season(values: np.ndarray, form: Form, *, where: str) -> dict[str, np.ndarray]:
    if values.ndim != 3 or len(values) != len(form.bands):
        raise BadItemError(
            "missing band",
            f"{form.product} of {where} has shape {values.shape}, expected {len(form.bands)} bands",
        )
    planes = {band: values[np.newaxis, position] for position, band in enumerate(form.bands)}
    return stored_bands(planes, form, where=where)
