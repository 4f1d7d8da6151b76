"""Looking at what an import wrote."""

from pathlib import Path
from typing import Any

import numpy as np

from builders.import_store import ImportTarget
from noldo.index import read_index
from noldo.reader import StoreReader


def target(out: Path) -> ImportTarget:
    """Small shards, so that there are several."""
    return ImportTarget(out, locations_per_shard=2)


def files_of(out: Path) -> dict[str, bytes]:
    """All that an import leaves for users, but for the record of the run, which has times."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.relative_to(out).parts[0].startswith(".") and ".run." not in path.name
    }


def pixels_of(out: Path, name: str, row: int, *, subset: str = "nol") -> np.ndarray:
    """(season, band?, y, x) of one row."""
    reader = StoreReader.open(out / f"{subset}.zarr")
    seasons = range(len(reader.layout.season_names))
    return reader.pixels(reader.layout.spec(name), row=row, seasons=seasons)


def index_of(out: Path, *, subset: str = "nol") -> list[dict[str, Any]]:
    """Rows of the index."""
    rows: list[dict[str, Any]] = read_index(out / f"{subset}.parquet").to_pylist()
    return rows


def reasons_of(out: Path, *, subset: str = "nol") -> dict[int, str]:
    """Id to reason, of rows that were not kept."""
    return {row["id"]: row["reason"] for row in index_of(out, subset=subset) if row["status"] != "kept"}
