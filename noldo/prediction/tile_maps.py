"""Maps of the tiles of a published data set: a GeoTIFF each, or one zip to be handed in."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from noldo.byte_images import observed_key
from noldo.errors import ConfigError
from noldo.legend import OPEN_EARTH_MAP
from noldo.prediction.geotiff import open_image
from noldo.prediction.mapper import MapFiles, Mapper, Sweep, tags_of_map, write_map
from noldo.prediction.store_maps import is_made
from noldo.prediction.strips import Patch, ReadPatch, probability_strips
from noldo.prediction.submission import class_ids, write_submission
from noldo.prediction.windows import Window, plan_windows
from noldo.published.tiles import PublishedTiles, Sample
from noldo.training.splits import open_published
from noldo.training.task import Progress


def open_for_maps(mapper: Mapper, root: str, *, split: str) -> PublishedTiles:
    """Whole tiles of a split as published, whatever fold the run was of; without labels.

    Raises
    ------
    ConfigError, InputError
        If the folder is none of the layout that the run learnt from.
    """
    data = mapper.recipe.data.model_copy(update={"store": root, "fold": None})
    return open_published(data, split=split, modalities=(mapper.modality,), with_labels=False)


def map_tiles(
    mapper: Mapper,
    root: str,
    *,
    out: Path,
    split: str = "test",
    sweep: Sweep | None = None,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Map each tile of a split as `NAME.tif`, on its own grid.

    Parameters
    ----------
    out
        Folder of the maps; those that are there are not made again. As `train/labels` of a folder (by regions for
        openearthmap, as its images), it is a `data.label_store`.

    Returns
    -------
    Maps made now, and tiles of the split.

    Raises
    ------
    ConfigError
        If the folder holds another map of a tile.
    InputError, StoreError
        If tiles can't be read, or a map can't be written.
    """
    sweep = sweep or Sweep()
    if out.exists() and not out.is_dir():
        raise ConfigError(
            f"--out {out}: a file, but the maps of tiles need a folder, or a name that ends in .zip"
        )
    data_set = open_for_maps(mapper, root, split=split)
    made_of = {"input": Path(root).name, "layout": mapper.recipe.data.layout, "split": split}
    tags = tags_of_map(mapper, sweep, **made_of)
    paths = [out / f"{tile.name}.tif" for tile in data_set.tiles]
    missing = [position for position, path in enumerate(paths) if not is_made(path, tags=tags)]
    for done, position in enumerate(missing, start=1):
        with open_image(data_set.first_image(position)) as image:
            place = image.place
        files = MapFiles(paths[position])
        read = tile_reader(mapper, data_set[position])
        write_map(mapper, read, place=place, files=files, tags=tags, sweep=sweep)
        if progress is not None:
            progress(done, len(missing), paths[position].name)
    return len(missing), len(paths)


def hand_in(
    mapper: Mapper,
    root: str,
    *,
    out: Path,
    split: str = "test",
    sweep: Sweep | None = None,
    progress: Progress | None = None,
) -> int:
    """Map each tile of a split into one zip of PNGs (`noldo.prediction.submission`).

    Returns
    -------
    Maps in it.

    Raises
    ------
    ConfigError
        If the run learnt other classes.
    InputError, StoreError
        If tiles can't be read, or the zip can't be written.
    """
    if mapper.legend != OPEN_EARTH_MAP:
        raise ConfigError(
            f"--out {out}: a zip is of the classes of {OPEN_EARTH_MAP.name}, the run learnt {mapper.legend.name}; give a folder"
        )
    data_set = open_for_maps(mapper, root, split=split)

    def maps() -> Iterator[tuple[str, NDArray[np.uint8]]]:
        for position, tile in enumerate(data_set.tiles):
            yield tile.name, _class_ids(mapper, data_set, position, sweep=sweep or Sweep())
            if progress is not None:
                progress(position + 1, len(data_set), tile.name)

    return write_submission(out, maps())


def _class_ids(mapper: Mapper, data_set: PublishedTiles, position: int, *, sweep: Sweep) -> NDArray[np.uint8]:
    """(Y, X) of one tile."""
    height, width = data_set.size_of(position)
    strips = probability_strips(
        mapper.network,
        tile_reader(mapper, data_set[position]),
        rows=plan_windows(height, width, tiling=sweep.tiling),
        num_classes=len(mapper.legend.classes),
        batch_size=sweep.batch_size,
    )
    return np.concatenate([class_ids(strip.probabilities) for strip in strips])


def tile_reader(mapper: Mapper, sample: Sample) -> ReadPatch:
    """Cuts windows from one tile. Its padding is never asked for: windows are planned on the tile's own size."""
    batch = {name: value[None] for name, value in sample.items() if isinstance(value, torch.Tensor)}
    images = {name: values[0] for name, values in mapper.inputs(batch).items()}
    has_data: NDArray[np.bool_] = sample[observed_key(mapper.modality)].numpy()

    def read(window: Window) -> Patch:
        rows, columns = window.slices
        return Patch(
            {name: image[:, rows, columns] for name, image in images.items()}, has_data[rows, columns]
        )

    return read
