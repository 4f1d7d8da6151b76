"""Errors put into labels on purpose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noldo.training.data_keys import LabelNoise
from noldo.training.label_noise import with_noise
from noldo.training.splits import open_split
from tests.noldo.training_set import pretrain_recipe, write_training_set

KINDS = ("uniform", "pair", "blurred")
NUM_CLASSES = 9


def labels_of(seed: int, side_px: int = 96) -> np.ndarray:
    """(2, Y, X), a tenth of it unlabelled."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, NUM_CLASSES, (2, side_px, side_px)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.1] = 255
    return labels


def noisy(labels: np.ndarray, kind: str, rate: float, *, location: int = 7, seasons=(0, 1)) -> np.ndarray:
    noise = LabelNoise.model_validate({"kind": kind, "rate": rate, "width_px": 3})
    return with_noise(
        labels, seasons=seasons, location=location, num_classes=NUM_CLASSES, noise=noise, seed=1
    )


@pytest.mark.parametrize("kind", KINDS)
@given(rate=st.floats(0, 1), seed=st.integers(0, 99))
def test_the_share_of_wrong_labels_is_the_rate_and_what_is_unlabelled_stays_so(kind, rate, seed):
    labels = labels_of(seed)
    found = noisy(labels, kind, rate)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found == 255, labels == 255)
    assert found[labels != 255].max(initial=0) < NUM_CLASSES
    share = (found != labels)[labels != 255].mean()
    assert share == pytest.approx(rate, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_are_those_of_location_and_season_alone(kind):
    labels = labels_of(0)
    both = noisy(labels, kind, 0.4)
    np.testing.assert_array_equal(noisy(labels[1:], kind, 0.4, seasons=(1,)), both[1:])
    same = np.stack([labels[0], labels[0]])
    first, second = noisy(same, kind, 0.4)
    assert (first != second).any()
    assert (noisy(labels, kind, 0.4, location=8) != both).any()


def test_each_kind_errs_in_its_own_way():
    labels = np.full((1, 128, 128), 4, np.uint8)
    found = {kind: noisy(labels, kind, 0.4, seasons=(0,))[0] for kind in KINDS}
    assert set(np.unique(found["pair"])) == {4, 5}
    for kind in ("uniform", "blurred"):
        assert len(np.unique(found[kind])) == NUM_CLASSES
    alike = {kind: (one[:, 1:] == one[:, :-1]).mean() for kind, one in found.items()}
    assert alike["uniform"] < 0.5
    assert alike["blurred"] > 0.7


def test_only_train_has_the_errors_of_a_recipe(tmp_path):
    store = write_training_set(tmp_path).root
    data = pretrain_recipe(store).data
    wrong = data.model_copy(update={"noise": LabelNoise(kind="uniform", rate=0.5)})
    for split, is_noisy in (("train", True), ("val", False)):
        pair = [
            open_split(one, split=split, modalities=("s1_grd",), seed=3, labels="all", season=0)
            for one in (data, wrong)
        ]
        clean, noised = (sample["mask"].numpy() for sample in (pair[0][0], pair[1][0]))
        assert (clean != noised).any() == is_noisy
        alone = open_split(wrong, split=split, modalities=("s1_grd",), seed=3, season=1)[0]
        np.testing.assert_array_equal(alone["mask"].numpy(), noised[1])
