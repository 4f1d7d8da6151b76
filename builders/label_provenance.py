"""What clean labels were made of, for the manifest: files by name and SHA-256, and the table of tags."""

import hashlib
from pathlib import Path
from typing import Any

from builders.config import BuildConfig
from builders.layout import Layout
from builders.osm_record import read_extract_report
from builders.tag_table import load_tag_table
from builders.tiles import tile_sources
from noldo.errors import InputError

BLOCK_BYTES = 1 << 20


def label_provenance(config: BuildConfig, layout: Layout) -> dict[str, dict[str, Any]]:
    """Label product to what it was made of; JSON values. Empty for @NoL, whose labels are scenes of the index.

    Raises
    ------
    InputError
        If a file is gone.
    """
    makers = {"expert": _of_experts, "osm": _of_osm}
    return {product: makers[product](config, layout) for product in config.labels}


def _of_experts(config: BuildConfig, layout: Layout) -> dict[str, Any]:
    tables, _ = tile_sources(config, layout.of("dw"))
    return {"tables": [{"name": path.name, "sha256": _sha256(path)} for path in tables]}


def _of_osm(config: BuildConfig, layout: Layout) -> dict[str, Any]:
    osm = config.osm
    assert osm is not None, "subset @OSM exists only with a section `osm`"
    table = load_tag_table(osm.tags)
    tags = {"name": table.name, "version": table.version, "source": table.source, "digest": table.digest}
    facts: dict[str, Any] = {"tags": tags, "overlaps": osm.overlaps}
    if osm.source == "overpass":
        return facts | {"overpass": osm.overpass_url, "as_of": str(osm.as_of or "")}
    extracts = [read_extract_report(layout, number).extract for number in range(len(osm.extracts))]
    return facts | {
        "extracts": [{"name": one.name, "timestamp": one.timestamp, "sha256": one.sha256} for one in extracts]
    }


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                found.update(block)
    except OSError as error:
        raise InputError(
            f"{path}: can't be read ({error.strerror}); restore it and run the build again"
        ) from None
    return found.hexdigest()
