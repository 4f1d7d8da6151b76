"""Results of a study as curves: mIoU over what its columns differ in, a curve a row, a panel for each kind."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from noldo.atomic import atomic_file
from noldo.training.results_table import Figure, Line
from noldo.training.study import CurvesFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#4d4d4d", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart with any colour vision (Okabe and Ito 2008), grey in place of black."""

_MARKERS = "os^DvPX"
_MARGIN = 0.06
"""Of the axis, beyond its first and last columns."""

_DODGE = 0.012
"""Curves stand so far beside each other that their bars can be told apart, as a share of the axis."""

_LARGEST_SPREAD = 0.6
"""Of the gap between two columns, that all curves of one take at most."""


def curves_of(
    lines: Sequence[Line], *, columns: dict[float, str], score: str
) -> dict[str, list[tuple[float, Figure]]]:
    """Row to (x, figure) of each of its columns that has one, by x.

    Parameters
    ----------
    columns
        x to column.
    score
        Key of `Line.ours`, e.g. `miou`.
    """
    found: dict[str, list[tuple[float, Figure]]] = {line.row: [] for line in lines if line.num_planned}
    by_place = {(line.row, line.column): line.ours.get(score) for line in lines}
    for row, points in found.items():
        told = ((x, by_place.get((row, column))) for x, column in sorted(columns.items()))
        points += [(x, figure) for x, figure in told if figure is not None]
    return found


def write_study_figure(path: Path, lines: Sequence[Line], *, curves: CurvesFigure, title: str) -> None:
    """Draw a PNG: means as points, standard deviations as bars. Columns without a finished run are left out.

    Raises
    ------
    StoreError
        If it can't be written.
    """
    from matplotlib.figure import Figure as Picture

    width = 1.2 + 3.6 * len(curves.panels)
    picture = Picture(figsize=(width, 4.2), layout="constrained")
    all_axes = picture.subplots(1, len(curves.panels), sharey=True, squeeze=False)[0]
    for axes, (name, columns) in zip(all_axes, curves.panels.items(), strict=True):
        draw_curves(axes, curves_of(lines, columns=columns, score="miou"), xs=sorted(columns))
        axes.set_title(name)
        axes.set_xlabel(curves.x)
    all_axes[0].set_ylabel("mIoU (%)")
    all_axes[-1].legend(frameon=False)
    picture.suptitle(title)
    with atomic_file(path) as file:
        picture.savefig(file, format="png", dpi=130, metadata={"Software": None})


def draw_curves(axes: "Axes", found: dict[str, list[tuple[float, Figure]]], *, xs: Sequence[float]) -> None:
    """Draw a curve a name: means as points, standard deviations as bars, over the same values of x."""
    span = (max(xs) - min(xs)) or 1.0
    gap = min((after - before for before, after in pairwise(sorted(xs))), default=span)
    dodge = min(_DODGE * span, _LARGEST_SPREAD * gap / max(len(found), 1))
    for position, (row, points) in enumerate(found.items()):
        shift = (position - (len(found) - 1) / 2) * dodge
        axes.errorbar(
            [x + shift for x, _ in points],
            [figure.mean for _, figure in points],
            yerr=[figure.std or 0.0 for _, figure in points],
            label=row,
            color=_COLOURS[position % len(_COLOURS)],
            marker=_MARKERS[position % len(_MARKERS)],
            markersize=5,
            linewidth=1.6,
            elinewidth=1,
            capsize=2,
        )
    axes.set_xticks(list(xs))
    axes.set_xlim(min(xs) - _MARGIN * span, max(xs) + _MARGIN * span)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
