"""Values as JSON, the way `value:compute` and the asset methods answer them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sandbox.assets import PUBLIC
from sandbox.dates import Date, DateRange
from sandbox.elements import Collection
from sandbox.geometries import Geometry, Projection
from sandbox.images import Element, Image, LazyBand
from sandbox.refusals import Refusal

MAX_ELEMENTS = 5000
"""Elements of a collection that one answer may hold."""


def plain(value: Any) -> Any:
    """A value as JSON; whole numbers lose their point, as in the service's answers.

    Raises
    ------
    Refusal
        If it has no JSON form.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return _number(value)
        case list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case Geometry():
            return value.geojson()
        case Collection():
            return _collection(value)
        case Image():
            return image_tree(value)
        case Element():
            return _feature(value)
        case Projection():
            return {"type": "Projection", "crs": value.crs, "transform": plain(list(value.transform))}
        case Date():
            return {"type": "Date", "value": value.ms}
        case DateRange():
            return {"type": "DateRange", "dates": [plain(value.start_ms), plain(value.end_ms)]}
        case np.generic():
            return plain(value.item())
    raise Refusal(f"A value of type {type(value).__name__} can't be sent.")


def _number(value: float) -> float | int:
    if not math.isfinite(value):
        raise Refusal(f"The number {value} can't be sent as JSON.")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _feature(feature: Element) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "type": "Feature",
        "geometry": None if feature.geometry is None else feature.geometry.geojson(),
        "properties": plain(dict(feature.properties)),
    }
    if feature.index is not None:
        tree["id"] = feature.index
    return tree


def _collection(collection: Collection) -> dict[str, Any]:
    elements = collection.elements
    if len(elements) > MAX_ELEMENTS:
        raise Refusal(f"Collection query aborted after accumulating over {MAX_ELEMENTS} elements.")
    tree: dict[str, Any] = {
        "type": "ImageCollection" if collection.holds_images else "FeatureCollection",
        "columns": {},
        "features": [plain(element) for element in elements],
    }
    if collection.holds_images:
        tree["bands"] = []
        del tree["columns"]
    return tree if collection.id is None else tree | {"id": collection.id}


def image_tree(image: Image) -> dict[str, Any]:
    """An image as getInfo answers it."""
    properties = dict(image.properties)
    if image.index is not None:
        properties["system:index"] = image.index
    tree: dict[str, Any] = {
        "type": "Image",
        "bands": [_band(band) for band in image.bands],
        "properties": plain(properties),
    }
    return tree if image.id is None else tree | {"id": image.id}


def pixel_type(dtype: str) -> dict[str, Any]:
    """A NumPy type as Earth Engine names it."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return {"type": "PixelType", "precision": "double" if kind.itemsize == 8 else "float"}
    limits = np.iinfo(kind)
    return {"type": "PixelType", "precision": "int", "min": int(limits.min), "max": int(limits.max)}


def _band(band: LazyBand) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "id": band.name,
        "data_type": pixel_type(band.dtype),
        "crs": band.projection.crs,
        "crs_transform": plain(list(band.projection.transform)),
    }
    return tree if band.size is None else tree | {"dimensions": list(band.size)}


def asset_tree(image: Image) -> dict[str, Any]:
    """A stored image as the asset methods answer it."""
    time_ms = image.get("system:time_start")
    properties = {key: value for key, value in image.properties.items() if key != "system:footprint"}
    return {
        "type": "IMAGE",
        "name": f"{PUBLIC}{image.id}",
        "id": image.id,
        "startTime": timestamp(time_ms),
        "endTime": timestamp(time_ms),
        "geometry": _plain_geometry(image.geometry),
        "properties": plain({**properties, "system:index": image.index}),
        "bands": [_asset_band(band) for band in image.bands],
    }


def _plain_geometry(geometry: Geometry | None) -> Mapping[str, Any] | None:
    if geometry is None:
        return None
    return {key: value for key, value in geometry.geojson().items() if key != "geodesic"}


def timestamp(time_ms: int) -> str:
    """Milliseconds as the API's text, to the microsecond."""
    return Date(time_ms).utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _asset_band(band: LazyBand) -> dict[str, Any]:
    kind = pixel_type(band.dtype)
    a, b, c, d, e, f = band.projection.transform
    affine = {"scaleX": a, "shearX": b, "translateX": c, "shearY": d, "scaleY": e, "translateY": f}
    data_type: dict[str, Any] = {"precision": kind["precision"].upper()}
    if "max" in kind:
        data_type["range"] = {key: kind[key] for key in ("min", "max") if kind[key]}
    width, height = band.size or (0, 0)
    return {
        "id": band.name,
        "dataType": data_type,
        "grid": {
            "crsCode": band.projection.crs,
            "dimensions": {"width": width, "height": height},
            "affineTransform": {key: plain(value) for key, value in affine.items() if value},
        },
    }
