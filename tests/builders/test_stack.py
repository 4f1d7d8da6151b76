import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.config import BuildConfig
from builders.records import SeasonChoice
from builders.request_size import SAFE_BYTES
from builders.stack import (
    Layer,
    merged,
    pixel_grid,
    planned_requests,
    request_bytes,
    season_layers,
    smaller_requests,
)
from noldo.errors import ConfigError
from noldo.grids import Grid
from noldo.products import array_specs

CHOICE = SeasonChoice(
    location_id=0, season=0, rank=0, s2_index="S2", s1_index="S1", time_s2_ms=0, time_s1_ms=0, cloud_percent=0.0,
    crs_epsg=32632, tile="", baseline="", offset_removed=False, orbit_pass="", relative_orbit=0, off_zone=False,
    reason="",
)  # fmt: skip


def config(
    num_seasons: int = 4, *, probability: bool = False, native_lattice: bool = True, **pairing: str
) -> BuildConfig:
    return BuildConfig.model_validate(
        {
            "name": "x",
            "seasons": [{"name": f"s{n}", "date": "2021-04-15"} for n in range(num_seasons)],
            "products": {"dynamic_world_probability": probability},
            "source": {"native_lattice": native_lattice},
            "pairing": pairing,
        }
    )


def layers(
    build: BuildConfig, choice: SeasonChoice = CHOICE, *, position: int = 0, at_centres: bool = False
) -> tuple[Layer, ...]:
    specs = array_specs(build.products.selected())
    return season_layers(choice, position=position, specs=specs, config=build, at_centres=at_centres)


def grid(size_px: int = 264) -> Grid:
    return Grid(32632, 600_000, 5_300_040, size_px)


def names(wanted: tuple[Layer, ...]) -> list[str]:
    return [band.name for layer in wanted for band in layer.bands]


def test_the_papers_stack_counts_what_earth_engine_counts():
    wanted = [layers(config(), position=position) for position in range(4)]
    (request,) = planned_requests(wanted, grid())
    per_pixel = 13 * 3 + 12 * 3 + 1 * 2 + 2 * 5 + 1 * 2
    assert request_bytes(request, grid()) == 264 * 264 * 4 * per_pixel < SAFE_BYTES


def test_a_copied_season_is_one_layer_an_image_and_dtype():
    found = merged(layers(config(probability=True)))
    assert [(layer.product, layer.asset, len(layer.bands)) for layer in found] == [
        ("s2_l1c", "COPERNICUS/S2_HARMONIZED/S2", 13),
        ("s2_l2a", "COPERNICUS/S2_SR_HARMONIZED/S2", 12),
        ("s2_scl", "COPERNICUS/S2_SR_HARMONIZED/S2", 1),
        ("s1_grd", "COPERNICUS/S1_GRD/S1", 2),
        ("dynamic_world", "GOOGLE/DYNAMICWORLD/V1/S2", 1),
        ("dynamic_world_probability", "GOOGLE/DYNAMICWORLD/V1/S2", 9),
    ]
    assert not any(layer.at_centres for layer in found)
    assert [layer.product for layer in found if layer.bilinear] == ["s1_grd"]


def test_short_names_are_unique_also_in_twelve_seasons_and_stay_below_numpys_header_limit():
    build = config(12, probability=True)
    found = [name for position in range(12) for name in names(layers(build, position=position))]
    assert len(set(found)) == len(found) == 12 * 38
    assert max(len(name) for name in found) <= 6


@pytest.mark.parametrize("how", ["off_zone", "archive", "asked"])
def test_coarse_bands_are_sampled_at_their_own_centres_where_they_are_no_copies(how: str):
    build = config(native_lattice=how != "archive", probability=True)
    choice = replace(CHOICE, off_zone=how == "off_zone")
    found = merged(layers(build, choice, at_centres=how == "asked"))
    assert {layer.resolution_m for layer in found if layer.at_centres} == {20, 60}
    coarse = {band.source for layer in found if layer.at_centres for band in layer.bands}
    assert coarse == {"B5", "B6", "B7", "B8A", "B11", "B12", "B1", "B9", "B10", "SCL"}
    interpolated = {layer.product for layer in found if layer.bilinear}
    assert interpolated == ({"s1_grd", "s2_l1c", "s2_l2a"} if how == "off_zone" else {"s1_grd"})


def test_sentinel_1_is_resampled_as_the_config_says():
    assert not any(layer.bilinear for layer in layers(config(s1_resampling="nearest")))


@given(
    st.integers(1, 12),
    st.sampled_from([24, 120, 264, 510, 1020, 2046]),
    st.booleans(),
)
def test_planned_requests_hold_every_band_once_and_stay_below_the_limit(
    num_seasons: int, size_px: int, probability: bool
):
    build = config(num_seasons, probability=probability)
    wanted = [layers(build, position=position) for position in range(num_seasons)]
    requests = planned_requests(wanted, grid(size_px))
    assert [name for request in requests for name in names(request)] == [
        name for season in wanted for name in names(season)
    ]
    assert all(request_bytes(request, grid(size_px)) <= SAFE_BYTES for request in requests)
    together = request_bytes(tuple(itertools.chain(*wanted)), grid(size_px))
    if together <= SAFE_BYTES:
        assert len(requests) == 1


def test_a_band_that_is_too_large_alone_is_a_config_error():
    with pytest.raises(ConfigError, match="choose smaller patches"):
        planned_requests([layers(config())], grid(6_000))


def test_a_request_that_is_too_large_is_cut_by_season_then_by_product_and_then_no_more():
    whole = tuple(layer for position in range(3) for layer in layers(config(), position=position))
    seasons = smaller_requests(whole)
    assert [{layer.position for layer in part} for part in seasons] == [{0}, {1}, {2}]
    products = smaller_requests(seasons[0])
    assert [{layer.product for layer in part} for part in products] == [
        {"s2_l1c"},
        {"s2_l2a"},
        {"s2_scl"},
        {"s1_grd"},
        {"dynamic_world"},
    ]
    assert smaller_requests(products[0]) == [products[0]]
    assert [name for part in seasons for name in names(part)] == names(whole)


def test_the_grid_is_sent_as_integers():
    assert pixel_grid(grid(24)) == {
        "crsCode": "EPSG:32632",
        "dimensions": {"width": 24, "height": 24},
        "affineTransform": {
            "scaleX": 10,
            "shearX": 0,
            "translateX": 600_000,
            "shearY": 0,
            "scaleY": -10,
            "translateY": 5_300_040,
        },
    }
