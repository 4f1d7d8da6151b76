"""Creating and filling a store: one Zarr v3 group, one file a shard.

`create_store` writes all metadata once; `write_shard` writes one whole file of one array and may run in
as many processes as there are shards; `write_rows` writes the small arrays. `read_layout` reads back
what a store is made of. Reading pixels is `noldo.reader`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from noldo.atomic import atomic_file, write_if_changed
from noldo.codecs import LABEL_CODEC, CodecName
from noldo.errors import StoreError, StoreFormatError
from noldo.metadata import array_documents, codec_of, coordinates, grid_of, group_document, to_bytes
from noldo.products import FORMAT_VERSION, ArraySpec
from noldo.rows import ROW_ARRAYS
from noldo.shard_paths import shard_file
from noldo.shards import write_chunks

if TYPE_CHECKING:
    import zarr


@dataclass(frozen=True)
class StoreLayout:
    """What a store is made of; decides every byte of its metadata."""

    specs: tuple[ArraySpec, ...]
    """Image and label arrays, as `noldo.products.array_specs` gives them."""
    num_locations: int
    """Locations tried: length of axis 0 of every array."""
    season_names: tuple[str, ...]
    """In the order of the season axis."""
    patch_size_px: int
    """Side of a patch in pixels of 10 m."""
    locations_per_shard: int
    """Locations in one shard file; the last shard may hold fewer."""
    codec: CodecName
    """Compressor of images: `small` or `fast`."""

    @property
    def num_shards(self) -> int:
        """Shard files of each array."""
        return -(-self.num_locations // self.locations_per_shard)

    def rows_of(self, shard: int) -> range:
        """Rows of the store that a shard holds."""
        first = shard * self.locations_per_shard
        return range(first, min(first + self.locations_per_shard, self.num_locations))

    def spec(self, name: str) -> ArraySpec:
        """The array of that name.

        Raises
        ------
        StoreError
            If the store has none.
        """
        for spec in self.specs:
            if spec.name == name:
                return spec
        raise StoreError(f"no array {name!r} in the store; it has {', '.join(s.name for s in self.specs)}")


def create_store(path: Path, layout: StoreLayout, *, attributes: Mapping[str, Any]) -> None:
    """Write the metadata of a store; existing shards are not touched.

    Repeating it with the same arguments changes no byte and no modification time.

    Parameters
    ----------
    path
        The Zarr group, e.g. `results/sandbox/nol.zarr`.
    attributes
        JSON values for the group, e.g. `title`, `license`, `subset`, `synthetic`. What this format
        sets itself (`format_version`, `season_names`, ...) can't be changed by them.

    Raises
    ------
    StoreError
        If the folder can't be written to.
    """
    for name, document in array_documents(layout).items():
        write_if_changed(path / name / "zarr.json", to_bytes(document))
    for axis in coordinates(layout):
        write_if_changed(path / axis.name / "c/0", LABEL_CODEC.encode(axis.values))
    # Last, so that a group that can be opened is complete.
    write_if_changed(path / "zarr.json", to_bytes(group_document(layout, attributes=attributes)))


def write_shard(path: Path, spec: ArraySpec, *, shard: int, items: np.ndarray) -> None:
    """Write one shard of one array: exactly one file, which appears whole.

    What the file held before plays no part. Equal items give equal bytes. Memory beyond `items` is one
    chunk.

    Parameters
    ----------
    path
        A store made by `create_store`.
    items
        (location, *spec.item_shape(seasons, patch_size_px)) in the stored dtype: all locations of the
        shard, masked ones filled with `spec.no_data`.

    Raises
    ------
    StoreError
        If the file can't be written.
    """
    layout = read_layout(path)
    grid = grid_of(spec, layout)
    assert 0 <= shard < layout.num_shards, f"shard {shard} of {layout.num_shards}"
    assert items.shape == (len(layout.rows_of(shard)), *grid.item_shape), items.shape
    assert items.dtype == np.dtype(spec.dtype), items.dtype
    with atomic_file(shard_path(path, spec, shard)) as file:
        write_chunks(file, items, grid=grid, codec=codec_of(spec, layout.codec))


def shard_path(path: Path, spec: ArraySpec, shard: int) -> Path:
    """File of one shard of one array."""
    return path / shard_file(spec.name, 5 if spec.bands else 4, shard)


def write_rows(path: Path, rows: Mapping[str, np.ndarray]) -> None:
    """Write small arrays whole: one file each, unchanged files are not touched.

    Parameters
    ----------
    rows
        Name (see `noldo.rows.ROW_ARRAYS`) to values of all locations; converted to the stored dtype.

    Raises
    ------
    StoreError
        If a file can't be written.
    """
    layout = read_layout(path)
    known = {row.name: row for row in ROW_ARRAYS}
    for name, values in rows.items():
        row = known[name]
        shape = row.shape(num_locations=layout.num_locations, num_seasons=len(layout.season_names))
        assert values.shape == shape, f"{name}: {values.shape}, expected {shape}"
        stored = values.astype(row.dtype)
        assert np.array_equal(stored, values), f"{name}: values do not fit {row.dtype}"
        write_if_changed(path / name / "/".join(["c", *["0"] * len(shape)]), LABEL_CODEC.encode(stored))


def read_layout(path: Path) -> StoreLayout:
    """What a local store is made of.

    Raises
    ------
    StoreError
        If there is no store.
    StoreFormatError
        If it is of another format.
    """
    try:
        content = (path / "zarr.json").read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path}: no store here ({error.strerror}); give a folder that a build made"
        ) from None
    return parse_layout(content, where=str(path))


def parse_layout(content: bytes, *, where: str) -> StoreLayout:
    """What a store is made of, from the bytes of its group's `zarr.json`.

    Raises
    ------
    StoreFormatError
        If it is of another format; `where` names the store.
    """
    document = _group_document(content, where=where)
    attributes = document["attributes"]
    try:
        arrays = document["consolidated_metadata"]["metadata"]
        names = attributes["arrays"]
        return StoreLayout(
            specs=tuple(_spec(name, arrays[name]) for name in names),
            num_locations=arrays["id"]["shape"][0],
            season_names=tuple(attributes["season_names"]),
            patch_size_px=attributes["patch_size_px"],
            locations_per_shard=attributes["locations_per_shard"],
            codec=cast(CodecName, attributes["codec"]),
        )
    except (KeyError, TypeError, IndexError) as error:
        raise StoreFormatError(
            f"{where}: zarr.json lacks {error}, which format {FORMAT_VERSION} has; rebuild the store"
        ) from None


def _group_document(content: bytes, *, where: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
        version = document["attributes"]["format_version"]
    except (ValueError, KeyError, TypeError):
        raise StoreFormatError(
            f"{where}: not a NoLDO-S12 store (zarr.json has no format_version); give a folder that a build made"
        ) from None
    if version != FORMAT_VERSION:
        raise StoreFormatError(
            f"{where}: format {version}, but this noldo reads format {FORMAT_VERSION}; "
            f"{'upgrade noldo' if version > FORMAT_VERSION else 'rebuild the store'}"
        )
    return cast("dict[str, Any]", document)


def _spec(name: str, document: dict[str, Any]) -> ArraySpec:
    attributes = document["attributes"]
    return ArraySpec(
        name=name,
        product=attributes["product"],
        resolution_m=attributes["resolution_m"],
        bands=tuple(attributes.get("bands", ())),
        dtype=document["data_type"],
        no_data=attributes["no_data"],
        is_label=attributes["role"] == "label",
        unit=attributes["long_name"],
        scale=attributes["scale"],
        quantization=attributes.get("quantization", ""),
        is_native=attributes.get("native_resolution", True),
    )


def open_store(path_or_url: str | Path) -> "zarr.Group":
    """Open a store with zarr-python, read-only.

    Missing shards read as no data there; `noldo.reader` and `noldo verify` tell them apart.

    Parameters
    ----------
    path_or_url
        A local `nol.zarr`, or `s3://...`, `gs://...` (needs obstore).

    Raises
    ------
    StoreError
        If there is no store.
    StoreFormatError
        If it is of another format.
    """
    import zarr

    if "://" in str(path_or_url):
        from noldo.remote import zarr_store

        return zarr.open_group(zarr_store(str(path_or_url)), mode="r")
    read_layout(Path(path_or_url))
    return zarr.open_group(str(path_or_url), mode="r")
