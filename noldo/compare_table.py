"""A comparison of two label sources as text for people, and as a table for spreadsheets and scripts."""

import csv
import io
from pathlib import Path

from noldo.atomic import atomic_file
from noldo.confusion import LabelComparison

CSV_COLUMNS = ("reference_id", "reference", "other_id", "other", "pixels", "probability")
"""One line a pair of classes; `probability` is T, empty where the reference never gives the class."""


def to_csv(comparison: LabelComparison) -> bytes:
    """All pairs of classes, one a line, in the order of the legend."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    names = comparison.legend.classes
    for i, (counts, row) in enumerate(zip(comparison.counts, comparison.noise_matrix, strict=True)):
        for j, pixels in enumerate(counts):
            writer.writerow([i, names[i], j, names[j], pixels, "" if row is None else repr(row[j])])
    return text.getvalue().encode()


def write_csv(path: Path, comparison: LabelComparison) -> None:
    """Write the CSV.

    Raises
    ------
    StoreError
        If it can't be written.
    """
    with atomic_file(path) as file:
        file.write(to_csv(comparison))


def render(comparison: LabelComparison) -> str:
    """The comparison as lines of text: what was compared, T in percent, and what follows from it."""
    return "\n".join(
        [_title(comparison), *_facts(comparison), "", *_matrix(comparison), "", *_conditions(comparison)]
    )


def _title(comparison: LabelComparison) -> str:
    split = f"split {comparison.split}" if comparison.split else "all splits"
    return (
        f"{comparison.other} as {comparison.reference} sees it: {comparison.num_locations:,} locations, {split}, "
        f"{', '.join(comparison.seasons)}{'  ** synthetic: not real imagery **' if comparison.synthetic else ''}"
    )


def _facts(comparison: LabelComparison) -> list[str]:
    kappa = "undefined" if comparison.kappa is None else f"{comparison.kappa:.3f}"
    named = ", ".join(
        f"{product} {name} {pixels:,}"
        for product, classes in comparison.no_counterpart.items()
        for name, pixels in classes.items()
    )
    facts = [
        ("classes", f"{comparison.legend.name}: {comparison.legend_mapping}"),
        ("compared", f"{comparison.compared_pixels:,} pixels that both label"),
        (
            "left out",
            f"{comparison.reference_only_pixels:,} only {comparison.reference}, "
            f"{comparison.other_only_pixels:,} only {comparison.other}, {comparison.unlabelled_pixels:,} neither",
        ),
        ("", f"{comparison.no_counterpart_pixels:,} without counterpart{f' ({named})' if named else ''}"),
        ("noise", f"{100 * comparison.noise_rate:.2f} %, Cohen's kappa {kappa}"),
    ]
    return [f"  {name:<9} {text}" for name, text in facts]


def _matrix(comparison: LabelComparison) -> list[str]:
    names = comparison.legend.classes
    width = max(len(name) for name in names) + 4
    lines = [
        f"T in percent: row {comparison.reference}, column {comparison.other}",
        f"{'':<{width}}{'pixels':>13}"
        + "".join(f"{i:>6}" for i in range(len(names)))
        + "   confirmed    IoU",
    ]
    for i, (one, row) in enumerate(zip(comparison.classes, comparison.noise_matrix, strict=True)):
        cells = ["-"] * len(names) if row is None else [_percent(share) if share else "." for share in row]
        lines.append(
            f"{f'{i:>2} {one.name}':<{width}}{one.reference_pixels:>13,}"
            + "".join(f"{cell:>6}" for cell in cells)
            + f"{_percent(one.confirmed):>12}{_percent(one.iou):>7}"
        )
    return lines


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _conditions(comparison: LabelComparison) -> list[str]:
    found = comparison.conditioning
    condition = "infinite (singular)" if found.condition_number is None else f"{found.condition_number:.4g}"
    absent = ", ".join(comparison.absent_classes)
    lines = [
        f"T over {len(found.classes)} classes: condition number {condition}, smallest singular value "
        f"{found.smallest_singular_value:.4g}, determinant {found.determinant:.4g}, "
        f"{'' if found.diagonally_dominant else 'not '}diagonally dominant",
    ]
    if absent:
        lines.append(f"Never in {comparison.reference}, so their rows of T are unknown: {absent}")
    return [*lines, found.verdict]
