"""Curves of training: the fit, and the two rules that say when labels begin to be corrected."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noldo.method.early_learning import (
    Curve,
    correction_epoch,
    first_possible,
    fitted,
    has_slowed,
)

EPOCHS = np.arange(1.0, 31.0)


@given(a=st.floats(0.1, 1), b=st.floats(0.05, 2), c=st.floats(0.1, 1), t=st.floats(0.5, 50))
def test_the_slope_is_the_derivative_and_falls(a, b, c, t):
    curve, step = Curve(a, b, c), 1e-5
    ends = curve.value(np.array([t - step, t + step]))
    slope, later = curve.slope(np.array([t, t + 1]))
    assert slope == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-4, abs=1e-9)
    assert later <= slope


@settings(max_examples=20, deadline=None)
@given(a=st.floats(0.3, 0.95), b=st.floats(0.1, 1), c=st.floats(0.4, 0.95))
def test_a_curve_without_noise_is_found_again(a, b, c):
    scores = Curve(a, b, c).value(EPOCHS)
    np.testing.assert_allclose(fitted(scores.tolist()).value(EPOCHS), scores, atol=2e-3)


def test_later_epochs_weigh_more():
    scores = np.where(EPOCHS > 25, 0.8, 0.5)
    ends = [fitted(scores.tolist(), late_weight=weight).value(EPOCHS)[-1] for weight in (1, 10)]
    assert abs(ends[1] - 0.8) < abs(ends[0] - 0.8)


def test_epochs_in_which_a_class_was_not_seen_are_left_out():
    scores = Curve(0.8, 0.3, 0.9).value(EPOCHS)
    gaps = scores.copy()
    gaps[[2, 7, 8]] = np.nan
    np.testing.assert_allclose(fitted(gaps.tolist()).value(EPOCHS), scores, atol=1e-3)


def test_two_epochs_are_no_curve():
    with pytest.raises(ValueError, match="2 epochs: a curve needs 3"):
        fitted([0.1, 0.2, np.nan])
    assert not has_slowed([0.1, 0.2])


@pytest.mark.parametrize(("b", "expected"), [(0.2, 13), (0.5, 6)])
def test_a_class_begins_when_its_slope_fell_by_nine_tenths(b, expected):
    """c = 1: g'(t) / g'(1) = exp(-b (t - 1)), which falls below 0.1 after ln 10 / b epochs."""
    scores = Curve(0.7, b, 1.0).value(EPOCHS).tolist()
    begun = [has_slowed(scores[:count], fall=0.9) for count in range(1, 20)]
    assert begun.index(True) + 1 == expected == int(1 + np.log(10) / b) + 1
    assert all(begun[expected - 1 :])


@pytest.mark.parametrize(
    "scores", [[0.0] * 10, [0.0] * 3, [float("nan")] * 10, np.linspace(0.01, 0.2, 10).tolist()]
)
def test_a_class_that_is_never_right_or_still_rises_does_not_begin(scores):
    assert not has_slowed(scores)


def with_pause(learns: int, pause: int, memorises: int) -> list[float]:
    """Accuracy that rises, rests, and rises again."""
    early = Curve(0.7, 0.5, 0.9).value(np.arange(1.0, learns + 1))
    rest = np.full(pause, early[-1])
    late = rest[-1] + 0.004 * np.arange(1, memorises + 1)
    return [*early.tolist(), *rest.tolist(), *late.tolist()]


def test_the_correction_begins_between_the_bend_of_the_curve_and_the_end_of_its_pause():
    scores = with_pause(20, 30, 60)
    found = correction_epoch(scores)
    assert found is not None
    assert 15 < found < 50
    told = [correction_epoch(scores[:count]) for count in range(len(scores))]
    first = next(count for count, one in enumerate(told) if one is not None)
    assert first >= first_possible((10, 20, 30, 40))
    assert told[first] <= first


def test_without_a_second_rise_nothing_is_told():
    assert correction_epoch(Curve(0.7, 0.3, 0.9).value(np.arange(1.0, 120.0)).tolist()) is None


def test_shorter_windows_serve_a_shorter_run():
    scores = with_pause(6, 8, 12)
    assert correction_epoch(scores) is None
    found = correction_epoch(scores, windows=(3, 4, 5, 6))
    assert found is not None
    assert 2 <= found <= 14
    assert first_possible((3, 4, 5, 6)) == 11
