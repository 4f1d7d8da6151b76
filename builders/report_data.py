"""What the report tells, read from what a build left in its results folder, and from nothing else."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builders.config import BuildConfig, OsmConfig, TileConfig
from builders.layout import Layout
from noldo.errors import StoreError
from noldo.legend import DYNAMIC_WORLD, LEGEND_OF_PRODUCT, Legend
from noldo.manifest import Manifest, RunReport, read_manifest, read_run_report
from noldo.status import Status

if TYPE_CHECKING:
    import pyarrow as pa

DAY_MS = 86_400_000

PRIMARY_LABEL: dict[str, str] = {
    config.subset: config.primary_label for config in (BuildConfig, TileConfig, OsmConfig)
}
"""Subset to the product of its own labels."""

COLUMNS = (
    "id",
    "status",
    "reason",
    "place",
    "lon",
    "lat",
    "time_s2",
    "time_s1",
    "cloud_percent",
    "coverage_s2",
    "coverage_s1",
    "label_share",
    "class_counts",
    "rank",
    "split",
)
"""Columns of the index that the report reads; scene names of a quarter of a million locations stay on disk."""


EXTRA_COLUMNS = (
    "window",
    "label_days",
    "own_scene",
    "label_resampled",
    "expert_counts",
    "osm_counts",
    "osm_share",
    "osm_agreement",
)
"""Columns that subsets with clean labels have besides."""

NO_SCENE_WORDS = "no usable scene in "
"""How the reason of a location without scenes begins (`builders.choice`)."""


@dataclass(frozen=True)
class Cause:
    """One thing that was wrong with locations of one status."""

    status: Status
    text: str
    """The reason without what is particular to a location."""
    count: int
    """Locations that have it among their reasons."""
    example: str
    """The whole reason of the first of them."""
    example_id: int
    example_place: str


@dataclass(frozen=True)
class TileData:
    """What only the subsets with clean labels have."""

    windows: np.ndarray
    """(kept, 4) first row, row stop, first column, column stop in pixels of 10 m."""
    label_days: np.ndarray
    """Sentinel-2 minus noon of the label's date, days, (kept,)."""
    own_scene: np.ndarray
    """The scene is the one that was labelled, bool (kept,)."""
    resampled: np.ndarray
    """The label was off the 10 m lattice, bool (kept,)."""
    osm_share: np.ndarray
    """Share of the tile with a class of OpenStreetMap (0..1), of every tile that was screened; empty in @DW."""
    osm_agreement: np.ndarray
    """Agreement with the experts (0..1), of every tile in which pixels can be compared; empty in @DW."""


@dataclass(frozen=True)
class ReportData:
    """One finished subset of a build."""

    manifest: Manifest
    run: RunReport
    ids: np.ndarray
    """(location,)."""
    places: tuple[str, ...]
    lon: np.ndarray
    """Degrees, (location,)."""
    lat: np.ndarray
    status: np.ndarray
    """`Status` codes, (location,)."""
    kept: np.ndarray
    """Rows of the store that hold pixels, (kept,)."""
    days_from_date: np.ndarray
    """Sentinel-2 minus noon of the season's date, days, (kept, season)."""
    days_s1: np.ndarray
    """Sentinel-1 minus Sentinel-2, days, (kept, season); NaN where the build stores none."""
    cloud_percent: np.ndarray
    """Of the whole scenes, (kept, season); NaN where the provider did not say."""
    rank: np.ndarray
    """Candidate that was stored, 0 is the first choice, (kept, season)."""
    class_counts: np.ndarray
    """Pixels, (kept, season, class)."""
    coverage: np.ndarray
    """Share of the patch that all images observed (0..1), of every season that was read, kept or not."""
    label_share: np.ndarray
    """Share of the patch that is labelled (0..1), of every season that was read, kept or not."""
    causes: tuple[Cause, ...]
    """Why locations were not kept, by status, most frequent first."""
    array_bytes: Mapping[str, int]
    """Array to the bytes of its files."""
    split: np.ndarray
    """Split of each kept location, in words; empty: of none. (kept,)."""
    labels: np.ndarray
    """Pixels of the subset's own labels, (kept, season, class)."""
    legend: Legend
    """Of those labels."""
    tiles: TileData | None
    """None in @NoL."""

    def identifier(self, chapter: str) -> str:
        """Of a section of this subset on the page."""
        return chapter if self.manifest.subset == "nol" else f"{self.manifest.subset}-{chapter}"


def read_report_data(layout: Layout) -> ReportData:
    """Read index, manifest, run record, and the sizes of the arrays.

    Raises
    ------
    StoreError
        If the build is not finished.
    """
    import pyarrow.parquet as pq

    manifest = read_manifest(layout.manifest)
    try:
        with pq.ParquetFile(layout.index, pre_buffer=False) as file:  # see noldo.index about threads
            there = [name for name in EXTRA_COLUMNS if name in file.schema_arrow.names]
            table = file.read(columns=[*COLUMNS, *there], use_threads=False)
    except OSError as error:
        raise StoreError(
            f"{layout.index}: can't be read ({error}); run the build again, which writes it"
        ) from None
    status = np.array([Status[word.upper()] for word in table["status"].to_pylist()], np.uint8)
    kept = np.flatnonzero(status == Status.KEPT)
    seasons = tuple(season.name for season in manifest.seasons)
    stored = table.take(kept)
    time_s2 = _matrix(stored, "time_s2", len(seasons))
    noon = [np.nan if season.date is None else _noon_ms(season.date) for season in manifest.seasons]
    places = tuple(table["place"].to_pylist())
    class_counts = _counts(stored, num_seasons=len(seasons))
    product = PRIMARY_LABEL[manifest.subset]
    own_labels = class_counts if product == "dynamic_world" else _clean_counts(stored, f"{product}_counts")
    return ReportData(
        manifest=manifest,
        run=read_run_report(layout.run),
        ids=table["id"].to_numpy(),
        places=places,
        lon=table["lon"].to_numpy(),
        lat=table["lat"].to_numpy(),
        status=status,
        kept=kept,
        days_from_date=(time_s2 - np.array(noon)) / DAY_MS,
        days_s1=(_matrix(stored, "time_s1", len(seasons)) - time_s2) / DAY_MS,
        cloud_percent=_matrix(stored, "cloud_percent", len(seasons)),
        rank=_matrix(stored, "rank", len(seasons)),
        class_counts=class_counts,
        coverage=np.minimum(_every(table, "coverage_s2"), _every(table, "coverage_s1")),
        label_share=_every(table, "label_share"),
        causes=find_causes(
            table["id"].to_pylist(), status, table["reason"].to_pylist(), places, seasons=seasons
        ),
        array_bytes={array.name: _bytes_of(layout.store / array.name) for array in manifest.arrays},
        split=np.array(stored["split"].to_pylist(), dtype=object),
        labels=own_labels,
        legend=LEGEND_OF_PRODUCT[product],
        tiles=None if "window" not in table.column_names else _tiles(table, stored),
    )


def _clean_counts(stored: "pa.Table", column: str) -> np.ndarray:
    """(kept, 1, class) pixels of clean labels."""
    counts: np.ndarray = np.array(stored[column].to_pylist(), dtype=np.int64)
    return counts.reshape(len(counts), 1, -1)


def _tiles(table: "pa.Table", stored: "pa.Table") -> TileData:
    return TileData(
        windows=np.array(stored["window"].to_pylist(), dtype=np.int64).reshape(-1, 4),
        label_days=stored["label_days"].to_numpy().astype(float),
        own_scene=np.array(stored["own_scene"].to_pylist(), dtype=bool),
        resampled=np.array(stored["label_resampled"].to_pylist(), dtype=bool),
        osm_share=_known(table, "osm_share"),
        osm_agreement=_known(table, "osm_agreement"),
    )


def _known(table: "pa.Table", column: str) -> np.ndarray:
    """Values of a column that are there; none if there is no such column."""
    if column not in table.column_names:
        return np.zeros(0)
    values: np.ndarray = table[column].drop_null().to_numpy().astype(float)
    return values


def _noon_ms(date: dt.date) -> int:
    return int(dt.datetime(date.year, date.month, date.day, 12, tzinfo=dt.UTC).timestamp() * 1000)


def _matrix(stored: "pa.Table", column: str, num_seasons: int) -> np.ndarray:
    """A season column of kept rows as float64 (kept, season), NaN for null; times in milliseconds."""
    matrix: np.ndarray = _numbers(stored, column).reshape(-1, num_seasons)
    return matrix


def _every(table: "pa.Table", column: str) -> np.ndarray:
    """All values that a season column has, in one row."""
    numbers = _numbers(table, column)
    finite: np.ndarray = numbers[np.isfinite(numbers)]
    return finite


def _numbers(table: "pa.Table", column: str) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    flat = pc.list_flatten(table[column])
    if pa.types.is_timestamp(flat.type):
        flat = flat.cast(pa.int64())
    numbers: np.ndarray = flat.cast(pa.float64(), safe=False).to_numpy()
    return numbers


def _counts(stored: "pa.Table", *, num_seasons: int) -> np.ndarray:
    import pyarrow.compute as pc

    flat = pc.list_flatten(pc.list_flatten(stored["class_counts"])).to_numpy()
    counts: np.ndarray = flat.astype(np.int64).reshape(-1, num_seasons, len(DYNAMIC_WORLD.classes))
    return counts


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def find_causes(
    ids: Sequence[int],
    status: np.ndarray,
    reasons: Sequence[str],
    places: Sequence[str],
    *,
    seasons: Sequence[str],
) -> tuple[Cause, ...]:
    """Group reasons by what they have in common; a location with several counts in several."""
    counts: Counter[tuple[int, str]] = Counter()
    first: dict[tuple[int, str], int] = {}
    for row in np.flatnonzero(status != Status.KEPT).tolist():
        for text in causes_of(reasons[row], seasons=seasons):
            key = int(status[row]), text
            counts[key] += 1
            first.setdefault(key, row)
    ordered = sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))
    return tuple(
        Cause(Status(code), text, count, reasons[row], ids[row], places[row])
        for (code, text), count in ordered
        for row in [first[code, text]]
    )


def causes_of(reason: str, *, seasons: Sequence[str]) -> list[str]:
    """The things that a reason says, without seasons, scene names, counts and measured shares; each once.

    >>> causes_of("no usable scene in winter (3 scenes: 2 cloud >= 20 %, 1 no L2A twin)", seasons=["winter"])
    ['cloud >= 20 %', 'no L2A twin']
    >>> causes_of("winter: 2021_T32: Sentinel-2 observed 71.2 % of the patch, 100 % wanted", seasons=["winter"])
    ['Sentinel-2 observed a part of the patch, 100 % wanted']
    """
    names = "|".join(re.escape(name) for name in seasons)
    if reason.startswith(NO_SCENE_WORDS):
        found = _scene_causes(reason.removeprefix(NO_SCENE_WORDS), names)
    else:
        found = _pixel_causes(reason, names)
    return list(dict.fromkeys(found)) or [reason or "(no reason given)"]


def _scene_causes(text: str, names: str) -> list[str]:
    """Of `winter (3 scenes: 2 cloud >= 20 %, 1 no L2A twin), spring (no scene in the window)`."""
    causes = []
    for words in re.split(rf"(?:^|\), )(?:{names}) \(", text.removesuffix(")")):
        faults = re.sub(r"^\d+ scenes?: ", "", words)
        causes += [re.sub(r"^\d+ ", "", fault) for fault in re.split(r", (?=\d+ )", faults)]
    return [cause for cause in causes if cause and cause != "usable"]


def _pixel_causes(text: str, names: str) -> list[str]:
    """Of `winter: SCENE: 12.0 % of the patch labelled, 50 % wanted; 2 more with one of these scenes. spring: ...`."""
    causes = []
    for clause in re.split(rf"; |\. (?=(?:{names}): )", text):
        words = re.sub(rf"^(?:{names}): ", "", clause)
        words = re.sub(r"^\S*_\S+: ", "", words)
        causes.append(re.sub(r"\d+(?:\.\d+)? % of the patch", "a part of the patch", words))
    return [cause for cause in causes if cause and not cause.endswith("more with one of these scenes")]


def total_bytes(data: ReportData) -> int:
    """Bytes of all image and label arrays."""
    return sum(data.array_bytes.values())


def config_value(manifest: Manifest, section: str, key: str, default: Any) -> Any:
    """A setting of the build, as its manifest has it."""
    return manifest.config.get(section, {}).get(key, default)
