"""The report as one HTML file: no request leaves it, which its content security policy makes certain."""

import html
from pathlib import Path

from builders.report_data import ReportData, total_bytes
from builders.report_figures import percent
from builders.report_gallery import Exhibit
from builders.report_map import LandMask
from builders.report_sections import (
    clear_section,
    gallery_section,
    labels_section,
    refused_section,
    times_section,
    where_section,
)
from builders.report_tables import (
    arrays_section,
    cost_section,
    planned_requests,
    provenance_section,
    size_words,
)

ASSETS = Path(__file__).resolve().parents[1] / "pipeline" / "report"
"""Style sheet and script, inlined into the page."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

CHAPTERS = {
    "where": "Where",
    "gallery": "Pictures",
    "labels": "Labels",
    "times": "When",
    "clear": "Clouds and coverage",
    "refused": "Refused",
    "cost": "Cost",
    "arrays": "Arrays",
    "provenance": "Provenance",
}


def page(data: ReportData, exhibits: list[Exhibit], *, land: LandMask) -> str:
    """The whole page."""
    style = (ASSETS / "report.css").read_text(encoding="utf-8")
    script = (ASSETS / "report.js").read_text(encoding="utf-8")
    name = html.escape(data.manifest.name)
    sections = (
        where_section(data, land=land),
        gallery_section(data, exhibits),
        labels_section(data),
        times_section(data),
        clear_section(data),
        refused_section(data),
        cost_section(data),
        arrays_section(data),
        provenance_section(data),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<link rel="icon" href="data:,">\n<title>{name} · NoLDO-S12</title>\n<style>\n{style}</style>\n</head>\n<body>\n'
        f"{_banner(data)}<main>\n{_header(data)}\n{chr(10).join(sections)}\n</main>\n{_footer(data)}"
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _banner(data: ReportData) -> str:
    if not data.manifest.synthetic:
        return ""
    return (
        '<aside class="banner"><div><p><strong>SYNTHETIC</strong> · These are pictures of an invented Earth, served by the '
        "sandbox of NoLDO-S12 builder. For real imagery, put your Earth Engine project into "
        "<code>config/noldo_s12.yaml</code>, run <code>earthengine authenticate</code>, then "
        "<code>snakemake --cores 16 build_noldo --configfile config/noldo_s12.yaml</code>.</p></div></aside>\n"
    )


def _header(data: ReportData) -> str:
    manifest = data.manifest
    seasons = ", ".join(f"{season.name} ({season.date})" for season in manifest.seasons)
    chapters = "".join(f'<a href="#{identifier}">{title}</a>' for identifier, title in CHAPTERS.items())
    return (
        '<div class="top"><span class="kicker">NoLDO-S12 · SSL4EO-S12@NoL</span><button id="theme">light / dark</button></div>'
        f"<h1>{html.escape(manifest.name)}</h1>"
        f'<p class="lead">Sentinel-1, Sentinel-2 and noisy land-cover labels of the same places at '
        f"{len(manifest.seasons)} points in time: {html.escape(seasons)}.</p>"
        f"<nav>{chapters}</nav>{_key_figures(data)}"
    )


def _key_figures(data: ReportData) -> str:
    manifest, tried = data.manifest, max(len(data.ids), 1)
    pixels = len(data.kept) * len(manifest.seasons) * manifest.patch_size_px**2
    labelled = int(data.class_counts.sum()) / pixels if pixels else 0.0
    bands = sum(max(len(array.bands), 1) for array in manifest.arrays)
    figures = (
        (
            f"{len(data.kept):,}",
            f"locations kept of {len(data.ids):,} tried ({percent(len(data.kept) / tried, digits=0)})",
        ),
        (
            f"{len(data.kept) * len(manifest.seasons):,}",
            f"patches of {manifest.patch_size_px} px, one a season",
        ),
        (f"{bands}", f"bands and label maps in {len(manifest.arrays)} arrays"),
        (size_words(total_bytes(data)), "on disk"),
        (percent(labelled), "of the kept pixels carry a label"),
        (f"{planned_requests(data.run.requests) / tried:.2f}", "requests a location tried"),
    )
    cells = "".join(
        f'<div class="figure"><b>{html.escape(value)}</b><span>{html.escape(words)}</span></div>'
        for value, words in figures
    )
    return f'<div class="figures">{cells}</div>'


def _footer(data: ReportData) -> str:
    attributions = " ".join(dict.fromkeys(source.attribution for source in data.manifest.sources))
    return (
        f"<footer><p>{html.escape(attributions)}</p>"
        "<p>Made by <code>python -m builders report</code> from nol.parquet, nol.json, nol.run.json and the store beside "
        "this page. It loads nothing from elsewhere.</p></footer>\n"
    )
