from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.acceptance import class_counts, judge, observed_share, percent
from noldo.errors import SourceError
from noldo.products import array_specs
from noldo.status import Status
from tests.builders.fake_source import SIZE_PX, choice, expected_arrays, small_config

CONFIG = small_config()
SPECS = array_specs(CONFIG.products.selected())
CHOICES = [choice(3, 0, 0), choice(3, 1, 0)]


def arrays() -> dict[str, np.ndarray]:
    return expected_arrays(CHOICES, config=CONFIG, bad={})


def verdicts(pixels, config=CONFIG):
    return judge(pixels, CHOICES, specs=SPECS, size_px=config.patch_size_px, config=config)


def spec(name: str):
    return next(one for one in SPECS if one.name == name)


def test_good_seasons_are_kept_and_measured():
    found = verdicts(arrays())
    assert [verdict.status for verdict in found] == [Status.KEPT, Status.KEPT]
    outcome = found[0].outcome
    assert (outcome.coverage_s2, outcome.coverage_s1, outcome.label_share) == (1.0, 1.0, 1.0)
    assert sum(outcome.class_counts) == SIZE_PX**2
    assert [verdict.outcome.choice for verdict in found] == CHOICES


@pytest.mark.parametrize(
    ("name", "missing_pixels"),
    [
        ("s2_l1c_10m", 1),
        ("s2_l2a_20m", 4),
        ("s2_l1c_60m", 36),
        ("s2_scl_20m", 4),
    ],
)
def test_a_missing_pixel_of_any_band_is_missing_for_the_patch(name, missing_pixels):
    pixels = arrays()
    pixels[name][0, ..., 0, 0] = spec(name).no_data
    if spec(name).bands:
        pixels[name][0, 1:, 0, 0] = 0
    found = verdicts(pixels)
    assert found[0].outcome.coverage_s2 == (SIZE_PX**2 - missing_pixels) / SIZE_PX**2
    assert found[0].status is Status.NO_COVERAGE
    assert found[0].bad_indices == {"3-s0-c0"}
    assert found[1].status is Status.KEPT


def test_zero_is_a_value_and_not_a_hole():
    pixels = arrays()
    for name in ("s2_l1c_10m", "s1_grd_10m", "s2_scl_20m"):
        pixels[name][:] = 0
    assert [verdict.status for verdict in verdicts(pixels)] == [Status.KEPT, Status.KEPT]


def test_the_scene_that_lacks_pixels_is_the_one_that_is_called_bad():
    pixels = arrays()
    pixels["s1_grd_10m"][0, 1, 5, 5] = spec("s1_grd_10m").no_data
    verdict = verdicts(pixels)[0]
    assert verdict.bad_indices == {"3-s0-r0"}
    assert verdict.reason == "Sentinel-1 observed 99.3 % of the patch, 100 % wanted"


def test_partial_coverage_is_enough_where_the_config_says_so():
    pixels = arrays()
    pixels["s2_l1c_10m"][0, 0, 0, 0] = 65535
    relaxed = small_config(clouds={"min_coverage": 0.9})
    assert verdicts(pixels, relaxed)[0].status is Status.KEPT


@pytest.mark.parametrize(("num_labelled", "status"), [(72, Status.KEPT), (71, Status.NO_LABELS)])
def test_exactly_the_wanted_share_of_labels_is_enough(num_labelled, status):
    pixels = arrays()
    labels = pixels["dynamic_world_10m"][0].reshape(-1)
    labels[num_labelled:] = 255
    verdict = verdicts(pixels)[0]
    assert verdict.status is status
    assert verdict.outcome.label_share == num_labelled / 144
    if status is Status.NO_LABELS:
        assert verdict.reason == "49.3 % of the patch labelled, 50.0 % wanted"
        assert verdict.bad_indices == {"3-s0-c0"}


def test_missing_pixels_weigh_more_than_missing_labels():
    pixels = arrays()
    pixels["dynamic_world_10m"][0] = 255
    pixels["s2_l1c_10m"][0, 0, 0, 0] = 65535
    assert verdicts(pixels)[0].status is Status.NO_COVERAGE


def test_off_lattice_is_passed_on():
    pixels = arrays() | {"off_lattice": np.array([False, True])}
    assert [verdict.outcome.off_lattice for verdict in verdicts(pixels)] == [False, True]


def test_a_build_without_sentinel_1_has_full_coverage_of_it():
    plain = small_config(products={"s1_grd": []})
    specs = array_specs(plain.products.selected())
    found = judge(
        expected_arrays(CHOICES, config=plain, bad={}),
        CHOICES,
        specs=specs,
        size_px=plain.patch_size_px,
        config=plain,
    )
    assert found[0].outcome.coverage_s1 == 1.0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pixels: pixels.pop("s2_l1c_10m"),
        lambda pixels: pixels.update(s2_l1c_10m=pixels["s2_l1c_10m"].astype("f4")),
        lambda pixels: pixels.update(s2_l1c_10m=pixels["s2_l1c_10m"][:, :, :-1]),
    ],
    ids=["missing", "dtype", "shape"],
)
def test_a_source_that_breaks_its_contract_is_stopped(spoil):
    pixels = arrays()
    spoil(pixels)
    with pytest.raises(SourceError, match="s2_l1c_10m: the source gave"):
        verdicts(pixels)


@pytest.mark.parametrize("label", [9, 254])
def test_a_label_that_is_no_class_is_no_label_to_store(label):
    with pytest.raises(SourceError, match=f"label {label}, expected 0..8 or 255"):
        class_counts(np.array([[0, 255], [8, label]], dtype="u1"))


@given(st.lists(st.sampled_from([*range(9), 255]), min_size=1))
def test_class_counts_add_up_to_the_labelled_pixels(values):
    counts = class_counts(np.array([values], dtype="u1"))
    assert len(counts) == 9
    assert sum(counts) == sum(value != 255 for value in values)
    assert all(count == values.count(label) for label, count in enumerate(counts))


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20, unique=True))
def test_observed_share_counts_each_missing_pixel_once(holes):
    pixels = arrays()
    season = {name: array[0] for name, array in pixels.items()}
    for row, column in holes:
        season["s2_l1c_10m"][0, row, column] = 65535
        season["s2_l2a_10m"][1, row, column] = 65535
    specs = [spec("s2_l1c_10m"), spec("s2_l2a_10m"), spec("s2_l2a_20m")]
    assert observed_share(season, specs=specs) == (144 - len(holes)) / 144


@pytest.mark.parametrize(
    ("share", "words"), [(1.0, "100 %"), (0.99999, "99.9 %"), (0.5, "50.0 %"), (0.0, "0.0 %")]
)
def test_nothing_less_than_all_reads_as_all(share, words):
    assert percent(share) == words


def test_a_hole_in_an_optional_twin_costs_a_tile_nothing_and_one_in_its_l1c_does():
    tiles = small_config(dw={"count": 1}).of_subset("dw")
    specs = array_specs(tiles.products.selected())
    choice = [replace(CHOICES[0], season=0)]

    def verdict(name: str):
        pixels = expected_arrays(choice, config=tiles, bad={})
        pixels[name][0, 0, :3] = 65535
        (found,) = judge(pixels, choice, specs=specs, size_px=tiles.patch_size_px, config=tiles)
        return found

    assert verdict("s2_l2a_10m").status is Status.KEPT
    assert verdict("s2_l1c_10m").status is Status.NO_COVERAGE
