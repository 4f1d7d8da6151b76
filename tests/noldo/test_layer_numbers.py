"""The pure parts of `noldo layers`: CKA, probes, pixels, spreads."""

import csv
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from noldo.layers.findings import Finding, Spread, csv_of, is_alike
from noldo.layers.pixels import drawn, features_at, features_in, labelled_pixels
from noldo.layers.probe import Sums
from noldo.layers.similarity import cka, unbiased_hsic
from noldo.layers.table import markdown

seeds = st.integers(0, 10_000)
few = settings(max_examples=20)


def features(seed: int, num: int = 40, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, width))


def centred_hsic_by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """The U-statistic of Song et al. 2012, as a sum over quadruples of different examples."""
    num = len(x)
    gram_x, gram_y = x @ x.T, y @ y.T
    total, count = 0.0, 0
    for i in range(num):
        for j in range(num):
            for q in range(num):
                for r in range(num):
                    if len({i, j, q, r}) == 4:
                        total += gram_x[i, j] * (gram_y[i, j] + gram_y[q, r] - 2 * gram_y[i, q])
                        count += 1
    return total / count


def test_hsic_is_the_mean_over_quadruples_of_different_examples():
    x, y = features(1, num=6, width=2), features(2, num=6, width=3)
    found = unbiased_hsic([x, y])
    assert found[0, 1] == pytest.approx(centred_hsic_by_definition(x, y))
    assert found[0, 0] == pytest.approx(centred_hsic_by_definition(x, x))
    np.testing.assert_allclose(found, found.T)


@few
@given(seed=seeds, shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_cka_does_not_change_with_rotation_scale_and_offset(seed, shift, scale):
    x, y = features(seed), features(seed + 1)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed + 2).normal(size=(5, 5)))
    before = cka(unbiased_hsic([x, y]))
    after = cka(unbiased_hsic([scale * x @ rotation + shift, y]))
    np.testing.assert_allclose(after, before, atol=1e-8)


@few
@given(seed=seeds)
def test_cka_of_the_same_features_is_one_and_of_unrelated_ones_about_zero_whatever_their_width(seed):
    """The biased estimator would say 0.5 and more: there are as many features as examples."""
    unrelated = [features(seed + number, num=64, width=64) for number in range(2)]
    sums = sum(
        unbiased_hsic(
            [features(seed + 2 * n, num=64, width=64), features(seed + 2 * n + 1, num=64, width=64)]
        )
        for n in range(20)
    )
    assert cka(unbiased_hsic([unrelated[0], unrelated[0]]))[0, 1] == pytest.approx(1)
    assert abs(cka(sums)[0, 1]) < 0.15


@few
@given(seed=seeds)
def test_cka_over_small_batches_is_near_that_of_all_examples(seed):
    x = features(seed, num=400)
    y = x + features(seed + 1, num=400)
    parts = sum(unbiased_hsic([x[at : at + 20], y[at : at + 20]]) for at in range(0, 400, 20))
    assert cka(parts)[0, 1] == pytest.approx(cka(unbiased_hsic([x, y]))[0, 1], abs=0.1)


def test_cka_with_features_that_do_not_vary_is_not_defined():
    found = cka(unbiased_hsic([np.ones((10, 3)), features(0, num=10)]))
    assert math.isnan(found[0, 1])
    assert found[1, 1] == pytest.approx(1)


def test_hsic_of_three_examples_is_refused():
    with pytest.raises(ValueError, match="3 examples: the unbiased HSIC needs 4"):
        unbiased_hsic([features(0, num=3)])


@few
@given(seed=seeds, parts=st.integers(1, 5))
def test_a_probe_does_not_depend_on_how_pixels_are_cut_into_batches(seed, parts):
    x = features(seed, num=60)
    y = np.random.default_rng(seed).integers(0, 3, 60)
    whole, cut = Sums(5, num_classes=3), Sums(5, num_classes=3)
    whole.add(x, y)
    for positions in np.array_split(np.arange(60), parts):
        cut.add(x[positions], y[positions])
    np.testing.assert_allclose(cut.solve().weights, whole.solve().weights, atol=1e-9)
    np.testing.assert_allclose(cut.solve().biases, whole.solve().biases, atol=1e-9)


@few
@given(seed=seeds)
def test_a_probe_is_where_the_gradient_of_the_ridge_loss_vanishes(seed):
    x, y = features(seed), np.random.default_rng(seed).integers(0, 2, 40)
    sums = Sums(5, num_classes=2)
    sums.add(x, y)
    found = sums.solve(ridge=0.1)
    left = x @ found.weights + found.biases - np.eye(2)[y]
    penalty = 0.1 * x.var(axis=0).mean() * found.weights
    np.testing.assert_allclose(x.T @ left / 40 + penalty, 0, atol=1e-9)
    np.testing.assert_allclose(left.mean(axis=0), 0, atol=1e-9)


def test_a_probe_finds_classes_that_a_line_parts_and_the_commonest_one_where_features_tell_nothing():
    y = np.array([0] * 30 + [1] * 10)
    sums, blind = Sums(2, num_classes=3), Sums(2, num_classes=3)
    x = np.stack([y + 0.01 * np.arange(40), np.zeros(40)], axis=1)
    sums.add(x, y)
    blind.add(np.ones((40, 2)), y)
    np.testing.assert_array_equal(sums.solve().classes_of(x), y)
    np.testing.assert_array_equal(blind.solve().classes_of(np.ones((4, 2))), 0)


def test_a_probe_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no labelled pixel"):
        Sums(2, num_classes=2).solve()


def test_pixels_are_those_of_their_words_and_only_labelled_ones():
    labels = np.full((2, 8, 8), 255, np.uint8)
    labels[1, 2:4] = 3
    found = labelled_pixels(labels, at_most=5, words=(0, 1))
    assert len(found) == 5
    assert (labels.ravel()[found] == 3).all()
    np.testing.assert_array_equal(found, labelled_pixels(labels, at_most=5, words=(0, 1)))
    assert len(labelled_pixels(labels, at_most=99, words=(0,))) == 16
    assert (drawn(1000, at_most=5, words=(1,)) != drawn(1000, at_most=5, words=(2,))).any()


@few
@given(seed=seeds)
def test_features_at_labels_are_those_of_the_resampled_map(seed):
    torch.manual_seed(seed)
    output = torch.rand(2, 3, 4, 4)
    whole = functional.interpolate(output, size=(32, 32), mode="bilinear", align_corners=False)
    labels = np.zeros((2, 27, 30), np.uint8)  # the image was padded to 32 px
    positions = labelled_pixels(labels, at_most=50, words=(seed,))
    sample, row, column = np.unravel_index(positions, labels.shape)
    expected = whole[sample, :, row, column].numpy()
    found = features_at(output, positions, shape=labels.shape, padded_side=(32, 32))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_features_of_a_layer_are_taken_from_its_own_grid():
    output = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5).float()
    found = features_in(output, np.array([0, 21]))
    np.testing.assert_array_equal(found, [output[0, :, 0, 0].numpy(), output[1, :, 0, 1].numpy()])


def finding(value: float, *, labels: str = "clean", seed: int = 1, other: str = "clean") -> Finding:
    return Finding("cka", "stem", labels, seed, other, 9, value)


def test_a_group_is_alike_unless_it_lies_two_standard_deviations_below_the_clean_pairs():
    clean = Spread.of([0.90, 0.92, 0.94])
    assert is_alike(Spread.of([0.881]), clean)
    assert is_alike(Spread.of([0.879]), clean) is False
    wide = Spread.of([0.76, 0.80, 0.84])
    assert is_alike(wide, clean) is False
    assert is_alike(Spread.of([0.80, 0.86, 0.92]), clean)
    assert is_alike(Spread.of([0.9]), Spread.of([0.9])) is None
    assert Spread.of([math.nan]) is None


def test_the_table_has_a_row_a_layer_and_marks_what_is_not_alike():
    findings = [finding(value, seed=seed) for seed, value in enumerate((0.90, 0.92, 0.94))]
    findings += [finding(value, labels="uniform 60 %") for value in (0.5, 0.7)]
    findings += [finding(0.1, labels="uniform 60 %", other="uniform 60 %")]
    text = markdown(findings, title="Layers")
    assert "| layer | clean | uniform 60 % |" in text
    assert "| stem | 0.920 ± 0.020 | 0.600 ± 0.141* |" in text
    assert "Linear probe" not in text


def test_the_csv_has_a_line_a_value_unrounded():
    value = 0.1 + 0.2
    lines = list(csv.DictReader(io.StringIO(csv_of([finding(value)]))))
    assert float(lines[0]["value"]) == value
    assert lines[0]["other_seed"] == "9"
