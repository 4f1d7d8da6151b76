"""Reads the pixels of a location: plans the requests, splits what is too large, asks again off the lattice.

Knows no client: it is handed a function that makes one request and gives the answer as a structured array.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from builders.config import BuildConfig
from builders.pixels import unpack
from builders.records import Location, SeasonChoice
from builders.request_log import Kind
from builders.stack import Layer, planned_requests, samples_centres, season_layers, smaller_requests
from noldo.errors import RequestRefusedError, RequestTooLargeError, SceneUnavailableError
from noldo.grids import Grid
from noldo.products import array_specs

logger = logging.getLogger(__name__)

Fetch = Callable[[tuple[Layer, ...], Grid, Kind], npt.NDArray[np.void]]
"""One pixel request: the layers on the grid, as a structured array (y, x) with a field a band."""


class PixelReader:
    """Turns choices into stored arrays. Thread-safe if `fetch` is."""

    def __init__(self, config: BuildConfig, fetch: Fetch) -> None:
        self._config = config
        self._fetch = fetch
        self._specs = {spec.name: spec for spec in array_specs(config.products.selected())}

    def read(
        self, location: Location, choices: Sequence[SeasonChoice], *, fallback: bool
    ) -> dict[str, np.ndarray]:
        """Pixels of the choices, as `builders.sources.ImagerySource.read` describes them.

        Raises
        ------
        SceneUnavailableError
            If a scene can't be read, with its `index`.
        RequestTooLargeError
            If the provider finds one product of one season still too large.
        RequestRefusedError
            If the provider refuses, or delivers what can't be.
        """
        arrays = {
            name: np.full(spec.item_shape(len(choices), location.grid.size_px), spec.no_data, spec.dtype)
            for name, spec in self._specs.items()
        }
        specs = tuple(self._specs.values())
        seasons = [
            season_layers(choice, position=position, specs=specs, config=self._config)
            for position, choice in enumerate(choices)
        ]
        uneven: set[int] = set()
        for layers in planned_requests(seasons, location.grid):
            uneven |= self._fill(arrays, layers, location.grid, kind="fallback" if fallback else "pixels")
        if uneven:
            self._fill_at_centres(arrays, location, choices, positions=sorted(uneven))
        off_lattice = [
            position in uneven or samples_centres(choice, config=self._config)
            for position, choice in enumerate(choices)
        ]
        return arrays | {"off_lattice": np.array(off_lattice, dtype=bool)}

    def _fill(
        self, arrays: Mapping[str, np.ndarray], layers: tuple[Layer, ...], grid: Grid, *, kind: Kind
    ) -> set[int]:
        """Fill the arrays with these layers; what is too large, or names no culprit, is asked in parts."""
        try:
            answer = self._fetch(layers, grid, kind)
        except (RequestTooLargeError, SceneUnavailableError) as error:
            if isinstance(error, SceneUnavailableError) and (index := unavailable_index(str(error), layers)):
                raise SceneUnavailableError(str(error), index=index) from error
            parts = smaller_requests(layers)
            if len(parts) == 1:
                raise
            logger.info("asked in %d parts: %s", len(parts), error)
        else:
            return unpack(answer, layers, specs=self._specs, arrays=arrays)
        uneven = [self._fill(arrays, part, grid, kind="fallback") for part in parts]
        return set().union(*uneven)

    def _fill_at_centres(
        self,
        arrays: Mapping[str, np.ndarray],
        location: Location,
        choices: Sequence[SeasonChoice],
        *,
        positions: Sequence[int],
    ) -> None:
        """Ask again for the coarse bands of scenes that lie on another lattice than Sentinel-2's."""
        coarse = tuple(spec for spec in self._specs.values() if spec.resolution_m > 10)
        seasons = [
            season_layers(
                choices[position], position=position, specs=coarse, config=self._config, at_centres=True
            )
            for position in positions
        ]
        logger.info(
            "location %s: 20 and 60 m bands of %s are not on the Sentinel-2 lattice; asked for at the patch's "
            "own pixel centres",
            location.id,
            ", ".join(choices[position].s2_index for position in positions),
        )
        for layers in planned_requests(seasons, location.grid):
            if self._fill(arrays, layers, location.grid, kind="fallback"):
                raise RequestRefusedError(
                    f"location {location.id}: 20 or 60 m bands sampled at their own pixel centres did not come as "
                    "blocks of equal 10 m pixels; the source does not resample as Earth Engine does"
                )


def unavailable_index(message: str, layers: Sequence[Layer]) -> str:
    """The scene that a refusal is about: the one it names, or the only one there is; empty if unclear."""
    indices = list(dict.fromkeys(layer.index for layer in layers))
    named = [index for index in indices if index and index in message]
    if named:
        return named[0]
    return indices[0] if len(indices) == 1 else ""
