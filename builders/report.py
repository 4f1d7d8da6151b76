"""The last step of a build: one page that someone wants to look at."""

import logging

import numpy as np

from builders.config import BuildConfig
from builders.layout import Layout
from builders.report_data import read_report_data
from builders.report_gallery import gallery
from builders.report_map import LandMask
from builders.report_page import Part, page
from noldo.atomic import atomic_file

logger = logging.getLogger(__name__)


def run_report(config: BuildConfig, layout: Layout) -> None:
    """Write `layout.report` from what lies in the results folder.

    Raises
    ------
    StoreError
        If the build is not finished, or the page can't be written.
    """
    parts = [_part(layout.of(subset)) for subset in config.subsets]
    text = page(parts, land=coarse_land())
    with atomic_file(layout.report) as file:
        file.write(text.encode("utf-8"))
    logger.info("report of %s written: %.1f MB", config.name, len(text) / 1e6)


def _part(layout: Layout) -> Part:
    data = read_report_data(layout)
    return Part(data, gallery(layout.store, data))


def coarse_land() -> LandMask:
    """Land as a raster of about 500 m (GSHHG): good for dots on a map, and loaded in a second."""
    from roaring_landmask import LandmaskProvider, RoaringMask

    mask = RoaringMask.new(LandmaskProvider.Gshhg)

    def is_land(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        return np.asarray(mask.contains_many(np.ascontiguousarray(lon), np.ascontiguousarray(lat)), bool)

    return is_land
