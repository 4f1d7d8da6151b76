"""Writes the STAC catalogue of an `Archive`: describe your own GeoTIFFs in a few lines.

```python
write_catalogue(folder, [
    describe_scene({folder / "l1c.tif": S2_L1C_BANDS}, collection="COPERNICUS/S2_HARMONIZED", index="tile_a",
                   time=moment, folder=folder, cloud_percent=2.0),
])
```
"""

import datetime as dt
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shapely.geometry import mapping

from noldo.errors import InputError
from sandbox.archive import BAND_TYPES, outline_of

STAC_VERSION = "1.1.0"
SHORT = {collection: collection.replace("/", "-").lower() for collection in BAND_TYPES}


def describe_scene(
    files: Mapping[Path, Sequence[str]],
    *,
    collection: str,
    index: str,
    time: dt.datetime,
    folder: Path,
    cloud_percent: float | None = None,
    properties: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One scene as a STAC item.

    Parameters
    ----------
    files
        GeoTIFFs, inside `folder`, and the names of their bands in order.
    collection
        Earth Engine id, a key of `sandbox.archive.BAND_TYPES`.
    index
        Name of the acquisition, shared by L1C, L2A and Dynamic World twins.
    time
        Sensing start; without a zone it is UTC.
    folder
        Where the catalogue will be written.
    properties
        More STAC properties, e.g. `sat:orbit_state` (see `sandbox.archive`).

    Raises
    ------
    InputError
        If the collection is unknown, there are no files, or one is not inside the folder.
    """
    if collection not in BAND_TYPES:
        raise InputError(f"collection {collection!r}: expected one of {', '.join(BAND_TYPES)}")
    if not files:
        raise InputError(f"{index}: no files; give at least one GeoTIFF")
    moment = time if time.tzinfo else time.replace(tzinfo=dt.UTC)
    told: dict[str, Any] = {
        "datetime": moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"),
        "noldo:collection": collection,
        "noldo:system_index": index,
        **({} if cloud_percent is None else {"eo:cloud_cover": cloud_percent}),
        **(properties or {}),
    }
    outline = outline_of(next(iter(files)))
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "id": f"{index}--{SHORT[collection]}",
        "geometry": mapping(outline),
        "bbox": list(outline.bounds),
        "properties": told,
        "links": [],
        "assets": {
            file.stem: {
                "href": _relative(file, folder),
                "type": "image/tiff; application=geotiff",
                "roles": ["data"],
                "bands": [{"name": name} for name in names],
            }
            for file, names in files.items()
        },
    }


def _relative(file: Path, folder: Path) -> str:
    path = Path(os.path.normpath(file.absolute()))
    try:
        return path.relative_to(os.path.normpath(folder.absolute())).as_posix()
    except ValueError:
        raise InputError(f"{file}: not inside {folder}; link or copy it there") from None


def write_catalogue(folder: Path, items: Iterable[Mapping[str, Any]], *, name: str = "archive") -> Path:
    """Write the items and a `catalog.json` that links them; an existing catalogue is replaced.

    Returns
    -------
    The path of `catalog.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    links = []
    for item in items:
        file = f"{item['id']}.json"
        _write(folder / file, item)
        links.append({"rel": "item", "href": f"./{file}", "type": "application/geo+json"})
    path = folder / "catalog.json"
    description = "Scenes for the NoLDO-S12 sandbox"
    tree = {"type": "Catalog", "stac_version": STAC_VERSION, "id": name, "description": description}
    _write(path, {**tree, "links": links})
    return path


def add_to_catalogue(path: Path, item: Mapping[str, Any]) -> None:
    """Add one item to a `catalog.json`, which is made if there is none; an item of the same id is replaced."""
    if not path.exists():
        write_catalogue(path.parent, [item])
        return
    tree = json.loads(path.read_text(encoding="utf-8"))
    link = {"rel": "item", "href": f"./{item['id']}.json", "type": "application/geo+json"}
    _write(path.parent / f"{item['id']}.json", item)
    _write(path, {**tree, "links": [*(one for one in tree["links"] if one != link), link]})


def _write(path: Path, tree: Mapping[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_text(json.dumps(tree, indent=1), encoding="utf-8")
    draft.replace(path)
