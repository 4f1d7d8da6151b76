"""Labels that networks predict for published tiles, as a folder of their layout that holds labels alone (`data.label_store`).

Axes: C class, Y row, X column.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from noldo.atomic import write_if_changed
from noldo.errors import ConfigError
from noldo.legend import Legend
from noldo.prediction.class_maps import Planes, bytes_of
from noldo.prediction.fusion import Fusion, fused, mean_of
from noldo.prediction.geotiff import open_image
from noldo.prediction.mapper import MapFiles, Mapper, Sweep, write_planes
from noldo.prediction.pseudo_labels import shared_legend, told_of
from noldo.prediction.store_maps import is_made
from noldo.prediction.strips import probability_strips
from noldo.prediction.tile_maps import tile_reader
from noldo.prediction.views import Views, seen
from noldo.prediction.windows import Window, plan_windows
from noldo.products import PROBABILITY_STEPS, UNLABELLED
from noldo.published.layouts import layout_of
from noldo.published.listing import label_path
from noldo.published.opening import open_tiles
from noldo.published.tiles import PublishedTiles
from noldo.training.recipe import SelfTrainRecipe
from noldo.training.task import Progress

SOFT_FOLDER = "soft"
"""Beside the folder of labels; a band a class."""


@dataclass(frozen=True)
class TileLabels:
    """What was written."""

    num_made: int
    """Tiles labelled now."""
    num_tiles: int
    """Of the split."""
    counts: NDArray[np.int64]
    """(256,) pixels of each class id in all of them; those of 255 have no label."""


@dataclass(frozen=True)
class _Networks:
    """How a tile is labelled."""

    mappers: Sequence[Mapper]
    legend: Legend
    views: Views
    fusion: Fusion
    sweep: Sweep


def write_tile_labels(
    mappers: Sequence[Mapper],
    root: str | Path,
    *,
    out: Path,
    split: str = "train",
    layout: str | None = None,
    views: Views | None = None,
    fusion: Fusion | None = None,
    sweep: Sweep | None = None,
    soft: bool = False,
    progress: Progress | None = None,
) -> TileLabels:
    """Label each tile of a split; the same call goes on after a kill, tile by tile.

    Views are of windows: a window is looked at in all of them, then blended with its neighbours.

    Parameters
    ----------
    mappers
        One network or several, of one legend; they may see different modalities of the same tiles.
    root
        Folder of the tiles.
    out
        Another folder, for `train/labels/NAME.tif` (`REGION/labels/NAME.tif` for openearthmap) of class ids, 255 no label, and for
        `SPLIT.json`, which says what they were made of when all of them are there.
    layout
        Of the tiles; None: that of the data that the first run learnt from.
    soft
        The networks' mean probability of each class is written, too: `train/soft/NAME.tif`, as `probability_file` does.
    progress
        Told of each tile.

    Raises
    ------
    ConfigError
        If the networks have different legends, the tiles lack what they see, or `out` holds other labels.
    InputError, RasterError, StoreError
        If tiles can't be read, or labels can't be written.
    """
    layout = layout or mappers[0].recipe.data.layout
    folders = _folders_of(mappers, layout)
    legend = shared_legend(mappers)
    known = layout_of(layout, root=root).renamed(folders)
    label_folder = known.labels_in(legend).folder
    if out.resolve() == Path(root).resolve():
        raise ConfigError(f"--out {out}: holds the images themselves; give another folder for the labels")
    modalities = tuple(dict.fromkeys(one.modality for one in mappers))
    data_set = open_tiles(
        root, layout=layout, split=split, modalities=modalities, with_labels=False, folders=folders
    )
    networks = _Networks(mappers, legend, views or Views(), fusion or Fusion(), sweep or Sweep())
    made_of = _made_of(networks, input=Path(root).resolve().name, layout=layout, split=split)
    tags = _tags(made_of, legend)
    places = [
        MapFiles(
            label_path(out, tile, known, split=split, label_folder=label_folder),
            label_path(out, tile, known, split=split, label_folder=SOFT_FOLDER) if soft else None,
        )
        for tile in data_set.tiles
    ]
    is_there = [_is_made(files, tags=tags) for files in places]
    counts = np.zeros(256, np.int64)
    for position, files in enumerate(places):
        if is_there[position]:
            counts += _counts_of(files.labels)
            continue
        counts += _label_tile(networks, data_set, position, files=files, tags=tags)
        if progress is not None:
            progress(position + 1, len(places), files.labels.name)
    told = _provenance(made_of, legend, counts, num_tiles=len(places), soft=soft)
    write_if_changed(out / f"{split}.json", told)
    return TileLabels(is_there.count(False), len(places), counts)


def _is_made(files: MapFiles, *, tags: Mapping[str, str]) -> bool:
    """Whether all that is asked for is there."""
    paths = [files.labels] if files.probabilities is None else [files.labels, files.probabilities]
    # Each is looked at: a file that others made may be in either place.
    found = [is_made(path, tags=tags) for path in paths]
    return all(found)


def _folders_of(mappers: Sequence[Mapper], layout: str) -> Mapping[str, str]:
    """Other names of folders that a run was told of this layout, as source or as target."""
    for mapper in mappers:
        told = [mapper.recipe.data]
        if isinstance(mapper.recipe, SelfTrainRecipe):
            told.append(mapper.recipe.target)
        for data in told:
            if data.layout == layout and data.folders:
                return data.folders
    return {}


def _made_of(networks: _Networks, **where: str) -> dict[str, Any]:
    """What decides the labels. No paths."""
    tiling = networks.sweep.tiling
    return {
        **where,
        **told_of(networks.mappers, views=networks.views, fusion=networks.fusion),
        "window_px": tiling.window_px,
        "overlap_px": tiling.overlap_px,
    }


def _tags(made_of: Mapping[str, Any], legend: Legend) -> dict[str, str]:
    """Of each file: it is gone on by the digest; runs and way are for people."""
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    runs = ", ".join(one["run"] for one in made_of["networks"])
    return {"legend": legend.name, "runs": runs, "fusion": made_of["fusion"], "made_of": digest}


def _label_tile(
    networks: _Networks,
    data_set: PublishedTiles,
    position: int,
    *,
    files: MapFiles,
    tags: Mapping[str, str],
) -> NDArray[np.int64]:
    """(256,) pixels of each number."""
    with open_image(data_set.first_image(position)) as image:
        place = image.place
    planes = _planes(networks, data_set, position, soft=files.probabilities is not None)
    return write_planes(planes, place=place, files=files, legend=networks.legend, tags=tags)


def _planes(networks: _Networks, data_set: PublishedTiles, position: int, *, soft: bool) -> Iterator[Planes]:
    """Labels of one tile, and below them what is soft, strip by strip; all networks go through it side by side."""
    height, width = data_set.size_of(position)
    sample = data_set[position]
    of_networks = [
        probability_strips(
            seen(mapper.network, views=networks.views),
            tile_reader(mapper, sample),
            rows=plan_windows(height, width, tiling=networks.sweep.tiling),
            num_classes=len(networks.legend.classes),
            batch_size=networks.sweep.batch_size,
        )
        for mapper in networks.mappers
    ]
    for strips in zip(*of_networks, strict=True):
        found = [torch.from_numpy(strip.probabilities)[None] for strip in strips]
        planes = fused(found, fusion=networks.fusion).numpy()
        yield np.concatenate([planes, bytes_of(mean_of(found)[0].numpy())]) if soft else planes


def _counts_of(path: Path) -> NDArray[np.int64]:
    """(256,) pixels of each number of a label file."""
    with open_image(path) as image:
        planes, _ = image.read([1], Window(0, 0, image.place.height, image.place.width))
    return np.bincount(planes.ravel(), minlength=256)


def _provenance(
    made_of: Mapping[str, Any], legend: Legend, counts: NDArray[np.int64], *, num_tiles: int, soft: bool
) -> bytes:
    """A document that says what labels were made of, and how much of each class there is."""
    num_labelled = int(counts[: len(legend.classes)].sum())
    shares = (counts[: len(legend.classes)] / max(num_labelled, 1)).tolist()
    document = {
        **made_of,
        "legend": legend.name,
        "num_tiles": num_tiles,
        "num_pixels": int(counts.sum()),
        "unlabelled_share": int(counts[UNLABELLED]) / max(int(counts.sum()), 1),
        "class_shares": dict(zip(legend.classes, shares, strict=True)),
    }
    if soft:
        document["soft"] = {"folder": SOFT_FOLDER, "scale": 1 / PROBABILITY_STEPS, "no_data": 255}
    return (json.dumps(document, indent=1) + "\n").encode()
