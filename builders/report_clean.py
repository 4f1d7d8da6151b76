"""What the report shows of the subsets with clean labels: how many tiles, their labels, their times, their screening."""

from collections.abc import Mapping, Sequence

import numpy as np

from builders.report_data import ReportData, TileData, config_value
from builders.report_figures import Axis, Mark, bar_chart, percent, share_bars
from builders.report_sections import day_axis, empty, panel, section, spread
from builders.report_tables import fact_list
from noldo.legend import PAPER_DW_SHARES_PERCENT, PAPER_OSM_SHARES_PERCENT

PAPER_TILES = {"dw": "3,574 + 340 of 4,603", "osm": "1,375 + 400 of 3,914"}
"""Training + test tiles that the authors of CromSS kept, of those that they tried (CromSS repository)."""

SOURCES = {"dw": "the experts", "osm": "OpenStreetMap"}
_SHARES: Mapping[str, Mapping[str, Sequence[float]]] = {
    "dw": PAPER_DW_SHARES_PERCENT,
    "osm": PAPER_OSM_SHARES_PERCENT,
}


def kept_words(data: ReportData) -> str:
    """How many tiles were kept, in the form in which the paper's figure stands beside it."""
    counts = data.manifest.split_counts
    held_out = counts.get("val", 0) + counts.get("test", 0)
    return f"{counts.get('train', 0):,} + {held_out:,} of {data.manifest.locations_tried:,}"


def clean_labels_section(data: ReportData) -> str:
    """Class shares beside the paper's, and how much of the tiles is labelled."""
    subset = data.manifest.subset
    identifier = data.identifier("labels")
    if data.tiles is None or not len(data.kept):
        return section(identifier, "Labels", "", empty("No tile was kept, so there are no labels to count."))
    shares = [100 * data.manifest.class_shares[name] for name in data.legend.classes]
    names = [name.replace("_", " ") for name in data.legend.classes]
    lead = (
        f"Tiles kept, training + held out: {kept_words(data)}; the paper has {PAPER_TILES[subset]}. Shares of classes among "
        "the pixels that "
        f"{SOURCES[subset]} labelled; the upright tick is the share published for SSL4EO-S12@{subset.upper()}, training tiles."
    )
    if data.manifest.synthetic:
        lead += " A synthetic Earth has shares of its own: do not read them as a finding."
    table = share_bars(names, data.legend.colours, shares, _SHARES[subset]["train"])
    share = _labelled_share(data, data.tiles)
    axis = Axis(0.0, 1.0, 20, " %", (0.0, 0.25, 0.5, 0.75, 1.0), scale=100)
    chart = bar_chart(share, axis, label="labelled share of a tile")
    text = f"Median {percent(float(np.median(share)))} of the tile's own pixels"
    flagged = int(data.tiles.resampled.sum())
    text += f"; {flagged:,} labels were off the 10 m lattice and resampled" if flagged else ""
    body = f'<div class="panel">{table}</div><div class="panels">{panel("Labelled share of a tile", chart, text)}</div>'
    return section(identifier, "Labels", lead, body)


def _labelled_share(data: ReportData, tiles: TileData) -> np.ndarray:
    """(kept,) labelled pixels / pixels of the tile."""
    top, bottom, left, right = tiles.windows.T
    share: np.ndarray = data.labels.sum(axis=(1, 2)) / ((bottom - top) * (right - left))
    return share


def tile_times_section(data: ReportData) -> str:
    """Days between label, Sentinel-2 and Sentinel-1."""
    identifier = data.identifier("times")
    if data.tiles is None or not len(data.kept):
        return section(identifier, "When", "", empty("No tile was kept, so there are no times to compare."))
    season = data.manifest.seasons[0]
    days = data.tiles.label_days
    own = int(data.tiles.own_scene.sum())
    chart = bar_chart(
        days, day_axis(season.window_days), label="days from the label's date", mark=Mark(0.0, "label")
    )
    panels = [panel("Sentinel-2 minus label, days", chart, spread(days, "days"))]
    difference = data.days_s1[np.isfinite(data.days_s1)]
    if len(difference):
        limit = float(config_value(data.manifest, "pairing", "max_s1_days", 15.0))
        chart = bar_chart(difference, day_axis(limit), label="Sentinel-1 minus Sentinel-2, days")
        text = f"{spread(np.abs(difference), 'days apart')}; the limit is {limit:g}"
        panels.append(panel("Sentinel-1 minus Sentinel-2, days", chart, text))
    lead = (
        f"{own:,} of {len(data.kept):,} tiles hold the very scene that was labelled; the others the nearest that is clear "
        f"enough, within {season.window_days} days."
    )
    return section(identifier, "When", lead, f'<div class="panels">{"".join(panels)}</div>')


def screening_section(data: ReportData) -> str:
    """Share and agreement of every tile that was screened, with the thresholds."""
    identifier = data.identifier("screening")
    title = "Screening"
    if data.tiles is None or not len(data.tiles.osm_share):
        return section(identifier, title, "", empty("No tile was screened."))
    least = float(config_value(data.manifest, "osm", "min_labelled_share", 0.1))
    wanted = float(config_value(data.manifest, "osm", "min_agreement", 0.5))
    axis = Axis(0.0, 1.0, 20, " %", (0.0, 0.25, 0.5, 0.75, 1.0), scale=100)
    share, agreement = data.tiles.osm_share, data.tiles.osm_agreement
    panels = [
        panel(
            "Share of a tile with a class of OpenStreetMap",
            bar_chart(share, axis, label="labelled share", mark=Mark(least, "needed", refused_below=True)),
            f"Of {len(share):,} tiles, {int((share < least).sum()):,} have less than {percent(least, digits=0)}",
        ),
        panel(
            "Agreement with the experts",
            bar_chart(agreement, axis, label="agreement", mark=Mark(wanted, "needed", refused_below=True)),
            f"Of {len(agreement):,} tiles that can be compared, {int((agreement < wanted).sum()):,} agree in less than "
            f"{percent(wanted, digits=0)}",
        ),
    ]
    lead = (
        "OpenStreetMap's classes, read as classes of Dynamic World by the paper's own table, against the experts', pixel by "
        "pixel where both have one. Thresholds are in the config, every decision is in the column "
        "<code>osm_decision</code> of the index."
    )
    facts = fact_list({what: f"{number:,}" for what, number in data.run.areas.items()})
    body = f'<div class="panels">{"".join(panels)}</div><div class="panel"><h3>Areas</h3>{facts}</div>'
    return section(identifier, title, lead, body)
