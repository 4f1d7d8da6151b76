"""The objectives as a whole: pixels without labels, half precision, no look at the device, single modality."""

import copy
import itertools
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noldo.errors import ConfigError
from noldo.method.objective import CrossModal, CrossModalLoss, cross_modal_loss, single_modal_loss
from noldo.method.selection import Selection
from noldo.method.smoothing import Smoothing, label_prior

torch.set_num_threads(1)

NUM_CLASSES = 5
TERMS = ("loss", "seg_s1", "seg_s2", "con_s1", "con_s2")
SETTINGS = st.builds(
    CrossModal,
    consistency=st.sampled_from(["ce", "kl", "mse"]),
    consistency_weight=st.sampled_from([0.0, 1.0, 0.5]),
    smoothing=st.sampled_from([None, Smoothing()]),
    selection=st.sampled_from([None, Selection(), Selection(confidence="gini")]),
)


def batch(seed: int, *, width: int = 6, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    shape = (2, NUM_CLASSES, 6, width)
    stack = torch.randint(0, NUM_CLASSES, (2, 4, 6, width), generator=random).to(torch.uint8)
    return {
        "s1": 2 * torch.randn(shape, generator=random, dtype=dtype),
        "s2": 2 * torch.randn(shape, generator=random, dtype=dtype),
        "labels": stack[:, 0],
        "prior": label_prior(stack, torch.zeros(2, dtype=torch.int64), num_classes=NUM_CLASSES),
    }


def loss_of(
    given_batch: dict[str, torch.Tensor], *, how: CrossModal, epoch: int = 40
) -> tuple[CrossModalLoss, list[torch.Tensor]]:
    """The loss, and the gradient for the logits of S1 and S2."""
    logits = [given_batch[one].clone().requires_grad_() for one in ("s1", "s2")]
    found = cross_modal_loss(
        *logits, given_batch["labels"], settings=how, epoch=epoch, prior_NCHW=given_batch["prior"]
    )
    found.loss.backward()
    return found, [one.grad for one in logits if one.grad is not None]


@settings(max_examples=30)
@given(SETTINGS, st.integers(0, 99), st.integers(0, 100))
def test_the_loss_is_the_sum_of_its_terms(how: CrossModal, seed: int, epoch: int) -> None:
    found, _ = loss_of(batch(seed), how=how, epoch=epoch)
    terms = found.seg_s1 + found.seg_s2 + how.consistency_weight * (found.con_s1 + found.con_s2)
    assert found.loss.item() == pytest.approx(terms.item())
    assert found.num_labelled == 72


@settings(max_examples=30)
@given(SETTINGS, st.integers(0, 99), st.integers(1, 4), st.integers(0, 100))
def test_unlabelled_pixels_change_neither_loss_nor_gradient(
    how: CrossModal, seed: int, more: int, epoch: int
) -> None:
    plain, widened, other = batch(seed), batch(seed), batch(seed + 1000, width=more)
    for name in plain:
        widened[name] = torch.cat([plain[name], other[name]], dim=-1)
    widened["labels"][..., -more:] = 255
    (found, gradients), (expected, expected_gradients) = (
        loss_of(widened, how=how, epoch=epoch),
        loss_of(plain, how=how, epoch=epoch),
    )
    for term in TERMS:
        assert getattr(found, term).item() == pytest.approx(
            getattr(expected, term).item(), rel=1e-5, abs=1e-6
        )
    assert found.num_labelled == expected.num_labelled
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert torch.allclose(gradient[..., :-more], expected_gradient, rtol=1e-5, atol=1e-8)
        assert (gradient[..., -more:] == 0).all()


@settings(max_examples=20)
@given(SETTINGS)
def test_a_batch_without_labels_is_a_loss_of_zero_without_gradient_and_says_so(how: CrossModal) -> None:
    without = batch(0)
    without["labels"].fill_(255)
    found, gradients = loss_of(without, how=how)
    assert [getattr(found, term).item() for term in TERMS] == [0] * 5
    assert all((gradient == 0).all() for gradient in gradients)
    assert found.num_labelled.item() == 0


def test_pixels_that_are_all_alone_in_their_class_weigh_nothing_and_break_nothing() -> None:
    """The published code divides by zero here."""
    alone = {name: value[:1, ..., :1, :3] for name, value in batch(0).items()}
    alone["labels"] = torch.tensor([[[0, 1, 2]]], dtype=torch.uint8)
    found, gradients = loss_of(alone, how=CrossModal(), epoch=0)
    assert (found.seg_s1.item(), found.seg_s2.item()) == (0, 0)
    assert found.num_labelled == 3
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("selection", [None, Selection(), Selection(confidence="gini")])
@pytest.mark.parametrize("gap", [1e2, 1e4, 1e30])
def test_extreme_logits_have_finite_losses_and_gradients(selection: Selection | None, gap: float) -> None:
    extreme = batch(1)
    for name in ("s1", "s2"):
        extreme[name] = extreme[name].sign() * gap
    found, gradients = loss_of(extreme, how=CrossModal(selection=selection), epoch=80)
    assert all(getattr(found, term).isfinite() for term in TERMS)
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_half_precision_logits_are_those_of_the_same_logits_in_float32(dtype: torch.dtype) -> None:
    half = batch(2)
    for name in ("s1", "s2"):
        half[name] = half[name].to(dtype)
    full = {
        name: value.to(torch.float32) if value.is_floating_point() else value for name, value in half.items()
    }
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = loss_of(half, how=CrossModal())
    expected, _ = loss_of(full, how=CrossModal())
    for term in TERMS:
        assert getattr(found, term).dtype == torch.float32
        assert torch.equal(getattr(found, term), getattr(expected, term)), term


@settings(max_examples=20)
@given(SETTINGS)
def test_no_value_is_read_on_the_host(how: CrossModal) -> None:
    """Tensors on the device `meta` have no values: reading one is an error."""
    placeless = {name: value.to("meta") for name, value in batch(0).items()}
    placeless["prior"] = label_prior(
        torch.empty(2, 4, 6, 6, dtype=torch.uint8, device="meta"),
        torch.empty(2, dtype=torch.int64, device="meta"),
        num_classes=NUM_CLASSES,
    )
    found, _ = loss_of(placeless, how=how)
    assert found.loss.shape == ()
    with pytest.raises(RuntimeError):
        found.loss.item()


def test_inputs_are_left_as_they_are() -> None:
    before = batch(3)
    before["labels"][0, :2] = 255
    after = copy.deepcopy(before)
    loss_of(after, how=CrossModal())
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_exchanged_modalities_exchange_their_terms() -> None:
    one, other = batch(4), batch(4)
    other["s1"], other["s2"] = one["s2"], one["s1"]
    (found, _), (turned, _) = loss_of(one, how=CrossModal()), loss_of(other, how=CrossModal())
    assert (found.seg_s1, found.con_s1) == (turned.seg_s2, turned.con_s2)
    assert found.seg_s1 != found.seg_s2
    assert found.con_s1 != found.con_s2


def test_the_gradient_is_that_of_finite_differences_with_weights_and_teacher_held_still() -> None:
    """In float64, with `mse`, whose teacher-side derivative would show."""
    drawn = batch(5, dtype=torch.float64)
    how = CrossModal(consistency="mse", selection=None)
    found, gradients = loss_of(drawn, how=how)
    assert found.loss.dtype == torch.float64
    for position in itertools.product((0, 1), (0, 3), (2,), (1, 4)):
        sides = []
        for step in (1e-5, -1e-5):
            moved = {**drawn, "s1": drawn["s1"].clone()}
            moved["s1"][position] += step
            shifted, _ = loss_of(moved, how=how)
            sides.append((shifted.seg_s1 + shifted.con_s1).item())  # con_s2 has S1 as its teacher only
        assert (sides[0] - sides[1]) / 2e-5 == pytest.approx(gradients[0][position].item(), abs=1e-9)


def test_the_plain_form_has_hard_labels_equal_weights_and_consistency() -> None:
    drawn = batch(6)
    found, _ = loss_of(drawn, how=CrossModal(consistency="kl", consistency_weight=0.5).plain())
    alone = [single_modal_loss(drawn[one], drawn["labels"], smoothing=None) for one in ("s1", "s2")]
    assert [found.seg_s1, found.seg_s2] == [one.loss for one in alone]
    assert found.con_s1 > 0
    assert found.loss == found.seg_s1 + found.seg_s2 + 0.5 * (found.con_s1 + found.con_s2)


def test_one_modality_alone_has_torchs_cross_entropy_with_ignore_index() -> None:
    drawn = batch(7)
    drawn["labels"][0, 0] = 255
    found = single_modal_loss(drawn["s1"], drawn["labels"], smoothing=None)
    expected = torch.nn.functional.cross_entropy(drawn["s1"], drawn["labels"].long(), ignore_index=255)
    assert found.label_loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert found.loss == found.label_loss + found.dice
    assert found.num_labelled == 66


def test_one_modality_alone_may_be_smoothed_over_all_classes_without_a_prior() -> None:
    drawn = batch(8)
    found = single_modal_loss(drawn["s1"], drawn["labels"], smoothing=Smoothing(prior=0, uniform=0.1))
    expected = torch.nn.functional.cross_entropy(drawn["s1"], drawn["labels"].long(), label_smoothing=0.1)
    assert found.label_loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(2, 1, 6, 6, dtype=torch.uint8)}, r"labels have shape \(2, 1, 6, 6\)"),
        (
            {"s2": torch.zeros(2, NUM_CLASSES, 6, 7)},
            r"logits of S2 of shape \(2, 5, 6, 7\): expected \(2, 5, 6, 6\)",
        ),
        ({"prior": torch.zeros(1, NUM_CLASSES, 6, 6)}, r"prior of shape \(1, 5, 6, 6\)"),
    ],
)
def test_shapes_that_do_not_fit_are_told_rather_than_broadcast(change: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loss_of({**batch(0), **change}, how=CrossModal())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"consistency": "js"}, "consistency 'js': expected one of ce, kl, mse"),
        ({"consistency_weight": -1}, "consistency_weight -1: expected 0 or more"),
        ({"consistency_weight": math.nan}, "consistency_weight nan: expected 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_told(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CrossModal(**options)


def test_scores_ramps_and_the_package_are_imported_without_torch() -> None:
    code = (
        "import sys, noldo, noldo.method, noldo.scores, noldo.method.ramps; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
