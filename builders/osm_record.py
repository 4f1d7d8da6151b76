"""What became of OpenStreetMap's areas in a build, counted: for the record of the run and the report."""

import json
from collections import Counter

from builders.build import cut_of
from builders.config import BuildConfig
from builders.layout import Layout
from builders.osm_label_table import read_osm_labels
from builders.osm_report import ExtractReport
from noldo.errors import InputError

_EXTRACT_COUNTS = {
    "num_repaired": "areas repaired",
    "num_split": "areas across the antimeridian, cut there",
    "num_invalid": "areas of extracts without a surface, dropped",
    "num_cut_off_ways": "ways cut off by an extract, dropped",
    "num_cut_off_relations": "relations cut off by an extract, dropped",
    "num_linear": "ways that are no areas",
    "num_other_relations": "relations that are no areas",
}
"""Field of `builders.osm_reader.Tally` to what it counts, over whole extracts."""


def area_counts(config: BuildConfig, layout: Layout) -> dict[str, int]:
    """What was counted to how many, of all tiles that were screened and of all extracts.

    Raises
    ------
    InputError
        If a table or a report is missing or damaged.
    """
    counts: Counter[str] = Counter()
    for job in cut_of(config).jobs:
        for label in read_osm_labels(layout.osm_labels(job)):
            if label.classes:
                counts["tiles screened"] += 1
                counts["tiles without any polygon"] += label.num_polygons == 0
                counts["polygons burnt"] += label.num_polygons
                counts["areas repaired"] += label.num_repaired
                counts["areas across the antimeridian, cut there"] += label.num_split
                counts["polygons dropped"] += label.num_dropped
                counts["polygons around a whole tile"] += label.num_enclosing
                counts["points, lines and broken areas left out"] += label.num_lines
    assert config.osm is not None, "subset @OSM exists only with a section `osm`"
    for number in range(len(config.osm.extracts)):
        tally = read_extract_report(layout, number).tally
        counts.update({words: getattr(tally, name) for name, words in _EXTRACT_COUNTS.items()})
    return dict(counts)


def read_extract_report(layout: Layout, extract: int) -> ExtractReport:
    """What a pass over one extract of the config found.

    Raises
    ------
    InputError
        If there is no such report.
    """
    path = layout.extract_report(extract)
    try:
        return ExtractReport.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not the report of an extract ({error}); delete it and run the build again: the extract is read "
            "again"
        ) from None
