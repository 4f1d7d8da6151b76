"""What the report shows: where, what it looks like, labels, times, clouds, and what was refused."""

import html

import numpy as np

from builders.report_data import Cause, ReportData, config_value
from builders.report_figures import Axis, Mark, bar_chart, percent, share_bars, stacked_bar
from builders.report_gallery import Exhibit, gallery_html
from builders.report_map import LandMask, find_regions, grouped, region_map, world_map
from noldo.legend import DYNAMIC_WORLD, PAPER_NOL_SHARES_PERCENT
from noldo.status import Status

STATUS_WORDS = {
    Status.KEPT: ("kept", "every season has all products and enough labels"),
    Status.NO_SCENE: ("no usable scene", "the provider has no usable set of scenes in at least one season"),
    Status.NO_COVERAGE: ("not covered", "scenes exist, but their pixels do not cover the patch"),
    Status.NO_LABELS: ("too few labels", "covered, but too few pixels carry a label in at least one season"),
    Status.REFUSED: ("request refused", "the provider called the request wrong; this is not 'no data'"),
    Status.DISAGREES: ("labels disagree", "OpenStreetMap agrees too little with the experts"),
    Status.BAD_LABELS: (
        "no usable label",
        "the tile's label file is missing, unreadable, unmarked or of another kind",
    ),
    Status.BAD_SOURCE: ("bad source", "the published files are incomplete or not as they should be"),
}
"""Words and meaning of each status, for people."""

STYLES = {int(status): status.name.lower() for status in Status}
"""CSS class of each status."""

MAX_CAUSES = 60
"""Causes listed; a build with more kinds than that says how many are left out."""


def section(identifier: str, title: str, lead: str, body: str) -> str:
    """A section of the page; `lead` and `body` are markup."""
    return f'<section id="{identifier}"><h2>{title}</h2><p class="lead">{lead}</p>{body}</section>'


def empty(text: str) -> str:
    """What stands where there is nothing to draw."""
    return f'<p class="empty">{html.escape(text)}</p>'


def where_section(data: ReportData, *, land: LandMask) -> str:
    """World map, and a map of each group of locations if there are few groups."""
    groups = grouped(data.lon, data.lat, data.status, STYLES)
    regions = find_regions(data.lon, data.lat)
    legend = "".join(
        f'<li><i class="{STYLES[status]}"></i>{STATUS_WORDS[status][0]} {number:,}</li>'
        for status in Status
        if (number := int((data.status == status).sum()))
    )
    maps = "".join(
        f'<figure class="panel">{region_map(groups, region, land=land)}'
        f"<figcaption>{chr(ord('A') + index)}: {region.count:,} locations</figcaption></figure>"
        for index, region in enumerate(regions)
    )
    body = (
        f'<figure class="panel map">{world_map(groups, regions, land=land)}'
        f'<ul class="legend">{legend}</ul></figure>' + (f'<div class="maps">{maps}</div>' if maps else "")
    )
    side_km = data.manifest.patch_size_px / 100
    what = "square patches of" if data.tiles is None else "expert tiles, stored in squares of"
    lead = (
        f"Every location that was tried: {len(data.ids):,} {what} {side_km:g} km, far smaller than their dots. "
        "Equal Earth projection; land from GSHHG."
    )
    return section(data.identifier("where"), "Where", lead, body)


def gallery_section(data: ReportData, exhibits: list[Exhibit]) -> str:
    """Pictures of a few kept locations."""
    if not exhibits:
        return section(
            data.identifier("gallery"),
            "What it looks like",
            "",
            empty("No location was kept, so there is nothing to show."),
        )
    lead = (
        f"{len(exhibits)} of {len(data.kept):,} kept locations, chosen to differ as much as possible in their classes. "
        f"{'From top to bottom' if len(exhibits[0].rows[0]) > 1 else 'From left to right'}: "
        f"{', '.join(row[0].title for row in exhibits[0].rows)}. "
        "Select a picture to enlarge its season; arrow keys go to the others."
    )
    unlabelled = '<li><i class="swatch hatch"></i>unlabelled</li>'
    legend = "".join(
        f'<li><i class="swatch" style="background:{colour}"></i>{name.replace("_", " ")}</li>'
        for legend in ([data.legend] if data.legend == DYNAMIC_WORLD else [DYNAMIC_WORLD, data.legend])
        for name, colour in zip(legend.classes, legend.colours, strict=True)
    )
    body = f'<ul class="legend classes">{legend}{unlabelled}</ul>{gallery_html(exhibits)}'
    return section(data.identifier("gallery"), "What it looks like", lead, body)


def labels_section(data: ReportData) -> str:
    """Class shares beside the paper's, and season by season."""
    if not len(data.kept):
        return section(
            data.identifier("labels"),
            "Labels",
            "",
            empty("No location was kept, so there are no labels to count."),
        )
    shares = [100 * data.manifest.class_shares[name] for name in DYNAMIC_WORLD.classes]
    names = [name.replace("_", " ") for name in DYNAMIC_WORLD.classes]
    lead = (
        "Shares of Dynamic World's classes among labelled pixels; the upright tick is the share published for "
        "SSL4EO-S12@NoL (CromSS)."
    )
    if data.manifest.synthetic:
        lead += " A synthetic Earth has shares of its own: do not read them as a finding."
    table = share_bars(names, DYNAMIC_WORLD.colours, shares, PAPER_NOL_SHARES_PERCENT)
    return section(
        data.identifier("labels"),
        "Labels",
        lead,
        f'<div class="panel">{table}</div><div class="panel"><h3>Season by season</h3>{_season_stacks(data)}</div>',
    )


def _season_stacks(data: ReportData) -> str:
    pixels = len(data.kept) * data.manifest.patch_size_px**2
    rows = []
    for season, counts in zip(data.manifest.seasons, data.class_counts.sum(axis=0), strict=True):
        labelled = int(counts.sum()) / pixels
        parts = [
            (name.replace("_", " "), colour, count / pixels)
            for name, colour, count in zip(
                DYNAMIC_WORLD.classes, DYNAMIC_WORLD.colours, counts.tolist(), strict=True
            )
        ]
        parts.append(("unlabelled", "", 1 - labelled))
        rows.append(stacked_bar(season.name, parts, note=f"{percent(labelled)} labelled"))
    return "".join(rows)


def times_section(data: ReportData) -> str:
    """Days from the seasons' dates, and between the two satellites."""
    if not len(data.kept):
        return section(
            data.identifier("times"),
            "When",
            "",
            empty("No location was kept, so there are no times to compare."),
        )
    panels = []
    for position, season in enumerate(data.manifest.seasons):
        days = data.days_from_date[:, position]
        axis = day_axis(season.window_days)
        chart = bar_chart(days, axis, label=f"days from {season.date}", mark=Mark(0.0, f"{season.date}"))
        panels.append(panel(f"{season.name}: days from the date", chart, spread(days, "days")))
    difference = data.days_s1[np.isfinite(data.days_s1)]
    if len(difference):
        limit = float(config_value(data.manifest, "pairing", "max_s1_days", 15.0))
        chart = bar_chart(difference, day_axis(limit), label="Sentinel-1 minus Sentinel-2, days")
        text = f"{spread(np.abs(difference), 'days apart')}; the limit is {limit:g}"
        panels.append(panel("Sentinel-1 minus Sentinel-2, days", chart, text))
    lead = (
        "How far the stored scenes lie from the dates asked for, and the two satellites from each other. "
        f"{_first_choices(data.rank)}"
    )
    return section(data.identifier("times"), "When", lead, f'<div class="panels">{"".join(panels)}</div>')


def _first_choices(rank: np.ndarray) -> str:
    later = int((rank > 0).sum())
    if not later:
        return "Every season holds the scene of first choice."
    return (
        f"{rank.size - later:,} of {rank.size:,} seasons hold the scene of first choice, {later:,} a later one whose "
        "pixels were better."
    )


def day_axis(limit: float) -> Axis:
    """An axis of days, the same to both sides."""
    bins = min(max(round(2 * limit / 3) | 1, 15), 45)
    ticks = tuple(round(limit * third / 3, 1) for third in range(-3, 4))
    return Axis(-limit, limit, bins, "", ticks)


def spread(values: np.ndarray, unit: str) -> str:
    """Median and nine tenths in words; not for no values."""
    middle, far = np.median(values), np.percentile(np.abs(values), 90)
    return (
        f"Median {middle:+.1f} {unit}, nine in ten within {far:.1f}"
        if unit == "days"
        else (f"Median {middle:.1f} {unit}, nine in ten within {far:.1f}")
    )


def panel(title: str, chart: str, text: str) -> str:
    """A box with a chart and a sentence (without its full stop)."""
    return f'<div class="panel"><h3>{html.escape(title)}</h3>{chart}<p class="muted small">{html.escape(text)}.</p></div>'


def clear_section(data: ReportData) -> str:
    """Clouds of the scenes, labels and coverage of the patches."""
    if not len(data.label_share):
        return section(data.identifier("clear"), "How clear, how complete", "", empty("No pixel was read."))
    clouds = "clouds"
    limit = float(config_value(data.manifest, clouds, "max_scene_percent", 20.0))
    least = float(config_value(data.manifest, clouds, "min_label_share", 0.5))
    wanted = float(config_value(data.manifest, clouds, "min_coverage", 1.0))
    panels = []
    cloud = data.cloud_percent[np.isfinite(data.cloud_percent)]
    if len(cloud):
        axis = Axis(0.0, limit, 20, " %", (0.0, limit / 4, limit / 2, 3 * limit / 4, limit))
        text = f"Median {np.median(cloud):.1f} %; scenes with {limit:g} % or more are not considered"
        panels.append(
            panel("Cloud of the stored scenes", bar_chart(cloud, axis, label="cloud, percent"), text)
        )
    share_axis = Axis(0.0, 1.0, 20, " %", (0.0, 0.25, 0.5, 0.75, 1.0), scale=100)
    mark = Mark(least, "needed", refused_below=True)
    chart = bar_chart(data.label_share, share_axis, label="labelled share of a patch", mark=mark)
    few = int((data.label_share < least).sum())
    text = f"Of {len(data.label_share):,} seasons read, {few:,} had less than {percent(least, digits=0)}"
    panels.append(panel("Labelled share of a patch", chart, text))
    panels.append(_coverage_panel(data.coverage, share_axis, wanted=wanted))
    lead = "Clouds as the provider states them for whole scenes; labels and coverage as counted in the pixels of the patch."
    return section(
        data.identifier("clear"),
        "How clear, how complete",
        lead,
        f'<div class="panels">{"".join(panels)}</div>',
    )


def _coverage_panel(coverage: np.ndarray, axis: Axis, *, wanted: float) -> str:
    partial = coverage[coverage < 1.0]
    text = f"Of {len(coverage):,} seasons read, {len(coverage) - len(partial):,} are covered completely by every image"
    if not len(partial):
        return f'<div class="panel"><h3>Coverage of a patch</h3><p>{text}.</p></div>'
    mark = Mark(wanted, "needed", refused_below=True)
    chart = bar_chart(partial, axis, label="observed share, where not complete", mark=mark)
    return panel("Coverage of a patch, where not complete", chart, text)


def refused_section(data: ReportData) -> str:
    """Statuses with their counts, and every cause with an example."""
    tried = max(len(data.ids), 1)
    rows = "".join(
        f'<tr><th scope="row"><i class="swatch {STYLES[status]}"></i>{STATUS_WORDS[status][0]}</th>'
        f'<td class="number">{number:,}</td><td class="number">{percent(number / tried)}</td>'
        f"<td>{STATUS_WORDS[status][1]}</td></tr>"
        for status in Status
        for number in [int((data.status == status).sum())]
        if number or status <= Status.REFUSED
    )
    table = (
        '<div class="panel scroll"><table><thead><tr><th>status</th><th class="number">locations</th>'
        f'<th class="number">share</th><th>meaning</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
    lead = (
        "A location that was not kept stays in the store as a masked row, with its reason in "
        f"<code>{data.manifest.subset}.parquet</code>. "
        "Nothing is left out in silence."
    )
    if not data.causes:
        return section(data.identifier("refused"), "What was refused, and why", lead, table)
    return section(
        data.identifier("refused"), "What was refused, and why", lead, table + _causes_table(data.causes)
    )


def _causes_table(causes: tuple[Cause, ...]) -> str:
    rows = []
    before: Status | None = None
    for cause in causes[:MAX_CAUSES]:
        if cause.status != before:
            rows.append(f'<tr class="group"><th colspan="3">{STATUS_WORDS[cause.status][0]}</th></tr>')
            before = cause.status
        place = f", {cause.example_place}" if cause.example_place else ""
        rows.append(
            f'<tr><td>{html.escape(cause.text)}</td><td class="number">{cause.count:,}</td>'
            f'<td class="small"><span class="muted">location {cause.example_id}{html.escape(place)}:</span> '
            f"{html.escape(cause.example)}</td></tr>"
        )
    more = len(causes) - MAX_CAUSES
    note = (
        f'<p class="muted small">{more:,} rarer causes are in the column <code>reason</code> of the index.</p>'
        if more > 0
        else ""
    )
    return (
        '<div class="panel scroll"><table><thead><tr><th>cause</th><th class="number">locations</th>'
        f"<th>an example, in full</th></tr></thead><tbody>{''.join(rows)}</tbody></table>{note}</div>"
    )
