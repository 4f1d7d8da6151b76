"""Classes of every label source, their names and colours, and how one legend is read in another: the one home of both.

Class ids are positions in a legend; 255 is no label. Published arrays number the same classes in other orders: they are
converted by name (`lookup_from_order`), never by number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from noldo.products import PREDICTED_LABELS, UNLABELLED

Lookup = NDArray[np.uint8]
"""(256,): what to write for each stored number; 255 where there is nothing to write."""


@dataclass(frozen=True)
class Legend:
    """Classes 0..n-1 of one label source."""

    name: str
    """Identifier, e.g. `dynamic_world`."""
    classes: tuple[str, ...]
    """Class names; the index is the class id."""
    colours: tuple[str, ...]
    """One `#rrggbb` a class."""
    source: str = ""
    """Who defined classes and colours."""

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
    source="GOOGLE/DYNAMICWORLD/V1, Earth Engine catalogue: order of the `label` band, palette",
)
"""Nine classes of Dynamic World; its expert annotations use the same."""

OSM_LAND_USE = Legend(
    name="osm_land_use",
    classes=(
        "urban_fabric",
        "industrial_commercial_transport",
        "mine_dump_construction",
        "artificial_vegetation",
        "arable_land",
        "permanent_crops",
        "pastures",
        "forests",
        "shrub_and_herbaceous",
        "open_spaces",
        "inland_wetlands",
        "coastal_wetlands",
        "water_bodies",
    ),
    colours=(
        "#e6004d",
        "#cc4df2",
        "#a600cc",
        "#ffa6ff",
        "#ffffa8",
        "#e68000",
        "#e6e64d",
        "#4dff00",
        "#ccf24d",
        "#e6e6e6",
        "#a6a6ff",
        "#e6e6ff",
        "#00ccf2",
    ),
    source="osmlanduse.org (Schultz et al. 2017, doi 10.1016/j.jag.2017.07.014), in the order of CORINE's level 2 codes "
    "1.1 1.2 1.3 1.4 2.1 2.2 2.3 3.1 3.2 3.3 4.1 4.2 5.1",
)
"""Thirteen classes of OpenStreetMap land use; CORINE's 2.4 and 5.2 are never assigned."""

DFC2020_10 = Legend(
    name="dfc2020_10",
    classes=(
        "forest",
        "shrubland",
        "savanna",
        "grassland",
        "wetlands",
        "croplands",
        "urban",
        "snow_ice",
        "barren",
        "water",
    ),
    colours=(
        "#009900",
        "#c6b044",
        "#fbff13",
        "#b6ff05",
        "#27ff87",
        "#c24f44",
        "#a5a5a5",
        "#69fff8",
        "#f9ffa4",
        "#1c0dff",
    ),
    source="IEEE GRSS Data Fusion Contest 2020: simplified IGBP scheme; the files number it 1..10",
)
"""Ten classes of DFC2020 in the order of its files, less one."""

DFC2020_8 = Legend(
    name="dfc2020_8",
    classes=("water", "forest", "grassland", "wetlands", "croplands", "shrubland", "urban", "barren"),
    colours=tuple(
        DFC2020_10.colours[DFC2020_10.classes.index(name)]
        for name in (
            "water",
            "forest",
            "grassland",
            "wetlands",
            "croplands",
            "shrubland",
            "urban",
            "barren",
        )
    ),
    source="DFC2020 without savanna and snow, which its high-resolution labels lack; order of CromSS's code, "
    "which is that of Dynamic World",
)
"""Eight classes that DFC2020's high-resolution labels hold."""

OPEN_EARTH_MAP = Legend(
    name="open_earth_map",
    classes=(
        "unknown",
        "bareland",
        "rangeland",
        "developed_space",
        "road",
        "tree",
        "water",
        "agriculture_land",
        "building",
    ),
    colours=(
        "#000000",
        "#800000",
        "#00ff24",
        "#949494",
        "#ffffff",
        "#226126",
        "#0045ff",
        "#4bb549",
        "#de1f07",
    ),
    source="OpenEarthMap (bao18/open_earth_map) and OpenEarthMap-SAR, the data of DFC2025 track 1: numbers and palette of the files",
)
"""Eight classes and `unknown`, which is a class of the files: stage 1 of the DFC2025 winner learns it, stage 2 ignores it."""

NYC_LAND_COVER = Legend(
    name="nyc_land_cover",
    classes=(
        "tree_canopy",
        "grass_shrubs",
        "bare_soil",
        "water",
        "buildings",
        "roads",
        "other_impervious",
        "railroads",
    ),
    colours=(
        "#1b7837",
        "#a6d96a",
        "#b8860b",
        "#3182bd",
        "#d7301f",
        "#525252",
        "#bdbdbd",
        "#6a3d9a",
    ),
    source="City of New York, Land Cover Raster Data (2017), which numbers them 1..8; colours are this project's",
)
"""Eight classes of New York's land cover."""

NYC_LIDAR = Legend(
    name="nyc_lidar",
    classes=("background", "trees", "buildings", "roads"),
    colours=("#f0f0f0", "#1b7837", "#d7301f", "#525252"),
    source="AutoGeoLabel (Albrecht et al., arXiv 2202.00067): labels from statistics of LiDAR; order and colours are this project's",
)
"""Three noisy classes of New York and their background."""

_FEWER_CLASSES = (
    "ours, for pretraining on fewer classes than are learnt later (Liu et al., IGARSS 2024, arXiv 2402.16164): "
    "the noisy labels of its New York data are trees, buildings, roads and background (AutoGeoLabel, arXiv 2202.00067), and "
    "Dynamic World's `built` holds buildings and roads; how that paper itself merged classes is not known here"
)

COVER_3 = Legend(
    name="cover_3",
    classes=("trees", "built", "background"),
    colours=("#397d49", "#c4281b", "#d9d9d9"),
    source=_FEWER_CLASSES,
)
"""Three classes: trees, built, and everything else."""

COVER_2 = Legend(
    name="cover_2", classes=("trees", "background"), colours=("#397d49", "#d9d9d9"), source=_FEWER_CLASSES
)
"""Two classes: trees, and everything else."""

LEGENDS: Mapping[str, Legend] = MappingProxyType(
    {
        legend.name: legend
        for legend in (
            *(DYNAMIC_WORLD, OSM_LAND_USE, DFC2020_10, DFC2020_8),
            *(OPEN_EARTH_MAP, NYC_LAND_COVER, NYC_LIDAR),
            *(COVER_3, COVER_2),
        )
    }
)
"""By name."""

LEGEND_OF_PRODUCT: Mapping[str, Legend] = MappingProxyType(
    {
        "dynamic_world": DYNAMIC_WORLD,
        "expert": DYNAMIC_WORLD,
        "osm": OSM_LAND_USE,
        "dfc2020": DFC2020_8,
        "truth": DYNAMIC_WORLD,
        **{product: LEGENDS[name] for product, name in PREDICTED_LABELS.items()},
    }
)
"""Label product (`noldo.products`) to the classes its arrays hold."""

OSM_PAPER_ORDER = (
    "urban_fabric",
    "industrial_commercial_transport",
    "arable_land",
    "artificial_vegetation",
    "forests",
    "mine_dump_construction",
    "water_bodies",
    "open_spaces",
    "pastures",
    "shrub_and_herbaceous",
    "permanent_crops",
    "inland_wetlands",
    "coastal_wetlands",
)
"""The classes 1..13 of CromSS's figure of the data set."""

OSM_CODE_ORDER = (
    "urban_fabric",
    "arable_land",
    "forests",
    "industrial_commercial_transport",
    "artificial_vegetation",
    "mine_dump_construction",
    "pastures",
    "permanent_crops",
    "water_bodies",
    "open_spaces",
    "shrub_and_herbaceous",
    "inland_wetlands",
    "coastal_wetlands",
)
"""The classes 1..13 of CromSS's code and files, which is the web map's legend from top to bottom."""


@dataclass(frozen=True)
class LegendMapping:
    """How classes of one legend are read in another. Classes that are not named have no counterpart."""

    source: Legend
    target: Legend
    pairs: Mapping[str, str]
    """Class name of `source` to class name of `target`."""
    origin: str
    """Who says so."""

    def lookup(self) -> Lookup:
        """(256,) uint8: class id of `source` to class id of `target`; 255 without a counterpart."""
        table = np.full(256, UNLABELLED, dtype=np.uint8)
        for position, name in enumerate(self.source.classes):
            if name in self.pairs:
                table[position] = self.target.classes.index(self.pairs[name])
        return table


_OSM_TO_DYNAMIC_WORLD = LegendMapping(
    OSM_LAND_USE,
    DYNAMIC_WORLD,
    MappingProxyType(
        {
            "urban_fabric": "built",
            "industrial_commercial_transport": "built",
            "mine_dump_construction": "bare",
            "artificial_vegetation": "grass",
            "arable_land": "crops",
            "permanent_crops": "crops",
            "pastures": "grass",
            "forests": "trees",
            "shrub_and_herbaceous": "shrub_and_scrub",
            "open_spaces": "bare",
            "inland_wetlands": "flooded_vegetation",
            "coastal_wetlands": "water",
            "water_bodies": "water",
        }
    ),
    origin="CromSS repository, DW-legend.xlsx, sheet 'Category matching'; snow has no counterpart",
)

_DFC2020_PAIRS = {
    "forest": "trees",
    "shrubland": "shrub_and_scrub",
    "grassland": "grass",
    "wetlands": "flooded_vegetation",
    "croplands": "crops",
    "urban": "built",
    "barren": "bare",
    "water": "water",
}


def _merged(source: Legend, target: Legend) -> LegendMapping:
    """Classes of the same name stay, all others become background."""
    pairs = {name: name if name in target.classes else "background" for name in source.classes}
    return LegendMapping(source, target, MappingProxyType(pairs), origin=f"noldo.legend, {target.name}")


MAPPINGS: Mapping[tuple[str, str], LegendMapping] = MappingProxyType(
    {
        (one.source.name, one.target.name): one
        for one in (
            _OSM_TO_DYNAMIC_WORLD,
            LegendMapping(
                DFC2020_10,
                DYNAMIC_WORLD,
                MappingProxyType({**_DFC2020_PAIRS, "snow_ice": "snow_and_ice"}),
                origin="CromSS repository, DFC2020 reader; savanna has no counterpart",
            ),
            LegendMapping(
                DFC2020_8,
                DYNAMIC_WORLD,
                MappingProxyType(_DFC2020_PAIRS),
                origin="CromSS repository, DFC2020 reader",
            ),
            LegendMapping(
                DFC2020_10,
                DFC2020_8,
                MappingProxyType({name: name for name in DFC2020_8.classes}),
                origin="IEEE GRSS Data Fusion Contest 2020: savanna and snow are not in its labels",
            ),
            _merged(DYNAMIC_WORLD, COVER_3),
            _merged(DYNAMIC_WORLD, COVER_2),
            _merged(COVER_3, COVER_2),
        )
    }
)
"""(source, target) to the mapping; from a legend to itself nothing is needed."""


def lookup_from_order(order: Sequence[str], legend: Legend, *, first: int = 1) -> Lookup:
    """How to renumber classes that were published in another order.

    Parameters
    ----------
    order
        Class names of `legend` in the published order.
    first
        Published number of the first of them; other numbers are no class.

    Returns
    -------
    (256,) uint8: published number to class id; 255 for every number that is no class.
    """
    table = np.full(256, UNLABELLED, dtype=np.uint8)
    for position, name in enumerate(order):
        table[first + position] = legend.classes.index(name)
    return table


PAPER_NOL_SHARES_PERCENT = (15.06, 14.17, 5.38, 0.27, 22.65, 9.62, 8.26, 22.40, 2.19)
"""Class shares of SSL4EO-S12@NoL as published (CromSS repository, figure of the data set)."""

PAPER_DW_SHARES_PERCENT = {
    "train": (8.70, 28.41, 3.85, 2.99, 13.58, 25.34, 4.85, 9.79, 2.48),
    "test": (11.23, 28.02, 3.28, 2.26, 25.38, 11.89, 10.49, 5.16, 2.29),
}
"""Class shares of SSL4EO-S12@DW by split, in the order of `DYNAMIC_WORLD`, as published (as above)."""

_OSM_TRAIN = (6.35, 1.57, 9.42, 0.77, 43.78, 0.35, 17.42, 6.59, 0.93, 5.02, 0.82, 6.94, 0.03)
_OSM_TEST = (7.81, 1.86, 12.45, 0.80, 39.09, 0.28, 18.01, 2.57, 1.74, 4.56, 1.04, 9.49, 0.31)


def _in_legend_order(shares: Sequence[float]) -> tuple[float, ...]:
    by_name = dict(zip(OSM_PAPER_ORDER, shares, strict=True))
    return tuple(by_name[name] for name in OSM_LAND_USE.classes)


PAPER_OSM_SHARES_PERCENT = {"train": _in_legend_order(_OSM_TRAIN), "test": _in_legend_order(_OSM_TEST)}
"""Class shares of SSL4EO-S12@OSM by split, in the order of `OSM_LAND_USE`, as published (as above)."""
