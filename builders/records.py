"""The values that flow between steps: places, scenes, choices, outcomes. All frozen."""

import datetime as dt
from dataclasses import dataclass, field

from noldo.grids import Grid
from noldo.status import Status

S2_L1C = "s2_l1c"
S2_L2A = "s2_l2a"
S1_GRD = "s1_grd"
DYNAMIC_WORLD = "dynamic_world"

COLLECTIONS = {
    S2_L1C: "COPERNICUS/S2_HARMONIZED",
    S2_L2A: "COPERNICUS/S2_SR_HARMONIZED",
    S1_GRD: "COPERNICUS/S1_GRD",
    DYNAMIC_WORLD: "GOOGLE/DYNAMICWORLD/V1",
}
"""Earth Engine ids. HARMONIZED: the +1000 of processing baseline 04.00 is taken off by the provider."""


@dataclass(frozen=True)
class Location:
    """One place and its grid, fixed before anything is fetched."""

    id: int
    """Stable number; also the row in every array is the rank of this id."""
    lon: float
    """Longitude of the grid's centre in degrees WGS84."""
    lat: float
    """Latitude of the grid's centre in degrees WGS84."""
    grid: Grid
    """The patch: UTM zone, corner, size."""
    place: str
    """City it was drawn around, or the name in the user's table; may be empty."""
    split: str
    """`train`, `val` or `test`; empty: of none."""
    date: dt.date | None = None
    """Of the location's own labels, if it has some: it then is the reference date of the season."""
    labelled_scene: str = ""
    """The Sentinel-2 scene that was labelled, as `DATATAKE_TILE` (20190306T083811_36SYB); empty if not known."""
    refusal: str = ""
    """Why it can't be built, known before anything is asked for; empty if it can."""


@dataclass(frozen=True)
class Scene:
    """One image that touches a location in the window of a season, as the provider describes it."""

    location_id: int
    season: int
    """Position on the season axis."""
    product: str
    """A key of `COLLECTIONS`."""
    index: str
    """`system:index`: the asset id without its collection. Equal for L1C, L2A and Dynamic World twins."""
    time_ms: int
    """Sensing start, milliseconds since 1970-01-01 UTC."""
    covers: bool
    """The footprint contains the whole patch (footprints are simplified: pixels decide)."""
    crs_epsg: int
    """Zone the pixels are stored in; 0 where the provider did not say."""
    tile: str = ""
    """MGRS tile, e.g. `32TPT`; empty for Sentinel-1."""
    cloud_percent: float | None = None
    """CLOUDY_PIXEL_PERCENTAGE of the whole scene; None where missing."""
    baseline: str = ""
    """PROCESSING_BASELINE, e.g. `04.00`; empty where missing."""
    offset_removed: bool = False
    """The scene carried the +1000 of baseline 04.00, and the provider took it off."""
    orbit_pass: str = ""
    """Sentinel-1: ASCENDING or DESCENDING."""
    relative_orbit: int = 0
    """Sentinel-1: relative orbit number; 0 where missing."""


@dataclass(frozen=True)
class SeasonChoice:
    """The images of one location and season: what is asked for, or would be asked for next."""

    location_id: int
    season: int
    rank: int
    """0 is the choice; 1, 2, ... follow if its pixels turn out bad."""
    s2_index: str
    """`system:index` shared by L1C, L2A and Dynamic World."""
    s1_index: str
    """`system:index` of Sentinel-1; empty if the build stores none."""
    time_s2_ms: int
    time_s1_ms: int
    """0 where the build stores no Sentinel-1."""
    cloud_percent: float
    crs_epsg: int
    """Zone of the Sentinel-2 scene."""
    tile: str
    baseline: str
    offset_removed: bool
    orbit_pass: str
    relative_orbit: int
    off_zone: bool
    """The Sentinel-2 scene lies in another zone than the location: resampled, if at all."""
    reason: str
    """Why this one, for people."""
    has_l2a: bool = True
    """The provider has its L2A twin."""
    has_dynamic_world: bool = True
    """The provider has its Dynamic World twin."""
    is_labelled_scene: bool = False
    """It is the scene that the location's own labels were drawn on."""


@dataclass(frozen=True)
class LocationPlan:
    """Everything that was decided for one location before any pixel was read."""

    location: Location
    seasons: tuple[tuple[SeasonChoice, ...], ...]
    """For each season the ranked choices, best first; an empty tuple: none was usable."""
    refusal: str
    """Why the location can't be fetched (names the season and counts what was refused); empty if it can."""
    considered: tuple[str, ...] = ()
    """For each season, how many scenes the provider named and why the unusable ones were refused, in words."""
    refused: bool = False
    """The provider refused the search itself, so nothing is known of the scenes; `refusal` has its words."""


@dataclass(frozen=True)
class SeasonOutcome:
    """What one season of a location turned out to be."""

    choice: SeasonChoice
    """The images whose pixels are stored."""
    coverage_s2: float
    """Share of pixels that every Sentinel-2 product observed (0..1)."""
    coverage_s1: float
    """Share of pixels that Sentinel-1 observed (0..1); 1 where the build stores none."""
    label_share: float
    """Share of pixels with a label (0..1)."""
    class_counts: tuple[int, ...]
    """Pixels of each Dynamic World class 0..8."""
    off_lattice: bool
    """20 and 60 m bands were not exact copies at 10 m and were asked for at their own pixel centres."""


@dataclass(frozen=True)
class LocationOutcome:
    """What became of a location; with status KEPT its pixels are staged."""

    location_id: int
    status: Status
    reason: str
    """Empty for KEPT."""
    seasons: tuple[SeasonOutcome, ...] = field(default=())
    """All seasons for KEPT, as many as were read before the refusal otherwise."""
