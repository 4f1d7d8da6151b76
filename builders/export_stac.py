"""STAC documents above the items: a collection a subset, and the catalogue of a folder of exports."""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builders.export_item import GEOTIFF, SHA256_MULTIHASH, Document, asset_fields, extensions_of, roles_of
from builders.export_layout import ExportLayout
from builders.export_plan import PlannedFile
from noldo.manifest import Manifest

PARQUET = "application/vnd.apache.parquet"
CATALOG_ID = "noldo-s12"

TITLES: Mapping[str, str] = {
    "nol": "noisy labels of Dynamic World",
    "dw": "expert labels of Dynamic World",
    "osm": "OpenStreetMap land use",
    "dfc2020": "labels of the Data Fusion Contest 2020",
}
"""Subset to what sets it apart."""


Box = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

EARTH: Box = (-180.0, -90.0, 180.0, 90.0)


@dataclass(frozen=True)
class Coverage:
    """Where and when one item is, or all of a collection."""

    bbox: Box | None
    """West > east across the antimeridian; None: no known place."""
    start: str
    end: str
    """RFC 3339."""


def coverage_of(item: Document) -> Coverage:
    """Place and times of an item's JSON."""
    properties, bbox = item["properties"], item.get("bbox")
    return Coverage(tuple(bbox) if bbox else None, properties["start_datetime"], properties["end_datetime"])


def extent_of(items: Sequence[Coverage]) -> Coverage:
    """Union of at least one item; the whole Earth if none has a place, all longitudes if one crosses the antimeridian."""
    boxes = [one.bbox for one in items if one.bbox is not None]
    bbox = EARTH
    if boxes:
        west, south, east, north = zip(*boxes, strict=True)
        crosses = any(box[0] > box[2] for box in boxes)
        bbox = (-180.0 if crosses else min(west), min(south), 180.0 if crosses else max(east), max(north))
    return Coverage(bbox, min(one.start for one in items), max(one.end for one in items))


def collection_document(
    manifest: Manifest,
    files: Sequence[PlannedFile],
    *,
    target: ExportLayout,
    item_ids: Sequence[int],
    extent: Coverage,
) -> Document:
    """JSON of the collection.

    Parameters
    ----------
    files
        Of every location.
    item_ids
        Locations that are there, in row order.
    """
    import pystac

    spatial = pystac.SpatialExtent([list(extent.bbox or EARTH)])
    temporal = pystac.TemporalExtent([[_moment(extent.start), _moment(extent.end)]])
    collection = pystac.Collection(
        id=manifest.subset,
        title=f"{manifest.name}: {TITLES.get(manifest.subset, manifest.subset)}",
        description=_description(manifest),
        extent=pystac.Extent(spatial, temporal),
        license="other",
        keywords=["Sentinel-1", "Sentinel-2", "land cover", "noisy labels"],
        summaries=pystac.Summaries({"noldo:split": sorted(manifest.split_counts)}),
        extra_fields={"noldo:name": manifest.name, "noldo:synthetic": manifest.synthetic},
    )
    item_assets = {file.key: _item_asset(file, manifest) for file in files}
    collection.extra_fields["item_assets"] = item_assets
    for url in dict.fromkeys(source.url for source in manifest.sources if source.url):
        collection.add_link(pystac.Link("license", url))
    for key, asset in _assets(target).items():
        collection.add_asset(key, asset)
    own = [asset.extra_fields for asset in collection.assets.values()]
    collection.stac_extensions = extensions_of([*item_assets.values(), *own])
    json_type = pystac.MediaType.JSON
    collection.add_link(pystac.Link("root", "../catalog.json", media_type=json_type))
    collection.add_link(pystac.Link("parent", "../catalog.json", media_type=json_type))
    for one in item_ids:
        collection.add_link(pystac.Link("item", f"./{one}/{one}.json", media_type=pystac.MediaType.GEOJSON))
    document: Document = collection.to_dict(include_self_link=False, transform_hrefs=False)
    return document


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _description(manifest: Manifest) -> str:
    lines = [
        f"{manifest.locations_kept:,} of {manifest.locations_tried:,} locations tried, patches of "
        f"{manifest.patch_size_px} px of 10 m, seasons {', '.join(season.name for season in manifest.seasons)}."
    ]
    if manifest.synthetic:
        lines.append("SYNTHETIC: not real imagery.")
    lines += [
        f"{one.product}: {one.collection}, {one.licence}. {one.attribution}" for one in manifest.sources
    ]
    return "\n\n".join([*lines, *manifest.notes])


def _item_asset(file: PlannedFile, manifest: Manifest) -> Document:
    return {
        "title": f"{file.spec.name}, {manifest.seasons[file.season].name}",
        "type": GEOTIFF,
        "roles": roles_of(file.spec),
        **asset_fields(file.spec),
    }


def _assets(target: ExportLayout) -> dict[str, Any]:
    """Files of the subset that are no location's."""
    import pystac

    json_type = str(pystac.MediaType.JSON)
    documents = [
        ("items", target.items_table, PARQUET, "All items with a place, as stac-geoparquet"),
        ("index", target.index, PARQUET, "Index: one row a location tried"),
        ("manifest", target.manifest, json_type, "Manifest: classes, statistics, sources, licences"),
        ("rows", target.rows, PARQUET, "Small arrays of the store"),
        ("store", target.group, json_type, "Arrays, seasons and attributes of the store"),
    ]
    return {
        key: pystac.Asset(
            href=f"./{path.name}",
            title=title,
            media_type=kind,
            roles=["metadata"],
            extra_fields=checksum(path),
        )
        for key, path, kind, title in documents
        if path.is_file()
    }


def checksum(path: Path) -> Document:
    """Fields of the file extension."""
    content = path.read_bytes()
    return {
        "file:size": len(content),
        "file:checksum": SHA256_MULTIHASH + hashlib.sha256(content).hexdigest(),
    }


def catalog_document(root: Path) -> Document:
    """JSON of the catalogue of all subsets that a folder holds."""
    import pystac

    subsets = sorted(path.parent.name for path in root.glob("*/collection.json"))
    catalog = pystac.Catalog(
        id=CATALOG_ID,
        title="NoLDO-S12",
        description="Co-registered Sentinel-1 and Sentinel-2 time series with noisy and clean land-cover labels: "
        f"subsets {', '.join(subsets)}.",
    )
    catalog.add_link(pystac.Link("root", "./catalog.json", media_type=pystac.MediaType.JSON))
    for subset in subsets:
        catalog.add_link(
            pystac.Link("child", f"./{subset}/collection.json", media_type=pystac.MediaType.JSON)
        )
    document: Document = catalog.to_dict(include_self_link=False, transform_hrefs=False)
    return document
