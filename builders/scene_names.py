"""Names of Sentinel scenes, as Earth Engine and ESA give them: what they tell of time, tile and orbit."""

import datetime as dt
import re
from dataclasses import dataclass

_S2 = re.compile(r"(?P<time>\d{8}T\d{6})_\d{8}T\d{6}_T(?P<tile>[0-9A-Z]{5})")
"""E.g. `20200612T103629_20200612T103631_T32TPT`: sensing time of the datatake, processing or start time, MGRS tile."""

_S1 = re.compile(r"S1[A-D]_\w{2}_GRD[A-Z]_1S\w{2}_(?P<time>\d{8}T\d{6})_\d{8}T\d{6}_\d{6}_.+")
"""E.g. `S1A_IW_GRDH_1SDV_20200608T053406_20200608T053431_032918_03D02A_0D7F`: start and stop of sensing, absolute orbit."""


_INDEX = re.compile(r"(?P<datatake>\d{8}T\d{6})_\w+_T(?P<tile>\w{5})")
"""`system:index` of Sentinel-2 in Earth Engine: sensing of the datatake, of the data strip, tile."""

_PRODUCT_ID = re.compile(r"S2[A-D]_MSIL\d[AC]_(?P<datatake>\d{8}T\d{6})_\w+_T(?P<tile>\w{5})_\w+")
"""ESA's compact naming: sensing time of the datatake, then baseline, orbit, tile."""


@dataclass(frozen=True)
class DatatakeTile:
    """What all products of one acquisition of Sentinel-2 share."""

    datatake: str
    """Sensing time of the datatake, e.g. `20200612T103629`."""
    tile: str
    """Of MGRS, e.g. `32TPT`."""

    @property
    def text(self) -> str:
        """`DATATAKE_TILE`, as `builders.records.Location.labelled_scene`."""
        return f"{self.datatake}_{self.tile}"


def of_index(index: str) -> DatatakeTile | None:
    """Of a `system:index` of Earth Engine; None if it is none."""
    found = _INDEX.fullmatch(index)
    return DatatakeTile(**found.groupdict()) if found else None


def of_product_id(product_id: str) -> DatatakeTile | None:
    """Of ESA's name of a product; None if it is none."""
    found = _PRODUCT_ID.fullmatch(product_id)
    return DatatakeTile(**found.groupdict()) if found else None


def scene_time_ms(name: str) -> int | None:
    """Sensing start in milliseconds since 1970 UTC; None if the name tells no time."""
    found = _S2.match(name) or _S1.match(name)
    if found is None:
        return None
    try:
        when = dt.datetime.strptime(found["time"], "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    return int(when.timestamp()) * 1000


def scene_tile(name: str) -> str | None:
    """MGRS tile of a Sentinel-2 scene, e.g. `32TPT`; None if the name tells none."""
    found = _S2.match(name)
    return found["tile"] if found else None
