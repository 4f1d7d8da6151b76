"""Names of the tiles of NoLDO-S12: centre in degrees, and the date of the label.

`-0.6481384406_6.8231873947-20190226`; in the test split `p` stands for the decimal point. In LMDBs of small patches, the
file's name and two numbers follow.
"""

import datetime as dt
import re

from builders.import_items import NOWHERE, Placement
from builders.import_places import centre_placement

_DATE = r"(?P<date>\d{8})"
_NAME = re.compile(rf"(?P<lon>-?\d+[.p]\d+)_(?P<lat>-?\d+[.p]\d+)-{_DATE}")
_NAME_AT_END = re.compile(rf"{_NAME.pattern}$")
_DATE_AT_END = re.compile(rf"{_DATE}$")


def tile_centre(name: str) -> tuple[str, str] | None:
    """Longitude and latitude, as text in degrees with `.` or `p`, that a name ends with before its date."""
    found = _NAME_AT_END.search(name)
    return (found["lon"], found["lat"]) if found else None


def date_digits(name: str) -> str:
    """YYYYMMDD at the end of a name; empty if it ends otherwise."""
    found = _DATE_AT_END.search(name)
    return found["date"] if found else ""


def tile_columns(name: str) -> dict[str, object]:
    """Columns of the index that a name tells."""
    found = _NAME.match(name)
    try:
        return {"label_date": dt.datetime.strptime(found["date"], "%Y%m%d").date() if found else None}
    except ValueError:
        return {"label_date": None}


def tile_placement(name: str, *, side_px: int) -> Placement:
    """An estimate from the centre that a whole tile's name tells; parts of tiles have no place."""
    found = _NAME.fullmatch(name)
    if found is None:
        return NOWHERE
    lon, lat = (float(found[part].replace("p", ".")) for part in ("lon", "lat"))
    return centre_placement(lon, lat, side_px=side_px)
