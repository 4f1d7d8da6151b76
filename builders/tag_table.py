"""Which tags of OpenStreetMap mean which class: tables in `tag_tables/`, or the user's own, and the rule that reads them.

A table is a CSV with the columns key, value, class and, where it ranks classes, priority. Comment lines above the
header say its `# name:`, `# version:`, `# source:` and `# keys:`, the order in which keys are asked. The key `*`
stands for every one of them. A value that lists several (`forest;meadow`) is no value of the table.
"""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builders.config_labels import TAG_TABLES
from noldo.errors import ConfigError, InputError
from noldo.legend import OSM_LAND_USE

Tags = Mapping[str, str]

DEFAULT_KEYS = ("landuse", "natural", "leisure")
"""Order of the keys where a table does not say."""

LINEAR_VALUES = frozenset({"arete", "cliff", "coastline", "ridge", "tree_row"})
"""Values of `natural` that a closed way goes around without filling it (OpenStreetMap wiki, Overpass turbo/Polygon
Features, which osmnx follows)."""

AREA_RELATIONS = frozenset({"multipolygon", "boundary"})
"""Values of `type` that make a relation an area, for osmnx and GDAL as for osmium."""

_COLUMNS = ("key", "value", "class")
_PRIORITY = "priority"
_ANY_KEY = "*"


@dataclass(frozen=True)
class TagTable:
    """Tags, each with a class."""

    name: str
    """Identifier, e.g. `ohsome-1`; a file without one is called as the file is."""
    version: str
    """May be empty."""
    source: str
    """Who says so; may be empty."""
    keys: tuple[str, ...]
    """In the order in which they are asked."""
    classes: Mapping[tuple[str, str], int]
    """(key, value) to class id of `noldo.legend.OSM_LAND_USE`."""
    priorities: Mapping[int, int]
    """Class id to its rank where areas overlap, 1 wins; empty if the table ranks none."""
    text: str
    """The file as it was read, for provenance."""

    @property
    def digest(self) -> str:
        """64 hex digits that change with what the table decides: not with its name or its comments."""
        classes = sorted((*tag, class_id) for tag, class_id in self.classes.items())
        decides = json.dumps([self.keys, classes, sorted(self.priorities.items())])
        return hashlib.sha256(decides.encode()).hexdigest()


def class_of(tags: Tags, table: TagTable) -> int | None:
    """Class of the first tag that the table lists, keys in the table's order; None if it lists none."""
    for key in table.keys:
        class_id = table.classes.get((key, tags.get(key, "")))
        if class_id is not None:
            return class_id
    return None


def area_class(tags: Tags, table: TagTable, *, osm_type: str) -> int | None:
    """Class of an object as an area; None if it is none, or none that the table lists.

    The one rule of all routes. A closed way with `area=no` is no area; one of `LINEAR_VALUES` makes none either
    (another tag of the same way may), unless `area=yes` says so. Relations are areas by their type, so all their
    tags count.

    Parameters
    ----------
    osm_type
        `way` (a closed one) or `relation` (of type multipolygon or boundary).
    """
    if osm_type == "way":
        if tags.get("area") == "no":
            return None
        if tags.get("natural") in LINEAR_VALUES and tags.get("area") != "yes":
            tags = {key: value for key, value in tags.items() if key != "natural"}
    return class_of(tags, table)


def ranked(table: TagTable) -> Mapping[int, int]:
    """Priorities of a table that must have some.

    Raises
    ------
    ConfigError
        If the table ranks no classes.
    """
    if not table.priorities:
        raise ConfigError(
            f"tag table {table.name}: it has no priorities, so overlaps can't be settled by them; "
            "let the smaller area win, or give a table with a column `priority`, e.g. osmlanduser-1"
        )
    return table.priorities


def bundled_tables() -> tuple[str, ...]:
    """Names of the tables that come with the project."""
    return tuple(sorted(path.stem for path in TAG_TABLES.glob("*.csv")))


def load_tag_table(name_or_path: str | Path) -> TagTable:
    """A table that comes with the project, by name, or the user's own, by path.

    Raises
    ------
    InputError
        With the line that can't be used, or the names there are.
    """
    path = TAG_TABLES / f"{name_or_path}.csv" if str(name_or_path) in bundled_tables() else Path(name_or_path)
    return _Parser(path, _read(path)).table()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: no such tag table ({error.strerror}); give an existing CSV, "
            f"or one of {', '.join(bundled_tables())}"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None


class _Parser:
    """Reads one table; what it has found so far is what later lines are checked against."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.comments: dict[str, str] = {}
        self.keys: tuple[str, ...] = DEFAULT_KEYS
        self.classes: dict[tuple[str, str], int] = {}
        self.lines: dict[tuple[str, str], int] = {}
        self.priorities: dict[int, int] = {}

    def table(self) -> TagTable:
        """The whole file."""
        records = []
        for number, line in enumerate(self.text.splitlines(), start=1):
            if line.lstrip().startswith("#"):
                self._comment(line)
            elif line.strip():
                records.append((number, [cell.strip() for cell in next(csv.reader([line]))]))
        self.keys = self._key_order()
        if not records:
            raise InputError(
                f"{self.path}: no rows; expected a header {','.join(_COLUMNS)} and one tag a line"
            )
        columns = self._columns(*records[0])
        for number, cells in records[1:]:
            self._row(number, cells, columns)
        if not self.classes:
            raise InputError(f"{self.path}: a header, but no tags below it; add one tag a line")
        return TagTable(
            name=self.comments.get("name", self.path.stem),
            version=self.comments.get("version", ""),
            source=self.comments.get("source", ""),
            keys=self.keys,
            classes=self.classes,
            priorities=self.priorities,
            text=self.text,
        )

    def _comment(self, line: str) -> None:
        name, colon, value = line.lstrip("# \t").partition(":")
        if colon and name in ("name", "version", "source", "keys"):
            self.comments[name] = value.strip()

    def _key_order(self) -> tuple[str, ...]:
        if "keys" not in self.comments:
            return DEFAULT_KEYS
        keys = tuple(key.strip() for key in self.comments["keys"].split(",") if key.strip())
        if not keys or len(set(keys)) < len(keys) or _ANY_KEY in keys:
            raise InputError(
                f"{self.path}: keys are {self.comments['keys']!r}, expected different ones with commas between, "
                f"as in `# keys: {', '.join(DEFAULT_KEYS)}`"
            )
        return keys

    def _columns(self, number: int, cells: Sequence[str]) -> dict[str, int]:
        columns = {cell.lower(): position for position, cell in enumerate(cells)}
        for name in _COLUMNS:
            if name not in columns:
                raise self._error(
                    number,
                    f"no column `{name}` among {', '.join(cells)!r}",
                    f"the header {','.join(_COLUMNS)}",
                )
        return columns

    def _row(self, number: int, cells: Sequence[str], columns: Mapping[str, int]) -> None:
        if len(cells) < len(columns):
            raise self._error(number, f"{len(cells)} cells", f"{len(columns)}: {','.join(columns)}")
        key, value, class_name = (cells[columns[name]] for name in _COLUMNS)
        if class_name not in OSM_LAND_USE.classes:
            raise self._error(
                number, f"unknown class {class_name!r}", f"one of {', '.join(OSM_LAND_USE.classes)}"
            )
        if key not in (*self.keys, _ANY_KEY):
            raise self._error(
                number,
                f"key {key!r}",
                f"one of {', '.join(self.keys)}, or {_ANY_KEY} for all; or add it to `# keys:`",
            )
        if not value:
            raise self._error(number, "no value", "the value of a tag")
        class_id = OSM_LAND_USE.classes.index(class_name)
        for each in self.keys if key == _ANY_KEY else (key,):
            self._add(number, (each, value), class_id)
        if _PRIORITY in columns:
            self._rank(number, class_id, cells[columns[_PRIORITY]])

    def _add(self, number: int, tag: tuple[str, str], class_id: int) -> None:
        if tag in self.classes:
            raise self._error(
                number, f"{tag[0]}={tag[1]} again, as in line {self.lines[tag]}", "every tag once"
            )
        self.classes[tag] = class_id
        self.lines[tag] = number

    def _rank(self, number: int, class_id: int, cell: str) -> None:
        if not cell.isdecimal() or int(cell) < 1:
            found = f"priority {cell!r}" if cell else "no priority"
            raise self._error(
                number, found, "a whole number from 1 (which wins), as there is a column for it"
            )
        name = OSM_LAND_USE.classes[class_id]
        if self.priorities.setdefault(class_id, int(cell)) != int(cell):
            raise self._error(
                number,
                f"priority {cell} for {name}",
                f"{self.priorities[class_id]} as above: one for each class",
            )

    def _error(self, number: int, found: str, expected: str) -> InputError:
        return InputError(f"{self.path}, line {number}: {found}, expected {expected}; correct this line")
