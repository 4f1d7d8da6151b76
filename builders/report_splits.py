"""How far training, validation and test are from each other: whether what is learnt in one could be seen in another."""

from dataclasses import dataclass

import numpy as np

from builders.report_data import ReportData
from builders.report_figures import Axis, bar_chart
from builders.report_sections import empty, panel, section
from builders.spacing import MEAN_RADIUS_M, earth_centred
from noldo.rows import SPLITS


@dataclass(frozen=True)
class SplitDistance:
    """Distances from each location of one split to the nearest of another."""

    of: str
    to: str
    km: np.ndarray
    """(location,) between centres, along the great circle; within 1 %, because the Earth is no sphere."""


def split_distances(lon: np.ndarray, lat: np.ndarray, split: np.ndarray) -> list[SplitDistance]:
    """From each held-out location to the nearest one of training, and from test to validation.

    Parameters
    ----------
    lon, lat
        Degrees, (location,).
    split
        Words, (location,).

    Returns
    -------
    One for each pair of splits that both have locations.
    """
    from scipy.spatial import KDTree

    points = earth_centred(lon, lat)
    found = []
    for of, to in (("val", "train"), ("test", "train"), ("test", "val")):
        inner, outer = split == of, split == to
        if inner.any() and outer.any():
            chord_m = KDTree(points[outer]).query(points[inner])[0]
            arc_m = 2 * MEAN_RADIUS_M * np.arcsin(np.clip(chord_m / (2 * MEAN_RADIUS_M), 0, 1))
            found.append(SplitDistance(of, to, arc_m / 1000))
    return found


def splits_section(data: ReportData) -> str:
    """A histogram for each pair of splits, and what overlaps."""
    identifier, title = data.identifier("splits"), "Splits"
    kept = data.kept
    distances = split_distances(data.lon[kept], data.lat[kept], data.split)
    counts = ", ".join(f"{name} {int((data.split == name).sum()):,}" for name in SPLITS)
    rest = int((data.split == "").sum())
    counts += f", in none {rest:,}" if rest else ""
    if not distances:
        return section(identifier, title, f"Kept locations: {counts}.", empty("There is one split only."))
    near_km = data.manifest.patch_size_px / 100 * 2**0.5
    panels = "".join(_distance_panel(one, near_km=near_km) for one in distances)
    lead = (
        f"Kept locations: {counts}. Distance from each held-out location to the nearest one of the other split: patches "
        "that overlap would let a model be tested on what it has seen."
    )
    return section(identifier, title, lead, f'<div class="panels">{panels}</div>')


def _distance_panel(one: SplitDistance, *, near_km: float) -> str:
    nearest, middle = float(one.km.min()), float(np.median(one.km))
    overlapping = int((one.km < near_km).sum())
    powers = np.log10(np.maximum(one.km, 0.1))
    axis = Axis(-1.0, 4.0, 25, "", (-1.0, 0.0, 1.0, 2.0, 3.0, 4.0))
    chart = bar_chart(powers, axis, label=f"km from {one.of} to {one.to}, power of ten")
    text = (
        f"Nearest {nearest:,.1f} km, median {middle:,.0f} km; {overlapping:,} nearer than one patch diagonal "
        f"({near_km:.1f} km). The axis shows powers of ten of a kilometre"
    )
    return panel(f"{one.of} to {one.to}", chart, text)
