"""Tables of expert-labelled tiles, as Dynamic World publishes them.

Read are `v1_dw_tile_metadata_for_public_release.xlsx` of PANGAEA 933475 (sheet `expert`), the same columns as CSV, and
`meta.csv` of the validation tiles (Zenodo 4766508). Columns are known by their names, in any order:

* `dw_id`, or `filename` of the validation tiles: the name of the tile, which is that of its label file;
* `date`; without one, the eight digits at the end of the name;
* `S2_PRODUCT_ID`, or `s2_system_index` of the validation tiles: the scene that was labelled;
* `lon`, `lat`, `biome` (or `biome_name`), `hemisphere`: kept in the index.

The coordinates only place tiles whose label can't be read; everything else follows from the label itself.
"""

import datetime as dt
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builders.csv_table import Row, named_rows, read_csv
from builders.points import refuse
from noldo.errors import InputError

logger = logging.getLogger(__name__)

_ALIASES = {
    "dw_id": "name",
    "filename": "name",
    "date": "date",
    "s2_product_id": "product_id",
    "s2_system_index": "scene_index",
    "lon": "lon",
    "lat": "lat",
    "biome": "biome",
    "biome_name": "biome_name",
    "hemisphere": "hemisphere",
}

_SHEET = "expert"
_PRODUCT_ID = re.compile(r"S2[A-D]_MSIL\d[AC]_(?P<datatake>\d{8}T\d{6})_\w+_T(?P<tile>\w{5})_\w+")
"""ESA's compact naming: sensing time of the datatake, then baseline, orbit, tile."""

_INDEX = re.compile(r"(?P<datatake>\d{8}T\d{6})_\w+_T(?P<tile>\w{5})")
_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})\b.*")
_DATE_OF_NAME = re.compile(r"(\d{8})$")
_PLACE_OF_NAME = re.compile(r"(?P<lon>-?\d+[.p]\d+)_(?P<lat>-?\d+[.p]\d+)-\d{8}$")


@dataclass(frozen=True)
class TileRow:
    """One tile, as a table has it."""

    name: str
    """E.g. `dw_-0.6481384406_6.8231873947-20190226`."""
    date: dt.date
    """Of the labelled image."""
    labelled_scene: str
    """`DATATAKE_TILE`, as `builders.records.Location.labelled_scene`; empty if the table does not say."""
    lon: float | None
    lat: float | None
    biome: str
    hemisphere: str
    is_validation: bool
    """It stands in the table of the validation tiles."""
    names_unread_scene: bool
    """The table names a scene, but not as ESA or Earth Engine do."""
    where: str
    """File and line, for messages."""


def read_tile_tables(paths: Sequence[Path]) -> list[TileRow]:
    """All tiles of some tables, by name.

    Raises
    ------
    InputError
        If a table can't be used, a tile has no date, or a name stands there twice.
    """
    tiles = [_tile(path, row) for path in paths for row in _read(path)]
    unread = [tile.where for tile in tiles if tile.names_unread_scene]
    if unread:
        logger.warning(
            "%d tiles name a scene that can't be read as a name of Sentinel-2 (the first: %s); the scene nearest in time is "
            "taken for the labelled one's place",
            len(unread),
            unread[0],
        )
    counts = Counter(tile.name for tile in tiles)
    for path in paths[:1]:
        repeated = [f"{name} ({times} times)" for name, times in counts.items() if times > 1]
        refuse(path, repeated, found="tiles stand in the tables more than once", remedy="remove the others")
    return sorted(tiles, key=lambda tile: tile.name)


def _read(path: Path) -> list[Row]:
    if path.suffix.lower() == ".xlsx":
        return named_rows(path, _sheet(path), aliases=_ALIASES, required=("name",))
    return read_csv(path, aliases=_ALIASES, required=("name",))


def _sheet(path: Path) -> list[tuple[int, list[str]]]:
    """(line, cells) of the sheet `expert`, or of the only one; empty lines are left out."""
    import zipfile

    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror or error}); give an existing file"
        ) from None
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InputError(f"{path}: not an xlsx workbook ({error}); save it as xlsx or CSV") from None
    try:
        if _SHEET not in book.sheetnames and len(book.sheetnames) > 1:
            raise InputError(
                f"{path}: sheets {', '.join(book.sheetnames)}, expected one named {_SHEET}; rename the sheet of tiles"
            )
        sheet = book[_SHEET] if _SHEET in book.sheetnames else book[book.sheetnames[0]]
        rows = [
            (line, [_cell(value) for value in cells])
            for line, cells in enumerate(sheet.iter_rows(values_only=True), start=1)
        ]
    finally:
        book.close()
    return [(line, cells) for line, cells in rows if any(cells)]


def _cell(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.date().isoformat()
    return "" if value is None else str(value).strip()


def _tile(path: Path, row: Row) -> TileRow:
    cells = row.cells
    where = f"{path}, line {row.line}"
    name = Path(cells["name"]).name.removesuffix(".tif").removeprefix("label_")
    if not name:
        raise InputError(f"{where}: a tile without a name; complete or remove this line")
    found = _scene(cells)
    place = _PLACE_OF_NAME.search(name)
    return TileRow(
        name=name,
        date=_date(cells.get("date", ""), name=name, index=cells.get("scene_index", ""), where=where),
        labelled_scene=f"{found['datatake']}_{found['tile']}" if found else "",
        lon=_degrees(cells.get("lon", "")) if place is None else _degrees(place["lon"]),
        lat=_degrees(cells.get("lat", "")) if place is None else _degrees(place["lat"]),
        biome=cells.get("biome_name") or cells.get("biome", ""),
        hemisphere=cells.get("hemisphere", ""),
        is_validation=bool(cells.get("scene_index")),
        names_unread_scene=found is None and any(cells.get(key) for key in ("scene_index", "product_id")),
        where=where,
    )


def _scene(cells: Mapping[str, str]) -> re.Match[str] | None:
    """The scene that either column names, as ESA or as Earth Engine does; None if neither can be read."""
    names = [cells.get(column, "").removesuffix(".SAFE") for column in ("scene_index", "product_id")]
    found = [pattern.fullmatch(name) for name in names for pattern in (_INDEX, _PRODUCT_ID)]
    return next((match for match in found if match), None)


def _date(text: str, *, name: str, index: str, where: str) -> dt.date:
    at_end = _DATE_OF_NAME.search(name)
    for candidate in (text, at_end[1] if at_end else "", index[:8]):
        found = _DATE.fullmatch(candidate)
        if found:
            try:
                return dt.date(*(int(part) for part in found.groups()))
            except ValueError:
                continue
    raise InputError(
        f"{where}: no date of tile {name!r} (date {text!r}); expected YYYY-MM-DD, or YYYYMMDD at the end of the name"
    )


def _degrees(text: str) -> float | None:
    try:
        return float(text.replace("p", "."))
    except ValueError:
        return None
