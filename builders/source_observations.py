"""What a source is seen to do on a few locations: asked here, judged in `builders.source_checks`.

About six requests a location and three of 30 MB; each is one that a build makes, or shows what lies behind it.
"""

import datetime as dt
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from builders.acceptance import judge
from builders.choice import choose
from builders.config import BuildConfig
from builders.config_sections import Season
from builders.crew import in_threads
from builders.metadata import leading_product
from builders.raw_requests import RawSource, band_of, decode_npy, lattice_of, native_window, window
from builders.records import (
    COLLECTIONS,
    DYNAMIC_WORLD,
    S1_GRD,
    S2_L2A,
    Location,
    LocationPlan,
    Scene,
    SeasonChoice,
)
from builders.request_log import RequestRecord
from builders.request_size import LIMIT_BYTES, MASK_BYTES, SAFE_SHARE
from builders.stack import Layer, season_layers
from noldo.errors import (
    RequestRefusedError,
    RequestTooLargeError,
    SceneUnavailableError,
    SourceError,
)
from noldo.grids import Grid
from noldo.products import ArraySpec, array_specs
from noldo.status import Status

logger = logging.getLogger(__name__)

NUM_LOCATIONS = 10
"""Locations whose pixels are asked for."""

BASELINE_SEASON = Season(name="baseline_0400", date=dt.date(2022, 1, 25), window_days=45)
"""Around the day from which Sentinel-2 numbers carry +1000 (processing baseline 04.00)."""

FAR_AWAY_M = 1_000_020
"""Farther than any scene is long, and on the 60 m lattice."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Patch:
    """One season of one location: as a build asks for it, and as the provider stores it."""

    location: Location
    choice: SeasonChoice
    layers: tuple[Layer, ...]
    """What was asked for."""
    stack: np.ndarray
    """What came: axes (y, x), a field a band, 10 m."""
    stored: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Bands of the leading Sentinel-2 product on their own grids, axes (y, x); empty where not asked for."""
    misplaced: tuple[str, ...] = ()
    """Bands whose own pixels do not fall on the patch's."""


@dataclass(frozen=True)
class Outside:
    """A request for a patch far from the scenes that it names: nothing of it is observed."""

    layers: tuple[Layer, ...]
    stack: np.ndarray
    """As a build asks for it: what is not observed gets a value."""
    stored: np.ndarray | None
    """As the provider gives it when nothing is asked of it; None if it refuses."""


@dataclass(frozen=True)
class SizeTrial:
    """One request of a known size."""

    counted_bytes: int
    """By Earth Engine's accounting as this project knows it."""
    refusal: str
    """What the provider said; empty if it delivered."""


@dataclass(frozen=True)
class Lattice:
    """Where the pixels of a Sentinel-1 scene lie."""

    index: str
    crs: str
    size_m: float
    x_ul: float
    y_ul: float


@dataclass(frozen=True)
class WholeRead:
    """All seasons of one location, read as a build reads them."""

    location_id: int
    statuses: tuple[Status, ...]
    """What acceptance says of each season."""
    profile: str
    """The provider's own account of the computation; empty if it gave none."""


@dataclass(frozen=True)
class Observations:
    """All that the checks judge."""

    config: BuildConfig
    num_searched: int
    """Locations in the one metadata request."""
    scenes: tuple[Scene, ...] = ()
    search_profile: str = ""
    reads: tuple[WholeRead, ...] = ()
    patches: tuple[Patch, ...] = ()
    outside: Outside | None = None
    sizes: tuple[SizeTrial, ...] = ()
    data_types: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`product.band` to the provider's description of its type."""
    s1_lattices: tuple[Lattice, ...] = ()
    problems: tuple[str, ...] = ()
    """Requests that the provider refused or answered with what can't be read, in words."""
    records: tuple[RequestRecord, ...] = ()
    """Every HTTP attempt that was made for this."""
    restricted: bool = False
    anonymous_status: int | None = None
    """HTTP status of a request without credentials; None if it was not made."""


def with_baseline_season(config: BuildConfig) -> BuildConfig:
    """The config with one more season, around the change of the processing baseline."""
    return config.model_copy(update={"seasons": (*config.seasons[:11], BASELINE_SEASON)})


def observe(
    config: BuildConfig, source: RawSource, locations: Sequence[Location], *, concurrency: int
) -> Observations:
    """Ask for everything that the checks need, except what the request log tells.

    Parameters
    ----------
    config
        From `with_baseline_season`; the source must be connected with it.
    locations
        All are searched in one request; pixels are asked for of the first `NUM_LOCATIONS`.

    Raises
    ------
    SourceError
        If quota or credentials end, or transient faults outlast the patience. Refusals of single requests are
        observations and raise nothing.
    """
    notes = _Notes()
    scenes, search_profile = source.profiled(lambda: source.search(locations))
    plans = [
        choose(place, [scene for scene in scenes if scene.location_id == place.id], config)
        for place in locations[:NUM_LOCATIONS]
    ]
    observer = _Observer(config, source, notes)
    seen = list(in_threads(observer.location, list(enumerate(plans)), concurrency=concurrency))
    seen.sort(key=lambda one: one.position)
    first = next((choice for plan in plans for ranked in plan.seasons for choice in ranked), None)
    return Observations(
        config=config,
        num_searched=len(locations),
        scenes=tuple(scenes),
        search_profile=search_profile,
        reads=tuple(one.read for one in seen if one.read is not None),
        patches=tuple(patch for one in seen for patch in one.patches),
        s1_lattices=tuple(one.s1_lattice for one in seen if one.s1_lattice is not None),
        outside=observer.outside(first, plans) if first else None,
        sizes=observer.sizes(first) if first else (),
        data_types=observer.data_types(first) if first else {},
        problems=tuple(sorted(notes.problems)),
        restricted=source.restricted,
    )


class _Notes:
    """Collects refusals. Appending to a list is atomic, so threads may share it."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def attempt(self, what: str, ask: Callable[[], Answer]) -> Answer | None:
        """The answer, or None and a note of why there is none."""
        try:
            return ask()
        except (RequestRefusedError, RequestTooLargeError, SceneUnavailableError) as error:
            self.problems.append(f"{what}: {error}")
        except SourceError as error:
            if type(error) is not SourceError:
                raise
            self.problems.append(f"{what}: {error}")
        return None


@dataclass(frozen=True)
class _Seen:
    position: int
    read: WholeRead | None
    patches: tuple[Patch, ...]
    s1_lattice: Lattice | None


class _Observer:
    """Asks for one thing after another; a refusal is noted and the next thing is asked for."""

    def __init__(self, config: BuildConfig, source: RawSource, notes: _Notes) -> None:
        self._config = config
        self._source = source
        self._notes = notes
        self._specs = array_specs(config.products.selected())
        self._lead = leading_product(config)

    def location(self, item: tuple[int, LocationPlan]) -> _Seen:
        """One location: a whole read, one season in detail, and one scene of the baseline season."""
        position, plan = item
        seasons = [ranked[0] for ranked in plan.seasons[:-1] if ranked]
        detailed = seasons[position % len(seasons)] if seasons else None
        patches = [self._patch(plan.location, detailed, with_stored=True)] if detailed else []
        patches += [self._patch(plan.location, ranked[0]) for ranked in plan.seasons[-1:] if ranked]
        return _Seen(
            position=position,
            read=self._whole_read(plan.location, seasons) if seasons else None,
            patches=tuple(patch for patch in patches if patch is not None),
            s1_lattice=self._s1_lattice(detailed) if detailed and detailed.s1_index else None,
        )

    def _whole_read(self, place: Location, choices: Sequence[SeasonChoice]) -> WholeRead | None:
        def read() -> WholeRead:
            arrays, profile = self._source.profiled(lambda: self._source.read(place, choices, fallback=False))
            verdicts = judge(
                arrays, choices, specs=self._specs, size_px=place.grid.size_px, config=self._config
            )
            return WholeRead(place.id, tuple(verdict.status for verdict in verdicts), profile)

        return self._notes.attempt(f"location {place.id}, all seasons", read)

    def _patch(self, place: Location, choice: SeasonChoice, *, with_stored: bool = False) -> Patch | None:
        layers = season_layers(choice, position=0, specs=self._specs, config=self._config)
        stack = self._notes.attempt(
            f"{choice.s2_index}, one season",
            lambda: decode_npy(self._source.stacked_pixels(layers, place.grid)),
        )
        if stack is None:
            return None
        stored, misplaced = self._stored(place, choice) if with_stored else ({}, ())
        return Patch(place, choice, layers, stack, stored=stored, misplaced=misplaced)

    def _stored(self, place: Location, choice: SeasonChoice) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """One band of each resolution on its own grid, and those whose grid is another."""
        if choice.crs_epsg != place.grid.crs_epsg or not self._config.source.native_lattice:
            return {}, ()
        asset = f"{COLLECTIONS[self._lead]}/{choice.s2_index}"

        def windows() -> dict[str, dict[str, object] | None]:
            info = self._source.asset(asset)
            bands = [spec.bands[0] for spec in self._lead_specs()]
            return {band: native_window(band_of(info, band), place.grid) for band in bands}

        grids = self._notes.attempt(asset, windows) or {}
        stored = {
            band: self._notes.attempt(f"{asset} {band}", partial(self._read_stored, asset, band, grid))
            for band, grid in grids.items()
            if grid is not None
        }
        return (
            {band: pixels for band, pixels in stored.items() if pixels is not None},
            tuple(band for band, grid in grids.items() if grid is None),
        )

    def _lead_specs(self) -> list[ArraySpec]:
        return [spec for spec in self._specs if spec.product == self._lead]

    def _read_stored(self, asset: str, band: str, grid: Mapping[str, object]) -> np.ndarray:
        array = decode_npy(self._source.stored_pixels(asset, bands=[band], grid=grid))
        pixels: np.ndarray = array[band]
        return pixels

    def _s1_lattice(self, choice: SeasonChoice) -> Lattice | None:
        asset = f"{COLLECTIONS[S1_GRD]}/{choice.s1_index}"

        def read() -> Lattice:
            lattice = lattice_of(band_of(self._source.asset(asset), self._config.products.s1_grd[0]))
            return Lattice(choice.s1_index, *lattice)

        return self._notes.attempt(asset, read)

    def outside(self, choice: SeasonChoice, plans: Sequence[LocationPlan]) -> Outside | None:
        """The scenes of a choice on a patch that is a thousand kilometres away."""
        place = next(plan.location for plan in plans if plan.location.id == choice.location_id)
        layers = season_layers(choice, position=0, specs=self._specs, config=self._config)
        grid = _far_away(place.grid)
        stack = self._notes.attempt(
            f"{choice.s2_index}, far away", lambda: decode_npy(self._source.stacked_pixels(layers, grid))
        )
        if stack is None:
            return None
        band = self._lead_specs()[0].bands[0]
        asset = f"{COLLECTIONS[self._lead]}/{choice.s2_index}"
        crs = f"EPSG:{grid.crs_epsg}"
        far = window(crs, size_m=10, x_ul=grid.x_ul, y_ul=grid.y_ul, side_px=grid.size_px)
        try:
            stored = self._read_stored(asset, band, far)
        except (RequestRefusedError, SceneUnavailableError) as error:
            logger.info("%s %s, far away: %s", asset, band, error)
            return Outside(layers, stack, None)
        return Outside(layers, stack, stored)

    def sizes(self, choice: SeasonChoice) -> tuple[SizeTrial, ...]:
        """Requests at the share of the limit that builds use, just below the limit, and just above it."""
        asset = f"{COLLECTIONS[self._lead]}/{choice.s2_index}"
        bands = [band for spec in self._lead_specs() for band in spec.bands]
        lattice = self._notes.attempt(asset, lambda: lattice_of(self._band(asset, bands[0])))
        if lattice is None:
            return ()
        crs, _, x_ul, y_ul = lattice
        a_pixel = len(bands) * (np.dtype(np.uint16).itemsize + MASK_BYTES)
        largest = math.isqrt(LIMIT_BYTES // a_pixel)
        trials = []
        for side in (math.isqrt(int(LIMIT_BYTES * SAFE_SHARE) // a_pixel), largest, largest + 1):
            grid = window(crs, size_m=10, x_ul=x_ul, y_ul=y_ul, side_px=side)
            trials.append(self._size_trial(asset, bands, grid, counted_bytes=side * side * a_pixel))
        return tuple(trials)

    def _size_trial(
        self, asset: str, bands: Sequence[str], grid: Mapping[str, object], *, counted_bytes: int
    ) -> SizeTrial:
        try:
            self._source.stored_pixels(asset, bands=bands, grid=grid)
        except (RequestTooLargeError, RequestRefusedError) as error:
            return SizeTrial(counted_bytes, str(error))
        return SizeTrial(counted_bytes, "")

    def data_types(self, choice: SeasonChoice) -> dict[str, Mapping[str, Any]]:
        """Types of one band of each kind, as the provider describes them."""
        products = self._config.products
        bands = {
            f"{self._lead}.{self._lead_specs()[0].bands[0]}": choice.s2_index,
            f"{DYNAMIC_WORLD}.label": choice.s2_index,
        }
        if products.s2_scl:
            bands[f"{S2_L2A}.SCL"] = choice.s2_index
        if products.s1_grd:
            bands[f"{S1_GRD}.{products.s1_grd[0]}"] = choice.s1_index
        if products.dynamic_world_probability:
            bands[f"{DYNAMIC_WORLD}.water"] = choice.s2_index
        types = {}
        for name, index in bands.items():
            collection, band = name.split(".")
            asset = f"{COLLECTIONS[collection]}/{index}"
            found = self._notes.attempt(asset, partial(self._band, asset, band))
            if found is not None:
                types[name] = found.get("dataType", {})
        return types

    def _band(self, asset: str, band: str) -> Mapping[str, Any]:
        return band_of(self._source.asset(asset), band)


def _far_away(grid: Grid) -> Grid:
    """Twelve pixels in the same zone, towards the middle of its northings."""
    shift = -FAR_AWAY_M if grid.y_ul > 5_000_000 else FAR_AWAY_M
    return Grid(grid.crs_epsg, grid.x_ul, grid.y_ul + shift, 12)
