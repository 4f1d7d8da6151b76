"""Items of a made-up published data set, for tests of what all importers share."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from builders.import_items import BadItemError, ImportPlan, Item, Placement, Reading
from noldo.grids import Grid
from noldo.manifest import SeasonRecord, SourceRecord
from noldo.products import S1_BANDS, S2_L1C_BANDS, array_specs, published_spec

SIDE_PX = 12
SEASONS = ("first", "second")

SPECS = (
    *array_specs({"s2_l1c": S2_L1C_BANDS}),
    published_spec("s1_grd", S1_BANDS, quantization="ssl4eo_uint8"),
    *array_specs({"dynamic_world": ("label",)}),
)


def made_up_plan(num_items: int = 10, **changes: object) -> ImportPlan:
    """Two seasons, patches of 12 px; every third item is of the test split."""
    plan = ImportPlan(
        importer="made-up",
        subset="nol",
        specs=SPECS,
        seasons=tuple(SeasonRecord(name=name, window_days=0) for name in SEASONS),
        patch_size_px=SIDE_PX,
        items=[
            Item(id=100 + 3 * at, name=f"patch {at}", split=("train", "train", "test")[at % 3], key=at)
            for at in range(num_items)
        ],
        sources=(
            SourceRecord(product="s2_l1c", collection="MADE/UP", licence="CC0-1.0", attribution="Made up."),
        ),
        options={"seed": 0},
        label_product="dynamic_world",
    )
    return replace(plan, **changes)


def made_up_arrays(item: Item, *, side_px: int = SIDE_PX) -> dict[str, np.ndarray]:
    """What an item holds: random, and the same whenever it is asked for."""
    generator = np.random.default_rng(item.id)
    arrays: dict[str, np.ndarray] = {}
    for spec in SPECS:
        shape = spec.item_shape(len(SEASONS), side_px)
        high = 9 if spec.is_label else 255 if spec.quantization else 4000
        arrays[spec.name] = generator.integers(0, high, shape).astype(spec.dtype)
    return arrays


def made_up_reading(item: Item) -> Reading:
    """Arrays with times, a place, and something counted."""
    grid = Grid(32632, 600_000 + 120 * item.key, 5_300_000, SIDE_PX)
    return Reading(
        made_up_arrays(item),
        placement=Placement(grid, "approximate", 10.5, 47.8, "EPSG:4326", (10.4, 47.7, 10.6, 47.9)),
        columns={
            "time_s2": [1_600_000_000_000 + item.id, 1_610_000_000_000],
            "time_s1": [1_600_000_100_000, None],
        },
        counted={"Pixels that were odd": item.key},
    )


def failing_reader(faults: Mapping[int, BadItemError | BaseException]):  # type: ignore[no-untyped-def]
    """A reader that raises for some items, by their key."""

    def read(item: Item) -> Reading:
        if item.key in faults:
            raise faults[item.key]
        return made_up_reading(item)

    return read
