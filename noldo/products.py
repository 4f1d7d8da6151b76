"""Products, bands and arrays: the one home of band order, dtypes, no-data values and units.

A *product* is what a provider offers (Sentinel-2 L1C). It is stored as one *array* per native
resolution, so that nothing is resampled: 264 px of 10 m are 132 px of 20 m and 44 px of 60 m.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

FORMAT_VERSION = 1
"""Version of the store format; raised when old readers would misread new stores."""

S2_RESOLUTION_M: Mapping[str, int] = MappingProxyType(
    {
        "B1": 60,
        "B2": 10,
        "B3": 10,
        "B4": 10,
        "B5": 20,
        "B6": 20,
        "B7": 20,
        "B8": 10,
        "B8A": 20,
        "B9": 60,
        "B10": 60,
        "B11": 20,
        "B12": 20,
    }
)
"""Ground sampling distance of each Sentinel-2 MSI band in metres, in spectral (file) order."""

S2_WAVELENGTH_NM: Mapping[str, float] = MappingProxyType(
    {
        "B1": 442.7,
        "B2": 492.4,
        "B3": 559.8,
        "B4": 664.6,
        "B5": 704.1,
        "B6": 740.5,
        "B7": 782.8,
        "B8": 832.8,
        "B8A": 864.7,
        "B9": 945.1,
        "B10": 1373.5,
        "B11": 1613.7,
        "B12": 2202.4,
    }
)
"""Central wavelength of Sentinel-2A in nanometres (ESA, Sentinel-2 MSI spectral response)."""

S2_L1C_BANDS: tuple[str, ...] = tuple(S2_RESOLUTION_M)
"""The 13 bands of top-of-atmosphere reflectance, in the order of the published CromSS arrays."""

S2_L2A_BANDS: tuple[str, ...] = tuple(band for band in S2_L1C_BANDS if band != "B10")
"""The 12 bands of surface reflectance: the cirrus band B10 does not exist there."""

S1_BANDS = ("VV", "VH")
"""Polarisations of Sentinel-1 IW over land."""

S2_NINE_BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B11", "B12")
"""The nine inputs of Dynamic World, CromSS's `9` band choice (B8 is in, B8A is not)."""

S2_RGB_BANDS = ("B4", "B3", "B2")
"""Red, green, blue: CromSS's `3` band choice."""

SUBSETS: tuple[str, ...] = ("nol", "dw", "osm")
"""Subsets of a build, in the order in which they are built: @OSM takes its images from @DW."""

PRODUCTS = (
    "s2_l1c",
    "s2_l2a",
    "s2_scl",
    "s1_grd",
    "dynamic_world",
    "dynamic_world_probability",
    "expert",
    "osm",
    "dfc2020",
    "truth",
    "pseudo_dynamic_world",
    "pseudo_dynamic_world_probability",
    "pseudo_osm",
    "pseudo_osm_probability",
    "pseudo_dfc2020",
    "pseudo_dfc2020_probability",
)
"""All products a store may hold, in the order their arrays are written."""

CLEAN_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "expert": "annotations by people, classes of Dynamic World",
        "osm": "OpenStreetMap land use, classes of osmlanduse.org",
        "dfc2020": "labels of the Data Fusion Contest 2020",
        "truth": "what the synthetic Earth is made of, classes of Dynamic World",
    }
)
"""Label products that no satellite made: a location has one map of them. `noldo.legend` has the classes."""

PREDICTED_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "pseudo_dynamic_world": "dynamic_world",
        "pseudo_osm": "osm_land_use",
        "pseudo_dfc2020": "dfc2020_8",
    }
)
"""Label products that networks predicted (`noldo pseudo-label`), to the name of their legend."""


def soft_product(product: str) -> str:
    """Product of the probabilities that labels were chosen by, e.g. `pseudo_osm_probability`; its bands are the classes."""
    return f"{product}_probability"


NUM_DYNAMIC_WORLD_CLASSES = 9
UNLABELLED = 255
"""Class id of a pixel without a label, in every label array (`ignore_index`)."""

NO_DATA_UINT16 = 65535
NO_DATA_DB = -32768
DB_PER_STEP = 0.01
"""Sentinel-1 is stored in hundredths of a decibel."""

PROBABILITY_STEPS = 254
"""Probabilities are stored as round(p x 254); 255 is no data."""


@dataclass(frozen=True)
class ArraySpec:
    """One array of the store. Axes are (location, season, band?, y, x)."""

    name: str
    """Name in the Zarr group, e.g. `s2_l1c_10m`."""
    product: str
    """One of `PRODUCTS`."""
    resolution_m: int
    """Pixel size in metres: 10, 20 or 60."""
    bands: tuple[str, ...]
    """Names along the band axis; empty where the array has no band axis."""
    dtype: str
    """NumPy name of the dtype as stored."""
    no_data: int
    """Value of a pixel that was not observed or not labelled."""
    is_label: bool
    """Labels: all seasons in one inner chunk, plain zstd. Images: a chunk a season, blosc."""
    unit: str
    """What a stored number means, for people."""
    scale: float
    """Stored number x scale = value in `unit`; 1.0 for classes and for quantised bands."""
    quantization: str = ""
    """Imported data only: name of the rule of `noldo.quantization` that made the numbers; empty: as delivered."""
    is_native: bool = True
    """False for imported bands that were published on a finer grid than they were measured on."""

    @property
    def has_no_data(self) -> bool:
        """Whether `no_data` means that; quantised bands use every number, and it only fills rows that were not kept."""
        return not self.quantization

    def side_px(self, patch_size_px: int) -> int:
        """Pixels along one side, for a patch of `patch_size_px` pixels of 10 m."""
        return patch_size_px * 10 // self.resolution_m

    def item_shape(self, num_seasons: int, patch_size_px: int) -> tuple[int, ...]:
        """Shape of one location: (season, band?, y, x)."""
        side = self.side_px(patch_size_px)
        bands = (len(self.bands),) if self.bands else ()
        return (num_seasons, *bands, side, side)


def _reflectance(product: str, resolution_m: int, bands: tuple[str, ...]) -> ArraySpec:
    kind = "top-of-atmosphere" if product == "s2_l1c" else "surface"
    return ArraySpec(
        name=f"{product}_{resolution_m}m",
        product=product,
        resolution_m=resolution_m,
        bands=bands,
        dtype="uint16",
        no_data=NO_DATA_UINT16,
        is_label=False,
        unit=f"{kind} reflectance",
        scale=1e-4,
    )


def _probability(product: str, classes: tuple[str, ...]) -> ArraySpec:
    return ArraySpec(
        f"{product}_10m", product, 10, classes, "uint8", 255, False, "probability", 1 / PROBABILITY_STEPS
    )


def published_spec(product: str, bands: tuple[str, ...], *, quantization: str = "") -> ArraySpec:
    """The array of imported bands that were published on one grid of 10 m, quantised to bytes or not.

    Their names say so: `s2_l1c_resampled_10m`, `s2_l1c_uint8_10m`. Bands at native resolution go into the arrays
    of `array_specs`.

    Parameters
    ----------
    product
        `s2_l1c`, `s2_l2a` or `s1_grd`.
    bands
        In the order of the band axis.
    quantization
        Name of a rule of `noldo.quantization`; empty: numbers as in the arrays of `array_specs`.
    """
    is_s1 = product == "s1_grd"
    native = next(iter(array_specs({product: bands})))
    if quantization:
        return replace(
            native,
            name=f"{product}_uint8_10m",
            bands=bands,
            resolution_m=10,
            dtype="uint8",
            no_data=0,
            unit=f"{native.unit}, quantised",
            scale=1.0,
            quantization=quantization,
            is_native=is_s1,
        )
    return replace(native, name=f"{product}_resampled_10m", bands=bands, resolution_m=10, is_native=False)


def array_specs(products: Mapping[str, tuple[str, ...]]) -> tuple[ArraySpec, ...]:
    """Arrays that hold the selected products.

    Parameters
    ----------
    products
        Product name to its selected bands. Products without a band axis carry one name of any
        kind; a product that is absent or has no bands gets no array.

    Returns
    -------
    Specs in the fixed order of `PRODUCTS`, fine resolution first.
    """
    specs: list[ArraySpec] = []
    for product in ("s2_l1c", "s2_l2a"):
        chosen = set(products.get(product, ()))
        for resolution_m in (10, 20, 60):
            group = tuple(
                band
                for band, native_m in S2_RESOLUTION_M.items()
                if native_m == resolution_m and band in chosen
            )
            if group:
                specs.append(_reflectance(product, resolution_m, group))
    if products.get("s2_scl"):
        specs.append(ArraySpec("s2_scl_20m", "s2_scl", 20, (), "uint8", 255, True, "scene class", 1.0))
    if bands := products.get("s1_grd"):
        ordered = tuple(band for band in S1_BANDS if band in bands)
        specs.append(
            ArraySpec("s1_grd_10m", "s1_grd", 10, ordered, "int16", NO_DATA_DB, False, "dB", DB_PER_STEP)
        )
    if products.get("dynamic_world"):
        specs.append(
            ArraySpec(
                "dynamic_world_10m",
                "dynamic_world",
                10,
                (),
                "uint8",
                UNLABELLED,
                True,
                "class",
                1.0,
            )
        )
    if products.get("dynamic_world_probability"):
        names = tuple(f"p{index}" for index in range(NUM_DYNAMIC_WORLD_CLASSES))
        specs.append(_probability("dynamic_world_probability", names))
    for product in (*CLEAN_LABELS, *PREDICTED_LABELS):
        if products.get(product):
            name = f"{product}_10m"
            specs.append(ArraySpec(name, product, 10, (), "uint8", UNLABELLED, True, "class", 1.0))
        if product in PREDICTED_LABELS and (classes := products.get(soft_product(product))):
            specs.append(_probability(soft_product(product), classes))
    return tuple(specs)
