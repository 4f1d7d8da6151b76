"""The verb `noldo folds`. Loaded when it is asked for, by `noldo.__main__`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def folds(
    path: Path,
    /,
    *,
    layout: str = "dfc2025",
    folds_: Annotated[int, Parameter(name="--folds")] = 5,
    distance_m: float = 5000,
    modality: str | None = None,
) -> str:
    """Say how the tiles of train fall into folds that share no region, and how far apart they lie.

    Parameters
    ----------
    path
        Folder of the tiles.
    layout
        openearthmap, dfc2025 or nyc.
    folds_
        How many; recipes name one as data.fold: 1/5.
    distance_m
        Tiles whose centres are closer are of one region; recipes: data.region_distance_m.
    modality
        Whose images tell where tiles lie; default: the last that the layout has.
    """
    from noldo.published.layouts import layout_of
    from noldo.published.listing import list_tiles
    from noldo.published.places import positions_of, require_rasterio
    from noldo.published.regions import Fold, facts_of, folds_of, regions_of

    require_rasterio()
    Fold.parse(f"1/{folds_}")
    known = layout_of(layout, root=path)
    chosen = modality or list(known.images)[-1]
    known.require_modality(chosen)
    tiles = list_tiles(path, known, split="train", modalities=(chosen,), label_folder=None)
    places = positions_of(tiles)
    regions = regions_of(places, distance_m=distance_m)
    facts = facts_of(places, regions, folds_of(regions, num_folds=folds_))
    rows = [
        f"{number:>4} {one.num_tiles:>7} {one.num_regions:>9} {one.gap_m / 1000:>16.1f}"
        for number, one in enumerate(facts, start=1)
    ]
    head = (
        f"{path}: {len(tiles)} tiles of train in {int(regions.max()) + 1} regions (centres closer than {distance_m:g} m)",
        f"{'fold':>4} {'tiles':>7} {'regions':>9} {'others from (km)':>16}",
    )
    return "\n".join([*head, *rows])
