"""NoLDO-S12 as published: three zips, or the folders that were in them.

    ssl4eo_s12_nol.zip    dw_noisy_labels/0000123/<scene>/label.tif                    labels only, of SSL4EO-S12 v1.0
    ssl4eo_s12_dw.zip     data_s12/dw_{train,test}/image_s1/s1_<name>.tif              dB
                                                   image_s2/s2_<name>.tif              13 bands
                                                   label_dw/dw_<name>.tif              numbers 0..10
    ssl4eo_s12_osm.zip    data_s12/osm_{train,test}/... the same, and label_osm/osm_<name>.tif

with `<name>` as `<lon>_<lat>-YYYYMMDD`. What is inside the zips is not documented: these are the paths that the published
code reads, below any folders. They can be given as patterns; what no pattern matches is counted and told.

The georeference of the OpenStreetMap labels is known to be wrong: their rows and columns are those of the image, whose place
is taken. For the images of `nol`, import SSL4EO-S12 v1.0 with `--labels`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from builders.archive_files import SourceFiles, open_source
from builders.import_items import BadItemError, ImportPlan, Item, Reading, ReadItem
from builders.import_sources import NOLDO, source_record
from builders.import_ssl4eo_v1 import SEASON_NAMES
from builders.import_store import ImportSummary, ImportTarget, run_import
from builders.noisy_labels import DEFAULT_PATTERN, NoisyLabels
from builders.path_pattern import PathPattern
from builders.published_bands import BELOW_ZERO
from builders.published_geotiff import Raster
from builders.published_labels import EXPERT_BAND, PublishedLabels, expert_labels, osm_labels
from builders.published_tifs import NOTE_RESAMPLED, S1_FORM, S2_FORM, place_of, read_tif, tile_images
from builders.scene_names import scene_tile, scene_time_ms
from builders.tile_names import tile_columns
from noldo.errors import InputError
from noldo.manifest import SeasonRecord
from noldo.products import array_specs

logger = logging.getLogger(__name__)

ArchiveSubset = Literal["nol", "dw", "osm"]

SPLIT_WORDS = ("train", "test", "val")

NOTE_OSM = "The published place of the OpenStreetMap labels is wrong; they lie on the pixels of the images."


@dataclass(frozen=True)
class NoldoArchive:
    """Where the archive lies, and how its files are called."""

    root: Path
    """The zip of the subset (or an uncompressed tar), or a folder that holds what was in it."""
    subset: ArchiveSubset
    """`nol`: labels alone; `dw`: expert labels; `osm`: OpenStreetMap and expert labels."""
    nol_pattern: str = DEFAULT_PATTERN
    """Labels of `nol`."""
    s1_pattern: str = "{set}/image_s1/s1_{name}.tif"
    """Images of Sentinel-1; {set} is e.g. dw_train."""
    s2_pattern: str = "{set}/image_s2/s2_{name}.tif"
    """Images of Sentinel-2."""
    dw_pattern: str = "{set}/label_dw/dw_{name}.tif"
    """Expert labels."""
    osm_pattern: str = "{set}/label_osm/osm_{name}.tif"
    """Labels of OpenStreetMap."""
    patch_size_px: int | None = None
    """Side of a patch in pixels of 10 m; 264, and of tiles 512, if not given."""


def import_noldo_archive(told: NoldoArchive, target: ImportTarget) -> ImportSummary:
    """Import one subset of NoLDO-S12.

    Raises
    ------
    InputError
        If nothing is found, or the archive is not safe.
    ConfigError
        If a pattern lacks a part.
    StoreError
        If the results can't be written.
    """
    files = open_source(told.root)
    plan, read = plan_noisy_labels(told, files) if told.subset == "nol" else plan_tiles(told, files)
    return run_import(plan, read, target)


def plan_noisy_labels(told: NoldoArchive, files: SourceFiles) -> tuple[ImportPlan, ReadItem]:
    """Labels of `nol` without images."""
    labels = NoisyLabels(files, pattern=told.nol_pattern)
    logger.info("%s: labels of %s locations by %s", files.where, len(labels.ids()), told.nol_pattern)

    def read(item: Item) -> Reading:
        scenes = sorted(labels.scenes(item.id), key=lambda name: (scene_time_ms(name) or 0, name))
        if len(scenes) != len(SEASON_NAMES):
            raise BadItemError(
                "missing scene", f"{item.name} has {len(scenes)} labels, expected {len(SEASON_NAMES)}"
            )
        classes, counted, placement = labels.read(item.id, scenes)
        columns: dict[str, object] = {
            "scene_dynamic_world": scenes,
            "time_s2": [scene_time_ms(scene) for scene in scenes],
            "tile": [scene_tile(scene) for scene in scenes],
        }
        return Reading({"dynamic_world_10m": classes}, placement, columns, counted)

    plan = ImportPlan(
        importer="noldo-archive",
        subset="nol",
        specs=array_specs({"dynamic_world": ("label",)}),
        seasons=tuple(SeasonRecord(name=name, window_days=0) for name in SEASON_NAMES),
        patch_size_px=told.patch_size_px or 264,
        items=[Item(id=number, name=f"{number:07d}", split="train") for number in labels.ids()],
        sources=(source_record("dynamic_world", NOLDO),),
        options={"data_set": NOLDO, "subset": "nol", "patterns": {"nol": told.nol_pattern}},
        label_product="dynamic_world",
        unmatched=tuple(labels.unmatched),
    )
    return plan, read


def plan_tiles(told: NoldoArchive, files: SourceFiles) -> tuple[ImportPlan, ReadItem]:
    """Tiles of `dw` or `osm`."""
    patterns = {"s1": told.s1_pattern, "s2": told.s2_pattern, "dw": told.dw_pattern}
    if told.subset == "osm":
        patterns["osm"] = told.osm_pattern
    tiles, unmatched = _found(files, patterns, subset=told.subset)
    if not tiles:
        raise InputError(
            f"{files.where}: none of its {len(unmatched)} files is like {', '.join(patterns.values())}; give the patterns "
            "with --s1-pattern and so on"
        )
    items = [
        Item(id=rank, name=name, split=split, key=paths, columns=tile_columns(name))
        for rank, ((name, split), paths) in enumerate(sorted(tiles.items()))
    ]
    labels = {"expert": "dw", "osm": "osm"} if told.subset == "osm" else {"expert": "dw"}
    plan = ImportPlan(
        importer="noldo-archive",
        subset=told.subset,
        specs=(*S2_FORM.specs, *S1_FORM.specs, *array_specs(dict.fromkeys(labels, ("label",)))),
        seasons=(SeasonRecord(name="image", window_days=15),),
        patch_size_px=told.patch_size_px or 512,
        items=items,
        sources=tuple(source_record(product, NOLDO) for product in ("s2_l1c", "s1_grd", *labels)),
        options={"data_set": NOLDO, "subset": told.subset, "patterns": patterns},
        notes=(NOTE_RESAMPLED, *((NOTE_OSM,) if told.subset == "osm" else ())),
        columns=("label_date",),
        label_product="osm" if told.subset == "osm" else "expert",
        may_be_smaller=True,
        unmatched=tuple(unmatched),
    )
    return plan, TileReader(files, labels, kinds=tuple(patterns)).read


Tiles = dict[tuple[str, str], dict[str, str]]
"""(name, split) to kind to path."""


def _found(files: SourceFiles, patterns: Mapping[str, str], *, subset: str) -> tuple[Tiles, list[str]]:
    """All tiles that any pattern finds, and all files that none does."""
    sets = f"{subset}_(?:{'|'.join(SPLIT_WORDS)})[^/]*"
    matchers = {
        kind: PathPattern(pattern, parts={"set": sets, "name": r"[^/]+"})
        for kind, pattern in patterns.items()
    }
    tiles: Tiles = {}
    unmatched: list[str] = []
    counts = dict.fromkeys(patterns, 0)
    for path in files.names():
        found = [(kind, match) for kind, one in matchers.items() if (match := one.match(path))]
        if not found:
            unmatched.append(path)
            continue
        kind, match = found[0]
        split = next(word for word in SPLIT_WORDS if word in match["set"].removeprefix(f"{subset}_"))
        paths = tiles.setdefault((match["name"], split), {})
        if kind in paths:
            raise InputError(
                f"{files.where}: {paths[kind]} and {path} are of the same tile; remove one of them"
            )
        paths[kind] = path
        counts[kind] += 1
    for kind, pattern in patterns.items():
        logger.info("%s: %s files like %s", files.where, counts[kind], pattern)
    logger.info("%s: %s files like none of them", files.where, len(unmatched))
    return tiles, unmatched


class TileReader:
    """Reads one tile."""

    def __init__(self, files: SourceFiles, labels: Mapping[str, str], *, kinds: Sequence[str]) -> None:
        self._files = files
        self._labels = labels
        self._kinds = kinds
        self._numbering: Mapping[str, PublishedLabels] = {"expert": expert_labels(), "osm": osm_labels()}

    def read(self, item: Item) -> Reading:
        """Arrays and place of a tile.

        Raises
        ------
        BadItemError
            If a file is missing, can't be read, or is not as it should be.
        """
        rasters: dict[str, Raster] = {}
        for kind in self._kinds:
            if kind not in item.key:
                raise BadItemError("missing file", f"{kind} of {item.name}")
            rasters[kind] = read_tif(self._files, item.key[kind])
        arrays, below = tile_images(rasters["s1"].values, rasters["s2"].values, where=item.name)
        counted = {BELOW_ZERO: below}
        for product, kind in self._labels.items():
            plane = _label_plane(rasters[kind], where=item.key[kind])
            classes, without = self._numbering[product].classes(plane, where=item.key[kind])
            arrays[f"{product}_10m"] = classes[np.newaxis]
            counted |= without
        place = place_of(rasters["s2"], side_px=max(rasters["s2"].values.shape[-2:]))
        return Reading(arrays, place, counted=counted)


def _label_plane(raster: Raster, *, where: str) -> np.ndarray:
    """(y, x): the only band, the one named `lulc`, or the second of two without names, as the published code takes it."""
    count = len(raster.values)
    if EXPERT_BAND in raster.bands:
        position = raster.bands.index(EXPERT_BAND)
    elif count == 1 or (count == 2 and not any(raster.bands)):
        position = count - 1
    else:
        raise BadItemError(
            "unknown band",
            f"{where} has {count} bands ({', '.join(raster.bands)}), expected one, or one named {EXPERT_BAND}",
        )
    plane: np.ndarray = raster.values[position]
    return plane
