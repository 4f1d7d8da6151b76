"""Tags that mappers give to land of the synthetic Earth, and the land-use class that each of them means.

The classes are those of HeiGIT's ohsome quality indicators ("Land Cover Thematic Accuracy", after Schultz et al. 2017,
doi 10.1016/j.jag.2017.07.014), as far as the tags are used here. An object with two listed tags has two of one class,
so no order of keys is needed to read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType

from noldo.legend import OSM_LAND_USE
from sandbox.planet.truth import BARE, BUILT, CROPS, FLOODED, GRASS, SHRUB, SNOW, TREES, WATER

CLASS_OF_TAG: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("landuse", "residential"): "urban_fabric",
        ("landuse", "retail"): "urban_fabric",
        ("landuse", "industrial"): "industrial_commercial_transport",
        ("landuse", "commercial"): "industrial_commercial_transport",
        ("landuse", "railway"): "industrial_commercial_transport",
        ("landuse", "quarry"): "mine_dump_construction",
        ("landuse", "landfill"): "mine_dump_construction",
        ("landuse", "recreation_ground"): "artificial_vegetation",
        ("landuse", "cemetery"): "artificial_vegetation",
        ("landuse", "village_green"): "artificial_vegetation",
        ("leisure", "park"): "artificial_vegetation",
        ("leisure", "pitch"): "artificial_vegetation",
        ("leisure", "golf_course"): "artificial_vegetation",
        ("landuse", "farmland"): "arable_land",
        ("landuse", "farmyard"): "arable_land",
        ("landuse", "greenhouse_horticulture"): "arable_land",
        ("landuse", "orchard"): "permanent_crops",
        ("landuse", "vineyard"): "permanent_crops",
        ("landuse", "meadow"): "pastures",
        ("landuse", "forest"): "forests",
        ("natural", "wood"): "forests",
        ("natural", "scrub"): "shrub_and_herbaceous",
        ("natural", "heath"): "shrub_and_herbaceous",
        ("natural", "bare_rock"): "open_spaces",
        ("natural", "scree"): "open_spaces",
        ("natural", "sand"): "open_spaces",
        ("natural", "glacier"): "open_spaces",
        ("natural", "wetland"): "inland_wetlands",
        ("landuse", "salt_pond"): "coastal_wetlands",
        ("natural", "water"): "water_bodies",
        ("landuse", "reservoir"): "water_bodies",
        ("landuse", "basin"): "water_bodies",
    }
)
"""(key, value) to the class of `noldo.legend.OSM_LAND_USE`; areas with no tag of this table have no class."""


@dataclass(frozen=True)
class Use:
    """What mappers call a piece of land."""

    tags: Mapping[str, str]
    class_id: int
    """Of `noldo.legend.OSM_LAND_USE`."""


def class_of(tags: Mapping[str, str]) -> int | None:
    """Class id of an area's tags; None without a listed one."""
    names = {CLASS_OF_TAG[tag] for tag in tags.items() if tag in CLASS_OF_TAG}
    assert len(names) <= 1, f"{dict(tags)}: tags of two classes"
    return OSM_LAND_USE.classes.index(names.pop()) if names else None


def _choice(*weighted: tuple[int, str]) -> tuple[tuple[float, Use], ...]:
    """Uses with the upper ends of their shares, from weights and tags written as `key=value key=value`."""
    ends = accumulate(weight for weight, _ in weighted)
    total = sum(weight for weight, _ in weighted)
    found = []
    for end, (_, text) in zip(ends, weighted, strict=True):
        tags = dict(word.split("=") for word in text.split())
        class_id = class_of(tags)
        assert class_id is not None, f"{text}: no tag of a class"
        found.append((end / total, Use(MappingProxyType(tags), class_id)))
    return tuple(found)


_CHOICES = {
    WATER: _choice(
        (66, "natural=water"),
        (20, "natural=water landuse=reservoir"),
        (6, "landuse=reservoir"),
        (5, "landuse=basin"),
        (3, "landuse=salt_pond"),
    ),
    TREES: _choice((55, "landuse=forest"), (35, "natural=wood"), (10, "landuse=forest natural=wood")),
    GRASS: _choice((100, "landuse=meadow")),
    FLOODED: _choice(
        (50, "natural=wetland"),
        (30, "natural=wetland wetland=marsh"),
        (20, "natural=wetland wetland=reedbed"),
    ),
    CROPS: _choice(
        (82, "landuse=farmland"),
        (7, "landuse=orchard"),
        (6, "landuse=vineyard"),
        (3, "landuse=farmyard"),
        (2, "landuse=greenhouse_horticulture"),
    ),
    SHRUB: _choice((65, "natural=scrub"), (35, "natural=heath")),
    BUILT: _choice(
        (62, "landuse=residential"),
        (16, "landuse=industrial"),
        (9, "landuse=commercial"),
        (8, "landuse=retail"),
        (5, "landuse=railway"),
    ),
    BARE: _choice(
        (40, "natural=bare_rock"),
        (20, "natural=sand"),
        (15, "natural=scree"),
        (20, "landuse=quarry"),
        (5, "landuse=landfill"),
    ),
    SNOW: _choice((100, "natural=glacier")),
}
_TOWN_GRASS = _choice(
    (30, "leisure=park"),
    (20, "landuse=recreation_ground"),
    (15, "landuse=recreation_ground leisure=pitch"),
    (15, "landuse=cemetery"),
    (10, "landuse=village_green"),
    (10, "leisure=golf_course"),
)


def use_of(class_id: int, *, draw: float, beside_built: bool) -> Use:
    """What a mapper calls land of a class of Dynamic World.

    Parameters
    ----------
    class_id
        Of `noldo.legend.DYNAMIC_WORLD`.
    draw
        A random number in 0..1.
    beside_built
        Whether it touches built land: grass is then a park or the like.
    """
    choice = _TOWN_GRASS if class_id == GRASS and beside_built else _CHOICES[class_id]
    return next(use for end, use in choice if draw < end or end == 1.0)
