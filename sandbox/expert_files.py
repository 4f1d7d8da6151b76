"""Expert tiles as files, in the folders and tables that Dynamic World publishes.

```
tiles.csv, tiles.xlsx                                  training layout: one row a tile
labels/Experts/<hemisphere>/<biome>/<id>.tif           one band
labels/dw_test/label_<id>.tif, labels/dw_test/meta.csv validation layout
expected.json                                          what must become of each tile
```
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.io import MemoryFile
from shapely import Polygon

from noldo.atomic import write_if_changed
from sandbox.experts import ExpertTile
from sandbox.planet.annotations import CLOUD
from sandbox.planet.tiles import to_degrees
from sandbox.planet.truth import BARE, BUILT, CROPS, FLOODED, GRASS, SHRUB, SNOW, TREES, WATER
from sandbox.workbook import workbook

NUM_LABELERS = 25
"""Experts that labelled the published tiles (PANGAEA 10.1594/PANGAEA.933475)."""

CLASS_COLUMNS: Mapping[str, int] = {
    "Bare_Ground": BARE + 1,
    "Built_Area": BUILT + 1,
    "Clouds": CLOUD,
    "Crops": CROPS + 1,
    "Flooded_Vegetation": FLOODED + 1,
    "Grass": GRASS + 1,
    "Scrub": SHRUB + 1,
    "Snow_Ice": SNOW + 1,
    "Trees": TREES + 1,
    "Water": WATER + 1,
}
"""Column of the public table to the number in the files; a column holds the share of the tile's pixels, 0..1."""

COLUMNS = (
    "dw_id",
    "labeler",
    "hemisphere",
    "biome",
    "biome_name",
    "date",
    "crs",
    "utm",
    "geometry",
    "lon",
    "lat",
    "S2_PRODUCT_ID",
    "S2_SENSING_ORBIT_DIRECTION",
    *CLASS_COLUMNS,
)
"""Of the public table. `geometry` is WKT in metres of `crs`, `lon` and `lat` the middle in degrees."""

META_COLUMNS = ("filename", "s2_system_index")

_BIOMES = {
    1: "Tropical & Subtropical Moist Broadleaf Forests",
    4: "Temperate Broadleaf & Mixed Forests",
    6: "Boreal Forests/Taiga",
    7: "Tropical & Subtropical Grasslands, Savannas & Shrublands",
    8: "Temperate Grasslands, Savannas & Shrublands",
    12: "Mediterranean Forests, Woodlands & Scrub",
    13: "Deserts & Xeric Shrublands",
}
"""Numbers and names of Dinerstein et al. 2017, doi 10.1093/biosci/bix014."""

_NON_EXPERT_EVERY = 4


def write_tiles(folder: Path, tiles: Sequence[ExpertTile], *, with_xlsx: bool = False) -> None:
    """Write label files, tables and what is expected of them, of one tile at least.

    Raises
    ------
    StoreError
        If a file can't be written.
    """
    for tile in tiles:
        if tile.outcome != "missing_file":
            write_if_changed(folder / label_path(tile), _geotiff(tile))
    training = [_row(tile) for tile in tiles if tile.layout == "training"]
    meta = [(tile.id, tile.system_index) for tile in tiles if tile.layout == "validation"]
    write_if_changed(folder / "tiles.csv", _csv(COLUMNS, training))
    write_if_changed(folder / "labels/dw_test/meta.csv", _csv(META_COLUMNS, meta))
    if with_xlsx:
        others = [_by_others(row) for row in training[::_NON_EXPERT_EVERY]]
        sheets = {"expert": [COLUMNS, *training], "non_expert": [COLUMNS, *others]}
        write_if_changed(folder / "tiles.xlsx", workbook(sheets))
    write_if_changed(folder / "expected.json", _json(tiles))


def label_path(tile: ExpertTile) -> Path:
    """Where its file lies in the folder."""
    if tile.layout == "validation":
        return Path("labels/dw_test") / f"label_{tile.id}.tif"
    return Path("labels/Experts") / hemisphere_of(tile) / str(biome_of(tile)) / f"{tile.id}.tif"


def hemisphere_of(tile: ExpertTile) -> str:
    """`WH` from 160 to 20 degrees west, else `EH` (Brown et al. 2022, doi 10.1038/s41597-022-01307-4)."""
    return "WH" if -160.0 <= tile.centre[0] < -20.0 else "EH"


def biome_of(tile: ExpertTile) -> int:
    """Number of a biome that such land may lie in."""
    latitude = abs(tile.centre[1])
    if tile.shares[BARE] > 0.4:
        return 13
    if latitude < 23.5:
        return 1 if tile.shares[TREES] > 0.4 else 7
    if latitude > 56.0:
        return 6
    if tile.shares[SHRUB] > 0.25:
        return 12
    return 4 if tile.shares[TREES] > 0.25 else 8


def _row(tile: ExpertTile) -> tuple[object, ...]:
    lon, lat = tile.centre
    marks = tile.markup()
    biome = biome_of(tile)
    return (
        tile.id,
        f"expert_{tile.number % NUM_LABELERS + 1}",
        hemisphere_of(tile),
        biome,
        _BIOMES[biome],
        tile.date.isoformat(),
        f"EPSG:{tile.crs_epsg}",
        f"{tile.crs_epsg % 100}{'S' if tile.crs_epsg // 100 == 327 else 'N'}",
        Polygon(_corners_m(tile)).wkt,
        round(lon, 10),
        round(lat, 10),
        tile.product_id,
        "DESCENDING",
        *(round(float((marks == number).mean()), 6) for number in CLASS_COLUMNS.values()),
    )


def _corners_m(tile: ExpertTile) -> list[tuple[float, float]]:
    """Its four corners in metres, from the upper left one clockwise."""
    x_min, y_min, x_max, y_max = tile.bounds
    return [(x_min, y_max), (x_max, y_max), (x_max, y_min), (x_min, y_min)]


def _by_others(row: tuple[object, ...]) -> tuple[object, ...]:
    """The row of a tile that was also labelled by somebody who is no expert: the two public sheets overlap."""
    return (row[0], "non_expert_1", *row[2:])


def _expected(tile: ExpertTile) -> dict[str, object]:
    """What a test wants to know. `osm` is how well OpenStreetMap is kept there, `kept` for mapped; `named` says whether
    the tables name the annotated scene."""
    lon, lat = tile.centre
    x_ul, y_ul = tile.corner_m
    return {
        "outcome": tile.outcome,
        "flags": list(tile.flags),
        "osm": "kept" if tile.region == "mapped" else tile.region,
        "layout": tile.layout,
        "file": None if tile.outcome == "missing_file" else str(label_path(tile)),
        "scene": tile.scene,
        "named": tile.scene == tile.system_index,
        "date": tile.date.isoformat(),
        "crs_epsg": tile.crs_epsg,
        "x_ul": x_ul,
        "y_ul": y_ul,
        "size_px": tile.window.width,
        "on_60m_lattice": tile.is_on_60m_lattice,
        "lon": round(lon, 10),
        "lat": round(lat, 10),
        "corners": to_degrees(tile.crs_epsg, np.array(_corners_m(tile))).round(7).tolist(),
    }


def _json(tiles: Sequence[ExpertTile]) -> bytes:
    """What must become of the tiles, one a line."""
    lines = ",\n".join(f"{json.dumps(tile.id)}: {json.dumps(_expected(tile))}" for tile in tiles)
    return f'{{"seed": {tiles[0].seed}, "tiles": {{\n{lines}\n}}}}\n'.encode()


def _geotiff(tile: ExpertTile) -> bytes:
    marks = tile.markup()
    if tile.layout == "training":
        return _encoded(tile, {"": marks})
    return _encoded(tile, {"label": tile.model_label(), "lulc": marks})


def _encoded(tile: ExpertTile, bands: Mapping[str, npt.NDArray[np.uint8]]) -> bytes:
    """A GeoTIFF with these bands, described by their names; it holds no time, so the same pixels are the same bytes."""
    size = tile.window.width
    crs, transform = (
        f"EPSG:{tile.crs_epsg}",
        Affine(10.0, 0.0, tile.corner_m[0], 0.0, -10.0, tile.corner_m[1]),
    )
    if tile.outcome == "not_utm":
        west, south, east, north = tile.outline.bounds
        crs, transform = (
            "EPSG:4326",
            Affine((east - west) / size, 0.0, west, 0.0, (south - north) / size, north),
        )
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=size,
            height=size,
            count=len(bands),
            dtype="uint8",
            crs=crs,
            transform=transform,
            compress="deflate",
        ) as file:
            for number, (name, values) in enumerate(bands.items(), start=1):
                file.write(values, number)
                if name:
                    file.set_band_description(number, name)
        content: bytes = memory.read()
        return content


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
