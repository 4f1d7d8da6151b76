"""What a recipe may leave out of its train split."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from noldo.frozen import Frozen

_FOLD = re.compile(r"(?P<one>\d+)/(?P<of>\d+)")


def fold_of(text: str) -> tuple[int, int]:
    """`2/3` as (2, 3): the second of three folds.

    Raises
    ------
    ValueError
        If it is none.
    """
    match = _FOLD.fullmatch(text)
    one, of = (int(match["one"]), int(match["of"])) if match else (0, 0)
    if not 1 <= one <= of or of < 2:
        raise ValueError(f"{text!r}: expected a fold and how many there are, e.g. 1/3")
    return one, of


def _checked(text: str) -> str:
    fold_of(text)
    return text


Fold = Annotated[str, AfterValidator(_checked)]


class DropWorst(Frozen):
    """The locations of train whose labels an audit found worst are not learnt from."""

    file: str = Field(
        min_length=1, description="The audit.csv of `noldo audit`; every location of train has to be in it."
    )
    share: float = Field(default=0.2, gt=0, lt=1, description="Of the locations of train, rounded down.")
    score: Literal["cross_entropy", "cross_entropy_by_class", "cleanlab"] = Field(
        default="cross_entropy", description="By which score of the file."
    )
    at_random: int | None = Field(
        default=None, ge=0, description="Seed: leave out as many at random instead, to compare with."
    )
