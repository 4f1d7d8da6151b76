"""Outcomes as rows: what became of each location of a fetch job, in parquet and in a staged file's header."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.parquet import read_rows, write_rows
from builders.records import LocationOutcome, SeasonChoice, SeasonOutcome
from noldo.status import Status

if TYPE_CHECKING:
    import pyarrow as pa


def choice_fields() -> "list[pa.Field]":
    """Columns of a `SeasonChoice`, without its location."""
    import pyarrow as pa

    return [
        pa.field("season", pa.int8(), nullable=False),
        pa.field("rank", pa.int8(), nullable=False),
        pa.field("s2_index", pa.string(), nullable=False),
        pa.field("s1_index", pa.string(), nullable=False),
        pa.field("time_s2_ms", pa.int64(), nullable=False),
        pa.field("time_s1_ms", pa.int64(), nullable=False),
        pa.field("cloud_percent", pa.float64(), nullable=False),
        pa.field("crs_epsg", pa.int32(), nullable=False),
        pa.field("tile", pa.string(), nullable=False),
        pa.field("baseline", pa.string(), nullable=False),
        pa.field("offset_removed", pa.bool_(), nullable=False),
        pa.field("orbit_pass", pa.string(), nullable=False),
        pa.field("relative_orbit", pa.int32(), nullable=False),
        pa.field("off_zone", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("has_l2a", pa.bool_(), nullable=False),
        pa.field("has_dynamic_world", pa.bool_(), nullable=False),
        pa.field("is_labelled_scene", pa.bool_(), nullable=False),
    ]


def outcome_schema() -> "pa.Schema":
    """One row a location; its seasons are a list, empty where nothing was read."""
    import pyarrow as pa

    season = pa.struct(
        [
            *choice_fields(),
            pa.field("coverage_s2", pa.float64(), nullable=False),
            pa.field("coverage_s1", pa.float64(), nullable=False),
            pa.field("label_share", pa.float64(), nullable=False),
            pa.field("class_counts", pa.list_(pa.int32()), nullable=False),
            pa.field("off_lattice", pa.bool_(), nullable=False),
        ]
    )
    return pa.schema(
        [
            pa.field("location_id", pa.int64(), nullable=False),
            pa.field("status", pa.int8(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("seasons", pa.list_(season), nullable=False),
        ]
    )


def outcome_row(outcome: LocationOutcome) -> dict[str, object]:
    """An outcome as plain values, for parquet and JSON alike."""
    return {
        "location_id": outcome.location_id,
        "status": int(outcome.status),
        "reason": outcome.reason,
        "seasons": [_season_row(season) for season in outcome.seasons],
    }


def outcome_from_row(row: Mapping[str, Any]) -> LocationOutcome:
    """The outcome that `outcome_row` made this of.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the row is of another make.
    """
    location_id = row["location_id"]
    return LocationOutcome(
        location_id=location_id,
        status=Status(row["status"]),
        reason=row["reason"],
        seasons=tuple(_season_from_row(season, location_id=location_id) for season in row["seasons"]),
    )


def _season_row(season: SeasonOutcome) -> dict[str, object]:
    row = asdict(season)
    choice = row.pop("choice")
    del choice["location_id"]
    return {**choice, **row, "class_counts": list(season.class_counts)}


def _season_from_row(row: Mapping[str, Any], *, location_id: int) -> SeasonOutcome:
    measured = dict(row)
    names = [name for name in SeasonChoice.__dataclass_fields__ if name != "location_id"]
    choice = SeasonChoice(location_id=location_id, **{name: measured.pop(name) for name in names})
    measured["class_counts"] = tuple(measured["class_counts"])
    return SeasonOutcome(choice=choice, **measured)


def write_outcomes(path: Path, outcomes: Sequence[LocationOutcome]) -> None:
    """Write the outcomes of a fetch job, in their order.

    Raises
    ------
    StoreError
        If the file can't be written.
    """
    write_rows(path, [outcome_row(outcome) for outcome in outcomes], schema=outcome_schema())


def read_outcomes(path: Path) -> list[LocationOutcome]:
    """The outcomes of a fetch job, in the order of its locations.

    Raises
    ------
    InputError
        If the file is missing, damaged, or has other columns.
    """
    rows = read_rows(
        path, schema=outcome_schema(), remedy="delete it and run the build again: the job is redone"
    )
    return [outcome_from_row(row) for row in rows]
