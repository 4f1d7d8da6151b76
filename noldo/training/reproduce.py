"""A study, from its file to its table: what is missing is run, what is there is read."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noldo.atomic import atomic_file, write_errors
from noldo.errors import CheckpointError, NoldoError, RunInterruptedError
from noldo.training.recipe import OneModality
from noldo.training.results_table import (
    METRICS,
    Line,
    RunScores,
    csv_of,
    figure_of,
    html_page,
    markdown,
    published_figures,
    read_published,
)
from noldo.training.run_folder import RunFolder
from noldo.training.runs import Running, is_finished, is_first_rank, num_ranks, read_result, run_recipe
from noldo.training.study import WHOLE, PlannedRun, Share, Study, located, plan
from noldo.training.study_figure import write_study_figure

_LOG = logging.getLogger(__name__)

_MOVED = ("weights",)
"""Keys that may differ where a study makes the weights itself: its folder may have been moved."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Reproduced:
    """What is there after a call."""

    lines: tuple[Line, ...]
    refused: Mapping[str, str]
    """Folder of a run that can't be made here, to the reason."""
    markdown: str
    html: str


def reproduce(
    study: Study,
    *,
    where: Path,
    out: Path,
    seeds: Sequence[int] | None = None,
    changes: Mapping[str, Any] | None = None,
    running: Running | None = None,
    only_table: bool = False,
    share: Share = WHOLE,
    tell: Tell | None = None,
) -> Reproduced:
    """Run what is missing of a study, and put its results beside the published ones.

    A run that can't be made (its weights or its store are not on disk, its loss is no number) is named in the table's note, and the
    others go on. The table is written in any case, with what is there.

    Parameters
    ----------
    where
        File of the study: published results are looked for beside it.
    out
        Folder of all runs, and of `table.md`, `table.html`, `runs.csv` (each finished run, unrounded) and `figure.png`
        (where the study has curves).
    only_table
        Nothing is run.
    share
        Which of the missing runs are run; the table is of all that are finished.
    tell
        Called with a line before each run.

    Raises
    ------
    ConfigError
        If a recipe of the study is wrong.
    CheckpointError
        If there are results of other settings in the folder.
    RunInterruptedError
        If it was asked to stop; the same call goes on.
    """
    chosen = tuple(seeds or study.seeds)
    runs = plan(study, seeds=chosen, where=str(where), changes=changes)
    for run in runs:
        _require_same(run, out=out)
    refused: dict[str, str] = {}
    try:
        if not only_table:
            _run_missing(runs, refused, share=share, out=out, running=running, tell=tell)
    finally:
        found = _written(study, runs, refused, where=where, out=out)
    return found


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Shares of one study write its table one after the other."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with write_errors(folder), (folder / ".table.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _require_same(run: PlannedRun, *, out: Path) -> None:
    """Refuse a folder of another recipe: its result is not of this study. The path of weights from the study may be written anew."""
    if told := RunFolder(out / run.folder).differences(run.recipe, but=_MOVED if run.needs else ()):
        raise CheckpointError(
            f"{out / run.folder}: belongs to a run with other settings ({told}); give the study another --out, or its old settings"
        )


def _written(
    study: Study, runs: Sequence[PlannedRun], refused: Mapping[str, str], *, where: Path, out: Path
) -> Reproduced:
    """Table, raw results and figure of what is finished."""
    published = read_published(where.parent / study.results) if study.results else []
    lines = (*_lines(study, runs, out=out, published=published), *_only_published(study, published))
    unjudged = [
        run.folder
        for run in runs
        if run.row and is_finished(out / run.folder) and _judged(run, out=out) is None
    ]
    notes = [study.note, *(f"{folder} was not run: {reason}." for folder, reason in refused.items())]
    notes += [f"{folder} has no val split, so nothing judges it." for folder in unjudged]
    note = " ".join(notes)
    found = Reproduced(
        lines=lines,
        refused=refused,
        markdown=markdown(lines, title=study.name, note=note.strip()),
        html=html_page(lines, title=study.name, note=note.strip()),
    )
    if is_first_rank():
        with _alone_in(out):
            raw = csv_of(_scores_of_runs(runs, out=out))
            for name, text in (("table.md", found.markdown), ("table.html", found.html), ("runs.csv", raw)):
                with atomic_file(out / name) as file:
                    file.write(text.encode())
            if study.curves is not None:
                write_study_figure(out / "figure.png", lines, curves=study.curves, title=study.name)
    return found


def _run_missing(
    runs: Sequence[PlannedRun],
    refused: dict[str, str],
    *,
    share: Share,
    out: Path,
    running: Running | None,
    tell: Tell | None,
) -> None:
    """Run what is not finished; `refused` is filled with folders of what can't be run, and why."""
    mine = share.of_runs(runs)
    missing = [run for run in mine if not is_finished(out / run.folder)]
    for position, run in enumerate(missing, start=1):
        if tell is not None:
            tell(f"run {position} of {len(missing)}: {run.folder}")
        if broken := [one for one in run.needs if one in refused]:
            refused[run.folder] = f"needs {broken[0]}"
            continue
        if waiting := [one for one in run.needs if not is_finished(out / one)]:
            refused[run.folder] = f"needs {waiting[0]}, which share 1 makes; give the command again then"
            continue
        try:
            run_recipe(
                located(run, folder=out),
                out=out / run.folder,
                running=running,
                may_differ=_MOVED if run.needs else (),
            )
        except NoldoError as error:
            # Of several ranks one alone may have failed: the others are still in this run.
            if isinstance(error, RunInterruptedError) or num_ranks() > 1:
                raise
            _LOG.warning("%s: %s", run.folder, error)
            refused[run.folder] = str(error)


def _lines(
    study: Study, runs: Sequence[PlannedRun], *, out: Path, published: Sequence[Mapping[str, str]]
) -> list[Line]:
    lines = []
    for row in study.rows:
        for column in study.columns:
            planned = [run for run in runs if (run.row, run.column) == (row.name, column)]
            results = [found for run in planned if (found := _judged(run, out=out)) is not None]
            lines.append(
                Line(
                    row=row.name,
                    column=column,
                    ours=_figures(results),
                    published=published_figures(published, row.published, column=column),
                    num_runs=len(results),
                    num_planned=len(planned),
                )
            )
    return lines


def _scores_of_runs(runs: Sequence[PlannedRun], *, out: Path) -> list[RunScores]:
    """Of each finished run that is part of a row."""
    return [
        RunScores(
            row=run.row,
            column=run.column,
            seed=run.seed,
            modality=run.recipe.modality if isinstance(run.recipe, OneModality) else "",
            result=found,
        )
        for run in runs
        if run.row and (found := _judged(run, out=out)) is not None
    ]


def _judged(run: PlannedRun, *, out: Path) -> dict[str, Any] | None:
    """The result of a finished run that has scores; pretraining without a val split has none."""
    if not is_finished(out / run.folder):
        return None
    found = read_result(out / run.folder)
    return found if "scores" in found else None


def _figures(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not results:
        return {}
    return {score: figure_of([one["scores"][score] for one in results]) for score in METRICS}


def _only_published(study: Study, published: Sequence[Mapping[str, str]]) -> list[Line]:
    """Rows that this project can't run."""
    lines = []
    for wanted in study.published_only:
        bands = f", {wanted['s2_bands']} bands" if wanted.get("s2_bands") else ""
        told = " ".join(wanted[key] for key in ("input", "weights", "backbone") if wanted.get(key))
        name = told + bands
        for column in study.columns:
            figures = published_figures(published, wanted, column=column)
            lines.append(Line(name, column, {}, figures, num_runs=0, num_planned=0))
    return lines
