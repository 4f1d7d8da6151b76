"""What a finished build says about its data: the content of `nol.json`.

Equal data give equal bytes: no times, no versions of packages, no addresses, no folders of this machine.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Self

from builders.config import BuildConfig
from builders.layout import Layout
from builders.licences import source_records
from builders.pack import store_layout
from builders.statistics import StoreStatistics
from noldo.legend import LEGEND_OF_PRODUCT
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


def manifest_of(
    config: BuildConfig,
    statistics: StoreStatistics,
    totals: RowTotals,
    *,
    provenance: Mapping[str, Mapping[str, Any]],
) -> Manifest:
    """The manifest of a subset.

    Parameters
    ----------
    provenance
        Clean label product to what it was made of.
    """
    store = store_layout(config)
    layout = Layout(config.name, subset=config.subset)
    return Manifest(
        format_version=FORMAT_VERSION,
        subset=config.subset,
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
        legends={
            spec.product: LegendRecord.of(LEGEND_OF_PRODUCT[spec.product])
            for spec in store.specs
            if spec.product in LEGEND_OF_PRODUCT
        },
        statistics=statistics.bands,
        class_counts=statistics.class_counts,
        class_shares=class_shares(statistics, product=config.primary_label),
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
        label_provenance={product: dict(facts) for product, facts in provenance.items()},
        files={"store": layout.store.name, "index": layout.index.name, "run": layout.run.name},
    )


def portable_config(config: BuildConfig) -> dict[str, Any]:
    """The part of the config that decides the data, with files by name: folders are nobody else's business."""
    tree: Any = config.identity()
    for section, key in _FILES:
        value = (tree.get(section) or {}).get(key)
        if value:
            tree[section][key] = _names(value)
    if tree.get("dw"):
        tree["dw"]["split"] = tree["split"]
    return dict(tree)


_FILES = (
    ("locations", "points"),
    ("locations", "cities"),
    ("sandbox", "catalogue"),
    ("split", "lists"),
    ("dw", "tables"),
    ("dw", "labels"),
    ("osm", "extracts"),
    ("osm", "tags"),
)
"""Keys of the config that are paths, or may be."""


def _names(value: Any) -> Any:
    """Last parts of one path, of a list of them, or of the values of a dict."""
    if isinstance(value, dict):
        return {key: _names(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_names(one) for one in value]
    return PurePath(value).name


def stored_bands(config: BuildConfig) -> dict[str, tuple[str, ...]]:
    """Product to its bands in the order of its arrays: fine resolution first."""
    bands: dict[str, tuple[str, ...]] = {}
    selected = config.products.selected(config.labels)
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
