"""The spatial-temporal prior, against scipy's blur, and what unlabelled pixels do to it; smoothed targets."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from noldo.errors import ConfigError
from noldo.method.smoothing import Smoothing, gaussian_taps, label_prior, smoothed_target

torch.set_num_threads(1)

NUM_CLASSES = 4
KINDS = st.sampled_from(["t", "s", "ts"])
LABELS = st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 30)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, NUM_CLASSES - 1))
)


def prior_of(labels: np.ndarray, season: int, kind: Any = "ts") -> np.ndarray:
    """Of one location: (season, row, column) to (class, row, column)."""
    found = label_prior(
        torch.from_numpy(labels[None]), torch.tensor([season]), num_classes=NUM_CLASSES, kind=kind
    )
    assert found.dtype == torch.float32
    return found[0].numpy()


def published(labels: np.ndarray, season: int, kind: str) -> np.ndarray:
    """Two blurs, each divided by its sum over classes, as the authors do it."""

    def normalised(planes: np.ndarray) -> np.ndarray:
        blurred = np.stack([gaussian_filter(one, sigma=3, truncate=4, mode="reflect") for one in planes])
        return blurred / blurred.sum(0)

    hard = np.stack([labels == one for one in range(NUM_CLASSES)]).astype(np.float64)
    parts = {"t": normalised(hard.mean(1)), "s": normalised(hard[:, season])}
    return parts[kind] if kind in parts else (parts["t"] + parts["s"]) / 2


@settings(max_examples=40)
@given(LABELS, KINDS, st.data())
def test_one_blur_gives_the_prior_of_the_two_published_ones(
    labels: np.ndarray, kind: str, data: st.DataObject
) -> None:
    season = data.draw(st.integers(0, len(labels) - 1))
    np.testing.assert_allclose(
        prior_of(labels, season, kind), published(labels, season, kind), rtol=0, atol=5e-7
    )


def test_the_blur_has_25_taps_that_add_to_one() -> None:
    taps = gaussian_taps()
    assert len(taps) == 25
    assert taps == taps[::-1]
    assert sum(taps) == pytest.approx(1, abs=1e-15)


def test_each_sample_of_a_batch_has_the_prior_of_its_own_season() -> None:
    labels = np.random.default_rng(0).integers(0, NUM_CLASSES, (3, 4, 20, 24)).astype(np.uint8)
    found = label_prior(torch.from_numpy(labels), torch.tensor([2, 0, 3]), num_classes=NUM_CLASSES)
    for sample, season in enumerate([2, 0, 3]):
        np.testing.assert_allclose(found[sample], prior_of(labels[sample], season), rtol=0, atol=1e-7)


def test_the_prior_keeps_its_precision_under_autocast() -> None:
    labels = np.random.default_rng(0).integers(0, NUM_CLASSES, (4, 20, 24)).astype(np.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = prior_of(labels, 1)
    assert np.array_equal(found, prior_of(labels, 1))


def test_an_unlabelled_pixel_takes_the_class_of_its_surroundings() -> None:
    labels = np.full((1, 30, 30), 2, np.uint8)
    labels[0, 10:15, 10:15] = 255
    np.testing.assert_allclose(prior_of(labels, 0)[2], 1, rtol=0, atol=1e-6)


def test_where_nothing_near_is_labelled_all_classes_are_alike() -> None:
    labels = np.full((1, 30, 30), 255, np.uint8)
    labels[0, 2, 2] = 3
    found = prior_of(labels, 0)
    assert (found[:, 15:, 15:] == 1 / NUM_CLASSES).all()
    np.testing.assert_allclose(found[3, :15, :15], 1, rtol=0, atol=1e-6)


def test_a_season_without_labels_leaves_the_prior_to_the_others() -> None:
    labels = np.zeros((2, 20, 20), np.uint8)
    labels[1] = 255
    for kind in ("t", "ts"):
        np.testing.assert_allclose(prior_of(labels, 1, kind)[0], 1, rtol=0, atol=1e-6)
    assert (prior_of(labels, 1, "s") == 1 / NUM_CLASSES).all()


@settings(max_examples=40)
@given(LABELS, KINDS, st.floats(0, 1), st.integers(0, 99))
def test_shares_add_to_one_however_much_is_unlabelled(
    labels: np.ndarray, kind: str, clouds: float, seed: int
) -> None:
    labels = np.where(np.random.default_rng(seed).random(labels.shape) < clouds, np.uint8(255), labels)
    found = prior_of(labels, 0, kind)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(0), 1, rtol=0, atol=2e-6)


@pytest.mark.parametrize("label", [NUM_CLASSES, 254])
def test_a_label_beyond_the_classes_is_an_error(label: int) -> None:
    with pytest.raises(RuntimeError):
        prior_of(np.full((1, 2, 2), label, np.uint8), 0)


def test_a_season_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(RuntimeError):
        prior_of(np.zeros((2, 3, 3), np.uint8), 2)


def test_a_target_is_shared_between_hard_label_prior_and_all_classes() -> None:
    prior = torch.tensor([0.4, 0.6, 0, 0]).reshape(1, 4, 1, 1)
    found = smoothed_target(torch.tensor([[[2]]]), num_classes=4, smoothing=Smoothing(), prior_NCHW=prior)
    assert found.flatten().tolist() == pytest.approx([0.0725, 0.1025, 0.8125, 0.0125])


def test_a_target_without_smoothing_is_the_hard_label() -> None:
    labels = torch.tensor([[[0, 3, 255]]], dtype=torch.uint8)
    found = smoothed_target(labels, num_classes=4, smoothing=None)[0, :, 0]
    assert found.T.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]


def test_a_target_with_one_factor_leaves_nothing_to_all_classes() -> None:
    prior = torch.tensor([1.0, 0, 0, 0]).reshape(1, 4, 1, 1)
    only_prior = Smoothing(prior=0.2, uniform=0)
    found = smoothed_target(torch.tensor([[[2]]]), num_classes=4, smoothing=only_prior, prior_NCHW=prior)
    assert found.flatten().tolist() == pytest.approx([0.2, 0, 0.8, 0])


def test_a_target_smoothed_over_all_classes_needs_no_prior() -> None:
    only_uniform = Smoothing(prior=0, uniform=0.2)
    found = smoothed_target(torch.tensor([[[2, 255]]]), num_classes=4, smoothing=only_uniform)[0, :, 0]
    assert found[:, 0].tolist() == pytest.approx([0.05, 0.05, 0.85, 0.05])
    assert found[:, 1].tolist() == [0, 0, 0, 0]


def test_a_prior_that_is_missing_is_told() -> None:
    with pytest.raises(ConfigError, match=r"gives 0\.15 to a prior, but there is none"):
        smoothed_target(torch.tensor([[[2]]]), num_classes=4, smoothing=Smoothing())


@pytest.mark.parametrize(("prior", "uniform"), [(-0.1, 0.05), (0.9, 0.2)])
def test_shares_that_make_no_sense_are_told(prior: float, uniform: float) -> None:
    with pytest.raises(ConfigError, match="smoothing with shares"):
        Smoothing(prior=prior, uniform=uniform)
