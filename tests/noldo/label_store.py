"""A store of label maps that a test made: no imagery, no index."""

from pathlib import Path

import numpy as np

from noldo.products import array_specs
from noldo.status import Status
from noldo.store import StoreLayout, create_store, write_rows
from tests.noldo.made_up_data_set import made_up_rows, write_shards


def write_label_store(
    root: Path,
    labels: dict[str, np.ndarray],
    *,
    subset: str = "nol",
    locations_per_shard: int = 4,
    split: np.ndarray | None = None,
    refused: tuple[int, ...] = (),
) -> Path:
    """Write product to (location, season, y, x) uint8; all rows are kept but the refused ones."""
    num_locations, num_seasons, side, _ = next(iter(labels.values())).shape
    layout = StoreLayout(
        specs=array_specs(dict.fromkeys(labels, ("label",))),
        num_locations=num_locations,
        season_names=("winter", "spring", "summer", "autumn")[:num_seasons],
        patch_size_px=side,
        locations_per_shard=locations_per_shard,
        codec="small",
    )
    store = root / f"{subset}.zarr"
    create_store(store, layout, attributes={"subset": subset})
    write_shards(store, layout, {f"{product}_10m": values for product, values in labels.items()})
    status = np.zeros(num_locations, np.uint8)
    status[list(refused)] = Status.NO_LABELS
    rows = made_up_rows(layout) if num_locations <= 10 else {}
    rows |= {"status": status, "split": np.zeros(num_locations, np.uint8) if split is None else split}
    write_rows(store, rows)
    return store
