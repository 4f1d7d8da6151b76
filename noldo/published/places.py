"""Where published tiles lie."""

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from noldo.errors import InputError, MissingExtraError
from noldo.published.listing import Tile
from noldo.published.regions import Positions, positions


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
