"""Numbers of published label files, and the classes they stand for.

Classes are converted by name. Numbers that mean no class become 255 and are counted by what they mean; a number that means
nothing makes the item bad, unless the data set is known to hold such.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from builders.import_items import BadItemError
from noldo.legend import (
    DFC2020_8,
    DFC2020_10,
    DYNAMIC_WORLD,
    MAPPINGS,
    OSM_CODE_ORDER,
    OSM_LAND_USE,
    Lookup,
    lookup_from_order,
)
from noldo.products import UNLABELLED

UNMARKED = 0
CLOUD = 10
"""Numbers of expert labels that mean no class (PANGAEA 933475); 1..9 are the classes of Dynamic World."""

EXPERT_BAND = "lulc"
"""Band of the experts' consensus in the validation tiles, beside the model's own `label` (Zenodo 4766508)."""


@dataclass(frozen=True)
class PublishedLabels:
    """How one kind of label is numbered."""

    lookup: Lookup
    """(256,) published number to class id; 255 is none."""
    without: Mapping[int, str]
    """Published numbers that mean no class, to what they mean."""
    others: str = ""
    """What all other numbers mean; empty: they make the item bad."""

    def classes(self, published: np.ndarray, *, where: str) -> tuple[np.ndarray, dict[str, int]]:
        """Class ids, and pixels by what made them 255; the unlabelled ones of everyday are not counted.

        Raises
        ------
        BadItemError
            If a number means nothing.
        """
        if published.dtype.kind not in "iu":
            raise BadItemError("wrong type", f"{where} holds {published.dtype}, expected whole numbers")
        inside = (published >= 0) & (published <= 255)
        numbers = np.where(inside, published, 0).astype(np.uint8)
        classes: np.ndarray = np.where(inside, self.lookup[numbers], UNLABELLED).astype(np.uint8)
        counted: dict[str, int] = {}
        explained = classes != UNLABELLED
        for number, meaning in self.without.items():
            found = inside & (numbers == number)
            explained |= found
            if meaning:
                counted[meaning] = int(found.sum())
        strange = ~explained
        if strange.any() and not self.others:
            raise BadItemError("unknown class", f"{where} has number {int(published[strange][0])}")
        if self.others:
            counted[self.others] = int(strange.sum())
        return classes, counted


def expert_labels() -> PublishedLabels:
    """Of Dynamic World's experts: 1..9 are its classes, 0 is unmarked, 10 cloud; 255 occurs where tiles were padded."""
    lookup = lookup_from_order(DYNAMIC_WORLD.classes, DYNAMIC_WORLD)
    return PublishedLabels(
        lookup, {UNMARKED: "", UNLABELLED: "", CLOUD: "Expert labels that say cloud, stored as 255"}
    )


def osm_labels() -> PublishedLabels:
    """Of osmlanduse.org by CromSS: 1..13 in the order of its code, 0 is none."""
    return PublishedLabels(lookup_from_order(OSM_CODE_ORDER, OSM_LAND_USE), {0: "", UNLABELLED: ""})


DFC2020_SAVANNA = "DFC2020 labels that say savanna, stored as 255"
DFC2020_SNOW = "DFC2020 labels that say snow, stored as 255"
DFC2020_OTHER = "DFC2020 labels with a number that is no class, stored as 255"


def dfc2020_labels() -> PublishedLabels:
    """Of DFC2020: 1..10 in the order of its legend, of which eight classes occur in its high-resolution labels."""
    ten = lookup_from_order(DFC2020_10.classes, DFC2020_10)
    eight = MAPPINGS[DFC2020_10.name, DFC2020_8.name].lookup()
    classes = DFC2020_10.classes
    without = {classes.index("savanna") + 1: DFC2020_SAVANNA, classes.index("snow_ice") + 1: DFC2020_SNOW}
    return PublishedLabels(eight[ten], without, others=DFC2020_OTHER)


def dfc2020_of_cromss() -> PublishedLabels:
    """Of DFC2020 in CromSS's LMDB: its eight classes in their order; 8 is everything else."""
    return PublishedLabels(lookup_from_order(DFC2020_8.classes, DFC2020_8, first=0), {}, others=DFC2020_OTHER)
