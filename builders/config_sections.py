"""The sections of a build's config: frozen, validated, each key with what it means and its limits."""

import datetime as dt
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from builders.loopback import is_loopback
from noldo.frozen import Frozen
from noldo.products import S1_BANDS, S2_L1C_BANDS, S2_L2A_BANDS

Credentials = Literal["anonymous", "user", "application_default", "service_account"]
SplitName = Literal["train", "val", "test"]
Subset = Literal["nol", "dw", "osm"]

SENTINEL_2_FIRST_DAY = dt.date(2015, 6, 27)
"""First Sentinel-2 imagery in the Earth Engine catalogue."""

HIGH_VOLUME_URL = "https://earthengine-highvolume.googleapis.com"
"""Endpoint for many small automated requests (Earth Engine, high-volume guide)."""


class Sandbox(Frozen):
    """The loopback Earth Engine that serves a build whose `source.url` is `sandbox`."""

    seed: int = Field(default=0, ge=0, description="Seed of the synthetic Earth.")
    catalogue: Path | None = Field(
        default=None,
        description="STAC catalogue (catalog.json) of real GeoTIFF scenes to serve instead of the synthetic Earth.",
    )
    latency_s: float = Field(default=0.0, ge=0, description="Added to every answer, in seconds.")
    faults: dict[str, object] = Field(
        default={},
        description="Faults to inject, as `python -m sandbox serve --faults` takes them; for rehearsals.",
    )


class Source(Frozen):
    """Where imagery comes from, and who asks."""

    url: str = Field(
        default="sandbox",
        description="`sandbox`, or the base URL of an Earth Engine endpoint, e.g. "
        "https://earthengine-highvolume.googleapis.com.",
    )
    project: str = Field(default="", description="Google Cloud project that is registered for Earth Engine.")
    credentials: Credentials = Field(
        default="user",
        description="`user` (from `earthengine authenticate`), `application_default`, "
        "`service_account` (with `service_account_key`), or `anonymous` (loopback only).",
    )
    service_account_key: Path | None = Field(
        default=None, description="JSON key file of the service account."
    )
    max_concurrent: int = Field(
        default=40, ge=1, description="Requests in flight that the project allows (its quota)."
    )
    max_per_second: float = Field(
        default=100.0, gt=0, description="Requests a second that the project allows (its quota)."
    )
    patience_s: float = Field(
        default=900.0,
        gt=0,
        description="How long transient faults of one request are retried, in seconds; then the job fails.",
    )
    deadline_s: float = Field(default=240.0, gt=0, description="Longest wait for one answer, in seconds.")
    native_lattice: bool = Field(
        default=True,
        description="Scenes lie on the Sentinel-2 lattice, as in Earth Engine. False for archives on other "
        "grids: 20 and 60 m bands are then sampled at the centres of the location's own pixels.",
    )

    @property
    def is_sandbox(self) -> bool:
        """The build starts and stops the sandbox itself."""
        return self.url == "sandbox"

    @property
    def is_loopback(self) -> bool:
        """The endpoint is on this machine."""
        if self.is_sandbox:
            return True
        return is_loopback(self.url)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.is_sandbox:
            return self
        if urlsplit(self.url).scheme not in {"http", "https"}:
            raise ValueError(f"url {self.url!r}: expected `sandbox` or an http(s) URL")
        if self.credentials == "anonymous" and not self.is_loopback:
            raise ValueError(
                f"credentials `anonymous` work on loopback only, not with {self.url}; "
                "choose `user`, `application_default` or `service_account`"
            )
        if not self.is_loopback and urlsplit(self.url).scheme != "https":
            raise ValueError(f"url {self.url!r}: credentials travel over https only")
        if not self.project and not self.is_loopback:
            raise ValueError(
                "no `project`: name the Google Cloud project that is registered for Earth Engine"
            )
        if self.credentials == "service_account" and self.service_account_key is None:
            raise ValueError("credentials `service_account` need `service_account_key`")
        return self


class Locations(Frozen):
    """Where the patches are."""

    count: int = Field(
        default=251_079,
        ge=1,
        description="Number of locations tried. With `points`: the number of places in that file, which "
        "must agree, because the plan of jobs follows from it.",
    )
    seed: int = Field(default=42, ge=0, description="Seed of the draw.")
    points: Path | None = Field(
        default=None,
        description="The user's own places instead of a draw: CSV (columns lon, lat, optional id), GeoJSON or "
        "GeoParquet of points in degrees WGS84.",
    )
    match: bool = Field(
        default=False,
        description="`points` are published patch centres to reproduce (SSL4EO-S12): keep their ids, do not "
        "enforce the spacing, and do not refuse places at sea.",
    )
    cities: Path | None = Field(
        default=None,
        description="CSV of cities (name, lon, lat, population) instead of the bundled GeoNames table.",
    )
    num_cities: int = Field(default=10_000, ge=1, description="Most populous cities to draw around.")
    sigma_km: float = Field(
        default=50.0, gt=0, description="Standard deviation of the Gaussian around a city, in kilometres."
    )
    min_spacing_m: float | None = Field(
        default=None,
        ge=0,
        description="Least distance between patch centres in metres; default: one patch diagonal.",
    )


class Season(Frozen):
    """One point in time at which every location is seen."""

    name: str = Field(pattern=r"^[a-z0-9_]{1,24}$", description="Short name, e.g. `spring`.")
    date: dt.date | None = Field(
        default=None, description="Reference date (required); scenes closest to it are preferred."
    )
    window_days: int = Field(
        default=45, ge=1, le=2000, description="Scenes up to this many days before or after are considered."
    )

    @field_validator("date")
    @classmethod
    def _possible(cls, date: dt.date | None) -> dt.date | None:
        if date is not None and not SENTINEL_2_FIRST_DAY <= date <= dt.date(2100, 1, 1):
            raise ValueError(f"date {date}: Sentinel-2 imagery begins on {SENTINEL_2_FIRST_DAY}")
        return date


class Products(Frozen):
    """Which products and bands are stored."""

    s2_l1c: tuple[str, ...] = Field(
        default=S2_L1C_BANDS, description="Bands of Sentinel-2 L1C; empty: leave it out."
    )
    s2_l2a: tuple[str, ...] = Field(
        default=S2_L2A_BANDS, description="Bands of Sentinel-2 L2A; empty: leave it out."
    )
    s2_scl: bool = Field(default=True, description="Store the scene classification of L2A.")
    s1_grd: tuple[str, ...] = Field(
        default=S1_BANDS, description="Polarisations of Sentinel-1 GRD; empty: leave it out."
    )
    dynamic_world: bool = Field(default=True, description="Store Dynamic World labels.")
    dynamic_world_probability: bool = Field(
        default=False, description="Store Dynamic World's nine class probabilities."
    )

    @model_validator(mode="after")
    def _known_bands(self) -> Self:
        for product, known in (
            ("s2_l1c", S2_L1C_BANDS),
            ("s2_l2a", S2_L2A_BANDS),
            ("s1_grd", S1_BANDS),
        ):
            bands: tuple[str, ...] = getattr(self, product)
            if unknown := [band for band in bands if band not in known]:
                raise ValueError(f"{product}: unknown bands {unknown}; known are {', '.join(known)}")
            if len(set(bands)) != len(bands):
                raise ValueError(f"{product}: a band is named twice in {list(bands)}")
        if not self.s2_l1c and not self.s2_l2a:
            raise ValueError("at least one of s2_l1c and s2_l2a must have bands")
        if not self.dynamic_world:
            raise ValueError("dynamic_world is what makes the subset @NoL: it can't be left out")
        return self

    @property
    def needs_l2a(self) -> bool:
        """The L2A twin of each scene must exist."""
        return bool(self.s2_l2a) or self.s2_scl

    def selected(self, labels: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
        """Product to bands, for `noldo.products.array_specs`.

        Parameters
        ----------
        labels
            Products of `noldo.products.CLEAN_LABELS` that are stored besides.
        """
        return dict.fromkeys(labels, ("label",)) | {
            "s2_l1c": self.s2_l1c,
            "s2_l2a": self.s2_l2a,
            "s2_scl": ("SCL",) if self.s2_scl else (),
            "s1_grd": self.s1_grd,
            "dynamic_world": ("label",),
            "dynamic_world_probability": ("p",) if self.dynamic_world_probability else (),
        }


class Clouds(Frozen):
    """What counts as clear and complete enough."""

    max_scene_percent: float = Field(
        default=20.0,
        gt=0,
        le=100,
        description="Highest CLOUDY_PIXEL_PERCENTAGE of a scene that is considered, in percent. Dynamic World exists up to 35.",
    )
    min_label_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Least share of a patch's pixels that carry a label, in every season (0..1).",
    )
    min_coverage: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Least share of a patch's pixels that every image product observed (0..1).",
    )


class Pairing(Frozen):
    """How Sentinel-1 is matched with Sentinel-2."""

    max_s1_days: float = Field(default=15.0, gt=0, description="Largest time between the two, in days.")
    s1_resampling: Literal["bilinear", "nearest"] = Field(
        default="bilinear",
        description="Sentinel-1 has a lattice of its own, so it is always resampled; by this rule.",
    )
    off_zone: Literal["reject", "resample"] = Field(
        default="reject",
        description="Scenes of another UTM zone: refuse them, or resample (bilinear; labels nearest) and flag them.",
    )
    max_candidates: int = Field(
        default=3,
        ge=1,
        le=10,
        description="Scenes tried for a season, when the pixels of the first turn out bad.",
    )


class Jobs(Frozen):
    """How the work is cut. Changing it never changes pixels, only files."""

    locations_per_shard: int = Field(default=64, ge=1, description="Locations in one shard file.")
    locations_per_job: int = Field(
        default=256, ge=1, description="Locations in one fetch job; a multiple of a shard."
    )
    locations_per_search: int = Field(
        default=256, ge=1, description="Locations in one search job; a multiple of a fetch job."
    )
    locations_per_request: int = Field(
        default=50, ge=1, le=200, description="Locations asked about in one metadata request."
    )
    dask_scheduler: str = Field(
        default="",
        description="Address of a dask scheduler for the statistics, e.g. tcp://host:8786; empty: threads here.",
    )

    @model_validator(mode="after")
    def _multiples(self) -> Self:
        for part, whole in (
            ("locations_per_shard", "locations_per_job"),
            ("locations_per_job", "locations_per_search"),
        ):
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(
                    f"{whole} ({getattr(self, whole)}) must be a multiple of {part} ({getattr(self, part)})"
                )
        return self


class Split(Frozen):
    """Training, validation and test: drawn by spatial blocks, or as others have drawn them."""

    by: Literal["blocks", "lists", "published"] = Field(
        default="blocks",
        description="`blocks`: shares of spatial blocks. `lists`: the files in `lists`; places in none of them belong "
        "to no split. `published`: as the tiles were published (@DW only): 512 px for testing, the others for training.",
    )
    lists: dict[SplitName, Path] = Field(
        default={},
        description="Split to a text file with one id or name of a place a line, e.g. the paper's own lists.",
    )

    val: float = Field(default=0.01, ge=0, lt=1, description="Share of validation blocks (0..1).")
    test: float = Field(default=0.0, ge=0, lt=1, description="Share of test blocks (0..1).")
    block_km: float = Field(
        default=50.0, gt=0, description="Side of a block in kilometres; a block is never divided."
    )
    seed: int = Field(default=42, ge=0, description="Seed of the draw of blocks.")

    @model_validator(mode="after")
    def _leaves_training(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} + test {self.test} leave nothing to train on")
        if bool(self.lists) != (self.by == "lists"):
            raise ValueError("`by: lists` and `lists` go together: give both or none")
        return self


def multiple_of_six(size: int) -> int:
    """The size, if 20 and 60 m bands have whole pixels in it; else a `ValueError`."""
    if size % 6:
        raise ValueError(f"{size} px: expected a multiple of 6, so that 20 and 60 m bands have whole pixels")
    return size
