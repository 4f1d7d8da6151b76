"""An imagery source made of a table: it serves from what a test expects, and holds callers to the contract."""

import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from builders.config import BuildConfig, parse_config
from builders.records import Location, LocationPlan, Scene, SeasonChoice
from builders.sources import ImagerySource
from noldo.errors import RequestRefusedError, SceneUnavailableError
from noldo.grids import Grid
from noldo.products import array_specs

SIZE_PX = 12
NUM_CANDIDATES = 4


def small_config(**changes: object) -> BuildConfig:
    """Two seasons of tiny patches."""
    tree: dict[str, object] = {
        "name": "small",
        "patch_size_px": SIZE_PX,
        "locations": {"count": 8},
        "seasons": [{"name": "spring", "date": "2021-03-20"}, {"name": "summer", "date": "2021-06-21"}],
    }
    return parse_config(tree | changes, where="test")


def location(number: int) -> Location:
    grid = Grid(32632, 300_000 + 6_000 * number, 5_300_040, SIZE_PX)
    return Location(id=number, lon=7.0, lat=48.0, grid=grid, place="", split="train")


def choice(number: int, season: int, rank: int) -> SeasonChoice:
    """Candidate `rank`; its scenes are named after it, e.g. `3-s0-c1` with the radar pass `3-s0-r1`."""
    return SeasonChoice(
        location_id=number,
        season=season,
        rank=rank,
        s2_index=f"{number}-s{season}-c{rank}",
        s1_index=f"{number}-s{season}-r{rank}",
        time_s2_ms=1_616_233_800_000 + season,
        time_s1_ms=1_616_243_800_000 + season,
        cloud_percent=3.0 + rank,
        crs_epsg=32632,
        tile="32TMT",
        baseline="04.00",
        offset_removed=True,
        orbit_pass="DESCENDING",
        relative_orbit=66,
        off_zone=False,
        reason="covers",
    )


def plan(number: int, *, seasons: int = 2, candidates: int = NUM_CANDIDATES) -> LocationPlan:
    ranked = tuple(
        tuple(choice(number, season, rank) for rank in range(candidates)) for season in range(seasons)
    )
    return LocationPlan(location(number), ranked, refusal="")


def refused_plan(number: int) -> LocationPlan:
    return LocationPlan(location(number), ((), ()), refusal="no usable scene in spring (no scene)")


class FakeSource:
    """Pixels are a pure function of the scene's name; `bad` says which scenes are not good, and how.

    `gone`: can't be read; `nameless`: the same without saying which; `hole`: a pixel is missing;
    `unlabelled`: no labels; `refused`: the request is called wrong.
    """

    def __init__(
        self,
        config: BuildConfig,
        *,
        bad: Mapping[str, str] | None = None,
        delay_s: float = 0.0,
        before_read: Callable[[Location], None] = lambda place: None,
        scenes: Sequence[Scene] = (),
    ) -> None:
        self.config = config
        self.bad = dict(bad or {})
        self.delay_s = delay_s
        self.before_read = before_read
        self.scenes = scenes
        self.reads: list[tuple[int, tuple[str, ...], bool]] = []
        """(location, names of Sentinel-2 scenes, fallback) of every read that was asked for."""
        self.searches: list[tuple[int, ...]] = []
        self.served: Counter[int] = Counter()
        """Reads that were answered, by location."""
        self.most_in_flight = 0
        self._in_flight = 0
        self._lock = threading.Lock()

    def search(self, locations: Sequence[Location]) -> list[Scene]:
        with self._lock:
            self.searches.append(tuple(place.id for place in locations))
        for place in locations:
            self._work(place)
        return [scene for place in locations for scene in self.scenes if scene.location_id == place.id]

    def read(
        self, location: Location, choices: Sequence[SeasonChoice], *, fallback: bool
    ) -> Mapping[str, np.ndarray]:
        with self._lock:
            self.reads.append((location.id, tuple(one.s2_index for one in choices), fallback))
        assert choices
        seasons = [one.season for one in choices]
        assert seasons == sorted(set(seasons)), "one choice a season, in season order"
        assert {one.location_id for one in choices} == {location.id}
        self._work(location)
        names = [name for one in choices for name in (one.s2_index, one.s1_index)]
        for name in names:
            self._refuse(name)
        with self._lock:
            self.served[location.id] += 1
        return expected_arrays(choices, config=self.config, bad=self.bad)

    def _work(self, place: Location) -> None:
        with self._lock:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            self.before_read(place)
            time.sleep(self.delay_s)
        finally:
            with self._lock:
                self._in_flight -= 1

    def _refuse(self, name: str) -> None:
        match self.bad.get(name):
            case "gone":
                raise SceneUnavailableError(f"{name} not found", index=name)
            case "nameless":
                raise SceneUnavailableError("something was not found")
            case "refused":
                raise RequestRefusedError(f"{name} is not to our taste")


def expected_arrays(
    choices: Sequence[SeasonChoice], *, config: BuildConfig, bad: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """What a read of these choices gives: each array filled with a number that its scene's name decides."""
    arrays: dict[str, np.ndarray] = {}
    for spec in array_specs(config.products.selected()):
        array = np.empty(spec.item_shape(len(choices), config.patch_size_px), spec.dtype)
        for position, one in enumerate(choices):
            name = one.s1_index if spec.product == "s1_grd" else one.s2_index
            array[position] = zlib.crc32(f"{name}/{spec.name}".encode()) % 9
            if bad.get(name) == "hole" and spec.resolution_m == 10:
                array[position, ..., 0, 0] = spec.no_data
            if bad.get(name) == "unlabelled" and spec.product == "dynamic_world":
                array[position] = spec.no_data
        arrays[spec.name] = array
    return arrays | {"off_lattice": np.zeros(len(choices), dtype=bool)}


_FITS: type[ImagerySource] = FakeSource
"""mypy proves that the fake is a source."""
