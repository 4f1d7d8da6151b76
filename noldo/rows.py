"""The small arrays of a store: one value a location, so that loading needs no parquet.

Strings stay in the index: not every Zarr reader knows them.
"""

from dataclasses import dataclass, field
from typing import Any

from noldo.status import Status

SPLITS = ("train", "val", "test")
"""Names of the values of `split`; the position is what is stored."""

UNSET = 255
"""`status` and `split` of a row that no build has written yet."""

NO_TIME = 0
"""Seconds since 1970 of a season without an acquisition: no satellite of this set flew then."""


def _flags(meanings: tuple[str, ...]) -> dict[str, Any]:
    return {"flag_values": list(range(len(meanings))), "flag_meanings": " ".join(meanings)}


def _time(satellite: str) -> dict[str, Any]:
    # xarray decodes these to datetime64, with NaT where there is no acquisition.
    return {
        "standard_name": "time",
        "long_name": f"sensing start of the {satellite} scene",
        "units": "seconds since 1970-01-01 00:00:00",
        "calendar": "proleptic_gregorian",
        "_FillValue": NO_TIME,
    }


@dataclass(frozen=True)
class RowArray:
    """One small array. Its first axis is the location."""

    name: str
    dtype: str
    fill: int
    """Value of rows that were not written."""
    axis: str = ""
    """Name of the second axis: `season`, `window_edge`, or none."""
    attributes: dict[str, Any] = field(default_factory=dict)

    def shape(self, *, num_locations: int, num_seasons: int) -> tuple[int, ...]:
        """(location,), (location, season) or (location, 4)."""
        extra = {"": (), "season": (num_seasons,), "window_edge": (4,)}[self.axis]
        return (num_locations, *extra)


ROW_ARRAYS: tuple[RowArray, ...] = (
    RowArray("id", "int64", -1, attributes={"long_name": "stable number of the location"}),
    RowArray(
        "status",
        "uint8",
        UNSET,
        attributes={
            "long_name": "what became of the location",
            **_flags(tuple(status.name.lower() for status in Status)),
        },
    ),
    RowArray("split", "uint8", UNSET, attributes={"long_name": "part of the data set", **_flags(SPLITS)}),
    RowArray("crs_epsg", "int32", 0, attributes={"long_name": "EPSG code of the UTM zone of the patch"}),
    RowArray(
        "x_ul",
        "int64",
        0,
        attributes={"long_name": "easting of the outer upper-left corner", "units": "m"},
    ),
    RowArray(
        "y_ul",
        "int64",
        0,
        attributes={"long_name": "northing of the outer upper-left corner", "units": "m"},
    ),
    RowArray("time_s2", "int64", NO_TIME, "season", _time("Sentinel-2")),
    RowArray("time_s1", "int64", NO_TIME, "season", _time("Sentinel-1")),
    RowArray(
        "window",
        "int32",
        0,
        "window_edge",
        {"long_name": "valid 10 m pixels: first row, row stop, first column, column stop"},
    ),
)
"""In the order they are written."""
