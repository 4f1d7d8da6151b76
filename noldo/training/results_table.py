"""Our results beside the published ones: mean and spread over seeds, the difference, and what is missing.

All numbers are percent. The published column `AA` is not defined: it is printed beside both mean recall and mean precision.
"""

import csv
import html
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noldo.errors import ConfigError

METRICS: Mapping[str, tuple[str, str]] = {
    "oa": ("OA", "OA"),
    "mean_recall": ("mean recall", "AA"),
    "mean_precision": ("mean precision", "AA"),
    "miou": ("mIoU", "mIoU"),
    "mf1": ("mF1", "mF1"),
}
"""Score to how it is printed, and to the published metric it stands beside."""


@dataclass(frozen=True)
class Figure:
    """Mean and spread of one score."""

    mean: float
    """Percent."""
    std: float | None
    """Standard deviation over runs (n - 1); None: of one run, or not published."""
    num_runs: int | None = None
    """None: published."""

    def __str__(self) -> str:
        spread = "" if self.std is None else f" ± {self.std:.2f}"
        return f"{self.mean:.2f}{spread}"


@dataclass(frozen=True)
class Line:
    """One row of the table, in one of its columns."""

    row: str
    column: str
    ours: Mapping[str, Figure]
    """Score to figure; empty: nothing was run yet."""
    published: Mapping[str, Figure]
    """Published metric to figure; empty: nothing is published."""
    num_runs: int
    num_planned: int
    """0: a row that is only published."""


@dataclass(frozen=True)
class RunScores:
    """What one finished run came to."""

    row: str
    column: str
    seed: int
    modality: str
    """What a transfer run sees; pretraining names its own."""
    result: Mapping[str, Any]
    """Of its `result.json`."""


def csv_of(runs: Iterable[RunScores]) -> str:
    """A line a run, and modality of pretraining; unrounded shares.

    Scores are by the published rule (a class that is nowhere counts as 1), but for the last one: mIoU without it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ("row", "column", "seed", "modality", "split", "locations", "pixels", *METRICS)
    writer.writerow((*head, "miou_of_present_classes"))
    for run in runs:
        outputs = run.result.get("outputs", {run.modality: run.result})
        for modality, result in outputs.items():
            place = (run.row, run.column, run.seed, modality)
            facts = (result["split"], result["num_locations"], result["num_pixels"])
            scores = tuple(result["scores"][name] for name in METRICS)
            writer.writerow((*place, *facts, *scores, result["scores_of_present_classes"]["miou"]))
    return text.getvalue()


def figure_of(values: Sequence[float]) -> Figure:
    """Of the same score of several runs, as shares."""
    percent = [100 * value for value in values]
    spread = statistics.stdev(percent) if len(percent) > 1 else None
    return Figure(statistics.fmean(percent), spread, len(percent))


def read_published(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV of published results.

    Raises
    ------
    ConfigError
        If it can't be read, or lacks a column.
    """
    needed = {"dataset", "input", "weights", "s2_bands", "mode", "metric", "mean", "std"}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: can't be read ({error}); give the CSV of published results") from None
    if missing := needed - set(rows[0] if rows else ()):
        raise ConfigError(f"{path}: no column {', '.join(sorted(missing))}")
    return rows


def published_figures(
    rows: Iterable[Mapping[str, str]], wanted: Mapping[str, str], *, column: str
) -> dict[str, Figure]:
    """Metric to figure, of the published rows that have the wanted values; `column` is their mode."""
    if not wanted:
        return {}
    chosen = [
        row
        for row in rows
        if all(row.get(key) == value for key, value in wanted.items()) and row["mode"] == column
    ]
    return {
        row["metric"]: Figure(float(row["mean"]), float(row["std"]) if row["std"] else None) for row in chosen
    }


def difference(line: Line, score: str) -> float | None:
    """Ours minus published, in points; None where one of them is missing."""
    ours, published = line.ours.get(score), line.published.get(METRICS[score][1])
    return None if ours is None or published is None else ours.mean - published.mean


def markdown(lines: Sequence[Line], *, title: str, note: str = "") -> str:
    """A table for each column of the study."""
    parts = [f"# {title}\n"]
    for column in dict.fromkeys(line.column for line in lines):
        cells = [_header(), ["---"] * len(_header())]
        cells += [_cells(line) for line in lines if line.column == column]
        parts.append(f"## {column}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n")
    return "\n".join([*parts, _legend(note)])


def html_page(lines: Sequence[Line], *, title: str, note: str = "") -> str:
    """The same as one page that needs nothing else."""
    tables = []
    for column in dict.fromkeys(line.column for line in lines):
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in _header())
        body = "".join(
            f'<tr class="{_state(line)}">{"".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(line))}</tr>'
            for line in lines
            if line.column == column
        )
        tables.append(f"<h2>{html.escape(column)}</h2><table><tr>{head}</tr>{body}</table>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
        + "".join(tables)
        + f"<p>{html.escape(_legend(note))}</p></html>\n"
    )


_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;margin-bottom:1.5rem}td,th{padding:.3rem .7rem;text-align:right;"
    "border-bottom:1px solid #d8dee4;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "td:first-child,th:first-child{text-align:left}tr.partial td{background:#fff8e1}"
    "tr.missing td,tr.published td{color:#6e7781}"
)


def _header() -> list[str]:
    return ["weights", "runs", *(name for name, _ in METRICS.values())]


def _state(line: Line) -> str:
    if not line.num_planned:
        return "published"
    if not line.num_runs:
        return "missing"
    return "full" if line.num_runs == line.num_planned else "partial"


def _cells(line: Line) -> list[str]:
    runs = {
        "published": "published only",
        "missing": f"0 of {line.num_planned}",
        "full": str(line.num_runs),
        "partial": f"{line.num_runs} of {line.num_planned}",
    }[_state(line)]
    return [line.row, runs, *(_cell(line, score) for score in METRICS)]


def _cell(line: Line, score: str) -> str:
    """Ours, published, difference."""
    ours, published = line.ours.get(score), line.published.get(METRICS[score][1])
    told = "–" if ours is None else str(ours)
    if published is None:
        return told
    gap = difference(line, score)
    return f"{told} / {published}" + ("" if gap is None else f" ({gap:+.2f})")


def _legend(note: str) -> str:
    words = (
        "Ours / published (difference), in percent: mean ± standard deviation over runs. – is not run. The published AA is not "
        "defined; it stands beside mean recall and mean precision both."
    )
    return f"{words} {note}".strip() + "\n"
