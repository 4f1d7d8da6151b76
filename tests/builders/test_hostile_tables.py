"""Tables of strangers: a table, or one line that says which file and why."""

import io
import itertools
import os
import re
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import workbook
from builders.csv_table import number, read_csv
from builders.tile_table import read_tile_tables
from noldo.errors import InputError

SHEET = "xl/worksheets/sheet1.xml"
ROWS = (
    ("dw_id", "date", "lon", "lat"),
    ("dw_1.0_2.0-20190306", "2019-03-06", 1.0, 2.0),
    ("dw_3.0_4.0-20190307", 20190307, None, None),
)
CSV = "\n".join(",".join("" if cell is None else str(cell) for cell in row) for row in ROWS).encode()


def book_bytes() -> bytes:
    book = openpyxl.Workbook()
    for row in ROWS:
        book.active.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


BOOK = book_bytes()


def parts_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


PARTS = parts_of(BOOK)


def packed(parts: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name), part, method)
    return content.getvalue()


def refusal(path: Path, content: bytes) -> str:
    """The only line of the error."""
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_tile_tables([path])
    message = str(error.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    assert len(message) < len(str(path)) + 600
    return message


def chart_sheet_alone() -> bytes:
    book = openpyxl.Workbook()
    book.create_chartsheet("expert")
    content = io.BytesIO()
    book.save(content)
    parts = parts_of(content.getvalue())
    sheet = re.compile(rb'<sheet [^>]*name="Sheet"[^>]*/>')
    return packed({**parts, "xl/workbook.xml": sheet.sub(b"", parts["xl/workbook.xml"])})


def with_sheet(change: Callable[[bytes], bytes]) -> bytes:
    return packed({**PARTS, SHEET: change(PARTS[SHEET])})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an xlsx workbook"),
        (b"dw_id,date\n", "not an xlsx workbook"),
        (packed({}), "not an xlsx workbook"),
        (packed({"[Content_Types].xml": b""}), "not an xlsx workbook"),
        (BOOK[: len(BOOK) // 2], "not an xlsx workbook"),
        (packed({**PARTS, "xl/workbook.xml": b"<workbook"}), "not an xlsx workbook"),
        (packed({**PARTS, "xl/styles.xml": b"\xff"}), "not an xlsx workbook"),
        (packed({name: part for name, part in PARTS.items() if name != SHEET}), "no sheet with cells"),
        (chart_sheet_alone(), "no sheet with cells|not an xlsx workbook"),
        (with_sheet(lambda xml: xml[:-40]), "not an xlsx workbook"),
        (with_sheet(lambda _: b""), "not an xlsx workbook"),
        (with_sheet(lambda _: b"<worksheet/>"), "empty; expected one place a line"),
        (with_sheet(lambda xml: xml.replace(b't="n"', b't="s"')), "not an xlsx workbook"),
        (with_sheet(lambda xml: xml.replace(b'r="A2"', b'r="2"')), "not an xlsx workbook"),
        (
            with_sheet(lambda xml: xml.replace(b'<row r="3"', b'<row r="99999999999"')),
            "more than 1048576 lines",
        ),
        (packed({**PARTS, "../escape": b""}), "a path that leads out of the archive"),
        (packed({**PARTS, **{f"{number}": b"" for number in range(1_000)}}), "or 1000 files"),
    ],
    ids=range(17),
)
def test_a_broken_workbook_is_refused_in_one_line(tmp_path, content, words):
    assert re.search(words, refusal(tmp_path / "x.xlsx", content))


def test_a_workbook_that_unpacks_to_more_than_a_table_is_refused_before_it_is_unpacked(tmp_path):
    content = with_sheet(lambda xml: xml.replace(b"<sheetData>", b"<sheetData>" + b"<row/>" * (12 << 20)))
    assert len(content) < 1 << 20
    tracemalloc.start()
    try:
        assert "bytes unpacked, at most 67108864 are read" in refusal(tmp_path / "x.xlsx", content)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_that_multiplies_itself_is_refused(tmp_path, encoding):
    laughs = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in itertools.pairwise("abcdefghij"))
    head = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [<!ENTITY a "ha">{laughs}]>'
    content = with_sheet(lambda xml: (head + xml.decode().replace("dw_id", "&j;")).encode(encoding))
    assert f"{SHEET!r}: defines entities" in refusal(tmp_path / "x.xlsx", content)


def test_a_sheet_may_claim_any_extent(tmp_path):
    path = tmp_path / "x.xlsx"
    path.write_bytes(
        with_sheet(lambda xml: re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1:XFD1048576"', xml))
    )
    assert len(read_tile_tables([path])) == 2


def test_cells_that_are_empty_at_the_end_of_a_line_are_there(tmp_path):
    (tmp_path / "x.xlsx").write_bytes(BOOK)
    assert workbook.read_sheet(tmp_path / "x.xlsx", name="expert")[2] == (
        *(3, ["dw_3.0_4.0-20190307", "20190307", "", ""]),
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (CSV.replace(b"1.0,", b"1\0,"), "line 2: a NUL byte"),
        (CSV.decode().encode("utf-16"), "line 1: a NUL byte"),
        (CSV.replace(b"dw_1", b"dw_\xfc"), "not UTF-8"),
        (CSV + b'\n"' + b"x" * 200_000, "field larger than field limit"),
        (b"," * 100_000 + b"x", "no columns for name"),
        (b'dw_id,date\n"a\nb-20190101",', "no name of a file"),
        (b"dw_id\n" + b"x" * 10_000, "no name of a file"),
        (b"dw_id,date\nhere," + b"x" * 10_000, "no date of tile"),
    ],
    ids=range(9),
)
def test_a_broken_csv_is_refused_in_one_line(tmp_path, content, words):
    assert words in refusal(tmp_path / "x.csv", content)


@pytest.mark.parametrize("name", ["x.csv", "x.xlsx"])
def test_what_is_no_file_or_too_large_is_refused(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(InputError, match=r"can't be read \(No such file or directory\)"):
        read_tile_tables([path])
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(InputError, match=r"1073741824 bytes, expected at most"):
        read_tile_tables([path])
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a regular file"):
        read_tile_tables([path])


@pytest.mark.parametrize("degrees", ["nan", "inf", "1e999", "181"])
def test_degrees_that_are_none_are_not_there(tmp_path, degrees):
    path = tmp_path / "x.csv"
    path.write_text(f"dw_id,date,lon,lat\nhere,20190101,{degrees},{degrees}\n")
    (tile,) = read_tile_tables([path])
    assert (tile.lon, tile.lat) == (None, None)


EDITS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4)), min_size=1, max_size=4)


def edited(content: bytes, edits: list[tuple[float, bytes]]) -> bytes:
    """Some bytes are others, or gone."""
    for where, new in edits:
        at = int(where * len(content))
        content = content[:at] + new + content[at + max(len(new), 1) :]
    return content


def assert_table_or_one_line(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    message = ""
    try:
        read_tile_tables([path])
    except InputError as error:
        message = str(error)
    assert message.isprintable()


FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(EDITS)
def test_any_edited_csv_is_a_table_or_one_line(tmp_path, edits):
    assert_table_or_one_line(tmp_path / "x.csv", edited(CSV, edits))


@FEW
@given(EDITS)
def test_any_edited_workbook_is_a_table_or_one_line(tmp_path, edits):
    assert_table_or_one_line(tmp_path / "x.xlsx", edited(BOOK, edits))


@FEW
@given(st.sampled_from(sorted(PARTS)), EDITS)
def test_any_edited_document_of_a_workbook_is_a_table_or_one_line(tmp_path, name, edits):
    """Packed anew, so that no checksum gives it away."""
    content = packed({**PARTS, name: edited(PARTS[name], edits)}, method=zipfile.ZIP_STORED)
    assert_table_or_one_line(tmp_path / "x.xlsx", content)


def test_a_message_repeats_no_more_than_a_little_of_a_table(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("lon,lat\n" + "x" * 100_000 + ",1\n")
    (row,) = read_csv(path, aliases={"lon": "lon"}, required=("lon",))
    with pytest.raises(InputError, match=r"lon is 'x{200}', expected a number") as error:
        number(path, row, "lon")
    assert str(error.value).isprintable()
