"""Which Sentinel-1 pass goes with which Sentinel-2 scene: near in time, and one geometry for all seasons.

A change of orbit direction or of incidence angle looks like a change of the land. So the direction comes first that
serves every season with the shortest longest time difference, and then, likewise, one relative orbit of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from builders.config import BuildConfig
from builders.metadata import DAY_MS
from builders.records import Scene


@dataclass(frozen=True)
class Geometry:
    """Where Sentinel-1 looks from in all seasons of a location."""

    orbit_pass: str = ""
    """ASCENDING or DESCENDING; empty: no direction serves all seasons."""
    relative_orbit: int = 0
    """0: no single orbit of this direction serves all seasons."""

    def fits(self, scene: Scene) -> bool:
        """The pass is of this direction, and of this orbit if there is one; nothing fits no direction."""
        return (
            bool(self.orbit_pass)
            and scene.orbit_pass == self.orbit_pass
            and self.relative_orbit in (0, scene.relative_orbit)
        )


@dataclass(frozen=True)
class Match:
    """A Sentinel-1 pass that may be paired with a Sentinel-2 scene."""

    scene: Scene
    apart_ms: int
    """Time between the two, without sign."""


def matches(passes: Sequence[Scene], scene: Scene, *, config: BuildConfig) -> tuple[Match, ...]:
    """Passes within the limit of time: covering ones first, then nearest, ties by name.

    Passes whose footprint does not contain the patch count only where the build accepts partial coverage.
    """
    limit_ms = config.pairing.max_s1_days * DAY_MS
    near = [
        Match(one, abs(one.time_ms - scene.time_ms))
        for one in passes
        if one.covers or config.clouds.min_coverage < 1
    ]
    return tuple(
        sorted(
            (match for match in near if match.apart_ms <= limit_ms),
            key=lambda match: (not match.scene.covers, match.apart_ms, match.scene.index),
        )
    )


def common_geometry(seasons: Sequence[Sequence[Match]]) -> Geometry:
    """The direction, and if possible the orbit, for all seasons.

    Parameters
    ----------
    seasons
        For each season what may be paired with its Sentinel-2 scene.
    """
    found = {match.scene for season in seasons for match in season}
    directions = [Geometry(name) for name in sorted({scene.orbit_pass for scene in found} - {""})]
    direction = _best(seasons, directions)
    if direction is None:
        return Geometry()
    numbers = {scene.relative_orbit for scene in found if direction.fits(scene)} - {0}
    orbits = [Geometry(direction.orbit_pass, number) for number in sorted(numbers)]
    return _best(seasons, orbits) or direction


def _best(seasons: Sequence[Sequence[Match]], options: Sequence[Geometry]) -> Geometry | None:
    """The option that serves all seasons with the shortest longest time; then the shortest in all."""
    served = [(times, option) for option in options if (times := _times(seasons, option.fits))]
    return min(served, key=lambda item: (max(item[0]), sum(item[0])))[1] if served else None


def _times(seasons: Sequence[Sequence[Match]], fits: Callable[[Scene], bool]) -> list[int]:
    """Time apart in each season in milliseconds; empty if a season has no fitting pass."""
    fitting = [next((m for m in season if fits(m.scene)), None) for season in seasons]
    times = [match.apart_ms for match in fitting if match is not None]
    return times if len(times) == len(seasons) else []


def paired(candidates: Sequence[Match], geometry: Geometry) -> Match | None:
    """The pass to read: of the common geometry if one is near enough, then of its direction, then any."""
    direction = Geometry(geometry.orbit_pass)
    for fits in (geometry.fits, direction.fits):
        for match in candidates:
            if fits(match.scene):
                return match
    return candidates[0] if candidates else None
