"""Scores of one confusion matrix, with classes that are absent, and counting them over batches and ranks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from noldo.confusion import counted
from noldo.errors import ConfigError
from noldo.scores import confusion_metric, scores_of

MATRICES = arrays(np.int64, (4, 4), elements=st.integers(0, 50))


def test_scores_of_a_matrix_that_one_can_count_by_hand() -> None:
    found = scores_of(np.array([[3, 1], [2, 4]]), absent="one")
    assert found.overall_accuracy == 7 / 10
    assert found.iou == (3 / 6, 4 / 7)
    assert found.precision == (3 / 5, 4 / 5)
    assert found.recall == (3 / 4, 4 / 6)
    assert found.f1 == (6 / 9, 8 / 11)
    assert found.mean_recall == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert found.num_pixels == 10


def test_a_class_that_is_nowhere_counts_as_one_or_not_at_all() -> None:
    counts = np.array([[2, 2, 0], [0, 4, 0], [0, 0, 0]])
    as_one, skipped = scores_of(counts, absent="one"), scores_of(counts, absent="skip")
    for name in ("iou", "f1", "precision", "recall"):
        assert getattr(as_one, name)[2] == 1
        assert math.isnan(getattr(skipped, name)[2])
        assert getattr(as_one, name)[:2] == getattr(skipped, name)[:2]
    assert as_one.mean_iou == pytest.approx((0.5 + 4 / 6 + 1) / 3)
    assert skipped.mean_iou == pytest.approx((0.5 + 4 / 6) / 2)


def test_a_class_that_is_never_predicted_has_precision_one_as_published() -> None:
    found = scores_of(np.array([[5, 0], [3, 0]]), absent="one")
    assert (found.precision[1], found.recall[1], found.iou[1], found.f1[1]) == (1, 0, 0, 0)


def test_a_class_that_is_predicted_but_absent_has_recall_one_as_published() -> None:
    found = scores_of(np.array([[5, 3], [0, 0]]), absent="one")
    assert (found.precision[1], found.recall[1], found.iou[1], found.f1[1]) == (0, 1, 0, 0)


def test_without_pixels_there_is_no_accuracy() -> None:
    nothing = np.zeros((3, 3), np.int64)
    assert math.isnan(scores_of(nothing, absent="one").overall_accuracy)
    assert math.isnan(scores_of(nothing, absent="skip").mean_iou)


@given(MATRICES)
def test_f1_is_the_harmonic_mean_of_precision_and_recall_and_iou_follows_from_it(counts: np.ndarray) -> None:
    found = scores_of(counts, absent="skip")
    for f1, iou, precision, recall in zip(found.f1, found.iou, found.precision, found.recall, strict=True):
        if precision and recall and not math.isnan(precision + recall):
            assert f1 == pytest.approx(2 / (1 / precision + 1 / recall))
        assert math.isnan(f1) == math.isnan(iou)
        assert math.isnan(f1) or iou == pytest.approx(f1 / (2 - f1))


@given(MATRICES)
def test_truth_and_prediction_exchanged_exchange_precision_and_recall(counts: np.ndarray) -> None:
    found, other = scores_of(counts, absent="one"), scores_of(counts.T, absent="one")
    assert (found.precision, found.recall) == (other.recall, other.precision)
    assert (found.iou, found.f1) == (other.iou, other.f1)


def test_a_matrix_that_is_not_square_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(2, 3\): expected as many rows as columns"):
        scores_of(np.zeros((2, 3), np.int64), absent="one")


def test_batches_add_up_to_what_counting_all_at_once_gives_and_unlabelled_pixels_are_left_out() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice([0, 1, 2, 3, 255], (6, 5, 5)).astype(np.uint8)
    logits = torch.from_numpy(rng.standard_normal((6, 4, 5, 5)).astype(np.float32))
    metric = confusion_metric(4)
    for part in (slice(0, 2), slice(2, 6)):
        metric.update(logits[part], torch.from_numpy(labels[part]))
    predicted = logits.argmax(1).numpy().astype(np.uint8)
    assert metric.confmat.dtype == torch.int64
    assert np.array_equal(metric.compute().numpy(), counted(labels, predicted)[:4, :4])


def test_a_label_beyond_the_classes_is_not_counted_in_silence() -> None:
    with pytest.raises(RuntimeError):
        confusion_metric(4).update(torch.zeros(1, 4, 1, 1), torch.full((1, 1, 1), 4, dtype=torch.uint8))
