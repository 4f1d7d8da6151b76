"""One location as a picture: a column a season; Sentinel-2, Sentinel-1 and labels below each other."""

import datetime as dt
from pathlib import Path

import numpy as np

from noldo.errors import MissingExtraError, StoreError
from noldo.legend import DYNAMIC_WORLD
from noldo.paths import find_subset
from noldo.products import DB_PER_STEP, NO_DATA_DB, NO_DATA_UINT16, S2_RGB_BANDS, UNLABELLED
from noldo.reader import StoreReader
from noldo.status import Status

WHITE_REFLECTANCE = 3000
"""Stored reflectance shown as full brightness; surfaces but snow and cloud lie below."""

VV_RANGE_DB = (-22.0, -2.0)
VH_RANGE_DB = (-28.0, -8.0)
"""Shown from black to full brightness; water lies below, cities above."""

NO_DATA_GREY = 0.5


def true_colour(stored: np.ndarray) -> np.ndarray:
    """Stored red, green, blue (3, y, x) to (y, x, 3) of 0..1; no data is grey."""
    colour = np.sqrt(np.clip(stored / WHITE_REFLECTANCE, 0, 1))
    colour[:, (stored == NO_DATA_UINT16).any(axis=0)] = NO_DATA_GREY
    return np.moveaxis(colour, 0, -1)


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


def label_colour(labels: np.ndarray) -> np.ndarray:
    """Class ids (y, x) to (y, x, 3) of 0..1 in the legend's colours; unlabelled is white."""
    table = np.ones((256, 3))
    table[: len(DYNAMIC_WORLD.classes)] = np.array(DYNAMIC_WORLD.rgb()) / 255
    table[UNLABELLED] = 1.0
    shown: np.ndarray = table[labels]
    return shown


def preview(path: str | Path, location_id: int, *, out: Path) -> None:
    """Write a PNG of all seasons of one location.

    Raises
    ------
    StoreError
        If there is no such location, or it was not kept.
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError:
        raise MissingExtraError("pictures need matplotlib; run `pip install matplotlib`") from None
    reader = StoreReader.open(find_subset(path).store)
    row = _row_of(reader, location_id)
    panels = _panels(reader, row)
    names = reader.layout.season_names
    times = reader.row_values("time_s2")[row]
    figure = Figure(figsize=(2.6 * len(names) + 0.6, 2.6 * len(panels) + 1.2), layout="constrained")
    axes = figure.subplots(len(panels), len(names), squeeze=False)
    for line, (title, images) in enumerate(panels):
        for column, image in enumerate(images):
            axis = axes[line, column]
            axis.imshow(image, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if line == 0:
                day = dt.datetime.fromtimestamp(int(times[column]), dt.UTC)
                axis.set_title(f"{names[column]}\n{day:%Y-%m-%d}", fontsize=10)
            if column == 0:
                axis.set_ylabel(title, fontsize=10)
    synthetic = "  (SYNTHETIC: not real imagery)" if reader.attributes.get("synthetic") else ""
    epsg = int(reader.row_values("crs_epsg")[row])
    x, y = (int(reader.row_values(name)[row]) for name in ("x_ul", "y_ul"))
    figure.suptitle(f"Location {location_id}, EPSG:{epsg}, {x} E {y} N{synthetic}", fontsize=11)
    handles = [
        Patch(facecolor=colour, label=name.replace("_", " "))
        for name, colour in zip(DYNAMIC_WORLD.classes, DYNAMIC_WORLD.colours, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110, metadata={"Software": None})


def _row_of(reader: StoreReader, location_id: int) -> int:
    ids = reader.row_values("id")
    found = np.flatnonzero(ids == location_id)
    status = reader.row_values("status")
    kept = ids[status == Status.KEPT]
    if not len(found):
        raise StoreError(
            f"{reader.files.where}: no location {location_id}; ids are {ids.min()} .. {ids.max()}, kept ones "
            f"begin with {', '.join(str(one) for one in kept[:5])}"
        )
    row = int(found[0])
    if status[row] != Status.KEPT:
        raise StoreError(
            f"{reader.files.where}: location {location_id} was not kept ({Status(status[row]).name.lower()}), so it "
            f"has no pixels; kept ones begin with {', '.join(str(one) for one in kept[:5])}"
        )
    return row


def _panels(reader: StoreReader, row: int) -> list[tuple[str, list[np.ndarray]]]:
    """Rows of the picture: title and one image a season."""
    panels = []
    seasons = range(len(reader.layout.season_names))
    specs = {spec.name: spec for spec in reader.layout.specs}
    for name in ("s2_l1c_10m", "s2_l2a_10m"):
        if name in specs and set(S2_RGB_BANDS) <= set(specs[name].bands):
            positions = [specs[name].bands.index(band) for band in S2_RGB_BANDS]
            pixels = reader.pixels(specs[name], row=row, seasons=seasons)[:, positions]
            title = f"Sentinel-2 {name[3:6].upper()}"
            panels.append((title, [true_colour(image) for image in pixels]))
            break
    if "s1_grd_10m" in specs and len(specs["s1_grd_10m"].bands) == 2:
        pixels = reader.pixels(specs["s1_grd_10m"], row=row, seasons=seasons)
        panels.append(("Sentinel-1 VV VH", [false_colour(image) for image in pixels]))
    labels = reader.pixels(specs["dynamic_world_10m"], row=row, seasons=seasons)
    panels.append(("Dynamic World", [label_colour(image) for image in labels]))
    return panels
