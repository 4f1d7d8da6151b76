"""What a store should hold, computed from the catalogue alone: no request, no Earth Engine expression."""

import numpy as np
import pyproj

from noldo.products import NO_DATA_DB, NO_DATA_UINT16, S2_RESOLUTION_M, UNLABELLED
from sandbox.catalogue import Catalogue, SceneRecord

GROUPS = {m: tuple(b for b, native in S2_RESOLUTION_M.items() if native == m) for m in (10, 20, 60)}


def expected_arrays(
    catalogue: Catalogue, row: dict[str, object], *, patch_size_px: int
) -> dict[str, np.ndarray]:
    """All arrays of one kept row of the index, axes (season, band?, y, x)."""
    expected: dict[str, np.ndarray] = {}
    for product in ("s2_l1c", "s2_l2a"):
        for resolution_m, group in GROUPS.items():
            bands = [band for band in group if not (product == "s2_l2a" and band == "B10")]
            expected[f"{product}_{resolution_m}m"] = np.stack(
                [
                    np.stack(
                        [
                            _copy(
                                catalogue,
                                scene,
                                band,
                                row,
                                resolution_m=resolution_m,
                                patch_size_px=patch_size_px,
                                no_data=NO_DATA_UINT16,
                            )
                            for band in bands
                        ]
                    )
                    for scene in _scenes(catalogue, row, f"scene_{product}")
                ]
            )
    expected["s2_scl_20m"] = np.stack(
        [
            _copy(catalogue, scene, "SCL", row, resolution_m=20, patch_size_px=patch_size_px, no_data=255)
            for scene in _scenes(catalogue, row, "scene_s2_l2a")
        ]
    )
    expected["dynamic_world_10m"] = np.stack(
        [
            _copy(
                catalogue,
                scene,
                "label",
                row,
                resolution_m=10,
                patch_size_px=patch_size_px,
                no_data=UNLABELLED,
            )
            for scene in _scenes(catalogue, row, "scene_dynamic_world")
        ]
    )
    expected["s1_grd_10m"] = np.stack(
        [
            np.stack([_bilinear_db(catalogue, scene, band, row, patch_size_px) for band in ("VV", "VH")])
            for scene in _scenes(catalogue, row, "scene_s1_grd")
        ]
    )
    return expected


def _scenes(catalogue: Catalogue, row: dict[str, object], column: str) -> list[SceneRecord]:
    scenes = []
    for asset in row[column]:
        collection, index = asset.rsplit("/", 1)
        scene = catalogue.scene(collection, index)
        assert scene is not None, asset
        scenes.append(scene)
    return scenes


def _copy(catalogue, scene, band, row, *, resolution_m, patch_size_px, no_data):
    """The band's own pixels: the patch lies on their lattice, in their zone."""
    info = {b.name: b for b in catalogue.bands(scene)}[band]
    assert info.crs_epsg == row["crs_epsg"]
    a, _, left, _, _, top = info.transform
    assert a == resolution_m
    column, row_number = (row["x_ul"] - left) / a, (top - row["y_ul"]) / a
    assert column == int(column)
    assert row_number == int(row_number)
    side = patch_size_px * 10 // resolution_m
    values, mask = catalogue.read(
        scene, band, column=int(column), row=int(row_number), width=side, height=side
    )
    return np.where(mask, values, no_data)


def _bilinear_db(catalogue, scene, band, row, patch_size_px):
    """Four neighbours in the scene's own grid, in hundredths of a dB."""
    info = {b.name: b for b in catalogue.bands(scene)}[band]
    a, _, left, _, _, top = info.transform
    steps = 10 * np.arange(patch_size_px) + 5
    x, y = np.meshgrid(row["x_ul"] + steps, row["y_ul"] - steps)
    if info.crs_epsg != row["crs_epsg"]:
        x, y = pyproj.Transformer.from_crs(row["crs_epsg"], info.crs_epsg, always_xy=True).transform(x, y)
    u, v = (x - left) / a - 0.5, (top - y) / a - 0.5
    column, line = np.floor(u).astype(int), np.floor(v).astype(int)
    first_column, first_line = column.min(), line.min()
    values, mask = catalogue.read(
        scene,
        band,
        column=int(first_column),
        row=int(first_line),
        width=int(column.max() - first_column) + 2,
        height=int(line.max() - first_line) + 2,
    )
    i, j = line - first_line, column - first_column
    fx, fy = u - column, v - line
    corners = ((0, 0, (1 - fx) * (1 - fy)), (0, 1, fx * (1 - fy)), (1, 0, (1 - fx) * fy), (1, 1, fx * fy))
    decibels = sum(values[i + di, j + dj] * weight for di, dj, weight in corners)
    observed = np.logical_and.reduce([mask[i + di, j + dj] for di, dj, _ in corners])
    return np.where(observed, np.round(decibels * 100), NO_DATA_DB).astype(np.int16)
