"""Real extracts, read by us and by GDAL's OSM driver, which assembles multipolygons with code of its own.

Two differences are GDAL's rules, and are taken out of the comparison one object at a time:

* It builds areas that the extract cuts off from whatever points are left. We leave them out and name them.
* It leaves out a closed way with tags of its own where the way is an outer ring of a multipolygon, too, whatever
  the tags of that are. We keep both, as osmnx does: the smaller one is seen.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import osmium
import pyogrio
import pytest

from builders.areas import equal_area_m2
from builders.osm_extract import sum_areas
from builders.osm_reader import NUM_NAMED, AreaReader
from builders.polygons import clean_polygons
from builders.tag_table import AREA_RELATIONS, area_class, load_tag_table
from noldo.legend import OSM_LAND_USE

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("NOLDO_REAL_DATA", ROOT.parent / "shared" / "data"))
LAUF = REAL / "osm" / "lauf-20200115.osm.pbf"
LIECHTENSTEIN = REAL / "osm" / "liechtenstein-20220721.osm.pbf"

pytestmark = pytest.mark.skipif(
    not LAUF.is_file(), reason=f"no real data in {REAL}/osm; point NOLDO_REAL_DATA to a folder that has them"
)

OSMCONF = """
closed_ways_are_polygons=landuse,natural,leisure
[points]
osm_id=yes
[lines]
osm_id=yes
[multipolygons]
osm_id=yes
attributes=landuse,natural,leisure,area
other_tags=no
[multilinestrings]
osm_id=yes
[other_relations]
osm_id=yes
"""

KEYS = ("landuse", "natural", "leisure", "area")


def areas_of_gdal(path, table, tmp_path):
    """`way 1` or `relation 1` to (class id, m2)."""
    conf = tmp_path / "osmconf.ini"
    conf.write_text(OSMCONF)
    read = pyogrio.read_dataframe(
        path, layer="multipolygons", CONFIG_FILE=str(conf), on_invalid="ignore", use_arrow=False
    )
    found = {}
    for row in read.to_dict("records"):
        osm_type, osm_id = (
            ("way", row["osm_way_id"]) if isinstance(row["osm_way_id"], str) else ("relation", row["osm_id"])
        )
        tags = {key: row[key] for key in KEYS if isinstance(row.get(key), str)}
        class_id = area_class(tags, table, osm_type=osm_type)
        if class_id is not None:
            (shape,) = clean_polygons([row["geometry"]]).geometries
            found[f"{osm_type} {osm_id}"] = class_id, equal_area_m2(shape) if shape else 0.0
    return found


def areas_of_ours(path, table, tmp_path):
    reader = AreaReader(path, table, node_index="memory", scratch=tmp_path)
    found = {}
    for batch in reader:
        for is_relation, osm_id, class_id, area_m2 in zip(
            batch.is_relation, batch.osm_ids, batch.class_ids, batch.areas_m2, strict=True
        ):
            found[f"{'relation' if is_relation else 'way'} {osm_id}"] = int(class_id), float(area_m2)
    return found, reader.tally


def outer_rings(path):
    """Ways that are outer rings of a multipolygon."""
    return {
        f"way {member.ref}"
        for relation in osmium.FileProcessor(str(path), osmium.osm.RELATION)
        if relation.tags.get("type") in AREA_RELATIONS
        for member in relation.members
        if (member.type, member.role) == ("w", "outer")
    }


@pytest.mark.parametrize("table_name", ["ohsome-1", "osmlanduser-1"])
@pytest.mark.parametrize(("path", "expected"), [(LAUF, (1345, 64, 0)), (LIECHTENSTEIN, (4792, 0, 3))])
def test_areas_of_every_class_are_those_of_gdal(path, expected, table_name, tmp_path):
    table = load_tag_table(table_name)
    ours, tally = areas_of_ours(path, table, tmp_path)
    gdal = areas_of_gdal(path, table, tmp_path)
    assert tally == sum_areas(path, table)
    cut_off = set(tally.cut_off)
    assert len(cut_off) == tally.num_cut_off_ways + tally.num_cut_off_relations < NUM_NAMED
    left_out_by_gdal = set(ours) & outer_rings(path) - set(gdal)
    if table_name == "ohsome-1":
        assert (len(ours), len(cut_off), len(left_out_by_gdal)) == expected
    assert set(ours) - left_out_by_gdal == set(gdal) - cut_off
    for class_id, name in enumerate(OSM_LAND_USE.classes):
        of_ours = sum(
            m2 for key, (each, m2) in ours.items() if each == class_id and key not in left_out_by_gdal
        )
        of_gdal = sum(m2 for key, (each, m2) in gdal.items() if each == class_id and key not in cut_off)
        assert of_ours == pytest.approx(of_gdal, rel=1e-3), name
        assert tally.areas_m2[class_id] == pytest.approx(
            sum(m2 for each, m2 in ours.values() if each == class_id), abs=1.0
        )
    counts = Counter(class_id for class_id, _ in ours.values())
    assert tally.num_areas == tuple(counts[class_id] for class_id in range(len(OSM_LAND_USE.classes)))


def test_every_single_area_is_that_of_gdal(tmp_path):
    table = load_tag_table("ohsome-1")
    ours, _ = areas_of_ours(LIECHTENSTEIN, table, tmp_path)
    gdal = areas_of_gdal(LIECHTENSTEIN, table, tmp_path)
    for key in set(ours) & set(gdal):
        assert ours[key] == (gdal[key][0], pytest.approx(gdal[key][1], rel=1e-6, abs=0.01)), key


MEASURED = """
import resource, sys, tempfile
from pathlib import Path
import numpy as np
from builders.osm_extract import collect_areas
from builders.patches import place_patches
from builders.tag_table import load_tag_table
lon, lat = np.meshgrid(np.linspace(9.48, 9.62, 10), np.linspace(47.06, 47.26, 20))
patches = list(enumerate(place_patches(lon.ravel(), lat.ravel(), size_px=264).grids))
with tempfile.TemporaryDirectory() as out:
    collect_areas(Path(sys.argv[1]), patches, load_tag_table("ohsome-1"), Path(out))
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""


STARTER = "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)"


def test_a_small_country_takes_seconds_and_little_memory():
    out = subprocess.run(
        # A small process in between: a child's peak begins with that of whoever forked it.
        [sys.executable, "-c", STARTER, sys.executable, "-c", MEASURED, LIECHTENSTEIN],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    cpu_seconds, peak_kb = map(float, out.split())
    assert cpu_seconds < 20
    assert peak_kb < 1_000_000
