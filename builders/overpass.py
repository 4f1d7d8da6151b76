"""Areas of one patch from an Overpass server: fit for single places and demonstrations, not for the whole world.

Overpass finds an area by the points of its outline. One that lies around the whole query polygon has none there
and is not found, so the polygon is the patch enlarged by a margin: an area around the patch is found if its outline
comes within the margin somewhere. What lies around both is missing (the inside of large forests and lakes), and
nothing in the answer says so. Extracts have no such gap.
"""

import datetime as dt
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import shapely
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from builders.areas import Area, equal_area_m2
from builders.outlines import outlines
from builders.overpass_access import Feature, Found, OverpassAccess
from builders.tag_table import AREA_RELATIONS, TagTable, area_class, class_of
from noldo.errors import ConfigError
from noldo.grids import Grid

logger = logging.getLogger(__name__)

MARGIN_M = 1_000
"""Default of how far around a patch is searched, in metres: a patch of 2.64 km becomes a query of 4.64 km."""

PIXEL_M = 10

DATE_LINE_GAP_DEG = 1e-5
"""Query polygons end about a metre short of 180 degrees: osmnx projects and rounds corners, and must not change their sign."""


@dataclass(frozen=True)
class PatchAreas:
    """The areas of one patch, and what of its surroundings became none."""

    areas: tuple[Area, ...]
    """Those that overlap the patch, whole, by type and id."""
    num_beside: int = 0
    """Areas that only lie in the margin; left out."""
    num_lines: int = 0
    """Points and lines with a class; left out."""
    num_broken: int = 0
    """Areas with a class whose rings make no polygon; left out."""


class Overpass:
    """An `AreaSource` that asks a server through osmnx. Thread-safe.

    Parameters
    ----------
    table
        The tags that are asked for, and the class of what comes (`builders.tag_table.area_class`): it decides alone,
        whatever osmnx or the server say.
    margin_m
        How far around the patch is searched, in metres, rounded up to whole pixels.

    Raises
    ------
    ConfigError
        If the margin is negative.
    """

    def __init__(self, access: OverpassAccess, *, table: TagTable, margin_m: float = MARGIN_M) -> None:
        if margin_m < 0:
            raise ConfigError(f"margin_m {margin_m:g}: expected 0 or more metres")
        self._access = access
        self._table = table
        self._margin_m = float(margin_m)
        self.tags = asked_tags(table)
        """Values by key that are asked for."""

    @property
    def requests(self) -> Mapping[str, int]:
        """Requests so far: `query`, `status`, and `failed` attempts."""
        return dict(self._access.requests)

    def identity(self) -> dict[str, object]:
        """What decides an answer, besides the patch. The data behind the URL may be newer tomorrow."""
        date = self._access.server.date
        return {
            "data": self._access.server.data,
            "date": "" if date is None else date.astimezone(dt.UTC).isoformat(),
            "tags": self._table.digest,
            "margin_m": self._margin_m,
        }

    def areas(self, grid: Grid) -> PatchAreas:
        """Areas that overlap a patch: one query, two where it crosses 180 degrees.

        Raises
        ------
        SourceError
            As `OverpassAccess.find` says. A part of an answer is never taken for the whole.
        """
        found = [
            self._access.find(polygon, self.tags) for polygon in query_polygons(grid, margin_m=self._margin_m)
        ]
        return areas_of(found, outline=outlines([grid])[0], table=self._table)


def asked_tags(table: TagTable) -> dict[str, list[str]]:
    """Values by key, both in a fixed order."""
    return {key: sorted(value for one, value in table.classes if one == key) for key in table.keys}


def query_polygons(grid: Grid, *, margin_m: float) -> list[Polygon]:
    """The patch with a margin, in degrees (lon, lat): one polygon, or one on each side of 180 degrees."""
    margin_px = math.ceil(margin_m / PIXEL_M)
    wide = Grid(
        crs_epsg=grid.crs_epsg,
        x_ul=grid.x_ul - margin_px * PIXEL_M,
        y_ul=grid.y_ul + margin_px * PIXEL_M,
        size_px=grid.size_px + 2 * margin_px,
    )
    (outline,) = outlines([wide])
    if isinstance(outline, Polygon):
        return [outline]
    limit = 180.0 - DATE_LINE_GAP_DEG
    parts = [shapely.clip_by_rect(part, -limit, -90.0, limit, 90.0) for part in outline.geoms]
    return [part for part in parts if isinstance(part, Polygon) and not part.is_empty]


def areas_of(found: Sequence[Found], *, outline: Polygon | MultiPolygon, table: TagTable) -> PatchAreas:
    """Polygons with a class that overlap the outline of a patch, each once."""
    areas: dict[tuple[str, int], Area] = {}
    seen: set[tuple[str, int]] = set()
    num = dict.fromkeys(("beside", "lines", "broken"), 0)
    for feature in (one for part in found for one in part.features):
        key = feature.osm_type, feature.osm_id
        class_id = area_class(feature.tags, table, osm_type=feature.osm_type)
        if key in seen or class_of(feature.tags, table) is None:
            continue
        seen.add(key)
        if class_id is None:  # tags of the table, but such as are never an area
            num["lines"] += 1
            continue
        polygon = _polygonal(feature.geometry)
        if polygon is None:
            num["broken" if _is_area(feature) else "lines"] += 1
        elif not outline.intersects(polygon):
            num["beside"] += 1
        else:
            areas[key] = Area(*key, class_id, equal_area_m2(polygon), polygon)
    lost = _lost_relations(found, table) - {ref for kind, ref in seen if kind == "relation"}
    for ref in sorted(lost):
        logger.info("relation %d: no area can be made of its members", ref)
    return PatchAreas(
        areas=tuple(areas[key] for key in sorted(areas)),
        num_beside=num["beside"],
        num_lines=num["lines"],
        num_broken=num["broken"] + len(lost),
    )


def _lost_relations(found: Sequence[Found], table: TagTable) -> set[int]:
    """Relations that should be areas; whichever of them osmnx delivers is taken off by the caller."""
    return {
        ref
        for part in found
        for ref, tags in part.relations.items()
        if tags.get("type") in AREA_RELATIONS and area_class(tags, table, osm_type="relation") is not None
    }


def _is_area(feature: Feature) -> bool:
    """It was meant as an area, but what osmnx repaired of its rings has no surface."""
    return feature.osm_type == "relation" or feature.geometry.geom_type in {
        "GeometryCollection",
        "MultiLineString",
    }


def _polygonal(geometry: BaseGeometry) -> Polygon | MultiPolygon | None:
    """The part of a geometry that has a surface."""
    if isinstance(geometry, Polygon | MultiPolygon):
        return None if geometry.is_empty or not geometry.is_valid else geometry
    parts = [part for part in shapely.get_parts(geometry) if isinstance(part, Polygon | MultiPolygon)]
    return _polygonal(shapely.unary_union(parts)) if parts else None
