"""Findings as markdown: a table a measure, a row a layer, a column a group of runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from noldo.layers.findings import SPREADS, WHOLE, Finding, Spread, is_alike, spread_of
from noldo.layers.stages import LAYERS
from noldo.layers.subjects import CLEAN


@dataclass(frozen=True)
class Measure:
    """One table."""

    key: str
    """Of `Finding.measure`."""
    title: str
    words: str
    """What its numbers are."""

    @property
    def scale(self) -> float:
        """Scores are printed in percent."""
        return 1.0 if self.key == "cka" else 100.0


MEASURES = (
    Measure(
        "cka",
        "Similarity (CKA)",
        "Linear CKA of the layer's features on the same pixels, with each clean run of another seed; 1: the same up to rotation and "
        f"scale. Column clean: of pairs of clean runs. * more than {SPREADS:g} standard deviations (of both together) below that.",
    ),
    Measure(
        "probe_miou",
        "Linear probe, mIoU (%)",
        "A linear classifier on the frozen layer, learnt on clean labels of train.",
    ),
    Measure(
        "reset_miou",
        "Reset, mIoU (%)",
        "The layer has its initial weights again, the rest is as learnt; nothing is trained. Row none: the network as it is.",
    ),
    Measure(
        "transplant_miou",
        "Transplant, mIoU (%)",
        "The layer is taken from a run and frozen, the rest learns clean labels from random weights of another seed. Row none: "
        "all of it learns.",
    ),
)
"""In the order in which they are printed. Each mIoU has an OA beside it in the CSV."""


def markdown(findings: Sequence[Finding], *, title: str, notes: Sequence[str] = ()) -> str:
    """All tables that there is anything for."""
    parts = [f"# {title}\n"]
    for measure in MEASURES:
        rows = _rows(findings, measure)
        if rows:
            cells = "\n".join(f"| {' | '.join(row)} |" for row in rows)
            parts.append(f"## {measure.title}\n\n{measure.words}\n\n{cells}\n")
    parts.append(
        "Mean ± standard deviation over runs (CKA: over pairs of runs). mIoU is over the classes that are there or predicted. – is not "
        "measured."
    )
    return "\n".join([*parts, *notes]).rstrip() + "\n"


def groups_in(findings: Sequence[Finding], measure: str) -> list[str]:
    """Groups that a measure has values of, in order."""
    return list(dict.fromkeys(one.labels for one in findings if one.measure == measure))


def layers_in(findings: Sequence[Finding], measure: str) -> list[str]:
    """Layers that a measure has values of, from image to logits; the whole network first."""
    there = {one.layer for one in findings if one.measure == measure}
    return [name for name in (WHOLE, *(layer.name for layer in LAYERS)) if name in there]


def cell_of(findings: Sequence[Finding], *, measure: str, layer: str, labels: str) -> Spread | None:
    """Mean and spread of a group in a layer; of CKA, with clean runs."""
    other = CLEAN if measure == "cka" else None
    return spread_of(findings, measure=measure, layer=layer, labels=labels, other=other)


def _rows(findings: Sequence[Finding], measure: Measure) -> list[list[str]]:
    groups = groups_in(findings, measure.key)
    if not groups:
        return []
    rows = [["layer", *groups], ["---"] * (1 + len(groups))]
    for layer in layers_in(findings, measure.key):
        cells = {group: cell_of(findings, measure=measure.key, layer=layer, labels=group) for group in groups}
        told = [_text(cell, measure, clean=cells.get(CLEAN)) for cell in cells.values()]
        rows.append([layer, *told])
    return rows


def _text(cell: Spread | None, measure: Measure, *, clean: Spread | None) -> str:
    if cell is None or math.isnan(cell.mean):
        return "–"
    digits = 3 if measure.key == "cka" else 1
    spread = "" if cell.std is None else f" ± {measure.scale * cell.std:.{digits}f}"
    mark = "*" if measure.key == "cka" and is_alike(cell, clean) is False else ""
    return f"{measure.scale * cell.mean:.{digits}f}{spread}{mark}"
