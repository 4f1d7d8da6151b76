"""Which bands a pixel request stacks, under which short names, and how each is resampled. Pure.

A request is a tuple of layers; a layer is some bands of one stored image that are treated alike. The same
layers say what to ask for, how large the provider will count it, and where each field of the answer goes.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from builders.config import BuildConfig
from builders.records import COLLECTIONS, DYNAMIC_WORLD, S1_GRD, S2_L1C, S2_L2A, SeasonChoice
from builders.request_size import BandCost, band_groups, counted_bytes, season_groups
from noldo.grids import Grid
from noldo.legend import DYNAMIC_WORLD as DYNAMIC_WORLD_LEGEND
from noldo.products import NO_DATA_UINT16, UNLABELLED, ArraySpec

MASKED_FLOAT = -9999.0
"""What unobserved pixels of float bands are asked to be: far from any decibel or probability."""


@dataclass(frozen=True)
class BandTarget:
    """One band of a layer and where its pixels are stored."""

    source: str
    """Name in the provider's image."""
    name: str
    """Short name in the request and in the answer: the array's header has a size limit."""
    array: str
    """Name of an `ArraySpec`."""
    band: int
    """Position on the array's band axis; 0 where it has none."""


@dataclass(frozen=True)
class Layer:
    """Bands of one stored image that are treated alike."""

    position: int
    """Which choice of the read they belong to: the leading axis of the arrays."""
    product: str
    """Of `noldo.products.PRODUCTS`."""
    collection: str
    """A key of `COLLECTIONS`."""
    index: str
    """`system:index` of the image."""
    resolution_m: int
    """At which the bands are stored; the answer has pixels of 10 m."""
    dtype: str
    """In which the bands are asked for: uint8, uint16 or float32."""
    no_data: float
    """What an unobserved pixel is asked to be."""
    bilinear: bool
    """Interpolated; otherwise the nearest pixel of the image."""
    at_centres: bool
    """Sampled at the centres of the location's own pixels of `resolution_m` before it is cut into 10 m."""
    bands: tuple[BandTarget, ...]

    @property
    def asset(self) -> str:
        """Asset id of the image."""
        return f"{COLLECTIONS[self.collection]}/{self.index}"


_ROUTES: dict[str, tuple[str, str, str, float]] = {
    "s2_l1c": (S2_L1C, "c", "uint16", NO_DATA_UINT16),
    "s2_l2a": (S2_L2A, "a", "uint16", NO_DATA_UINT16),
    "s2_scl": (S2_L2A, "q", "uint8", UNLABELLED),
    "s1_grd": (S1_GRD, "s", "float32", MASKED_FLOAT),
    "dynamic_world": (DYNAMIC_WORLD, "d", "uint8", UNLABELLED),
    "dynamic_world_probability": (DYNAMIC_WORLD, "p", "float32", MASKED_FLOAT),
}
"""Product to: collection, prefix of the short names, dtype asked for, value of unobserved pixels."""


def season_layers(
    choice: SeasonChoice,
    *,
    position: int,
    specs: Sequence[ArraySpec],
    config: BuildConfig,
    at_centres: bool = False,
) -> tuple[Layer, ...]:
    """Layers of one season, in the order of the specs; a band each, until `merged`.

    Scenes of the location's zone are copied. Those of another zone are interpolated (reflectance) or taken
    by the nearest pixel (classes and their probabilities, which must keep belonging together).

    Parameters
    ----------
    position
        Of the choice among those that are read together.
    at_centres
        Sample 20 and 60 m bands at the location's own pixel centres, because they turned out not to lie on
        the Sentinel-2 lattice. Always so for scenes of another zone and without `source.native_lattice`.
    """
    return tuple(
        _layer(choice, spec, band, position=position, config=config, at_centres=at_centres)
        for spec in specs
        if has_product(choice, spec.product)
        for band in range(max(1, len(spec.bands)))
    )


def has_product(choice: SeasonChoice, product: str) -> bool:
    """Whether the provider has the scene that a product is cut from."""
    collection = _ROUTES[product][0]
    return {S2_L2A: choice.has_l2a, DYNAMIC_WORLD: choice.has_dynamic_world}.get(collection, True)


def samples_centres(choice: SeasonChoice, *, config: BuildConfig) -> bool:
    """Whether 20 and 60 m bands of this choice are sampled at pixel centres in any case."""
    return choice.off_zone or not config.source.native_lattice


def _layer(
    choice: SeasonChoice,
    spec: ArraySpec,
    band: int,
    *,
    position: int,
    config: BuildConfig,
    at_centres: bool,
) -> Layer:
    collection, prefix, dtype, no_data = _ROUTES[spec.product]
    is_reflectance = spec.product in {"s2_l1c", "s2_l2a"}
    is_s1 = spec.product == "s1_grd"
    source, suffix = _source_band(spec, band)
    return Layer(
        position=position,
        product=spec.product,
        collection=collection,
        index=choice.s1_index if is_s1 else choice.s2_index,
        resolution_m=spec.resolution_m,
        dtype=dtype,
        no_data=no_data,
        bilinear=config.pairing.s1_resampling == "bilinear" if is_s1 else is_reflectance and choice.off_zone,
        at_centres=spec.resolution_m > 10 and (at_centres or samples_centres(choice, config=config)),
        bands=(BandTarget(source, f"{prefix}{position}{suffix}", spec.name, band),),
    )


def _source_band(spec: ArraySpec, band: int) -> tuple[str, str]:
    """(name in the provider's image, end of the short name)."""
    if spec.product == "s2_scl":
        return "SCL", ""
    if spec.product == "dynamic_world":
        return "label", ""
    if spec.product == "dynamic_world_probability":
        return DYNAMIC_WORLD_LEGEND.classes[band], f"_{band}"
    return spec.bands[band], spec.bands[band]


def merged(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """The same bands in fewer layers: those of one image that are treated alike become one.

    Resolution does not part bands that are copied, so a season of Sentinel-2 L1C is one layer.
    """
    groups: dict[Layer, list[BandTarget]] = {}
    for layer in layers:
        resolution_m = layer.resolution_m if layer.at_centres else 10
        key = replace(layer, bands=(), resolution_m=resolution_m)
        groups.setdefault(key, []).extend(layer.bands)
    return tuple(replace(key, bands=tuple(bands)) for key, bands in groups.items())


_BYTES = {"uint8": 1, "uint16": 2, "float32": 4}


def costs(layers: Iterable[Layer]) -> tuple[BandCost, ...]:
    """What each band counts, in order."""
    return tuple(
        BandCost(f"{layer.product} {band.source}", _BYTES[layer.dtype])
        for layer in layers
        for band in layer.bands
    )


def request_bytes(layers: Iterable[Layer], grid: Grid) -> int:
    """Size of the request by Earth Engine's accounting, in bytes."""
    return counted_bytes(costs(layers), width=grid.size_px, height=grid.size_px)


def planned_requests(seasons: Sequence[tuple[Layer, ...]], grid: Grid) -> list[tuple[Layer, ...]]:
    """As few requests as the provider's limit allows: whole seasons together, or parts of one season.

    Parameters
    ----------
    seasons
        Layers of each season that is read, a band each (`season_layers`).

    Raises
    ------
    ConfigError
        If one band alone is too large.
    """
    largest = max(request_bytes(layers, grid) for layers in seasons)
    groups = season_groups(len(seasons), largest)
    requests: list[tuple[Layer, ...]] = []
    for group in groups:
        layers = tuple(itertools.chain.from_iterable(seasons[number] for number in group))
        if len(group) > 1:
            requests.append(layers)
            continue
        parts = band_groups(costs(layers), width=grid.size_px, height=grid.size_px)
        rest = iter(layers)
        requests += [tuple(itertools.islice(rest, len(part))) for part in parts]
    return requests


def smaller_requests(layers: tuple[Layer, ...]) -> list[tuple[Layer, ...]]:
    """Smaller requests for one that the provider found too large: a season each, or else a product each.

    Returns
    -------
    Parts in order; one part, the request itself, if it can't be cut further.
    """
    by_season = _cut(layers, key=lambda layer: layer.position)
    return by_season if len(by_season) > 1 else _cut(layers, key=lambda layer: layer.product)


def _cut(layers: tuple[Layer, ...], *, key: Callable[[Layer], object]) -> list[tuple[Layer, ...]]:
    return [tuple(group) for _, group in itertools.groupby(layers, key=key)]


def pixel_grid(grid: Grid) -> dict[str, object]:
    """The `grid` of computePixels: CRS, integer affine and size, so that nothing is rounded on the way."""
    scale_x, shear_x, translate_x, shear_y, scale_y, translate_y = grid.transform()
    return {
        "crsCode": f"EPSG:{grid.crs_epsg}",
        "dimensions": {"width": grid.size_px, "height": grid.size_px},
        "affineTransform": {
            "scaleX": scale_x,
            "shearX": shear_x,
            "translateX": translate_x,
            "shearY": shear_y,
            "scaleY": scale_y,
            "translateY": translate_y,
        },
    }
