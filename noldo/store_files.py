"""Names of all files of a store that are not shards. Standard library only: the Snakefile imports it while planning."""

from collections.abc import Sequence

from noldo.products import ArraySpec
from noldo.rows import ROW_ARRAYS


def metadata_files(specs: Sequence[ArraySpec]) -> tuple[str, ...]:
    """What `noldo.store.create_store` writes: the documents of the group and of every array, and the axes' values."""
    names = [spec.name for spec in specs]
    rows = [row.name for row in ROW_ARRAYS]
    axes = axis_names(specs)
    documents = [f"{name}/zarr.json" for name in (*names, *rows, *axes)]
    return ("zarr.json", *documents, *(f"{axis}/c/0" for axis in axes))


def axis_names(specs: Sequence[ArraySpec]) -> tuple[str, ...]:
    """Arrays that hold the values of an axis."""
    sizes = sorted({spec.resolution_m for spec in specs})
    pixels = [f"{letter}_{size}m" for size in sizes for letter in ("y", "x")]
    return ("season", *pixels, *(f"band_{spec.name}" for spec in specs if spec.bands))


def row_files() -> tuple[str, ...]:
    """What `noldo.store.write_rows` writes: one file a small array."""
    return tuple(f"{row.name}/c/0/0" if row.axis else f"{row.name}/c/0" for row in ROW_ARRAYS)
