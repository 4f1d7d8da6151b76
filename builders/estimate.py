"""What a build will cost, from its config alone: requests, download, disk, hours, EECU. Asks nobody."""

import math
from dataclasses import dataclass

from builders.build import cut_of
from builders.config import BuildConfig
from builders.config_sections import Subset
from builders.request_size import (
    LIMIT_BYTES,
    BandCost,
    band_groups,
    counted_bytes,
    season_bands,
    season_groups,
    sent_bytes,
)
from noldo.products import ArraySpec, array_specs

SECONDS_A_REQUEST = (4.0, 8.0)
"""A pixel request of this size takes about so long, the quick and the slow case (assumed, not promised)."""

METADATA_BYTES_A_SEASON = 3_000
"""Size of the answer about one location and season, all collections (measured: 12 kB for four seasons)."""

REQUESTS_A_JOB = 8
"""`ee_requests` of the rule fetch_pixels: what one fetch job claims."""

STAGED_JOBS = 2
"""Staged jobs for each that is being fetched: itself, and one that waits to be packed."""

IMAGE_RATIO = {"uint16": 1.57, "int16": 1.58}
"""Raw / stored bytes with blosc zstd-5 and shuffle, on real Sentinel-2 L1C and Sentinel-1 (+-10 %)."""

LABEL_RATIO = 13.0
"""The same for labels: zstd-9, all seasons in one chunk. Taken for the scene classification, too."""

FAST_CODEC_GROWTH = 1.2
"""Images with `codec: fast` against `small`."""

PAPER_KEPT_SHARE = {"nol": 103_793 / 251_079, "dw": (3_574 + 340) / 4_603, "osm": (1_375 + 400) / 4_603}
"""Share of locations that SSL4EO-S12@NoL, @DW and @OSM kept (CromSS repository)."""

TIERS_EECU_HOURS = {"Community": 150, "Contributor": 1_000, "Partner": 100_000}
"""EECU-hours a month of the non-commercial tiers since 2026-04-27
(developers.google.com/earth-engine/guides/noncommercial_tiers)."""

EECU_SECONDS = (1, 2, 5, 10, 20, 50)
"""What a location may cost; `check-source` measures it."""


@dataclass(frozen=True)
class Eecu:
    """Cost of the whole build if a location costs so much."""

    seconds_a_location: float
    hours: float
    """EECU-hours in all."""
    tier: str
    """The smallest tier that covers them in one month; empty if none does."""


@dataclass(frozen=True)
class Estimate:
    """What a build will cost at most: every location tried has scenes, and is kept."""

    name: str
    subset: Subset
    num_locations: int
    num_seasons: int
    metadata_requests: int
    pixel_requests: int
    """Without fallbacks: a season whose pixels turn out bad is asked for again with other scenes."""
    max_fallbacks: int
    """Bound on those, a season."""
    largest_request_bytes: int
    """By Earth Engine's own counting; its limit is `request_size.LIMIT_BYTES`."""
    received_bytes: int
    """Answers to all requests, before any compression on the way."""
    raw_bytes: int
    """The store, decoded."""
    store_bytes: int
    """The store on disk, if all locations are kept."""
    spool_bytes: int
    """Staged pixels of the fetch jobs in flight and of those waiting to be packed."""
    hours: tuple[float, float]
    """At the quota, with quick and with slow answers (`SECONDS_A_REQUEST`)."""
    eecu: tuple[Eecu, ...]
    synthetic: bool
    """The build uses the sandbox, which has no quota; the figures say what Earth Engine would take."""

    @property
    def requests(self) -> int:
        """All requests, without start-up, retries and fallbacks."""
        return self.metadata_requests + self.pixel_requests

    @property
    def peak_disk_bytes(self) -> int:
        """Store and spool together."""
        return self.store_bytes + self.spool_bytes


def estimate(config: BuildConfig) -> Estimate:
    """Estimate a build.

    Raises
    ------
    ConfigError
        If even one band of one season is too large for a request.
    """
    count, num_seasons, side = config.locations.count, len(config.seasons), config.patch_size_px
    bands = season_bands(array_specs(config.products.selected()))
    requests = location_requests(bands, num_seasons=num_seasons, side_px=side)
    metadata_requests = _metadata_requests(config)
    pixel_requests = count * len(requests)
    pixel_bytes = count * num_seasons * sent_bytes(bands, width=side, height=side)
    raw = {spec: _raw_bytes(spec, config) for spec in config.specs}
    return Estimate(
        name=config.name,
        subset=config.subset,
        num_locations=count,
        num_seasons=num_seasons,
        metadata_requests=metadata_requests,
        pixel_requests=pixel_requests,
        max_fallbacks=config.pairing.max_candidates - 1,
        largest_request_bytes=max(requests),
        received_bytes=pixel_bytes + count * num_seasons * METADATA_BYTES_A_SEASON,
        raw_bytes=count * sum(raw.values()),
        store_bytes=round(count * sum(size / _ratio(spec, codec=config.codec) for spec, size in raw.items())),
        spool_bytes=_staged_locations(config) * sum(raw.values()),
        hours=_hours(metadata_requests + pixel_requests, config),
        eecu=tuple(eecu(count, seconds_a_location=seconds) for seconds in EECU_SECONDS),
        synthetic=config.source.is_sandbox,
    )


def location_requests(bands: tuple[BandCost, ...], *, num_seasons: int, side_px: int) -> list[int]:
    """Counted bytes of each pixel request that one location needs.

    Parameters
    ----------
    bands
        Of one season; every season asks for the same.
    """
    season_bytes = counted_bytes(bands, width=side_px, height=side_px)
    requests = []
    for group in season_groups(num_seasons, season_bytes):
        if len(group) > 1:
            requests.append(len(group) * season_bytes)
            continue
        parts = band_groups(bands, width=side_px, height=side_px)
        requests += [counted_bytes(part, width=side_px, height=side_px) for part in parts]
    return requests


def eecu(num_locations: int, *, seconds_a_location: float) -> Eecu:
    """EECU-hours of a build, and the smallest tier that covers them in one month."""
    hours = num_locations * seconds_a_location / 3600
    fitting = [tier for tier, limit in TIERS_EECU_HOURS.items() if hours <= limit]
    return Eecu(seconds_a_location, hours, fitting[0] if fitting else "")


def _metadata_requests(config: BuildConfig) -> int:
    """Each search job cuts its own locations into requests."""
    cut = cut_of(config)
    sizes = [len(cut.rows_of_search(search)) for search in cut.searches]
    return sum(-(-size // config.jobs.locations_per_request) for size in sizes)


def _raw_bytes(spec: ArraySpec, config: BuildConfig) -> int:
    """Of one location, all seasons."""
    shape = spec.item_shape(len(config.seasons), config.patch_size_px)
    itemsize = 2 if spec.dtype in IMAGE_RATIO else 1
    return math.prod(shape) * itemsize


def _ratio(spec: ArraySpec, *, codec: str) -> float:
    if spec.is_label:
        return LABEL_RATIO
    # Probabilities are in no measurement: they are taken to be incompressible.
    return IMAGE_RATIO.get(spec.dtype, 1.0) / (FAST_CODEC_GROWTH if codec == "fast" else 1.0)


def _staged_locations(config: BuildConfig) -> int:
    jobs_in_flight = max(1, config.source.max_concurrent // REQUESTS_A_JOB)
    return min(config.locations.count, STAGED_JOBS * jobs_in_flight * config.jobs.locations_per_job)


def _hours(num_requests: int, config: BuildConfig) -> tuple[float, float]:
    source = config.source
    quick, slow = (
        max(num_requests / source.max_per_second, num_requests * seconds / source.max_concurrent) / 3600
        for seconds in SECONDS_A_REQUEST
    )
    return quick, slow


def render(estimate: Estimate) -> str:
    """The estimate as plain text, one figure a line."""
    quick, slow = estimate.hours
    fastest_mbit = estimate.received_bytes * 8 / max(quick, 1e-9) / 3600 / 1e6
    slowest_mbit = estimate.received_bytes * 8 / max(slow, 1e-9) / 3600 / 1e6
    share = PAPER_KEPT_SHARE[estimate.subset]
    rows = [
        ("locations tried", f"{estimate.num_locations:,} x {estimate.num_seasons} seasons"),
        (
            "requests",
            f"{estimate.requests:,} = {estimate.metadata_requests:,} metadata + {estimate.pixel_requests:,} pixels "
            f"({estimate.requests / estimate.num_locations:.3f} a location)",
        ),
        (
            "fallbacks on top",
            f"only where pixels turn out bad: at most {estimate.max_fallbacks} for each season",
        ),
        (
            "largest request",
            f"{_size(estimate.largest_request_bytes)} by Earth Engine's counting, "
            f"{estimate.largest_request_bytes / LIMIT_BYTES:.0%} of its limit",
        ),
        ("download", f"{_size(estimate.received_bytes)} before compression on the way"),
        (
            "store",
            f"{_size(estimate.store_bytes)} if all are kept, {_size(estimate.store_bytes * share)} if "
            f"{round(100 * share)} % are, as in the paper ({_size(estimate.raw_bytes)} decoded)",
        ),
        (
            "peak disk",
            f"{_size(estimate.peak_disk_bytes)} = store + {_size(estimate.spool_bytes)} of staged pixels",
        ),
        (
            "time at the quota",
            f"{_duration(quick)} to {_duration(slow)} with answers in {SECONDS_A_REQUEST[0]:g} to "
            f"{SECONDS_A_REQUEST[1]:g} s, {slowest_mbit:,.0f} to {fastest_mbit:,.0f} Mbit/s",
        ),
        *(_eecu_row(cost) for cost in estimate.eecu),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {text}" for name, text in rows]
    return "\n".join([_heading(estimate), *lines, _FOOTNOTE])


_FOOTNOTE = (
    "EECU a location is not known before it is measured: `python -m builders check-source` says it. "
    "Monthly tiers: " + ", ".join(f"{tier} {hours:,} h" for tier, hours in TIERS_EECU_HOURS.items()) + "."
)


def _heading(estimate: Estimate) -> str:
    what = f"'{estimate.name}', subset @{estimate.subset.upper()}"
    if estimate.synthetic:
        return f"Estimate of {what}: it uses the sandbox, so this is what Earth Engine would take"
    return f"Estimate of {what}, at most"


def render_all(config: BuildConfig) -> str:
    """Estimates of all subsets of a config, one below the other.

    Raises
    ------
    ConfigError
        If even one band of one season is too large for a request.
    """
    asked = [render(estimate(config.of_subset(subset))) for subset in config.subsets if subset != "osm"]
    return "\n\n".join([*asked, *([_osm_words(config)] if config.osm else [])])


def _osm_words(config: BuildConfig) -> str:
    """@OSM asks Earth Engine for nothing: its images are those of @DW."""
    tiles = config.of_subset("osm")
    assert config.osm is not None
    whole = tiles.locations.count * sum(
        _raw_bytes(spec, tiles) / _ratio(spec, codec=tiles.codec) for spec in tiles.specs
    )
    share = PAPER_KEPT_SHARE["osm"]
    polygons = (
        f"{len(config.osm.extracts)} extracts, each read once"
        if config.osm.extracts
        else f"at most {tiles.locations.count:,} queries to {config.osm.overpass_url}"
    )
    return (
        f"Estimate of '{config.name}', subset @OSM: no request to Earth Engine\n"
        f"polygons  {polygons}\n"
        f"store     {_size(whole)} if all are kept, {_size(whole * share)} if {round(100 * share)} % are, as in the paper"
    )


def _eecu_row(cost: Eecu) -> tuple[str, str]:
    tier = f"fits {cost.tier} in one month" if cost.tier else "more than any tier gives in one month"
    return f"at {cost.seconds_a_location:g} EECU-s a location", f"{cost.hours:,.1f} EECU-hours: {tier}"


def _size(num_bytes: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.3g} {unit}"
    return f"{num_bytes / 1e3:.3g} kB"


def _duration(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:,.1f} min"
