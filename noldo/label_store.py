"""Labels of one's own for the locations of a store: a store of labels alone, read beside it (`NoldoS12(label_store=...)`).

What a build made is never changed, and images are not copied. Axes: S season, C class, Y row, X column.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noldo.atomic import write_errors
from noldo.errors import StoreError
from noldo.legend import LEGEND_OF_PRODUCT
from noldo.manifest import (
    ArrayRecord,
    LegendRecord,
    Manifest,
    SourceRecord,
    read_manifest,
    write_manifest,
)
from noldo.paths import SubsetPaths
from noldo.products import array_specs, soft_product
from noldo.reader import StoreReader, open_files
from noldo.rows import ROW_ARRAYS
from noldo.shard_scan import ShardName, read_items
from noldo.status import Status
from noldo.store import StoreLayout, create_store, shard_path, write_rows, write_shard


def write_label_store(
    of: SubsetPaths,
    out: Path,
    *,
    product: str,
    maps: Callable[[int], np.ndarray],
    source: SourceRecord,
    provenance: Mapping[str, Any],
    soft: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write labels of all kept locations of a store, row by row as they are there. The same call goes on after a kill.

    Parameters
    ----------
    of
        A finished subset in a local folder. Its index is copied: it describes the same locations.
    out
        Another folder, for a subset of the same name.
    product
        Label product, e.g. `truth`.
    maps
        Row of the store to (S, Y, X) uint8, all seasons; 255 unlabelled. What lies outside the window of the location is not
        stored. With `soft`: (S, 1 + C, Y, X), the labels, then the probability of each class in steps (`PROBABILITY_STEPS`; 255 no
        data).
    source, provenance
        What the labels come from, for the manifest.
    soft
        Probabilities are stored, too, as an array beside the labels: of `noldo.products.PREDICTED_LABELS`.
    progress
        Called with (shards done, shards in all).

    Raises
    ------
    StoreError
        If there is no finished subset, `out` is its own folder, holds labels that were made of something else, or can't be
        written to.
    """
    if out.resolve() == Path(of.root).resolve():
        raise StoreError(f"{out}: holds the images themselves; give another folder for the labels")
    reader = StoreReader.open(of.store)
    manifest = read_manifest(of.local(".json"))
    layout = _layout_of(reader.layout, product=product, soft=soft)
    if soft:
        array = layout.specs[1]
        provenance = {
            **provenance,
            "soft": {"array": array.name, "scale": array.scale, "no_data": array.no_data},
        }
    store = out / f"{of.subset}.zarr"
    made_of = digest_of(provenance, images=reader)
    _require_free(store, made_of)
    attributes = {
        "subset": of.subset,
        "synthetic": manifest.synthetic,
        "title": f"Labels {product} of {of.subset}",
        "made_of": made_of,
    }
    create_store(store, layout, attributes=attributes)
    rows = {row.name: reader.row_values(row.name) for row in ROW_ARRAYS}
    write_rows(store, rows)
    counts = np.zeros((len(layout.season_names), len(LEGEND_OF_PRODUCT[product].classes)), np.int64)
    for shard in range(layout.num_shards):
        items = _written(store, layout, shard)
        if items is None:
            items, *others = _items(layout, shard, rows=rows, maps=maps)
            # Labels last: where they are, all is.
            for spec, values in zip(layout.specs[1:], others, strict=True):
                write_shard(store, spec, shard=shard, items=values)
            write_shard(store, layout.specs[0], shard=shard, items=items)
        counts += _class_counts(items, num_classes=counts.shape[1])
        if progress is not None:
            progress(shard + 1, layout.num_shards)
    with write_errors(out / f"{of.subset}.parquet"):
        shutil.copyfile(of.local(".parquet"), out / f"{of.subset}.parquet")
    told = _manifest_of(manifest, layout, counts, source=source, provenance=provenance)
    write_manifest(out / f"{of.subset}.json", told)
    return told


def digest_of(provenance: Mapping[str, Any], *, images: StoreReader) -> str:
    """SHA-256 of what labels are made of, and of which rows: a store of labels goes on by it."""
    told = {"provenance": provenance, "images": images.digest()}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _require_free(store: Path, made_of: str) -> None:
    """Refuse a folder whose labels were made of something else."""
    if (store / "zarr.json").is_file() and StoreReader.open(store).attributes.get("made_of") != made_of:
        raise StoreError(
            f"{store}: holds labels that were made of something else; give another --out, or delete it"
        )


def _written(store: Path, layout: StoreLayout, shard: int) -> np.ndarray | None:
    """(row, S, Y, X) of the labels of a shard that is there, and whole in all arrays; None: it has to be made."""
    spec = layout.specs[0]
    if not all(shard_path(store, one, shard).is_file() for one in layout.specs):
        return None
    try:
        for other in layout.specs[1:]:
            for _ in read_items(open_files(store), ShardName(other, shard), layout):
                pass
        # One buffer holds each row in turn.
        return np.stack(
            [item.copy() for item in read_items(open_files(store), ShardName(spec, shard), layout)]
        )
    except StoreError:
        return None


def _layout_of(images: StoreLayout, *, product: str, soft: bool) -> StoreLayout:
    products: dict[str, tuple[str, ...]] = {product: ("label",)}
    if soft:
        products[soft_product(product)] = LEGEND_OF_PRODUCT[product].classes
    return StoreLayout(
        specs=array_specs(products),
        num_locations=images.num_locations,
        season_names=images.season_names,
        patch_size_px=images.patch_size_px,
        locations_per_shard=images.locations_per_shard,
        codec=images.codec,
    )


def _items(
    layout: StoreLayout, shard: int, *, rows: Mapping[str, np.ndarray], maps: Callable[[int], np.ndarray]
) -> list[np.ndarray]:
    """(row, S, Y, X) of the labels of one shard, and (row, S, C, Y, X) of what is soft; 255 in rows that were not kept."""
    num_rows, num_seasons = len(layout.rows_of(shard)), len(layout.season_names)
    items = [
        np.full((num_rows, *spec.item_shape(num_seasons, layout.patch_size_px)), spec.no_data, np.uint8)
        for spec in layout.specs
    ]
    for position, row in enumerate(layout.rows_of(shard)):
        if rows["status"][row] == Status.KEPT:
            top, bottom, left, right = rows["window"][row]
            found = maps(row)[..., top:bottom, left:right]
            parts = (found,) if len(items) == 1 else (found[:, 0], found[:, 1:])
            for one, part in zip(items, parts, strict=True):
                one[position, ..., top:bottom, left:right] = part
    return items


def _class_counts(items: np.ndarray, *, num_classes: int) -> np.ndarray:
    """(S, class) labelled pixels."""
    seasons = items.swapaxes(0, 1).reshape(items.shape[1], -1)
    return np.stack([np.bincount(one, minlength=256)[:num_classes] for one in seasons])


def _manifest_of(
    images: Manifest,
    layout: StoreLayout,
    counts: np.ndarray,
    *,
    source: SourceRecord,
    provenance: Mapping[str, Any],
) -> Manifest:
    spec = layout.specs[0]
    classes = LEGEND_OF_PRODUCT[spec.product].classes
    by_season = dict(zip(layout.season_names, map(tuple, counts.tolist()), strict=True))
    totals = counts.sum(axis=0)
    shares = dict(zip(classes, (totals / max(int(totals.sum()), 1)).tolist(), strict=True))
    return images.model_copy(
        update={
            "products": {one.product: one.bands or ("label",) for one in layout.specs},
            "arrays": tuple(ArrayRecord.of(one, layout) for one in layout.specs),
            "legends": {spec.product: LegendRecord.of(LEGEND_OF_PRODUCT[spec.product])},
            "statistics": {},
            "class_counts": {spec.name: by_season},
            "class_shares": shares,
            "sources": (source,),
            "files": {key: name for key, name in images.files.items() if key != "run"},
            "label_provenance": {spec.product: dict(provenance)},
            "notes": (*images.notes, "Labels alone; the images are in the store that they were made for."),
        }
    )
