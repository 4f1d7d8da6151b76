"""What an Overpass query finds: by tag and polygon, with everything below, each once, nodes before ways before relations.

Overpass knows points and lines, not areas: an element is in a polygon if one of its points lies inside, points
between two nodes of a way included; a relation is if one of its member nodes or ways is. So an area that encloses
the whole polygon is not found, unless `enclosing_areas` is set, which no public server has.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import shapely

from sandbox.osm_elements import Elements, Node, OsmData, Relation, Tags, Way
from sandbox.overpass_query import Descend, Query, Recall, Search, Step, Union

Key = tuple[str, int]
"""Kind (`node`, `way`, `relation`) and id of an element."""

AREA_RELATIONS = {"multipolygon", "boundary"}
"""Types of relations whose ways are the rings of an area (OpenStreetMap wiki, Relation:multipolygon)."""

ORDER = {"node": 0, "way": 1, "relation": 2}


def evaluate(query: Query, data: OsmData, *, enclosing_areas: bool) -> list[dict[str, Any]]:
    """Elements that a query finds, as Overpass writes them in JSON.

    Parameters
    ----------
    enclosing_areas
        Also find closed ways and multipolygons that the polygon lies in without touching their rings.
    """
    evaluation = _Evaluation(data, enclosing_areas=enclosing_areas)
    found: set[Key] = set()
    for step in query.steps:
        found = evaluation.run(step, found)
    return [evaluation.tree(key) for key in sorted(found, key=lambda key: (ORDER[key[0]], key[1]))]


class _Evaluation:
    def __init__(self, data: OsmData, *, enclosing_areas: bool) -> None:
        self._data = data
        self._enclosing_areas = enclosing_areas
        self._places: dict[bytes, _Place] = {}
        self._nodes: dict[int, Node] = {}
        self._ways: dict[int, Way] = {}
        self._relations: dict[int, Relation] = {}

    def run(self, step: Step, before: set[Key]) -> set[Key]:
        """The result of one statement; `before` is that of the statement before it."""
        match step:
            case Search():
                return self._place(step.polygon).find(step)
            case Recall():
                return before
            case Descend():
                return self._below(before)
            case Union(steps):
                found: set[Key] = set()
                for part in steps:
                    before = self.run(part, before)
                    found |= before
                return found

    def _place(self, polygon: shapely.Polygon) -> "_Place":
        if polygon.wkb not in self._places:
            elements = self._data.near(polygon)
            self._nodes.update(elements.nodes)
            self._ways.update(elements.ways)
            self._relations.update(elements.relations)
            self._places[polygon.wkb] = _Place(elements, polygon, enclosing_areas=self._enclosing_areas)
        return self._places[polygon.wkb]

    def _below(self, keys: Iterable[Key]) -> set[Key]:
        """Members of relations and nodes of ways that are known. Overpass does not descend into relations of relations."""
        ways = {ref for kind, ref in keys if kind == "way"}
        below: set[Key] = set()
        for kind, ref in keys:
            if kind == "relation":
                for member in self._relations[ref].members:
                    if member.type == "way" and member.ref in self._ways:
                        ways.add(member.ref)
                        below.add(("way", member.ref))
                    elif member.type == "node" and member.ref in self._nodes:
                        below.add(("node", member.ref))
        for way in ways:
            below.update(("node", node) for node in self._ways[way].nodes if node in self._nodes)
        return below

    def tree(self, key: Key) -> dict[str, Any]:
        """An element as Overpass writes it."""
        kind, ref = key
        tree: dict[str, Any] = {"type": kind, "id": ref}
        tags: Tags
        if kind == "node":
            node = self._nodes[ref]
            tree |= {"lat": node.lat, "lon": node.lon}
            tags = node.tags
        elif kind == "way":
            tree["nodes"] = list(self._ways[ref].nodes)
            tags = self._ways[ref].tags
        else:
            members = self._relations[ref].members
            tree["members"] = [{"type": one.type, "ref": one.ref, "role": one.role} for one in members]
            tags = self._relations[ref].tags
        return {**tree, "tags": dict(tags)} if tags else tree


class _Place:
    """The elements in one polygon, by tag."""

    def __init__(self, elements: Elements, polygon: shapely.Polygon, *, enclosing_areas: bool) -> None:
        shapely.prepare(polygon)
        self._by_tag: Mapping[tuple[str, str, str | None], set[int]] = defaultdict(set)
        inside = _inside(elements, polygon, enclosing_areas=enclosing_areas)
        for kind, mapping in (
            ("node", elements.nodes),
            ("way", elements.ways),
            ("relation", elements.relations),
        ):
            for ref in inside[kind]:
                for key, value in mapping[ref].tags.items():
                    self._by_tag[kind, key, value].add(ref)
                    self._by_tag[kind, key, None].add(ref)

    def find(self, search: Search) -> set[Key]:
        found: set[Key] = set()
        for kind in search.kinds:
            matching = (self._by_tag.get((kind, key, value), set()) for key, value in search.tags)
            found.update((kind, ref) for ref in set.intersection(*matching))
        return found


def _inside(elements: Elements, polygon: shapely.Polygon, *, enclosing_areas: bool) -> Mapping[str, set[int]]:
    """Ids of the elements in a polygon, by kind."""
    nodes = _nodes_inside(elements, polygon)
    lines = _lines(elements)
    ways = _ways_inside(lines, polygon)
    relations = {
        relation.id
        for relation in elements.relations.values()
        if any(
            (one.type == "node" and one.ref in nodes) or (one.type == "way" and one.ref in ways)
            for one in relation.members
        )
    }
    if enclosing_areas:
        point = polygon.representative_point()
        closed = {
            ref: line
            for ref, line in lines.items()
            if elements.ways[ref].nodes[0] == elements.ways[ref].nodes[-1]
        }
        found = {ref for ref, line in closed.items() if ref not in ways and _encloses([line], point)}
        relations |= {
            one.id
            for one in elements.relations.values()
            if one.id not in relations and _is_around(one, lines, point)
        }
        ways |= found
    return {"node": nodes, "way": ways, "relation": relations}


def _nodes_inside(elements: Elements, polygon: shapely.Polygon) -> set[int]:
    """Nodes in the polygon or on its border, of those that can be asked for or that relations have."""
    members = {
        one.ref for relation in elements.relations.values() for one in relation.members if one.type == "node"
    }
    nodes = [node for node in elements.nodes.values() if node.tags or node.id in members]
    points = shapely.points([node.lon for node in nodes], [node.lat for node in nodes])
    return {node.id for node, hit in zip(nodes, shapely.intersects(polygon, points), strict=True) if hit}


def _lines(elements: Elements) -> dict[int, np.ndarray]:
    """Known nodes of each way, axes (node, lon-lat); ways with fewer than two are left out."""
    at = {node.id: (node.lon, node.lat) for node in elements.nodes.values()}
    lines = {way.id: [at[ref] for ref in way.nodes if ref in at] for way in elements.ways.values()}
    return {ref: np.array(line) for ref, line in lines.items() if len(line) > 1}


def _ways_inside(lines: Mapping[int, np.ndarray], polygon: shapely.Polygon) -> set[int]:
    """Ways of which a part lies inside; one that only touches the border is not."""
    geometries = np.array([shapely.LineString(line) for line in lines.values()], dtype=object)
    hits = shapely.intersects(polygon, geometries)
    hits[hits] = ~shapely.touches(geometries[hits], polygon)
    return {ref for ref, hit in zip(lines, hits, strict=True) if hit}


def _is_around(relation: Relation, lines: Mapping[int, np.ndarray], point: shapely.Point) -> bool:
    """A point lies in the area of a relation. One that lacks ways has no area."""
    ways = [one.ref for one in relation.members if one.type == "way"]
    if relation.tags.get("type") not in AREA_RELATIONS or any(ref not in lines for ref in ways):
        return False
    return _encloses([lines[ref] for ref in ways], point)


def _encloses(lines: Sequence[np.ndarray], point: shapely.Point) -> bool:
    """Whether a point lies in the rings that lines make, by the even-odd rule: so holes and islands need no roles.

    A ray to the east crosses the rings an odd number of times where the point is inside.
    """
    crossings = 0
    for line in lines:
        (x0, y0), (x1, y1) = line[:-1].T, line[1:].T
        spans = (y0 > point.y) != (y1 > point.y)
        x0, y0, x1, y1 = x0[spans], y0[spans], x1[spans], y1[spans]
        crossings += int(np.count_nonzero(x0 + (point.y - y0) / (y1 - y0) * (x1 - x0) > point.x))
    return crossings % 2 == 1
