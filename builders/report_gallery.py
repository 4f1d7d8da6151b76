"""Pictures of the report: a few kept locations that differ as much as possible, every season of each."""

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builders.report_data import ReportData
from noldo.legend import LEGEND_OF_PRODUCT, Legend
from noldo.preview import LABEL_TITLES, false_colour, label_colour, true_colour, valid_part
from noldo.products import S2_RGB_BANDS, UNLABELLED
from noldo.reader import StoreReader

MAX_SEASONS = 4
"""Seasons shown of each location; more would not fit beside each other."""


@dataclass(frozen=True)
class Picture:
    """One thumbnail, as a data URI."""

    title: str
    """Modality, for people."""
    season: str
    uri: str


@dataclass(frozen=True)
class Exhibit:
    """One location of the gallery."""

    location_id: int
    place: str
    lon: float
    lat: float
    classes: str
    """Its largest classes in words."""
    rows: tuple[tuple[Picture, ...], ...]
    """A row a modality, a picture a season."""


def choose_varied(class_counts: np.ndarray, *, number: int = 8) -> list[int]:
    """Positions of locations whose class shares are far from each other.

    Begins with the most mixed one, then takes the one furthest (in Hellinger distance) from all taken
    before; ties fall to the first.

    Parameters
    ----------
    class_counts
        Pixels, (location, season, class).
    """
    if not len(class_counts):
        return []
    totals = class_counts.sum(axis=1).astype(float)
    shares = totals / np.maximum(totals.sum(axis=1, keepdims=True), 1.0)
    entropy = -np.sum(shares * np.log(np.where(shares > 0, shares, 1.0)), axis=1)
    taken = [int(np.argmax(entropy))]
    roots = np.sqrt(shares)
    distance = np.full(len(roots), np.inf)
    while len(taken) < min(number, len(roots)):
        distance = np.minimum(distance, np.linalg.norm(roots - roots[taken[-1]], axis=1))
        distance[taken] = -1.0
        taken.append(int(np.argmax(distance)))
    return taken


def gallery(store: Path, data: ReportData, *, number: int = 8) -> list[Exhibit]:
    """Read and draw the chosen locations; empty if nothing was kept."""
    reader = StoreReader.open(store)
    return [_exhibit(reader, data, position) for position in choose_varied(data.labels, number=number)]


def shown_seasons(num_seasons: int) -> list[int]:
    """At most `MAX_SEASONS` positions, evenly spread over the season axis."""
    return sorted({round(at) for at in np.linspace(0, num_seasons - 1, min(num_seasons, MAX_SEASONS))})


def _exhibit(reader: StoreReader, data: ReportData, position: int) -> Exhibit:
    row = int(data.kept[position])
    return Exhibit(
        location_id=int(data.ids[row]),
        place=data.places[row],
        lon=float(data.lon[row]),
        lat=float(data.lat[row]),
        classes=_main_classes(data.labels[position].sum(axis=0), data.legend),
        rows=_picture_rows(reader, row),
    )


def _main_classes(counts: np.ndarray, legend: Legend) -> str:
    total = max(int(counts.sum()), 1)
    order = np.argsort(-counts, kind="stable")[:3].tolist()
    named = [f"{legend.classes[at].replace('_', ' ')} {100 * counts[at] / total:.0f} %" for at in order]
    return ", ".join(words for words, at in zip(named, order, strict=True) if counts[at] / total >= 0.005)


def _picture_rows(reader: StoreReader, row: int) -> tuple[tuple[Picture, ...], ...]:
    seasons = shown_seasons(len(reader.layout.season_names))
    names = [reader.layout.season_names[season] for season in seasons]
    specs = {spec.name: spec for spec in reader.layout.specs}
    valid = valid_part(reader, row)
    rows: list[tuple[str, list[str]]] = []
    for name in ("s2_l2a_10m", "s2_l1c_10m"):
        if name in specs and set(S2_RGB_BANDS) <= set(specs[name].bands):
            order = [specs[name].bands.index(band) for band in S2_RGB_BANDS]
            pixels = reader.pixels(specs[name], row=row, seasons=seasons)[:, order][valid]
            if (pixels == specs[name].no_data).all() and name != "s2_l1c_10m":
                continue  # early scenes have no L2A
            rows.append(
                (
                    f"Sentinel-2 {name[3:6].upper()} in true colour",
                    [_jpeg(image) for image in true_colour(pixels)],
                )
            )
            break
    if "s1_grd_10m" in specs and len(specs["s1_grd_10m"].bands) == 2:
        pixels = reader.pixels(specs["s1_grd_10m"], row=row, seasons=seasons)[valid]
        rows.append(
            (
                "Sentinel-1 (VV, VH and their ratio as red, green, blue)",
                [_jpeg(false_colour(image)) for image in pixels],
            )
        )
    for product, title in LABEL_TITLES.items():
        if f"{product}_10m" in specs:
            labels = reader.pixels(specs[f"{product}_10m"], row=row, seasons=seasons)[valid]
            legend = LEGEND_OF_PRODUCT[product]
            rows.append((f"labels: {title}", [_label_png(image, legend) for image in labels]))
    return tuple(
        tuple(Picture(title, season, uri) for season, uri in zip(names, uris, strict=True))
        for title, uris in rows
    )


def _jpeg(colour: np.ndarray) -> str:
    """Data URI of an image (y, x, 3) of 0..1."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    pixels = np.round(colour * 255).astype(np.uint8)
    imsave(file, pixels, format="jpg", pil_kwargs={"quality": 86, "optimize": True})
    return _uri(file.getvalue(), "image/jpeg")


def _label_png(labels: np.ndarray, legend: Legend) -> str:
    """Data URI of a class map (y, x) in the legend's colours; unlabelled is transparent."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    alpha = (labels != UNLABELLED).astype(float)
    pixels = np.round(np.dstack([label_colour(labels, legend), alpha]) * 255).astype(np.uint8)
    imsave(file, pixels, format="png", pil_kwargs={"optimize": True})
    return _uri(file.getvalue(), "image/png")


def _uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def gallery_html(exhibits: list[Exhibit]) -> str:
    """Cards of all exhibits."""
    return f'<div class="gallery">{"".join(_card(exhibit) for exhibit in exhibits)}</div>'


def _card(exhibit: Exhibit) -> str:
    seasons = [picture.season for picture in exhibit.rows[0]]
    header = "".join(f"<span>{html.escape(season)}</span>" for season in seasons)
    rows_of_pictures = exhibit.rows
    if len(seasons) == 1:  # one picture a row would leave the card empty: modalities stand beside each other
        rows_of_pictures = (tuple(picture for row in exhibit.rows for picture in row),)
    place = html.escape(exhibit.place or f"location {exhibit.location_id}")
    where = f"{abs(exhibit.lat):.3f}° {'N' if exhibit.lat >= 0 else 'S'}, {abs(exhibit.lon):.3f}° {'E' if exhibit.lon >= 0 else 'W'}"
    rows = "".join(
        f'<div class="thumbs">{"".join(_thumb(picture, exhibit) for picture in row)}</div>'
        for row in rows_of_pictures
    )
    return (
        f'<article class="card" style="--seasons:{len(rows_of_pictures[0])}"><header><h3>{place}</h3>'
        f'<p class="muted">id {exhibit.location_id} · {where}<br>{html.escape(exhibit.classes)}</p></header>'
        f'<div class="season-names">{header}</div>{rows}</article>'
    )


def _thumb(picture: Picture, exhibit: Exhibit) -> str:
    style = " labels" if picture.uri.startswith("data:image/png") else ""
    title = html.escape(f"{picture.title}, {picture.season}, location {exhibit.location_id}")
    return (
        f'<button class="thumb{style}" data-season="{html.escape(picture.season)}" title="{title}">'
        f'<img src="{picture.uri}" alt="{title}" loading="lazy"></button>'
    )
