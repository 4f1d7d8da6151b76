"""How sure a network is, at ordinary logits and at extreme ones."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noldo.method.confidence import entangled, label_confidence, log_probabilities, prediction_confidence

GAPS = st.one_of(st.floats(0, 300, width=32), st.floats(0, 2.0**127, width=32))


def one_pixel(*logits: float) -> torch.Tensor:
    return torch.tensor(logits).reshape(1, -1, 1, 1)


def test_label_confidence_is_the_probability_of_the_hard_label() -> None:
    log_q = log_probabilities(torch.randn(2, 9, 4, 5, generator=torch.Generator().manual_seed(0)))
    labels = torch.arange(40).reshape(2, 4, 5).remainder(9).to(torch.uint8)
    found = label_confidence(log_q, labels)
    for sample, row, column in ((0, 0, 0), (1, 3, 4), (0, 2, 1)):
        label = int(labels[sample, row, column])
        assert found[sample, row, column] == log_q.exp()[sample, label, row, column]


def test_an_unlabelled_pixel_has_no_label_confidence_but_a_prediction() -> None:
    log_q = log_probabilities(one_pixel(9, 0, 0))
    assert label_confidence(log_q, torch.tensor([[[255]]], dtype=torch.uint8)) == 0
    assert prediction_confidence(log_q) > 0.9


def test_a_label_beyond_the_classes_is_an_error_and_not_a_pixel_without_label() -> None:
    with pytest.raises(RuntimeError):
        label_confidence(log_probabilities(one_pixel(1, 2, 3)), torch.tensor([[[3]]], dtype=torch.uint8))


def test_a_network_that_knows_nothing_has_no_confidence() -> None:
    log_q = log_probabilities(torch.zeros(1, 9, 2, 2))
    assert torch.allclose(prediction_confidence(log_q), torch.zeros(1, 2, 2), atol=1e-6)
    assert torch.allclose(prediction_confidence(log_q, kind="gini"), torch.full((1, 2, 2), 1 / 9))


@given(st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=9))
def test_prediction_confidence_is_one_minus_normalised_entropy(logits: list[float]) -> None:
    highest = max(logits)
    total = sum(math.exp(one - highest) for one in logits)
    shares = [math.exp(one - highest) / total for one in logits]
    entropy = -sum(share * math.log(share) for share in shares)
    log_q = log_probabilities(one_pixel(*logits))
    assert prediction_confidence(log_q).item() == pytest.approx(1 - entropy / math.log(len(logits)), abs=1e-5)
    assert prediction_confidence(log_q, kind="gini").item() == pytest.approx(
        sum(share**2 for share in shares), abs=1e-5
    )


@given(GAPS, st.sampled_from(["ce", "gini"]))
def test_confidence_is_finite_at_any_logit_gap(gap: float, kind: Any) -> None:
    """A softmax whose logarithm is taken ends in 0 * -infinity from a gap of 104 on."""
    log_q = log_probabilities(one_pixel(gap, 0, -gap))
    assert 0 <= prediction_confidence(log_q, kind=kind).item() <= 1
    for label in range(3):
        assert 0 <= label_confidence(log_q, torch.full((1, 1, 1), label)).item() <= 1


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_confidence_is_halved_if_the_other_modality_has_none(own: float, other: float) -> None:
    one, two = torch.tensor(own), torch.tensor(other)
    assert entangled(one, torch.tensor(0.0)) == one / 2
    assert entangled(one, torch.tensor(1.0)) == one
    assert entangled(one, two) <= one


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_probabilities_are_float32_or_wider(dtype: torch.dtype) -> None:
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert log_probabilities(torch.zeros(1, 3, 1, 1, dtype=dtype)).dtype == wide


def test_confidence_carries_no_gradient() -> None:
    log_q = log_probabilities(torch.zeros(1, 3, 1, 1, requires_grad=True))
    assert log_q.requires_grad
    assert not prediction_confidence(log_q).requires_grad
    assert not label_confidence(log_q, torch.zeros(1, 1, 1, dtype=torch.uint8)).requires_grad
