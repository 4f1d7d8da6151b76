"""The LMDBs of CromSS, as its own scripts write them: pickled tuples of (bytes, shape, id).

Pretraining (`nol`), three LMDBs of one item a location and the same keys 0, 1, ...:

    0k_251k_uint8_s1.lmdb   (4, 2, 264, 264) bytes        0k_251k_uint8_s2c.lmdb  (4, 13, 264, 264) bytes
    dw_labels.lmdb          (4, 264, 264) classes 0..8

Transfer (`dw`, `osm`), one LMDB a split, keys `s1_0`, `s2_0`, `dw_0` (and `osm_0`) and so on:

    s1 (2, y, x) float32 dB, s2 (13, y, x) uint16, dw (y, x) numbers 0..10, osm (y, x) numbers 0..13

`dfc2020`: the same with `s1` in float64, `s2`, and `lbl` numbered as Dynamic World, without ids.

Rows of `nol` have the order of the keys, which is that of the official split; rows of the others are sorted by name.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from builders.import_dfc2020 import TEST_IDS_FROM
from builders.import_items import MAX_ID, BadItemError, ImportPlan, Item, Reading, ReadItem
from builders.import_sources import DFC2020, NOLDO, SSL4EO_V1, source_record
from builders.import_ssl4eo_v1 import SEASON_NAMES
from builders.import_store import ImportSummary, ImportTarget, run_import
from builders.lmdb_file import LmdbFile
from builders.published_bands import Form
from builders.published_labels import PublishedLabels, dfc2020_of_cromss, expert_labels, osm_labels
from builders.published_tifs import NOTE_RESAMPLED, S1_FORM, S2_FORM, tile_images
from builders.tile_names import tile_columns, tile_placement
from noldo.errors import InputError
from noldo.manifest import SeasonRecord
from noldo.products import S1_BANDS, S2_L1C_BANDS, array_specs

Kind = Literal["nol", "dw", "osm", "dfc2020"]

ONE_SEASON = (SeasonRecord(name="image", window_days=15),)
"""Images lie within 15 days of the label, mostly (CromSS repository, get_dw_data)."""

S1_BYTES = Form("s1_grd", S1_BANDS, quantized=True)
S2_BYTES = Form("s2_l1c", S2_L1C_BANDS, quantized=True)

NOTE_BICUBIC = (
    "Labels were resized by bicubic interpolation of class numbers, which may have made classes up along borders, and what "
    "had no class became a class, snow and ice among them."
)
NOTE_BYTES = (
    "Bytes hold values clipped to two standard deviations around the mean, from files compressed with loss; bands of 20 and "
    "60 m were resized to 10 m by bicubic interpolation."
)

_KEY = re.compile(r"(?P<kind>[a-z]+\d?)_(?P<number>0|[1-9][0-9]*)")


@dataclass(frozen=True)
class CromssLmdb:
    """Which LMDBs, and what they hold."""

    kind: Kind
    """`nol` for pretraining, `dw`, `osm` or `dfc2020` for transfer."""
    s1: Path | None = None
    """`nol`: 0k_251k_uint8_s1.lmdb."""
    s2: Path | None = None
    """`nol`: 0k_251k_uint8_s2c.lmdb."""
    labels: Path | None = None
    """`nol`: dw_labels.lmdb."""
    train: Path | None = None
    """The others: the LMDB of the training split."""
    test: Path | None = None
    """The others: the LMDB of the test split."""
    patch_size_px: int | None = None
    """Side of a patch in pixels of 10 m; 264, of tiles 512 and of DFC2020 256, if not given."""


def import_cromss_lmdb(told: CromssLmdb, target: ImportTarget) -> ImportSummary:
    """Import LMDBs of CromSS.

    Raises
    ------
    InputError
        If an LMDB is missing, damaged, or asks to run code.
    StoreError
        If the results can't be written.
    """
    with ExitStack() as stack:
        files = {name: stack.enter_context(LmdbFile(path)) for name, path in _paths(told).items()}
        plan, read = plan_nol(told, files) if told.kind == "nol" else plan_tiles(told, files)
        return run_import(plan, read, target)


def _paths(told: CromssLmdb) -> dict[str, Path]:
    """LMDBs by their option: three of `nol`, one a split of the others."""
    if told.kind == "nol":
        paths = {"s1": told.s1, "s2": told.s2, "labels": told.labels}
        if missing := [f"--{name}" for name, path in paths.items() if path is None]:
            raise InputError(f"{', '.join(missing)}: not given; an import of kind nol needs all three LMDBs")
    else:
        paths = {"train": told.train, "test": told.test}
        if not any(paths.values()):
            raise InputError(
                f"--train, --test: not given; an import of kind {told.kind} needs one of them, or both"
            )
    return {name: path for name, path in paths.items() if path is not None}


def plan_nol(told: CromssLmdb, files: Mapping[str, LmdbFile]) -> tuple[ImportPlan, ReadItem]:
    """The three LMDBs of pretraining."""
    keys = sorted({key for file in files.values() for key in file.names()}, key=_natural)
    numbers = [key for key in keys if key.isdecimal()]
    reader = _NolReader(files)
    plan = ImportPlan(
        importer="cromss-lmdb",
        subset="nol",
        specs=(*S2_BYTES.specs, *S1_BYTES.specs, *array_specs({"dynamic_world": ("label",)})),
        seasons=tuple(SeasonRecord(name=name, window_days=0) for name in SEASON_NAMES),
        patch_size_px=told.patch_size_px or 264,
        items=[reader.item(key) for key in numbers],
        sources=(
            source_record("s2_l1c", SSL4EO_V1),
            source_record("s1_grd", SSL4EO_V1),
            source_record("dynamic_world", NOLDO),
        ),
        options={"kind": "nol"},
        notes=(NOTE_BYTES, NOTE_BICUBIC),
        label_product="dynamic_world",
        unmatched=tuple(key for key in keys if not key.isdecimal()),
    )
    return plan, reader.read


def _natural(key: str) -> tuple[bool, int, str]:
    """Numbers by their value, then everything else."""
    return (not key.isdecimal(), int(key) if key.isdecimal() else 0, key)


class _NolReader:
    """Reads one location from the three LMDBs."""

    def __init__(self, files: Mapping[str, LmdbFile]) -> None:
        self._files = files

    def item(self, key: str) -> Item:
        """By the id that the label has, or else an image."""
        for name in ("labels", "s2", "s1"):
            try:
                number = _whole(self._files[name].array_id(key), where=f"{self._files[name].name}, key {key}")
            except BadItemError:
                continue
            return Item(id=number, name=f"{number:07d}", split="train", key=key)
        raise InputError(
            f"{self._files['labels'].name}, key {key}: no id can be read in any of the three LMDBs"
        )

    def read(self, item: Item) -> Reading:
        """Arrays of a location, whose ids must agree.

        Raises
        ------
        BadItemError
            If a record is missing, damaged, or of another location.
        InputError
            If a record asks to run code.
        """
        found = {}
        for name, file in self._files.items():
            where = f"{file.name}, key {item.key}"
            array, number = file.array(item.key, dtypes=["u1"])
            if _whole(number, where=where) != item.id:
                raise BadItemError("id mismatch", f"{where} is of {number}, the label of {item.id}")
            found[name] = array
        arrays = {
            **_byte_bands(found["s2"], S2_BYTES),
            **_byte_bands(found["s1"], S1_BYTES),
            "dynamic_world_10m": _shaped(found["labels"], 3, what="labels"),
        }
        return Reading(arrays)


def _whole(number: int | str | None, *, where: str) -> int:
    found = int(number) if isinstance(number, str) and re.fullmatch(r"[0-9]{1,19}", number) else number
    if not isinstance(found, int) or not 0 <= found <= MAX_ID:
        raise BadItemError(
            "unreadable record", f"{where}: id {number!r:.60}, expected a whole number from 0 to {MAX_ID}"
        )
    return found


def _shaped(array: np.ndarray, num_axes: int, *, what: str) -> np.ndarray:
    if array.ndim != num_axes:
        raise BadItemError("wrong size", f"{what} of shape {array.shape}, expected {num_axes} axes")
    return array


def _byte_bands(array: np.ndarray, form: Form) -> dict[str, np.ndarray]:
    if array.ndim != 4 or array.shape[1] != len(form.bands):
        raise BadItemError(
            "wrong size", f"{form.product} of shape {array.shape}, expected 4 x {len(form.bands)} bands"
        )
    return {form.specs[0].name: array}


def plan_tiles(told: CromssLmdb, files: Mapping[str, LmdbFile]) -> tuple[ImportPlan, ReadItem]:
    """The LMDBs of a transfer task, a split each."""
    wanted = _WANTED[told.kind]
    items: list[Item] = []
    unmatched: list[str] = []
    for split, file in files.items():
        found, others = _numbers(file, kinds=[*_IMAGES, *wanted])
        items += [
            _tile(file, number, split, kinds=[*wanted, *_IMAGES], named=told.kind != "dfc2020")
            for number in found
        ]
        unmatched += [f"{file.name}: {key}" for key in others]
    labels = {product: key for key, product in wanted.items()}
    data_set = DFC2020 if told.kind == "dfc2020" else NOLDO
    plan = ImportPlan(
        importer="cromss-lmdb",
        subset=told.kind,
        specs=(*S2_FORM.specs, *S1_FORM.specs, *array_specs(dict.fromkeys(labels, ("label",)))),
        seasons=ONE_SEASON,
        patch_size_px=told.patch_size_px or (256 if told.kind == "dfc2020" else 512),
        items=items if told.kind == "dfc2020" else _numbered(items),
        sources=tuple(source_record(product, data_set) for product in ("s2_l1c", "s1_grd", *labels)),
        options={"kind": told.kind, "splits": sorted(files)},
        notes=(NOTE_RESAMPLED,),
        columns=("label_date",) if told.kind != "dfc2020" else (),
        label_product="expert" if told.kind == "dw" else told.kind,
        may_be_smaller=True,
        unmatched=tuple(unmatched),
    )
    return plan, _TileReader(files, wanted, named=told.kind != "dfc2020").read


_IMAGES = ("s1", "s2")
_WANTED: Mapping[str, Mapping[str, str]] = {
    "dw": {"dw": "expert"},
    "osm": {"dw": "expert", "osm": "osm"},
    "dfc2020": {"lbl": "dfc2020"},
}
"""Kind to the keys of its labels and the products that they become."""

_LABELS: Mapping[str, PublishedLabels] = {
    "expert": expert_labels(),
    "osm": osm_labels(),
    "dfc2020": dfc2020_of_cromss(),
}


def _numbers(file: LmdbFile, *, kinds: Sequence[str]) -> tuple[list[int], list[str]]:
    """Numbers that any kind of record has, and keys that are of no kind."""
    found: set[int] = set()
    others = []
    for key in file.names():
        match = _KEY.fullmatch(key)
        if match and match["kind"] in kinds:
            found.add(int(match["number"]))
        else:
            others.append(key)
    return sorted(found), others


def _tile(file: LmdbFile, number: int, split: str, *, kinds: Sequence[str], named: bool) -> Item:
    """An item with the name that its records have; with `named` false, with its number."""
    if not named:
        shift = TEST_IDS_FROM if split == "test" else 0
        return Item(id=number + shift, name=f"{split}_p{number}", split=split, key=(split, number))
    for kind in kinds:
        try:
            name = _name(file.array_id(f"{kind}_{number}"), kind, where=f"{file.name}, key {kind}_{number}")
        except BadItemError:
            continue
        return Item(id=0, name=name, split=split, key=(split, number), columns=tile_columns(name))
    raise InputError(f"{file.name}, keys of {number}: no name can be read in any of {', '.join(kinds)}")


def _name(found: int | str | None, kind: str, *, where: str) -> str:
    """`s1_<name>.tif` to the name."""
    if not isinstance(found, str) or not found.startswith(f"{kind}_"):
        raise BadItemError("unreadable record", f"{where}: id {found!r:.80}, expected {kind}_<name>.tif")
    return found.removeprefix(f"{kind}_").removesuffix(".tif")


def _numbered(items: Sequence[Item]) -> list[Item]:
    """By name, with their rank as id: the order of an LMDB is that of some machine's folder."""
    ordered = sorted(items, key=lambda item: (item.name, item.split))
    return [
        Item(id=rank, name=item.name, split=item.split, key=item.key, columns=item.columns)
        for rank, item in enumerate(ordered)
    ]


class _TileReader:
    """Reads one tile from the LMDB of its split."""

    def __init__(self, files: Mapping[str, LmdbFile], wanted: Mapping[str, str], *, named: bool) -> None:
        self._files = files
        self._wanted = wanted
        self._named = named

    def read(self, item: Item) -> Reading:
        """Arrays of a tile, whose names must agree.

        Raises
        ------
        BadItemError
            If a record is missing, damaged, of another tile, or holds no class.
        InputError
            If a record asks to run code.
        """
        s1, s2 = self._array(item, "s1", ["f4", "f8"]), self._array(item, "s2", ["u2"])
        arrays, _ = tile_images(s1, s2, where=item.name)
        counted: dict[str, int] = {}
        for kind, product in self._wanted.items():
            published = _shaped(self._array(item, kind, ["u1"]), 2, what=kind)
            classes, found = _LABELS[product].classes(published, where=f"{kind}_{item.key[1]}")
            arrays[f"{product}_10m"] = classes[np.newaxis]
            counted |= found
        placement = tile_placement(item.name, side_px=max(s2.shape[-2:])) if self._named else None
        return Reading(arrays, placement, counted=counted)

    def _array(self, item: Item, kind: str, dtypes: Sequence[str]) -> np.ndarray:
        split, number = item.key
        file, key = self._files[split], f"{kind}_{number}"
        array, found = file.array(key, dtypes=dtypes)
        if self._named and _name(found, kind, where=f"{file.name}, key {key}") != item.name:
            raise BadItemError(
                "id mismatch", f"{file.name}, key {key} is of {found!r:.80}, its label of {item.name!r}"
            )
        return array
