"""Stored images and collections: a catalogue seen through asset ids."""

import math
from collections.abc import Collection as AnyCollection
from collections.abc import Mapping
from functools import cache, partial
from types import MappingProxyType

from sandbox.catalogue import Band, Catalogue, SceneRecord
from sandbox.elements import Collection, Elements, Filter
from sandbox.geometries import WORLD, Bounds, Geometry, Projection
from sandbox.images import Image, LazyBand, PixelGrid, Pixels
from sandbox.refusals import Refusal
from sandbox.resampling import resample

ALIASES: Mapping[str, str] = MappingProxyType(
    {"COPERNICUS/S2": "COPERNICUS/S2_HARMONIZED", "COPERNICUS/S2_SR": "COPERNICUS/S2_SR_HARMONIZED"}
)
"""Deprecated collections; the sandbox answers them with the harmonized pixels."""

PUBLIC = "projects/earthengine-public/assets/"
NO_SUCH_ASSET = "{kind} asset '{id}' not found (does not exist or caller does not have access)."
FAR_PAST, FAR_FUTURE = -(2**53), 2**53
"""Milliseconds; whole numbers that JSON keeps exact."""


def asset_id(name: str) -> str:
    """Id of an asset name: the prefix of the public catalogue is taken off."""
    return name.removeprefix(PUBLIC).strip("/")


class Assets:
    """The stored images, minus those that are made to be missing."""

    def __init__(self, catalogue: Catalogue, *, missing: AnyCollection[str] = ()) -> None:
        self._catalogue = catalogue
        self._missing = frozenset(missing)

    def has_collection(self, asset: str) -> bool:
        """Whether a collection of this id, or an alias of it, is served."""
        return ALIASES.get(asset, asset) in self._catalogue.collections()

    def find_image(self, asset: str) -> Image | None:
        """The stored image of this id, or None.

        A scene is missing if its id or its `system:index` was named as such; searches still list it, as
        they do when a real asset can't be read.
        """
        collection, _, index = asset.rpartition("/")
        known = ALIASES.get(collection, collection)
        if {asset, index, f"{known}/{index}"} & self._missing or known not in self._catalogue.collections():
            return None
        record = self._catalogue.scene(known, index)
        return None if record is None else self._image(record)

    def image(self, asset: str) -> Image:
        """The stored image of this id.

        Raises
        ------
        Refusal
            If there is none; the message is the one that clients look for.
        """
        found = self.find_image(asset)
        if found is None:
            raise Refusal("Image.load: " + NO_SUCH_ASSET.format(kind="Image", id=asset), named=True)
        return found

    def collection(self, asset: str) -> Collection:
        """The stored collection of this id; its scenes are searched when they are asked for.

        Raises
        ------
        Refusal
            If there is none.
        """
        if not self.has_collection(asset):
            message = NO_SUCH_ASSET.format(kind="ImageCollection", id=asset)
            raise Refusal(f"ImageCollection.load: {message}", named=True)
        return self._search(asset, ())

    def _search(self, asset: str, filters: tuple[Filter, ...]) -> Collection:
        return Collection(
            partial(self._found, ALIASES.get(asset, asset), filters),
            of_images=True,
            id=asset if not filters else None,
            refine=lambda by: self._search(asset, (*filters, by)),
        )

    def _found(self, collection: str, filters: tuple[Filter, ...]) -> Elements:
        start_ms, end_ms = _common_times(filters)
        if start_ms >= end_ms:
            return ()
        boxes = _search_boxes(filters)
        records = [
            record
            for box in boxes
            for record in self._catalogue.find(
                collection, bounds=box, start_ms=math.ceil(start_ms), end_ms=math.ceil(end_ms)
            )
        ]
        if len(boxes) > 1:
            unique = {record.index: record for record in records}
            records = sorted(unique.values(), key=lambda record: (record.time_start_ms, record.index))
        images = map(self._image, records)
        return [image for image in images if all(one.matches(image) for one in filters)]

    def _image(self, record: SceneRecord) -> Image:
        footprint = Geometry(record.footprint)
        return Image(
            properties={
                **record.properties,
                "system:time_start": record.time_start_ms,
                "system:footprint": footprint,
            },
            geometry=footprint,
            index=record.index,
            make_bands=cache(partial(self._bands, record, footprint)),
            id=f"{record.collection}/{record.index}",
        )

    def _bands(self, record: SceneRecord, footprint: Geometry) -> tuple[LazyBand, ...]:
        return tuple(self._band(record, band, footprint) for band in self._catalogue.bands(record))

    def _band(self, record: SceneRecord, band: Band, footprint: Geometry) -> LazyBand:
        projection = Projection(f"EPSG:{band.crs_epsg}", band.transform)
        size = band.width, band.height

        def window(column: int, row: int, width: int, height: int) -> Pixels:
            values, mask = self._catalogue.read(
                record, band.name, column=column, row=row, width=width, height=height
            )
            return Pixels(values, mask)

        def read(grid: PixelGrid) -> Pixels:
            return resample(
                window, projection=projection, size=size, dtype=band.dtype, grid=grid, mode="nearest"
            )

        return LazyBand(band.name, band.dtype, projection, cache(read), size, footprint)


def _search_boxes(filters: tuple[Filter, ...]) -> tuple[Bounds, ...]:
    """Boxes in degrees that hold whatever can match: those of the smallest place that a filter names."""
    places = [one.place for one in filters if one.place is not None]
    return min((place.boxes for place in places), key=_size, default=(WORLD,))


def _size(boxes: tuple[Bounds, ...]) -> float:
    west, south, east, north = boxes[0]
    return (east - west) * (north - south)


def _common_times(filters: tuple[Filter, ...]) -> tuple[float, float]:
    ranges = [one.times_ms for one in filters if one.times_ms is not None] or [(FAR_PAST, FAR_FUTURE)]
    starts, ends = zip(*ranges, strict=True)
    return max(*starts, FAR_PAST), min(*ends, FAR_FUTURE)
