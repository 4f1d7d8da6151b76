"""`audit.csv`: a line a patch, as the audit writes it and a recipe reads it (`data.drop_worst`)."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from noldo.atomic import atomic_file
from noldo.errors import ConfigError, one_line


@dataclass(frozen=True)
class Row:
    """One patch."""

    id: int
    """Of its location."""
    num_runs: int
    """Networks that judged it."""
    in_sample: bool
    """They learnt from it: their memory of its labels makes them look right."""
    labelled_px: int
    """Labelled and observed pixels, over all seasons that were looked at."""
    disputed: float
    """Share of them whose predicted class is another one; NaN without any."""
    worst_pair: str
    """`label > prediction` of most disputed pixels; empty: none."""
    scores: Mapping[str, float]
    """Name to value; NaN without labelled pixels."""
    ranks: Mapping[str, int]
    """Name to rank, 1 the worst; 0: not judged."""
    wrong: float | None = None
    """Share of labelled pixels that are wrong, where clean labels are known."""


def to_csv(rows: Sequence[Row]) -> bytes:
    """The table, in order of the rows; unrounded, what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(rows[0].scores) if rows else []
    has_truth = any(row.wrong is not None for row in rows)
    head = ["id", "num_runs", "in_sample", "labelled_px", "disputed", "worst_pair"]
    head += [*names, *(f"rank_{name}" for name in names), *(["wrong"] if has_truth else [])]
    writer.writerow(head)
    for row in rows:
        facts = [
            row.id,
            row.num_runs,
            int(row.in_sample),
            row.labelled_px,
            _told(row.disputed),
            row.worst_pair,
        ]
        numbers = [_told(row.scores[name]) for name in names]
        ranks = [row.ranks[name] or "" for name in names]
        writer.writerow([*facts, *numbers, *ranks, *([_told(row.wrong)] if has_truth else [])])
    return text.getvalue().encode()


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write the table.

    Raises
    ------
    StoreError
        If it can't be written.
    """
    with atomic_file(path) as file:
        file.write(to_csv(rows))


def read_ranks(path: Path, *, score: str) -> dict[int, int]:
    """Id of each patch in a table to its rank by a score, 1 the worst; 0: not judged.

    Raises
    ------
    ConfigError
        If it can't be read, or has no such score.
    """
    column = f"rank_{score}"
    try:
        lines = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{path}: can't be read ({one_line(str(error))}); give the audit.csv of `noldo audit`"
        ) from None
    if not lines or not {"id", column} <= lines[0].keys():
        there = ", ".join(
            name.removeprefix("rank_") for name in (lines[0] if lines else {}) if name.startswith("rank_")
        )
        raise ConfigError(
            f"{path}: no patch that is ranked by {score}; it has {there or 'no scores'}; give the audit.csv of `noldo audit`"
        )
    try:
        return {int(line["id"]): int(line[column] or 0) for line in lines}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: an id or a rank is no number ({one_line(str(error))})") from None


def _told(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(value)
