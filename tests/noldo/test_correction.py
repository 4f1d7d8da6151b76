"""Labels put right by a sure network."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noldo.method.confidence import log_probabilities
from noldo.method.correction import border_weights, divergence, replaced, with_objects
from noldo.method.objective import CrossModal, cross_modal_loss, single_modal_loss

torch.set_num_threads(1)

NUM_CLASSES = 4
SEEDS = st.integers(0, 999)


def labels_of(seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    classes = torch.randint(0, NUM_CLASSES, (2, 12, 12), generator=random).to(torch.uint8)
    return torch.where(torch.rand(2, 12, 12, generator=random) < 0.3, 255, classes)


def probabilities_of(seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return (4 * torch.randn(2, NUM_CLASSES, 12, 12, generator=random)).softmax(dim=1)


def sure_of(classes: list[list[int]], share: float = 0.9) -> torch.Tensor:
    """(1, C, Y, X) that gives each pixel's class this share."""
    hard = torch.nn.functional.one_hot(torch.tensor([classes]), NUM_CLASSES).movedim(-1, 1).float()
    return hard * share + (1 - hard) * (1 - share) / (NUM_CLASSES - 1)


def maps(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.uint8)


# ---- replaced pixels -------------------------------------------------------------------------------------------------


def test_only_sure_predictions_replace_labels_and_nothing_is_put_where_there_is_none():
    labels = maps([[0, 0, 255]])
    probabilities = torch.cat([sure_of([[1]], 0.9), sure_of([[1]], 0.79), sure_of([[1]], 0.9)], dim=-1)
    assert replaced(labels, probabilities, confidence=0.8).tolist() == [[[1, 0, 255]]]


@pytest.mark.parametrize(("both", "expected"), [(False, [1, 0, 1, 3]), (True, [0, 0, 1, 3])])
def test_a_class_that_began_is_the_predicted_one_or_that_and_the_label(both, expected):
    """Pixels: 0 seen as 1, 0 seen as 2, 2 seen as 1, 3 seen as 0; classes 1 and 2 began."""
    begun = torch.tensor([False, True, True, False])
    labels, probabilities = maps([[0, 0, 2, 3]]), sure_of([[1, 2, 1, 0]])
    found = replaced(labels, probabilities, confidence=0.8, classes_C=begun, both=both)
    assert found.tolist() == [[expected[:1] + ([2] if not both else [0]) + expected[2:]]]


@given(SEEDS)
def test_before_any_class_begins_labels_stay(seed):
    labels = labels_of(seed)
    none = torch.zeros(NUM_CLASSES, dtype=torch.bool)
    found = replaced(labels, probabilities_of(seed), confidence=0.5, classes_C=none)
    assert found.dtype == labels.dtype
    assert torch.equal(found, labels)


# ---- objects ---------------------------------------------------------------------------------------------------------


def test_an_object_is_added_where_it_touches_no_label():
    predicted = [[1, 1, 0, 2], [1, 1, 0, 2], [0, 0, 0, 0], [3, 0, 1, 1]]
    labels = [[255, 255, 255, 255], [255, 255, 255, 3], [255, 255, 255, 255], [255, 255, 255, 255]]
    found = with_objects(maps(labels), sure_of(predicted), background=(0,))
    assert found.tolist() == [[[1, 1, 255, 255], [1, 1, 255, 3], [255, 255, 255, 255], [3, 255, 1, 1]]]


def test_pixels_that_touch_at_a_corner_are_one_object_and_samples_of_a_batch_are_apart():
    predicted, free = [[1, 0], [0, 1]], [[255, 255], [255, 255]]
    labels = torch.cat([maps([[255, 255], [255, 2]]), maps(free)])
    found = with_objects(labels, sure_of(predicted).expand(2, -1, -1, -1), background=(0,))
    assert found.tolist() == [[[255, 255], [255, 2]], [[1, 255], [255, 1]]]


def test_a_background_class_gives_way_to_objects_and_is_none_itself():
    found = with_objects(maps([[0, 0, 2]]), sure_of([[1, 0, 2]]), background=(0,))
    assert found.tolist() == [[[1, 0, 2]]]
    assert with_objects(maps([[0, 0, 2]]), sure_of([[1, 0, 2]])).tolist() == [[[0, 0, 2]]]


def test_unsure_pixels_are_of_no_object():
    probabilities = torch.cat([sure_of([[1]], 0.4), sure_of([[1]], 0.6)], dim=-1)
    assert with_objects(maps([[255, 255]]), probabilities).tolist() == [[[255, 1]]]


@given(SEEDS)
def test_labelled_objects_are_never_removed_or_changed(seed):
    labels = labels_of(seed)
    found = with_objects(labels, probabilities_of(seed + 1), background=(2,))
    kept = (labels != 255) & (labels != 2)
    assert torch.equal(found[kept], labels[kept])
    assert found.dtype == labels.dtype
    assert ((found == labels) | (found < NUM_CLASSES)).all()


@given(SEEDS)
def test_correction_begins_anew_with_the_labels_as_they_are(seed):
    """What was added is not input of the next step; given in once more, it stays."""
    labels, probabilities = labels_of(seed), probabilities_of(seed)
    once = with_objects(labels, probabilities)
    assert torch.equal(with_objects(labels, probabilities), once)
    assert torch.equal(with_objects(once, probabilities)[once != 255], once[once != 255])


# ---- borders ---------------------------------------------------------------------------------------------------------


def test_labels_count_less_towards_the_border_of_an_added_object():
    before = torch.full((1, 11, 11), 0, dtype=torch.uint8)
    after = before.clone()
    after[:, 3:8, 3:8] = 1
    found = border_weights(before, after, num_classes=NUM_CLASSES, side_px=5, background=(0,))[0]
    assert found[5, 5] == 1
    torch.testing.assert_close(found[3, 5], torch.tensor(15 / 25))
    torch.testing.assert_close(found[3, 3], torch.tensor(9 / 25))
    torch.testing.assert_close(found[2, 5], torch.tensor(1 - 10 / 25))
    assert found[0, 0] == found[5, 10] == 1


def test_labelled_objects_beside_an_added_one_count_fully():
    before = torch.tensor([[[255, 255, 2, 2]]], dtype=torch.uint8)
    after = torch.tensor([[[1, 1, 2, 2]]], dtype=torch.uint8)
    found = border_weights(before, after, num_classes=NUM_CLASSES, side_px=3)
    assert found[0, 0, 2:].tolist() == [1, 1]
    assert (found[0, 0, :2] < 1).all()


@given(SEEDS)
def test_without_correction_or_with_a_box_of_one_pixel_every_label_counts_fully(seed):
    labels = labels_of(seed)
    new = with_objects(labels, probabilities_of(seed))
    assert (border_weights(labels, labels, num_classes=NUM_CLASSES, side_px=5) == 1).all()
    assert (border_weights(labels, new, num_classes=NUM_CLASSES, side_px=1) == 1).all()


def test_trust_multiplies_the_weights_of_labels():
    logits = [torch.randn(2, NUM_CLASSES, 12, 12, generator=torch.Generator().manual_seed(s)) for s in (1, 2)]
    labels = labels_of(3)
    half, ones = torch.full(labels.shape, 0.5), torch.ones(labels.shape)
    hidden = torch.zeros(labels.shape).index_fill_(0, torch.tensor([0]), 1.0)

    def alone(trust: torch.Tensor | None) -> torch.Tensor:
        return single_modal_loss(logits[0], labels, smoothing=None, trust_NHW=trust).loss

    def both(trust: torch.Tensor | None) -> torch.Tensor:
        settings = CrossModal(smoothing=None, consistency_weight=0.0)
        return cross_modal_loss(*logits, labels, settings=settings, epoch=3, trust_NHW=trust).loss

    for loss in (alone, both):
        assert loss(None) == loss(ones)
        torch.testing.assert_close(loss(half), loss(ones))
        assert loss(hidden) != loss(ones)
    unseen = torch.where(hidden > 0, labels, 255).to(torch.uint8)
    label_loss = single_modal_loss(logits[0], labels, smoothing=None, trust_NHW=hidden).label_loss
    torch.testing.assert_close(label_loss, single_modal_loss(logits[0], unseen, smoothing=None).label_loss)


# ---- consistency of scales -------------------------------------------------------------------------------------------


def drawn(seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return log_probabilities(3 * torch.randn(2, NUM_CLASSES, 4, 4, generator=random, dtype=torch.float64))


@given(SEEDS)
def test_the_divergence_is_between_0_and_log_s_and_0_for_equal_predictions(seed):
    one, other = drawn(seed), drawn(seed + 1)
    assert 0 <= divergence([one, other], confidence=0).item() <= torch.log(torch.tensor(2.0)).item() + 1e-9
    assert abs(divergence([one, one, one], confidence=0).item()) < 1e-12
    torch.testing.assert_close(divergence([one, other], confidence=0), divergence([other, one], confidence=0))


def test_only_sure_pixels_diverge():
    one, other = drawn(1), drawn(2)
    everywhere, sure, nowhere = (divergence([one, other], confidence=at).item() for at in (0, 0.7, 1.1))
    assert everywhere > sure > nowhere == 0


def test_the_divergence_has_the_gradient_of_finite_differences():
    logits = [
        3 * torch.randn(1, NUM_CLASSES, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(3)
    ]
    assert torch.autograd.gradcheck(
        lambda *each: divergence([log_probabilities(one) for one in each], confidence=0), logits
    )
