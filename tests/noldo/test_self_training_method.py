"""The pieces of self-training: ClassMix, trust, resolution alignment, strong augmentation, Lovasz."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noldo.errors import ConfigError
from noldo.method.class_mix import mixed, pasted_mask
from noldo.method.confidence import log_probabilities
from noldo.method.lovasz import lovasz_softmax
from noldo.method.resolution import Coarsening, Resolution, coarsened, draw_coarsenings
from noldo.method.strong import Look, Strong, draw_look, looked
from noldo.method.trust import trust_weights, trusted_cross_entropy

CLASSES = 5


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def labels_of(seed: int, *, unlabelled: float = 0.2) -> torch.Tensor:
    labels = torch.randint(0, CLASSES, (3, 6, 7), generator=drawn(seed), dtype=torch.uint8)
    labels[0][labels[0] > 2] = 1
    return labels.masked_fill(torch.rand(labels.shape, generator=drawn(seed + 1)) < unlabelled, 255)


# ---- ClassMix --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000))
def test_half_of_the_classes_of_each_image_are_pasted_whole_and_255_never(seed):
    labels = labels_of(seed)
    mask = pasted_mask(labels, num_classes=CLASSES, generator=drawn(seed))
    for image, pasted in zip(labels, mask, strict=True):
        there, taken = (set(one.unique().tolist()) - {255} for one in (image, image[pasted]))
        assert len(taken) == -(-len(there) // 2)
        assert torch.equal(pasted, torch.isin(image, torch.tensor(sorted(taken), dtype=torch.uint8)))


def test_images_draw_their_own_classes_and_an_image_without_labels_gives_nothing():
    labels = torch.arange(4, dtype=torch.uint8).repeat(200, 1)[:, None]
    masks = pasted_mask(labels, num_classes=CLASSES, generator=drawn(0))
    assert len({tuple(one.flatten().tolist()) for one in masks}) == 6  # two of four
    nothing = torch.full((2, 3, 3), 255, dtype=torch.uint8)
    assert not pasted_mask(nothing, num_classes=CLASSES, generator=drawn(0)).any()


def test_a_mix_takes_image_label_and_weight_from_the_same_side():
    labels, predicted = labels_of(1), labels_of(2, unlabelled=0.1)
    source, target = torch.full((3, 2, 6, 7), 0.1), torch.full((3, 2, 6, 7), 0.9)
    mask = pasted_mask(labels, num_classes=CLASSES, generator=drawn(3))
    trust = torch.full((3, 6, 7), 0.25)
    found = mixed(mask, source=(source, labels), target=(target, predicted), trust_NHW=trust)
    assert torch.equal(found.images == 0.1, mask[:, None].expand(-1, 2, -1, -1))
    assert torch.equal(found.labels, torch.where(mask, labels, predicted))
    assert (found.weights[mask] == 1).all()
    rest = ~mask & (predicted != 255)
    assert (found.weights[rest] == 0.25).all()
    assert (found.weights[~mask & (predicted == 255)] == 0).all()


# ---- trust -----------------------------------------------------------------------------------------------------------


def of_confidence(*shares: float) -> torch.Tensor:
    """An image each, of which this share of 100 pixels is sure."""
    logits = torch.zeros(len(shares), CLASSES, 10, 10)
    for image, share in zip(logits, shares, strict=True):
        image[0].view(-1)[: round(100 * share)] = 50.0
    return log_probabilities(logits)


def test_each_image_has_the_share_of_its_sure_pixels_and_a_batch_that_of_all():
    log_q = of_confidence(0.25, 0.75)
    assert trust_weights(log_q)[:, 0, 0].tolist() == [0.25, 0.75]
    assert trust_weights(log_q, scope="batch").unique().tolist() == [0.5]


def test_other_trusts_are_the_mean_confidence_the_pixel_itself_and_none():
    log_q = of_confidence(0.25)
    mean = trust_weights(log_q, kind="mean-confidence")
    assert mean.unique().item() == pytest.approx(0.25 + 0.75 / CLASSES)
    assert trust_weights(log_q, kind="pixel").sum() == 25
    assert (trust_weights(log_q, kind="none") == 1).all()


def test_pixels_that_the_teacher_was_not_shown_count_in_no_share():
    valid = torch.ones(1, 10, 10, dtype=torch.bool)
    valid[0, 5:] = False  # of the 25 sure pixels none, of the others 50
    assert trust_weights(of_confidence(0.25), valid_NHW=valid)[0, 0, 0] == 0.5
    assert (trust_weights(of_confidence(0.25), valid_NHW=~valid) == 0).all()
    assert (trust_weights(of_confidence(1.0), valid_NHW=torch.zeros_like(valid)) == 0).all()


def test_an_unknown_trust_is_one_line():
    with pytest.raises(ConfigError, match="expected one of fraction-above, mean-confidence"):
        trust_weights(of_confidence(1.0), kind="hope")  # type: ignore[arg-type]


def test_less_trust_is_a_smaller_loss_and_unlabelled_pixels_are_in_no_mean():
    logits, labels = torch.randn(3, CLASSES, 6, 7, generator=drawn(0)), labels_of(0)
    full = trusted_cross_entropy(logits, labels, weights_NHW=torch.ones(3, 6, 7))
    expected = torch.nn.functional.cross_entropy(logits, labels.long(), ignore_index=255)
    torch.testing.assert_close(full, expected)
    half = trusted_cross_entropy(logits, labels, weights_NHW=torch.full((3, 6, 7), 0.5))
    torch.testing.assert_close(half, expected / 2)
    nothing = torch.full_like(labels, 255)
    assert trusted_cross_entropy(logits, nothing, weights_NHW=torch.ones(3, 6, 7)) == 0


# ---- resolution alignment --------------------------------------------------------------------------------------------


def band_limited_noise(side: int, *, seed: int, top: float) -> np.ndarray:
    """Noise without anything above `top` of the Nyquist frequency."""
    spectrum = np.fft.fft2(np.random.default_rng(seed).standard_normal((side, side)))
    spectrum[frequencies(side) > top] = 0
    return np.fft.ifft2(spectrum).real


def frequencies(side: int) -> np.ndarray:
    """Of each coefficient, in parts of the Nyquist frequency."""
    one = np.abs(np.fft.fftfreq(side)) / 0.5
    return np.hypot(one[:, None], one[None, :])


def energy_above(image: np.ndarray, share: float) -> float:
    window = np.hanning(len(image))
    spectrum = np.abs(np.fft.fft2(image * window[:, None] * window[None, :])) ** 2
    return float(spectrum[frequencies(len(image)) > share].sum())


def plan(num: int, side: int, *, seed: int = 0, **settings_: float) -> tuple[Coarsening | None, ...]:
    rng = np.random.default_rng(seed)
    return draw_coarsenings(num, side_px=side, settings=Resolution(**settings_), rng=rng)


def test_detail_beyond_the_new_resolution_is_lost_and_labels_stay_to_the_bit_without_a_zoom():
    image = band_limited_noise(128, seed=1, top=0.5)
    labels = labels_of(1)[:1].repeat(1, 22, 19)[:, :128, :128].contiguous()
    how = plan(1, 128, chance=1, low=0.1, high=0.1, max_zoom=1)
    found, same = coarsened(torch.from_numpy(image)[None, None].float(), labels, coarsenings=how)
    assert found.shape == (1, 1, 128, 128)
    assert energy_above(found[0, 0].numpy(), 0.1) < 0.05 * energy_above(image, 0.1)
    assert torch.equal(same, labels)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_zoomed_label_holds_no_class_that_was_not_there_and_lies_on_its_image(seed):
    labels = torch.where(torch.arange(40) < 23, 1, 4).to(torch.uint8).repeat(1, 40, 1)
    image = (labels == 4).float()[:, None]
    how = plan(1, 40, seed=seed, chance=1, low=0.9, high=1.0, max_zoom=3)
    found, moved = coarsened(image, labels, coarsenings=how)
    assert set(moved.unique().tolist()) <= {1, 4}
    assert ((found[:, 0] > 0.5) == (moved == 4)).float().mean() > 0.97


def test_a_fifth_of_samples_lose_resolution_within_the_bounds_and_others_stay_to_the_bit():
    how = plan(4000, 480)
    chosen = [one for one in how if one is not None]
    assert len(chosen) == pytest.approx(800, abs=80)
    assert all(48 <= one.down_px <= 168 and 480 <= one.up_px <= 1440 for one in chosen)
    assert all(one.top <= one.up_px - 480 and one.left <= one.up_px - 480 for one in chosen)
    images, labels = torch.rand(4, 2, 16, 16, generator=drawn(0)), torch.zeros(4, 16, 16, dtype=torch.uint8)
    found, _ = coarsened(images, labels, coarsenings=(None, Coarsening(4, 20, 2, 3), None, None))
    assert torch.equal(found[[0, 2, 3]], images[[0, 2, 3]])
    assert not torch.equal(found[1], images[1])


def test_bounds_that_are_none_are_refused():
    with pytest.raises(ConfigError, match="expected a chance"):
        Resolution(low=0.5, high=0.2)


# ---- strong augmentation ---------------------------------------------------------------------------------------------


def test_half_of_all_batches_are_jittered_and_half_blurred():
    rng = np.random.default_rng(0)
    looks = [draw_look(3, settings=Strong(), rng=rng) for _ in range(1000)]
    assert np.mean([(one.brightness != 1).any() for one in looks]) == pytest.approx(0.5, abs=0.06)
    assert np.mean([one.sigma_px > 0 for one in looks]) == pytest.approx(0.5, abs=0.06)
    assert all(0.8 <= factor <= 1.2 for one in looks for factor in (*one.brightness, *one.contrast))
    assert all(0.15 <= one.sigma_px <= 1.15 for one in looks if one.sigma_px)


def test_a_look_of_nothing_changes_nothing_and_a_blur_keeps_flat_images():
    images = torch.rand(2, 3, 32, 32, generator=drawn(0))
    assert torch.equal(looked(images, Look(np.ones(2), np.ones(2), 0.0)), images)
    flat = torch.full((1, 2, 32, 32), 0.3)
    torch.testing.assert_close(looked(flat, Look(np.ones(1), np.ones(1), 1.0)), flat)
    blurred = looked(images, Look(np.ones(2), np.ones(2), 1.15))
    assert blurred.std() < 0.6 * images.std()


def test_brightness_and_contrast_are_those_of_each_image_and_stay_in_bounds():
    images = 0.2 + 0.6 * torch.rand(2, 3, 16, 16, generator=drawn(0))
    found = looked(images, Look(np.array([1.2, 0.8]), np.array([1.0, 0.5]), 0.0))
    torch.testing.assert_close(found[0], (images[0] * 1.2).clamp(0, 1))
    torch.testing.assert_close(found[1].std(), images[1].std() * 0.4)
    assert found.min() >= 0
    assert found.max() <= 1


# ---- Lovasz-Softmax --------------------------------------------------------------------------------------------------


def one_hot_logits(labels: torch.Tensor) -> torch.Tensor:
    return 1000.0 * torch.nn.functional.one_hot(labels.long(), CLASSES).movedim(-1, 1)


@given(st.integers(0, 10_000))
def test_of_hard_predictions_lovasz_is_one_minus_the_mean_iou_of_present_classes(seed):
    labels, predicted = labels_of(seed), labels_of(seed + 7, unlabelled=0)
    known = labels != 255
    losses = []
    for one in set(labels[known].tolist()):
        truth, guess = (labels == one) & known, (predicted == one) & known
        losses.append(1 - (truth & guess).sum() / (truth | guess).sum())
    found = lovasz_softmax(one_hot_logits(predicted), labels)
    assert found.item() == pytest.approx(float(torch.stack(losses).mean()), abs=1e-5)


def test_lovasz_is_that_of_segmentation_models_pytorch_with_its_gradient():
    from segmentation_models_pytorch.losses import LovaszLoss

    labels = labels_of(5)
    logits = torch.randn(3, CLASSES, 6, 7, generator=drawn(0)).requires_grad_()
    ours = lovasz_softmax(logits, labels)
    theirs = LovaszLoss("multiclass", ignore_index=255)(logits, labels.long())
    torch.testing.assert_close(ours, theirs)
    (mine,), (other,) = (torch.autograd.grad(one, logits) for one in (ours, theirs))
    torch.testing.assert_close(mine, other)


def test_unlabelled_pixels_have_no_part_in_lovasz_and_a_batch_of_them_is_a_scalar_zero():
    labels = labels_of(5)
    logits = torch.randn(3, CLASSES, 6, 7, generator=drawn(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(lovasz_softmax(logits, labels), logits)
    assert (gradient.movedim(1, -1)[labels == 255] == 0).all()
    nothing = lovasz_softmax(logits, torch.full_like(labels, 255))
    nothing.backward()
    assert nothing.shape == ()
    assert nothing == 0
    assert (logits.grad == 0).all()


def test_lovasz_of_half_precision_is_that_of_the_same_logits_in_float32():
    labels, logits = labels_of(5), torch.randn(3, CLASSES, 6, 7, generator=drawn(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = lovasz_softmax(logits, labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, lovasz_softmax(logits.float(), labels))


# ---- devices ---------------------------------------------------------------------------------------------------------


def test_no_value_is_read_on_the_host():
    """Tensors on the device `meta` have no values: reading one is an error."""
    labels, logits = labels_of(5).to("meta"), torch.zeros(3, CLASSES, 6, 7, device="meta")
    trust = trust_weights(log_probabilities(logits), valid_NHW=labels != 255)
    images = torch.zeros(3, 2, 6, 7, device="meta")
    mask = pasted_mask(labels, num_classes=CLASSES, generator=drawn(0))
    mix = mixed(mask, source=(images, labels), target=(images, labels), trust_NHW=trust)
    assert trusted_cross_entropy(logits, mix.labels, weights_NHW=mix.weights).shape == ()
    assert lovasz_softmax(logits, labels).shape == ()
    assert looked(images, Look(np.ones(3) * 1.1, np.ones(3), 1.0)).shape == images.shape
