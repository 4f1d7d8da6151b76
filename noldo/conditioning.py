"""Whether a noise matrix T can be corrected for: its singular values, and what they mean in words.

Forward and backward correction are those of Patrini et al. 2017 (arXiv 1609.03683); both need an invertible T.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from noldo.manifest import Record

ONE_DIGIT, TWO_DIGITS = 10.0, 100.0
"""Condition numbers that cost one and two decimal digits of what is known of T: a convention of this project. A row of
T that rests on some thousand pixels is known to about two."""

SOURCE = "Patrini et al. 2017, arXiv 1609.03683"


class Conditioning(Record):
    """Whether T can be inverted: of its square part over the classes that the reference gives, not renormalised."""

    classes: tuple[str, ...] = Field(description="Rows and columns of that part.")
    condition_number: float | None = Field(description="In the 2-norm; null: singular.")
    smallest_singular_value: float
    determinant: float
    diagonally_dominant: bool = Field(
        description="In every row the diagonal is larger than the sum of the others."
    )
    verdict: str = Field(description="What that means for forward and backward correction.")


def conditioning(counts: NDArray[np.int64], *, names: tuple[str, ...]) -> Conditioning:
    """How well T can be inverted, over the classes that occur in the reference.

    Parameters
    ----------
    counts
        (class, class) pixels, reference by other; at least one.
    """
    occurs = np.flatnonzero(counts.sum(axis=1))
    square = counts[np.ix_(occurs, occurs)] / counts[occurs].sum(axis=1, keepdims=True)
    singular = np.linalg.svd(square, compute_uv=False)
    largest, smallest = float(singular[0]), float(singular[-1])
    # numpy.linalg.matrix_rank's bound: below it the smallest value is rounding.
    inverse_exists = smallest > largest * len(square) * float(np.finfo(np.float64).eps)
    condition = largest / smallest if inverse_exists else None
    diagonal = np.diagonal(square)
    classes = tuple(names[one] for one in occurs)
    never = tuple(name for name, column in zip(classes, square.sum(axis=0), strict=True) if not column)
    return Conditioning(
        classes=classes,
        condition_number=condition,
        smallest_singular_value=smallest,
        determinant=float(np.linalg.det(square)),
        diagonally_dominant=bool((diagonal > square.sum(axis=1) - diagonal).all()),
        verdict=verdict(condition, smallest=smallest, num_classes=len(classes), never_given=never),
    )


def verdict(
    condition: float | None, *, smallest: float, num_classes: int, never_given: tuple[str, ...] = ()
) -> str:
    """One sentence on forward and backward correction with such a T.

    Parameters
    ----------
    condition
        Condition number; None: singular.
    smallest
        Smallest singular value: a loss that is corrected backward grows up to its inverse.
    never_given
        Classes of the reference that the other source gives to no pixel.
    """
    if num_classes == 1:
        return "Only one class occurs in the reference: there is nothing to correct."
    if condition is None:
        why = (
            f"the other source never gives {', '.join(never_given)}"
            if never_given
            else "some rows are mixtures"
        )
        return (
            f"Neither forward nor backward correction is well-posed: T is singular ({why}), and both need an invertible "
            f"T ({SOURCE}, theorems 1 and 2); merge the classes that it confuses."
        )
    enlarged = f"errors of T are enlarged up to {condition:.3g}-fold, losses up to {1 / smallest:.3g}-fold"
    if condition <= ONE_DIGIT:
        return (
            f"Forward and backward correction are well-posed: T is invertible, and {enlarged} by the backward one "
            f"({SOURCE}, theorems 1 and 2)."
        )
    if condition <= TWO_DIGITS:
        return (
            f"Forward correction is well-posed; backward correction is unbiased but noisy, for {enlarged}: prefer the "
            f"forward one ({SOURCE}, theorems 1 and 2)."
        )
    return (
        f"Forward correction is barely well-posed and backward correction is not, for T is nearly singular and {enlarged}: "
        f"merge the classes that it confuses ({SOURCE} needs an invertible T)."
    )
