"""An OpenStreetMap extract of the synthetic Earth: the elements that an Overpass server answers with, as a .osm.pbf."""

import json
from collections.abc import Iterable
from pathlib import Path

import osmium
from osmium.osm import mutable
from shapely import Polygon, box

from noldo.atomic import write_errors
from noldo.errors import InputError
from sandbox.osm_elements import Elements, Node, OsmData, Relation, Way

TIMESTAMP = "2021-01-01T00:00:00Z"
"""Age of the data, in the file's header: always the same, so that the same elements are the same bytes."""


def elements_near(osm: OsmData, polygons: Iterable[Polygon]) -> Elements:
    """Everything near any of the polygons (degrees), each element once."""
    nodes: dict[int, Node] = {}
    ways: dict[int, Way] = {}
    relations: dict[int, Relation] = {}
    for polygon in polygons:
        part = osm.near(polygon)
        nodes.update(part.nodes)
        ways.update(part.ways)
        relations.update(part.relations)
    return Elements(nodes, ways, relations)


def write_extract(path: Path, elements: Elements) -> None:
    """Write elements as a .osm.pbf: nodes, ways, relations, each by id.

    Raises
    ------
    InputError
        If the name says that the file is something else.
    StoreError
        If the file can't be written.
    """
    if path.suffix != ".pbf":
        raise InputError(
            f"{path}: expected a name that ends in .osm.pbf, the one format written; choose such a name"
        )
    partial = path.with_name(f".{path.name}.partial")
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        try:
            _write(partial, elements)
        except RuntimeError as error:  # all that osmium raises
            raise OSError(str(error)) from error
        partial.replace(path)


def _write(path: Path, elements: Elements) -> None:
    header = osmium.io.Header()
    header.set("generator", "noldo sandbox")
    header.set("osmosis_replication_timestamp", TIMESTAMP)
    file = osmium.io.File(str(path), "osm.pbf")
    with osmium.SimpleWriter(file, header=header, overwrite=True) as writer:
        for _, node in sorted(elements.nodes.items()):
            place = (node.lon, node.lat)
            writer.add_node(mutable.Node(id=node.id, version=1, location=place, tags=dict(node.tags)))
        for _, way in sorted(elements.ways.items()):
            writer.add_way(mutable.Way(id=way.id, version=1, nodes=way.nodes, tags=dict(way.tags)))
        for _, relation in sorted(elements.relations.items()):
            members = [(member.type[0], member.ref, member.role) for member in relation.members]
            tags = dict(relation.tags)
            writer.add_relation(mutable.Relation(id=relation.id, version=1, members=members, tags=tags))


def places_of(near: str) -> list[Polygon]:
    """Places in degrees: a bounding box `lon_min,lat_min,lon_max,lat_max`, or the tiles of a folder with `expected.json`.

    Raises
    ------
    InputError
        If it is neither.
    """
    words = near.split(",")
    if len(words) == 4:
        return [_box(near, words)]
    path = Path(near) / "expected.json"
    try:
        tiles = json.loads(path.read_text(encoding="utf-8"))["tiles"]
        return [Polygon(tile["corners"]) for tile in tiles.values()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--near {near}: no four numbers lon_min,lat_min,lon_max,lat_max, and no tiles in {path} ({error}); give a "
            "bounding box in degrees, or a folder that `python -m sandbox experts` wrote"
        ) from None


def _box(near: str, words: list[str]) -> Polygon:
    try:
        west, south, east, north = (float(word) for word in words)
    except ValueError:
        west = south = east = north = 0.0
    if not (-180 <= west < east <= 180 and -80 <= south < north <= 84):
        raise InputError(
            f"--near {near}: expected lon_min,lat_min,lon_max,lat_max in degrees, the smaller first, within UTM"
        )
    return box(west, south, east, north)
