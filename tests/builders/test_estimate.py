import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.build import cut_of
from builders.config import load_config, parse_config
from builders.estimate import eecu, estimate, location_requests, render
from builders.records import Location, SeasonChoice
from builders.request_size import LIMIT_BYTES, SAFE_SHARE, season_bands
from builders.search import batches
from builders.stack import planned_requests, request_bytes, season_layers
from noldo.errors import ConfigError
from noldo.grids import Grid
from noldo.products import array_specs

ROOT = Path(__file__).resolve().parents[2]


def build(**changes):
    tree = {
        "name": "test",
        "locations": {"count": 1000},
        "seasons": [{"name": f"s{month}", "date": f"2021-{month:02}-01"} for month in (1, 4, 7, 10)],
        **changes,
    }
    return parse_config(tree, where="test")


def real(**source):
    return {"url": "https://earthengine-highvolume.googleapis.com", "project": "p", **source}


def test_the_papers_build_is_what_the_plan_of_requests_says():
    """Figures worked out by hand for 251,079 locations x 4 seasons of the default products at 264 px."""
    paper = estimate(load_config(ROOT / "config" / "noldo_s12.yaml"))
    assert paper.pixel_requests == 251_079
    assert paper.metadata_requests == 980 * 6 + 4
    assert paper.requests / paper.num_locations <= 1.05
    season = 13 * 3 + 12 * 3 + 2 + 2 * 5 + 2
    assert paper.largest_request_bytes == 4 * season * 264 * 264
    sent = 13 * 2 + 12 * 2 + 1 + 2 * 4 + 1
    assert paper.received_bytes == pytest.approx(251_079 * 4 * sent * 264 * 264, rel=0.005)
    assert paper.hours == pytest.approx((7.1, 14.3), abs=0.05)
    assert paper.store_bytes * 103_793 / 251_079 == pytest.approx(0.49e12, rel=0.05)


@pytest.mark.parametrize("size_px", [66, 264, 330, 600, 744, 1200, 2046])
@pytest.mark.parametrize("probability", [False, True])
def test_requests_are_those_that_the_pixel_stage_makes(size_px, probability):
    config = build(patch_size_px=size_px, products={"dynamic_world_probability": probability})
    specs = array_specs(config.products.selected())
    grid = Grid(32632, 600_000, 5_000_040, size_px)
    seasons = [
        season_layers(_choice(season), position=season, specs=specs, config=config) for season in range(4)
    ]
    made = [request_bytes(layers, grid) for layers in planned_requests(seasons, grid)]
    assert location_requests(season_bands(specs), num_seasons=4, side_px=size_px) == made
    found = estimate(config)
    assert found.pixel_requests == 1000 * len(made)
    assert found.largest_request_bytes == max(made) <= SAFE_SHARE * LIMIT_BYTES


def _choice(season):
    return SeasonChoice(
        location_id=0,
        season=season,
        rank=0,
        s2_index="i",
        s1_index="j",
        time_s2_ms=0,
        time_s1_ms=0,
        cloud_percent=0.0,
        crs_epsg=32632,
        tile="32TPT",
        baseline="04.00",
        offset_removed=True,
        orbit_pass="ASCENDING",
        relative_orbit=1,
        off_zone=False,
        reason="",
    )


@pytest.mark.parametrize(("count", "per_request"), [(1, 50), (64, 50), (256, 50), (257, 7), (1000, 200)])
def test_metadata_requests_are_those_that_the_search_makes(count, per_request):
    config = build(locations={"count": count}, jobs={"locations_per_request": per_request})
    cut = cut_of(config)
    place = Location(0, 0.0, 0.0, Grid(32631, 0, 0, 264), "", "train")
    made = [
        batches([place] * len(cut.rows_of_search(search)), largest=per_request) for search in cut.searches
    ]
    assert estimate(config).metadata_requests == len(list(itertools.chain.from_iterable(made)))


def test_decoded_bytes_are_those_of_the_arrays():
    config = build(products={"dynamic_world_probability": True})
    arrays = [
        np.zeros(spec.item_shape(4, 264), dtype=spec.dtype)
        for spec in array_specs(config.products.selected())
    ]
    assert estimate(config).raw_bytes == 1000 * sum(array.nbytes for array in arrays)


def test_leaving_products_out_costs_less_and_the_fast_codec_more():
    whole = estimate(build())
    part = estimate(build(products={"s2_l2a": [], "s2_scl": False}))
    assert part.received_bytes < whole.received_bytes
    assert part.store_bytes < whole.store_bytes
    fast = estimate(build(codec="fast"))
    assert whole.store_bytes < fast.store_bytes <= 1.2 * whole.store_bytes
    assert fast.raw_bytes == whole.raw_bytes


@given(st.integers(1, 100_000))
def test_staged_pixels_are_never_more_than_the_build_has(count):
    found = estimate(build(locations={"count": count}))
    assert 0 < found.spool_bytes <= found.raw_bytes
    assert found.peak_disk_bytes == found.store_bytes + found.spool_bytes


def test_staged_pixels_are_bounded_by_the_jobs_in_flight():
    one_location = estimate(build(locations={"count": 1})).raw_bytes
    config = build(locations={"count": 100_000}, source=real(max_concurrent=40))
    assert estimate(config).spool_bytes == 2 * 5 * 256 * one_location


def test_time_follows_from_concurrency_unless_the_rate_is_lower():
    by_concurrency = estimate(build(source=real(max_concurrent=20, max_per_second=100)))
    num = by_concurrency.requests
    assert by_concurrency.hours == pytest.approx((num * 4 / 20 / 3600, num * 8 / 20 / 3600))
    by_rate = estimate(build(source=real(max_concurrent=20, max_per_second=0.5)))
    assert by_rate.hours == pytest.approx((num / 0.5 / 3600,) * 2)


@pytest.mark.parametrize(
    ("seconds", "tier"),
    [(2.1, "Community"), (2.2, "Contributor"), (14.3, "Contributor"), (14.4, "Partner"), (1434, "")],
)
def test_the_smallest_tier_that_fits_is_named(seconds, tier):
    """251,079 locations at x s are 69.7 x EECU-hours."""
    cost = eecu(251_079, seconds_a_location=seconds)
    assert cost.hours == pytest.approx(69.744 * seconds, rel=1e-4)
    assert cost.tier == tier


def test_a_limit_that_is_met_exactly_fits():
    assert eecu(150 * 3600, seconds_a_location=1.0).tier == "Community"
    assert eecu(150 * 3600 + 1, seconds_a_location=1.0).tier == "Contributor"


def test_no_patch_size_of_the_config_is_too_large_for_every_request():
    assert estimate(build(patch_size_px=2046)).pixel_requests > 4 * 1000
    with pytest.raises(ConfigError, match="choose smaller patches"):
        location_requests(season_bands(array_specs({"s1_grd": ("VV",)})), num_seasons=1, side_px=6000)


def test_the_text_has_every_figure_on_a_line_of_its_own():
    text = render(estimate(build(source=real())))
    lines = text.splitlines()
    assert lines[0] == "Estimate of 'test', subset @NOL, at most"
    names = [line[: line.index("  ")] for line in lines[1:9]]
    assert names == [
        "locations tried",
        "requests",
        "fallbacks on top",
        "largest request",
        "download",
        "store",
        "peak disk",
        "time at the quota",
    ]
    assert "1,000 x 4 seasons" in text
    assert "1,023 = 23 metadata + 1,000 pixels (1.023 a location)" in text
    assert "at 50 EECU-s a location" in text
    assert max(len(line) for line in lines[:-1]) < 120


def test_the_text_of_a_sandbox_build_says_that_no_quota_is_used():
    assert "sandbox, so this is what Earth Engine would take" in render(estimate(build()))


def test_costs_beyond_every_tier_are_said_to_be():
    text = render(estimate(build(locations={"count": 20_000_000})))
    assert "more than any tier gives in one month" in text
    assert math.isfinite(estimate(build()).hours[1])
