"""The noise matrix T read back from what `noldo compare-labels` wrote, as CSV or as JSON."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from noldo.compare_table import CSV_COLUMNS
from noldo.confusion import LabelComparison
from noldo.errors import ConfigError, one_line


def read_transition(path: Path, *, classes: Sequence[str]) -> NDArray[np.float64]:
    """T[i, j] = P(other = j | reference = i) of a comparison, (class, class); NaN in rows that the reference never gives.

    Parameters
    ----------
    classes
        Those that T has to be of, in order.

    Raises
    ------
    ConfigError
        If the file can't be read, is none of a comparison, or is of other classes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"{path}: can't be read ({reason}); {_HOW}") from None
    readers = {".csv": _of_csv, ".json": _of_json}
    if path.suffix not in readers:
        raise ConfigError(f"{path}: expected a name that ends in .csv or .json; {_HOW}")
    return readers[path.suffix](text, classes=classes, where=str(path))


_HOW = "write it with `noldo compare-labels STORE --of CLEAN --against LABELS --csv FILE`"


def _of_json(text: str, *, classes: Sequence[str], where: str) -> NDArray[np.float64]:
    try:
        found = LabelComparison.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: not a comparison of labels ({key}: {first['msg']}); {_HOW}") from None
    if found.legend.classes != tuple(classes):
        raise ConfigError(
            f"{where}: T of {', '.join(found.legend.classes)}, but the labels have {', '.join(classes)}; compare them with labels "
            "of their own legend"
        )
    sides = {len(found.noise_matrix), *(len(row) for row in found.noise_matrix if row is not None)}
    if sides != {len(classes)}:
        raise ConfigError(f"{where}: noise_matrix is not {len(classes)} by {len(classes)}; {_HOW}")
    return found.transition()


def _of_csv(text: str, *, classes: Sequence[str], where: str) -> NDArray[np.float64]:
    reader = csv.DictReader(io.StringIO(text))
    needed = [name for name in CSV_COLUMNS if name != "pixels"]
    if missing := [name for name in needed if name not in (reader.fieldnames or ())]:
        raise ConfigError(
            f"{where}: columns {one_line(', '.join(reader.fieldnames or ())) or 'none'}, but T needs {', '.join(missing)}; {_HOW}"
        )
    found: dict[tuple[int, int], float] = {}
    for line in reader:
        place = f"{where}, line {reader.line_num}"
        pair = _class(line, "reference", classes, place), _class(line, "other", classes, place)
        if pair in found:
            raise ConfigError(f"{place}: {classes[pair[0]]} and {classes[pair[1]]} for the second time")
        found[pair] = _share(line["probability"], place)
    if len(found) != len(classes) ** 2:
        raise ConfigError(f"{where}: {len(found)} pairs of classes, expected {len(classes) ** 2}; {_HOW}")
    return np.array([[found[i, j] for j in range(len(classes))] for i in range(len(classes))])


def _class(line: dict[str, str | None], column: str, classes: Sequence[str], place: str) -> int:
    number, name = line[f"{column}_id"] or "", line[column] or ""
    known = {str(position): one for position, one in enumerate(classes)}
    if known.get(number) != name:
        raise ConfigError(
            f"{place}: {column} class {one_line(number, limit=20)} {one_line(name, limit=60)!r}, but the labels have "
            f"{', '.join(f'{position} {one}' for position, one in known.items())}; compare them with labels of their own legend"
        )
    return int(number)


def _share(text: str | None, place: str) -> float:
    """A probability; NaN where there is none."""
    try:
        return float(text) if text else np.nan
    except ValueError:
        raise ConfigError(
            f"{place}: probability {one_line(str(text), limit=40)!r}: expected a number"
        ) from None
