import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noldo.errors import ConfigError
from noldo.prediction.fusion import Fusion, fused
from noldo.prediction.views import Views, averaged

WINNER = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


def per_pixel(images):
    """Sees one pixel at a time: turning the image turns what it says."""
    image = images["s2_l1c"]
    return torch.stack([image[:, 0], image[:, 1], image[:, 0] * image[:, 1]], dim=1) * 4


def smooth_image() -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 48), indexing="ij")
    return torch.stack([torch.sin(3 * x + y), torch.cos(2 * y * x)])[None]


def test_flips_of_a_network_that_turns_with_its_image_change_nothing():
    images = {"s2_l1c": smooth_image()}
    plain = per_pixel(images).softmax(1)
    assert torch.equal(averaged(per_pixel, images, views=Views(flips=False)), plain)
    assert torch.allclose(averaged(per_pixel, images, views=Views()), plain, atol=1e-6)


def test_24_views_of_such_a_network_are_the_single_view_up_to_interpolation():
    images = {"s2_l1c": smooth_image()}
    views = Views(WINNER)
    assert len(views) == 24
    found = averaged(per_pixel, images, views=views)
    assert found.shape == (1, 3, 48, 48)
    assert torch.allclose(found.sum(1), torch.ones(1, 48, 48), atol=1e-5)
    difference = (found - per_pixel(images).softmax(1)).abs()
    assert difference[..., 4:-4, 4:-4].max() < 0.01
    assert difference.max() < 0.05


def test_every_view_is_looked_at_once_and_flips_are_turned_back():
    seen = []

    def corner(images):
        seen.append(images["s2_l1c"].shape[-1])
        return torch.stack([images["s2_l1c"][:, 0] * 50, torch.zeros_like(images["s2_l1c"][:, 0])], dim=1)

    image = torch.zeros(1, 1, 8, 8)
    image[..., 0, 0] = 1
    found = averaged(corner, {"s2_l1c": image}, views=Views((1.0, 2.0)))
    assert seen == [8] * 4 + [16] * 4
    assert found[0, 0].argmax() == 0


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0,), (5.0,)])
def test_sizes_that_are_none_are_refused(scales):
    with pytest.raises(ConfigError, match="expected numbers above 0"):
        Views(scales)


def probabilities(*classes: int) -> torch.Tensor:
    """A network that is sure to 0.8 of these classes, pixel by pixel."""
    one_hot = torch.nn.functional.one_hot(torch.tensor(classes), 3).float()
    return (0.1 + 0.7 * one_hot).T[None, :, None, :]


def test_agreement_labels_what_all_networks_say_and_the_mean_labels_everything():
    first, second = probabilities(0, 1, 2, 2), probabilities(0, 2, 2, 1)
    assert fused([first, second], fusion=Fusion("agreement")).tolist() == [[[0, 255, 2, 255]]]
    third = probabilities(0, 1, 2, 1)
    assert fused([first, second, third], fusion=Fusion("mean")).tolist() == [[[0, 1, 2, 1]]]


@given(st.floats(0, 1))
def test_pixels_of_less_confidence_have_no_label(least):
    found = fused([probabilities(0, 1), probabilities(0, 2)], fusion=Fusion("mean", least))
    confidences = torch.stack([probabilities(0, 1), probabilities(0, 2)]).mean(0).amax(1)
    assert (found != 255).tolist() == (confidences >= least).tolist()


def test_one_network_agrees_with_itself():
    one = torch.rand(2, 5, 4, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
    assert torch.equal(fused([one], fusion=Fusion("agreement")), one.argmax(1).to(torch.uint8))


def test_a_confidence_that_is_no_share_is_refused():
    with pytest.raises(ConfigError, match="min_confidence 2"):
        Fusion("mean", 2)
