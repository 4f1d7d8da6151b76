"""One pass over an OpenStreetMap extract (.osm.pbf): every area with a listed tag, in batches, with its class.

pyosmium streams the file twice, as its multipolygons need: first the relations alone, then everything. Memory holds
node positions (or a file does, see `choose_node_index`), the members of listed multipolygons, and one batch.
"""

import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from builders.areas import equal_areas_m2
from builders.polygons import Geometries, clean_polygons
from builders.tag_table import AREA_RELATIONS, Tags, TagTable, area_class
from noldo.errors import InputError, StoreError
from noldo.legend import OSM_LAND_USE

if TYPE_CHECKING:
    from osmium.osm.types import Area as OsmiumArea
    from osmium.osm.types import Relation, TagList, Way

logger = logging.getLogger(__name__)

NodeIndex = Literal["auto", "memory", "sparse_file", "dense_file"]

MEMORY_UP_TO_BYTES = 1_000_000_000
"""Largest extract whose node positions are held in memory by default. A node takes 16 bytes there and 7 to 9 in the
extract (Liechtenstein 2022: 7.7), so this is 2 GB."""

SPARSE_UP_TO_BYTES = 50_000_000_000
"""Largest extract with a sparse node file by default: 16 bytes a node, found by bisection. A dense file takes 8 bytes
for every id up to the highest, some 100 GB whatever the extract, and finds a node at once: for the planet it is the
smaller one, too."""

BATCH_AREAS = 4_096
BATCH_BYTES = 8_000_000
"""A batch ends with the area that reaches either; coordinates take 16 bytes a point."""

NUM_NAMED = 100
"""Objects that are named in a report; beyond, they are counted."""

_OSMIUM_MAPS = {"memory": "flex_mem", "sparse_file": "sparse_file_array", "dense_file": "dense_file_array"}


@dataclass(frozen=True)
class AreaBatch:
    """Some areas of an extract. All axes are (area,)."""

    is_relation: NDArray[np.bool_]
    """Relation, or else way."""
    osm_ids: NDArray[np.int64]
    class_ids: NDArray[np.uint8]
    """Of `noldo.legend.OSM_LAND_USE`."""
    areas_m2: NDArray[np.float64]
    """Equal-area."""
    geometries: Geometries
    """Valid Polygon or MultiPolygon in degrees, whole."""


@dataclass(frozen=True)
class Tally:
    """What a pass over an extract found. Objects count if a tag of theirs is in the table."""

    num_areas: tuple[int, ...]
    """Areas by class id."""
    areas_m2: tuple[float, ...]
    """Surface by class id, equal-area; overlaps count as often as they are covered."""
    num_repaired: int
    """Areas that were invalid and are used as repaired."""
    num_split: int
    """Areas that ran across the antimeridian in one piece and were cut there."""
    num_invalid: int
    """Closed ways without a surface, and multipolygons whose rings can't be closed or cross: dropped."""
    invalid: tuple[str, ...]
    """The first of them: `way 1`, `relation 2`."""
    num_cut_off_ways: int
    """Closed ways some of whose nodes the extract lacks: dropped."""
    num_cut_off_relations: int
    """Multipolygons and boundaries some of whose members the extract lacks: dropped."""
    cut_off: tuple[str, ...]
    """The first of them."""
    num_linear: int
    """Ways that are no areas: open, `area=no`, or only a line by their tag (`builders.tag_table.LINEAR_VALUES`)."""
    num_other_relations: int
    """Relations that are neither multipolygon nor boundary."""


def choose_node_index(size_bytes: int) -> NodeIndex:
    """Where node positions are kept by default, by the size of the extract."""
    if size_bytes <= MEMORY_UP_TO_BYTES:
        return "memory"
    return "sparse_file" if size_bytes <= SPARSE_UP_TO_BYTES else "dense_file"


def data_timestamp(extract: Path) -> str:
    """Up to when the extract has OpenStreetMap's changes, as its header says (ISO 8601, UTC); empty if it doesn't.

    Raises
    ------
    InputError
        If the file is missing, is no .osm.pbf, or holds several versions of each object.
    """
    import osmium

    if not extract.is_file():
        raise InputError(f"{extract}: no such file; give an OpenStreetMap extract (.osm.pbf)")
    try:
        header = osmium.FileProcessor(osmium.io.File(str(extract), "pbf")).header
    except RuntimeError as error:
        raise _unreadable(extract, error) from None
    if header.has_multiple_object_versions:
        raise InputError(f"{extract}: a history file; give an extract with one version of each object")
    return header.get("osmosis_replication_timestamp", "") or header.get("timestamp", "")


class AreaReader:
    """A pass over an extract: iterate once, then ask for `tally`.

    Parameters
    ----------
    node_index
        Not `auto`: `choose_node_index` comes first.
    scratch
        Existing folder for the node file, if there is one; it is removed when the pass ends.
    """

    def __init__(self, extract: Path, table: TagTable, *, node_index: NodeIndex, scratch: Path) -> None:
        self.extract = extract
        self.table = table
        self.node_index = node_index
        self.scratch = scratch
        self._tally: Tally | None = None

    @property
    def tally(self) -> Tally:
        """What the pass found, once it has ended."""
        assert self._tally is not None, "the pass has not ended"
        return self._tally

    def __iter__(self) -> Iterator[AreaBatch]:
        """All areas with a listed tag, in no particular order, but the same at every pass.

        Raises
        ------
        InputError
            If the file is damaged.
        StoreError
            If the disk is too small for the node file.
        """
        node_file = self.scratch / "nodes.index"
        collected = _Collected(self.table)
        try:
            for entity in _entities(self.extract, self.table, self._storage(node_file)):
                collected.take(entity)
                if collected.is_full:
                    yield collected.batch()
            if collected.wkb:
                yield collected.batch()
        finally:
            node_file.unlink(missing_ok=True)
        self._tally = collected.tally()

    def _storage(self, node_file: Path) -> str:
        name = _OSMIUM_MAPS[self.node_index]
        return name if self.node_index == "memory" else f"{name},{node_file}"


def _entities(extract: Path, table: TagTable, storage: str) -> "Iterator[Way | Relation | OsmiumArea]":
    """Ways, relations, and areas (of ways, too) with a listed tag."""
    import osmium

    kinds = osmium.osm.WAY | osmium.osm.RELATION | osmium.osm.AREA
    tags = sorted(table.classes)
    try:
        processor = (
            osmium.FileProcessor(osmium.io.File(str(extract), "pbf"))
            .with_locations(storage)
            .with_areas(osmium.filter.TagFilter(*tags))
            .with_filter(osmium.filter.EntityFilter(kinds))
            .with_filter(osmium.filter.KeyFilter(*table.keys))  # sooner done than many values
            .with_filter(osmium.filter.TagFilter(*tags))
        )
        yield from processor  # type: ignore[misc]  # the entity filter leaves these three
    except RuntimeError as error:
        if "space" in str(error):
            raise StoreError(
                f"{storage.partition(',')[2]}: no room for the positions of all nodes ({error}); free some, or choose "
                "node_index: memory"
            ) from None
        raise _unreadable(extract, error) from None


def _unreadable(extract: Path, error: RuntimeError) -> InputError:
    return InputError(
        f"{extract}: not a readable .osm.pbf ({error}); fetch it again, and compare its checksum with the publisher's"
    )


class _Collected:
    """Areas of the batch to come, and counts of the whole pass."""

    def __init__(self, table: TagTable) -> None:
        import osmium

        self.table = table
        self.factory = osmium.geom.WKBFactory()
        self.wkb: list[str] = []
        self.keys: list[tuple[bool, int, int]] = []
        self.num_bytes = 0
        self.assembled = osmium.index.IdSet()
        self.expected = array("q")  # 8 bytes each: the planet has millions
        self.num_areas = np.zeros(len(OSM_LAND_USE.classes), dtype=np.int64)
        self.areas_m2 = np.zeros(len(OSM_LAND_USE.classes))
        self.num_repaired = self.num_split = self.num_linear = self.num_other_relations = 0
        self.invalid = _Named()
        self.cut_off_ways = _Named()

    @property
    def is_full(self) -> bool:
        return len(self.wkb) >= BATCH_AREAS or self.num_bytes >= BATCH_BYTES

    def take(self, entity: "Way | Relation | OsmiumArea") -> None:
        kind = entity.type_str()
        if kind == "w":
            self._way(entity)  # type: ignore[arg-type]  # it says so
        elif kind == "a":
            self._area(entity)  # type: ignore[arg-type]
        else:
            self._relation(entity)  # type: ignore[arg-type]

    def _way(self, way: "Way") -> None:
        """Closed ways are read here rather than as osmium's areas, which are empty where the way crosses itself."""
        import osmium

        class_id = area_class(self._tags(way.tags), self.table, osm_type="way")
        if class_id is None or not way.is_closed():
            self.num_linear += 1
        elif len(way.nodes) < 4:
            self.invalid.add(f"way {way.id}")
        else:
            try:
                line = self.factory.create_linestring(way, use_nodes=osmium.geom.ALL)
            except osmium.InvalidLocationError:
                self.cut_off_ways.add(f"way {way.id}")
            else:
                self._add("way", way.id, class_id, line)

    def _area(self, area: "OsmiumArea") -> None:
        class_id = area_class(self._tags(area.tags), self.table, osm_type="relation")
        if area.from_way() or class_id is None:
            return
        self.assembled.set(area.orig_id())
        if area.num_rings()[0]:
            self._add("relation", area.orig_id(), class_id, self.factory.create_multipolygon(area))
        else:
            self.invalid.add(f"relation {area.orig_id()}")

    def _relation(self, relation: "Relation") -> None:
        if relation.tags.get("type") not in AREA_RELATIONS:
            self.num_other_relations += 1
        elif any(member.type == "w" for member in relation.members):
            self.expected.append(relation.id)
        else:
            self.invalid.add(f"relation {relation.id}")

    def _tags(self, tags: "TagList") -> Tags:
        found = {key: tags.get(key) for key in (*self.table.keys, "area")}
        return {key: value for key, value in found.items() if value is not None}

    def _add(self, osm_type: str, osm_id: int, class_id: int, wkb: str) -> None:
        self.keys.append((osm_type == "relation", osm_id, class_id))
        self.wkb.append(wkb)
        self.num_bytes += len(wkb) // 2  # hexadecimal

    def batch(self) -> AreaBatch:
        """The areas since the last batch, without those that have no surface."""
        is_relation, osm_ids, class_ids = (np.array(column) for column in zip(*self.keys, strict=True))
        shapes = shapely.from_wkb(self.wkb)
        shapes[~is_relation] = _filled(shapes[~is_relation])
        cleaned = clean_polygons(shapes)
        for row in np.flatnonzero(cleaned.dropped).tolist():
            self.invalid.add(f"{'relation' if is_relation[row] else 'way'} {osm_ids[row]}")
        kept = ~cleaned.dropped
        self.num_repaired += int(cleaned.repaired.sum())
        self.num_split += int(cleaned.split.sum())
        self.keys, self.wkb, self.num_bytes = [], [], 0
        batch = AreaBatch(
            is_relation=is_relation[kept],
            osm_ids=osm_ids[kept].astype(np.int64),
            class_ids=class_ids[kept].astype(np.uint8),
            areas_m2=equal_areas_m2(cleaned.geometries[kept]),
            geometries=cleaned.geometries[kept],
        )
        np.add.at(self.num_areas, batch.class_ids, 1)
        np.add.at(self.areas_m2, batch.class_ids, batch.areas_m2)
        return batch

    def tally(self) -> Tally:
        cut_off_relations = _Named()
        for relation in self.expected:
            if relation not in self.assembled:
                cut_off_relations.add(f"relation {relation}")
        return Tally(
            num_areas=tuple(self.num_areas.tolist()),
            areas_m2=tuple(np.round(self.areas_m2, 1).tolist()),
            num_repaired=self.num_repaired,
            num_split=self.num_split,
            num_invalid=self.invalid.count,
            invalid=tuple(self.invalid.first),
            num_cut_off_ways=self.cut_off_ways.count,
            num_cut_off_relations=cut_off_relations.count,
            cut_off=tuple([*self.cut_off_ways.first, *cut_off_relations.first][:NUM_NAMED]),
            num_linear=self.num_linear,
            num_other_relations=self.num_other_relations,
        )


class _Named:
    """Counts objects and remembers the first."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.first) < NUM_NAMED:
            self.first.append(name)


def _filled(lines: Geometries) -> Geometries:
    """Polygon within each closed line of at least four points."""
    points, owner = shapely.get_coordinates(lines, return_index=True)
    filled: Geometries = np.empty(len(lines), dtype=object)
    filled[:] = shapely.polygons(shapely.linearrings(points, indices=owner))
    return filled
