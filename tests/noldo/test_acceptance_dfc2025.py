"""Acceptance checks of the DFC2025 track 1 method (arXiv 2504.13458): what is checked here, and where the others are.

RAA (`test_self_training_method.py`, `test_self_training_runs.py`)
    detail beyond the new resolution is lost, labels to the bit without a zoom:
        test_detail_beyond_the_new_resolution_is_lost_and_labels_stay_to_the_bit_without_a_zoom
    a zoomed label has no new class: test_a_zoomed_label_holds_no_class_that_was_not_there_and_lies_on_its_image
    the target's stream is the same to the bit: test_resolution_alignment_touches_the_source_alone
Trust and ClassMix (here, and `test_self_training_method.py`)
    uniform and one-hot teachers; two images of a batch: here
    w is 1 on the mask and there alone: here; half of the present classes, rounded up:
        test_half_of_the_classes_of_each_image_are_pasted_whole_and_255_never
EMA (`test_teacher.py`)
    test_the_first_step_makes_a_copy_and_the_second_the_mean_of_both,
    test_from_the_thousandth_step_on_the_share_of_the_past_is_capped; in a run: here
SCE (`test_robust_losses.py`)
    RCE is -A (1 - p_y): test_rce_is_a_scaled_mae; SCE(1, 0) is CE: test_a_limit_of_one_loss_is_another;
    no gradient of ignored pixels: test_unlabelled_pixels_have_neither_loss_nor_gradient;
    any number of ignored pixels: test_appended_ignored_pixels_change_neither_mean_nor_gradient;
    a batch is the pixel-weighted mean of its parts: test_the_mean_of_a_batch_is_the_weighted_mean_of_its_parts; of its images: here
TTA (`test_views.py`)
    test_flips_of_a_network_that_turns_with_its_image_change_nothing,
    test_24_views_of_such_a_network_are_the_single_view_up_to_interpolation
Smoke test: here, slow.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from noldo.method.class_mix import mixed, pasted_mask
from noldo.method.confidence import log_probabilities
from noldo.method.robust_losses import PixelMean, symmetric_cross_entropy
from noldo.method.smoothing import smoothed_target
from noldo.method.trust import trust_weights
from noldo.training.runs import run_recipe
from noldo.training.teacher import Teacher
from tests.noldo.training_set import TRAIN, transfer_recipe, write_training_set

CLASSES = 4


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_uniform_teacher_has_no_trust_and_a_one_hot_teacher_all():
    uniform = log_probabilities(torch.zeros(2, CLASSES, 5, 5))
    assert (trust_weights(uniform) == 0).all()
    one_hot = log_probabilities(1e4 * torch.eye(CLASSES)[torch.randint(0, CLASSES, (2, 5, 5))].movedim(-1, 1))
    assert (trust_weights(one_hot) == 1).all()


def test_two_images_of_a_batch_have_different_trust():
    logits = torch.zeros(2, CLASSES, 5, 5)
    logits[1, 0, :2] = 100.0
    assert trust_weights(log_probabilities(logits))[:, 0, 0].tolist() == pytest.approx([0, 0.4])


def test_the_weight_of_a_mix_is_one_exactly_where_the_source_was_pasted():
    labels = torch.randint(0, CLASSES, (3, 6, 6), generator=drawn(0), dtype=torch.uint8)
    mask = pasted_mask(labels, num_classes=CLASSES, generator=drawn(1))
    trust = 0.9 * torch.rand(3, 1, 1, generator=drawn(2)).expand(3, 6, 6)
    images = torch.zeros(3, 1, 6, 6)
    found = mixed(mask, source=(images, labels), target=(images, labels), trust_NHW=trust)
    assert torch.equal(found.weights == 1, mask)
    assert torch.equal(found.weights[~mask], trust[~mask])


def test_a_teacher_is_its_student_after_one_step_and_half_of_it_enters_in_the_second():
    student = nn.Linear(2, 2)
    teacher = Teacher(student)
    for expected_share in (1.0, 0.5):
        before = teacher.network.weight.clone()
        with torch.no_grad():
            student.weight.add_(1.0)
        teacher.follow(student)
        expected = before + expected_share * (student.weight - before)
        assert torch.allclose(teacher.network.weight, expected)


def test_sce_of_a_batch_is_the_pixel_weighted_mean_of_that_of_its_images():
    labels = torch.randint(0, CLASSES, (3, 6, 6), generator=drawn(0), dtype=torch.uint8)
    labels[0, :3], labels[1, 0] = 255, 255
    logits = torch.randn(3, CLASSES, 6, 6, generator=drawn(1), dtype=torch.float64)
    is_labelled = (labels != 255).double()
    target = smoothed_target(labels, num_classes=CLASSES, smoothing=None).double()
    loss, log_q = PixelMean(symmetric_cross_entropy), log_probabilities(logits)
    whole = loss(log_q, target, weights_NHW=is_labelled)
    alone = torch.stack(
        [
            loss(log_q[one : one + 1], target[one : one + 1], weights_NHW=is_labelled[one : one + 1])
            for one in range(3)
        ]
    )
    sizes = is_labelled.sum(dim=(1, 2))
    torch.testing.assert_close(whole, (alone * sizes).sum() / sizes.sum())


@pytest.mark.slow
def test_with_two_fifths_of_one_class_mislabelled_sce_is_not_worse_than_ce_by_more_than_seed_noise(
    tmp_path: Path,
):
    """Two classes in Sentinel-1 under speckle; of the brighter one 40 % of the labels in train say the other."""
    torch.set_num_threads(1)

    def spoil(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        random = np.random.default_rng(3)
        backscatter = pixels["s1_grd_10m"]
        backscatter[:] = backscatter + random.normal(0, 600, backscatter.shape).astype(np.int16)
        for row in TRAIN:
            labels = pixels["dynamic_world_10m"][row]
            labels[(labels == 4) & (random.random(labels.shape) < 0.4)] = 0

    store = write_training_set(tmp_path / "set", then=spoil)
    scores: dict[str, list[float]] = {}
    for name in ("ce", "sce"):
        for seed in (1, 2, 3):
            loss = {"name": name} if name == "ce" else {"name": name, "alpha": 1.0, "beta": 1.0}
            recipe = transfer_recipe(
                store.root, modality="s1_grd", loss=loss, dice=False, seed=seed, epochs=20, val_epochs=20
            )
            result = run_recipe(recipe, out=tmp_path / f"{name}-{seed}")
            scores.setdefault(name, []).append(result["scores_of_present_classes"]["miou"])
    seed_noise = np.ptp(scores["ce"]) + np.ptp(scores["sce"])
    assert np.mean(scores["sce"]) >= np.mean(scores["ce"]) - seed_noise, scores
    assert np.mean(scores["sce"]) > 0.4, scores  # it learnt something: all of one class has about a quarter
