"""Scenes of Sentinel-1: frames of 250 x 170 km along the orbit, each on a lattice of its own."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
from shapely import MultiPoint, Polygon

from noldo.grids import utm_epsg
from sandbox.catalogue import Band, SceneRecord
from sandbox.planet import orbits
from sandbox.planet.footprints import Shape, shape_of
from sandbox.planet.lattice import Doubles, Window, central_meridian, row_origin_m, to_zone, unwrapped
from sandbox.planet.noise import chance, key
from sandbox.planet.orbits import DAY_MS, DEGREE_M, S1_ASCENDING, S1_DESCENDING, Orbit, date_ms
from sandbox.planet.tiles import Bounds

S1_GRD = "COPERNICUS/S1_GRD"

FRAME_M = 170_000
NEAR_DEG, FAR_DEG = 30.5, 45.5
"""Incidence angle at the near and the far edge of the swath of IW (ESA, Sentinel-1 product definition)."""

_FRAME_DEG = FRAME_M / DEGREE_M
_MAX_LAT = 78.0
_FIRST_MS, _B_FIRST_MS, _B_LAST_MS, _C_FIRST_MS = (
    date_ms(2014, 10, 3),
    date_ms(2016, 9, 26),
    date_ms(2021, 12, 23),
    date_ms(2025, 3, 26),
)
_LOST, _OTHER_MODE, _VV_ONLY, _ONE_PASS_ONLY, _ONE_SATELLITE = 0.05, 0.02, 0.03, 0.30, 0.25
"""Shares of scenes lost, in another mode, with one polarisation; of regions with one kind of pass, and
of regions that the second satellite leaves out."""
_REGION_DEG = 7.0


@dataclass(frozen=True)
class Frame:
    """A piece of a track that is cut into one scene at each pass."""

    ascending: bool
    track: int
    number: int
    """Pieces from the equator; negative in the south."""

    @property
    def orbit(self) -> Orbit:
        """Its kind of pass."""
        return S1_ASCENDING if self.ascending else S1_DESCENDING

    @property
    def code(self) -> int:
        """One number for the frame, below 2**24."""
        return (int(self.ascending) << 20) | (self.track << 8) | (self.number + 128)


@dataclass(frozen=True)
class Pass:
    """One scene: a frame on a day."""

    frame: Frame
    day: int
    second: bool
    """By the other satellite (1B, later 1C)."""

    @property
    def number(self) -> int:
        """Stands for the datatake."""
        return self.day * 1000 + self.frame.track + 500 * int(self.frame.ascending)

    @property
    def start_ms(self) -> int:
        """`system:time_start`."""
        orbit, low = self.frame.orbit, self.frame.number * _FRAME_DEG
        first = low if self.frame.ascending else low + _FRAME_DEG
        delay = orbits.delay_ms(orbit, float(orbits.lat_of(orbit, first)))
        return orbits.crossing_ms(orbit, track=self.frame.track, day=self.day) + delay

    @property
    def day_of_year(self) -> int:
        """1..366."""
        return datetime.fromtimestamp(self.start_ms / 1000, UTC).timetuple().tm_yday


def scenes_near(bounds: Bounds, *, start_ms: int, end_ms: int, seed: int) -> list[SceneRecord]:
    """Scenes whose frames may meet the bounds, that start in [start_ms, end_ms), in no order."""
    return [
        record
        for frame in _frames_near(bounds)
        for taken in _passes(frame, start_ms=start_ms, end_ms=end_ms, seed=seed)
        if start_ms <= taken.start_ms < end_ms and (record := record_of(taken, seed=seed))
    ]


def pass_named(index: str, *, seed: int) -> Pass | None:
    """The scene of a `system:index`, or None."""
    words = index.split("_")
    if len(words) != 9:
        return None
    start_ms = orbits.time_ms_of(words[4])
    try:
        code = int(words[7], 16)
    except ValueError:
        return None
    frame = Frame(bool(code >> 20), code >> 8 & 0xFFF, (code & 0xFF) - 128)
    if start_ms is None or code >> 21 or shape_of_frame(frame) is None:
        return None
    taken = _passes(frame, start_ms=start_ms - DAY_MS, end_ms=start_ms + DAY_MS, seed=seed)
    return next((item for item in taken if index_of(item, seed=seed) == index), None)


@lru_cache(maxsize=20_000)
def record_of(taken: Pass, *, seed: int) -> SceneRecord:
    """The image of a pass over a frame."""
    other = chance(seed, 72, taken.number) < _OTHER_MODE
    return SceneRecord(
        collection=S1_GRD,
        index=index_of(taken, seed=seed),
        time_start_ms=taken.start_ms,
        footprint=_outline(taken.frame),
        properties={
            "instrumentMode": "EW" if other else "IW",
            "transmitterReceiverPolarisation": list(polarisations(taken, seed=seed)),
            "orbitProperties_pass": "ASCENDING" if taken.frame.ascending else "DESCENDING",
            "relativeOrbitNumber_start": taken.frame.track + 1,
            "platform_number": _platform(taken)[-1],
            "resolution_meters": 10,
        },
    )


def index_of(taken: Pass, *, seed: int) -> str:
    """`system:index`, in the form of the provider's; its last but one word is the frame's code."""
    start = taken.start_ms
    mode = "EW_GRDM" if chance(seed, 72, taken.number) < _OTHER_MODE else "IW_GRDH"
    kind = "1SDV" if len(polarisations(taken, seed=seed)) == 2 else "1SSV"
    absolute = taken.day * 14 + taken.frame.track % 14
    tail = key(seed, 74, taken.frame.code, taken.day) & 0xFFFF
    times = f"{orbits.stamp(start)}_{orbits.stamp(start + 25_000)}"
    return f"{_platform(taken)}_{mode}_{kind}_{times}_{absolute:06d}_{taken.frame.code:06X}_{tail:04X}"


def polarisations(taken: Pass, *, seed: int) -> tuple[str, ...]:
    """What was received: both, rarely VV alone."""
    return ("VV",) if chance(seed, 73, taken.number) < _VV_ONLY else ("VV", "VH")


def bands_of(taken: Pass, *, seed: int) -> tuple[Band, ...]:
    """Bands on the scene's own lattice of 10 m, whose origin is no multiple of 10 m."""
    shape = _shape(taken)
    x_min, y_min, x_max, y_max = Polygon(shape.corners_m).bounds
    shift_x, shift_y = (1 + key(seed, 75 + axis, taken.frame.code, taken.day) % 9 for axis in range(2))
    left, top = int(x_min // 10 * 10 - 10 + shift_x), int(y_max // 10 * 10 + 10 + shift_y)
    width, height = int((x_max - left) // 10 + 1), int((top - y_min) // 10 + 1)
    kinds = [*((name, "float64") for name in polarisations(taken, seed=seed)), ("angle", "float32")]
    transform = (10.0, 0.0, float(left), 0.0, -10.0, float(top))
    return tuple(Band(name, dtype, shape.crs_epsg, transform, width, height) for name, dtype in kinds)


def window_on_zone(band: Band, *, column: int, row: int, width: int, height: int) -> Window:
    """Pixels of the zone's lattice that hold the centres of a window of the band."""
    x = band.transform[2] + 10 * column + 5
    y = row_origin_m(band.crs_epsg) - (band.transform[5] - 10 * row - 5)
    return Window(band.crs_epsg, int(x // 10), int(y // 10), width, height)


def incidence(taken: Pass, band: Band, *, column: int, row: int, width: int, height: int) -> Doubles:
    """Incidence angle in degrees over a window of the band, float64 (y, x)."""
    near, away = _range_axis(taken.frame)
    x = band.transform[2] + 10 * (np.arange(column, column + width) + 0.5)[None, :]
    y = band.transform[5] - 10 * (np.arange(row, row + height) + 0.5)[:, None]
    share = ((x - near[0]) * away[0] + (y - near[1]) * away[1]) / (away @ away)
    angle: Doubles = NEAR_DEG + (FAR_DEG - NEAR_DEG) * share
    return angle


@lru_cache(maxsize=20_000)
def shape_of_frame(frame: Frame) -> Shape | None:
    """The frame in metres of the zone of its centre; None beyond 78 degrees or where there is no such track."""
    lat = float(orbits.lat_of(frame.orbit, (frame.number + 0.5) * _FRAME_DEG))
    if abs(lat) > _MAX_LAT or not 0 <= frame.track < frame.orbit.tracks:
        return None
    hull = MultiPoint(_corners_m(frame)).convex_hull
    return shape_of(_zone(frame), hull) if isinstance(hull, Polygon) else None


def _shape(taken: Pass) -> Shape:
    shape = shape_of_frame(taken.frame)
    assert shape is not None, "passes are made only of frames that exist"
    return shape


@lru_cache(maxsize=20_000)
def _outline(frame: Frame) -> Polygon:
    shape = shape_of_frame(frame)
    assert shape is not None, "passes are made only of frames that exist"
    return shape.outline()


def _middle(frame: Frame, arc: float) -> tuple[float, float]:
    lat = float(orbits.lat_of(frame.orbit, arc))
    lon = float(orbits.equator_lon(frame.orbit, frame.track) + orbits.lon_shift(frame.orbit, lat))
    return (lon + 180.0) % 360.0 - 180.0, lat


def _zone(frame: Frame) -> int:
    return utm_epsg(*_middle(frame, (frame.number + 0.5) * _FRAME_DEG))


@lru_cache(maxsize=20_000)
def _corners_m(frame: Frame) -> tuple[tuple[float, float], ...]:
    """South-west, south-east, north-east and north-west corner in metres of the frame's zone."""
    crs_epsg, corners = _zone(frame), []
    for end, sides in ((0, (-1, 1)), (1, (1, -1))):
        lon, lat = _middle(frame, (frame.number + end) * _FRAME_DEG)
        heading = float(orbits.heading_rad(frame.orbit, lat))
        for side in sides:
            away = side * frame.orbit.half_swath_m / DEGREE_M
            corner_lat = lat - away * np.sin(heading)
            corner_lon = lon + away * np.cos(heading) / np.cos(np.deg2rad(corner_lat))
            near = unwrapped(np.array(corner_lon), around=central_meridian(crs_epsg))
            x, y = to_zone(crs_epsg).transform(float(near), float(corner_lat))
            corners.append((float(round(x)), float(round(y))))
    return tuple(corners)


@lru_cache(maxsize=20_000)
def _range_axis(frame: Frame) -> tuple[Doubles, Doubles]:
    """Middle of the near edge and the vector to the far one; the radar looks to the right of its flight."""
    south_west, south_east, north_east, north_west = np.array(_corners_m(frame))
    west, east = (south_west + north_west) / 2, (south_east + north_east) / 2
    return (west, east - west) if frame.ascending else (east, west - east)


def _frames_near(bounds: Bounds) -> list[Frame]:
    lon, lat = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
    half_lat = (bounds[3] - bounds[1]) / 2 + 1.0 + 1.5 * float(abs(lat) > 60)
    half_m = (bounds[2] - bounds[0]) / 2 * DEGREE_M * np.cos(np.deg2rad(lat)) + half_lat * DEGREE_M
    frames: list[Frame] = []
    for orbit in (S1_ASCENDING, S1_DESCENDING):
        arcs = orbits.arc_of(orbit, np.clip([lat - half_lat, lat + half_lat], -81.0, 81.0)) / _FRAME_DEG
        numbers = range(int(np.floor(arcs[0])), int(np.floor(arcs[1])) + 1)
        tracks = orbits.tracks_over(orbit, lon=lon, lat=float(np.clip(lat, -80, 80)), reach_m=float(half_m))
        frames += [Frame(orbit.ascending, track, number) for track in tracks for number in numbers]
    return [frame for frame in frames if shape_of_frame(frame) and _meets(_box(frame), bounds)]


@lru_cache(maxsize=20_000)
def _box(frame: Frame) -> Bounds:
    lon_min, lat_min, lon_max, lat_max = _outline(frame).bounds
    return lon_min, lat_min, lon_max, lat_max


def _meets(own: Bounds, bounds: Bounds) -> bool:
    rows = own[1] <= bounds[3] and own[3] >= bounds[1]
    return rows and any(
        own[0] <= bounds[2] + turn and own[2] >= bounds[0] + turn for turn in (-360.0, 0.0, 360.0)
    )


def _passes(frame: Frame, *, start_ms: int, end_ms: int, seed: int) -> list[Pass]:
    """Passes around an interval (up to two days outside it)."""
    if not _is_planned(frame, seed):
        return []
    days = orbits.days_between(frame.orbit, track=frame.track, start_ms=start_ms, end_ms=end_ms)
    taken = [Pass(frame, day, second) for day, second in days]
    return [item for item in taken if _was_flown(item, seed)]


def _region(frame: Frame) -> tuple[int, int]:
    lon, lat = _middle(frame, (frame.number + 0.5) * _FRAME_DEG)
    return int(lon // _REGION_DEG), int(lat // _REGION_DEG)


def _is_planned(frame: Frame, seed: int) -> bool:
    draw = chance(seed, 76, *_region(frame))
    return draw >= _ONE_PASS_ONLY or (draw < _ONE_PASS_ONLY / 2) == frame.ascending


def _was_flown(taken: Pass, seed: int) -> bool:
    time_ms = taken.start_ms
    if chance(seed, 77, taken.frame.code, taken.day) < _LOST:
        return False
    if not taken.second:
        return time_ms >= _FIRST_MS
    if chance(seed, 78, *_region(taken.frame)) < _ONE_SATELLITE:
        return False
    return _B_FIRST_MS <= time_ms < _B_LAST_MS or time_ms >= _C_FIRST_MS


def _platform(taken: Pass) -> str:
    if not taken.second:
        return "S1A"
    return "S1B" if taken.start_ms < _B_LAST_MS else "S1C"
