"""Maps of the report, as SVG that takes its colours from the page: land as dots, locations on top.

No tiles and no coastlines are loaded: land is asked of the offline land mask the locations were drawn
with, on a lattice of dots as fine as the map needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

LandMask = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(lon, lat) in degrees to bool: is it land?"""

WIDTH = 1080
"""Width of the world map in SVG units."""

NORTH, SOUTH = 80.0, -57.0
"""Limits of the world map in degrees: all cities with their surroundings, and no Antarctica."""

_A = (1.340264, -0.081106, 0.000893, 0.003796)
"""Coefficients of the Equal Earth projection (Savric, Patterson, Jenny 2019, equation 5)."""

_ROOT = np.sqrt(3.0) / 2.0


@dataclass(frozen=True)
class Places:
    """Locations of one colour."""

    style: str
    """CSS class of the dots."""
    lon: np.ndarray
    """Degrees, (place,)."""
    lat: np.ndarray


@dataclass(frozen=True)
class Region:
    """A group of neighbouring locations that deserves a map of its own."""

    west: float
    east: float
    south: float
    north: float
    count: int
    """Locations inside."""


def equal_earth(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project degrees to the unit sphere's Equal Earth plane, x to the east and y to the north."""
    theta = np.arcsin(_ROOT * np.sin(np.radians(lat)))
    square = theta * theta
    slope = _A[0] + 3 * _A[1] * square + square**3 * (7 * _A[2] + 9 * _A[3] * square)
    x = np.radians(lon) * np.cos(theta) / (_ROOT * slope)
    y = theta * (_A[0] + _A[1] * square + square**3 * (_A[2] + _A[3] * square))
    return x, y


def _world_xy(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SVG coordinates on the world map."""
    x, y = equal_earth(lon, lat)
    edge = float(equal_earth(np.array([180.0]), np.array([0.0]))[0][0])
    top = float(equal_earth(np.array([0.0]), np.array([NORTH]))[1][0])
    scale = WIDTH / (2 * edge)
    return (x + edge) * scale, (top - y) * scale


def world_height() -> float:
    """Height of the world map in SVG units."""
    return float(_world_xy(np.array([0.0]), np.array([SOUTH]))[1][0])


def world_map(places: list[Places], regions: list[Region], *, land: LandMask) -> str:
    """The world in the Equal Earth projection, with boxes around the regions that have maps of their own."""
    height = world_height()
    number = sum(len(group.lon) for group in places)
    radius = 4.5 if number <= 300 else 3.0 if number <= 3000 else 1.6 if number <= 30000 else 1.0
    body = [
        _graticule(),
        _dots(*_world_land(land), "land", radius=2.0),
        *(_dots(*_world_xy(group.lon, group.lat), group.style, radius=radius) for group in places),
        *(_region_mark(region, name=chr(ord("A") + index)) for index, region in enumerate(regions)),
    ]
    return _svg(body, width=WIDTH, height=height, label="World map of all locations tried")


def _graticule() -> str:
    steps = np.linspace(SOUTH, NORTH, 40)
    parallels = [(np.array([-180.0, 180.0]), np.array([lat, lat])) for lat in (-30.0, 0.0, 30.0, 60.0)]
    meridians = [(np.full(40, float(lon)), steps) for lon in range(-180, 181, 60)]
    lines = [_world_xy(*line) for line in (*parallels, *meridians)]
    path = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(*line, strict=True)) for line in lines)
    return f'<path class="graticule" d="{path}"/>'


def _world_land(land: LandMask, *, step: float = 7.0) -> tuple[np.ndarray, np.ndarray]:
    """SVG coordinates of dots on land, on a hexagonal lattice of the map plane."""
    table_lat = np.linspace(SOUTH, NORTH, 2000)
    table_y = _world_xy(np.zeros_like(table_lat), table_lat)[1]
    xs, ys = _hexagonal(WIDTH, world_height(), step)
    lat = np.interp(ys, table_y[::-1], table_lat[::-1])
    per_degree = _world_xy(np.ones_like(lat), lat)[0] - WIDTH / 2
    lon = (xs - WIDTH / 2) / per_degree
    inside = np.abs(lon) < 180.0
    xs, ys, lon, lat = xs[inside], ys[inside], lon[inside], lat[inside]
    dry = land(lon, lat)
    return xs[dry], ys[dry]


def _hexagonal(width: float, height: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    rows = np.arange(step / 2, height, step * _ROOT)
    columns = np.arange(step / 2, width, step)
    xs = columns[None, :] + (np.arange(len(rows)) % 2)[:, None] * (step / 2)
    ys = np.broadcast_to(rows[:, None], xs.shape)
    return xs.ravel(), ys.ravel()


def _dots(xs: np.ndarray, ys: np.ndarray, style: str, *, radius: float) -> str:
    """One path for all dots (zero-length strokes with round caps); dots on the same spot are drawn once."""
    decimals = 1 if len(xs) < 20000 else 0
    spots = np.unique(np.round(np.stack([xs, ys], axis=1), decimals), axis=0)
    path = "".join(f"M{x:g} {y:g}h0" for x, y in spots)
    return f'<path class="dot {style}" stroke-width="{2 * radius:g}" d="{path}"/>'


def _region_mark(region: Region, *, name: str) -> str:
    xs, ys = _world_xy(
        np.array([region.west, region.east, region.east, region.west]),
        np.array([region.south, region.south, region.north, region.north]),
    )
    left, right, top, bottom = xs.min() - 7, xs.max() + 7, ys.min() - 7, ys.max() + 7
    return (
        f'<rect class="region" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
        f'height="{bottom - top:.1f}" rx="4"/>'
        f'<text class="region-name" x="{right + 5:.1f}" y="{top + 14:.1f}">{name}</text>'
    )


def find_regions(lon: np.ndarray, lat: np.ndarray, *, link_deg: float = 6.0, most: int = 4) -> list[Region]:
    """Groups of locations no further than `link_deg` apart, if a few groups hold all; else none.

    Groups are ordered from west to east. A build that is spread over the globe has none: the world map
    tells it all.
    """
    from scipy.spatial import cKDTree

    todo = set(range(len(lon)))
    if not todo or len(todo) > 20_000:
        return []
    points = np.stack([lon, lat], axis=1)
    tree = cKDTree(points)
    regions: list[Region] = []
    while todo:
        if len(regions) == most:
            return []
        group = _linked(tree, points, start=min(todo), link_deg=link_deg)
        todo -= group
        regions.append(_region(points[sorted(group)]))
    return sorted(regions, key=lambda region: (region.west, region.south))


def _linked(tree: object, points: np.ndarray, *, start: int, link_deg: float) -> set[int]:
    query: Callable[..., list[int]] = tree.query_ball_point  # type: ignore[attr-defined]  # scipy's stubs
    group, edge = {start}, [start]
    while edge:
        near = set(query(points[edge.pop()], link_deg))
        edge.extend(near - group)
        group |= near
    return group


def _region(points: np.ndarray) -> Region:
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
    middle = (south + north) / 2
    squeeze = float(np.cos(np.radians(middle)))
    half = max((east - west) * squeeze / 1.5, north - south, 0.3) * 0.56
    centre = (west + east) / 2
    return Region(
        west=centre - half * 1.5 / squeeze,
        east=centre + half * 1.5 / squeeze,
        south=max(middle - half, -89.0),
        north=min(middle + half, 89.0),
        count=len(points),
    )


def region_map(places: list[Places], region: Region, *, land: LandMask) -> str:
    """One region, north up, true to scale at its middle latitude, with a scale bar."""
    width, height = 540.0, 360.0
    span = region.east - region.west

    def to_xy(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = (lon - region.west) / span * width
        return x, (region.north - lat) / (region.north - region.south) * height

    xs, ys = _hexagonal(width, height, 7.0)
    lons = region.west + xs / width * span
    lats = region.north - ys / height * (region.north - region.south)
    dry = land((lons + 180.0) % 360.0 - 180.0, lats)
    body = [_dots(xs[dry], ys[dry], "land", radius=1.8)]
    for group in places:
        inside = (
            (group.lon > region.west)
            & (group.lon < region.east)
            & (group.lat > region.south)
            & (group.lat < region.north)
        )
        body.append(_dots(*to_xy(group.lon[inside], group.lat[inside]), group.style, radius=4.0))
    km = span * 111.32 * float(np.cos(np.radians((region.south + region.north) / 2)))
    body.append(_scale_bar(width, height, km_per_unit=km / width))
    return _svg(body, width=width, height=height, label=f"Map of {region.count} locations")


def _scale_bar(width: float, height: float, *, km_per_unit: float) -> str:
    wanted = width * km_per_unit / 4
    power = 10.0 ** np.floor(np.log10(wanted))
    length_km = max(step * power for step in (1, 2, 5) if step * power <= wanted)
    length = length_km / km_per_unit
    x, y = width - length - 16, height - 14
    return (
        f'<path class="scale" d="M{x:.1f} {y - 4:.1f}v4h{length:.1f}v-4"/>'
        f'<text class="scale-text" x="{x + length / 2:.1f}" y="{y - 7:.1f}">{length_km:g} km</text>'
    )


def _svg(body: list[str], *, width: float, height: float, label: str) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:.0f}" role="img" aria-label="{label}">{"".join(body)}</svg>'


def grouped(lon: np.ndarray, lat: np.ndarray, status: np.ndarray, styles: Mapping[int, str]) -> list[Places]:
    """Locations by status, refused ones first so that kept ones are drawn over them."""
    groups = []
    for code in sorted(styles, reverse=True):
        chosen = status == code
        if chosen.any():
            groups.append(Places(styles[code], lon[chosen], lat[chosen]))
    return groups
