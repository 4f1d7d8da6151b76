"""Excel workbooks without a clock: the same cells are the same bytes."""

import datetime as dt
import io
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence

from openpyxl import Workbook  # it publishes no types

_WRITTEN = "2021-01-01T00:00:00Z"
_ZIP_TIME = (2021, 1, 1, 0, 0, 0)


def workbook(sheets: Mapping[str, Iterable[Sequence[object]]]) -> bytes:
    """A workbook with rows of cells by name of the sheet.

    Openpyxl writes down when it saved; every time in the file becomes a fixed one.
    """
    book = Workbook()
    book.remove(book.worksheets[0])
    book.properties.created = dt.datetime.fromisoformat(_WRITTEN[:-1])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    saved, timeless = io.BytesIO(), io.BytesIO()
    book.save(saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(timeless, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename == "docProps/core.xml":
                content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", _WRITTEN.encode(), content)
            target.writestr(zipfile.ZipInfo(info.filename, _ZIP_TIME), content, zipfile.ZIP_DEFLATED)
    return timeless.getvalue()
