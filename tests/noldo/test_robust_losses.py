"""Robust losses: identities between them, closed-form gradients, unlabelled pixels, extreme logits, matrices T."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noldo.errors import ConfigError
from noldo.method.confidence import log_probabilities
from noldo.method.cross_entropy import cross_entropy
from noldo.method.labels import labelled, one_hot
from noldo.method.objective import CrossModal, cross_modal_loss, single_modal_loss
from noldo.method.robust_losses import (
    LOG_ZERO,
    LabelLoss,
    PixelMean,
    asymmetric_generalised_cross_entropy,
    backward_correction,
    dfc2025_compat_sce,
    early_learning_regularised,
    forward_correction,
    generalised_cross_entropy,
    hard_bootstrapping,
    inverse_transition,
    mean_absolute_error,
    nce_and_rce,
    normalised_cross_entropy,
    reverse_cross_entropy,
    soft_bootstrapping,
    symmetric_cross_entropy,
    transition_matrix,
)
from noldo.method.selection import Selection
from noldo.method.smoothing import Smoothing, smoothed_target

torch.set_num_threads(1)

NUM_CLASSES = 5
SHAPE = (2, NUM_CLASSES, 3, 4)


def noise_rows(num_classes: int = NUM_CLASSES, *, seed: int = 3) -> np.ndarray:
    """A T that is not symmetric, with an exact 0 in it."""
    rows = np.random.default_rng(seed).random((num_classes, num_classes)) + 2 * np.eye(num_classes)
    rows[0, 1] = 0
    return rows / rows.sum(axis=1, keepdims=True)


T = transition_matrix(noise_rows(), num_classes=NUM_CLASSES)

RUNNING = torch.arange(NUM_CLASSES, dtype=torch.float32).softmax(0)[None, :, None, None]
"""What was predicted early, alike in every pixel."""

HARD_ONLY = {
    "mae": mean_absolute_error,
    "gce": generalised_cross_entropy,
    "gce, truncated": partial(generalised_cross_entropy, truncated_at=0.2),
    "nce": normalised_cross_entropy,
    "nce + rce": nce_and_rce,
    "agce": asymmetric_generalised_cross_entropy,
    "agce, q below 1": partial(asymmetric_generalised_cross_entropy, a=0.1, q=0.6),
    "forward": partial(forward_correction, transition_CC=T),
    "backward": partial(backward_correction, inverse_CC=inverse_transition(T)),
}
LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "rce": reverse_cross_entropy,
    "sce": symmetric_cross_entropy,
    "soft bootstrapping": soft_bootstrapping,
    "hard bootstrapping": hard_bootstrapping,
    "elr": partial(early_learning_regularised, running_NCHW=RUNNING),
    **HARD_ONLY,
}
SEEDS = st.integers(0, 999)


def drawn(seed: int, *, dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def labels_of(seed: int, *, unlabelled: float = 0.3, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """(N, H, W) uint8, a share of them 255."""
    random = torch.Generator().manual_seed(seed)
    size = (shape[0], *shape[2:])
    classes = torch.randint(0, shape[1], size, generator=random).to(torch.uint8)
    return torch.where(torch.rand(size, generator=random) < unlabelled, 255, classes)


def target_of(labels: torch.Tensor, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return one_hot(labels, num_classes=NUM_CLASSES).to(dtype)


def all_labels() -> list[torch.Tensor]:
    """Targets that give every pixel the class 0, the class 1, ..."""
    size = (SHAPE[0], *SHAPE[2:])
    return [target_of(torch.full(size, label, dtype=torch.uint8)) for label in range(NUM_CLASSES)]


def ce(log_q: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return -(target * log_q).sum(dim=1)


def p_y(log_q: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (target * log_q.exp()).sum(dim=1)


def assert_close(found: torch.Tensor, expected: torch.Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=atol)


# ---- identities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "other", "atol"),
    [
        (partial(generalised_cross_entropy, q=1.0), mean_absolute_error, 1e-12),
        (partial(generalised_cross_entropy, q=1e-9), ce, 1e-6),
        (partial(symmetric_cross_entropy, alpha=1.0, beta=0.0), ce, 0),
        (partial(symmetric_cross_entropy, alpha=0.0, beta=1.0), reverse_cross_entropy, 0),
        (partial(nce_and_rce, alpha=1.0, beta=0.0), normalised_cross_entropy, 0),
        (partial(forward_correction, transition_CC=torch.eye(NUM_CLASSES)), ce, 1e-12),
        (partial(backward_correction, inverse_CC=torch.eye(NUM_CLASSES)), ce, 1e-12),
        (
            partial(asymmetric_generalised_cross_entropy, a=1e-12, q=0.7),
            partial(generalised_cross_entropy, q=0.7),
            1e-6,
        ),
        (partial(soft_bootstrapping, beta=1.0), ce, 0),
        (partial(hard_bootstrapping, beta=1.0), ce, 0),
        (partial(generalised_cross_entropy, truncated_at=1e-30), generalised_cross_entropy, 0),
        (partial(early_learning_regularised, running_NCHW=RUNNING, strength=0.0), ce, 0),
    ],
    ids=[
        "GCE of q 1 is MAE", "GCE of small q is CE", "SCE without RCE is CE", "SCE without CE is RCE",
        "APL without RCE is NCE", "forward by the identity is CE", "backward by the identity is CE",
        "AGCE of small a is GCE", "soft bootstrapping of beta 1 is CE", "hard bootstrapping of beta 1 is CE",
        "GCE truncated nowhere is GCE", "ELR of strength 0 is CE",
    ],
)  # fmt: skip
def test_a_limit_of_one_loss_is_another(loss: Any, other: Any, atol: float) -> None:
    log_q, target = log_probabilities(drawn(1)), target_of(labels_of(1))
    torch.testing.assert_close(loss(log_q, target), other(log_q, target), rtol=1e-7, atol=atol)


def test_losses_are_the_formulas_written_out() -> None:
    log_q, target = log_probabilities(drawn(2)), target_of(labels_of(2, unlabelled=0))
    p, label = log_q.exp(), target.argmax(1, keepdim=True)
    own = p.gather(1, label).squeeze(1)
    assert_close(mean_absolute_error(log_q, target), 1 - own)
    assert_close(reverse_cross_entropy(log_q, target), -math.log(1e-4) * (1 - own))
    assert_close(reverse_cross_entropy(log_q, target, log_zero=-6.0), 6 * (1 - own))
    assert_close(symmetric_cross_entropy(log_q, target), 0.1 * -own.log() - LOG_ZERO * (1 - own))
    assert_close(generalised_cross_entropy(log_q, target), (1 - own**0.7) / 0.7)
    assert_close(
        generalised_cross_entropy(log_q, target, truncated_at=0.5), (1 - own.clamp(min=0.5) ** 0.7) / 0.7
    )
    assert_close(normalised_cross_entropy(log_q, target), own.log() / p.log().sum(1))
    assert_close(nce_and_rce(log_q, target), own.log() / p.log().sum(1) - LOG_ZERO * (1 - own))
    assert_close(asymmetric_generalised_cross_entropy(log_q, target), (2**2 - (1 + own) ** 2) / 2)
    assert_close(soft_bootstrapping(log_q, target), -((0.95 * target + 0.05 * p) * p.log()).sum(1))
    assert_close(hard_bootstrapping(log_q, target), -0.8 * own.log() - 0.2 * p.max(1).values.log())
    seen = torch.einsum("nkhw,kj->njhw", p, T)
    assert_close(forward_correction(log_q, target, transition_CC=T), -(target * seen.log()).sum(1))


def test_elr_pulls_towards_what_was_predicted_early_and_is_bounded_there() -> None:
    running = torch.tensor([0.9, 0.1, 0, 0, 0], dtype=torch.float64)[None, :, None, None]
    logits = torch.zeros(1, NUM_CLASSES, 1, 1, dtype=torch.float64, requires_grad=True)
    nothing_of_labels = partial(early_learning_regularised, running_NCHW=running, strength=1.0)
    target = target_of(torch.ones(1, 1, 1, dtype=torch.uint8))
    log_q = log_probabilities(logits)
    loss = nothing_of_labels(log_q, target)
    assert_close(loss, math.log(NUM_CLASSES) + torch.log1p(-torch.tensor([[[0.2]]], dtype=torch.float64)))
    (with_pull,) = torch.autograd.grad(loss.sum(), logits)
    (without,) = torch.autograd.grad(ce(log_probabilities(logits), target).sum(), logits)
    assert (with_pull - without)[0, 0] < 0  # downhill is towards class 0
    sure = log_probabilities(torch.tensor([1e3, 0, 0, 0, 0], dtype=torch.float64)[None, :, None, None])
    certain = torch.eye(NUM_CLASSES, dtype=torch.float64)[:1, :, None, None]
    found = early_learning_regularised(sure, certain, running_NCHW=certain, strength=1.0)
    assert_close(found, torch.full((1, 1, 1), math.log(1e-4), dtype=torch.float64), atol=1e-9)


def test_rce_is_a_scaled_mae() -> None:
    log_q, target = log_probabilities(drawn(3)), target_of(labels_of(3, unlabelled=0))
    assert_close(reverse_cross_entropy(log_q, target), -LOG_ZERO * mean_absolute_error(log_q, target))


def test_over_all_labels_nce_adds_to_one_and_mae_to_the_number_of_other_classes() -> None:
    """Both are symmetric losses, which is why they bear symmetric noise."""
    log_q = log_probabilities(drawn(4))
    ones = torch.ones(SHAPE[0], *SHAPE[2:], dtype=torch.float64)
    assert_close(sum(normalised_cross_entropy(log_q, one) for one in all_labels()), ones)
    assert_close(sum(mean_absolute_error(log_q, one) for one in all_labels()), (NUM_CLASSES - 1) * ones)


def test_the_mean_of_backward_correction_over_noisy_labels_is_the_cross_entropy_of_the_true_class() -> None:
    log_q = log_probabilities(drawn(5))
    corrected = [backward_correction(log_q, one, inverse_CC=inverse_transition(T)) for one in all_labels()]
    for true, target in enumerate(all_labels()):
        mean = sum(share * one for share, one in zip(T[true], corrected, strict=True))
        assert_close(mean, ce(log_q, target), atol=1e-10)


def test_forward_correction_is_least_for_the_clean_posterior_if_labels_are_noisy() -> None:
    """The claim of the paper: minimised over labels drawn by T, it finds the class as it was before the noise."""
    clean = torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1], dtype=torch.float64)
    noisy = clean @ T
    logits = torch.zeros(1, NUM_CLASSES, 1, 1, dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS(
        [logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def risk() -> torch.Tensor:
        descent.zero_grad()
        log_q = log_probabilities(logits)
        targets = torch.eye(NUM_CLASSES, dtype=torch.float64)[:, None, :, None, None]
        losses = [forward_correction(log_q, one, transition_CC=T).squeeze() for one in targets]
        loss = sum(share * one for share, one in zip(noisy, losses, strict=True))
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        return loss

    descent.step(risk)
    torch.testing.assert_close(logits.softmax(1).flatten().detach(), clean, rtol=0, atol=1e-5)


# ---- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    target = target_of(labels_of(6))
    logits = drawn(6).requires_grad_()
    assert torch.autograd.gradcheck(lambda one: LOSSES[name](log_probabilities(one), target), logits)


@pytest.mark.parametrize(
    ("loss", "slope"),
    [
        (mean_absolute_error, lambda p: p),
        (reverse_cross_entropy, lambda p: -LOG_ZERO * p),
        (symmetric_cross_entropy, lambda p: 0.1 - LOG_ZERO * p),
        (generalised_cross_entropy, lambda p: p**0.7),
        (asymmetric_generalised_cross_entropy, lambda p: p * (1 + p)),
    ],
    ids=["mae", "rce", "sce", "gce", "agce"],
)
def test_gradients_are_those_of_cross_entropy_times_the_slope_of_the_papers(loss: Any, slope: Any) -> None:
    """dl/dz = slope(p_y) (p - t): what a wrong label can do is bounded by the slope where p_y is small."""
    logits, target = drawn(7).requires_grad_(), target_of(labels_of(7, unlabelled=0))
    loss(log_probabilities(logits), target).sum().backward()
    p = logits.detach().softmax(1)
    assert logits.grad is not None
    assert_close(logits.grad, slope((p * target).sum(1, keepdim=True)) * (p - target))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("gap", [1e2, 1e4, 1e30])
def test_losses_and_gradients_are_finite_at_any_gap_of_logits(name: str, gap: float) -> None:
    labels = labels_of(8)
    logits = (gap * drawn(8, dtype=torch.float32).sign()).requires_grad_()
    values = LOSSES[name](log_probabilities(logits), target_of(labels, torch.float32))
    values.sum().backward()
    assert values.dtype == torch.float32
    assert values.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_unlabelled_pixels_have_neither_loss_nor_gradient(name: str) -> None:
    labels = labels_of(9)
    logits = drawn(9).requires_grad_()
    values = LOSSES[name](log_probabilities(logits), target_of(labels))
    values.sum().backward()
    assert not labelled(labels).all()
    assert (values[~labelled(labels)] == 0).all()
    assert logits.grad is not None
    assert (logits.grad.movedim(1, -1)[~labelled(labels)] == 0).all()
    assert (logits.grad.movedim(1, -1)[labelled(labels)] != 0).any()


def test_pixels_below_the_truncation_of_gce_have_no_gradient() -> None:
    logits = torch.tensor([0.0, 3.0], dtype=torch.float64).reshape(1, 2, 1, 1).requires_grad_()
    loss = partial(generalised_cross_entropy, truncated_at=0.5)
    for label, is_learnt in ((0, False), (1, True)):
        target = one_hot(torch.tensor([[[label]]]), num_classes=2).to(torch.float64)
        (gradient,) = torch.autograd.grad(loss(log_probabilities(logits), target).sum(), logits)
        assert bool((gradient != 0).any()) is is_learnt


# ---- soft targets ----------------------------------------------------------------------------------------------------


def test_reverse_cross_entropy_of_a_soft_target_is_the_sum_over_classes() -> None:
    labels = labels_of(10, unlabelled=0)
    target = smoothed_target(
        labels, num_classes=NUM_CLASSES, smoothing=Smoothing(prior=0, uniform=0.1)
    ).double()
    log_q = log_probabilities(drawn(10))
    assert_close(reverse_cross_entropy(log_q, target), -(log_q.exp() * target.log()).sum(1))


@pytest.mark.parametrize("loss", [soft_bootstrapping, hard_bootstrapping])
def test_bootstrapping_is_linear_in_the_label_part_of_its_target(loss: Any) -> None:
    log_q, (one, other, *_) = log_probabilities(drawn(11)), all_labels()
    mixed = loss(log_q, 0.7 * one + 0.3 * other)
    assert_close(mixed, 0.7 * loss(log_q, one) + 0.3 * loss(log_q, other))


# ---- the mean over pixels --------------------------------------------------------------------------------------------


def weights_of(seed: int, labels: torch.Tensor) -> torch.Tensor:
    random = torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return random * labelled(labels)


def mean_and_gradient(
    loss: LabelLoss, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.clone().requires_grad_()
    found = loss(log_probabilities(logits), target_of(labels), weights_NHW=weights)
    found.backward()
    assert logits.grad is not None
    return found.detach(), logits.grad


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=10)
@given(seed=SEEDS, more=st.integers(1, 5))
def test_appended_ignored_pixels_change_neither_mean_nor_gradient(name: str, seed: int, more: int) -> None:
    loss, logits, labels = PixelMean(LOSSES[name]), drawn(seed), labels_of(seed)
    weights = weights_of(seed, labels)
    expected, expected_gradient = mean_and_gradient(loss, logits, labels, weights)
    side = (*SHAPE[:3], more)
    found, gradient = mean_and_gradient(
        loss,
        torch.cat([logits, drawn(seed + 1, shape=side)], dim=-1),
        torch.cat([labels, torch.full((*SHAPE[:1], SHAPE[2], more), 255, dtype=torch.uint8)], dim=-1),
        torch.cat([weights, torch.zeros(SHAPE[0], SHAPE[2], more, dtype=torch.float64)], dim=-1),
    )
    assert_close(found, expected)
    assert_close(gradient[..., :-more], expected_gradient)
    assert (gradient[..., -more:] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=10)
@given(seed=SEEDS, at=st.integers(1, 3))
def test_the_mean_of_a_batch_is_the_weighted_mean_of_its_parts(name: str, seed: int, at: int) -> None:
    loss, logits, labels = PixelMean(LOSSES[name]), drawn(seed), labels_of(seed)
    weights = weights_of(seed, labels)
    whole, _ = mean_and_gradient(loss, logits, labels, weights)
    total = torch.zeros((), dtype=torch.float64)
    for part in (slice(None, at), slice(at, None)):
        mean, _ = mean_and_gradient(loss, logits[..., part], labels[..., part], weights[..., part])
        total += mean * weights[..., part].sum()
    assert_close(total, whole * weights.sum())


@pytest.mark.parametrize("loss", [*map(PixelMean, LOSSES.values()), dfc2025_compat_sce])
def test_a_batch_without_labels_is_a_loss_of_zero_without_gradient(loss: LabelLoss) -> None:
    labels = torch.full((SHAPE[0], *SHAPE[2:]), 255, dtype=torch.uint8)
    found, gradient = mean_and_gradient(loss, drawn(12), labels, weights_of(12, labels))
    assert found == 0
    assert (gradient == 0).all()


# ---- the released form of DFC2025 ------------------------------------------------------------------------------------


def test_the_released_sce_is_three_times_cross_entropy_over_all_pixels() -> None:
    labels = labels_of(13, unlabelled=0.4)
    log_q, target, ones = log_probabilities(drawn(13)), target_of(labels), labelled(labels).double()
    found = dfc2025_compat_sce(log_q, target, weights_NHW=ones)
    mean = cross_entropy(log_q, target, weights_NHW=ones)
    assert found.item() == pytest.approx((3 * mean * ones.mean()).item(), rel=1e-6)
    genuine = PixelMean(partial(symmetric_cross_entropy, alpha=1.0, beta=2.0))
    assert genuine(log_q, target, weights_NHW=ones).item() > 2 * found.item()


# ---- matrices T ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.eye(4), r"t.csv: T of shape \(4, 4\), expected \(5, 5\): a row a true class"),
        (np.ones((5, 5)), r"t.csv: row 0 of T is \[1.0, .*\], sum 5; expected shares from 0 up"),
        (2 * np.eye(5) - 0.2, r"row 0 of T is \[1.8, -0.2"),
        (noise_rows().T, "row 0 of T is .*, sum 0.9"),
        (np.where(np.arange(5)[:, None] == 2, np.nan, np.eye(5)), "row 2 of T is unknown"),
        (np.where(np.eye(5) == 1, np.nan, 0.25), r"row 0 of T is \[nan, "),
        (np.eye(5)[[0, 1, 2, 3, 3]], "column 4 of T is 0, so a label of that class would have an infinite loss"),
    ],
)  # fmt: skip
def test_a_matrix_that_is_no_transition_matrix_is_one_line(rows: np.ndarray, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        transition_matrix(rows, num_classes=NUM_CLASSES, where="t.csv")
    assert "\n" not in str(error.value)


def test_a_singular_matrix_has_no_backward_correction() -> None:
    flat = transition_matrix(np.full((NUM_CLASSES, NUM_CLASSES), 1 / NUM_CLASSES), num_classes=NUM_CLASSES)
    with pytest.raises(
        ConfigError, match="T of 5 classes has rank 1, but backward correction needs its inverse"
    ):
        inverse_transition(flat)


@pytest.mark.parametrize(
    "loss",
    [
        partial(forward_correction, transition_CC=torch.eye(4)),
        partial(backward_correction, inverse_CC=torch.eye(4)),
    ],
)
def test_a_matrix_of_other_classes_is_not_broadcast(loss: Any) -> None:
    with pytest.raises(ConfigError, match=r"T of shape \(4, 4\): expected \(5, 5\)"):
        loss(log_probabilities(drawn(0)), target_of(labels_of(0)))


# ---- in the objectives -----------------------------------------------------------------------------------------------


def objective_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return drawn(14, dtype=torch.float32), drawn(15, dtype=torch.float32), labels_of(14)


def test_in_the_objective_of_two_a_loss_is_weighted_by_selection_as_cross_entropy_is() -> None:
    s1, s2, labels = objective_batch()
    how = CrossModal(smoothing=None, selection=Selection(), with_dice=False)
    gce = PixelMean(generalised_cross_entropy)
    found = cross_modal_loss(
        s1, s2, labels, settings=CrossModal(**{**how.__dict__, "label_loss": gce}), epoch=80
    )
    plain = cross_modal_loss(s1, s2, labels, settings=how, epoch=80)
    weights = found.weights.label_s1
    target = target_of(labels, torch.float32)
    values = generalised_cross_entropy(log_probabilities(s1), target)
    assert len(weights.unique()) > 2
    assert torch.equal(weights, plain.weights.label_s1)
    assert found.seg_s1.item() == pytest.approx(((weights * values).sum() / weights.sum()).item(), rel=1e-6)
    assert (found.con_s1, found.con_s2) == (plain.con_s1, plain.con_s2)
    assert found.seg_s1 != plain.seg_s1


def test_the_plain_form_keeps_the_loss() -> None:
    gce = PixelMean(generalised_cross_entropy)
    plain = CrossModal(label_loss=gce, with_dice=False).plain()
    assert (plain.label_loss, plain.with_dice, plain.smoothing) == (gce, False, None)


@pytest.mark.parametrize("with_dice", [True, False])
def test_one_modality_alone_has_dice_beside_the_loss_or_not(with_dice: bool) -> None:
    s1, _, labels = objective_batch()
    usual = single_modal_loss(s1, labels, smoothing=None)
    sce = PixelMean(symmetric_cross_entropy)
    found = single_modal_loss(s1, labels, smoothing=None, label_loss=sce, with_dice=with_dice)
    assert found.dice == (usual.dice if with_dice else 0)
    assert found.label_loss != usual.label_loss
    assert found.loss == found.label_loss + found.dice
    assert found.num_labelled == usual.num_labelled


@pytest.mark.parametrize("name", LOSSES)
def test_in_half_precision_a_loss_is_that_of_the_same_logits_in_float32(name: str) -> None:
    s1, _, labels = objective_batch()
    half = s1.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = single_modal_loss(half, labels, smoothing=None, label_loss=PixelMean(LOSSES[name]))
    expected = single_modal_loss(half.float(), labels, smoothing=None, label_loss=PixelMean(LOSSES[name]))
    assert torch.equal(found.loss, expected.loss)


@pytest.mark.parametrize("name", LOSSES)
def test_no_value_is_read_on_the_host(name: str) -> None:
    """Tensors on the device `meta` have no values: reading one is an error."""
    loss = LOSSES[name]
    if isinstance(loss, partial):
        loss = partial(
            loss.func,
            **{
                key: value.to("meta") if isinstance(value, torch.Tensor) else value
                for key, value in loss.keywords.items()
            },
        )
    logits, _, labels = (one.to("meta") for one in objective_batch())
    found = single_modal_loss(logits, labels, smoothing=None, label_loss=PixelMean(loss))
    assert found.loss.shape == ()
