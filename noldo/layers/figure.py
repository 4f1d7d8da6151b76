"""Findings as curves: a panel a measure, layers from image to logits along it, a curve a group of runs."""

from collections.abc import Sequence
from pathlib import Path

from noldo.atomic import atomic_file
from noldo.layers.findings import Finding
from noldo.layers.table import MEASURES, Measure, cell_of, groups_in, layers_in
from noldo.training.results_table import Figure
from noldo.training.study_figure import draw_curves

_COLUMNS = 2


def write_layers_figure(path: Path, findings: Sequence[Finding], *, title: str) -> None:
    """Draw a PNG: means as points, standard deviations as bars.

    Raises
    ------
    StoreError
        If it can't be written.
    """
    from matplotlib.figure import Figure as Picture

    shown = [measure for measure in MEASURES if groups_in(findings, measure.key)]
    num_columns = min(_COLUMNS, len(shown))
    num_rows = -(-len(shown) // num_columns)
    picture = Picture(figsize=(6.4 * num_columns, 0.6 + 3.9 * num_rows), layout="constrained")
    all_axes = picture.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axes, measure in zip(all_axes, shown, strict=False):
        layers = layers_in(findings, measure.key)
        draw_curves(axes, _curves(findings, measure, layers), xs=range(len(layers)))
        axes.set_xticks(range(len(layers)), layers, rotation=45, ha="right")
        axes.set_title(measure.title)
    for axes in all_axes[len(shown) :]:
        axes.set_axis_off()
    told = [axes.get_legend_handles_labels() for axes in all_axes]
    curves = {name: handle for handles, names in told for handle, name in zip(handles, names, strict=True)}
    picture.legend(
        curves.values(), curves.keys(), loc="outside lower center", ncols=len(curves), frameon=False
    )
    picture.suptitle(title)
    with atomic_file(path) as file:
        picture.savefig(file, format="png", dpi=130, metadata={"Software": None})


def _curves(
    findings: Sequence[Finding], measure: Measure, layers: Sequence[str]
) -> dict[str, list[tuple[float, Figure]]]:
    found: dict[str, list[tuple[float, Figure]]] = {}
    for group in groups_in(findings, measure.key):
        points = []
        for x, layer in enumerate(layers):
            cell = cell_of(findings, measure=measure.key, layer=layer, labels=group)
            if cell is not None:
                std = None if cell.std is None else measure.scale * cell.std
                points.append((float(x), Figure(measure.scale * cell.mean, std, cell.num)))
        found[group] = points
    return found
