"""Class names and colours of each label source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Legend:
    """Classes 0..n-1 of one label source."""

    name: str
    """Identifier, e.g. `dynamic_world`."""
    classes: tuple[str, ...]
    """Class names; the index is the class id."""
    colours: tuple[str, ...]
    """One `#rrggbb` a class."""

    def rgb(self) -> tuple[tuple[int, int, int], ...]:
        """Colours as 0..255 triplets, in class order."""
        return tuple((int(hex_[1:3], 16), int(hex_[3:5], 16), int(hex_[5:7], 16)) for hex_ in self.colours)


DYNAMIC_WORLD = Legend(
    name="dynamic_world",
    classes=(
        "water",
        "trees",
        "grass",
        "flooded_vegetation",
        "crops",
        "shrub_and_scrub",
        "built",
        "bare",
        "snow_and_ice",
    ),
    colours=(
        "#419bdf",
        "#397d49",
        "#88b053",
        "#7a87c6",
        "#e49635",
        "#dfc35a",
        "#c4281b",
        "#a59b8f",
        "#b39fe1",
    ),
)
"""Order of the `label` band and palette of GOOGLE/DYNAMICWORLD/V1 (Earth Engine catalogue)."""

PAPER_NOL_SHARES_PERCENT = (15.06, 14.17, 5.38, 0.27, 22.65, 9.62, 8.26, 22.40, 2.19)
"""Class shares of SSL4EO-S12@NoL as published (CromSS repository, figure of the data set)."""
