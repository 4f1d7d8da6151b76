"""Maps of the locations of a store, a GeoTIFF each; those that are there already are not made again."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from noldo.dataset import NoldoS12, Sample
from noldo.errors import ConfigError
from noldo.prediction.geotiff import Place, tags_of
from noldo.prediction.mapper import MapFiles, Mapper, Sweep, tags_of_map, write_map
from noldo.prediction.strips import Patch, ReadPatch
from noldo.prediction.windows import Window
from noldo.tensors import FINEST_M, on_one_grid
from noldo.training.splits import require_samples
from noldo.training.task import Progress

_LOG = logging.getLogger(__name__)


def map_store(
    mapper: Mapper,
    root: str,
    *,
    out: Path,
    subset: str | None = None,
    split: str = "test",
    season: str | None = None,
    sweep: Sweep | None = None,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Map the valid imagery of each location of a split, as `ID.tif`.

    Parameters
    ----------
    root
        A results folder, the path of a store, or the URL of either.
    out
        Folder of the maps.
    subset
        Which store of that folder; None: the one that the run learnt from.
    season
        By its name; None: the first.
    progress
        Told of each location.

    Returns
    -------
    Maps made now, and locations of the split.

    Raises
    ------
    ConfigError
        If store and options do not fit together, or the folder holds another map of a location.
    StoreError
        If there is no store, it is damaged, or a map can't be written.
    """
    sweep = sweep or Sweep()
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: a file, but the maps of a store need a folder; name one")
    subset = subset or mapper.recipe.data.subset
    data_set = NoldoS12(
        root,
        subset=subset,
        modalities=(mapper.modality,),
        bands=mapper.bands,
        split=split,
        season=season or 0,
        labels=None,
    )
    require_samples(data_set, where=f"{root}, {subset}, split {split}")
    name = root.rstrip("/").rpartition("/")[2].removesuffix(".zarr")
    season = season or data_set.season_names[0]
    made_of = {"input": name, "input_sha256": data_set.digest(), "subset": subset, "season": season}
    tags = tags_of_map(mapper, sweep, **made_of)
    paths = [out / f"{location_id}.tif" for location_id in data_set.ids]
    missing = [position for position, path in enumerate(paths) if not is_made(path, tags=tags)]
    is_placed = True
    for done, position in enumerate(missing, start=1):
        sample = data_set[position]
        place = place_of(sample, side_px=int(data_set.sides_px[position]))
        if is_placed and place.crs is None:
            _LOG.warning("%s: locations without a CRS; their maps have none", root)
        is_placed = is_placed and place.crs is not None
        files = MapFiles(paths[position])
        write_map(mapper, tile_reader(mapper, sample), place=place, files=files, tags=tags, sweep=sweep)
        if progress is not None:
            progress(done, len(missing), paths[position].name)
    return len(missing), len(paths)


def is_made(path: Path, *, tags: Mapping[str, str]) -> bool:
    """Whether a map is there; it appeared whole.

    Raises
    ------
    ConfigError
        If what is there is another map, or none.
    """
    if not path.exists():
        return False
    found = tags_of(path)
    for name, value in tags.items():
        if found.get(name) != value:
            raise ConfigError(
                f"{path}: is there, but {name} is {found.get(name, 'not told')}, {value} here; give another --out, or delete "
                "it"
            )
    return True


def place_of(sample: Sample, *, side_px: int) -> Place:
    """Where the imagery of a sample lies."""
    if not sample["crs"]:
        return Place(side_px, side_px, None, None)
    x_min, _, _, y_max = sample["bounds"].tolist()
    return Place(side_px, side_px, f"EPSG:{sample['crs']}", (FINEST_M, 0.0, x_min, 0.0, -FINEST_M, y_max))


def tile_reader(mapper: Mapper, sample: Sample) -> ReadPatch:
    """Cuts windows from one sample that was brought to the 10 m grid as a whole: windows need not lie on coarse pixels."""
    batch = {name: value[None] for name, value in sample.items() if isinstance(value, torch.Tensor)}
    images = {name: values[0] for name, values in mapper.inputs(batch).items()}
    observed = ~on_one_grid(sample, mapper.modality, bands=mapper.bands).isnan().all(dim=0).numpy()

    def read(window: Window) -> Patch:
        rows, columns = window.slices
        return Patch(
            {name: image[:, rows, columns] for name, image in images.items()}, observed[rows, columns]
        )

    return read
