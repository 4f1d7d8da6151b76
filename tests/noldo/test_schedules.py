import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noldo.training.recipe import Constant, Cosine, Optimiser, Plateau
from noldo.training.schedules import Rate, cosine_lr, optimiser_of

PUBLISHED = {0: 5e-4, 1: 4.992e-4, 10: 4.282e-4, 20: 2.55e-4, 30: 8.18e-5, 39: 1.08e-5, 40: 1e-5, 49: 1e-5}
"""Epoch to learning rate of CromSS' fine-tuning."""


@pytest.mark.parametrize(("epoch", "lr"), PUBLISHED.items())
def test_the_cosine_is_the_published_one(epoch, lr):
    assert cosine_lr(epoch, initial=5e-4, settings=Cosine()) == pytest.approx(lr, rel=5e-3)


def rate(schedule, *, lr: float = 0.1) -> Rate:
    optimiser = optimiser_of([torch.nn.Parameter(torch.zeros(1))], Optimiser(lr=lr))
    return Rate(optimiser, schedule, initial=lr)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=40), st.integers(0, 4))
def test_the_plateau_is_that_of_pytorch(losses, patience):
    ours = rate(Plateau(patience=patience))
    theirs_optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        theirs_optimiser, factor=0.5, patience=patience, threshold=1e-4
    )
    for loss in losses:
        ours.end_epoch(loss)
        theirs.step(loss)
        # PyTorch keeps a rate that would change by less than 1e-8.
        assert ours.lr == pytest.approx(theirs_optimiser.param_groups[0]["lr"], abs=2e-8)


def test_a_plateau_goes_on_where_it_was():
    first, second = rate(Plateau(patience=2)), rate(Plateau(patience=2))
    for loss in (1.0, 1.0):
        first.end_epoch(loss)
    second.load(first.state())
    for one in (first, second):
        one.end_epoch(1.0)
        one.end_epoch(1.0)
    assert first.lr == second.lr == 0.05
    assert math.isfinite(first.state()["best"])


def test_without_a_validation_split_nothing_changes_and_constant_is_constant():
    for schedule in (Plateau(patience=0), Constant()):
        one = rate(schedule)
        one.start_epoch(7)
        one.end_epoch(None)
        assert one.lr == 0.1


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_all_parameters_are_in_one_group_with_the_settings_of_the_recipe(name):
    optimiser = optimiser_of(
        torch.nn.Linear(2, 2).parameters(), Optimiser(name=name, lr=0.3, weight_decay=1e-3)
    )
    (group,) = optimiser.param_groups
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.3, 1e-3, 2)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_fused_step_is_the_plain_one_up_to_rounding(name):
    random = torch.Generator().manual_seed(0)
    start = torch.randn(200, generator=random)
    plain, fused = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimisers = [
        optimiser_of([one], Optimiser(name=name, lr=0.01, weight_decay=1e-3), is_fused=is_fused)
        for one, is_fused in ((plain, False), (fused, True))
    ]
    for _ in range(20):
        gradient = torch.randn(200, generator=random)
        for one, optimiser in zip((plain, fused), optimisers, strict=True):
            one.grad = gradient.clone()
            optimiser.step()
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-6)
    assert not torch.equal(plain, start)
