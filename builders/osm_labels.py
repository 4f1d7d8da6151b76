"""Labels of @OSM: areas of OpenStreetMap, burnt in each tile's own grid and screened against the experts.

Where areas come from (extracts or an Overpass server) decides nothing about what is made of them.
"""

import datetime as dt
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from builders.build import cut_of
from builders.burn import Burnt, burn
from builders.config import BuildConfig
from builders.config_labels import OpenStreetMap
from builders.expert_labels import Labels
from builders.layout import Layout
from builders.location_table import read_locations
from builders.osm_extract import collect_areas
from builders.osm_extract import read_areas as read_extract_areas
from builders.osm_label_table import OsmLabel, write_osm_labels
from builders.outcome_table import read_outcomes, write_outcomes
from builders.overpass import Overpass, PatchAreas
from builders.overpass_access import OverpassAccess
from builders.overpass_fetch import areas_path, check_policy, fetch_areas
from builders.overpass_fetch import read_areas as read_overpass_areas
from builders.overpass_server import OverpassServer
from builders.records import Location, LocationOutcome
from builders.sandbox_process import end_with_sandbox, overpass_url
from builders.screening import Screening, screen
from builders.tag_table import TagTable, load_tag_table, ranked
from builders.tiles import Tile, read_planned_label, read_tiles
from noldo.atomic import write_if_changed
from noldo.errors import InputError
from noldo.legend import OSM_LAND_USE
from noldo.status import Status

logger = logging.getLogger(__name__)

PROGRESS_AREAS = 1_000_000
"""A progress line after so many areas of an extract: the planet has several hundred million."""


def run_collect(config: BuildConfig, layout: Layout, *, extract: int) -> None:
    """Read one extract of the config, keep the areas that meet a tile, and write what was found.

    Raises
    ------
    InputError
        If the extract or the table of tags can't be used.
    StoreError
        If the disk is full or not writable.
    """
    osm = _section(config)
    patches = [(location.id, location.grid) for location in read_locations(layout.locations)]
    report = collect_areas(
        osm.extracts[extract],
        patches,
        load_tag_table(osm.tags),
        layout.areas,
        per_job=config.jobs.locations_per_job,
        node_index=osm.node_index,
        progress=_Progress(osm.extracts[extract]),
    )
    text = json.dumps(report.to_json(), indent=1) + "\n"
    write_if_changed(layout.extract_report(extract), text.encode())


class _Progress:
    """A line in the log now and then."""

    def __init__(self, extract: Path) -> None:
        self._extract = extract
        self._next = PROGRESS_AREAS

    def __call__(self, num_areas: int) -> None:
        if num_areas >= self._next:
            self._next = num_areas + PROGRESS_AREAS
            logger.info("%s: %d areas read", self._extract.name, num_areas)


def run_osm_labels(config: BuildConfig, layout: Layout, *, job: int) -> None:
    """Make and screen the class maps of the tiles that @DW kept; write them and what became of each tile.

    Raises
    ------
    InputError
        If a table or a label file can't be used.
    SourceError
        If the Overpass server can't go on; what it answered is kept, and the same call asks only for the rest.
    StoreError
        If the disk is full or not writable.
    """
    osm = _section(config)
    table = load_tag_table(osm.tags)
    rows = cut_of(config).rows_of_job(job)
    locations = read_locations(layout.locations, rows.start, rows.stop)
    outcomes = {one.location_id: one for one in read_outcomes(layout.of("dw").outcomes(job))}
    if sorted(outcomes) != sorted(location.id for location in locations):
        raise InputError(
            f"{layout.of('dw').outcomes(job)}: is about other tiles than rows {rows.start} to {rows.stop - 1} of "
            f"{layout.locations}; delete it and run the build again: job {job} is redone"
        )
    kept = [location for location in locations if outcomes[location.id].status == Status.KEPT]
    areas = _areas(config, layout, kept, table=table, job=job)
    tiles = read_tiles(layout.tiles)
    priorities = ranked(table) if osm.overlaps == "priority" else None
    made = [
        _label(
            location,
            tiles[location.id],
            areas.get(location.id, PatchAreas(())),
            config=config,
            priorities=priorities,
        )
        if location in kept
        else _unasked(location, outcomes[location.id])
        for location in locations
    ]
    write_osm_labels(layout.osm_labels(job), [label for label, _ in made])
    write_outcomes(
        layout.outcomes(job),
        [_outcome(outcomes[label.location_id], status, label.decision) for label, status in made],
    )
    _tell(made)


def _section(config: BuildConfig) -> OpenStreetMap:
    assert config.osm is not None, "subset @OSM exists only with a section `osm`"
    return config.osm


def _areas(
    config: BuildConfig, layout: Layout, kept: Sequence[Location], *, table: TagTable, job: int
) -> Mapping[int, PatchAreas]:
    """Location to its areas."""
    osm = _section(config)
    if osm.source == "extracts":
        found = read_extract_areas(layout.areas, job, extracts=osm.extracts)
        return {location_id: PatchAreas(tuple(areas)) for location_id, areas in found.items()}
    server = overpass_server(config, layout)
    if not server.is_loopback:
        check_policy(config.locations.count)
    end_with_sandbox(config, layout)
    source = Overpass(OverpassAccess(server), table=table, margin_m=osm.margin_m)
    counts = fetch_areas(kept, source, layout.overpass, max_patches=None)
    logger.info("Overpass: %s; requests: %s", counts, dict(source.requests))
    return {
        location.id: read_overpass_areas(areas_path(layout.overpass, location.id))[0] for location in kept
    }


def overpass_server(config: BuildConfig, layout: Layout) -> OverpassServer:
    """The server that a build asks."""
    osm = _section(config)
    noon = None if osm.as_of is None else dt.datetime.combine(osm.as_of, dt.time(12), tzinfo=dt.UTC)
    if not osm.asks_sandbox:
        return OverpassServer(osm.overpass_url, date=noon)
    origin = f"synthetic Earth, seed {config.sandbox.seed}"
    return OverpassServer(overpass_url(layout), origin=origin, date=noon)


def _label(
    location: Location,
    tile: Tile,
    areas: PatchAreas,
    *,
    config: BuildConfig,
    priorities: Mapping[int, int] | None,
) -> tuple[OsmLabel, Status]:
    burnt = burn(areas.areas, location.grid, priorities=priorities)
    labels = _in_window(burnt.labels, tile.window)
    experts = read_planned_label(tile, max_side_px=config.patch_size_px).classes
    found = screen(experts, labels, window=tile.window, thresholds=_section(config))
    return _record(location, areas, burnt, labels, found), found.status


def _in_window(labels: Labels, window: Sequence[int]) -> Labels:
    """The labels of the tile itself; around it there are none, as around the experts'."""
    top, bottom, left, right = window
    inside = labels.copy()
    inside[:top], inside[bottom:], inside[:, :left], inside[:, right:] = 255, 255, 255, 255
    return inside


def _record(
    location: Location, areas: PatchAreas, burnt: Burnt, labels: Labels, found: Screening
) -> OsmLabel:
    return OsmLabel(
        location_id=location.id,
        classes=labels.tobytes(),
        num_polygons=burnt.num_burnt,
        num_repaired=burnt.num_repaired,
        num_dropped=burnt.num_dropped,
        num_split=burnt.num_split,
        num_enclosing=burnt.num_enclosing,
        num_lines=areas.num_lines + areas.num_broken,
        counts=found.counts,
        share=found.share,
        common=found.common,
        agreement=found.agreement,
        decision=found.decision,
    )


def _unasked(location: Location, outcome: LocationOutcome) -> tuple[OsmLabel, Status]:
    """A tile that @DW has not kept: there are no images to label."""
    nothing = OsmLabel(
        location_id=location.id,
        classes=b"",
        num_polygons=0,
        num_repaired=0,
        num_dropped=0,
        num_split=0,
        num_enclosing=0,
        num_lines=0,
        counts=(0,) * len(OSM_LAND_USE.classes),
        share=0.0,
        common=0,
        agreement=0.0,
        decision=outcome.reason,
    )
    return nothing, outcome.status


def _outcome(images: LocationOutcome, status: Status, decision: str) -> LocationOutcome:
    reason = "" if status == Status.KEPT else decision
    return LocationOutcome(images.location_id, status, reason, images.seasons)


def _tell(made: Sequence[tuple[OsmLabel, Status]]) -> None:
    for label, status in made:
        if status != Status.KEPT:
            logger.info("location %d: %s: %s", label.location_id, status.name, label.decision)
    counts = Counter(status.name.lower() for _, status in made)
    logger.info(
        "%d tiles: %s; %d polygons burnt, %d of them repaired, %d could not be used",
        len(made),
        ", ".join(f"{number} {name}" for name, number in sorted(counts.items())),
        sum(label.num_polygons for label, _ in made),
        sum(label.num_repaired for label, _ in made),
        sum(label.num_dropped for label, _ in made),
    )
