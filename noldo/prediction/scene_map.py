"""The map of one GeoTIFF, on its own grid."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from noldo.errors import ConfigError
from noldo.prediction.geotiff import Image, open_image
from noldo.prediction.mapper import MapFiles, Mapper, Sweep, tags_of_map, write_map
from noldo.prediction.raster_facts import as_stored, band_numbers, grid_doubts, require_values
from noldo.prediction.strips import Patch, ReadPatch
from noldo.prediction.windows import Window
from noldo.products import S1_BANDS, S2_L1C_BANDS, published_spec
from noldo.training.task import Progress

_LOG = logging.getLogger(__name__)


def map_geotiff(
    mapper: Mapper,
    source: Path,
    *,
    files: MapFiles,
    bands: Sequence[str] | None = None,
    sweep: Sweep | None = None,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """Map a GeoTIFF.

    Parameters
    ----------
    files
        GeoTIFFs to write; replaced if they are there.
    bands
        Names of the file's bands in its order; None: as their descriptions say.
    progress
        Told of each row of windows.

    Returns
    -------
    (256,) pixels of each class id; those of 255 were not observed.

    Raises
    ------
    ConfigError
        If a map can't have such a name.
    RasterError
        If the file is no GeoTIFF, or has not what the network takes.
    StoreError
        If a map can't be written.
    """
    sweep = sweep or Sweep()
    require_names(files, source=source)
    with open_image(source) as image:
        read = reader_of(image, mapper, bands=bands)
        if (doubts := grid_doubts(image.facts)) is not None:
            _LOG.warning("%s", doubts)
        return write_map(
            mapper,
            read,
            place=image.place,
            files=files,
            tags=tags_of_map(mapper, sweep, input=source.name),
            sweep=sweep,
            progress=progress,
        )


def require_names(files: MapFiles, *, source: Path) -> None:
    """Refuse names that a map can't have, before anything is computed.

    Raises
    ------
    ConfigError
        If it is a folder, does not end in .tif, or is another file's.
    """
    taken = {source.resolve(): "the image"}
    for option, path in (("--out", files.labels), ("--probabilities", files.probabilities)):
        if path is None:
            continue
        if path.is_dir():
            raise ConfigError(f"{option} {path}: a folder, but the map of a GeoTIFF is a file; name it")
        if path.suffix != ".tif":
            raise ConfigError(f"{option} {path}: expected a name that ends in .tif")
        if path.resolve() in taken:
            raise ConfigError(f"{option} {path}: would replace {taken[path.resolve()]}; give another name")
        taken[path.resolve()] = "the map"


def reader_of(image: Image, mapper: Mapper, *, bands: Sequence[str] | None = None) -> ReadPatch:
    """Reads windows of a GeoTIFF as the network takes them.

    All bands are on one grid of 10 m already, as in stores of imported bands, and go through the same step as theirs.

    Raises
    ------
    RasterError
        If it lacks a band, or its numbers mean something else.
    """
    chosen = mapper.inputs.bands(mapper.modality)
    everything = S1_BANDS if mapper.modality == "s1_grd" else S2_L1C_BANDS
    ordered = tuple(band for band in everything if band in chosen)  # as they lie in a store
    spec = published_spec(mapper.modality, ordered)
    numbers = band_numbers(image.facts, ordered, names=bands)
    require_values(image.facts, numbers, spec=spec)

    def read(window: Window) -> Patch:
        planes, observed = image.read(numbers, window)
        stored = as_stored(planes, observed, spec=spec, where=image.facts.where)
        images = mapper.inputs({spec.name: torch.from_numpy(stored)[None]})
        return Patch(
            {name: values[0] for name, values in images.items()}, (stored != spec.no_data).any(axis=0)
        )

    return read
