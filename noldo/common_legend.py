"""One legend read in another: labels that are learnt in other classes, and products that are compared in common ones."""

from dataclasses import dataclass

import numpy as np

from noldo.errors import ConfigError, StoreError
from noldo.legend import LEGEND_OF_PRODUCT, LEGENDS, MAPPINGS, Legend, Lookup
from noldo.products import UNLABELLED


@dataclass(frozen=True)
class CommonLegend:
    """The classes in which two label products are compared."""

    legend: Legend
    reference: Lookup
    """(256,) stored number of the reference to class id; 255 if there is no class that both products can give."""
    other: Lookup
    """The same of the other product."""
    how: str
    """What was mapped, and who says so, in a few words."""


def lookup_into(source: Legend, target: str, *, where: str) -> Lookup:
    """How stored class ids of a legend are read in another one.

    Parameters
    ----------
    target
        Name of a legend.

    Returns
    -------
    (256,) uint8 class id of the target; 255 for classes without a counterpart. Numbers that are no class of the source
    become none of the target, so that they are still found to be odd.

    Raises
    ------
    ConfigError
        If there is no such legend, or no mapping to it is known.
    """
    if target not in LEGENDS:
        raise ConfigError(f"legend {target!r}: expected one of {', '.join(LEGENDS)}")
    table, _ = _read_in(source, LEGENDS[target])
    if table is None:
        known = [name for start, name in MAPPINGS if start == source.name]
        raise ConfigError(
            f"{where}: labels have classes of {source.name}, and no mapping to {target} is known; they can be read as "
            f"{', '.join([source.name, *known])}"
        )
    numbers = np.arange(UNLABELLED)
    is_odd = numbers >= len(source.classes)
    odd = np.where(numbers >= len(LEGENDS[target].classes), numbers, UNLABELLED - 1)
    table[:UNLABELLED][is_odd] = odd[is_odd]
    return table


def common_legend(reference: str, other: str) -> CommonLegend:
    """Classes in which two label products can be compared.

    That of the one if the other has a mapping to it, else a third one that both have a mapping to. A class that the
    other product can never give has no counterpart.

    Raises
    ------
    StoreError
        If no mapping is known.
    """
    first, second = LEGEND_OF_PRODUCT[reference], LEGEND_OF_PRODUCT[other]
    for legend in (second, first, *LEGENDS.values()):
        found = [_read_in(one, legend) for one in (first, second)]
        if all(lookup is not None for lookup, _ in found):
            lookups = [lookup for lookup, _ in found if lookup is not None]
            both = set(lookups[0].tolist()) & set(lookups[1].tolist())
            mapped = [np.where(np.isin(one, list(both)), one, UNLABELLED).astype(np.uint8) for one in lookups]
            how = "; ".join(dict.fromkeys(text for _, text in found if text)) or "the legend of both"
            return CommonLegend(legend, mapped[0], mapped[1], how)
    raise StoreError(
        f"{reference} has classes of {first.name}, {other} of {second.name}, and no mapping brings them together; "
        f"known are {', '.join(f'{source} to {target}' for source, target in MAPPINGS)}"
    )


def _read_in(source: Legend, target: Legend) -> tuple[Lookup | None, str]:
    """Lookup of one legend in another, and how; none if there is no mapping."""
    if source == target:
        table = np.full(256, UNLABELLED, dtype=np.uint8)
        table[: len(source.classes)] = np.arange(len(source.classes))
        return table, ""
    mapping = MAPPINGS.get((source.name, target.name))
    if mapping is None:
        return None, ""
    return mapping.lookup(), f"{source.name} read as {target.name} ({mapping.origin})"
