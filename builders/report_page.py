"""The report as one HTML file: no request leaves it, which its content security policy makes certain."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builders.report_clean import (
    PAPER_TILES,
    SOURCES,
    clean_labels_section,
    kept_words,
    screening_section,
    tile_times_section,
)
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
from builders.report_splits import splits_section
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
    "splits": "Splits",
    "refused": "Refused",
    "cost": "Cost",
    "arrays": "Arrays",
    "provenance": "Provenance",
}


TILE_CHAPTERS = {
    "where": "Where",
    "gallery": "Pictures",
    "labels": "Labels",
    "screening": "Screening",
    "times": "When",
    "splits": "Splits",
    "refused": "Refused",
    "cost": "Cost",
    "arrays": "Arrays",
    "provenance": "Provenance",
}
"""Chapters of the subsets with clean labels; only @OSM is screened, and only @DW asks the provider for anything."""

TITLES = {
    "dw": (
        "@DW: expert labels",
        "Tiles that people annotated for Dynamic World, with imagery of the same days.",
    ),
    "osm": (
        "@OSM: OpenStreetMap",
        "The same tiles and images, with the land use that OpenStreetMap has there, where it agrees with the experts.",
    ),
}


@dataclass(frozen=True)
class Part:
    """One subset on the page."""

    data: ReportData
    exhibits: list[Exhibit]


def page(parts: Sequence[Part], *, land: LandMask) -> str:
    """The whole page.

    Parameters
    ----------
    parts
        @NoL first, then the other subsets of the build.
    """
    style = (ASSETS / "report.css").read_text(encoding="utf-8")
    script = (ASSETS / "report.js").read_text(encoding="utf-8")
    first = parts[0]
    data = first.data
    name = html.escape(data.manifest.name)
    sections = [*_sections(first, land=land), *(_tile_part(part, land=land) for part in parts[1:])]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<link rel="icon" href="data:,">\n<title>{name} · NoLDO-S12</title>\n<style>\n{style}</style>\n</head>\n<body>\n'
        f"{_banner(data)}<main>\n{_header(parts)}\n{chr(10).join(sections)}\n{DIALOG}</main>\n{_footer(parts)}"
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


DIALOG = (
    '<dialog id="enlarge"><div class="dialog-top"><h3></h3><button>close</button></div>'
    '<div class="enlarged"></div></dialog>'
)


def _sections(part: Part, *, land: LandMask) -> tuple[str, ...]:
    data = part.data
    return (
        where_section(data, land=land),
        gallery_section(data, part.exhibits),
        labels_section(data),
        times_section(data),
        clear_section(data),
        splits_section(data),
        refused_section(data),
        cost_section(data),
        arrays_section(data),
        provenance_section(data),
    )


def _tile_part(part: Part, *, land: LandMask) -> str:
    data = part.data
    title, lead = TITLES[data.manifest.subset]
    sections = {
        "where": where_section(data, land=land),
        "gallery": gallery_section(data, part.exhibits),
        "labels": clean_labels_section(data),
        "screening": screening_section(data),
        "times": tile_times_section(data),
        "splits": splits_section(data),
        "refused": refused_section(data),
        "cost": cost_section(data),
        "arrays": arrays_section(data),
        "provenance": provenance_section(data),
    }
    body = "\n".join(sections[chapter] for chapter in tile_chapters(data.manifest.subset))
    return (
        f'<div class="part" id="{data.manifest.subset}"><h1>{title}</h1><p class="lead">{lead}</p>'
        f"{_tile_figures(data)}{body}</div>"
    )


def tile_chapters(subset: str) -> list[str]:
    """Chapters of a subset with clean labels, in their order."""
    left_out = {"dw": "screening", "osm": "cost"}[subset]
    return [chapter for chapter in TILE_CHAPTERS if chapter != left_out]


def _tile_figures(data: ReportData) -> str:
    manifest, tried = data.manifest, max(len(data.ids), 1)
    subset = manifest.subset
    figures = (
        (
            f"{len(data.kept):,}",
            f"tiles kept of {len(data.ids):,} ({percent(len(data.kept) / tried, digits=0)})",
        ),
        (kept_words(data), f"training + held out; the paper has {PAPER_TILES[subset]}"),
        (f"{int(data.labels.sum()):,}", f"pixels labelled by {SOURCES[subset]}"),
        (size_words(total_bytes(data)), "on disk"),
    )
    return _figures(figures)


def _banner(data: ReportData) -> str:
    if not data.manifest.synthetic:
        return ""
    return (
        '<aside class="banner"><div><p><strong>SYNTHETIC</strong> · These are pictures of an invented Earth, served by the '
        "sandbox of NoLDO-S12 builder. For real imagery, put your Earth Engine project into "
        "<code>config/noldo_s12.yaml</code>, run <code>earthengine authenticate</code>, then "
        "<code>snakemake --cores 16 build_noldo --configfile config/noldo_s12.yaml</code>.</p></div></aside>\n"
    )


def _header(parts: Sequence[Part]) -> str:
    data = parts[0].data
    manifest = data.manifest
    seasons = ", ".join(f"{season.name} ({season.date})" for season in manifest.seasons)
    lines = [_links("", list(CHAPTERS))]
    lines += [
        _links(part.data.manifest.subset, tile_chapters(part.data.manifest.subset)) for part in parts[1:]
    ]
    subsets = " ".join(f"@{SUBSET_NAMES[part.data.manifest.subset]}" for part in parts)
    return (
        f'<div class="top"><span class="kicker">NoLDO-S12 · {subsets}</span><button id="theme">light / dark</button></div>'
        f"<h1>{html.escape(manifest.name)}</h1>"
        f'<p class="lead">Sentinel-1, Sentinel-2 and noisy land-cover labels of the same places at '
        f"{len(manifest.seasons)} points in time: {html.escape(seasons)}.</p>"
        f"{''.join(lines)}{_key_figures(data)}"
    )


SUBSET_NAMES = {"nol": "NoL", "dw": "DW", "osm": "OSM"}


def _links(subset: str, chapters: Sequence[str]) -> str:
    """One line of contents; `subset` empty: of @NoL, whose chapters have no prefix."""
    names = CHAPTERS | TILE_CHAPTERS
    prefix = f"{subset}-" if subset else ""
    first = f'<a href="#{subset}"><b>@{SUBSET_NAMES[subset]}</b></a>' if subset else ""
    links = "".join(f'<a href="#{prefix}{chapter}">{names[chapter]}</a>' for chapter in chapters)
    return f"<nav>{first}{links}</nav>"


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
    return _figures(figures)


def _figures(figures: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f'<div class="figure"><b>{html.escape(value)}</b><span>{html.escape(words)}</span></div>'
        for value, words in figures
    )
    return f'<div class="figures">{cells}</div>'


def _footer(parts: Sequence[Part]) -> str:
    sources = [source for part in parts for source in part.data.manifest.sources]
    attributions = " ".join(dict.fromkeys(source.attribution for source in sources))
    return (
        f"<footer><p>{html.escape(attributions)}</p>"
        "<p>Made by <code>python -m builders report</code> from the indexes, manifests, run records and stores beside "
        "this page. It loads nothing from elsewhere.</p></footer>\n"
    )
