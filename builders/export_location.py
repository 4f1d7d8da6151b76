"""The files of one location and, last of all, its item: the receipt that makes an export resumable."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from builders.encoders import Encode
from builders.export_bands import legend_of
from builders.export_documents import recorded_files, to_bytes
from builders.export_item import FileRecord, LocationFacts, item_document
from builders.export_layout import ExportLayout
from builders.export_plan import PlannedFile, PlannedLocation
from noldo.atomic import write_if_changed
from noldo.errors import StoreError
from noldo.legend_files import sidecars
from noldo.manifest import Manifest
from noldo.reader import StoreReader

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ExportSource:
    """What is exported."""

    reader: StoreReader
    rows: Mapping[str, np.ndarray]
    """The small arrays of the store, by name."""
    index: "pa.Table"
    """In row order."""
    manifest: Manifest


@dataclass(frozen=True)
class ExportedLocation:
    """One location, finished now or before."""

    num_written: int
    """GeoTIFFs that were not there yet."""
    bytes_written: int


def write_location(
    location: PlannedLocation,
    source: ExportSource,
    files: Sequence[PlannedFile],
    every_file: Sequence[PlannedFile],
    target: ExportLayout,
    *,
    encode: Encode,
) -> ExportedLocation:
    """Write what is missing of a location, then its item.

    Parameters
    ----------
    files
        Those that are asked for.
    every_file
        All that the store's arrays make: what was exported before stays in the item.
    encode
        Makes a GeoTIFF.

    Raises
    ------
    StoreError
        If the store is damaged, an earlier item can't be read, or the disk is full.
    """
    path = target.item(location.id)
    records = recorded_files(path) if path.is_file() else {}
    missing = [file for file in files if not _is_complete(file, records, location, target)]
    written = bytes_written = 0
    for spec in dict.fromkeys(file.spec for file in missing):
        wanted = [file for file in missing if file.spec == spec]
        pixels = source.reader.pixels(spec, row=location.row, seasons=[file.season for file in wanted])
        _require_padding(pixels, wanted[0], location, where=source.reader.files.where)
        side = spec.side_px(location.side_px)
        for file, season in zip(wanted, pixels, strict=True):
            content = encode(season[..., :side, :side], spec, grid=location.grid)
            changed = _write_file(content, file, location, target)
            written += changed
            bytes_written += len(content) if changed else 0
            records[file.key] = FileRecord(len(content), hashlib.sha256(content).hexdigest())
    if missing:
        known = {file: records[file.key] for file in every_file if file.key in records}
        document = item_document(location, known, _facts(location, source, target), source.manifest)
        write_if_changed(path, to_bytes(document))
    return ExportedLocation(written, bytes_written)


def _is_complete(
    file: PlannedFile, records: Mapping[str, FileRecord], location: PlannedLocation, target: ExportLayout
) -> bool:
    """Whether a file is there as its item says; it appeared whole, so its size is enough."""
    path = target.file(location.id, file.key)
    record = records.get(file.key)
    if record is None or not path.is_file() or path.stat().st_size != record.size:
        return False
    legend = legend_of(file.spec)
    ends = sidecars(legend) if legend is not None else {}
    return all(target.file(location.id, file.key, end=end).is_file() for end in ends)


def _write_file(content: bytes, file: PlannedFile, location: PlannedLocation, target: ExportLayout) -> bool:
    """Write a GeoTIFF and what lies beside it; whether the GeoTIFF is new."""
    legend = legend_of(file.spec)
    if legend is not None:
        for end, beside in sidecars(legend).items():
            write_if_changed(target.file(location.id, file.key, end=end), beside)
    return write_if_changed(target.file(location.id, file.key), content)


def _require_padding(pixels: np.ndarray, file: PlannedFile, location: PlannedLocation, *, where: str) -> None:
    side = file.spec.side_px(location.side_px)
    beyond = pixels[..., side:, :], pixels[..., :side, side:]
    if any((part != file.spec.no_data).any() for part in beyond):
        raise StoreError(
            f"{where}: {file.spec.name} of location {location.id} holds data beyond its valid square of {side} px, which "
            "would be lost; run `noldo verify`, or import the data set again"
        )


def _facts(location: PlannedLocation, source: ExportSource, target: ExportLayout) -> LocationFacts:
    rows = source.rows
    return LocationFacts(
        subset=target.subset,
        index=source.index.slice(location.row, 1).to_pylist()[0],
        window=tuple(rows["window"][location.row].tolist()),
        times={name: rows[name][location.row].tolist() for name in ("time_s2", "time_s1")},
    )
