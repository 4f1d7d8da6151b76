"""Where each product comes from, and the sentence to print beside it."""

from builders.config import BuildConfig
from builders.records import COLLECTIONS, DYNAMIC_WORLD, S1_GRD, S2_L1C, S2_L2A
from noldo.manifest import SourceRecord

COPERNICUS_TERMS = "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice"
DYNAMIC_WORLD_TERMS = "https://developers.google.com/earth-engine/datasets/catalog/GOOGLE_DYNAMICWORLD_V1"
GEONAMES_TERMS = "https://www.geonames.org/about.html"


def source_records(config: BuildConfig) -> tuple[SourceRecord, ...]:
    """Terms of everything that goes into a build, in the order of its products."""
    selected = {product for product, bands in config.products.selected().items() if bands}
    found = [
        _product(config, product, collection)
        for product, collection in (
            ("s2_l1c", COLLECTIONS[S2_L1C]),
            ("s2_l2a", COLLECTIONS[S2_L2A]),
            ("s2_scl", COLLECTIONS[S2_L2A]),
            ("s1_grd", COLLECTIONS[S1_GRD]),
            ("dynamic_world", COLLECTIONS[DYNAMIC_WORLD]),
            ("dynamic_world_probability", COLLECTIONS[DYNAMIC_WORLD]),
        )
        if product in selected
    ]
    if config.locations.points is None and config.locations.cities is None:
        found.append(
            SourceRecord(
                product="locations",
                collection="GeoNames",
                licence="CC BY 4.0",
                attribution="City coordinates and populations by GeoNames.",
                url=GEONAMES_TERMS,
            )
        )
    return tuple(found)


def _product(config: BuildConfig, product: str, collection: str) -> SourceRecord:
    if config.synthetic:
        return SourceRecord(
            product=product,
            collection=collection,
            licence="CC0 1.0",
            attribution="Synthetic: made by the sandbox of NoLDO-S12 builder, not observed by any satellite.",
            url="https://creativecommons.org/publicdomain/zero/1.0/",
        )
    if product.startswith("dynamic_world"):
        return SourceRecord(
            product=product,
            collection=collection,
            licence="CC BY 4.0",
            attribution="Dynamic World by Google and the World Resources Institute (Brown et al. 2022); contains "
            "modified Copernicus Sentinel data.",
            url=DYNAMIC_WORLD_TERMS,
        )
    years = "-".join(sorted({str(season.date.year) for season in config.seasons}))
    return SourceRecord(
        product=product,
        collection=collection,
        licence="Copernicus Sentinel data: free, full and open",
        attribution=f"Contains modified Copernicus Sentinel data {years}.",
        url=COPERNICUS_TERMS,
    )
