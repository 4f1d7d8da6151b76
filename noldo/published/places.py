"""Where published tiles lie."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from noldo.errors import InputError, MissingExtraError, RasterError
from noldo.published.listing import Tile, shown, tell_once
from noldo.published.regions import Positions, positions

if TYPE_CHECKING:  # it imports rasterio
    from noldo.prediction.geotiff import Place

MAX_SHIFT_PX = 0.25
"""Between a corner of an image and that of its label. Rounded coordinates are closer; from half a pixel on, labels are of other pixels."""


def require_rasterio() -> None:
    """Say what to install, before an import fails deep inside.

    Raises
    ------
    MissingExtraError
        If rasterio is not there.
    """
    if not find_spec("rasterio"):
        raise MissingExtraError(
            "published tiles need rasterio; run `pip install -e '.[train]'` in the checkout of this project"
        )


def positions_of(tiles: Sequence[Tile]) -> Positions:
    """Where the centres of tiles lie, by their images.

    Raises
    ------
    InputError, RasterError
        If a tile does not say where it lies.
    """
    from noldo.prediction.geotiff import open_image

    found: NDArray[np.float64] = np.empty((len(tiles), 2))
    for index, tile in enumerate(tiles):
        path = next(iter(tile.images.values()))
        with open_image(path) as image:
            centre = image.centre_lon_lat()
        if centre is None:
            raise InputError(
                f"{path}: no CRS, so no fold can be drawn; give the published file, or leave out data.fold"
            )
        found[index] = centre
    return positions(found)


def tell_without_place(tiles: Sequence[Tile], *, where: str) -> None:
    """Say once how many images do not tell where they lie.

    Parameters
    ----------
    where
        The data set and split, for the message.

    Raises
    ------
    RasterError
        If an image can't be opened.
    """
    lost = [tile.name for tile in tiles if not _has_place(next(iter(tile.images.values())))]
    if lost:
        tell_once(
            f"{where}: {len(lost)} of {len(tiles)} images have no CRS: {shown(lost)}; they have no coordinates: their bounds "
            "are NaN, and data.fold and `noldo folds` refuse them"
        )


@cache
def _has_place(path: Path) -> bool:
    """Once a process: a split is opened more than once in a run, and has thousands of files."""
    from noldo.prediction.geotiff import open_image

    with open_image(path) as image:
        return image.place.crs is not None and image.place.transform is not None


def require_same_place(label: "Place", image: "Place", *, label_path: Path, image_path: Path) -> None:
    """Refuse a label that says that it lies elsewhere than its image. One without a CRS says nothing, and lies where its image lies.

    Raises
    ------
    RasterError
        With both files.
    """
    if label.crs is None or label.transform is None or image.crs is None or image.transform is None:
        return
    if label.crs != image.crs:
        raise RasterError(
            f"{label_path}: in {label.crs}, but its image {image_path} in {image.crs}; give the label of this image"
        )
    shift_px = _shift_px(label.transform, image.transform, size=(image.height, image.width))
    if shift_px > MAX_SHIFT_PX:
        raise RasterError(
            f"{label_path}: lies {shift_px:.3g} px beside its image {image_path} (at most {MAX_SHIFT_PX:g}); give the label of "
            "this image"
        )


def _shift_px(one: Sequence[float], other: Sequence[float], *, size: tuple[int, int]) -> float:
    """Largest distance of a corner of two grids, in pixels of the second."""
    a, b, c, d, e, f = (mine - yours for mine, yours in zip(one, other, strict=True))
    height, width = size
    corners = [(column, row) for column in (0, width) for row in (0, height)]
    shift = max(hypot(a * column + b * row + c, d * column + e * row + f) for column, row in corners)
    side = min(hypot(other[0], other[3]), hypot(other[1], other[4]))
    return shift / side if side else float("inf")
