"""The contract of an imagery provider."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from builders.records import Location, Scene, SeasonChoice


class ImagerySource(Protocol):
    """Finds scenes and reads pixels. The one real implementation is `builders.earth_engine`.

    Calls are thread-safe, obey the project's quota, and retry what is worth retrying; what they raise
    is final (`noldo.errors.SourceError`). An empty answer means that the provider said so.
    """

    def search(self, locations: Sequence[Location]) -> list[Scene]:
        """All candidates of all seasons and collections for these locations: one metadata request.

        Order: by location, season, product, then as the provider sorted them. No candidate is left out
        for being bad; only the provider-side limit on cloud and window applies.
        """
        ...

    def read(
        self, location: Location, choices: Sequence[SeasonChoice], *, fallback: bool
    ) -> Mapping[str, np.ndarray]:
        """Pixels of the choices on the location's grid: one pixel request, more if it would be too large.

        Parameters
        ----------
        choices
            One a season, in season order; any subset of the seasons.
        fallback
            The request repeats an earlier one with other scenes (it is counted apart).

        Returns
        -------
        One array for each `noldo.products.ArraySpec` of the build, by name, with axes
        (choice, band?, y, x) at native resolution, in the stored dtype and with the stored no-data value: also all
        over where a choice has no such product (`SeasonChoice.has_l2a`, `has_dynamic_world`).
        The extra key `off_lattice` is a bool array (choice,).

        Raises
        ------
        SceneUnavailableError
            If a named scene can't be read. Its `index` attribute says which.
        """
        ...
