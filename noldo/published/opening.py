"""One split of a published data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from noldo.errors import ConfigError
from noldo.published.layouts import layout_of
from noldo.published.listing import list_tiles
from noldo.published.places import positions_of, require_rasterio, tell_without_place
from noldo.published.regions import Fold, folds_of, regions_of
from noldo.published.tiles import PublishedTiles
from noldo.rows import SPLITS

REGION_DISTANCE_M = 5_000.0
"""Tiles closer than this are of one region, unless told otherwise: about the side of a spotlight scene of Umbra."""


def open_tiles(
    root: str | Path,
    *,
    layout: str,
    split: str,
    modalities: Sequence[str],
    label_source: str | None = None,
    label_store: str | Path | None = None,
    with_labels: bool = True,
    folders: Mapping[str, str] | None = None,
    class_numbers: Mapping[str, int] | None = None,
    fold: str | None = None,
    region_distance_m: float = REGION_DISTANCE_M,
    crop_px: int | None = None,
    seed: int = 0,
) -> PublishedTiles:
    """Open a split. The heads of its images are read, and those without a CRS told.

    Parameters
    ----------
    root
        `OpenEarthMap_wo_xBD`, or the folder that holds train, val and test.
    layout
        Of `noldo.published.layouts.LAYOUTS`.
    split
        train, val or test; without `with_labels` any folder or list of that name.
    label_source
        nyc: `truth` or `noisy`; None: the first that the layout has.
    label_store
        Another folder of the same layout with labels by class id, as `noldo predict` writes maps; splits that it has none of
        keep their own, and so does val of a fold: it is judged by the labels of the data set.
    folders, class_numbers
        Other names of folders and numbers of classes than the layout's; see `Layout.renamed` and `Labels.table`.
    fold
        `2/5`: train and val are both of the tiles of train, val the second of five folds of whole regions.
    region_distance_m
        Between centres of tiles of one region.
    crop_px, seed
        As in `PublishedTiles`.

    Raises
    ------
    ConfigError
        If an argument names what the layout does not have.
    InputError
        If files are missing.
    RasterError
        If an image can't be opened.
    """
    require_rasterio()
    known = layout_of(layout, root=root).renamed(folders or {})
    for modality in modalities:
        known.require_modality(modality)
    if with_labels and split not in SPLITS:
        raise ConfigError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    labels = known.label_source(label_source)
    numbers = labels.table(class_numbers)
    is_drawn = fold is not None and split in ("train", "val")
    is_judged = is_drawn and split == "val"
    label_root = None if label_store is None or is_judged else Path(label_store)
    tiles = list_tiles(
        Path(root),
        known,
        split="train" if is_drawn else split,
        modalities=modalities,
        label_folder=labels.folder if with_labels else None,
        label_root=label_root,
    )
    if label_root is not None and any(tile.label and tile.label.is_relative_to(label_root) for tile in tiles):
        numbers = labels.by_id()
    if fold is not None and is_drawn:
        one = Fold.parse(fold)
        of_tiles = folds_of(
            regions_of(positions_of(tiles), distance_m=region_distance_m), num_folds=one.count
        )
        tiles = tuple(
            tile
            for tile, number in zip(tiles, of_tiles.tolist(), strict=True)
            if (number == one.number - 1) == (split == "val")
        )
    where = f"{root}, {layout}, split {split}"
    tell_without_place(tiles, where=where)
    return PublishedTiles(
        tiles,
        modalities=modalities,
        legend=labels.legend,
        numbers=numbers,
        where=where,
        crop_px=crop_px,
        seed=seed,
    )
