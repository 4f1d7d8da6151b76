"""Labels that networks predict for the locations of a store, as a store of labels beside it (`noldo.label_store`).

Axes: S season, B band, C class, Y row, X column.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noldo.dataset import NoldoS12
from noldo.errors import ConfigError
from noldo.label_store import write_label_store
from noldo.legend import Legend
from noldo.manifest import Manifest, SourceRecord, read_manifest
from noldo.paths import find_subset
from noldo.prediction.class_maps import bytes_of
from noldo.prediction.fusion import Fusion, fused, mean_of
from noldo.prediction.mapper import Mapper
from noldo.prediction.views import Views, averaged
from noldo.products import PREDICTED_LABELS, UNLABELLED
from noldo.tensors import on_one_grid

PRODUCT_OF_LEGEND = {legend: product for product, legend in PREDICTED_LABELS.items()}
"""Name of a legend to the label product of predictions in it."""


def write_pseudo_labels(
    mappers: Sequence[Mapper],
    root: str | Path,
    *,
    out: Path,
    subset: str = "nol",
    views: Views | None = None,
    fusion: Fusion | None = None,
    soft: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Predict all kept locations of a store in all their seasons; the same call goes on after a kill, shard by shard.

    Parameters
    ----------
    mappers
        One network or several, of one legend; they may see different modalities.
    root
        A results folder.
    out
        Another folder, for the store of labels.
    soft
        The networks' mean probability of each class is stored, too, where they saw something.

    Raises
    ------
    ConfigError
        If the networks have different legends, or the store lacks what they see.
    StoreError
        If there is no finished store, or `out` holds other labels.
    """
    views, fusion = views or Views(), fusion or Fusion()
    legend = shared_legend(mappers)
    if legend.name not in PRODUCT_OF_LEGEND:
        raise ConfigError(
            f"runs of legend {legend.name}: labels are stored in {', '.join(PRODUCT_OF_LEGEND)}; give runs that learnt one of those"
        )
    found = find_subset(root, subset=subset)
    images = _Images(mappers, found.store)
    product = PRODUCT_OF_LEGEND[legend.name]
    manifest = read_manifest(found.local(".json"))

    def maps(row: int) -> np.ndarray:
        return images.labels(row, views=views, fusion=fusion, soft=soft)

    return write_label_store(
        found,
        out,
        product=product,
        maps=maps,
        source=_source_of(product, manifest),
        provenance={
            **told_of(mappers, views=views, fusion=fusion),
            "of": manifest.config_digest,
        },
        soft=soft,
        progress=progress,
    )


def shared_legend(mappers: Sequence[Mapper]) -> Legend:
    """The legend of all these networks.

    Raises
    ------
    ConfigError
        If they have different ones.
    """
    legend = mappers[0].legend
    if others := {one.legend.name for one in mappers} - {legend.name}:
        raise ConfigError(
            f"runs of legends {legend.name} and {', '.join(sorted(others))}: fuse those of one legend"
        )
    return legend


def told_of(mappers: Sequence[Mapper], *, views: Views, fusion: Fusion) -> dict[str, Any]:
    """Which networks made labels, and how: what their provenance says."""
    return {
        "networks": [dict(one.tags) for one in mappers],
        "scales": list(views.scales),
        "flips": views.flips,
        "fusion": fusion.how,
        "min_confidence": fusion.min_confidence,
    }


def _source_of(product: str, images: Manifest) -> SourceRecord:
    """Predictions are under the terms of what they were made of, as far as that is known."""
    return SourceRecord(
        product=product,
        collection="predictions of networks, see label_provenance",
        licence="that of the images and of the labels that the networks learnt",
        attribution="; ".join(dict.fromkeys(one.attribution for one in images.sources)),
    )


class _Images:
    """Images of a store as networks take them, location by location."""

    def __init__(self, mappers: Sequence[Mapper], store: str) -> None:
        self._mappers = mappers
        # Networks may see other bands of the same modality: each has a data set of its own.
        self._data_sets = [
            NoldoS12(
                store, modalities=(one.modality,), bands=one.bands, split=None, season="all", labels=None
            )
            for one in mappers
        ]
        self._patch_px = int(self._data_sets[0].patch_size_px)
        rows = self._data_sets[0].store_rows.tolist()
        self._sample_of_row = {row: sample for sample, row in enumerate(rows)}

    def labels(self, row: int, *, views: Views, fusion: Fusion, soft: bool) -> np.ndarray:
        """(S, Y, X) of the whole patch, or, with what is soft, (S, 1 + C, Y, X); 255 beyond the tile, and where a network saw nothing."""
        at = self._sample_of_row[row]
        found: list[torch.Tensor] = []
        observed: torch.Tensor | None = None
        for mapper, data_set in zip(self._mappers, self._data_sets, strict=True):
            sample = {name: one for name, one in data_set[at].items() if isinstance(one, torch.Tensor)}
            seen = ~on_one_grid(sample, mapper.modality, bands=mapper.bands).isnan().all(dim=-3)
            observed = seen if observed is None else observed & seen
            found.append(averaged(mapper.network, mapper.inputs(sample), views=views).cpu())
        assert observed is not None, "there is a network"
        planes = torch.where(observed, fused(found, fusion=fusion), UNLABELLED).numpy()
        if soft:
            mean = mean_of(found).masked_fill(~observed[:, None], torch.nan)
            planes = np.concatenate([planes[:, None], bytes_of(mean.numpy())], axis=1)
        whole = np.full((*planes.shape[:-2], self._patch_px, self._patch_px), UNLABELLED, np.uint8)
        whole[..., : planes.shape[-2], : planes.shape[-1]] = planes
        return whole
