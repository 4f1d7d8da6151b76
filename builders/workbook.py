"""One sheet of an xlsx workbook of a stranger, as text; what is wrong with it is an error in one line.

An xlsx is a zip of XML documents. `openpyxl` unpacks them whole and believes them, so the zip is checked first, as any
archive is, and rows and columns are asked for within limits, whatever extent the sheet claims.
"""

import contextlib
import datetime as dt
import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError
from xml.parsers import expat

from builders.archive_files import FolderFiles
from builders.archive_members import DAMAGED, MIB, Limits, zip_members
from noldo.errors import InputError, one_line

MAX_FILE_BYTES = 32 * MIB
"""The published table of 24,000 tiles is a few MiB."""

LIMITS = Limits(member_bytes=64 * MIB, total_bytes=96 * MIB, members=1_000)
"""Unpacked; a sheet of 24,000 lines of 30 cells is about 30 MiB of XML."""

MAX_LINES = 1_048_576
"""What the format allows; lines that only have a format reach to there."""

MAX_COLUMNS = 256
"""Columns beyond are not looked at; the published table has fewer than 30."""

_BROKEN = (*DAMAGED, ParseError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, OSError)
"""What `openpyxl` raises for documents that lack or hold what it does not expect; some of it only when lines are read."""

Line = tuple[int, list[str]]
"""Number of a line, from 1, and its cells: as many as the header has, or more."""


def read_sheet(path: Path, *, name: str) -> list[Line]:
    """Lines of the sheet `name`, or of the only one; empty lines are left out.

    Raises
    ------
    InputError
        If there is no such sheet, or the file is no workbook, is damaged, or is larger than any table of tiles.
    """
    content = _checked_content(path)
    # E.g. of styles that are missing, or of dates that are none: such cells say `#VALUE!`.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return list(_lines(path, content, name=name))
        except InputError:
            raise
        except _BROKEN as error:
            raise InputError(
                f"{path}: not an xlsx workbook ({_reason(error)}); save it as xlsx or CSV"
            ) from None


def _checked_content(path: Path) -> bytes:
    """The bytes of the file, which are those of a zip that is safe to unpack."""
    try:
        content = FolderFiles(path.parent).read(path.name, limit=MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); give an existing file") from None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in zip_members(archive, where=str(path), limits=LIMITS):
                _refuse_entities(archive, name, where=str(path))
    except InputError:
        raise
    except (*DAMAGED, ValueError) as error:
        raise InputError(f"{path}: not an xlsx workbook ({_reason(error)}); save it as xlsx or CSV") from None
    return content


def _refuse_entities(archive: zipfile.ZipFile, name: str, *, where: str) -> None:
    """A document of an xlsx has no DTD (ECMA-376 part 2); with one, a few letters may stand for gigabytes."""

    def refuse(*_: object) -> None:
        raise InputError(f"{where}: {name!r}: defines entities, which no xlsx may; save the table as CSV")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    with (
        archive.open(name) as file,
        contextlib.suppress(expat.ExpatError),
    ):  # a picture is no XML, and not asked for
        while chunk := file.read(MIB):
            parser.Parse(chunk)


def _lines(path: Path, content: bytes, *, name: str) -> Iterator[Line]:
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    if name not in sheets and len(sheets) != 1:
        found = f"sheets {one_line(', '.join(sheets))}" if sheets else "no sheet with cells"
        raise InputError(f"{path}: {found}, expected one named {name}; rename the sheet of tiles")
    sheet = sheets[name] if name in sheets else next(iter(sheets.values()))
    rows = sheet.iter_rows(max_row=MAX_LINES + 1, max_col=MAX_COLUMNS, values_only=True)
    width = 0
    for line, row in enumerate(rows, start=1):
        if line > MAX_LINES:
            raise InputError(f"{path}: more than {MAX_LINES} lines, which no xlsx may have; save it as CSV")
        if row.count(None) == len(row):  # a sheet may say that it has a million of them
            continue
        cells = [_cell(value) for value in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            width = width or len(cells)
            yield line, cells + [""] * (width - len(cells))


def _cell(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.date().isoformat()
    return "" if value is None else str(value).strip()


def _reason(error: BaseException) -> str:
    """What a parser says, in one line; of `openpyxl`'s own paragraphs, what caused them."""
    told = error if error.__cause__ is None else error.__cause__
    return one_line(str(told)) or type(told).__name__
