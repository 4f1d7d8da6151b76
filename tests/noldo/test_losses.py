"""Cross-entropy, Dice and consistency one by one: against sums written out, at their edges, and by finite differences."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from noldo.method.confidence import log_probabilities
from noldo.method.consistency import consistency
from noldo.method.cross_entropy import cross_entropy
from noldo.method.dice import dice
from noldo.method.labels import one_hot

torch.set_num_threads(1)

SHAPE = (2, 4, 3, 3)
KINDS = ("ce", "kl", "mse")


def drawn(seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return 2 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def weights(seed: int = 7) -> torch.Tensor:
    return torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TARGET = drawn(5).softmax(1)
PIXELS = list(itertools.product(range(2), range(3), range(3)))


def ce_loss(logits: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return cross_entropy(log_probabilities(logits), TARGET, weights_NHW=weight)


def dice_loss(logits: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return dice(logits.softmax(1), TARGET, weights_NHW=weight)


def consistency_loss(kind: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    teacher = log_probabilities(drawn(9))
    return lambda logits, weight: consistency(
        log_probabilities(logits), teacher_log_q_NCHW=teacher, weights_NHW=weight, kind=kind
    )


LOSSES = {"cross_entropy": ce_loss, "dice": dice_loss, **{kind: consistency_loss(kind) for kind in KINDS}}


def test_cross_entropy_is_the_weighted_mean_over_pixels() -> None:
    q, weight = drawn(1).softmax(1), weights()
    expected = sum(weight[n, y, x] * -(TARGET[n, :, y, x] * q[n, :, y, x].log()).sum() for n, y, x in PIXELS)
    assert ce_loss(drawn(1), weight).item() == pytest.approx((expected / weight.sum()).item(), rel=1e-12)


def test_dice_is_over_batch_and_space_without_squares() -> None:
    q, weight = drawn(1).softmax(1), weights()
    expected = 0.0
    for one in range(SHAPE[1]):
        overlap = sum(weight[n, y, x] * q[n, one, y, x] * TARGET[n, one, y, x] for n, y, x in PIXELS)
        mass = sum(weight[n, y, x] * (q[n, one, y, x] + TARGET[n, one, y, x]) for n, y, x in PIXELS)
        expected += float(1 - 2 * overlap / mass) / SHAPE[1]
    assert dice_loss(drawn(1), weight).item() == pytest.approx(expected, rel=1e-12)


def test_a_class_that_no_target_has_adds_nothing_to_dice_but_is_counted_in_the_mean() -> None:
    """Perfect on class 0, all wrong on class 1; classes 2 and 3 are absent."""
    labels = torch.tensor([[[0, 1]]])
    q = one_hot(torch.tensor([[[0, 2]]]), num_classes=4)
    found = dice(q, one_hot(labels, num_classes=4), weights_NHW=torch.ones(1, 1, 2))
    assert found.item() == pytest.approx(1 / 4)


def test_a_class_counts_as_present_in_dice_even_if_its_pixels_have_no_weight() -> None:
    target = one_hot(torch.tensor([[[0, 1]]]), num_classes=4)
    found = dice(target, target, weights_NHW=torch.tensor([[[1.0, 0.0]]]))
    assert found.item() == pytest.approx(1 / 4)


def test_consistency_has_the_published_distances() -> None:
    student, teacher, weight = drawn(1).softmax(1), drawn(9).softmax(1), weights()
    distances = {
        "ce": -(teacher * student.log()).sum(1),
        "kl": (teacher * (teacher.log() - student.log())).sum(1),
        "mse": (teacher - student).square().sum(1),
    }
    for kind, distance in distances.items():
        expected = (weight * distance).sum() / weight.sum()
        assert LOSSES[kind](drawn(1), weight).item() == pytest.approx(expected.item(), rel=1e-12), kind


def test_cross_entropy_and_kl_consistency_have_one_gradient() -> None:
    gradients = []
    for kind in ("ce", "kl"):
        logits = drawn(1).requires_grad_()
        LOSSES[kind](logits, weights()).backward()
        gradients.append(logits.grad)
    assert gradients[0] is not None
    assert torch.allclose(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_teacher_gets_no_gradient(kind: Any) -> None:
    student, teacher = drawn(1).requires_grad_(), drawn(2).requires_grad_()
    consistency(
        log_probabilities(student),
        teacher_log_q_NCHW=log_probabilities(teacher),
        weights_NHW=weights(),
        kind=kind,
    ).backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    assert torch.autograd.gradcheck(lambda logits: LOSSES[name](logits, weights()), drawn(1).requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
def test_no_weight_at_all_is_a_loss_of_zero_without_gradient(name: str) -> None:
    logits = drawn(1).requires_grad_()
    found = LOSSES[name](logits, torch.zeros(2, 3, 3, dtype=torch.float64))
    found.backward()
    assert found.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_finite_where_probabilities_are_smaller_than_any_number(name: str) -> None:
    logits = (1e4 * drawn(1, torch.float32)).requires_grad_()
    found = LOSSES[name](logits, weights().float())
    found.backward()
    assert found.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_only_the_proportions_of_weights_matter(name: str) -> None:
    assert LOSSES[name](drawn(1), 3 * weights()).item() == pytest.approx(
        LOSSES[name](drawn(1), weights()).item()
    )
