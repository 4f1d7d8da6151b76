"""How selection sets in with the epochs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noldo.errors import ConfigError
from noldo.method.ramps import Ramp, risen, share_kept, strength

PAPER = Ramp()
EPOCHS = st.integers(0, 300)
RAMPS = st.builds(Ramp, kind=st.sampled_from(["exponential", "linear", "none"]), epochs=st.integers(1, 200))


@pytest.mark.parametrize(
    ("epoch", "rise", "kept"),
    [
        (0, 0.0067379, 0.9966310),
        (1, 0.0076291, 0.9961854),
        (10, 0.0217504, 0.9891248),
        (20, 0.0600547, 0.9699727),
        (40, 0.2865048, 0.8567476),
        (60, 0.7316156, 0.6341922),
        (79, 0.9992191, 0.5003905),
        (80, 1, 0.5),
        (81, 1, 0.5),
        (199, 1, 0.5),
    ],
)
def test_the_published_ramp_goes_through_the_published_numbers(epoch: int, rise: float, kept: float) -> None:
    assert strength(epoch, ramp=PAPER) == pytest.approx(rise, abs=5e-8)
    assert share_kept(epoch, share=0.5, ramp=PAPER) == pytest.approx(kept, abs=5e-8)


def test_the_exponential_ramp_does_not_start_at_zero() -> None:
    assert risen(0, ramp=PAPER) == math.exp(-5)
    assert share_kept(0, share=0.5, ramp=PAPER) < 1


def test_the_linear_ramp_is_a_share_of_the_epochs_and_none_is_up_from_the_start() -> None:
    linear = Ramp("linear", epochs=80)
    assert [risen(epoch, ramp=linear) for epoch in (0, 20, 80, 81)] == [0, 0.25, 1, 1]
    assert [share_kept(epoch, share=0.5, ramp=linear) for epoch in (0, 20, 80, 81)] == [1, 0.875, 0.5, 0.5]
    assert share_kept(0, share=0.3, ramp=Ramp("none")) == pytest.approx(0.3)
    assert strength(0, ramp=Ramp("none")) == 1


@given(RAMPS, EPOCHS, st.floats(0, 1))
def test_a_ramp_only_rises_and_what_is_kept_falls_to_the_share(ramp: Ramp, epoch: int, share: float) -> None:
    assert 0 <= risen(epoch, ramp=ramp) <= risen(epoch + 1, ramp=ramp) <= 1
    kept, later = (share_kept(one, share=share, ramp=ramp) for one in (epoch, epoch + 1))
    assert share - 1e-12 <= later <= kept + 1e-12
    assert share_kept(ramp.epochs + 1, share=share, ramp=ramp) == share


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ramp("cosine"), "ramp 'cosine': expected one of exponential, linear, none"),  # type: ignore[arg-type]
        (lambda: Ramp(epochs=0), "ramp over 0 epochs"),
        (lambda: risen(-1, ramp=PAPER), "epoch -1: epochs are counted from 0"),
    ],
)
def test_ramps_that_make_no_sense_are_told(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
