"""Tables of places as people have them: CSV with or without a header, and messages that name the line."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builders.archive_files import FolderFiles
from builders.archive_members import MIB
from noldo.errors import InputError

MAX_FILE_BYTES = 64 * MIB
"""A million places are about 50 MiB."""

MAX_SHOWN = 200
"""Letters of a cell or header that a message repeats."""


@dataclass(frozen=True)
class Row:
    """One record of a CSV file."""

    line: int
    """Number of the record's last line in the file, from 1."""
    cells: Mapping[str, str]
    """Column name to text, without surrounding blanks."""


def read_csv(
    path: Path, *, aliases: Mapping[str, str], required: Sequence[str], headless: Sequence[str] = ()
) -> list[Row]:
    """Read a comma-separated UTF-8 file.

    Parameters
    ----------
    aliases
        Lower-case header to the name it is known by; other columns are not read.
    required
        Names that must be there.
    headless
        Names of the first columns, if the first record consists of numbers only: then the file has no
        header. Empty: a header is needed. With fewer columns than names, the first names are left out.

    Returns
    -------
    All records; blank lines are no records.

    Raises
    ------
    InputError
        If the file can't be read, has no records, lacks a column, or a record is too short.
    """
    return named_rows(path, _records(path), aliases=aliases, required=required, headless=headless)


def named_rows(
    path: Path,
    records: Sequence[tuple[int, Sequence[str]]],
    *,
    aliases: Mapping[str, str],
    required: Sequence[str],
    headless: Sequence[str] = (),
) -> list[Row]:
    """Records of any kind of table as rows with named cells; parameters and errors as of `read_csv`.

    Parameters
    ----------
    records
        (line, cells) of each record; the first is the header.
    """
    if not records:
        raise InputError(f"{path}: empty; expected one place a line, with {_list(required)}")
    first_line, first = records[0]
    if headless and all(_is_number(cell) for cell in first):
        names: list[str] = list(headless)[max(0, len(headless) - len(first)) :]
    else:
        names = [aliases.get(cell.lower(), "") for cell in first]
        records = records[1:]
    for name in required:
        if names.count(name) != 1:
            raise InputError(
                f"{path}, line {first_line}: {names.count(name) or 'no'} columns for {name} among "
                f"{', '.join(first)[:MAX_SHOWN]!r}; name the columns {_list(required)} in a header"
            )
    if not records:
        raise InputError(f"{path}: a header, but no places below it; add one place a line")
    return [_row(path, line, cells, names) for line, cells in records]


def number(path: Path, row: Row, name: str) -> float:
    """A finite number from a cell.

    Raises
    ------
    InputError
        With file, line, column and what was found.
    """
    text = row.cells[name]
    if not _is_number(text):
        raise InputError(
            f"{path}, line {row.line}: {name} is {text[:MAX_SHOWN]!r}, expected a number with a decimal point; "
            "correct or remove this line"
        )
    return float(text)


def _records(path: Path) -> list[tuple[int, list[str]]]:
    try:
        content = FolderFiles(path.parent).read(path.name, limit=MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); give an existing file") from None
    if b"\0" in content:  # the parser would take it for a letter
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise InputError(f"{path}, line {line}: a NUL byte, which no text has; save the table as UTF-8")
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        return [
            (reader.line_num, [cell.strip() for cell in cells])
            for cells in reader
            if any(cell.strip() for cell in cells)
        ]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    except csv.Error as error:
        raise InputError(f"{path}: not CSV ({error}); save it as comma-separated text") from None


def _row(path: Path, line: int, cells: Sequence[str], names: Sequence[str]) -> Row:
    named = {name: cell for name, cell in zip(names, cells, strict=False) if name}
    if missing := [name for name in names if name and name not in named]:
        raise InputError(
            f"{path}, line {line}: {len(cells)} cells, so {_list(missing)} is missing; "
            "complete or remove this line"
        )
    return Row(line=line, cells=named)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
