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

from builders.csv_table import Row, named_rows, read_csv
from builders.points import refuse
from builders.scene_names import DatatakeTile, of_index, of_product_id
from builders.tile_names import date_digits, tile_centre
from builders.workbook import read_sheet
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
_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})\b.*")
_MAX_NAME = 200
"""File systems take 255 bytes, with the ending."""


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
        return named_rows(path, read_sheet(path, name=_SHEET), aliases=_ALIASES, required=("name",))
    return read_csv(path, aliases=_ALIASES, required=("name",))


def _tile(path: Path, row: Row) -> TileRow:
    cells = row.cells
    where = f"{path}, line {row.line}"
    name = Path(cells["name"]).name.removesuffix(".tif").removeprefix("label_")
    if not name:
        raise InputError(f"{where}: a tile without a name; complete or remove this line")
    if len(name) > _MAX_NAME or not name.isprintable():
        raise InputError(
            f"{where}: {name[:_MAX_NAME]!r} is no name of a file, expected that of a tile; correct this line"
        )
    scene = _scene(cells)
    lon, lat = tile_centre(name) or (cells.get("lon", ""), cells.get("lat", ""))
    return TileRow(
        name=name,
        date=_date(cells.get("date", ""), name=name, index=cells.get("scene_index", ""), where=where),
        labelled_scene=scene.text if scene else "",
        lon=_degrees(lon, limit=180),
        lat=_degrees(lat, limit=90),
        biome=cells.get("biome_name") or cells.get("biome", ""),
        hemisphere=cells.get("hemisphere", ""),
        is_validation=bool(cells.get("scene_index")),
        names_unread_scene=scene is None and any(cells.get(key) for key in ("scene_index", "product_id")),
        where=where,
    )


def _scene(cells: Mapping[str, str]) -> DatatakeTile | None:
    """The scene that either column names, as ESA or as Earth Engine does; None if neither can be read."""
    names = [cells.get(column, "").removesuffix(".SAFE") for column in ("scene_index", "product_id")]
    found = (read(name) for name in names for read in (of_index, of_product_id))
    return next((scene for scene in found if scene), None)


def _date(text: str, *, name: str, index: str, where: str) -> dt.date:
    for candidate in (text, date_digits(name), index[:8]):
        found = _DATE.fullmatch(candidate)
        if found:
            try:
                return dt.date(*(int(part) for part in found.groups()))
            except ValueError:
                continue
    raise InputError(
        f"{where}: no date of tile {name!r} (date {text[:_MAX_NAME]!r}); expected YYYY-MM-DD, or YYYYMMDD at the end of the name"
    )


def _degrees(text: str, *, limit: float) -> float | None:
    try:
        degrees = float(text.replace("p", "."))
    except ValueError:
        return None
    return degrees if abs(degrees) <= limit else None
