"""SSL4EO-S12 v1.0 as published: a folder a modality, a folder a location, a folder a scene, a GeoTIFF a band.

    <root>/s2c/0000123/20200612T103629_20200612T103631_T32TPT/B1.tif ... B12.tif     L1C, uint16
    <root>/s2a/0000123/20200612T103629_20200612T103631_T32TPT/B1.tif ... B12.tif     L2A, without B10
    <root>/s1/0000123/S1A_IW_GRDH_1SDV_20200608T053406_.../VV.tif, VH.tif            dB, float32

Bands have their native sizes of 264, 132 and 44 px, in the raw set and in the one of bytes alike. Scenes are taken in the
order of their dates. The georeference (EPSG:4326) may be 10 px off; it is kept and never used to resample. With `--labels`,
the noisy labels of NoLDO-S12 are added, whose folders have the names of the Sentinel-2 scenes.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builders.archive_files import SourceFiles, open_source
from builders.import_items import BadItemError, ImportPlan, Item, Placement, Reading, ReadItem
from builders.import_sources import NOLDO, SSL4EO_V1, source_record
from builders.import_store import ImportSummary, ImportTarget, run_import
from builders.noisy_labels import DEFAULT_PATTERN, NoisyLabels
from builders.published_bands import BELOW_ZERO, Form, as_backscatter, as_bytes, as_reflectance, stored_bands
from builders.published_geotiff import Raster
from builders.published_tifs import place_of, read_tif
from builders.scene_names import scene_tile, scene_time_ms
from noldo.errors import InputError
from noldo.manifest import SeasonRecord
from noldo.products import S1_BANDS, S2_L1C_BANDS, S2_L2A_BANDS, array_specs

logger = logging.getLogger(__name__)

SEASON_NAMES = ("first", "second", "third", "fourth")
"""Scenes have dates of their own at each location; their order is that of the dates."""

BANDS = {"s2_l1c": S2_L1C_BANDS, "s2_l2a": S2_L2A_BANDS, "s1_grd": S1_BANDS}
NOTE_PLACE = "Places are estimates from the published georeference, which may be 10 px (100 m) off."
NOTE_BYTES = "Bytes hold values clipped to two standard deviations around the mean; the published files were compressed with loss."
NOTE_REPEATED = "Bands of 20 and 60 m are stored at 10 m, each pixel repeated."

_LOCATION = re.compile(r"\d{7}")
MAX_PROBES = 100


@dataclass(frozen=True)
class Ssl4eoV1:
    """Where the data set lies and what of it is wanted."""

    root: Path
    """Folder (or zip, or uncompressed tar) that holds the folders of the modalities."""
    s1: str = "s1"
    """Folder of Sentinel-1; skipped if there is none."""
    s2c: str = "s2c"
    """Folder of Sentinel-2 L1C; skipped if there is none."""
    s2a: str = "s2a"
    """Folder of Sentinel-2 L2A; skipped if there is none."""
    labels: Path | None = None
    """`ssl4eo_s12_nol.zip` of NoLDO-S12, or its folder: only its locations are imported then."""
    nol_pattern: str = DEFAULT_PATTERN
    """How the label files are called, below any folder."""
    keep_upsampled: bool = False
    """Bands of 20 and 60 m were published at 10 m and are no copies: store them so."""
    patch_size_px: int = 264
    """Side of a patch in pixels of 10 m."""

    def folders(self) -> dict[str, str]:
        """Product to folder."""
        return {"s2_l1c": self.s2c, "s2_l2a": self.s2a, "s1_grd": self.s1}


def import_ssl4eo_v1(told: Ssl4eoV1, target: ImportTarget) -> ImportSummary:
    """Import SSL4EO-S12 v1.0.

    Raises
    ------
    InputError
        If nothing is found, or bands are in a form that was not told.
    StoreError
        If the results can't be written.
    """
    files = open_source(told.root)
    labels = None if told.labels is None else NoisyLabels.open(told.labels, pattern=told.nol_pattern)
    plan, read = plan_ssl4eo_v1(told, files, labels)
    return run_import(plan, read, target)


def plan_ssl4eo_v1(
    told: Ssl4eoV1, files: SourceFiles, labels: NoisyLabels | None
) -> tuple[ImportPlan, ReadItem]:
    """What there is to import, and how one location is read."""
    folders = {product: name for product, name in told.folders().items() if files.children(name)}
    if not folders:
        raise InputError(
            f"{files.where}: none of the folders {', '.join(told.folders().values())}; give the folder that holds them, or "
            "name them with --s1, --s2c and --s2a"
        )
    listed = {product: files.children(name) for product, name in folders.items()}
    names = sorted({name for found in listed.values() for name in found})
    ids = [name for name in names if _LOCATION.fullmatch(name)]
    if labels is not None:
        if folders.keys() == {"s1_grd"}:
            raise InputError(
                f"{files.where}: labels need Sentinel-2, whose scenes they are named after; give --s2c or --s2a"
            )
        ids = [f"{one:07d}" for one in labels.ids()]
    forms = {product: _form(files, product, folder, told, ids) for product, folder in folders.items()}
    reader = LocationReader(files, folders, forms, told.patch_size_px, labels)
    specs = [spec for form in forms.values() for spec in form.specs]
    sources = [source_record(product, SSL4EO_V1) for product in folders]
    if labels is not None:
        specs += array_specs({"dynamic_world": ("label",)})
        sources.append(source_record("dynamic_world", NOLDO))
    plan = ImportPlan(
        importer="ssl4eo-v1",
        subset="nol",
        specs=tuple(specs),
        seasons=tuple(SeasonRecord(name=name, window_days=0) for name in SEASON_NAMES),
        patch_size_px=told.patch_size_px,
        items=[Item(id=int(name), name=name, split="train") for name in ids],
        sources=tuple(sources),
        options=_options(forms, labels),
        notes=_notes(forms),
        label_product="" if labels is None else "dynamic_world",
        unmatched=tuple(name for name in names if not _LOCATION.fullmatch(name))
        + (() if labels is None else tuple(labels.unmatched)),
    )
    return plan, reader.read


def _form(files: SourceFiles, product: str, folder: str, told: Ssl4eoV1, ids: Sequence[str]) -> Form:
    """Raw numbers or bytes, by the first file that can be read."""
    band = BANDS[product][1]
    for name in ids[:MAX_PROBES]:
        for scene in files.children(f"{folder}/{name}"):
            path = f"{folder}/{name}/{scene}/{band}.tif"
            try:
                raster = read_tif(files, path)
            except BadItemError:
                continue
            quantized = raster.values.dtype == np.uint8
            logger.info("%s: %s by %s", product, "bytes" if quantized else str(raster.values.dtype), path)
            return Form(product, BANDS[product], quantized=quantized, upsampled=told.keep_upsampled)
    raise InputError(
        f"{files.where}/{folder}: no scene with a readable {band}.tif among the first {MAX_PROBES} locations; give the "
        "folder of SSL4EO-S12 v1.0"
    )


def _options(forms: Mapping[str, Form], labels: NoisyLabels | None) -> dict[str, object]:
    return {
        "data_set": SSL4EO_V1,
        "forms": {
            product: "bytes" if form.quantized else "upsampled" if form.upsampled else "native"
            for product, form in forms.items()
        },
        "labels": labels is not None,
    }


def _notes(forms: Mapping[str, Form]) -> tuple[str, ...]:
    is_bytes = any(form.quantized for form in forms.values())
    return (NOTE_PLACE, *((NOTE_BYTES, NOTE_REPEATED) if is_bytes else ()))


class LocationReader:
    """Reads the scenes of one location, all modalities."""

    def __init__(
        self,
        files: SourceFiles,
        folders: Mapping[str, str],
        forms: Mapping[str, Form],
        side_px: int,
        labels: NoisyLabels | None,
    ) -> None:
        self._files = files
        self._folders = folders
        self._forms = forms
        self._side_px = side_px
        self._labels = labels

    def read(self, item: Item) -> Reading:
        """Arrays, place, times and scenes of a location.

        Raises
        ------
        BadItemError
            If a scene, a band or a label is missing or not as it should be.
        InputError
            If a band was resampled and that was not told, or files can't be read at all.
        """
        arrays: dict[str, np.ndarray] = {}
        columns: dict[str, object] = {}
        counted: dict[str, int] = {}
        placement: Placement | None = None
        for product, form in self._forms.items():
            scenes = self._scenes(product, item.name)
            columns = {**_scene_columns(product, scenes), **columns}
            planes, found, below = self._planes(product, item.name, scenes)
            placement = placement or found
            counted[BELOW_ZERO] = counted.get(BELOW_ZERO, 0) + below
            arrays |= stored_bands(planes, form, where=f"{self._folders[product]}/{item.name}")
        if self._labels is not None:
            optical = next(product for product in self._forms if product != "s1_grd")
            classes, without, _ = self._labels.read(item.id, self._scenes(optical, item.name))
            arrays["dynamic_world_10m"] = classes
            counted |= without
        return Reading(arrays, placement, columns, counted)

    def _scenes(self, product: str, name: str) -> list[str]:
        """Folders of the scenes of a location, by date."""
        folder = f"{self._folders[product]}/{name}"
        scenes = [scene for scene in self._files.children(folder) if scene_time_ms(scene) is not None]
        if len(scenes) != len(SEASON_NAMES):
            raise BadItemError(
                "missing scene", f"{folder} has {len(scenes)} scenes, expected {len(SEASON_NAMES)}"
            )
        return sorted(scenes, key=lambda scene: (scene_time_ms(scene), scene))

    def _planes(
        self, product: str, name: str, scenes: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], Placement, int]:
        """Band to (season, y, x) in the stored dtype; the place by the finest band of the first scene; what was below zero."""
        below = 0
        planes: dict[str, np.ndarray] = {}
        finest: Raster | None = None
        for band in self._forms[product].bands:
            rasters = [
                read_tif(self._files, f"{self._folders[product]}/{name}/{scene}/{band}.tif")
                for scene in scenes
            ]
            where = f"{self._folders[product]}/{name}, {band}"
            if len({raster.values.shape for raster in rasters}) > 1 or len(rasters[0].values) != 1:
                sizes = ", ".join(str(raster.values.shape) for raster in rasters)
                raise BadItemError(
                    "wrong size", f"{where}: {sizes}, expected one band of one size in all scenes"
                )
            values, negative = self._stored(
                np.concatenate([raster.values for raster in rasters]), product, where
            )
            planes[band] = values
            below += negative
            if finest is None or rasters[0].values.size > finest.values.size:
                finest = rasters[0]
        assert finest is not None, "a product has bands"
        place = place_of(finest, side_px=self._side_px, georeference="approximate")
        return planes, place, below

    def _stored(self, values: np.ndarray, product: str, where: str) -> tuple[np.ndarray, int]:
        if self._forms[product].quantized:
            return as_bytes(values, where=where), 0
        if product == "s1_grd":
            return as_backscatter(values, where=where), 0
        return as_reflectance(values, where=where)


def _scene_columns(product: str, scenes: Sequence[str]) -> dict[str, object]:
    columns: dict[str, object] = {f"scene_{product}": list(scenes)}
    times = [scene_time_ms(scene) for scene in scenes]
    if product == "s1_grd":
        return columns | {"time_s1": times}
    return columns | {"time_s2": times, "tile": [scene_tile(scene) for scene in scenes]}
