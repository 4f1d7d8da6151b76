"""The Data Fusion Contest 2020 as published: patches of 256 px in GeoTIFFs, all 13 bands of Sentinel-2 on one grid.

    ROIs0000_validation/{s1_0,s2_0,dfc_0}/ROIs0000_validation_{s1,s2,dfc}_0_p<number>.tif
    ROIs0000_test/{s1_0,s2_0,dfc_0}/ROIs0000_test_{s1,s2,dfc}_0_p<number>.tif

Only the names of the files matter, not their folders. The 986 patches of `validation` are the training split, the 5,128 of
`test` the test split, as in CromSS's paper. Labels keep the eight classes that they hold; others become 255 and are counted.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builders.archive_files import SourceFiles, open_source
from builders.import_items import BadItemError, ImportPlan, Item, Reading, ReadItem
from builders.import_sources import DFC2020, source_record
from builders.import_store import ImportSummary, ImportTarget, run_import
from builders.published_bands import BELOW_ZERO
from builders.published_labels import dfc2020_labels
from builders.published_tifs import S1_FORM, S2_FORM, place_of, read_tif, tile_images
from noldo.errors import InputError
from noldo.manifest import SeasonRecord
from noldo.products import array_specs

SPLITS = {"validation": "train", "test": "test"}

TEST_IDS_FROM = 100_000
"""Patches of both splits are numbered from 0; ids of the test split begin here."""

NOTE = "All bands were published on a grid of 10 m; how those of 20 and 60 m came there is not known."
LABELS = dfc2020_labels()

_NAME = re.compile(
    r"(?:.*/)?ROIs\d+_(?P<split>validation|test)_(?P<kind>s1|s2|dfc)_\d+_p(?P<number>\d{1,5})\.tif"
)


@dataclass(frozen=True)
class Dfc2020:
    """Where the data set lies."""

    root: tuple[Path, ...]
    """Folder (or zip, or uncompressed tar) that holds the files, in any folders; may be given twice, for the two splits."""
    patch_size_px: int = 256
    """Side of a patch in pixels of 10 m."""


@dataclass(frozen=True)
class _Place:
    """One file."""

    files: SourceFiles
    name: str


def import_dfc2020(told: Dfc2020, target: ImportTarget) -> ImportSummary:
    """Import DFC2020.

    Raises
    ------
    InputError
        If nothing is found, or an archive is not safe.
    StoreError
        If the results can't be written.
    """
    plan, read = plan_dfc2020(told, [open_source(path) for path in told.root])
    return run_import(plan, read, target)


def plan_dfc2020(told: Dfc2020, sources: Sequence[SourceFiles]) -> tuple[ImportPlan, ReadItem]:
    """What there is to import, and how one patch is read."""
    found: dict[tuple[str, int], dict[str, _Place]] = {}
    unmatched: list[str] = []
    for files in sources:
        for name in files.names():
            match = _NAME.fullmatch(name)
            if match is None:
                unmatched.append(name)
                continue
            patch = found.setdefault((match["split"], int(match["number"])), {})
            if match["kind"] in patch:
                raise InputError(
                    f"{files.where}/{name}: {patch[match['kind']].name} is of the same patch; remove one of them"
                )
            patch[match["kind"]] = _Place(files, name)
    plan = ImportPlan(
        importer="dfc2020",
        subset="dfc2020",
        specs=(*S2_FORM.specs, *S1_FORM.specs, *array_specs({"dfc2020": ("label",)})),
        seasons=(SeasonRecord(name="image", window_days=0),),
        patch_size_px=told.patch_size_px,
        items=[_item(*key, places) for key, places in sorted(found.items(), key=lambda one: _id(*one[0]))],
        sources=tuple(source_record(product, DFC2020) for product in ("s2_l1c", "s1_grd", "dfc2020")),
        options={"data_set": DFC2020},
        notes=(NOTE,),
        label_product="dfc2020",
        unmatched=tuple(unmatched),
    )
    return plan, _read


def _id(split: str, number: int) -> int:
    return number + (TEST_IDS_FROM if split == "test" else 0)


def _item(split: str, number: int, places: dict[str, _Place]) -> Item:
    return Item(
        id=_id(split, number),
        name=f"ROIs0000_{split}_0_p{number}",
        split=SPLITS[split],
        key={kind: places.get(kind) for kind in ("s1", "s2", "dfc")},
    )


def _read(item: Item) -> Reading:
    """Arrays and place of one patch."""
    rasters = {}
    for kind, place in item.key.items():
        if place is None:
            raise BadItemError("missing file", f"{kind} of {item.name}")
        rasters[kind] = read_tif(place.files, place.name)
    arrays, below = tile_images(rasters["s1"].values, rasters["s2"].values, where=item.name)
    classes, counted = LABELS.classes(rasters["dfc"].values[0], where=f"the label of {item.name}")
    arrays["dfc2020_10m"] = classes[np.newaxis]
    placement = place_of(rasters["s2"], side_px=max(rasters["s2"].values.shape[-2:]))
    return Reading(arrays, placement, counted={**counted, BELOW_ZERO: below})
