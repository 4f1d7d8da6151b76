import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from noldo.training.augment import Placement, apply_to_image, apply_to_labels, centre, draw
from noldo.training.recipe import Augmentation

SIDE = 40


def plan(count: int = 1, **changes: object) -> Placement:
    """Nothing is done, but for the changes."""
    values = {
        "top": 0, "left": 0, "flip_y": False, "flip_x": False, "transpose": False, "angle_deg": 0.0,
    } | changes  # fmt: skip
    return Placement(**{name: np.full(count, value) for name, value in values.items()})


def image(count: int = 1, bands: int = 3, side: int = SIDE) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((count, bands, side, side), np.float32))


placements = st.builds(
    lambda top, left, flip_y, flip_x, transpose: plan(
        top=top, left=left, flip_y=flip_y, flip_x=flip_x, transpose=transpose
    ),
    *(st.integers(0, 8), st.integers(0, 8), st.booleans(), st.booleans(), st.booleans()),
)


@given(placements)
def test_crop_flips_and_transposition_are_those_of_numpy(placement):
    x = image()
    top, left = placement.top[0], placement.left[0]
    expected = x.numpy()[..., top : top + 32, left : left + 32]
    if placement.flip_y[0]:
        expected = expected[..., ::-1, :]
    if placement.flip_x[0]:
        expected = expected[..., ::-1]
    if placement.transpose[0]:
        expected = expected.swapaxes(-1, -2)
    np.testing.assert_array_equal(apply_to_image(x, placement, crop_px=32), expected)


@given(placements, st.floats(-180, 180))
@settings(max_examples=25, deadline=None)
def test_labels_and_pixels_go_the_same_way(placement, angle):
    """A coarse pattern of labels, moved as an image without blending, is the moved labels."""
    rng = np.random.default_rng(1)
    labels = torch.from_numpy(np.kron(rng.integers(0, 9, (5, 5)), np.ones((8, 8), int)).astype(np.uint8))[
        None
    ]
    turned = Placement(**{**vars(placement), "angle_deg": np.array([angle])})
    moved = apply_to_labels(labels, turned, crop_px=32)
    one_hot = torch.stack([(labels == one).float() for one in range(9)], dim=1)
    blended = apply_to_image(one_hot, turned, crop_px=32)
    sure = blended.max(dim=1).values > 0.75
    assert sure.float().mean() > 0.7
    assert torch.equal(blended.argmax(dim=1)[sure].to(torch.uint8), moved[sure])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_turn_counter_clockwise_is_exact(quarters):
    x = image()
    angle = {1: 90.0, 2: 180.0, 3: -90.0}[quarters]
    turned = apply_to_image(x, plan(angle_deg=angle), crop_px=SIDE)
    np.testing.assert_allclose(turned, np.rot90(x.numpy(), quarters, axes=(-2, -1)), atol=1e-5)


def test_any_angle_is_that_of_scipy_with_reflected_borders():
    x = image(bands=1)
    turned = apply_to_image(x, plan(angle_deg=30.0), crop_px=SIDE)[0, 0]
    expected = ndimage.rotate(x.numpy()[0, 0], 30.0, reshape=False, order=1, mode="mirror")
    np.testing.assert_allclose(turned, expected, atol=2e-4)


def test_a_rotated_prior_still_sums_to_one():
    prior = torch.rand(2, 9, SIDE, SIDE).softmax(dim=1)
    turned = apply_to_image(prior, plan(2, angle_deg=17.0), crop_px=SIDE)
    np.testing.assert_allclose(turned.sum(dim=1), 1, atol=1e-5)


def test_samples_without_an_angle_are_not_resampled():
    x = image(2)
    turned = apply_to_image(
        x, Placement(**{**vars(plan(2)), "angle_deg": np.array([0.0, 45.0])}), crop_px=SIDE
    )
    assert torch.equal(turned[0], x[0])
    assert not torch.equal(turned[1], x[1])


def test_what_is_done_depends_on_seed_epoch_and_location_alone():
    settings = Augmentation(crop_px=32, transpose=0.5)
    together = draw([5, 7, 9], side_px=SIDE, settings=settings, seed=1, epoch=2)
    alone = draw([7], side_px=SIDE, settings=settings, seed=1, epoch=2)
    for name, values in vars(together).items():
        assert values[1] == vars(alone)[name][0]
    other = draw([5, 7, 9], side_px=SIDE, settings=settings, seed=1, epoch=3)
    assert any((vars(together)[name] != vars(other)[name]).any() for name in vars(other))


def test_chances_are_those_of_the_settings():
    settings = Augmentation(crop_px=32, flip=0.5, transpose=0.25, rotate=0.2)
    drawn = draw(range(4_000), side_px=SIDE, settings=settings, seed=0, epoch=0)
    both, up, side = (
        (drawn.flip_y & drawn.flip_x).mean(), (drawn.flip_y & ~drawn.flip_x).mean(), (~drawn.flip_y & drawn.flip_x).mean(),
    )  # fmt: skip
    assert both == pytest.approx(1 / 6, abs=0.02)
    assert up == pytest.approx(1 / 6, abs=0.02)
    assert side == pytest.approx(1 / 6, abs=0.02)
    assert drawn.transpose.mean() == pytest.approx(0.25, abs=0.03)
    assert (drawn.angle_deg != 0).mean() == pytest.approx(0.2, abs=0.03)
    assert set(drawn.top) == set(range(9)) == set(drawn.left)


def test_the_centre_is_in_the_middle():
    x = image(2)
    cropped = apply_to_image(x, centre(2, side_px=SIDE, crop_px=32), crop_px=32)
    assert torch.equal(cropped, x[..., 4:36, 4:36])
