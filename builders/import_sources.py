"""Terms of published data sets: where they come from, and the sentence to print beside them. The one home of these facts."""

from dataclasses import replace

from builders.licences import CLEAN_LABEL_TERMS, COPERNICUS_TERMS, DYNAMIC_WORLD_TERMS, OSM_TERMS
from noldo.manifest import SourceRecord

SSL4EO_V1 = "SSL4EO-S12 v1.0"
SSL4EO_V11 = "SSL4EO-S12 v1.1"
NOLDO = "NoLDO-S12"
DFC2020 = "DFC2020"

_COPERNICUS = COPERNICUS_TERMS.attribution.format(years="")

_DATA_SETS = {
    SSL4EO_V1: (
        "CC BY 4.0",
        "SSL4EO-S12: Wang et al. (2023), IEEE Geoscience and Remote Sensing Magazine, doi 10.1109/MGRS.2023.3281651.",
        "https://github.com/zhu-xlab/SSL4EO-S12",
    ),
    SSL4EO_V11: (
        "CC BY 4.0",
        "SSL4EO-S12 v1.1: Blumenstiel et al. (2025), arXiv 2503.00168.",
        "https://github.com/DLR-MF-DAS/SSL4EO-S12-v1.1",
    ),
    NOLDO: (
        "as stated by the authors of NoLDO-S12",
        "NoLDO-S12: Liu et al. (2025), IEEE TGRS, doi 10.1109/TGRS.2025.3552642.",
        "https://huggingface.co/datasets/vikki23/NoLDO-S12",
    ),
    DFC2020: (
        "as stated at IEEE DataPort",
        "Data Fusion Contest 2020: Schmitt et al., IEEE DataPort, doi 10.21227/rha7-m332; images as in SEN12MS.",
        "https://ieee-dataport.org/competitions/2020-ieee-grss-data-fusion-contest",
    ),
}
"""Licence, attribution and page. Where a data set states no licence with its files, its page decides."""

_ORIGINAL_LABELS = {
    "dynamic_world": DYNAMIC_WORLD_TERMS,
    **CLEAN_LABEL_TERMS,
    "osm": replace(
        OSM_TERMS, attribution=f"{OSM_TERMS.attribution.removesuffix('.')}, classified by osmlanduse.org."
    ),
}


def source_record(product: str, data_set: str) -> SourceRecord:
    """Terms of one product of a published data set, those of what it was made from included."""
    licence, attribution, url = _DATA_SETS[data_set]
    if product in _ORIGINAL_LABELS:
        own = _ORIGINAL_LABELS[product]
        licence = licence if licence == own.licence else f"{licence}; {own.licence}"
        attribution = f"{attribution} {own.attribution}"
    elif not product.startswith("dfc2020"):
        licence = f"{licence}; {COPERNICUS_TERMS.licence}"
        attribution = f"{attribution} {_COPERNICUS}"
    return SourceRecord(
        product=product, collection=data_set, licence=licence, attribution=attribution, url=url
    )
