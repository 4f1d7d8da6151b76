"""What the report lists: costs, arrays and their statistics, provenance, licences."""

import html
import json
from collections.abc import Mapping

from builders.report_data import ReportData, total_bytes
from builders.report_figures import comparison_bar, percent
from builders.report_sections import section
from builders.request_size import LIMIT_BYTES
from noldo.manifest import BandStatistics, RequestCounts

SSL4EO_REQUESTS_A_SEASON = 9
"""Requests of SSL4EO-S12's download script a location and season: three modalities, each with a size, a
sampleRectangle and a getInfo call; counted by running it (36 for its four seasons)."""


def planned_requests(requests: RequestCounts) -> int:
    """Searches and pixel requests, without start-up and repetitions."""
    return requests.metadata + requests.pixels + requests.fallback


def size_words(num_bytes: float) -> str:
    """Bytes as people read them.

    >>> size_words(1_530_000), size_words(0), size_words(2.5e12)
    ('1.5 MB', '0.0 MB', '2.50 TB')
    """
    for power, unit, digits in ((1e12, "TB", 2), (1e9, "GB", 2)):
        if num_bytes >= power:
            return f"{num_bytes / power:.{digits}f} {unit}"
    return f"{num_bytes / 1e6:.1f} MB"


def cost_section(data: ReportData) -> str:
    """Requests and bytes, beside what SSL4EO-S12's script would have asked."""
    requests = data.run.requests
    tried = max(len(data.ids), 1)
    ours = planned_requests(requests) / tried
    theirs = SSL4EO_REQUESTS_A_SEASON * len(data.manifest.seasons)
    bars = comparison_bar(
        "this build", ours, longest=theirs, style="ours", text=f"{ours:.2f}"
    ) + comparison_bar("SSL4EO-S12's script", theirs, longest=theirs, style="other", text=f"{theirs}")
    facts = {
        "searches": f"{requests.metadata:,}",
        "pixel requests": f"{requests.pixels:,}",
        "with later candidates": f"{requests.fallback:,}",
        "repeated after a fault": f"{requests.retried:,}",
        "client start-up": f"{requests.start_up:,}",
        "largest pixel request": f"{requests.largest_bytes / 2**20:.1f} MB of {LIMIT_BYTES / 2**20:.0f} MB allowed",
        "received": f"{size_words(data.run.received_bytes)} ({size_words(data.run.received_bytes / tried)} a location)",
        "stored": size_words(total_bytes(data)),
    }
    lead = (
        f"Requests to the imagery provider a location tried, for {len(data.manifest.seasons)} "
        f"season{'s' if len(data.manifest.seasons) > 1 else ''} of all products."
    )
    panels = f'<div class="panel">{bars}</div><div class="panel">{fact_list(facts)}</div>'
    return section(data.identifier("cost"), "What it cost", lead, panels + _seconds(data.run.seconds))


def _seconds(seconds: Mapping[str, float]) -> str:
    if not seconds:
        return ""
    longest = max(*seconds.values(), 0.1)
    bars = "".join(
        comparison_bar(step, value, longest=longest, style="ours", text=_duration(value))
        for step, value in seconds.items()
    )
    return f'<div class="panel"><h3>Time during which a step was running</h3>{bars}</div>'


def _duration(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.1f} s"


def fact_list(facts: Mapping[str, str]) -> str:
    """Terms and their values; plain text."""
    items = "".join(
        f"<dt>{html.escape(term)}</dt><dd>{html.escape(value)}</dd>" for term, value in facts.items()
    )
    return f'<dl class="facts">{items}</dl>'


def arrays_section(data: ReportData) -> str:
    """All arrays, and statistics of every band."""
    rows = "".join(
        f'<tr><th scope="row"><code>{array.name}</code></th><td>{" × ".join(f"{n:,}" for n in array.shape)}</td>'
        f"<td>{array.dtype}</td><td>{html.escape(' '.join(array.bands)) or '–'}</td><td>{html.escape(_unit(array.unit, array.scale))}</td>"
        f'<td class="number">{array.no_data}</td><td class="number">{size_words(data.array_bytes[array.name])}</td></tr>'
        for array in data.manifest.arrays
    )
    table = (
        '<div class="panel scroll"><table class="wide"><thead><tr><th>array</th><th>shape</th><th>dtype</th><th>bands</th>'
        '<th>unit</th><th class="number">no data</th><th class="number">on disk</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
    lead = "Bands at their native resolution; axes are location, season, band, y, x. Statistics are of stored numbers of kept locations, and exact."
    return section(data.identifier("arrays"), "What is in it", lead, table + _statistics_table(data))


def _unit(unit: str, scale: float) -> str:
    return unit if scale == 1.0 else f"{unit} × {1 / scale:g}"


def _statistics_table(data: ReportData) -> str:
    rows = "".join(
        f'<tr class="group"><th colspan="9">{html.escape(name)}</th></tr>{"".join(map(_band_row, bands))}'
        for name, bands in data.manifest.statistics.items()
    )
    names = ("mean", "std", "min", "1 %", "median", "99 %", "max", "no data")
    head = "".join(f'<th class="number">{name}</th>' for name in names)
    return (
        "<details><summary>Statistics of every band</summary>"
        f'<div class="scroll"><table class="wide"><thead><tr><th>band</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</details>"
    )


def _band_row(band: BandStatistics) -> str:
    if band.mean is None or band.std is None:
        return f'<tr><th scope="row">{band.band}</th><td colspan="8" class="muted">no pixels</td></tr>'
    numbers = (
        f"{band.mean:,.1f}",
        f"{band.std:,.1f}",
        f"{band.minimum:,}",
        f"{band.percentiles[1]:,}",
        f"{band.percentiles[50]:,}",
        f"{band.percentiles[99]:,}",
        f"{band.maximum:,}",
        percent(band.no_data_share, digits=2),
    )
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    return f'<tr><th scope="row">{band.band}</th>{cells}</tr>'


def provenance_section(data: ReportData) -> str:
    """Config, versions, terms."""
    import yaml

    manifest = data.manifest
    config = yaml.safe_dump(
        json.loads(json.dumps(manifest.config)), sort_keys=False, allow_unicode=True, default_flow_style=None
    )
    facts = {
        "config digest": manifest.config_digest,
        "store format": f"version {manifest.format_version}, codec {manifest.codec}",
        "splits, kept": ", ".join(f"{name} {number:,}" for name, number in manifest.split_counts.items()),
        "cut": f"{manifest.locations_per_shard} locations a shard",
        "first start": f"{data.run.started:%Y-%m-%d %H:%M} UTC" if data.run.started else "not known",
        "index written": f"{data.run.finished:%Y-%m-%d %H:%M} UTC" if data.run.finished else "not known",
    }
    body = (
        f'<div class="panel">{fact_list(facts)}</div>'
        f"<details><summary>The config that decides the data</summary><pre>{html.escape(config)}</pre></details>"
        f"<details><summary>Versions</summary>{fact_list(data.run.versions)}</details>"
        f"{_terms(data)}"
    )
    lead = "The same config gives the same bytes of arrays and index. When, how fast, and with which versions is recorded beside them."
    return section(data.identifier("provenance"), "Provenance and terms", lead, body)


def _terms(data: ReportData) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(source.product)}</th><td><code>{html.escape(source.collection)}</code></td>'
        f"<td>{_link(source.licence, source.url)}</td><td>{html.escape(source.attribution)}</td></tr>"
        for source in data.manifest.sources
    )
    return (
        '<div class="panel scroll"><table><thead><tr><th>product</th><th>cut from</th><th>terms</th>'
        f"<th>print beside it</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _link(text: str, url: str) -> str:
    if not url:
        return html.escape(text)
    return f'<a href="{html.escape(url)}" rel="noreferrer">{html.escape(text)}</a>'
