"""What a step sees, against the plain way: whole patches on one grid, normalised, and then cropped and turned."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noldo.byte_images import observed_key
from noldo.models.input_step import InputStep
from noldo.training.augment import Placement, apply_to_image, apply_to_labels, moves_of
from noldo.training.recipe import Augmentation
from noldo.training.views import View, draw_moves, placed, preparation, prior_of, shown_labels

SIDE, CROP, NUM_SEASONS, NUM_CLASSES = 48, 32, 3, 9
CPU = torch.device("cpu")

TWO = Placement(
    *(np.array(one) for one in ([3, 16], [0, 9], [True, False], [False, True], [True, False], [0.0, 30.0]))
)
"""What is done to two samples."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def stored(count: int, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """A batch as the loader gives it, some of it without data, and some values of the upper half of uint16."""
    rng = np.random.default_rng(seed)

    def pixels(bands: int, factor: int, dtype: type, missing: int) -> torch.Tensor:
        side = SIDE // factor
        low, high = (-4_000, 500) if dtype is np.int16 else (0, 60_000)
        values = rng.integers(low, high, (count, bands, side, side)).astype(dtype)
        values[rng.random(values.shape) < 0.05] = missing
        return torch.from_numpy(values)

    labels = rng.integers(0, NUM_CLASSES, (count, NUM_SEASONS, SIDE, SIDE)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.1] = 255
    return {
        "s2_l1c_10m": pixels(4, 1, np.uint16, 65_535),
        "s2_l1c_20m": pixels(6, 2, np.uint16, 65_535),
        "s2_l1c_60m": pixels(3, 6, np.uint16, 65_535),
        "s1_grd_10m": pixels(2, 1, np.int16, -32_768),
        "mask": torch.from_numpy(labels),
        "season": torch.from_numpy(rng.integers(0, NUM_SEASONS, count)),
        "id": torch.arange(count),
    }


def placements(count: int) -> st.SearchStrategy[Placement]:
    spare = SIDE - CROP
    each = {
        "top": st.integers(0, spare),
        "left": st.integers(0, spare),
        "flip_y": st.booleans(),
        "flip_x": st.booleans(),
        "transpose": st.booleans(),
        "angle_deg": st.one_of(st.just(0.0), st.floats(-90, 90)),
    }
    columns = {
        name: st.lists(one, min_size=count, max_size=count).map(np.array) for name, one in each.items()
    }
    return st.builds(Placement, **columns)


def plainly(batch: dict[str, torch.Tensor], placement: Placement, *, inputs: InputStep) -> View:
    prior = prior_of(batch, num_classes=NUM_CLASSES, kind="ts")
    return View(
        {name: apply_to_image(one, placement, crop_px=CROP) for name, one in inputs(batch).items()},
        apply_to_labels(shown_labels(batch), placement, crop_px=CROP),
        apply_to_image(prior, placement, crop_px=CROP),
    )


def assert_same(found: View, expected: View) -> None:
    assert found.images.keys() == expected.images.keys()
    for name, image in expected.images.items():
        assert torch.equal(found.images[name], image), name
    assert torch.equal(found.labels, expected.labels)
    assert found.prior is not None
    assert expected.prior is not None
    assert torch.equal(found.prior, expected.prior)


@given(placements(3), st.sampled_from(["scaled", "compat"]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_stored_pixels_that_are_moved_first_become_the_same_view_to_the_last_bit(
    placement, kind, has_fixed_shapes
):
    batch, inputs = stored(3), InputStep(("s1_grd", "s2_l1c"), kind=kind)
    moves = moves_of(placement, crop_px=CROP, device=CPU, has_fixed_shapes=has_fixed_shapes)
    found = preparation(inputs, num_classes=NUM_CLASSES, kind="ts", is_compiled=False)(batch, moves)
    assert_same(found, plainly(batch, placement, inputs=inputs))


@pytest.mark.parametrize("bands", [3, 9, 12, ("B11", "B2", "B10")])
def test_so_do_chosen_bands(bands):
    batch, inputs = stored(2), InputStep(("s2_l1c",), bands=bands)
    held = {"s2_l1c_10m": ("B2", "B3", "B4", "B8"), "s2_l1c_20m": ("B5", "B6", "B7", "B8A", "B11", "B12")}
    held["s2_l1c_60m"] = ("B1", "B9", "B10")
    for name, of_array in held.items():
        chosen = [place for place, band in enumerate(of_array) if band in inputs.bands("s2_l1c")]
        batch[name] = torch.from_numpy(batch[name].numpy()[:, chosen])
    moves = moves_of(TWO, crop_px=CROP, device=CPU)
    found = placed(batch, moves, inputs=inputs, labels=shown_labels(batch)).images["s2_l1c"]
    assert torch.equal(found, apply_to_image(inputs(batch)["s2_l1c"], TWO, crop_px=CROP))


def test_so_do_published_bytes_and_images_of_bytes():
    random = torch.Generator().manual_seed(0)
    shape = (2, 13, SIDE, SIDE)
    batch = {
        "s2_l1c_uint8_10m": torch.randint(0, 256, shape, generator=random, dtype=torch.uint8),
        "rgb": torch.randint(0, 256, (2, 3, SIDE, SIDE), generator=random, dtype=torch.uint8),
        observed_key("rgb"): torch.rand(2, SIDE, SIDE, generator=random) > 0.2,
    }
    moves = moves_of(TWO, crop_px=CROP, device=CPU)
    labels = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    for modality in ("s2_l1c", "rgb"):
        inputs = InputStep((modality,))
        found = placed(batch, moves, inputs=inputs, labels=labels).images[modality]
        assert torch.equal(found, apply_to_image(inputs(batch)[modality], TWO, crop_px=CROP))


def test_moves_have_the_same_shapes_in_every_step_if_asked_for_and_none_where_nothing_is_rotated():
    def shapes(ids: list[int], rotate: float) -> list[object]:
        moves = draw_moves(
            torch.tensor(ids),
            side_px=SIDE,
            settings=Augmentation(crop_px=CROP, rotate=rotate),
            seed=0,
            epoch=0,
            device=CPU,
            has_fixed_shapes=True,
        )
        return [None if moves.turns is None else [one.shape for one in moves.turns], moves.rows.shape]

    seen = [shapes(list(range(start, start + 4)), 0.2) for start in range(0, 40, 4)]
    assert all(one == seen[0] for one in seen)
    assert shapes([1, 2], 0.0)[0] is None


def test_all_of_it_is_one_graph_that_is_made_once():
    """`fullgraph` refuses whatever would wait for the device; the graph runs here as torch would run it by itself."""
    graphs = []

    def count(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    inputs = InputStep(("s1_grd", "s2_l1c"))
    options = {"num_classes": NUM_CLASSES, "kind": "ts"}
    fast = preparation(inputs, **options, is_compiled=True, backend=count)
    plain = preparation(inputs, **options, is_compiled=False)
    for epoch in range(3):
        batch = stored(3, seed=epoch)
        moves = draw_moves(
            batch.pop("id"),
            side_px=SIDE,
            settings=Augmentation(crop_px=CROP, rotate=0.5),
            seed=0,
            epoch=epoch,
            device=CPU,
            has_fixed_shapes=True,
        )
        assert_same(fast(batch, moves), plain(batch, moves))
    assert len(graphs) == 1
