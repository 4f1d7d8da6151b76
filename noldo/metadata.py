"""The `zarr.json` documents of a store: what xarray and every other Zarr v3 reader sees.

Written by hand rather than by zarr-python, so that their bytes do not change with its version.

Conventions
-----------
Dimensions: `location season band_<array> y_<n>m x_<n>m`. `y_10m`, `x_10m`, ... are metres from the outer
upper-left corner of the patch to the pixel centre, so that easting = x_ul + x_10m and northing =
y_ul + y_10m. `season` and `band_<array>` are positions whose names stand in `flag_meanings`: strings
are not stored, because not every reader knows them.

Values stay integers for every reader: the step is called `scale`, not `scale_factor`, and images and
labels have no `_FillValue`; what is no data is Zarr's `fill_value`, and the attribute `no_data`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from noldo.codecs import LABEL_CODEC, ChunkCodec, CodecName, image_codec
from noldo.legend import LEGEND_OF_PRODUCT
from noldo.products import FORMAT_VERSION, S2_RESOLUTION_M, S2_WAVELENGTH_NM, ArraySpec
from noldo.quantization import band_ranges
from noldo.rows import ROW_ARRAYS, RowArray
from noldo.shards import ShardGrid

if TYPE_CHECKING:
    from noldo.store import StoreLayout

Document = dict[str, Any]

SCENE_CLASSES = (
    "no_data",
    "saturated_or_defective",
    "dark_area",
    "cloud_shadow",
    "vegetation",
    "not_vegetated",
    "water",
    "unclassified",
    "cloud_medium_probability",
    "cloud_high_probability",
    "thin_cirrus",
    "snow_or_ice",
)
"""Values 0..11 of the scene classification (ESA, Sentinel-2 L2A product specification, SCL)."""


@dataclass(frozen=True)
class Coordinate:
    """One axis: its values are part of the format."""

    name: str
    values: np.ndarray
    """(length,), int32."""
    attributes: Document


def grid_of(spec: ArraySpec, layout: "StoreLayout") -> ShardGrid:
    """How the shards of an array are cut."""
    num_seasons = len(layout.season_names)
    return ShardGrid(
        num_rows=layout.locations_per_shard,
        num_seasons=num_seasons,
        item_shape=spec.item_shape(num_seasons, layout.patch_size_px),
        seasons_per_chunk=num_seasons if spec.is_label else 1,
    )


def codec_of(spec: ArraySpec, codec: CodecName) -> ChunkCodec:
    """How the chunks of an array are compressed."""
    return LABEL_CODEC if spec.is_label else image_codec(codec, dtype=spec.dtype)


def dimensions_of(spec: ArraySpec) -> tuple[str, ...]:
    """Names of the axes."""
    band = (f"band_{spec.name}",) if spec.bands else ()
    return ("location", "season", *band, f"y_{spec.resolution_m}m", f"x_{spec.resolution_m}m")


def coordinates(layout: "StoreLayout") -> tuple[Coordinate, ...]:
    """Every axis that has values, each once."""
    found = [_names_axis("season", layout.season_names, "season")]
    for resolution_m in sorted({spec.resolution_m for spec in layout.specs}):
        found += _pixel_axes(layout.patch_size_px * 10 // resolution_m, resolution_m)
    found += [_names_axis(f"band_{spec.name}", spec.bands, "band") for spec in layout.specs if spec.bands]
    return tuple(found)


def _names_axis(name: str, meanings: tuple[str, ...], what: str) -> Coordinate:
    values = np.arange(len(meanings), dtype="int32")
    flags = {"flag_values": values.tolist(), "flag_meanings": " ".join(meanings)}
    return Coordinate(name, values, {"long_name": f"position of the {what}", **flags})


def _pixel_axes(side_px: int, resolution_m: int) -> list[Coordinate]:
    centres = (np.arange(side_px, dtype="int32") * 2 + 1) * (resolution_m // 2)
    text = "from the upper-left corner of the patch to the pixel centre"
    return [
        Coordinate(f"y_{resolution_m}m", -centres, {"long_name": f"metres north {text}", "units": "m"}),
        Coordinate(f"x_{resolution_m}m", centres, {"long_name": f"metres east {text}", "units": "m"}),
    ]


def array_document(spec: ArraySpec, layout: "StoreLayout") -> Document:
    """`zarr.json` of one image or label array."""
    grid = grid_of(spec, layout)
    inner = codec_of(spec, layout.codec).metadata()
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [1, *grid.chunk_shape],
            "codecs": inner,
            "index_codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "crc32c"},
            ],
            "index_location": "end",
        },
    }
    return _array(
        shape=(layout.num_locations, *grid.item_shape),
        chunk=(grid.num_rows, *grid.item_shape),
        dtype=spec.dtype,
        fill=spec.no_data,
        codecs=[sharding],
        attributes=_array_attributes(spec),
        dimensions=dimensions_of(spec),
    )


def _array_attributes(spec: ArraySpec) -> Document:
    attributes: Document = {
        "long_name": spec.unit,
        "product": spec.product,
        "resolution_m": spec.resolution_m,
        "no_data": spec.no_data,
        "scale": spec.scale,
        "units": _stored_unit(spec),
        "role": "label" if spec.is_label else "image",
        "coordinates": " ".join(row.name for row in ROW_ARRAYS),
    }
    if spec.bands:
        attributes["bands"] = list(spec.bands)
    if spec.quantization:
        attributes["quantization"] = spec.quantization
        attributes["quantization_ranges"] = [
            {"band": band, "low": one.low, "step": one.step}
            for band, one in zip(
                spec.bands,
                band_ranges(spec.quantization, product=spec.product, bands=spec.bands),
                strict=True,
            )
        ]
    if not spec.is_native:
        attributes["native_resolution"] = False
    meanings = _meanings(spec)
    if meanings:
        attributes["flag_values"] = list(range(len(meanings)))
        attributes["flag_meanings"] = " ".join(meanings)
    return attributes


def _stored_unit(spec: ArraySpec) -> str:
    """CF unit of the stored integers: 1e-4 of a reflectance, hundredths of a decibel."""
    if spec.is_label:
        return "1"
    return f"{spec.scale:.12g}{' dB' if spec.unit == 'dB' else ''}"


def _meanings(spec: ArraySpec) -> tuple[str, ...]:
    if not spec.is_label:
        return ()
    legend = LEGEND_OF_PRODUCT.get(spec.product)
    return SCENE_CLASSES if legend is None else legend.classes


def row_document(row: RowArray, layout: "StoreLayout") -> Document:
    """`zarr.json` of one small array: a single chunk."""
    shape = row.shape(num_locations=layout.num_locations, num_seasons=len(layout.season_names))
    dimensions = ("location", row.axis) if row.axis else ("location",)
    return _whole_array(shape, row.dtype, row.fill, row.attributes, dimensions)


def coordinate_document(coordinate: Coordinate) -> Document:
    """`zarr.json` of one axis: a single chunk."""
    values = coordinate.values
    return _whole_array(values.shape, values.dtype.name, 0, coordinate.attributes, (coordinate.name,))


def _whole_array(
    shape: tuple[int, ...], dtype: str, fill: int, attributes: Document, dimensions: tuple[str, ...]
) -> Document:
    return _array(
        shape=shape,
        chunk=shape,
        dtype=dtype,
        fill=fill,
        codecs=LABEL_CODEC.metadata(),
        attributes=attributes,
        dimensions=dimensions,
    )


def _array(
    *,
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    dtype: str,
    fill: int,
    codecs: list[Document],
    attributes: Document,
    dimensions: tuple[str, ...],
) -> Document:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": attributes,
        "dimension_names": list(dimensions),
        "storage_transformers": [],
    }


def array_documents(layout: "StoreLayout") -> dict[str, Document]:
    """Name to `zarr.json` of every array of a store."""
    documents = {spec.name: array_document(spec, layout) for spec in layout.specs}
    documents |= {row.name: row_document(row, layout) for row in ROW_ARRAYS}
    documents |= {axis.name: coordinate_document(axis) for axis in coordinates(layout)}
    return documents


def group_document(layout: "StoreLayout", *, attributes: Mapping[str, Any]) -> Document:
    """`zarr.json` of the group.

    It carries the consolidated metadata that zarr-python and xarray look for: one request opens a
    remote store. Readers that do not know the key ignore it (`must_understand` is false).
    """
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {
            "Conventions": "CF-1.11",
            "title": "NoLDO-S12: co-registered Sentinel-1/2 time series with noisy land-cover labels",
            **dict(sorted(attributes.items())),
            "format_version": FORMAT_VERSION,
            "season_names": list(layout.season_names),
            "patch_size_px": layout.patch_size_px,
            "locations_per_shard": layout.locations_per_shard,
            "codec": layout.codec,
            "arrays": [spec.name for spec in layout.specs],
            "bands": {spec.name: _band_table(spec) for spec in layout.specs if spec.bands},
        },
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": array_documents(layout),
        },
    }


def _band_table(spec: ArraySpec) -> list[Document]:
    return [
        {"name": band, "resolution_m": S2_RESOLUTION_M.get(band, spec.resolution_m)}
        | ({"wavelength_nm": S2_WAVELENGTH_NM[band]} if band in S2_WAVELENGTH_NM else {})
        for band in spec.bands
    ]


def to_bytes(document: Document) -> bytes:
    """JSON in the order of construction, which is the order readers list arrays in."""
    return (json.dumps(document, indent=1) + "\n").encode()
