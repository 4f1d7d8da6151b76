"""The synthetic Earth as a catalogue: finds scenes and makes their pixels on use."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from noldo.grids import Grid
from noldo.legend import DYNAMIC_WORLD as LEGEND
from noldo.products import S2_RESOLUTION_M
from sandbox.catalogue import Band, SceneRecord
from sandbox.planet import labels, optical_scenes, optics, radar, radar_scenes
from sandbox.planet.lattice import Window, row_origin_m, window_of
from sandbox.planet.optical_scenes import Take
from sandbox.planet.radar_scenes import Pass
from sandbox.planet.tiles import Bounds, tiles_near
from sandbox.planet.truth import ground_of

_CHUNK_PX = 576
"""Large windows are made in squares of so many pixels, so that memory stays bounded."""

Key = tuple[str, str]


class SyntheticEarth:
    """A `sandbox.catalogue.Catalogue` of an Earth that exists only as a function of place, date and seed.

    Nothing is stored but caches; all methods may be called from many threads.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def collections(self) -> frozenset[str]:
        """Ids of the collections served."""
        return frozenset((*optical_scenes.COLLECTIONS, radar_scenes.S1_GRD))

    def find(self, collection: str, *, bounds: Bounds, start_ms: int, end_ms: int) -> list[SceneRecord]:
        """Scenes whose footprint's bounding box meets `bounds`, ordered by (time, index).

        Bounds are lon_min, lat_min, lon_max, lat_max in degrees, modulo 360 in longitude; the start lies
        in [start_ms, end_ms). An unknown collection has no scenes.
        """
        if collection == radar_scenes.S1_GRD:
            found = radar_scenes.scenes_near(bounds, start_ms=start_ms, end_ms=end_ms, seed=self._seed)
        elif collection in optical_scenes.COLLECTIONS:
            found = [
                record
                for tile in tiles_near(bounds)
                for record in optical_scenes.scenes_of(
                    tile, collection, start_ms=start_ms, end_ms=end_ms, seed=self._seed
                )
                if _meets(record, bounds)
            ]
        else:
            found = []
        return sorted(found, key=lambda record: (record.time_start_ms, record.index))

    def scene(self, collection: str, index: str) -> SceneRecord | None:
        """The scene of this name, or None."""
        if collection == radar_scenes.S1_GRD:
            taken = _pass(index, self._seed)
            return radar_scenes.record_of(taken, seed=self._seed) if taken else None
        if collection not in optical_scenes.COLLECTIONS:
            return None
        take = _take(index, self._seed)
        return optical_scenes.record_of(take, collection, seed=self._seed) if take else None

    def bands(self, scene: SceneRecord) -> Sequence[Band]:
        """Its bands in the collection's order."""
        if scene.collection == radar_scenes.S1_GRD:
            return radar_scenes.bands_of(self._pass_of(scene), seed=self._seed)
        return optical_scenes.bands_of(self._take_of(scene).tile, scene.collection)

    def read(
        self, scene: SceneRecord, band: str, *, column: int, row: int, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values (height, width) in the band's dtype, 0 where not observed, and a mask (True: observed)."""
        own = next(item for item in self.bands(scene) if item.name == band)
        values, mask = np.zeros((height, width), own.dtype), np.zeros((height, width), bool)
        for top, left, size_y, size_x in _chunks(height, width):
            place = {"column": column + left, "row": row + top, "width": size_x, "height": size_y}
            part, seen = self._read_chunk(scene, own, **place)
            rows, columns = slice(top, top + size_y), slice(left, left + size_x)
            values[rows, columns], mask[rows, columns] = np.where(seen, part, 0), seen
        return values, mask

    def truth(self, grid: Grid) -> np.ndarray:
        """Land cover of a patch without noise: uint8 (y, x), classes of Dynamic World."""
        window = window_of(grid)
        padded = window.padded()
        return ground_of(padded, seed=self._seed).truth[window.inside(padded)].copy()

    def _read_chunk(
        self, scene: SceneRecord, band: Band, *, column: int, row: int, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        place = {"column": column, "row": row, "width": width, "height": height}
        if scene.collection == radar_scenes.S1_GRD:
            return self._radar_chunk(self._pass_of(scene), band, **place)
        take = self._take_of(scene)
        mask = optical_scenes.shape_of_take(take, seed=self._seed).mask(band, **place)
        if not mask.any():
            return np.zeros(mask.shape, band.dtype), mask
        window = _window_of_band(band, **place)
        if scene.collection != optical_scenes.DYNAMIC_WORLD:
            return self._optical_chunk(take, scene.collection, band, window), mask
        day = take.day_of_year
        clear = labels.observed(window, take=take.number, day_of_year=day, seed=self._seed)
        return self._label_chunk(take, band, window), mask & clear

    def _optical_chunk(self, take: Take, collection: str, band: Band, window: Window) -> np.ndarray:
        day = take.day_of_year
        if band.name not in S2_RESOLUTION_M:
            return optics.scene_classes(window, take=take.number, day_of_year=day, seed=self._seed)
        surface = collection == optical_scenes.L2A
        return optics.reflectance(
            window, band.name, surface=surface, take=take.number, day_of_year=day, seed=self._seed
        )

    def _label_chunk(self, take: Take, band: Band, window: Window) -> np.ndarray:
        if band.name == "label":
            return labels.labels(window, take=take.number, seed=self._seed)
        class_id = LEGEND.classes.index(band.name)
        return labels.probability(window, class_id, take=take.number, seed=self._seed)

    def _radar_chunk(
        self, taken: Pass, band: Band, *, column: int, row: int, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        place = {"column": column, "row": row, "width": width, "height": height}
        shape = radar_scenes.shape_of_frame(taken.frame)
        assert shape is not None, "scenes are made only of frames that exist"
        mask = shape.mask(band, **place)
        if not mask.any():
            return np.zeros(mask.shape, band.dtype), mask
        angle = radar_scenes.incidence(taken, band, **place)
        if band.name == "angle":
            return angle.astype(np.float32), mask
        window = radar_scenes.window_on_zone(band, **place)
        day = taken.day_of_year
        values = radar.backscatter(
            window, angle, polarisation=band.name, take=taken.number, day_of_year=day, seed=self._seed
        )
        return values, mask

    def _take_of(self, scene: SceneRecord) -> Take:
        take = _take(scene.index, self._seed)
        assert take is not None, f"{scene.index}: no scene of this Earth"
        return take

    def _pass_of(self, scene: SceneRecord) -> Pass:
        taken = _pass(scene.index, self._seed)
        assert taken is not None, f"{scene.index}: no scene of this Earth"
        return taken


@lru_cache(maxsize=4096)
def _take(index: str, seed: int) -> Take | None:
    return optical_scenes.take_named(index, seed=seed)


@lru_cache(maxsize=4096)
def _pass(index: str, seed: int) -> Pass | None:
    return radar_scenes.pass_named(index, seed=seed)


def _meets(record: SceneRecord, bounds: Bounds) -> bool:
    lon_min, lat_min, lon_max, lat_max = record.footprint.bounds
    return (
        lat_min <= bounds[3]
        and lat_max >= bounds[1]
        and any(lon_min <= bounds[2] + turn and lon_max >= bounds[0] + turn for turn in (-360.0, 0.0, 360.0))
    )


def _window_of_band(band: Band, *, column: int, row: int, width: int, height: int) -> Window:
    """A window of a band on the 60 m lattice, in 10 m pixels of the zone."""
    factor = int(band.transform[0]) // 10
    left, top = int(band.transform[2]) // 10, (row_origin_m(band.crs_epsg) - int(band.transform[5])) // 10
    return Window(band.crs_epsg, left + column * factor, top + row * factor, width * factor, height * factor)


def _chunks(height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """(top, left, height, width) of the squares that make up a window."""
    for top in range(0, height, _CHUNK_PX):
        for left in range(0, width, _CHUNK_PX):
            yield top, left, min(_CHUNK_PX, height - top), min(_CHUNK_PX, width - left)
