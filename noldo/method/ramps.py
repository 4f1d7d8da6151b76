"""How selection grows with the epochs: the share of pixels that is kept, and the strength of the consistency weights.

Plain numbers; epochs are counted from 0, as in the authors' code.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from noldo.errors import ConfigError

RampKind = Literal["exponential", "linear", "none"]

STEEPNESS = 5.0
"""Of the exponential ramp: exp(-5 (1 - e/E)^2), as in the authors' code (and Laine & Aila 2017, arXiv 1610.02242)."""


@dataclass(frozen=True)
class Ramp:
    """Growth from nearly 0 to 1 in the first epochs of a training."""

    kind: RampKind = "exponential"
    """`none`: 1 from the first epoch on."""

    epochs: int = 80
    """Epoch at which 1 is reached; 80 is the paper's."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(RampKind):
            raise ConfigError(f"ramp {self.kind!r}: expected one of {', '.join(get_args(RampKind))}")
        if self.epochs < 1:
            raise ConfigError(
                f"ramp over {self.epochs} epochs: expected at least 1; `none` is no ramp at all"
            )


def risen(epoch: int, *, ramp: Ramp) -> float:
    """r(e): how far the ramp has risen, 0..1.

    The exponential one starts at exp(-5) = 0.0067, not at 0.

    Raises
    ------
    ConfigError
        If the epoch is negative.
    """
    if epoch < 0:
        raise ConfigError(f"epoch {epoch}: epochs are counted from 0")
    if ramp.kind == "none" or epoch > ramp.epochs:
        return 1.0
    if ramp.kind == "linear":
        return epoch / ramp.epochs
    return math.exp(-STEEPNESS * (1 - epoch / ramp.epochs) ** 2)


def share_kept(epoch: int, *, share: float, ramp: Ramp) -> float:
    """a(e): share of each class's pixels that is kept with full weight; falls from nearly 1 to `share`."""
    return share if epoch > ramp.epochs else 1 - risen(epoch, ramp=ramp) * (1 - share)


def strength(epoch: int, *, ramp: Ramp) -> float:
    """g(e): how much the consistency weights follow the confidence, 0..1."""
    return risen(epoch, ramp=ramp)
