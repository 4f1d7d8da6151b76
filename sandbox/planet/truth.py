"""Land cover of the synthetic Earth: a pure function of longitude and latitude.

Slow fields (relief, rivers, climate, people) are noise on the sphere, sampled at the nodes of
`sandbox.planet.lattice`; parcels and roads are straight lines in *districts*, warped cells of about
5.5 km whose orientation and plot size differ.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from noldo.products import NUM_DYNAMIC_WORLD_CLASSES
from sandbox.planet.lattice import Doubles, Floats, Nodes, Window, nodes_of, to_pixels, to_pixels_exact
from sandbox.planet.noise import fractal, key, lattice_hash, mix, uniform, unit

Classes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

WATER, TREES, GRASS, FLOODED, CROPS, SHRUB, BUILT, BARE, SNOW = range(NUM_DYNAMIC_WORLD_CLASSES)
"""Ids of `noldo.legend.DYNAMIC_WORLD`."""

NUM_STRAINS = 8
"""Varieties of one class: crops of a parcel, roofs of a block."""

DISTRICT_DEG = 0.05
"""Height of a district in degrees of latitude; its width is about the same in metres."""

_DISTRICT_M = DISTRICT_DEG * 111_195.0
_SEA_LEVEL = 0.09
_DISTRICT_STYLES = 32
_ROAD_M = 11.0
_LANE_M = 7.0


@dataclass(frozen=True)
class Ground:
    """What lies on the pixels of a window; all axes (y, x)."""

    truth: Classes
    """Land cover, 0..8."""
    code: Classes
    """truth x NUM_STRAINS + variety."""
    texture: Floats
    """Fine structure, about -1..1."""
    shade: Floats
    """Brightness by relief, about 0.7..1.3."""
    north: Floats
    """1 where seasons are those of the north, 0 of the south; between them in the tropics."""


@dataclass(frozen=True)
class Fields:
    """Slow fields, each 0..1 unless told; axes (y, x) at nodes or at pixels."""

    height: Floats
    """Quantile of elevation."""
    river: Floats
    """Distance from a river's line, in units that grow with the distance."""
    arid: Floats
    cold: Floats
    people: Floats
    forest: Floats
    farm: Floats
    damp: Floats
    shade: Floats
    north: Floats


@dataclass(frozen=True)
class Plots:
    """Man-made geometry; axes (y, x)."""

    parcel: npt.NDArray[np.uint32]
    """Random word, the same all over a field of crops."""
    block: npt.NDArray[np.uint32]
    """Random word of a block of houses."""
    lane: Bools
    """On the edge of a field."""
    street: Bools
    """Between blocks of houses."""
    road: Bools
    """On a border of districts."""


@lru_cache(maxsize=8)
def ground_of(window: Window, *, seed: int) -> Ground:
    """Land cover of a window that begins and ends at nodes."""
    nodes = nodes_of(window)
    fields = _at_pixels(_fields(nodes, seed))
    plots = _plots(nodes, seed)
    detail = _detail(nodes, seed)
    truth = _classify(fields, plots, detail)
    strain = _strains(truth, plots, fields, detail)
    code = (truth * np.uint8(NUM_STRAINS) + strain).astype(np.uint8)
    texture = np.float32(0.6) * detail + np.float32(0.4) * _grain(window, seed)
    return Ground(truth, code, texture, fields.shade, fields.north)


def _fields(nodes: Nodes, seed: int) -> Fields:
    points = nodes.points_m
    height = uniform(points, cell_m=70_000, octaves=9, seed=key(seed, 1), gain=0.52)
    latitude = np.abs(nodes.lat).astype(np.float32)
    belt = np.exp(-(((latitude - 24) / 13) ** 2)).astype(np.float32)
    dryness = uniform(points, cell_m=500_000, octaves=5, seed=key(seed, 2))
    arid = np.clip(0.72 * dryness + 0.42 * belt - 0.02, 0, 1).astype(np.float32)
    chill = fractal(points, cell_m=200_000, octaves=3, seed=key(seed, 3)) - np.float32(0.5)
    cold = (latitude / 80 + 0.6 * np.maximum(height - 0.55, 0) + 0.3 * chill).astype(np.float32)
    return Fields(
        height=height,
        river=_river(nodes, seed),
        arid=arid,
        cold=cold,
        people=uniform(points, cell_m=16_000, octaves=5, seed=key(seed, 4)),
        forest=uniform(points, cell_m=3_500, octaves=5, seed=key(seed, 5), gain=0.6),
        farm=uniform(points, cell_m=30_000, octaves=6, seed=key(seed, 6)),
        damp=uniform(points, cell_m=2_500, octaves=4, seed=key(seed, 7)),
        shade=_shade(nodes, height, seed),
        north=np.clip(nodes.lat / 30 + 0.5, 0, 1).astype(np.float32),
    )


def _river(nodes: Nodes, seed: int) -> Floats:
    """Zero lines of noise are closed curves without ends: two families of them, one of them of streams."""
    main = uniform(nodes.points_m, cell_m=26_000, octaves=6, seed=key(seed, 8), gain=0.42) - np.float32(0.5)
    stream = uniform(nodes.points_m, cell_m=9_000, octaves=5, seed=key(seed, 9), gain=0.42) - np.float32(0.5)
    nearest: Floats = np.minimum(np.abs(main), 2 * np.abs(stream)).astype(np.float32)
    return nearest


def _shade(nodes: Nodes, height: Floats, seed: int) -> Floats:
    """Light of slopes, by the rise to a place 90 m away along each axis; hills grow where it is high."""
    here, there = (
        fractal(points, cell_m=2_600, octaves=4, seed=key(seed, 16))
        for points in (nodes.points_m, nodes.points_m + 90.0)
    )
    steepness = np.float32(0.9) + 6 * np.maximum(height - np.float32(0.4), 0)
    shade: Floats = np.clip(1 + steepness * (here - there), 0.65, 1.35).astype(np.float32)
    return shade


def _at_pixels(fields: Fields) -> Fields:
    names = list(Fields.__dataclass_fields__)
    stack = to_pixels(np.stack([getattr(fields, name) for name in names]))
    return Fields(**dict(zip(names, stack, strict=True)))


def _detail(nodes: Nodes, seed: int) -> Floats:
    """Structure of 100 to 200 m, -1..1: it frays the borders of the slow fields."""
    rough = fractal(nodes.points_m, cell_m=190, octaves=2, seed=key(seed, 10))
    detail: Floats = to_pixels(2.6 * (rough - np.float32(0.5)))
    return detail


def _grain(window: Window, seed: int) -> Floats:
    """Trees and clods, -1..1: the one thing tied to the pixels of the zone, and never part of the truth."""
    rows = np.arange(window.row, window.row + window.height)[:, None]
    columns = np.arange(window.column, window.column + window.width)[None, :]
    return 2 * unit(lattice_hash(columns, rows, seed=key(seed, 11))) - np.float32(1)


def _styles(seed: int) -> dict[str, Floats]:
    """Orientation and plot size of the kinds of districts."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 12]))
    angle = rng.uniform(0, np.pi, _DISTRICT_STYLES)
    width = rng.choice([110.0, 160.0, 230.0, 340.0, 480.0], _DISTRICT_STYLES)
    return {
        "cos": np.cos(angle).astype(np.float32),
        "sin": np.sin(angle).astype(np.float32),
        "width": width.astype(np.float32),
        "depth": (width * rng.uniform(0.35, 0.9, _DISTRICT_STYLES)).astype(np.float32),
    }


def _districts(nodes: Nodes, seed: int) -> tuple[npt.NDArray[np.uint32], Doubles, Doubles]:
    """Random word of the district and the place in it (u east, v north, metres from its middle)."""
    bend_x = fractal(nodes.points_m, cell_m=5_000, octaves=3, seed=key(seed, 13)) - np.float32(0.5)
    bend_y = fractal(nodes.points_m, cell_m=5_000, octaves=3, seed=key(seed, 14)) - np.float32(0.5)
    bend_deg = 0.03
    lat = to_pixels_exact(nodes.lat + bend_deg * bend_y)
    lon = to_pixels_exact(nodes.lon + bend_deg * bend_x / np.cos(np.deg2rad(nodes.lat)))
    lon = (lon + 180.0) % 360.0
    row = np.floor(lat / DISTRICT_DEG)
    across = lon * np.cos(np.deg2rad((row + 0.5) * DISTRICT_DEG)) / DISTRICT_DEG
    column = np.floor(across)
    word = lattice_hash(column.astype(np.int64), row.astype(np.int64), seed=key(seed, 15))
    return word, (across - column - 0.5) * _DISTRICT_M, (lat / DISTRICT_DEG - row - 0.5) * _DISTRICT_M


def _plots(nodes: Nodes, seed: int) -> Plots:
    word, u, v = _districts(nodes, seed)
    styles = _styles(seed)
    kind = (word & np.uint32(_DISTRICT_STYLES - 1)).astype(np.intp)
    east, north = u.astype(np.float32), v.astype(np.float32)
    along = east * styles["cos"][kind] + north * styles["sin"][kind]
    away = north * styles["cos"][kind] - east * styles["sin"][kind]
    width, depth = styles["width"][kind], styles["depth"][kind]
    parcel, field_edge = _bricks(along, away, width, depth, word)
    block, block_edge = _bricks(along, away, np.float32(130), np.float32(80), word)
    border = np.minimum(_DISTRICT_M / 2 - np.abs(u), _DISTRICT_M / 2 - np.abs(v))
    return Plots(parcel, block, field_edge < _LANE_M, block_edge < _LANE_M, border < _ROAD_M)


def _bricks(
    along: Floats,
    away: Floats,
    width: Floats | np.float32,
    depth: Floats | np.float32,
    word: npt.NDArray[np.uint32],
) -> tuple[npt.NDArray[np.uint32], Floats]:
    """Rows of rectangles, each row shifted: a random word of each and the distance to its edge in metres."""
    y = away / depth
    row = np.floor(y)
    shift = unit(mix(word ^ (row.astype(np.int32).astype(np.uint32) * np.uint32(0x9E3779B1))))
    x = along / width + shift
    column = np.floor(x)
    offset = column.astype(np.int32).astype(np.uint32) * np.uint32(0x85EBCA77)
    name = mix(word ^ (row.astype(np.int32).astype(np.uint32) * np.uint32(0xC2B2AE3D)) ^ offset)
    edge = np.minimum(
        np.minimum(x - column, 1 - x + column) * width, np.minimum(y - row, 1 - y + row) * depth
    )
    return name, edge.astype(np.float32)


def _classify(fields: Fields, plots: Plots, detail: Floats) -> Classes:
    """Later lines win: vegetation by climate, then farms, towns, roads, water and ice."""
    fuzz = np.float32(0.035) * detail
    dry = fields.arid + fuzz
    truth = np.full(detail.shape, GRASS, np.uint8)
    truth[dry > 0.50 + 0.25 * (fields.damp - 0.5)] = SHRUB
    truth[(dry > 0.80) | (fields.height > 0.97 + fuzz) | (fields.cold > 0.79 + fuzz)] = BARE
    wooded = np.clip(0.80 - 0.95 * fields.arid, 0.03, 0.75) * (fields.cold < 0.9)
    truth[fields.forest + fuzz > 1 - wooded] = TREES
    truth[(truth == GRASS) & (fields.damp + fuzz > 0.86)] = TREES
    truth[(truth == TREES) & (fields.damp + fuzz < 0.10)] = GRASS
    truth[(truth == SHRUB) & (fields.damp + fuzz < 0.12)] = BARE
    chosen = unit(plots.parcel)
    tilled = (fields.farm > 0.32 + 0.6 * np.maximum(fields.arid - 0.55, 0)) & (fields.cold < 0.78)
    tilled &= (fields.forest < 1 - 0.6 * wooded) & (fields.height < 0.8)
    truth[tilled & (chosen < 0.80)] = CROPS
    truth[tilled & (chosen >= 0.80) & (chosen < 0.93)] = GRASS
    truth[tilled & plots.lane & (chosen < 0.45)] = GRASS
    _settle(truth, fields, plots)
    _flood(truth, fields, fuzz)
    truth[(fields.cold > 0.84 + fuzz) & (truth != WATER)] = SNOW
    return truth


def _settle(truth: Classes, fields: Fields, plots: Plots) -> None:
    open_to_people = (fields.cold < 0.95) & (fields.height < 0.95)
    people = fields.people - np.float32(0.25) * np.maximum(fields.arid - 0.7, 0)
    ragged = np.float32(0.05) * (unit(plots.block ^ np.uint32(3)) - np.float32(0.5))
    town = (people + ragged > 0.905) & open_to_people
    village = (people > 0.70) & open_to_people & (unit(plots.parcel ^ np.uint32(7)) < 0.025)
    green = unit(plots.block)
    truth[town & (green < 0.80)] = BUILT
    truth[town & (green >= 0.80) & (green < 0.90)] = GRASS
    truth[town & (green >= 0.90)] = TREES
    truth[(town & plots.street) | village] = BUILT
    truth[plots.road & (people > 0.45) & open_to_people] = BUILT


def _flood(truth: Classes, fields: Fields, fuzz: Floats) -> None:
    shore = fields.height - np.float32(_SEA_LEVEL)
    wide = np.float32(0.004) + np.float32(0.010) * np.maximum(0.6 - fields.height, 0)
    wide = np.where(fields.arid > 0.8, np.float32(0.0), wide)
    marsh = (fields.damp > 0.62 + fuzz) & (fields.arid < 0.75)
    truth[marsh & ((shore < 0.02) | (fields.river < 4 * wide))] = FLOODED
    truth[(shore < 0.0015) & ~marsh & (truth != BUILT)] = BARE
    truth[(shore + 0.02 * fuzz < 0) | (fields.river < wide)] = WATER


def _strains(truth: Classes, plots: Plots, fields: Fields, detail: Floats) -> Classes:
    """Varieties: by parcel for crops and grass, by block in towns, by a slow field elsewhere."""
    last = NUM_STRAINS - 1
    slow = np.clip((fields.damp + 0.25 * detail) * NUM_STRAINS, 0, last).astype(np.uint8)
    strain = np.where(
        (truth == CROPS) | (truth == GRASS), (plots.parcel >> np.uint32(5)) & np.uint32(last), slow
    )
    houses = np.minimum((plots.block >> np.uint32(9)) & np.uint32(last), np.uint32(last - 1))
    strain = np.where(truth == BUILT, np.where(plots.street | plots.road, last, houses), strain)
    return strain.astype(np.uint8)
