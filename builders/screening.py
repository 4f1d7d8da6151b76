"""Whether OpenStreetMap's labels of a tile are believed: an agreement score against the experts, and three thresholds.

CromSS kept 1,775 of 2,996 tiles after "automatic screening against the DW labels" and some looking by hand; how is not in its
code. Here it is written down. Both label maps are compared in the classes of Dynamic World (`noldo.legend.MAPPINGS`, which is
the paper's own table), pixel by pixel inside the tile:

* *share*: pixels with a class of OpenStreetMap / pixels of the tile;
* *common*: pixels that both label and whose class of OpenStreetMap has a counterpart;
* *agreement*: common pixels in which both are the same class / common pixels.

A tile is kept if share, common / pixels of the tile, and agreement reach `osm.min_labelled_share`, `osm.min_common_share` and
`osm.min_agreement`. Nothing is looked at by hand.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builders.acceptance import percent
from builders.config_labels import OpenStreetMap
from noldo.legend import DYNAMIC_WORLD, MAPPINGS, OSM_LAND_USE
from noldo.products import UNLABELLED
from noldo.status import Status

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Screening:
    """How two label maps of one tile compare, and what follows from it."""

    counts: tuple[int, ...]
    """Pixels of each class of OpenStreetMap inside the tile."""
    share: float
    """Labelled share of the tile (0..1)."""
    common: int
    """Pixels that can be compared."""
    agreement: float
    """Share of those that agree (0..1); 0 without any."""
    status: Status
    """KEPT, NO_LABELS or DISAGREES."""
    decision: str
    """What was found and what was wanted, in words."""


def screen(experts: Labels, osm: Labels, *, window: tuple[int, ...], thresholds: OpenStreetMap) -> Screening:
    """Compare the maps of one tile.

    Parameters
    ----------
    experts, osm
        (y, x) class ids of `DYNAMIC_WORLD` and of `OSM_LAND_USE`; 255 is no label.
    window
        First row, row stop, first column, column stop of the tile.
    """
    top, bottom, left, right = window
    reference, labels = experts[top:bottom, left:right], osm[top:bottom, left:right]
    translated = MAPPINGS[OSM_LAND_USE.name, DYNAMIC_WORLD.name].lookup()[labels]
    counts = np.bincount(labels.ravel(), minlength=256)[: len(OSM_LAND_USE.classes)]
    comparable = (reference != UNLABELLED) & (translated != UNLABELLED)
    common = int(comparable.sum())
    agreeing = int((comparable & (reference == translated)).sum())
    share = int(counts.sum()) / labels.size
    agreement = agreeing / common if common else 0.0
    status, decision = _decide(share, common / labels.size, agreement, thresholds)
    return Screening(tuple(counts.tolist()), share, common, agreement, status, decision)


def _decide(
    share: float, common_share: float, agreement: float, thresholds: OpenStreetMap
) -> tuple[Status, str]:
    if share < thresholds.min_labelled_share:
        found = f"OpenStreetMap has a class for {percent(share)} of the tile"
        return Status.NO_LABELS, f"{found}, {percent(thresholds.min_labelled_share)} wanted"
    if common_share < thresholds.min_common_share:
        found = f"{percent(common_share)} of the tile can be compared with the experts"
        return Status.NO_LABELS, f"{found}, {percent(thresholds.min_common_share)} wanted"
    words = f"OpenStreetMap agrees with the experts in {percent(agreement)} of what can be compared"
    if agreement < thresholds.min_agreement:
        return Status.DISAGREES, f"{words}, {percent(thresholds.min_agreement)} wanted"
    return Status.KEPT, words
