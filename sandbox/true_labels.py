"""The true classes of a build's locations, where the Earth is synthetic: for studies that need to know them."""

from pathlib import Path

import numpy as np

from noldo.errors import ConfigError
from noldo.grids import Grid
from noldo.label_store import write_label_store
from noldo.manifest import Manifest, SourceRecord, read_manifest
from noldo.paths import find_subset
from noldo.reader import StoreReader
from sandbox.planet import SyntheticEarth

_SOURCE = SourceRecord(
    product="truth",
    collection="synthetic Earth",
    licence="CC0 1.0",
    attribution="Synthetic: made by the sandbox of NoLDO-S12 builder, not observed by any satellite.",
)


def write_truth(results: Path, *, out: Path, subset: str = "nol") -> Manifest:
    """Write a store of the labels `truth`: one map a location, the same in each season.

    Raises
    ------
    ConfigError
        If the build is not of the synthetic Earth.
    StoreError
        If there is no finished build, or `out` can't be written to.
    """
    found = find_subset(results, subset=subset)
    manifest = read_manifest(found.local(".json"))
    seed = manifest.config.get("sandbox", {}).get("seed") if manifest.synthetic else None
    if seed is None:
        raise ConfigError(f"{results}: not made of the synthetic Earth, so nobody knows its true classes")
    reader = StoreReader.open(found.store)
    places = {name: reader.row_values(name) for name in ("crs_epsg", "x_ul", "y_ul")}
    earth, num_seasons = SyntheticEarth(seed), len(reader.layout.season_names)

    def maps(row: int) -> np.ndarray:
        place = {name: int(values[row]) for name, values in places.items()}
        labels = earth.truth(Grid(**place, size_px=reader.layout.patch_size_px))
        return np.broadcast_to(labels, (num_seasons, *labels.shape))

    return write_label_store(
        found,
        out,
        product="truth",
        maps=maps,
        source=_SOURCE,
        provenance={"seed": seed, "of": manifest.config_digest},
    )
