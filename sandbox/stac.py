"""Reads a static STAC catalogue: items, with the files and bands of their assets. Opens no image.

Understood are `catalog.json` and `collection.json` with `item` and `child` links, an ItemCollection (a GeoJSON
FeatureCollection), and a single item. References are relative to the file they stand in, and stay inside the
folder of the first file: link or copy images into it.
"""

import datetime as dt
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import shape

from noldo.errors import InputError

MAX_FILES = 1_000_000
"""Files of one catalogue; more are taken for a loop of links."""


@dataclass(frozen=True)
class BandFile:
    """One band of an item, in a file."""

    name: str
    """As Earth Engine calls it: B1, B8A, VV, label."""
    path: Path
    number: int
    """Position in the file, from 1."""
    siblings: tuple[int, ...]
    """Positions of all bands of the item in this file."""
    no_data: float | None = None
    """Declared in the item; the file may declare one, too."""
    scale: float = 1.0
    offset: float = 0.0
    """Stored number x scale + offset = value in the band's unit."""
    says_offset: bool = False
    """Scale and offset were declared, so that no offset is a statement."""


@dataclass(frozen=True)
class Item:
    """One scene of a STAC catalogue."""

    id: str
    where: str
    """File it was read from, for messages."""
    collection: str
    """STAC collection id; empty if it has none."""
    properties: Mapping[str, Any]
    time: dt.datetime
    footprint: shapely.Polygon | None
    """In degrees; None: take that of the image."""
    bands: tuple[BandFile, ...]

    def wrong(self, key: str, found: object, expected: str) -> InputError:
        """An error about one key of this item."""
        return InputError(f"{self.where}, item {self.id}, {key}: found {found!r}, expected {expected}")


def read_items(path: Path) -> list[Item]:
    """All items of a catalogue.

    Raises
    ------
    InputError
        If a file is missing or no STAC, or an item lacks what is needed; it names item and key.
    """
    root = Path(os.path.normpath(path.absolute())).parent
    items = [_item(tree, where, root) for tree, where in _trees(path, root)]
    if not items:
        raise InputError(f"{path}: no items found; expected `item` links or `features`")
    return items


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); give an existing STAC file") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: found a {type(tree).__name__}, expected a STAC object")
    return tree


def _trees(path: Path, root: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """Item objects, with the file each stands in; every file is read once."""
    pending, seen = [Path(os.path.normpath(path.absolute()))], set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        if len(seen) > MAX_FILES:
            raise InputError(f"{path}: more than {MAX_FILES} linked files; check its links for a loop")
        tree = _read_json(current)
        match tree.get("type"):
            case "Feature":
                yield tree, current
            case "FeatureCollection":
                for feature in tree.get("features", ()):
                    yield feature, current
            case "Catalog" | "Collection":
                links = [link for link in tree.get("links", ()) if link.get("rel") in {"item", "child"}]
                pending += [_inside(link.get("href"), current, root) for link in reversed(links)]
            case other:
                raise InputError(
                    f"{current}, type: found {other!r}, expected Catalog, Collection, Feature or FeatureCollection"
                )


def _inside(href: object, base: Path, root: Path) -> Path:
    """The file of a reference.

    Raises
    ------
    InputError
        If it is no relative path, or leaves the catalogue's folder.
    """
    if not isinstance(href, str) or not href or re.match(r"[a-z][a-z0-9+.-]*:", href, re.IGNORECASE):
        raise InputError(f"{base}, href: found {href!r}, expected a path relative to this file")
    path = Path(os.path.normpath(base.parent / href))
    if not path.is_relative_to(root):
        raise InputError(
            f"{base}, href: {href!r} leads out of {root}; link or copy the file into that folder"
        )
    return path


def _item(tree: Any, base: Path, root: Path) -> Item:
    name = str(tree.get("id") or "") if isinstance(tree, dict) else ""
    if not name or not isinstance(tree.get("properties"), dict):
        raise InputError(f"{base}: an item without {'properties' if name else 'id'}")
    properties = tree["properties"]
    draft = Item(
        id=name,
        where=str(base),
        collection=str(tree.get("collection") or ""),
        properties=properties,
        time=dt.datetime.min,
        footprint=None,
        bands=(),
    )
    return Item(
        id=draft.id,
        where=draft.where,
        collection=draft.collection,
        properties=properties,
        time=_time(draft),
        footprint=_footprint(tree.get("geometry"), draft),
        bands=_bands(tree.get("assets"), draft, base, root),
    )


def _time(item: Item) -> dt.datetime:
    text = item.properties.get("datetime") or item.properties.get("start_datetime")
    try:
        moment = dt.datetime.fromisoformat(str(text))
    except ValueError:
        raise item.wrong("datetime", text, "an RFC 3339 instant") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _footprint(geometry: Any, item: Item) -> shapely.Polygon | None:
    if geometry is None:
        return None
    try:
        outline = shape(geometry)
    except (AttributeError, KeyError, TypeError, ValueError, shapely.errors.ShapelyError):
        raise item.wrong("geometry", str(geometry)[:80], "a GeoJSON polygon") from None
    if isinstance(outline, shapely.MultiPolygon) and len(outline.geoms) == 1:
        outline = outline.geoms[0]
    if not isinstance(outline, shapely.Polygon) or outline.is_empty or not outline.is_valid:
        raise item.wrong("geometry", outline.geom_type, "one valid polygon")
    return outline


def band_name(text: str) -> str:
    """Earth Engine's name of a band: `B04` is `B4`, `vv` is `VV`; other names are small letters."""
    if match := re.fullmatch(r"b0?(\d{1,2})(a?)", text, re.IGNORECASE):
        return f"B{int(match[1])}{match[2].upper()}"
    return text.upper() if text.upper() in {"VV", "VH", "HH", "HV", "SCL"} else text.lower()


def _bands(assets: Any, item: Item, base: Path, root: Path) -> tuple[BandFile, ...]:
    """Bands of all assets that name theirs, or are named like one."""
    if not isinstance(assets, dict):
        raise item.wrong("assets", assets, "an object")
    found: dict[str, BandFile] = {}
    for key, asset in assets.items():
        for band in _bands_of_asset(key, asset, base, root, item):
            if band.name in found:
                raise item.wrong(f"assets.{key}", band.name, "each band once")
            found[band.name] = band
    return tuple(found.values())


def _bands_of_asset(key: str, asset: Any, base: Path, root: Path, item: Item) -> Iterator[BandFile]:
    if not isinstance(asset, dict):
        raise item.wrong(f"assets.{key}", asset, "an object")
    listed: Sequence[Any] = asset.get("bands") or asset.get("eo:bands") or ()
    names = [str(band.get("name") or band.get("eo:common_name") or "") for band in listed]
    if not names and re.fullmatch(r"b\d{1,2}a?|vv|vh|scl|label", key, re.IGNORECASE):
        names, listed = [key], [{}]
    if not names:
        return
    path = _inside(asset.get("href"), base, root)
    if not path.is_file():
        raise item.wrong(f"assets.{key}.href", asset.get("href"), "an existing file")
    rasters: Sequence[Any] = asset.get("raster:bands") or [{}] * len(names)
    if len(rasters) != len(names):
        raise item.wrong(f"assets.{key}.raster:bands", len(rasters), f"{len(names)} entries, one a band")
    numbers = tuple(range(1, len(names) + 1))
    for number, name in zip(numbers, names, strict=True):
        told = {**asset, **listed[number - 1], **rasters[number - 1]}
        scale = told.get("raster:scale", told.get("scale"))
        offset = told.get("raster:offset", told.get("offset"))
        yield BandFile(
            name=band_name(name),
            path=path,
            number=number,
            siblings=numbers,
            no_data=_number(told.get("nodata"), item, f"assets.{key}.nodata"),
            scale=1.0 if scale is None else float(scale),
            offset=0.0 if offset is None else float(offset),
            says_offset=offset is not None,
        )


def _number(value: object, item: Item, key: str) -> float | None:
    if value is None:
        return None
    try:
        return float(str(value))
    except ValueError:
        raise item.wrong(key, value, "a number") from None
