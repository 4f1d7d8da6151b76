"""Weights of pixels, against the plain way: a `topk` a class."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from noldo.errors import ConfigError
from noldo.method.confidence import log_probabilities
from noldo.method.ramps import Ramp
from noldo.method.selection import Selection, consistency_weights, label_weights, selected, unselected

NUM_CLASSES = 4
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
CONFIDENCES = st.one_of(
    st.floats(0, 1, width=32), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 2.0**-120, width=32)
)
PIXELS = SHAPES.flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=CONFIDENCES),
        arrays(np.uint8, shape, elements=st.sampled_from([*range(NUM_CLASSES), 255])),
    )
)
SHARES = st.one_of(st.floats(0, 1, exclude_min=True), st.sampled_from([0.5, 0.99663, 1.0]))


def published(confidence: torch.Tensor, labels: torch.Tensor, share: float) -> torch.Tensor:
    """A `topk` a class, its k read on the host: how the authors' code says it."""
    weights = torch.zeros_like(confidence)
    for one in range(NUM_CLASSES):
        of_class = labels == one
        k = int(of_class.sum() * share)
        if k == 0:
            continue
        threshold = confidence[of_class].topk(k).values[-1]
        soft = (confidence[of_class] / threshold).clip(0, 1)
        weights[of_class] = torch.ones_like(soft) if threshold == 0 else soft
    return weights


def weights_of(confidence: list[float], labels: list[int], *, share: float) -> list[float]:
    found = label_weights(
        torch.tensor(confidence).reshape(1, 1, -1),
        torch.tensor(labels, dtype=torch.uint8).reshape(1, 1, -1),
        share=share,
        num_classes=NUM_CLASSES,
    )
    return found.flatten().tolist()


@given(PIXELS, SHARES)
def test_weights_equal_those_of_a_topk_a_class_to_the_last_bit(
    pixels: tuple[np.ndarray, np.ndarray], share: float
) -> None:
    confidence, labels = (torch.from_numpy(one) for one in pixels)
    found = label_weights(confidence, labels, share=share, num_classes=NUM_CLASSES)
    assert found.dtype == torch.float32
    assert torch.equal(found, published(confidence, labels, share))


def test_many_pixels_too_have_the_weights_of_a_topk_a_class() -> None:
    random = torch.Generator().manual_seed(1)
    confidence = torch.rand(4, 64, 64, generator=random)
    labels = torch.randint(0, NUM_CLASSES, (4, 64, 64), generator=random)
    for share in (0.5, 0.75, 0.9966310):
        found = label_weights(confidence, labels, share=share, num_classes=NUM_CLASSES)
        assert torch.equal(found, published(confidence, labels, share))


def test_confidences_that_share_all_but_their_last_bits_are_still_told_apart() -> None:
    """Thresholds are found by the upper bits of a float first, and then by the lower ones."""
    bits = torch.tensor(0.7).view(torch.int32) + torch.arange(-20_000, 20_000, dtype=torch.int32)
    confidence = bits[torch.randperm(len(bits), generator=torch.Generator().manual_seed(5))].view(
        torch.float32
    )
    labels = torch.arange(len(bits)) % NUM_CLASSES
    for share in (1e-4, 0.25, 0.9966310):
        found = label_weights(
            confidence.reshape(1, 1, -1), labels.reshape(1, 1, -1), share=share, num_classes=4
        )
        assert torch.equal(found.flatten(), published(confidence, labels, share))


def test_the_better_half_gets_one_and_the_others_their_share_of_the_threshold() -> None:
    assert weights_of([0.8, 0.2, 0.4, 0.1], [0, 0, 0, 0], share=0.5) == [1, 0.5, 1, 0.25]


def test_classes_do_not_compete_with_each_other() -> None:
    assert weights_of([0.9, 0.8, 0.02, 0.01], [0, 0, 1, 1], share=0.5) == pytest.approx([1, 8 / 9, 1, 0.5])


def test_pixels_of_all_samples_compete() -> None:
    confidence = torch.tensor([[[0.9, 0.8]], [[0.2, 0.1]]])
    found = label_weights(confidence, torch.zeros(2, 1, 2, dtype=torch.uint8), share=0.5, num_classes=1)
    assert found.flatten().tolist() == pytest.approx([1, 1, 0.25, 0.125])


@pytest.mark.parametrize("epoch", [0, 40, 80, 199])
def test_a_class_of_one_pixel_has_no_weight_in_any_epoch(epoch: int) -> None:
    log_q = log_probabilities(torch.tensor([[[[9.0, 9, 0]], [[0, 0, 9]]]]))
    found = selected(log_q, log_q, torch.tensor([[[0, 0, 1]]]), settings=Selection(), epoch=epoch)
    assert found.label_s1[0, 0, 2] == 0
    assert found.label_s1[0, 0, 0] == 1


def test_a_threshold_of_zero_gives_the_whole_class_full_weight() -> None:
    assert weights_of([0.0, 0.0, 0.0, 0.3], [0, 0, 0, 0], share=0.5) == [1, 1, 1, 1]
    assert weights_of([-0.0, -0.0, 0.3], [0, 0, 0], share=0.7) == [1, 1, 1]


def test_identical_confidences_all_get_one() -> None:
    assert weights_of([0.3] * 5, [2] * 5, share=0.5) == [1] * 5


def test_a_share_of_one_keeps_all_and_a_share_of_zero_leaves_the_confidence_itself() -> None:
    assert weights_of([0.3, 0.0, 0.7], [0, 0, 1], share=1) == [1, 1, 1]
    assert weights_of([0.3, 0.0, 0.7, 0.6], [0, 0, 1, 255], share=0) == pytest.approx([0.3, 0, 0.7, 0])


def test_how_many_are_kept_follows_from_the_product_in_float32() -> None:
    """50 pixels of share 0.58 are 28.999999999999996 in float64, and 29 in float32."""
    assert (int(50 * 0.58), int(torch.tensor(50) * 0.58)) == (28, 29)
    found = weights_of([(50 - one) / 100 for one in range(50)], [0] * 50, share=0.58)
    assert sum(weight == 1 for weight in found) == 29


def test_absent_classes_and_a_batch_without_labels_leave_nothing_but_zeros() -> None:
    assert weights_of([0.5, 0.4], [255, 255], share=0.5) == [0, 0]


@given(PIXELS, SHARES, st.lists(CONFIDENCES, min_size=1, max_size=5))
def test_unlabelled_pixels_change_no_other_weight(
    pixels: tuple[np.ndarray, np.ndarray], share: float, more: list[float]
) -> None:
    confidence, labels = pixels[0].ravel().tolist(), pixels[1].ravel().tolist()
    appended = weights_of(confidence + more, labels + [255] * len(more), share=share)
    assert appended == weights_of(confidence, labels, share=share) + [0] * len(more)


@pytest.mark.parametrize("label", [NUM_CLASSES, 254])
def test_a_label_beyond_the_classes_is_an_error(label: int) -> None:
    with pytest.raises((RuntimeError, IndexError)):
        weights_of([0.5, 0.5], [0, label], share=0.5)


def test_consistency_weights_follow_the_confidence_as_strength_grows() -> None:
    confidence, labels = torch.tensor([0.2, 0.6, 0.9]), torch.tensor([0, 3, 255], dtype=torch.uint8)
    for strength, expected in ((0.0, [1, 1, 0]), (0.5, [0.6, 0.8, 0]), (1.0, [0.2, 0.6, 0])):
        found = consistency_weights(confidence, labels, strength=strength)
        assert found.tolist() == pytest.approx(expected)


def test_selection_stops_changing_after_the_ramp() -> None:
    random = torch.Generator().manual_seed(2)
    log_q = [log_probabilities(torch.randn(2, 4, 8, 8, generator=random)) for _ in range(2)]
    labels = torch.randint(0, 4, (2, 8, 8), generator=random)
    at = {epoch: selected(*log_q, labels, settings=Selection(), epoch=epoch) for epoch in (79, 80, 81, 199)}
    assert torch.equal(at[80].label_s1, at[81].label_s1)
    assert torch.equal(at[80].consistency_s2, at[199].consistency_s2)
    assert not torch.equal(at[79].consistency_s2, at[80].consistency_s2)


def test_weights_are_those_of_each_modality_and_carry_no_gradient() -> None:
    random = torch.Generator().manual_seed(3)
    log_q = [
        log_probabilities(torch.randn(1, 4, 6, 6, generator=random, requires_grad=True)) for _ in range(2)
    ]
    labels = torch.randint(0, 4, (1, 6, 6), generator=random)
    found = selected(*log_q, labels, settings=Selection(ramp=Ramp("none")), epoch=0)
    turned = selected(*log_q[::-1], labels, settings=Selection(ramp=Ramp("none")), epoch=0)
    assert torch.equal(found.label_s1, turned.label_s2)
    assert torch.equal(found.consistency_s2, turned.consistency_s1)
    assert not torch.equal(found.label_s1, found.label_s2)
    for one in vars(found).values():
        assert not one.requires_grad
        assert one.dtype == torch.float32


def test_without_selection_every_labelled_pixel_has_weight_one() -> None:
    found = unselected(torch.tensor([[[0, 255, 8]]], dtype=torch.uint8))
    assert all(one.flatten().tolist() == [1, 0, 1] for one in vars(found).values())


def test_settings_that_make_no_sense_are_told() -> None:
    with pytest.raises(ConfigError, match=r"share of 1\.5: expected 0 to 1"):
        Selection(share=1.5)
    with pytest.raises(ConfigError, match="confidence 'margin': expected one of ce, gini"):
        Selection(confidence="margin")  # type: ignore[arg-type]
