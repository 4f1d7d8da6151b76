"""A `.osm.pbf` extract as OpenStreetMap data to serve: read once by pyosmium, kept in memory.

Meant for a city or a small country: a node takes 24 bytes, a way or relation some hundreds. Nothing is assembled
here: as in Overpass, who asks gets rings and members.

Extracts are cut, Overpass's data are not. A way that lacks nodes is left out, because Overpass serves no halves
of ways; a relation that lacks members keeps their names, so that whoever assembles it knows that it is incomplete.
"""

from array import array
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from noldo.errors import InputError
from sandbox.osm_elements import Elements, Member, Node, Relation, Tags, Way

_KINDS = {"n": "node", "w": "way", "r": "relation"}


class OsmFile:
    """An `OsmData` that serves one extract. Thread-safe: nothing changes once it is read.

    Ways and relations are found by the box around them, so also where they enclose the polygon as areas.
    Relations among the members of a relation are left out: Overpass does not descend into them.

    Raises
    ------
    InputError
        If the file does not exist or is no OpenStreetMap file.
    """

    def __init__(self, path: Path) -> None:
        self._node_tags: dict[int, Tags] = {}
        self._relations: dict[int, Relation] = {}
        self._ids = np.zeros(0, dtype=np.int64)
        """Of nodes, ascending; longitudes and latitudes are in the same order."""
        ways = self._read(path)
        boxes = self._way_boxes(ways)
        self._ways = {way.id: way for way in ways if way.id in boxes}
        self._way_tree, self._way_ids = _index(boxes)
        self._relation_tree, self._relation_ids = _index(self._relation_boxes(boxes))
        self.num_incomplete_ways = len(ways) - len(self._ways)
        """Ways that are not served because the extract lacks nodes of theirs."""

    def __str__(self) -> str:
        return (
            f"{len(self._ids)} nodes, {len(self._ways)} ways ({self.num_incomplete_ways} more lack nodes) and "
            f"{len(self._relations)} relations"
        )

    def _read(self, path: Path) -> list[Way]:
        """Fill nodes and relations; all ways, also those that lack nodes."""
        import osmium

        ids, lons, lats = array("q"), array("d"), array("d")
        ways: list[Way] = []
        try:
            for entry in osmium.FileProcessor(str(path)):
                tags = dict(entry.tags) if entry.tags else {}
                if isinstance(entry, osmium.osm.Node):
                    if (location := entry.location).valid():  # not so for deleted nodes of a history
                        ids.append(entry.id)
                        lons.append(location.lon)
                        lats.append(location.lat)
                        if tags:
                            self._node_tags[entry.id] = tags
                elif isinstance(entry, osmium.osm.Way):
                    ways.append(Way(entry.id, tuple(node.ref for node in entry.nodes), tags))
                elif isinstance(entry, osmium.osm.Relation):
                    members = tuple(Member(_KINDS[one.type], one.ref, one.role) for one in entry.members)
                    self._relations[entry.id] = Relation(entry.id, members, tags)
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"{path}: can't be read as OpenStreetMap data ({error}); expected a .osm.pbf extract"
            ) from None
        order = np.argsort(ids)
        self._ids = np.array(ids, dtype=np.int64)[order]
        self._lons, self._lats = np.array(lons)[order], np.array(lats)[order]
        return ways

    def near(self, polygon: BaseGeometry) -> Elements:
        """As `OsmData` says."""
        touching = _hits(self._relation_tree, self._relation_ids, polygon)
        relations = {ref: self._relations[ref] for ref in touching}
        members = [one for relation in relations.values() for one in relation.members]
        ways = set(_hits(self._way_tree, self._way_ids, polygon))
        ways.update(one.ref for one in members if one.type == "way" and one.ref in self._ways)
        refs = [ref for way in ways for ref in self._ways[way].nodes]
        refs += [one.ref for one in members if one.type == "node"]
        positions, known = self._positions(np.array(refs, dtype=np.int64))
        chosen = np.union1d(positions[known], np.flatnonzero(self._in_box(polygon)))
        return Elements(
            nodes={node.id: node for node in map(self._node, chosen.tolist())},
            ways={ref: self._ways[ref] for ref in sorted(ways)},
            relations=relations,
        )

    def _node(self, position: int) -> Node:
        ref = int(self._ids[position])
        lon, lat = float(self._lons[position]), float(self._lats[position])
        return Node(ref, lon, lat, self._node_tags.get(ref, {}))

    def _in_box(self, polygon: BaseGeometry) -> np.ndarray:
        west, south, east, north = polygon.bounds
        inside: np.ndarray = (
            (self._lons >= west) & (self._lons <= east) & (self._lats >= south) & (self._lats <= north)
        )
        return inside

    def _positions(self, refs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where nodes are in the arrays, and which of them the extract has at all."""
        positions = np.searchsorted(self._ids, refs)
        positions[positions == len(self._ids)] = 0
        known = self._ids[positions] == refs if len(self._ids) else np.zeros(len(refs), dtype=bool)
        return positions, known

    def _way_boxes(self, ways: list[Way]) -> dict[int, np.ndarray]:
        """West, south, east, north in degrees around each way that lacks no node."""
        lines = [way for way in ways if way.nodes]
        if not lines or not len(self._ids):
            return {}
        refs = np.fromiter(chain.from_iterable(way.nodes for way in lines), dtype=np.int64)
        positions, known = self._positions(refs)
        lons = np.where(known, self._lons[positions], np.nan)
        lats = np.where(known, self._lats[positions], np.nan)
        starts = np.cumsum([0, *(len(way.nodes) for way in lines[:-1])])
        least, most = np.minimum.reduceat, np.maximum.reduceat  # nan where any node is
        boxes = np.stack(
            [least(lons, starts), least(lats, starts), most(lons, starts), most(lats, starts)], axis=1
        )
        complete = ~np.isnan(boxes).any(axis=1)
        return {way.id: box for way, box, whole in zip(lines, boxes, complete, strict=True) if whole}

    def _relation_boxes(self, way_boxes: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """The same around the known members of each relation that has any."""
        boxes = {}
        for relation in self._relations.values():
            known = [
                way_boxes[one.ref] for one in relation.members if one.type == "way" and one.ref in way_boxes
            ]
            nodes = np.array([one.ref for one in relation.members if one.type == "node"], dtype=np.int64)
            positions, here = self._positions(nodes)
            found = positions[here]
            points = np.stack([self._lons[found], self._lats[found]], axis=1)
            corners = np.concatenate([points, *(box.reshape(2, 2) for box in known)])
            if len(corners):
                boxes[relation.id] = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        return boxes


def _index(boxes: Mapping[int, np.ndarray]) -> tuple[shapely.STRtree, np.ndarray]:
    """A tree of boxes, and the ids in its order."""
    ids = np.array(sorted(boxes), dtype=np.int64)
    corners = np.array([boxes[ref] for ref in ids.tolist()]).reshape(-1, 4)
    return shapely.STRtree(shapely.box(*corners.T)), ids


def _hits(tree: shapely.STRtree, ids: np.ndarray, polygon: BaseGeometry) -> list[int]:
    refs: list[int] = np.sort(ids[tree.query(polygon)]).tolist()
    return refs
