"""SSL4EO-S12 v1.1 as published: a zipped Zarr group for each modality and 64 locations.

    <root>/train/S2L1C/ssl4eos12_train_seasonal_data_000001.zarr.zip
        bands (sample, time, band, y, x) int16, or float16 decibels of S1GRD; band, sample, file_id, time_, crs, x_, y_

All bands are on one grid of 264 px. Names of variables are found by themselves, and told in the log; they can be given.
Rows follow the files, in which the locations are in random order. The first release of v1.1 carries the offset of +1000 that
ESA added to reflectances in 2022, for all dates; it has to be said whether it is to be taken off.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from builders.archive_members import MIB
from builders.import_items import BadItemError, ImportPlan, Item, Placement, Reading, ReadItem
from builders.import_sources import SSL4EO_V11, source_record
from builders.import_ssl4eo_v1 import SEASON_NAMES
from builders.import_store import ImportSummary, ImportTarget, run_import
from builders.published_bands import BELOW_ZERO, Form, as_backscatter, as_reflectance, stored_bands
from builders.scene_names import scene_tile
from builders.ssl4eo_v11_zip import (
    KNOWN_NAMES,
    ModalityZip,
    band_positions,
    placement_of,
    times_of,
    variables_of,
)
from builders.zarr_zip import ZarrZip
from noldo.errors import InputError
from noldo.manifest import SeasonRecord
from noldo.products import S1_BANDS, S2_L1C_BANDS, S2_L2A_BANDS

logger = logging.getLogger(__name__)

BANDS = {"s2_l1c": S2_L1C_BANDS, "s2_l2a": S2_L2A_BANDS, "s1_grd": S1_BANDS}
SPLITS = {"train": "train", "val": "val", "test": "test"}

OFFSET = 1000
"""RADIO_ADD_OFFSET of processing baseline 04.00, as a positive number."""

SUSPICIOUS_DARK = 900
"""The cirrus band of a cloudless scene is nearly dark: 10 to 80 without the offset, 1010 and more with it. Without that
band, the darkest pixel of all bands tells."""

CACHE_BYTES = 512 * MIB
"""Where a published chunk spans several locations, so many bytes of them are kept unpacked, for each modality."""

NOTE_PLACE = "Places follow the published coordinates of pixels, which were taken for those of their centres."

_NUMBER = re.compile(r"(?P<number>\d+)\.zarr\.zip")
_ID = re.compile(r"\d+")


@dataclass(frozen=True)
class Ssl4eoV11:
    """Where the data set lies and what of it is wanted."""

    root: Path
    """Folder that holds `train` and `val`."""
    s1: str = "S1GRD"
    """Folder of Sentinel-1; skipped if there is none."""
    s2c: str = "S2L1C"
    """Folder of Sentinel-2 L1C; skipped if there is none."""
    s2a: str = "S2L2A"
    """Folder of Sentinel-2 L2A; skipped if there is none."""
    offset: int | None = None
    """0 or 1000: what the reflectances carry, and is taken off. Not given: the import stops if they seem to carry some."""
    keep_upsampled: bool = False
    """Bands of 20 and 60 m are no copies of coarse pixels: store them as they are."""
    patch_size_px: int = 264
    """Side of a patch in pixels of 10 m."""
    variables: dict[str, str] = field(default_factory=dict)
    """Names of variables where they are others: `--variables.bands NAME` and so on."""

    def folders(self) -> dict[str, str]:
        """Product to folder."""
        return {"s2_l1c": self.s2c, "s2_l2a": self.s2a, "s1_grd": self.s1}


def import_ssl4eo_v11(told: Ssl4eoV11, target: ImportTarget) -> ImportSummary:
    """Import SSL4EO-S12 v1.1.

    Raises
    ------
    InputError
        If nothing is found, or bands are in a form that was not told.
    StoreError
        If the results can't be written.
    """
    plan, read = plan_ssl4eo_v11(told)
    return run_import(plan, read, target)


def plan_ssl4eo_v11(told: Ssl4eoV11) -> tuple[ImportPlan, ReadItem]:
    """What there is to import, and how one location is read."""
    if told.offset not in (None, 0, OFFSET):
        raise InputError(f"--offset {told.offset}: expected 0 or {OFFSET}")
    if strange := sorted(told.variables.keys() - KNOWN_NAMES.keys()):
        raise InputError(f"--variables {', '.join(strange)}: expected some of {', '.join(KNOWN_NAMES)}")
    folders = {
        product: name
        for product, name in told.folders().items()
        if any((told.root / split / name).is_dir() for split in SPLITS)
    }
    if not folders:
        raise InputError(
            f"{told.root}: no folders like train/{told.s2c}, train/{told.s2a} or train/{told.s1}; give the folder that "
            "holds train and val, or name the modalities with --s1, --s2c and --s2a"
        )
    reader = SampleReader(told, folders)
    items, unmatched = _items(told, reader, folders)
    forms = reader.forms
    plan = ImportPlan(
        importer="ssl4eo-v1.1",
        subset="nol",
        specs=tuple(spec for form in forms.values() for spec in form.specs),
        seasons=tuple(SeasonRecord(name=name, window_days=0) for name in SEASON_NAMES),
        patch_size_px=told.patch_size_px,
        items=items,
        sources=tuple(source_record(product, SSL4EO_V11) for product in folders),
        options={
            "data_set": SSL4EO_V11,
            "offset": told.offset or 0,
            "keep_upsampled": told.keep_upsampled,
            "variables": dict(sorted(told.variables.items())),
        },
        notes=(
            NOTE_PLACE,
            *((f"{told.offset} was taken off the published reflectances.",) if told.offset else ()),
        ),
        unmatched=tuple(unmatched),
    )
    if told.offset is None:
        _refuse_offset(items, reader)
    return plan, reader.read


def _items(
    told: Ssl4eoV11, reader: "SampleReader", folders: Mapping[str, str]
) -> tuple[list[Item], list[str]]:
    """All samples in the order of the files, and names that are no zips of this data set."""
    items: list[Item] = []
    unmatched: list[str] = []
    for split in SPLITS:
        numbers: dict[str, dict[str, Path]] = {}
        for product, folder in folders.items():
            where = told.root / split / folder
            for path in sorted(where.iterdir()) if where.is_dir() else ():
                found = _NUMBER.search(path.name)
                if found and path.is_file():
                    numbers.setdefault(found["number"], {})[product] = path
                else:
                    unmatched.append(f"{split}/{folder}/{path.name}")
        for number, paths in sorted(numbers.items()):
            items += _samples(split, number, paths, reader)
    return items, unmatched


def _samples(split: str, number: str, paths: Mapping[str, Path], reader: "SampleReader") -> list[Item]:
    """Samples of the zips of one number: all that any modality has."""
    names: dict[str, None] = {}
    faults: list[InputError] = []
    for product, path in paths.items():
        try:
            names |= dict.fromkeys(reader.opened(product, path).samples)
        except InputError as error:
            faults.append(error)
    if not names:
        raise InputError(
            f"{faults[0]} (no other modality says which locations file {number} holds; remove it)"
        )
    return [Item(id=_id_of(name, paths), name=name, split=SPLITS[split], key=(paths, name)) for name in names]


def _id_of(name: str, paths: Mapping[str, Path]) -> int:
    found = _ID.findall(name)
    if not found:
        raise InputError(
            f"{next(iter(paths.values()))}: sample {name!r} has no number; give --variables.sample"
        )
    return int(found[0])


def _refuse_offset(items: Sequence[Item], reader: "SampleReader") -> None:
    """Stop where reflectances seem to carry the offset: only the user knows which release this is."""
    seen = False
    for item in items[:10]:
        for product in ("s2_l1c", "s2_l2a"):
            try:
                values = reader.values(product, item) if product in reader.forms else None
            except BadItemError:
                continue
            if values is not None:
                seen = True
                bands = BANDS[product]
                dark = np.median(values[:, bands.index("B10")]) if "B10" in bands else values.min()
                if dark < SUSPICIOUS_DARK:
                    return
    if seen:
        raise InputError(
            f"{reader.root}: reflectances seem to carry an offset of {OFFSET} (the first release of v1.1 does); say "
            f"--offset {OFFSET} to take it off, or --offset 0 if they do not"
        )


class SampleReader:
    """Reads samples, a zip of each modality open at a time."""

    def __init__(self, told: Ssl4eoV11, folders: Mapping[str, str]) -> None:
        self.root = told.root
        self._told = told
        self._open: dict[str, tuple[Path, ModalityZip]] = {}
        self._blocks: dict[str, tuple[Path, int, np.ndarray]] = {}
        self.forms = {
            product: Form(product, BANDS[product], upsampled=told.keep_upsampled) for product in folders
        }

    def opened(self, product: str, path: Path) -> ModalityZip:
        """A zip; the last of each modality stays open."""
        found = self._open.get(product)
        if found is None or found[0] != path:
            self._blocks.pop(product, None)
            archive = ZarrZip(path, where=path.relative_to(self.root).as_posix())
            names = _by_season(archive, variables_of(archive, self._told.variables))
            if found is None:
                logger.info(
                    "%s: %s", archive.where, ", ".join(f"{what} is {name!r}" for what, name in names.items())
                )
            found = self._open[product] = path, ModalityZip(archive, names)
        return found[1]

    def read(self, item: Item) -> Reading:
        """Arrays, place, times and scenes of a sample.

        Raises
        ------
        BadItemError
            If a modality lacks it, or holds something else than it should.
        InputError
            If bands are no copies of coarse pixels and that was not told.
        """
        arrays: dict[str, np.ndarray] = {}
        columns: dict[str, object] = {}
        below = 0
        placement: Placement | None = None
        for product, form in self.forms.items():
            opened, at = self._find(product, item)
            values, negative = self._stored(product, self.values(product, item), opened.zip.where)
            below += negative
            planes = {band: values[:, position] for position, band in enumerate(form.bands)}
            arrays |= stored_bands(planes, form, where=f"{opened.zip.where}, {item.name}")
            columns = {**_scene_columns(product, opened, at), **columns}
            if placement is None or placement.grid is None:
                placement = placement_of(opened, at, side_px=values.shape[-1])
        return Reading(arrays, placement, columns, {BELOW_ZERO: below})

    def _find(self, product: str, item: Item) -> tuple[ModalityZip, int]:
        paths, name = item.key
        if product not in paths:
            raise BadItemError("missing file", f"{self._told.folders()[product]} of {name}")
        try:
            opened = self.opened(product, paths[product])
            samples = opened.samples
        except BadItemError:
            raise
        except InputError as error:
            raise BadItemError("unreadable file", str(error).removeprefix(f"{self.root}/")) from None
        if name not in samples:
            raise BadItemError("missing sample", f"{opened.zip.where} has no {name}")
        return opened, samples.index(name)

    def values(self, product: str, item: Item) -> np.ndarray:
        """(season, band, y, x) as published, bands in the order of this project."""
        opened, at = self._find(product, item)
        name = opened.names.get("bands", "")
        if name not in opened.zip.arrays:
            raise InputError(f"{opened.zip.where}: no variable with the bands; give --variables.bands")
        facts = opened.zip.arrays[name]
        if len(facts.shape) != 5 or facts.shape[:2] != (len(opened.samples), len(SEASON_NAMES)):
            raise BadItemError(
                "wrong size",
                f"{opened.zip.where}: {name} has shape {facts.shape}, expected (sample, 4, band, y, x)",
            )
        if facts.dtype is None or facts.dtype.kind not in "iuf":
            raise BadItemError(
                "wrong type", f"{opened.zip.where}: {name} holds {facts.dtype or 'words'}, expected numbers"
            )
        if {"scale_factor", "add_offset"} & facts.attributes.keys():
            raise InputError(f"{opened.zip.where}: {name} is packed with a scale, which is not read")
        values = self._sample(product, opened, name, at, path=item.key[0][product])
        return values[:, band_positions(opened, BANDS[product], count=values.shape[1])]

    def _sample(self, product: str, opened: ModalityZip, name: str, at: int, *, path: Path) -> np.ndarray:
        facts = opened.zip.arrays[name]
        step = facts.chunks[0]
        block_bytes = step * int(np.prod(facts.shape[1:])) * (facts.dtype.itemsize if facts.dtype else 0)
        if step == 1 or block_bytes > CACHE_BYTES:
            found: np.ndarray = opened.zip.part(name, at, at + 1)[0]
            return found
        first = at // step * step
        cached = self._blocks.get(product)
        if cached is None or cached[:2] != (path, first):
            self._blocks.pop(product, None)
            block = opened.zip.part(name, first, min(first + step, facts.shape[0]))
            cached = self._blocks[product] = path, first, block
        kept: np.ndarray = cached[2][at - first]
        return kept

    def _stored(self, product: str, values: np.ndarray, where: str) -> tuple[np.ndarray, int]:
        if product == "s1_grd":
            return as_backscatter(values, where=where), 0
        return as_reflectance(values, where=where, offset=self._told.offset or 0)


def _by_season(archive: ZarrZip, names: Mapping[str, str]) -> dict[str, str]:
    """The variables, but for names and times of scenes that are not told for each season."""
    kept = dict(names)
    for what in ("scene", "time"):
        shape = archive.arrays[names[what]].shape if what in names else ()
        # A time of one axis is that of the axis, and ignored.
        if shape[1:] != (len(SEASON_NAMES),) and len(shape) > (what == "time"):
            logger.warning(
                "%s: %s has shape %s, expected (sample, %s); it is not used",
                *(archive.where, names[what], shape, len(SEASON_NAMES)),
            )
            del kept[what]
    return kept


def _scene_columns(product: str, opened: ModalityZip, at: int) -> dict[str, object]:
    names = opened.texts("scene", at)
    times = times_of(opened, at, names)
    columns: dict[str, object] = {f"scene_{product}": names} if names else {}
    if product == "s1_grd":
        return columns | {"time_s1": times}
    tiles = {"tile": [scene_tile(name) for name in names]} if names else {}
    return columns | {"time_s2": times} | tiles
