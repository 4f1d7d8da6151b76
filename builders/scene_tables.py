"""Two tables of scenes: every candidate the provider named, and every choice with its reason.

Together they are the provenance of a build: pixels are a pure function of the second.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from builders.outcome_table import choice_fields
from builders.parquet import read_rows, write_rows
from builders.records import Location, LocationPlan, Scene, SeasonChoice
from noldo.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

NO_SEASON = -1
"""Season of the row that stands for a location whose search the provider refused."""

NO_CHOICE = -1
"""Rank of the row that stands for a season without any usable scene."""

_NONE: Mapping[int, str] = MappingProxyType({})

_NO_SCENE = Scene(0, NO_SEASON, product="", index="", time_ms=0, covers=False, crs_epsg=0)

_NOTHING = SeasonChoice(
    location_id=0,
    season=0,
    rank=NO_CHOICE,
    s2_index="",
    s1_index="",
    time_s2_ms=0,
    time_s1_ms=0,
    cloud_percent=-1.0,
    crs_epsg=0,
    tile="",
    baseline="",
    offset_removed=False,
    orbit_pass="",
    relative_orbit=0,
    off_zone=False,
    reason="",
)


def candidate_schema() -> "pa.Schema":
    """One row a scene, location and season: the fields of `builders.records.Scene`.

    A location whose search the provider refused has one row: season -1, no scene, its words in `refusal`.
    """
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("location_id", pa.int64(), nullable=False),
            pa.field("season", pa.int8(), nullable=False),
            pa.field("product", pa.string(), nullable=False),
            pa.field("index", pa.string(), nullable=False),
            pa.field("time_ms", pa.int64(), nullable=False),
            pa.field("covers", pa.bool_(), nullable=False),
            pa.field("crs_epsg", pa.int32(), nullable=False),
            pa.field("tile", pa.string(), nullable=False),
            pa.field("cloud_percent", pa.float64()),
            pa.field("baseline", pa.string(), nullable=False),
            pa.field("offset_removed", pa.bool_(), nullable=False),
            pa.field("orbit_pass", pa.string(), nullable=False),
            pa.field("relative_orbit", pa.int32(), nullable=False),
            pa.field("refusal", pa.string(), nullable=False),
        ]
    )


def scene_schema() -> "pa.Schema":
    """One row a location, season and rank; rank -1: no scene was usable, `reason` says why.

    `refused`: the provider refused the search of this location, so that nothing is known of its scenes.
    """
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("location_id", pa.int64(), nullable=False),
            *choice_fields(),
            pa.field("considered", pa.string(), nullable=False),
            pa.field("refusal", pa.string(), nullable=False),
            pa.field("refused", pa.bool_(), nullable=False),
        ]
    )


@dataclass(frozen=True)
class Candidates:
    """What the provider said to the search of some locations."""

    scenes: list[Scene]
    """In its order."""
    refusals: dict[int, str]
    """Location to the provider's words, where it refused the search: not the same as having no scene."""


def write_candidates(path: Path, scenes: Sequence[Scene], *, refusals: Mapping[int, str] = _NONE) -> None:
    """Write what the provider named, in its order, then the locations it refused to search.

    Parameters
    ----------
    refusals
        Location to the provider's words.

    Raises
    ------
    StoreError
        If the file can't be written.
    """
    rows = [asdict(scene) | {"refusal": ""} for scene in scenes]
    for location_id, words in refusals.items():
        rows.append(asdict(_NO_SCENE) | {"location_id": location_id, "refusal": words})
    write_rows(path, rows, schema=candidate_schema())


def read_candidates(path: Path) -> Candidates:
    """The scenes and the refusals of a search job.

    Raises
    ------
    InputError
        If the file is missing, damaged, or has other columns.
    """
    rows: list[Any] = read_rows(
        path,
        schema=candidate_schema(),
        remedy="delete it and run the build again: the search is repeated",
    )
    refusals = {row["location_id"]: row["refusal"] for row in rows if row["season"] == NO_SEASON}
    scenes = [
        Scene(**{name: row[name] for name in Scene.__dataclass_fields__})
        for row in rows
        if row["season"] != NO_SEASON
    ]
    return Candidates(scenes, refusals)


def write_plans(path: Path, plans: Sequence[LocationPlan]) -> None:
    """Write the choices of a search job, in the order of its locations, seasons and ranks.

    Raises
    ------
    StoreError
        If the file can't be written.
    """
    write_rows(path, [row for plan in plans for row in _plan_rows(plan)], schema=scene_schema())


def _plan_rows(plan: LocationPlan) -> list[dict[str, object]]:
    rows = []
    considered = plan.considered or ("",) * len(plan.seasons)
    for season, (ranked, words) in enumerate(zip(plan.seasons, considered, strict=True)):
        for choice in ranked or (_NOTHING,):
            row = asdict(choice) | {"location_id": plan.location.id, "season": season}
            row |= {"considered": words, "refusal": plan.refusal, "refused": plan.refused}
            row["reason"] = choice.reason if ranked else words or plan.refusal
            rows.append(row)
    return rows


def read_plans(path: Path, locations: Sequence[Location]) -> list[LocationPlan]:
    """Plans of these locations, in their order.

    Parameters
    ----------
    locations
        Some or all of the locations that the table was made for.

    Raises
    ------
    InputError
        If the file is missing, damaged, has other columns, or lacks a location.
    """
    remedy = "delete it and run the build again: the scenes are chosen again"
    rows: list[Any] = read_rows(path, schema=scene_schema(), remedy=remedy)
    by_location = {
        location_id: list(group)
        for location_id, group in itertools.groupby(rows, key=lambda row: row["location_id"])
    }
    if missing := [location.id for location in locations if location.id not in by_location]:
        raise InputError(
            f"{path}: no rows for location {missing[0]} ({len(missing)} of {len(locations)} are missing); {remedy}"
        )
    return [_plan(location, by_location[location.id]) for location in locations]


def _plan(location: Location, rows: Sequence[Mapping[str, Any]]) -> LocationPlan:
    seasons = []
    considered = []
    for _, group in itertools.groupby(rows, key=lambda row: row["season"]):
        season_rows = list(group)
        considered.append(season_rows[0]["considered"])
        seasons.append(tuple(_choice(row) for row in season_rows if row["rank"] != NO_CHOICE))
    return LocationPlan(
        location=location,
        seasons=tuple(seasons),
        refusal=rows[0]["refusal"],
        considered=tuple(considered) if any(considered) else (),
        refused=rows[0]["refused"],
    )


def _choice(row: Mapping[str, Any]) -> SeasonChoice:
    return SeasonChoice(**{name: row[name] for name in SeasonChoice.__dataclass_fields__})
