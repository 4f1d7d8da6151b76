"""Where the satellites pass, and when: circular sun-synchronous orbits over a round Earth.

Track `k` of a repeat cycle crosses the equator at a longitude of its own; the rest of it is the same
curve. Numbers: ESA, Sentinel-2 (143 orbits in 10 days, 290 km) and Sentinel-1 (175 orbits in 12 days, 250 km).
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from sandbox.planet.lattice import EARTH_RADIUS_M, Doubles

DAY_MS = 86_400_000
_FIRST_TRACK_DEG = 0.37
DEGREE_M = EARTH_RADIUS_M * np.pi / 180


@dataclass(frozen=True)
class Orbit:
    """One kind of pass."""

    inclination_deg: float
    tracks: int
    """Passes of one repeat cycle, evenly spread over the equator."""
    cycle_days: int
    stride: int
    """Days from a track to its eastern neighbour, modulo the cycle."""
    period_min: float
    local_hour: float
    """Local solar time at the equator."""
    ascending: bool
    half_swath_m: float


SENTINEL2 = Orbit(98.62, 143, 10, 3, 100.6, 10.5, False, 145_000.0)
S1_ASCENDING = Orbit(98.18, 175, 12, 5, 98.6, 18.0, True, 125_000.0)
S1_DESCENDING = Orbit(98.18, 175, 12, 5, 98.6, 6.0, False, 125_000.0)


def equator_lon(orbit: Orbit, track: int | np.ndarray) -> Doubles:
    """Longitude of a track's crossing of the equator in degrees, -180..180."""
    return np.asarray(track * 360.0 / orbit.tracks - 180.0 + _FIRST_TRACK_DEG)


def arc_of(orbit: Orbit, lat: float | Doubles) -> Doubles:
    """Angle along the orbit from the equator (degrees, signed as the latitude)."""
    ratio = np.sin(np.deg2rad(lat)) / np.sin(np.deg2rad(orbit.inclination_deg))
    return np.asarray(np.rad2deg(np.arcsin(np.clip(ratio, -1.0, 1.0))))


def lat_of(orbit: Orbit, arc: float | Doubles) -> Doubles:
    """Latitude of a place on the orbit by its angle from the equator."""
    return np.asarray(
        np.rad2deg(np.arcsin(np.sin(np.deg2rad(arc)) * np.sin(np.deg2rad(orbit.inclination_deg))))
    )


def lon_shift(orbit: Orbit, lat: float | Doubles) -> Doubles:
    """Degrees that a track lies east of its equator crossing at a latitude (inclined orbit, turning Earth)."""
    arc = np.deg2rad(arc_of(orbit, lat))
    tilt = np.cos(np.deg2rad(orbit.inclination_deg))
    west = -np.rad2deg(np.arctan2(tilt * np.sin(arc), np.cos(arc)))
    turned = np.rad2deg(arc) * orbit.period_min / 1436.07
    return np.asarray((-1.0 if orbit.ascending else 1.0) * (west + turned))


def heading_rad(orbit: Orbit, lat: float | Doubles) -> Doubles:
    """Angle of the ground track to the meridian: eastward shift per northward distance."""
    step = 0.05
    upper, lower = np.minimum(np.asarray(lat) + step, 81.3), np.maximum(np.asarray(lat) - step, -81.3)
    slope = (lon_shift(orbit, upper) - lon_shift(orbit, lower)) / np.maximum(upper - lower, step)
    return np.asarray(np.arctan(slope * np.cos(np.deg2rad(lat))))


def edge_lons(orbit: Orbit, track: int, lat: Doubles) -> tuple[Doubles, Doubles]:
    """Western and eastern border of the swath at latitudes, in degrees (not wrapped)."""
    middle = equator_lon(orbit, track) + lon_shift(orbit, lat)
    width = orbit.half_swath_m / np.cos(heading_rad(orbit, lat)) / (DEGREE_M * np.cos(np.deg2rad(lat)))
    return middle - width, middle + width


def tracks_over(orbit: Orbit, *, lon: float, lat: float, reach_m: float) -> list[int]:
    """Tracks whose swath comes within a distance of a place; on the safe side."""
    margin_deg = reach_m / DEGREE_M
    across = np.cos(np.deg2rad(min(abs(lat) + margin_deg, 85.0)))
    bend = np.ptp(lon_shift(orbit, np.array([lat - margin_deg, lat, lat + margin_deg])))
    tilt = 1 / np.cos(heading_rad(orbit, lat))
    limit = (reach_m + orbit.half_swath_m * float(tilt)) / (DEGREE_M * across) + float(bend)
    middle = equator_lon(orbit, np.arange(orbit.tracks)) + lon_shift(orbit, lat)
    away = np.abs((middle - lon + 180.0) % 360.0 - 180.0)
    return [int(track) for track in np.flatnonzero(away <= limit)]


def phase(orbit: Orbit, track: int) -> int:
    """Day of the cycle on which a track is flown."""
    return track * orbit.stride % orbit.cycle_days


def crossing_ms(orbit: Orbit, *, track: int, day: int) -> int:
    """Time of the equator crossing, of a track on a day (days and milliseconds since 1970-01-01 UTC)."""
    lon = track * 360.0 / orbit.tracks - 180.0 + _FIRST_TRACK_DEG
    hours = orbit.local_hour - lon / 15.0
    return day * DAY_MS + round(hours * 3600) * 1000


def delay_ms(orbit: Orbit, lat: float) -> int:
    """Time from the equator crossing to a latitude, in whole seconds."""
    minutes = float(arc_of(orbit, lat)) / 360.0 * orbit.period_min
    return round((minutes if orbit.ascending else -minutes) * 60) * 1000


def days_between(orbit: Orbit, *, track: int, start_ms: int, end_ms: int) -> list[tuple[int, bool]]:
    """Days on which a track may be flown with a start in the interval, and whether by the second satellite.

    A day more on each side than needed: passes start up to a day away from their day's midnight.
    """
    half = orbit.cycle_days // 2
    first, last = start_ms // DAY_MS - 1, end_ms // DAY_MS + 1
    lag = (phase(orbit, track) - first) % half
    days = range(first + lag, last + 1, half)
    return [(day, (day - phase(orbit, track)) % orbit.cycle_days == half) for day in days]


def stamp(time_ms: int) -> str:
    """`20210704T103041`."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y%m%dT%H%M%S")


def time_ms_of(text: str) -> int | None:
    """Milliseconds of a `stamp`, or None if it is none."""
    try:
        return int(datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError:
        return None


def date_ms(year: int, month: int, day: int) -> int:
    """Midnight UTC of a date in milliseconds since 1970-01-01."""
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000
