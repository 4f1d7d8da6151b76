"""What each stored array means to software that knows neither Zarr nor this project: bands, units, classes, colours."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from noldo.legend import LEGEND_OF_PRODUCT, Legend
from noldo.metadata import SCENE_CLASSES
from noldo.products import S2_WAVELENGTH_NM, ArraySpec
from noldo.quantization import band_ranges

REFLECTANCE_PER_STEP = 1e-4
"""Quantised Sentinel-2 bands stand for reflectance x 10,000."""

COMMON_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "B1": "coastal",
        "B2": "blue",
        "B3": "green",
        "B4": "red",
        "B5": "rededge071",
        "B6": "rededge075",
        "B7": "rededge078",
        "B8": "nir",
        "B8A": "nir08",
        "B9": "nir09",
        "B10": "cirrus",
        "B11": "swir16",
        "B12": "swir22",
    }
)
"""Names of the STAC extension `eo` 2.0.0, by wavelength."""

SCENE_CLASSIFICATION = Legend(
    name="scene_classification",
    classes=SCENE_CLASSES,
    colours=(
        "#000000",
        "#ff0000",
        "#2f2f2f",
        "#643200",
        "#00a000",
        "#ffe65a",
        "#0000ff",
        "#808080",
        "#c0c0c0",
        "#ffffff",
        "#64c8ff",
        "#ff96ff",
    ),
    source="colours of custom-scripts.sentinel-hub.com, sentinel-2/scene-classification",
)
"""Sentinel-2's scene classification, with the colours that people know it by."""


@dataclass(frozen=True)
class BandFacts:
    """One band of a file."""

    name: str
    scale: float
    offset: float
    """Stored number x scale + offset = value in the unit of the array."""
    wavelength_um: float | None = None
    """Central wavelength in micrometres; None: not an optical band."""
    common_name: str = ""
    """As in the STAC extension `eo`."""


def bands_of(spec: ArraySpec) -> tuple[BandFacts, ...]:
    """Bands of an array, in stored order; an array without a band axis has one, named like its product.

    Quantised bytes get the scale and offset that lead back to what was measured.

    Raises
    ------
    StoreFormatError
        If the array is quantised by a rule that this noldo does not know.
    """
    names = spec.bands or (spec.product,)
    scales = [(spec.scale, 0.0)] * len(names)
    if spec.quantization:
        factor = REFLECTANCE_PER_STEP if spec.product.startswith("s2_") else 1.0
        ranges = band_ranges(spec.quantization, product=spec.product, bands=spec.bands)
        scales = [(factor * one.step, factor * one.low) for one in ranges]
    return tuple(
        BandFacts(
            name,
            scale,
            offset,
            wavelength_um=round(S2_WAVELENGTH_NM[name] / 1000, 4) if name in S2_WAVELENGTH_NM else None,
            common_name=COMMON_NAMES.get(name, ""),
        )
        for name, (scale, offset) in zip(names, scales, strict=True)
    )


def unit_of(spec: ArraySpec) -> str:
    """Unit of stored number x scale + offset; empty for classes."""
    return "" if spec.is_label else spec.unit.removesuffix(", quantised")


def legend_of(spec: ArraySpec) -> Legend | None:
    """Classes and colours of a label array; None for images."""
    if not spec.is_label:
        return None
    return LEGEND_OF_PRODUCT.get(spec.product, SCENE_CLASSIFICATION)
