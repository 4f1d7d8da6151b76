"""What two label maps say of the same pixels: counts, the noise matrix T, and whether T can be corrected for.

Pure arithmetic on one table of integers. T[i, j] = P(other = j | reference = i): row-normalised counts, as T is
estimated where a clean subset is at hand.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from noldo.common_legend import CommonLegend
from noldo.conditioning import Conditioning, conditioning
from noldo.errors import StoreError, StoreFormatError
from noldo.legend import LEGEND_OF_PRODUCT, Lookup
from noldo.manifest import LegendRecord, Record
from noldo.products import UNLABELLED

Pairs = NDArray[np.int64]
"""(256, 256): pixels of each pair of stored numbers, reference by other."""


class ClassAgreement(Record):
    """One class, over the pixels that were compared."""

    name: str
    reference_pixels: int = Field(description="Pixels that the reference gives it.")
    other_pixels: int = Field(description="Pixels that the other source gives it.")
    agreeing_pixels: int = Field(description="Pixels that both give it.")
    noise_rate: float | None = Field(description="1 - T[i, i]; null if the reference never gives it.")
    confirmed: float | None = Field(
        description="Share of the other source's pixels that the reference confirms; null if it has none."
    )
    iou: float | None = Field(
        description="Pixels that both give it / pixels that one of them gives it; null if none does."
    )


class LabelComparison(Record):
    """Two label arrays of a store, compared over its kept locations."""

    store: str = Field(description="What was read.")
    synthetic: bool = Field(description="The pixels come from a synthetic Earth.")
    reference: str = Field(description="Label product that is taken as clean.")
    other: str = Field(description="Label product whose noise is asked for.")
    split: str | None = Field(description="Part of the data set; null: all.")
    seasons: tuple[str, ...] = Field(description="Counted together.")
    num_locations: int
    legend: LegendRecord = Field(
        description="The common classes; rows and columns below are their ids, in order."
    )
    legend_mapping: str = Field(description="What was mapped into that legend, and who says so.")
    counts: tuple[tuple[int, ...], ...] = Field(description="Pixels: reference class by other class.")
    no_counterpart_pixels: int = Field(
        description="Pixels that both label, of which one has a class that the other source can't give."
    )
    no_counterpart: dict[str, dict[str, int]] = Field(
        description="Those pixels by product and class, in the product's own legend."
    )
    reference_only_pixels: int = Field(description="Pixels that only the reference labels.")
    other_only_pixels: int = Field(description="Pixels that only the other source labels.")
    unlabelled_pixels: int = Field(description="Pixels that neither labels.")
    noise_matrix: tuple[tuple[float, ...] | None, ...] = Field(
        description="T[i, j] = P(other = j | reference = i); null: the reference never gives class i."
    )
    absent_classes: tuple[str, ...] = Field(description="Classes whose row is null.")
    noise_rate: float = Field(description="Share of compared pixels with different classes.")
    kappa: float | None = Field(description="Cohen's kappa; null if both give one and the same class only.")
    classes: tuple[ClassAgreement, ...]
    conditioning: Conditioning

    @property
    def compared_pixels(self) -> int:
        """Pixels that both label with classes of the common legend."""
        return sum(map(sum, self.counts))

    def transition(self) -> NDArray[np.float64]:
        """T as (class, class); rows of classes that the reference never gives are NaN."""
        side = len(self.legend.classes)
        rows = [row if row is not None else (np.nan,) * side for row in self.noise_matrix]
        return np.array(rows, dtype=np.float64)


@dataclass(frozen=True)
class Compared:
    """What was compared, for the record."""

    store: str
    synthetic: bool
    reference: str
    """Product."""
    other: str
    """Product."""
    split: str | None
    seasons: tuple[str, ...]
    num_locations: int


def comparison_of(pairs: Pairs, common: CommonLegend, *, what: Compared) -> LabelComparison:
    """Everything that follows from the counted pairs.

    Raises
    ------
    StoreFormatError
        If there are pixels of a class that their legend does not have.
    StoreError
        If no pixel has a class from both.
    """
    _require_known(pairs.sum(axis=1), what.reference, what)
    _require_known(pairs.sum(axis=0), what.other, what)
    counts = _in_legend(pairs, common)
    if not counts.any():
        raise StoreError(
            f"{what.store}: no pixel of {what.num_locations} locations is labelled by both {what.reference} and "
            f"{what.other} with classes they share; choose other labels, or another split or season"
        )
    labelled = pairs[:UNLABELLED, :UNLABELLED]
    names = common.legend.classes
    matrix = tuple(_shares(row) for row in counts.tolist())
    return LabelComparison(
        store=what.store,
        synthetic=what.synthetic,
        reference=what.reference,
        other=what.other,
        split=what.split,
        seasons=what.seasons,
        num_locations=what.num_locations,
        legend=LegendRecord.of(common.legend),
        legend_mapping=common.how,
        counts=tuple(map(tuple, counts.tolist())),
        no_counterpart_pixels=int(labelled.sum() - counts.sum()),
        no_counterpart={
            what.reference: _without(labelled.sum(axis=1), common.reference, what.reference),
            what.other: _without(labelled.sum(axis=0), common.other, what.other),
        },
        reference_only_pixels=int(pairs[:UNLABELLED, UNLABELLED].sum()),
        other_only_pixels=int(pairs[UNLABELLED, :UNLABELLED].sum()),
        unlabelled_pixels=int(pairs[UNLABELLED, UNLABELLED]),
        noise_matrix=matrix,
        absent_classes=tuple(name for name, row in zip(names, matrix, strict=True) if row is None),
        noise_rate=int(counts.sum() - np.trace(counts)) / int(counts.sum()),
        kappa=kappa(counts),
        classes=_per_class(counts, names),
        conditioning=conditioning(counts, names=names),
    )


def _require_known(values: NDArray[np.int64], product: str, what: Compared) -> None:
    known = len(LEGEND_OF_PRODUCT[product].classes)
    strange = [value for value in np.flatnonzero(values).tolist() if known <= value != UNLABELLED]
    if strange:
        raise StoreFormatError(
            f"{what.store}: {product} holds class {strange[0]}, but its legend ends at {known - 1} and {UNLABELLED} is "
            "no label; run `noldo verify`, or rebuild the store"
        )


def _in_legend(pairs: Pairs, common: CommonLegend) -> NDArray[np.int64]:
    """(class, class) pixels of the common legend."""
    table = np.zeros((256, 256), np.int64)
    np.add.at(table, (common.reference[:, None], common.other[None, :]), pairs)
    side = len(common.legend.classes)
    return table[:side, :side]


def _without(pixels: NDArray[np.int64], lookup: Lookup, product: str) -> dict[str, int]:
    """Class to pixels, of classes that have no counterpart."""
    return {
        name: int(pixels[position])
        for position, name in enumerate(LEGEND_OF_PRODUCT[product].classes)
        if lookup[position] == UNLABELLED and pixels[position]
    }


def _shares(row: list[int]) -> tuple[float, ...] | None:
    total = sum(row)
    return tuple(number / total for number in row) if total else None


def kappa(counts: NDArray[np.int64]) -> float | None:
    """Cohen's kappa: agreement beyond that of chance, given how often each source gives each class.

    Returns
    -------
    -1..1, rounded once; None where chance already agrees always.
    """
    total = int(counts.sum())
    rows, columns = counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist()
    chance = Fraction(sum(row * column for row, column in zip(rows, columns, strict=True)), total * total)
    if chance == 1:
        return None
    return float((Fraction(int(np.trace(counts)), total) - chance) / (1 - chance))


def _per_class(counts: NDArray[np.int64], names: tuple[str, ...]) -> tuple[ClassAgreement, ...]:
    rows, columns = counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist()
    return tuple(
        ClassAgreement(
            name=name,
            reference_pixels=row,
            other_pixels=column,
            agreeing_pixels=both,
            noise_rate=(row - both) / row if row else None,
            confirmed=both / column if column else None,
            iou=both / (row + column - both) if row + column else None,
        )
        for name, row, column, both in zip(names, rows, columns, np.diagonal(counts).tolist(), strict=True)
    )


def nothing() -> Pairs:
    """No pixels yet."""
    return np.zeros((256, 256), np.int64)


def counted(reference: NDArray[np.uint8], other: NDArray[np.uint8]) -> Pairs:
    """Pixels of each pair of stored numbers; both arrays have the same axes."""
    both = (reference.astype(np.intp) << 8) | other
    return np.bincount(both.ravel(), minlength=1 << 16).reshape(256, 256)
