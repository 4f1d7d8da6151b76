"""One location as a picture: a column a season; Sentinel-2, Sentinel-1 and labels below each other."""

import datetime as dt
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING

import numpy as np

from noldo.atomic import atomic_file
from noldo.errors import MissingExtraError, NoldoError, StoreError
from noldo.legend import DYNAMIC_WORLD, LEGEND_OF_PRODUCT, Legend
from noldo.paths import SubsetPaths, find_subset
from noldo.products import (
    DB_PER_STEP,
    NO_DATA_DB,
    NO_DATA_UINT16,
    PREDICTED_LABELS,
    S2_RGB_BANDS,
    UNLABELLED,
)
from noldo.reader import StoreReader
from noldo.rows import NO_TIME
from noldo.status import Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLACK_PERCENT, WHITE_PERCENT = 1.0, 99.0
"""Shares of pixels at which Sentinel-2 is shown black and white: haze is taken off, clouds don't darken the rest."""

BELOW_BLACK = 150
"""Stored reflectance kept below the darkest pixels, so that forest and water are dark and not black."""

MIN_CONTRAST = 500
"""Least span from black to white in stored reflectance: water alone stays dark and even."""

GAMMA = 0.8
"""Brightens the dark half a little, where fields and forest lie."""

VV_RANGE_DB = (-22.0, -2.0)
VH_RANGE_DB = (-28.0, -8.0)
"""Shown from black to full brightness; water lies below, cities above."""

NO_DATA_GREY = 0.5

LABEL_TITLES = {
    "dynamic_world": "Dynamic World",
    "expert": "Experts",
    "osm": "OpenStreetMap",
    "dfc2020": "DFC2020",
    "truth": "Truth",
    **dict.fromkeys(PREDICTED_LABELS, "Predicted"),
}
"""Label product to what its row is called."""


@dataclass(frozen=True)
class Panel:
    """One row of the picture."""

    title: str
    dates: tuple[str, ...]
    """One a season; empty where the row has no dates of its own."""
    images: tuple[np.ndarray, ...]
    """One a season: (y, x, 3) of 0..1."""
    legend: Legend | None = None
    """Of a row of labels."""


def true_colour(stored: np.ndarray) -> np.ndarray:
    """Red, green, blue as screens show them.

    The black point is one a band, for haze is blue; the white point is one for all, for colours to stay. Both are
    those of all seasons, so that seasons can be compared.

    Parameters
    ----------
    stored
        (season, 3, y, x) as stored, or (3, y, x) of one.

    Returns
    -------
    (season, y, x, 3) or (y, x, 3) of 0..1; no data is grey.
    """
    values = np.moveaxis(stored, -3, -1)
    missing = (values == NO_DATA_UINT16).any(axis=-1)
    if missing.all():
        return np.full(values.shape, NO_DATA_GREY)
    seen = values[~missing].astype(float)
    black = np.percentile(seen, BLACK_PERCENT, axis=0) - BELOW_BLACK
    white = max(float(np.percentile(seen - black, WHITE_PERCENT)), MIN_CONTRAST)
    colour: np.ndarray = np.clip((values - black) / white, 0, 1) ** GAMMA
    colour[missing] = NO_DATA_GREY
    return colour


def false_colour(stored: np.ndarray) -> np.ndarray:
    """Stored VV, VH (2, y, x) to (y, x, 3) of 0..1: VV, VH, and their ratio; no data is grey."""
    vv, vh = (
        np.clip((band * DB_PER_STEP - low) / (high - low), 0, 1)
        for band, (low, high) in zip(stored, (VV_RANGE_DB, VH_RANGE_DB), strict=True)
    )
    ratio = np.clip((stored[0].astype(float) - stored[1]) * DB_PER_STEP / 15.0, 0, 1)
    colour = np.stack([vv, vh, ratio], axis=-1)
    colour[(stored == NO_DATA_DB).any(axis=0)] = NO_DATA_GREY
    return colour


def label_colour(labels: np.ndarray, legend: Legend = DYNAMIC_WORLD) -> np.ndarray:
    """Class ids (y, x) to (y, x, 3) of 0..1 in the legend's colours; unlabelled is white."""
    table = np.ones((256, 3))
    table[: len(legend.classes)] = np.array(legend.rgb()) / 255
    table[UNLABELLED] = 1.0
    shown: np.ndarray = table[labels]
    return shown


def preview(path: str | Path, location_id: int, *, out: Path, subset: str = "nol") -> None:
    """Write a PNG of all seasons of one location.

    Parameters
    ----------
    path
        A results folder, its store, or the URL of either.
    location_id
        Id of a kept location.
    subset
        Which one, if the path is a folder.

    Raises
    ------
    StoreError
        If there is no such location, it was not kept, or the picture can't be written.
    MissingExtraError
        If matplotlib is not installed.
    """
    paths = find_subset(path, subset=subset)
    reader = StoreReader.open(paths.store)
    row = _row_of(reader, location_id)
    figure = _drawn(_panels(reader, row), reader.layout.season_names)
    # Names of places come from outside: a `$` in them is no formula.
    figure.suptitle(_title(paths, reader, row), fontsize=11, parse_math=False)
    with atomic_file(out) as file, warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        # Without the version of matplotlib: equal pictures have equal bytes.
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})


def _drawn(panels: list[Panel], season_names: tuple[str, ...]) -> "Figure":
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError:
        raise MissingExtraError("pictures need matplotlib; run `pip install matplotlib`") from None
    figure = Figure(
        figsize=(2.6 * max(len(season_names), 2) + 0.6, 2.8 * len(panels) + 1.4), layout="constrained"
    )
    axes = figure.subplots(len(panels), len(season_names), squeeze=False)
    for line, panel in enumerate(panels):
        axes[line, 0].set_ylabel(panel.title, fontsize=10)
        for column, image in enumerate(panel.images):
            axis = axes[line, column]
            axis.imshow(image, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            season = season_names[column] if line == 0 else ""
            date = panel.dates[column] if panel.dates else ""
            axis.set_title("\n".join(text for text in (season, date) if text), fontsize=9)
    legends = {panel.legend.name: panel.legend for panel in panels if panel.legend is not None}
    handles = [
        Patch(facecolor=colour, label=name.replace("_", " "))
        for legend in legends.values()
        for name, colour in zip(legend.classes, legend.colours, strict=True)
    ]
    handles.append(Patch(facecolor="white", edgecolor="grey", label="unlabelled"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure


def _title(paths: SubsetPaths, reader: StoreReader, row: int) -> str:
    epsg, x, y = (int(reader.row_values(name)[row]) for name in ("crs_epsg", "x_ul", "y_ul"))
    place = _place(paths, row)
    first = f"Location {int(reader.row_values('id')[row])}{f', {place}' if place else ''}"
    synthetic = "\nSYNTHETIC: not real imagery" if reader.attributes.get("synthetic") else ""
    return f"{first}\nEPSG:{epsg}, corner {x} E {y} N{synthetic}"


def _place(paths: SubsetPaths, row: int) -> str:
    """Name of the place; empty where the index is not at hand: a picture does not depend on it."""
    from noldo.index import read_index

    try:
        return str(read_index(paths.local(".parquet")).column("place")[row].as_py() or "")
    except NoldoError:
        return ""


def _row_of(reader: StoreReader, location_id: int) -> int:
    ids = reader.row_values("id")
    status = reader.row_values("status")
    found = np.flatnonzero(ids == location_id)
    kept = ", ".join(str(one) for one in ids[status == Status.KEPT][:5]) or "(none)"
    if not len(found):
        raise StoreError(
            f"{reader.files.where}: no location {location_id}; ids are {ids.min()} .. {ids.max()}, kept ones "
            f"begin with {kept}"
        )
    row = int(found[0])
    if status[row] != Status.KEPT:
        word = Status(status[row]).name.lower() if status[row] in list(Status) else "not built yet"
        raise StoreError(
            f"{reader.files.where}: location {location_id} was not kept ({word}), so it has no pixels; kept ones "
            f"begin with {kept}"
        )
    return row


def valid_part(reader: StoreReader, row: int) -> tuple[EllipsisType, slice, slice]:
    """Index of the rows and columns of a 10 m array in which a location is valid: its `window`."""
    top, bottom, left, right = reader.row_values("window")[row].tolist()
    return ..., slice(top, bottom), slice(left, right)


def _panels(reader: StoreReader, row: int) -> list[Panel]:
    specs = {spec.name: spec for spec in reader.layout.specs}
    seasons = range(len(reader.layout.season_names))
    valid = valid_part(reader, row)
    panels = []
    for name in ("s2_l1c_10m", "s2_l2a_10m"):
        if name in specs and set(S2_RGB_BANDS) <= set(specs[name].bands):
            positions = [specs[name].bands.index(band) for band in S2_RGB_BANDS]
            pixels = reader.pixels(specs[name], row=row, seasons=seasons)[:, positions][valid]
            images = tuple(true_colour(pixels))
            panels.append(Panel(f"Sentinel-2 {name[3:6].upper()}", _dates(reader, "time_s2", row), images))
            break
    if "s1_grd_10m" in specs and len(specs["s1_grd_10m"].bands) == 2:
        pixels = reader.pixels(specs["s1_grd_10m"], row=row, seasons=seasons)[valid]
        images = tuple(false_colour(image) for image in pixels)
        panels.append(Panel("Sentinel-1 VV, VH", _dates(reader, "time_s1", row), images))
    for product, title in LABEL_TITLES.items():
        if f"{product}_10m" in specs:
            legend = LEGEND_OF_PRODUCT[product]
            labels = reader.pixels(specs[f"{product}_10m"], row=row, seasons=seasons)[valid]
            images = tuple(label_colour(image, legend) for image in labels)
            panels.append(Panel(title, (), images, legend))
    return panels


def _dates(reader: StoreReader, name: str, row: int) -> tuple[str, ...]:
    times = reader.row_values(name)[row].tolist()
    return tuple(
        "no date" if time == NO_TIME else f"{dt.datetime.fromtimestamp(time, dt.UTC):%Y-%m-%d}"
        for time in times
    )
