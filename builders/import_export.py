"""An export becomes a store again: the same arrays, small arrays, index and manifest, so the same digest.

Every GeoTIFF is held against what the store says of its array and against the checksum in its location's item. An import
that was killed goes on with the same command: shards that are there are not read again.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builders.crew import in_threads
from builders.export_documents import recorded_files
from builders.export_item import FileRecord
from builders.export_layout import ExportLayout
from builders.export_plan import PlannedFile, PlannedLocation, planned_files, planned_locations
from builders.export_rows import read_rows_table
from builders.geotiff import decode, quiet_without_place
from noldo.atomic import write_if_changed
from noldo.errors import InputError, StoreError
from noldo.metadata import group_document, to_bytes
from noldo.paths import SubsetPaths
from noldo.products import ArraySpec
from noldo.store import StoreLayout, create_store, parse_layout, shard_path, write_rows, write_shard

logger = logging.getLogger(__name__)

PROGRESS_S = 10.0
"""Seconds between two lines of progress."""

TITLED = ("Conventions", "title")
"""Attributes that the format sets, but lets a build replace."""


Records = Mapping[int, Mapping[str, FileRecord]]
"""Row of the store to the files that the location's item tells of, by key."""


@dataclass(frozen=True)
class _Export:
    """What is imported."""

    paths: ExportLayout
    layout: StoreLayout
    group: bytes
    """Bytes of the store's own `zarr.json`."""
    rows: Mapping[str, np.ndarray]
    locations: Mapping[int, PlannedLocation]
    """Row to location, of all that were kept."""


def run_import_export(folder: Path, out: Path, *, subset: str | None = None) -> SubsetPaths:
    """Write the store that an export was made of.

    Parameters
    ----------
    folder
        Holds `catalog.json`.
    out
        Results folder.
    subset
        Which one; None: the only one that is there.

    Raises
    ------
    InputError
        If there is no export, or several and no subset is named.
    StoreError
        If a file is missing or was edited, `out` holds another store, or the disk is full.
    """
    export = _open(_found(folder, subset))
    target = SubsetPaths(str(out), export.paths.subset)
    _refuse_another(export, target)
    store = Path(target.store)
    create_store(store, export.layout, attributes=_attributes(export))
    write_rows(store, export.rows)
    _write_shards(export, store)
    for copy, original in _copies(export, target).items():
        write_if_changed(copy, original.read_bytes())
    logger.info("%s: %d of %d locations imported", store, len(export.locations), export.layout.num_locations)
    return target


def _found(folder: Path, subset: str | None) -> ExportLayout:
    there = sorted(path.parent.name for path in folder.glob("*/collection.json"))
    if subset is None and len(there) == 1:
        return ExportLayout(folder, there[0])
    if subset in there:
        return ExportLayout(folder, subset)
    listed = ", ".join(there) or "nothing"
    raise InputError(
        f"{folder}: {f'no export of {subset!r}' if subset or not there else 'several exports'}; it holds {listed}; "
        f"{'choose one with --subset' if there else 'give the folder that `python -m builders export` wrote to'}"
    )


def _open(paths: ExportLayout) -> _Export:
    _require_unchanged(paths)
    group = paths.group.read_bytes()
    layout = parse_layout(group, where=str(paths.group))
    rows = read_rows_table(paths.rows, layout)
    located = planned_locations(layout, rows, subset=paths.subset, where=str(paths.folder))
    return _Export(paths, layout, group, rows, {one.row: one for one in located})


def _require_unchanged(paths: ExportLayout) -> None:
    """Hold the files of the whole subset against their checksums in the collection."""
    records = recorded_files(paths.collection)
    for key, path in (
        ("index", paths.index),
        ("manifest", paths.manifest),
        ("rows", paths.rows),
        ("store", paths.group),
    ):
        if key not in records:
            raise StoreError(f"{paths.collection}: lacks asset {key}; export the store again")
        _checked(path, records[key])


def _checked(path: Path, record: FileRecord) -> bytes:
    """Bytes of a file, if they are those that were exported."""
    content = _content(path)
    _require_checksum(content, record, path)
    return content


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path}: missing; export it again") from None
    except OSError as error:
        raise StoreError(f"{path}: can't be read ({error.strerror}); check the disk") from None


def _require_checksum(content: bytes, record: FileRecord, path: Path) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != record.sha256:
        raise StoreError(
            f"{path}: SHA-256 is {found[:12]}..., expected {record.sha256[:12]}...; it was edited or damaged: delete it and "
            "export it again"
        )


def _attributes(export: _Export) -> dict[str, object]:
    """Attributes of the group that the format does not set itself."""
    own = group_document(export.layout, attributes={})["attributes"].keys() - set(TITLED)
    attributes = json.loads(export.group)["attributes"]
    return {name: value for name, value in attributes.items() if name not in own}


def _copies(export: _Export, target: SubsetPaths) -> dict[Path, Path]:
    """Copy to original of what lies beside the store; the manifest last, so that what has one is complete."""
    paths = export.paths
    copies = {".parquet": paths.index, ".run.json": paths.run, ".json": paths.manifest}
    return {target.local(end): original for end, original in copies.items() if original.is_file()}


def _refuse_another(export: _Export, target: SubsetPaths) -> None:
    """Only a store of this export may be there, finished or begun."""
    store = Path(target.store)
    group = to_bytes(group_document(export.layout, attributes=_attributes(export)))
    expected = {path: original.read_bytes() for path, original in _copies(export, target).items()}
    expected.pop(target.local(".run.json"), None)
    for path, content in {store / "zarr.json": group, **expected}.items():
        if path.is_file() and path.read_bytes() != content:
            raise StoreError(
                f"{path}: belongs to another store; choose another --out, or delete {target.root}"
            )
    if any(store.glob("*/c")) and not (store / "zarr.json").is_file():
        raise StoreError(f"{store}: holds arrays without a zarr.json; choose another --out, or delete it")


def _write_shards(export: _Export, store: Path) -> None:
    layout = export.layout
    next_at = time.monotonic() + PROGRESS_S
    with quiet_without_place():
        for shard in range(layout.num_shards):
            missing = [spec for spec in layout.specs if not shard_path(store, spec, shard).is_file()]
            records = _records(export, shard) if missing else {}
            for spec in missing:
                write_shard(store, spec, shard=shard, items=_items(export, spec, shard, records))
            if time.monotonic() >= next_at:
                next_at = time.monotonic() + PROGRESS_S
                logger.info("%d of %d shards imported", shard + 1, layout.num_shards)


def _records(export: _Export, shard: int) -> Records:
    found = {}
    for row in export.layout.rows_of(shard):
        if row in export.locations:
            item = export.paths.item(export.locations[row].id)
            if not item.is_file():
                raise StoreError(f"{item}: missing; export location {item.stem} again")
            found[row] = recorded_files(item)
    return found


def _items(export: _Export, spec: ArraySpec, shard: int, records: Records) -> np.ndarray:
    """(row, season, band?, y, x) of one array; rows that were not kept and padding are no data."""
    layout = export.layout
    rows = layout.rows_of(shard)
    shape = spec.item_shape(len(layout.season_names), layout.patch_size_px)
    items = np.full((len(rows), *shape), spec.no_data, dtype=spec.dtype)
    files = [file for file in planned_files(layout) if file.spec == spec]

    def read(row: int) -> None:
        location = export.locations[row]
        side = spec.side_px(location.side_px)
        for file in files:
            pixels = _pixels(export, location, file, records[row].get(file.key))
            items[row - rows.start, file.season, ..., :side, :side] = pixels

    for _ in in_threads(read, records, concurrency=os.cpu_count() or 1):
        pass
    return items


def _pixels(
    export: _Export, location: PlannedLocation, file: PlannedFile, record: FileRecord | None
) -> np.ndarray:
    """(band?, y, x) of one GeoTIFF, checked."""
    path = export.paths.file(location.id, file.key)
    if record is None:
        raise StoreError(f"{path}: not in the item of location {location.id}; export it with all products")
    content = _content(path)
    # Shape, dtype and place first: they say more than a checksum.
    side = file.spec.side_px(location.side_px)
    pixels = decode(content, file.spec, grid=location.grid, side_px=side, where=str(path))
    _require_checksum(content, record, path)
    return pixels
