"""What an audit leaves behind: `audit.csv`, `audit.md`, and `worst.png`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from noldo.atomic import atomic_file
from noldo.audit.auditing import Jury
from noldo.audit.scores import SCORES
from noldo.audit.table import Row, write_csv
from noldo.training.sample_figure import Shown, sample_figure, write_sample_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_LISTED = 20
"""Patches of the page."""

MAX_DRAWN = 6


@dataclass(frozen=True)
class Agreement:
    """How one score orders patches as the known share of wrong labels does."""

    kendall: float
    """tau-b, -1..1; 1: the same order, 0: that of chance. A score of which lower is worse is turned round first."""
    p_value: float
    """Of tau or more, either way, if there were nothing in it."""
    spearman: float
    num_patches: int


def agreement(rows: Sequence[Row], *, score: str) -> Agreement | None:
    """Rank correlation with the known share of wrong labels; None: it is not known, or of fewer than three patches."""
    from scipy.stats import kendalltau, spearmanr

    known = [
        (row.scores[score], row.wrong)
        for row in rows
        if row.wrong is not None and math.isfinite(row.scores[score]) and math.isfinite(row.wrong)
    ]
    if len(known) < 3:
        return None
    values, wrong = (np.array(column) for column in zip(*known, strict=True))
    signed = values if SCORES[score].higher_is_worse else -values
    tau, rho = kendalltau(signed, wrong), spearmanr(signed, wrong)
    return Agreement(float(tau.statistic), float(tau.pvalue), float(rho.statistic), len(known))


def by_rank(rows: Sequence[Row], *, score: str) -> list[Row]:
    """Patches that were judged, the worst first."""
    return sorted((row for row in rows if row.ranks[score]), key=lambda row: row.ranks[score])


def write_report(jury: Jury, rows: Sequence[Row], *, out: Path, score: str) -> str:
    """Write all three files.

    Parameters
    ----------
    score
        By which the worst are chosen.

    Returns
    -------
    A few lines for people.

    Raises
    ------
    StoreError
        If a file can't be written.
    """
    write_csv(out / "audit.csv", rows)
    facts = facts_of(rows, where=jury.where)
    page = "\n".join(
        [f"# Labels of {jury.where}", "", *facts, "", *_table(by_rank(rows, score=score), score=score), ""]
    )
    with atomic_file(out / "audit.md") as file:
        file.write(page.encode())
    worst = by_rank(rows, score=score)[:MAX_DRAWN]
    if worst:
        write_sample_figure(out / "worst.png", _figure(jury, worst))
    told = ", ".join(str(row.id) for row in worst)
    return "\n".join([*facts, f"{out}: the worst by {score} are {told or 'none'}"])


def facts_of(rows: Sequence[Row], *, where: str) -> list[str]:
    """What there is to say of all patches together."""
    facts = [f"{len(rows)} patches of {where}, {sum(row.labelled_px for row in rows)} labelled pixels."]
    if empty := [row.id for row in rows if not row.labelled_px]:
        facts.append(f"{len(empty)} of them have no label that could be judged, e.g. {empty[0]}.")
    if seen := [row.id for row in rows if row.in_sample]:
        facts.append(
            f"IN SAMPLE: {len(seen)} were learnt from by every run, e.g. {seen[0]}; their errors may be remembered, and look right."
        )
    for name in rows[0].scores:
        found = agreement(rows, score=name)
        if found is not None:
            facts.append(
                f"{name} and the known share of wrong labels: Kendall's tau {found.kendall:.3f} (p {found.p_value:.2g}), Spearman "
                f"{found.spearman:.3f}, {found.num_patches} patches."
            )
    return facts


def _table(rows: Sequence[Row], *, score: str) -> list[str]:
    names = list(rows[0].scores) if rows else []
    has_truth = any(row.wrong is not None for row in rows)
    head = [
        "rank",
        "id",
        *names,
        "disputed",
        "labelled pixels",
        "worst pair",
        *(["wrong"] if has_truth else []),
    ]
    lines = [f"The worst by {score}; all are in `audit.csv`.", "", _line(head), _line(["---"] * len(head))]
    for row in rows[:MAX_LISTED]:
        cells = [str(row.ranks[score]), str(row.id), *(f"{row.scores[name]:.4f}" for name in names)]
        cells += [f"{100 * row.disputed:.1f} %", str(row.labelled_px), row.worst_pair or "none"]
        if has_truth:
            cells.append("" if row.wrong is None or math.isnan(row.wrong) else f"{100 * row.wrong:.1f} %")
        lines.append(_line(cells))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(jury: Jury, rows: Sequence[Row]) -> "Figure":
    """A row a patch: the season in which most of it is disputed; all cut to the smallest patch."""
    images: dict[str, list[torch.Tensor]] = {}
    maps: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    names: list[str] = []
    for row in rows:
        position = jury.ids.index(row.id)
        judged = jury.judged(position)
        season = int(judged.disputed.sum(axis=(1, 2)).argmax())
        for name, image in jury.images(position).items():
            images.setdefault(name, []).append(image[season])
        maps.append((judged.labels[season], judged.predicted[season], judged.disputed[season]))
        names.append(f"{row.id}, {100 * row.disputed:.0f} % disputed")
    side = min(one[0].shape[-1] for one in maps)
    labels, predicted, disputed = (
        torch.from_numpy(np.stack([one[:side, :side] for one in column]))
        for column in zip(*maps, strict=True)
    )
    shown = Shown(
        images={name: torch.stack([one[:, :side, :side] for one in each]) for name, each in images.items()},
        labels=labels,
        predictions={"networks": predicted},
        disputed=disputed,
        names=names,
    )
    return sample_figure(shown, bands=jury.bands, legend=jury.legend, limit=MAX_DRAWN)
