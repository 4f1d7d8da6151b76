"""Where each product comes from, and the sentence to print beside it. The one home of these facts."""

from dataclasses import dataclass

from builders.cities import ATTRIBUTION as CITIES_ATTRIBUTION
from builders.config import BuildConfig
from builders.records import COLLECTIONS, DYNAMIC_WORLD, S1_GRD, S2_L1C, S2_L2A
from noldo.manifest import SourceRecord


@dataclass(frozen=True)
class Terms:
    """On which terms one provider gives its data."""

    licence: str
    attribution: str
    """The sentence to print beside the data; `{years}` stands for the years of the imagery, after a space."""
    url: str


COPERNICUS_TERMS = Terms(
    licence="Copernicus Sentinel data: free, full and open",
    attribution="Contains modified Copernicus Sentinel data{years}.",
    url="https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice",
)
DYNAMIC_WORLD_TERMS = Terms(
    licence="CC BY 4.0",
    attribution="This dataset is produced for the Dynamic World Project by Google in partnership with National "
    "Geographic Society and the World Resources Institute.",
    url="https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_DYNAMICWORLD_V1",
)
"""Attribution in the words that the catalogue page asks for."""

EXPERT_TERMS = Terms(
    licence="CC BY 4.0",
    attribution="Expert labels: Tait et al. (2021), Dynamic World training dataset for global land use and land cover "
    "categorization of satellite imagery, PANGAEA.",
    url="https://doi.org/10.1594/PANGAEA.933475",
)
OSM_TERMS = Terms(
    licence="ODbL 1.0",
    attribution="Land use: (c) OpenStreetMap contributors.",
    url="https://www.openstreetmap.org/copyright",
)
GEONAMES_TERMS = Terms(
    licence="CC BY 4.0", attribution=f"{CITIES_ATTRIBUTION}.", url="https://www.geonames.org/about.html"
)
SYNTHETIC_TERMS = Terms(
    licence="CC0 1.0",
    attribution="Synthetic: made by the sandbox of NoLDO-S12 builder, not observed by any satellite.",
    url="https://creativecommons.org/publicdomain/zero/1.0/",
)
CATALOGUE_TERMS = Terms(
    licence="as the scenes of the catalogue",
    attribution="Cut from the scenes of the user's own catalogue; its terms and attribution apply.",
    url="",
)

PRODUCT_COLLECTIONS = {
    "s2_l1c": COLLECTIONS[S2_L1C],
    "s2_l2a": COLLECTIONS[S2_L2A],
    "s2_scl": COLLECTIONS[S2_L2A],
    "s1_grd": COLLECTIONS[S1_GRD],
    "dynamic_world": COLLECTIONS[DYNAMIC_WORLD],
    "dynamic_world_probability": COLLECTIONS[DYNAMIC_WORLD],
    "expert": "doi:10.1594/PANGAEA.933475",
    "osm": "OpenStreetMap",
}
"""Product to the Earth Engine collection it is cut from, or to where else it comes from."""


CLEAN_LABEL_TERMS = {"expert": EXPERT_TERMS, "osm": OSM_TERMS}


def source_records(config: BuildConfig) -> tuple[SourceRecord, ...]:
    """Terms of everything that goes into a build: its products in their order, then its places."""
    # Tiles have dates of their own, which the config does not know.
    known = sorted({str(season.date.year) for season in config.seasons if season.date})
    years = f" {'-'.join(known)}" if known else ""
    found = [
        _record(product, PRODUCT_COLLECTIONS[product], _terms(config, product), years=years)
        for product, bands in config.products.selected(config.labels).items()
        if bands
    ]
    if config.subset == "nol" and config.locations.points is None and config.locations.cities is None:
        found.append(_record("locations", "GeoNames", GEONAMES_TERMS, years=years))
    return tuple(found)


def _terms(config: BuildConfig, product: str) -> Terms:
    if config.synthetic:
        return SYNTHETIC_TERMS
    if config.source.is_sandbox:
        return CATALOGUE_TERMS
    if product in CLEAN_LABEL_TERMS:
        return CLEAN_LABEL_TERMS[product]
    return DYNAMIC_WORLD_TERMS if product.startswith("dynamic_world") else COPERNICUS_TERMS


def _record(product: str, collection: str, terms: Terms, *, years: str) -> SourceRecord:
    return SourceRecord(
        product=product,
        collection=collection,
        licence=terms.licence,
        attribution=terms.attribution.format(years=years),
        url=terms.url,
    )
