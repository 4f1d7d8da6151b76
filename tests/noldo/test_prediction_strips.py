"""Strips of probabilities: blended as if there were no windows, in memory that does not grow with the image."""

import tracemalloc
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noldo.prediction.class_maps import bytes_of, in_blocks, labels_of
from noldo.prediction.strips import Patch, probability_strips
from noldo.prediction.windows import Tiling, Window, plan_windows

torch.set_num_threads(1)

NUM_CLASSES = 4
WEIGHTS = torch.randn(NUM_CLASSES, 2, generator=torch.Generator().manual_seed(0)) * 3


def per_pixel(images: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A 1 x 1 convolution: what it says of a pixel does not depend on the window."""
    return torch.einsum("cb,nbyx->ncyx", WEIGHTS, images["image"])


class FakeImage:
    """Serves windows of known pixels and remembers which."""

    def __init__(self, height: int, width: int, *, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.pixels = torch.from_numpy(random.random((2, height, width), np.float32))
        self.observed = np.ones((height, width), bool)
        self.asked: list[Window] = []

    def __call__(self, window: Window, /) -> Patch:
        self.asked.append(window)
        rows, columns = window.slices
        return Patch({"image": self.pixels[:, rows, columns]}, self.observed[rows, columns])


def whole(image: FakeImage, *, tiling: Tiling, network=per_pixel, batch_size: int = 3) -> np.ndarray:
    """(C, Y, X) of all strips, after a check that they follow each other."""
    rows = plan_windows(*image.observed.shape, tiling=tiling)
    strips = list(
        probability_strips(network, image, rows=rows, num_classes=NUM_CLASSES, batch_size=batch_size)
    )
    heights = [strip.probabilities.shape[1] for strip in strips]
    assert [strip.top for strip in strips] == [0, *np.cumsum(heights)[:-1]]
    return np.concatenate([strip.probabilities for strip in strips], axis=1)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    window=st.integers(1, 20),
    share=st.floats(0, 0.99),
    batch_size=st.integers(1, 5),
)
def test_a_network_that_sees_single_pixels_says_the_same_tiled_as_whole(
    height, width, window, share, batch_size
):
    image = FakeImage(height, width)
    found = whole(image, tiling=Tiling(window, int(share * window)), batch_size=batch_size)
    expected = per_pixel({"image": image.pixels[None]}).softmax(1)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)  # float32 sums of up to 256 windows
    second, first = np.sort(expected, axis=0)[-2:]
    clear = first - second > 1e-4  # of two equal classes rounding decides
    assert np.array_equal(labels_of(found)[0, clear], labels_of(expected)[0, clear])


def test_one_window_is_the_network_itself_bit_for_bit():
    image = FakeImage(50, 30)
    logits = per_pixel({"image": image.pixels[None]})
    found = whole(image, tiling=Tiling())
    assert np.array_equal(labels_of(found)[0], logits[0].argmax(0).numpy())


def test_windows_fade_into_each_other_and_do_not_end_in_a_seam():
    """The first window says class 0 everywhere, the second one class 1."""

    def by_window(images):
        left = images["image"][:, :1, :1, :1]
        return torch.cat([50 * (1 - left), 50 * left, left * 0, left * 0], dim=1).expand(-1, -1, 8, 8)

    image = FakeImage(8, 12)
    image.pixels[:] = 0
    image.pixels[:, :, 4:] = 1
    first = whole(image, tiling=Tiling(8, 4), network=by_window)[0, 3]
    np.testing.assert_allclose(first[:4], 1, atol=1e-6)
    np.testing.assert_allclose(first[8:], 0, atol=1e-6)
    np.testing.assert_allclose(first[4:8], [0.875, 0.625, 0.375, 0.125], atol=1e-6)


def test_pixels_that_were_not_observed_have_no_probability_and_windows_without_any_are_not_computed():
    image = FakeImage(40, 40)
    image.observed[:, :25] = False
    computed = []

    def counting(images):
        computed.append(len(images["image"]))
        return per_pixel(images)

    found = whole(image, tiling=Tiling(10, 0), network=counting, batch_size=8)
    assert np.isnan(found[:, :, :25]).all()
    assert np.isfinite(found[:, :, 25:]).all()
    np.testing.assert_allclose(found[:, :, 25:].sum(axis=0), 1, atol=1e-6)
    assert computed == [2] * 4
    assert (labels_of(found)[0, :, :25] == 255).all()
    assert (bytes_of(found)[:, :, :25] == 255).all()
    assert (bytes_of(found)[:, :, 25:] <= 254).all()


def test_each_window_is_read_once_and_no_batch_is_larger_than_asked():
    image, sizes = FakeImage(50, 70), []

    def watched(images):
        assert not torch.is_grad_enabled()
        sizes.append(len(images["image"]))
        return per_pixel(images)

    tiling = Tiling(16, 4)
    whole(image, tiling=tiling, network=watched, batch_size=4)
    assert image.asked == [one for row in plan_windows(50, 70, tiling=tiling) for one in row.windows]
    assert max(sizes) == 4


def test_logits_of_half_precision_become_probabilities_of_single_precision():
    image = FakeImage(8, 8)
    found = whole(image, tiling=Tiling(), network=lambda images: per_pixel(images).bfloat16())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)


def peak_bytes(height: int) -> int:
    """Of arrays, while strips are taken and dropped."""
    patch = Patch({"image": torch.zeros(2, 32, 32)}, np.ones((32, 32), bool))
    rows = plan_windows(height, 200, tiling=Tiling(32, 8))
    strips = probability_strips(per_pixel, lambda _: patch, rows=rows, num_classes=NUM_CLASSES, batch_size=1)
    planes = (bytes_of(strip.probabilities) for strip in strips)
    tracemalloc.start()
    try:
        for _ in in_blocks(planes, block_px=64):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_that_of_one_row_of_windows_however_long_the_image():
    peak_bytes(200)  # what is allocated once a process
    assert peak_bytes(3_000) < 1.1 * peak_bytes(200)
    assert peak_bytes(200) < 200 * 32 * NUM_CLASSES * 4 * 8


@given(heights=st.lists(st.integers(0, 30), max_size=8), block=st.sampled_from([1, 4, 16]))
def test_portions_hold_the_same_rows_and_no_block_twice(heights, block):
    rows = np.arange(sum(heights), dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    strips = np.split(rows, np.cumsum(heights), axis=1)
    portions = list(in_blocks(iter(strips), block_px=block))
    assert all(top % block == 0 for top, _ in portions)
    assert all(planes.shape[1] % block == 0 for _, planes in portions[:-1])
    assert all(planes.shape[1] <= block + 30 for _, planes in portions)
    assert np.array_equal(
        np.concatenate([planes for _, planes in portions], axis=1) if portions else rows, rows
    )


@pytest.mark.parametrize(("p", "byte"), [(0.0, 0), (1.0, 254), (0.5, 127), (np.nan, 255)])
def test_probabilities_are_stored_in_254_steps(p, byte):
    assert bytes_of(np.full((1, 1, 1), p, np.float32)).item() == byte
