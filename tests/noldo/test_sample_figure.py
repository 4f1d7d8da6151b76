from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from noldo.legend import DYNAMIC_WORLD
from noldo.training.sample_figure import MAX_SHOWN, Shown, colours_of, sample_figure, write_sample_figure

BANDS = {"s1_grd": ("VV", "VH"), "s2_l1c": ("B2", "B3", "B4", "B8")}


def shown(count: int) -> Shown:
    generator = torch.Generator().manual_seed(0)
    images = {name: torch.rand(count, len(bands), 8, 8, generator=generator) for name, bands in BANDS.items()}
    labels = torch.randint(0, 3, (count, 8, 8), generator=generator).to(torch.uint8)
    labels[:, 0] = 255
    return Shown(images, labels, {name: labels.clone().clamp(max=5) for name in BANDS})


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (("B2", "B3", "B4", "B8"), [2, 1, 0]),
        (("VV", "VH"), [0, 1, 0]),
        (("B8", "B11", "B12", "B5"), [0, 1, 2]),
        (("B8",), [0, 0, 0]),
    ],
)
def test_bands_become_colours_by_their_names(bands, expected):
    image = np.random.default_rng(0).random((len(bands), 2, 3))
    assert np.array_equal(colours_of(image, bands), np.moveaxis(image[expected], 0, -1))


@pytest.mark.parametrize("count", [1, 3, 9])
def test_a_picture_has_a_row_a_sample_and_columns_of_images_labels_and_predictions(count):
    figure = sample_figure(shown(count), bands=BANDS, legend=DYNAMIC_WORLD)
    axes = figure.axes
    assert len(axes) == min(count, MAX_SHOWN) * 5
    titles = [one.get_title() for one in axes[:5]]
    assert titles == ["Sentinel-1", "Sentinel-2", "labels", "from Sentinel-1", "from Sentinel-2"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [DYNAMIC_WORLD.classes[value].replace("_", " ") for value in (0, 1, 2, 5)]
    drawn = axes[2].images[0].get_array()
    assert to_hex(drawn[3, 3]) == DYNAMIC_WORLD.colours[int(shown(count).labels[0, 3, 3])]


def test_pixels_in_doubt_have_a_column_and_samples_may_have_names():
    marked = replace(shown(3), disputed=shown(3).labels == 1, names=["first", "second", "third"])
    figure = sample_figure(marked, bands=BANDS, legend=DYNAMIC_WORLD, limit=2)
    assert len(figure.axes) == 2 * 6
    assert figure.axes[5].get_title() == "disputed"
    drawn = figure.axes[5].images[0].get_array()
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 2
    assert [figure.axes[row * 6].texts[0].get_text() for row in range(2)] == ["first", "second"]


def test_equal_samples_have_equal_bytes(tmp_path):
    for name in ("a", "b"):
        figure = sample_figure(shown(2), bands=BANDS, legend=DYNAMIC_WORLD)
        write_sample_figure(tmp_path / f"{name}.png", figure)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
