"""What was measured, value by value, and its means and spreads."""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

SPREADS = 2.0
"""A group is alike in a layer if its mean CKA with clean runs is at most so many standard deviations below that of clean pairs; the
variance is the mean of both."""

WHOLE = "none"
"""Layer of a network that nothing was done to."""


@dataclass(frozen=True)
class Finding:
    """One value."""

    measure: str
    """cka, probe_miou, probe_oa, reset_miou, reset_oa, transplant_miou or transplant_oa."""
    layer: str
    """Of `noldo.layers.stages.LAYERS`, or `none`."""
    labels: str
    """Group of the run that the layer is of."""
    seed: int
    other_labels: str
    """cka: group of the other run; transplant: of the run whose initial weights the rest began with; else empty."""
    other_seed: int | None
    value: float
    """0..1; NaN: not defined."""


@dataclass(frozen=True)
class Spread:
    """Mean and spread over runs or pairs of runs."""

    mean: float
    std: float | None
    """Standard deviation (n - 1); None: of one value."""
    num: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Of values that are numbers; None without any."""
        known = [value for value in values if not math.isnan(value)]
        if not known:
            return None
        return cls(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


def spread_of(
    findings: Iterable[Finding], *, measure: str, layer: str, labels: str, other: str | None = None
) -> Spread | None:
    """Mean and spread of one cell; `other`: with runs of that group."""
    return Spread.of(
        [
            one.value
            for one in findings
            if (one.measure, one.layer, one.labels) == (measure, layer, labels)
            and (other is None or one.other_labels == other)
        ]
    )


def is_alike(pair: Spread | None, clean: Spread | None) -> bool | None:
    """Whether pairs with clean runs are as similar as clean runs are to each other; None: there is nothing to say it by."""
    if pair is None or clean is None or clean.std is None:
        return None
    variances = [one.std**2 for one in (pair, clean) if one.std is not None]
    return pair.mean >= clean.mean - SPREADS * math.sqrt(statistics.fmean(variances))


def csv_of(findings: Iterable[Finding]) -> str:
    """A line a value, unrounded."""
    text = io.StringIO()
    names = [field.name for field in fields(Finding)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for one in findings:
        values = [getattr(one, name) for name in names]
        writer.writerow(["" if value is None else value for value in values])
    return text.getvalue()
