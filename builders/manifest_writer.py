"""What a finished build says about its data: the content of `nol.json`.

Equal data give equal bytes: no times, no versions of packages, no addresses, no folders of this machine.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Self

from builders.config import BuildConfig
from builders.layout import SUBSET, Layout
from builders.licences import source_records
from builders.pack import store_layout
from builders.statistics import StoreStatistics
from noldo.legend import DYNAMIC_WORLD, LEGEND_OF_PRODUCT
from noldo.manifest import ArrayRecord, LegendRecord, Manifest, SeasonRecord
from noldo.products import FORMAT_VERSION
from noldo.rows import SPLITS
from noldo.status import Status


@dataclass(frozen=True)
class RowTotals:
    """Rows of the store, counted by status and split."""

    counts: Counter[tuple[Status, str]]

    @classmethod
    def none(cls) -> Self:
        """Before the first row."""
        return cls(Counter())

    def plus(self, rows: Iterable[tuple[Status, str]]) -> Self:
        """With these rows."""
        return type(self)(self.counts + Counter(rows))

    @property
    def tried(self) -> int:
        """All rows."""
        return self.counts.total()

    @property
    def kept(self) -> int:
        """Rows with pixels."""
        return self.of_status(Status.KEPT)

    def of_status(self, status: Status) -> int:
        """Rows of one status."""
        return sum(number for (found, _), number in self.counts.items() if found == status)


def manifest_of(config: BuildConfig, statistics: StoreStatistics, totals: RowTotals) -> Manifest:
    """The manifest of a build."""
    store = store_layout(config)
    layout = Layout(config.name)
    return Manifest(
        format_version=FORMAT_VERSION,
        subset=SUBSET,
        name=config.name,
        synthetic=config.synthetic,
        config=portable_config(config),
        config_digest=config.digest(),
        patch_size_px=config.patch_size_px,
        seasons=tuple(
            SeasonRecord(name=season.name, date=season.date, window_days=season.window_days)
            for season in config.seasons
        ),
        products=stored_bands(config),
        arrays=tuple(ArrayRecord.of(spec, store) for spec in store.specs),
        legends={DYNAMIC_WORLD.name: LegendRecord.of(DYNAMIC_WORLD)},
        statistics=statistics.bands,
        class_counts=statistics.class_counts,
        class_shares=class_shares(statistics, product="dynamic_world"),
        locations_kept=totals.kept,
        locations_tried=totals.tried,
        status_counts={
            status.name.lower(): totals.of_status(status)
            for status in Status
            if status <= Status.REFUSED or totals.of_status(status)  # rarer ones only where they occur
        },
        split_counts={split: totals.counts[Status.KEPT, split] for split in SPLITS},
        sources=source_records(config),
        locations_per_shard=config.jobs.locations_per_shard,
        codec=config.codec,
        files={"store": layout.store.name, "index": layout.index.name, "run": layout.run.name},
    )


def portable_config(config: BuildConfig) -> dict[str, Any]:
    """The part of the config that decides the data, with files by name: folders are nobody else's business."""
    tree: Any = config.identity()
    for section, key in (("locations", "points"), ("locations", "cities"), ("sandbox", "catalogue")):
        if tree[section].get(key):
            tree[section][key] = PurePath(tree[section][key]).name
    return dict(tree)


def stored_bands(config: BuildConfig) -> dict[str, tuple[str, ...]]:
    """Product to its bands in the order of its arrays: fine resolution first."""
    bands: dict[str, tuple[str, ...]] = {}
    selected = config.products.selected()
    for spec in store_layout(config).specs:
        bands[spec.product] = bands.get(spec.product, ()) + (spec.bands or selected[spec.product])
    return bands


def class_shares(statistics: StoreStatistics, *, product: str) -> dict[str, float]:
    """Class of a label product to its share of all labelled pixels (0..1); zeros if nothing was kept."""
    seasons = statistics.class_counts[f"{product}_10m"].values()
    counts = [sum(column) for column in zip(*seasons, strict=True)]
    total = sum(counts)
    return {
        name: count / total if total else 0.0
        for name, count in zip(LEGEND_OF_PRODUCT[product].classes, counts, strict=True)
    }
