"""How large Earth Engine will say that a pixel request is, and how to cut one that is too large.

Earth Engine counts width x height x the sum over bands of (bytes per sample + 1), the one being the
mask, and refuses above 48 MB (computePixels reference; the mask byte: google/Xee issue 50, pull 210).
Planning with the same count means that no request is ever refused for its size.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from noldo.errors import ConfigError
from noldo.products import ArraySpec

LIMIT_BYTES = 50_331_648
"""48 MB uncompressed: the limit of computePixels and getPixels."""

SAFE_SHARE = 0.95
"""Share of the limit that is used; the mask byte is known from issues only, not from the reference."""

MASK_BYTES = 1
"""Counted for every sample, whatever its dtype; never sent."""

SAFE_BYTES = int(LIMIT_BYTES * SAFE_SHARE)


@dataclass(frozen=True)
class BandCost:
    """One band of a pixel request, in the dtype in which it is asked for."""

    name: str
    """Any name; only messages use it."""
    bytes_per_sample: int
    """2 for uint16, 1 for uint8, 4 for float32."""


_REQUESTED_BYTES = {
    "s2_l1c": 2,
    "s2_l2a": 2,
    "s2_scl": 1,
    "s1_grd": 4,
    "dynamic_world": 1,
    "dynamic_world_probability": 4,
}
"""Bytes a sample as asked for: uint16, uint8, or float32 (Sentinel-1 and the probabilities)."""


def season_bands(specs: Sequence[ArraySpec]) -> tuple[BandCost, ...]:
    """Bands asked for in one season to fill these arrays, in their order.

    Parameters
    ----------
    specs
        From `noldo.products.array_specs`.
    """
    return tuple(
        BandCost(f"{spec.product} {band}".strip(), _REQUESTED_BYTES[spec.product])
        for spec in specs
        for band in (spec.bands or ("",))
    )


def counted_bytes(bands: Sequence[BandCost], *, width: int, height: int) -> int:
    """Size of a request by Earth Engine's own accounting, in bytes.

    Parameters
    ----------
    width, height
        Pixels of the requested grid.
    """
    return width * height * sum(band.bytes_per_sample + MASK_BYTES for band in bands)


def sent_bytes(bands: Sequence[BandCost], *, width: int, height: int) -> int:
    """Bytes of the answer before any transport compression: the samples without their masks."""
    return width * height * sum(band.bytes_per_sample for band in bands)


def season_groups(num_seasons: int, bytes_a_season: int) -> list[range]:
    """Consecutive seasons that one request may ask for together.

    As few requests as fit below `SAFE_SHARE` of the limit, of sizes that differ by at most one season.
    If a single season is too large, every season is a group of its own: cut it with `band_groups`.

    Parameters
    ----------
    num_seasons
        How many seasons are asked for, at least 1.
    bytes_a_season
        `counted_bytes` of one season.
    """
    per_request = max(1, min(num_seasons, SAFE_BYTES // max(1, bytes_a_season)))
    num_groups = -(-num_seasons // per_request)
    edges = [index * num_seasons // num_groups for index in range(num_groups + 1)]
    return [range(start, stop) for start, stop in itertools.pairwise(edges)]


def band_groups(bands: Sequence[BandCost], *, width: int, height: int) -> list[tuple[BandCost, ...]]:
    """Consecutive bands of one season that one request may ask for together.

    One group if the season fits below `SAFE_SHARE` of the limit; else each group is filled in order.

    Raises
    ------
    ConfigError
        If one band alone is too large.
    """
    groups: list[tuple[BandCost, ...]] = []
    group: tuple[BandCost, ...] = ()
    for band in bands:
        if (alone := counted_bytes([band], width=width, height=height)) > SAFE_BYTES:
            raise ConfigError(
                f"patch_size_px: {width} x {height} px of {band.name} are {alone} bytes by Earth Engine's "
                f"counting, and one request may have {SAFE_BYTES}; choose smaller patches"
            )
        if counted_bytes([*group, band], width=width, height=height) > SAFE_BYTES:
            groups.append(group)
            group = ()
        group = (*group, band)
    return [*groups, group]
