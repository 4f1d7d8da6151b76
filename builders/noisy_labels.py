"""The noisy labels of NoLDO-S12, as published: one class map of Dynamic World a location and scene.

    dw_noisy_labels/0000123/20200612T103629_20200612T103631_T32TPT/label.tif

in `ssl4eo_s12_nol.zip`, perhaps below other folders. What is inside that archive is not documented; this is what the
published code reads.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from builders.archive_files import SourceFiles, open_source
from builders.import_items import NOWHERE, BadItemError, Placement
from builders.path_pattern import PathPattern
from builders.published_geotiff import Raster
from builders.published_tifs import place_of, read_tif
from noldo.errors import InputError
from noldo.products import NUM_DYNAMIC_WORLD_CLASSES, UNLABELLED

DEFAULT_PATTERN = "dw_noisy_labels/{id}/{scene}/label.tif"

WITHOUT_CLASS = "Label pixels without a class (negative, or the file's no-data value), stored as 255"


class NoisyLabels:
    """All label files of a folder or archive, by location and scene."""

    def __init__(self, files: SourceFiles, *, pattern: str = DEFAULT_PATTERN) -> None:
        """List them.

        Raises
        ------
        InputError
            If none is found, or two are of one location and scene, or of one location whose number is written in two ways.
        """
        self._files = files
        self._paths: dict[int, dict[str, str]] = {}
        self.unmatched: list[str] = []
        """Names of files that are no labels."""
        matcher = PathPattern(pattern, parts={"id": r"\d+", "scene": r"[^/]+"})
        spelled: dict[int, tuple[str, str]] = {}
        for name in files.names():
            found = matcher.match(name)
            if found is None:
                self.unmatched.append(name)
                continue
            number = int(found["id"])
            text, first = spelled.setdefault(number, (found["id"], name))
            scenes = self._paths.setdefault(number, {})
            if text != found["id"] or found["scene"] in scenes:
                twin = scenes.get(found["scene"], first)
                raise InputError(
                    f"{files.where}: {twin} and {name} are both labels of location {number}; remove or rename one of them"
                )
            scenes[found["scene"]] = name
        if not self._paths:
            raise InputError(
                f"{files.where}: no file like {pattern}; say with --nol-pattern how they are called"
            )

    @classmethod
    def open(cls, path: Path, *, pattern: str = DEFAULT_PATTERN) -> Self:
        """The labels of a folder or archive."""
        return cls(open_source(path), pattern=pattern)

    def ids(self) -> list[int]:
        """Locations that have a label, sorted."""
        return sorted(self._paths)

    def scenes(self, location: int) -> list[str]:
        """Names of the scenes of a location that have a label, sorted."""
        return sorted(self._paths.get(location, {}))

    def read(self, location: int, scenes: Sequence[str]) -> tuple[np.ndarray, dict[str, int], Placement]:
        """Class maps of some scenes, what was changed, and the place of the first map.

        Returns
        -------
        (season, y, x) uint8, class ids of Dynamic World and 255; counts of pixels; the place.

        Raises
        ------
        BadItemError
            If a label is missing or holds something else.
        """
        maps, without = [], 0
        placement: Placement | None = None
        for scene in scenes:
            path = self._paths.get(location, {}).get(scene)
            if path is None:
                raise BadItemError("missing file", f"label of {location:07d}, {scene}")
            raster, classes = self._read(path)
            placement = placement or place_of(raster, side_px=classes.shape[-1], georeference="approximate")
            without += int((classes == UNLABELLED).sum())
            maps.append(classes)
        if len({one.shape for one in maps}) > 1:
            raise BadItemError(
                "wrong size", f"labels of {location:07d}: {', '.join(str(one.shape) for one in maps)}"
            )
        return np.stack(maps), {WITHOUT_CLASS: without}, placement or NOWHERE

    def _read(self, path: str) -> tuple[Raster, np.ndarray]:
        raster = read_tif(self._files, path)
        values = raster.values[0]
        if len(raster.values) != 1 or values.dtype.kind not in "iu":
            raise BadItemError(
                "wrong type", f"{path} has {len(raster.values)} bands of {values.dtype}, expected one of ids"
            )
        is_class = (values >= 0) & (values != UNLABELLED)
        if raster.no_data is not None:
            is_class &= values != raster.no_data
        strange = values[is_class & (values >= NUM_DYNAMIC_WORLD_CLASSES)]
        if strange.size:
            raise BadItemError(
                "unknown class",
                f"{path} has {int(strange[0])}, expected 0 .. {NUM_DYNAMIC_WORLD_CLASSES - 1}",
            )
        return raster, np.where(is_class, values, UNLABELLED).astype(np.uint8)
