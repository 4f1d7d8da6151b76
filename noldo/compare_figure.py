"""The noise matrix T as a picture: a heat map with numbers, class names, supports and the legend's colours."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noldo.atomic import atomic_file
from noldo.confusion import LabelComparison
from noldo.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL_INCH = 0.62
STRIP = 0.18
"""Width of the strips of legend colours, in cells."""

UNKNOWN_GREY = "#dddddd"
"""Rows of classes that the reference never gives."""

WHITE_ABOVE = 0.55
"""Share from which on a cell is so dark that its number is white."""


def write_figure(path: Path, comparison: LabelComparison) -> None:
    """Write a PNG; equal comparisons have equal bytes.

    Raises
    ------
    StoreError
        If it can't be written.
    MissingExtraError
        If matplotlib is not installed.
    """
    figure = _drawn(comparison)
    with atomic_file(path) as file:
        # Without the version of matplotlib: equal pictures have equal bytes.
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})


def _drawn(comparison: LabelComparison) -> "Figure":
    try:
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("pictures need matplotlib; run `pip install matplotlib`") from None
    side = len(comparison.legend.classes)
    matrix = comparison.transition()
    figure = Figure(figsize=(CELL_INCH * side + 5.0, CELL_INCH * side + 3.4), layout="constrained")
    axes = figure.subplots()
    blues = LinearSegmentedColormap.from_list("noise", ["#ffffff", "#9ec5e8", "#08306b"])
    colours = blues.with_extremes(bad=UNKNOWN_GREY)
    image = axes.imshow(np.ma.masked_invalid(matrix), cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    _write_numbers(axes, matrix, absent=f"never in {comparison.reference}")
    _name_classes(axes, comparison)
    _draw_strips(axes, comparison)
    figure.colorbar(image, ax=axes, shrink=0.7, label=f"P({comparison.other} | {comparison.reference})")
    axes.set_title(_title(comparison), fontsize=10, parse_math=False)
    return figure


def _write_numbers(axes: "Axes", matrix: np.ndarray, *, absent: str) -> None:
    for row in np.flatnonzero(np.isnan(matrix[:, 0])).tolist():
        axes.text((len(matrix) - 1) / 2, row, absent, ha="center", va="center", fontsize=8, color="#777777")
    for (row, column), share in np.ndenumerate(matrix):
        if share > 0:
            text = f"{share:.2f}" if share >= 0.005 else "<.01"
            colour = (
                "white" if share > WHITE_ABOVE else "black" if row == column or share >= 0.05 else "#777777"
            )
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)


def _name_classes(axes: "Axes", comparison: LabelComparison) -> None:
    """Names with the pixels they rest on; the other source's below, turned."""
    places = range(len(comparison.classes))
    below = [f"{_readable(one.name)}  {_short(one.other_pixels)}" for one in comparison.classes]
    left = [f"{_readable(one.name)}  {_short(one.reference_pixels)}" for one in comparison.classes]
    axes.set_xticks(places, below, rotation=45, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(places, left, fontsize=9)
    axes.tick_params(length=0, pad=14)
    axes.set_xlabel(f"{comparison.other} (noisy), pixels", parse_math=False)
    axes.set_ylabel(f"{comparison.reference} (reference), pixels", parse_math=False)


def _draw_strips(axes: "Axes", comparison: LabelComparison) -> None:
    from matplotlib.patches import Rectangle

    side = len(comparison.legend.colours)
    for position, colour in enumerate(comparison.legend.colours):
        at = position - 0.5
        for corner, width, height in (((-0.5 - STRIP, at), STRIP, 1), ((at, side - 0.5), 1, STRIP)):
            axes.add_patch(
                Rectangle(corner, width, height, facecolor=colour, edgecolor="white", clip_on=False)
            )
    axes.set_xlim(-0.5, side - 0.5)
    axes.set_ylim(side - 0.5, -0.5)


def _readable(name: str) -> str:
    return name.replace("_", " ")


def _short(pixels: int) -> str:
    """7, 12.3 k, 4.6 M."""
    if pixels < 1_000:
        return str(pixels)
    # 999,950 would be rounded to 1000.0 k.
    return f"{pixels / 1e3:.1f} k" if pixels < 999_950 else f"{pixels / 1e6:.1f} M"


def _title(comparison: LabelComparison) -> str:
    found = comparison.conditioning
    kappa = "undefined" if comparison.kappa is None else f"{comparison.kappa:.2f}"
    condition = (
        "singular" if found.condition_number is None else f"condition number {found.condition_number:.3g}"
    )
    split = f", {comparison.split}" if comparison.split else ""
    return (
        f"{comparison.other} as {comparison.reference} sees it: T over {comparison.num_locations:,} locations{split}\n"
        f"{'SYNTHETIC: not real imagery; ' if comparison.synthetic else ''}noise {100 * comparison.noise_rate:.1f} %, kappa {kappa}, {condition}"
    )
