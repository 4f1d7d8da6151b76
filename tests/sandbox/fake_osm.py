"""Small pieces of OpenStreetMap made by hand: rectangles, and relations of them."""

from pathlib import Path

from shapely.geometry.base import BaseGeometry

from sandbox.osm_elements import Elements, Member, Node, OsmData, Relation, Tags, Way


class FakeOsm:
    """An `OsmData` that grows by calls and always gives everything, as the contract allows."""

    def __init__(self) -> None:
        self.elements = Elements({}, {}, {})
        self._next_node = 1

    def near(self, polygon: BaseGeometry) -> Elements:
        return self.elements

    def node(self, lon: float, lat: float, **tags: str) -> int:
        ref = self._next_node
        self._next_node += 1
        self.elements.nodes[ref] = Node(ref, lon, lat, tags)
        return ref

    def way(self, ref: int, corners: list[tuple[float, float]], *, closed: bool = True, **tags: str) -> int:
        nodes = [self.node(lon, lat) for lon, lat in corners]
        self.elements.ways[ref] = Way(ref, (*nodes, nodes[0]) if closed else tuple(nodes), tags)
        return ref

    def rectangle(self, ref: int, west: float, south: float, east: float, north: float, **tags: str) -> int:
        return self.way(ref, [(west, south), (east, south), (east, north), (west, north)], **tags)

    def relation(self, ref: int, *members: Member, tags: Tags) -> int:
        self.elements.relations[ref] = Relation(ref, members, tags)
        return ref

    def multipolygon(self, ref: int, outer: list[int], inner: list[int], **tags: str) -> int:
        members = [Member("way", one, "outer") for one in outer] + [
            Member("way", one, "inner") for one in inner
        ]
        return self.relation(ref, *members, tags={"type": "multipolygon", **tags})


def write_pbf(path: Path, elements: Elements) -> Path:
    """The same elements as a file."""
    import osmium
    from osmium.osm import mutable

    with osmium.SimpleWriter(str(path), overwrite=True) as writer:
        for node in elements.nodes.values():
            writer.add_node(
                mutable.Node(id=node.id, location=(node.lon, node.lat), tags=dict(node.tags), version=1)
            )
        for way in elements.ways.values():
            writer.add_way(mutable.Way(id=way.id, nodes=list(way.nodes), tags=dict(way.tags), version=1))
        for relation in elements.relations.values():
            members = [(one.type[0], one.ref, one.role) for one in relation.members]
            writer.add_relation(
                mutable.Relation(id=relation.id, members=members, tags=dict(relation.tags), version=1)
            )
    return path


def fits_the_contract() -> OsmData:
    return FakeOsm()
