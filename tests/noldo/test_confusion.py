"""Counts, the noise matrix T and its conditioning: laws of the arithmetic."""

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from noldo.common_legend import common_legend
from noldo.conditioning import conditioning
from noldo.confusion import Compared, LabelComparison, comparison_of, counted, kappa
from noldo.errors import StoreError, StoreFormatError
from noldo.legend import DYNAMIC_WORLD, LEGEND_OF_PRODUCT, MAPPINGS, OSM_LAND_USE
from noldo.products import UNLABELLED

NINE = DYNAMIC_WORLD.classes
CLASSES = st.sampled_from([*range(9), UNLABELLED])
OSM_CLASSES = st.sampled_from([*range(13), UNLABELLED])


def compared(
    reference: np.ndarray, other: np.ndarray, *, products: tuple[str, str] = ("expert", "dynamic_world")
) -> LabelComparison:
    what = Compared("here", False, *products, None, ("winter",), 1)
    return comparison_of(counted(reference, other), common_legend(*products), what=what)


def pairs_of(first: st.SearchStrategy[int], second: st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray]:
    """(pixel, 2) of which at least one pixel is labelled in both."""
    pair = st.tuples(first, second)
    some = st.lists(pair, min_size=1, max_size=60)
    return some.filter(lambda found: any(255 not in one for one in found)).map(
        lambda found: np.array(found, np.uint8)
    )


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=3, max_side=8), elements=st.integers(0, 8)))
def test_a_map_against_itself_has_the_identity_as_noise_matrix(labels: np.ndarray) -> None:
    found = compared(labels, labels)
    occurs = np.unique(labels)
    matrix = found.transition()
    assert np.array_equal(matrix[np.ix_(occurs, occurs)], np.eye(len(occurs)))
    assert np.isnan(matrix[np.setdiff1d(np.arange(9), occurs)]).all()
    assert found.noise_rate == 0
    assert found.kappa == (None if len(occurs) == 1 else 1)
    assert found.conditioning.condition_number == 1
    assert found.conditioning.diagonally_dominant


@given(pairs_of(CLASSES, CLASSES))
def test_every_pixel_is_counted_once(pairs: np.ndarray) -> None:
    found = compared(pairs[:, 0], pairs[:, 1])
    counts = Counter(map(tuple, pairs.tolist()))
    for i in range(9):
        for j in range(9):
            assert found.counts[i][j] == counts[i, j]
    apart = found.reference_only_pixels + found.other_only_pixels + found.unlabelled_pixels
    assert found.compared_pixels + found.no_counterpart_pixels + apart == len(pairs)
    assert found.unlabelled_pixels == counts[255, 255]
    assert found.reference_only_pixels == sum(n for (a, b), n in counts.items() if a < 255 == b)


@given(pairs_of(CLASSES, CLASSES), st.randoms(use_true_random=False))
def test_the_order_of_pixels_and_how_they_are_cut_plays_no_part(pairs: np.ndarray, random: Random) -> None:
    order = list(range(len(pairs)))
    random.shuffle(order)
    shuffled, half = pairs[order], len(pairs) // 2
    parts = [counted(part[:, 0], part[:, 1]) for part in (shuffled[:half], shuffled[half:])]
    assert np.array_equal(parts[0] + parts[1], counted(pairs[:, 0], pairs[:, 1]))


@given(st.permutations(range(9)), st.lists(st.integers(1, 9), min_size=9, max_size=9))
def test_a_permutation_of_classes_is_recovered(permutation: list[int], pixels: list[int]) -> None:
    reference = np.repeat(np.arange(9, dtype=np.uint8), pixels)
    found = compared(reference, np.array(permutation, np.uint8)[reference])
    assert np.array_equal(found.transition(), np.eye(9)[permutation])
    assert abs(found.conditioning.determinant) == pytest.approx(1)
    assert found.conditioning.condition_number == pytest.approx(1)
    assert found.conditioning.diagonally_dominant == (permutation == sorted(permutation))


@given(st.lists(st.lists(st.integers(0, 20), min_size=4, max_size=4), min_size=4, max_size=4))
def test_known_noise_is_recovered(counts: list[list[int]]) -> None:
    table = np.array(counts) + np.eye(4, dtype=int)  # every class occurs
    i, j = (np.repeat(axis.ravel(), table.ravel()).astype(np.uint8) for axis in np.indices((4, 4)))
    found = compared(i, j)
    assert np.array_equal(found.transition()[:4, :4], table / table.sum(axis=1, keepdims=True))
    assert found.noise_rate == (table.sum() - np.trace(table)) / table.sum()
    for one, row in zip(found.classes[:4], range(4), strict=True):
        both = table[row, row]
        assert one.noise_rate == pytest.approx(1 - both / table[row].sum())
        assert one.confirmed == pytest.approx(both / table[:, row].sum())
        assert one.iou == pytest.approx(both / (table[row].sum() + table[:, row].sum() - both))


def test_independent_maps_have_kappa_zero() -> None:
    assert kappa(np.outer([3, 5], [2, 7])) == 0
    assert kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)  # Cohen's own kind of example
    assert kappa(np.array([[0, 0], [0, 9]])) is None


@given(pairs_of(OSM_CLASSES, CLASSES))
def test_osm_is_read_in_the_classes_of_dynamic_world(pairs: np.ndarray) -> None:
    names = MAPPINGS["osm_land_use", "dynamic_world"].pairs
    expected: Counter[tuple[str, str]] = Counter()
    snow = 0
    for osm, world in pairs.tolist():
        if 255 not in (osm, world):
            pair = names[OSM_LAND_USE.classes[osm]], NINE[world]
            snow += pair[1] == "snow_and_ice"
            expected[pair] += pair[1] != "snow_and_ice"
    if not +expected:
        with pytest.raises(StoreError, match="labelled by both osm and dynamic_world"):
            compared(pairs[:, 0], pairs[:, 1], products=("osm", "dynamic_world"))
        return
    found = compared(pairs[:, 0], pairs[:, 1], products=("osm", "dynamic_world"))
    assert found.legend.name == "dynamic_world"
    assert "DW-legend.xlsx" in found.legend_mapping
    for i, row in enumerate(found.counts):
        for j, pixels in enumerate(row):
            assert pixels == expected[NINE[i], NINE[j]]
    assert found.no_counterpart_pixels == snow
    assert found.no_counterpart["dynamic_world"] == ({"snow_and_ice": snow} if snow else {})
    assert found.no_counterpart["osm"] == {}
    assert "snow_and_ice" in found.absent_classes


def test_either_of_two_legends_may_be_the_reference() -> None:
    osm, world = np.array([[0, 7, 12]], np.uint8), np.array([[6, 2, 0]], np.uint8)
    one = compared(osm, world, products=("osm", "dynamic_world"))
    two = compared(world, osm, products=("dynamic_world", "osm"))
    assert one.legend == two.legend
    assert np.array_equal(np.array(one.counts), np.array(two.counts).T)


def test_two_legends_without_a_mapping_meet_in_a_third() -> None:
    osm = OSM_LAND_USE.classes.index("forests")
    dfc2020 = LEGEND_OF_PRODUCT["dfc2020"].classes.index("forest")
    found = compared(np.full(5, osm, np.uint8), np.full(5, dfc2020, np.uint8), products=("osm", "dfc2020"))
    assert found.legend.name == "dynamic_world"
    assert found.counts[NINE.index("trees")][NINE.index("trees")] == 5
    assert found.legend_mapping.count("read as dynamic_world") == 2


def test_a_class_beyond_the_legend_is_an_error() -> None:
    with pytest.raises(StoreFormatError, match="expert holds class 9, but its legend ends at 8"):
        compared(np.array([9], np.uint8), np.array([0], np.uint8))


@given(arrays(np.int64, (5, 5), elements=st.integers(0, 50)))
def test_a_diagonally_dominant_noise_matrix_is_invertible(noise: np.ndarray) -> None:
    """Levy and Desplanques' theorem."""
    found = conditioning(noise + np.diag(noise.sum(axis=1) + 1), names=NINE[:5])
    assert found.diagonally_dominant
    assert found.condition_number is not None
    assert found.condition_number >= 1
    assert found.determinant > 0
    assert "correction" in found.verdict


def test_classes_that_are_confused_evenly_make_both_corrections_ill_posed() -> None:
    found = conditioning(np.array([[5, 5, 0], [5, 5, 0], [0, 0, 9]]), names=NINE[:3])
    assert found.condition_number is None
    assert found.verdict.startswith("Neither forward nor backward correction is well-posed: T is singular")
    assert "Patrini et al. 2017" in found.verdict


def test_a_class_that_the_other_source_never_gives_is_named() -> None:
    found = conditioning(np.array([[9, 0, 1], [5, 0, 4], [0, 0, 9]]), names=NINE[:3])
    assert "never gives trees" in found.verdict


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (0.1, "Forward and backward correction are well-posed"),
        (0.47, "backward correction is unbiased but noisy"),
        (0.499, "barely well-posed"),
    ],
)
def test_the_verdict_follows_the_condition_number(wrong: float, words: str) -> None:
    right, flipped = round(1000 * (1 - wrong)), round(1000 * wrong)
    found = conditioning(np.array([[right, flipped], [flipped, right]]), names=("yes", "no"))
    assert found.condition_number == pytest.approx(1 / (1 - 2 * wrong))
    assert found.smallest_singular_value == pytest.approx(1 - 2 * wrong)
    assert found.determinant == pytest.approx(1 - 2 * wrong)
    assert words in found.verdict


def test_one_class_leaves_nothing_to_correct() -> None:
    assert "nothing to correct" in conditioning(np.array([[0, 7], [0, 0]]), names=("yes", "no")).verdict
