"""Real Sentinel files, described as a catalogue, through the whole build: every stored value is a source pixel."""

import datetime as dt
import os
import shutil
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import zarr

from noldo.grids import Grid
from noldo.index import read_index
from noldo.products import S2_L1C_BANDS, S2_L2A_BANDS
from sandbox.catalogue_files import describe_scene, write_catalogue
from tests.pipeline.workflow import ROOT, Workflow

REAL_DATA = Path(os.environ.get("NOLDO_REAL_DATA", ROOT.parent / "shared" / "data"))
TERRAMESH = REAL_DATA / "terramesh"
SIZE_PX = 210

PLACES = {
    "282D_485L_3_3": ("2021-07-23T13:22:41", "2021-07-21T08:40:10"),
    "433D_629L_3_1": ("2020-04-08T14:37:29", "2020-04-11T23:43:09"),
    "637U_59R_1_3": ("2017-10-30T10:41:51", "2017-10-30T05:32:30"),
}
"""Sensing times of Sentinel-2 and Sentinel-1 (README of the data)."""

OFFSET_PLACES = {"282D_485L_3_3", "433D_629L_3_1"}
"""Their L1C carries the +1000 of processing baseline 04.00 (README of the data)."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TERRAMESH.is_dir(), reason=f"no real data in {TERRAMESH} (set NOLDO_REAL_DATA)"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("archive"))
    catalogue = make_catalogue(workflow.folder / "archive")
    (workflow.folder / "places.csv").write_text(
        "lon,lat,name\n" + "".join(centre_line(name) for name in PLACES)
    )
    tree = {
        "name": "real",
        "source": {"url": "sandbox", "credentials": "anonymous", "native_lattice": False},
        "sandbox": {"catalogue": str(catalogue)},
        "locations": {"points": "places.csv", "count": 3},
        "patch_size_px": SIZE_PX,
        "seasons": [{"name": "any", "date": "2019-09-11", "window_days": 720}],
        "products": {"s2_scl": False},
        "clouds": {"min_label_share": 0.0},
        "pairing": {"s1_resampling": "nearest"},
        "jobs": {"locations_per_shard": 3, "locations_per_job": 3, "locations_per_search": 3},
    }
    workflow.build(tree)
    return workflow


def make_catalogue(folder: Path) -> Path:
    """Describe the files of the three places; as they are, nothing is converted."""
    items = []
    for name, (optical, radar) in PLACES.items():
        for product, collection, bands, time in (
            ("S2L1C", "COPERNICUS/S2_HARMONIZED", S2_L1C_BANDS, optical),
            ("S2L2A", "COPERNICUS/S2_SR_HARMONIZED", S2_L2A_BANDS, optical),
            ("DW", "GOOGLE/DYNAMICWORLD/V1", ("label",), optical),
            ("S1RTC", "COPERNICUS/S1_GRD", ("VV", "VH"), radar),
        ):
            file = folder / product / f"{name}.tif"
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source_of(product, name), file)
            is_radar = product == "S1RTC"
            items.append(
                describe_scene(
                    {file: bands},
                    collection=collection,
                    index=f"{name}_s1" if is_radar else name,
                    time=dt.datetime.fromisoformat(time),
                    folder=folder,
                    cloud_percent=None if is_radar else 1.0,
                    properties={"sat:orbit_state": "descending"} if is_radar else None,
                )
            )
    return write_catalogue(folder, items)


def source_of(product: str, name: str) -> Path:
    return TERRAMESH / product / (f"{name}_dwlabel.tif" if product == "DW" else f"{name}.tif")


def centre_line(name: str) -> str:
    with rasterio.open(source_of("S2L1C", name)) as image:
        x, y = image.transform @ (image.width / 2, image.height / 2)
        to_degrees = pyproj.Transformer.from_crs(image.crs, "OGC:CRS84", always_xy=True)
        lon, lat = to_degrees.transform(x, y)
    return f"{lon:.8f},{lat:.8f},{name}\n"


def nearest_pixels(path: Path, grid: Grid, resolution_m: int) -> np.ndarray:
    """(band, y, x): the 10 m source pixel nearest to the centre of each cell."""
    with rasterio.open(path) as image:
        values, inverse = image.read(), ~image.transform
    rows, columns = grid.shape(resolution_m)
    x = grid.x_ul + resolution_m * (np.arange(columns) + 0.5)
    y = grid.y_ul - resolution_m * (np.arange(rows) + 0.5)
    column = np.floor(inverse.a * x + inverse.c).astype(int)
    row = np.floor(inverse.e * y + inverse.f).astype(int)
    return values[:, row][:, :, column]


def rows_of(built: Workflow) -> dict[str, dict]:
    rows = read_index(built.folder / "results" / "real" / "nol.parquet").to_pylist()
    return {row["place"]: row for row in rows}


def stored(built: Workflow, name: str, array: str) -> np.ndarray:
    row = rows_of(built)[name]
    group = zarr.open_group(built.folder / "results" / "real" / "nol.zarr", mode="r")
    return group[array][row["row"], 0]


def grid_of(built: Workflow, name: str) -> Grid:
    row = rows_of(built)[name]
    return Grid(row["crs_epsg"], row["x_ul"], row["y_ul"], SIZE_PX)


def test_all_three_places_are_kept_and_called_real(built):
    assert {row["status"] for row in rows_of(built).values()} == {"kept"}
    assert built.info("real")["synthetic"] is False
    assert built.noldo("verify", "results/real").returncode == 0


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("resolution_m", [10, 20, 60])
@pytest.mark.parametrize(("product", "bands"), [("S2L1C", S2_L1C_BANDS), ("S2L2A", S2_L2A_BANDS)])
def test_optical_values_are_the_nearest_source_pixels_without_the_offset(
    built, name, resolution_m, product, bands
):
    from noldo.products import S2_RESOLUTION_M

    group = [band for band in bands if S2_RESOLUTION_M[band] == resolution_m]
    source = nearest_pixels(source_of(product, name), grid_of(built, name), resolution_m)
    expected = source[[bands.index(band) for band in group]].astype(int)
    if product == "S2L1C" and name in OFFSET_PLACES:
        expected = expected - 1000
    array = stored(built, name, f"s2_{product[2:].lower()}_{resolution_m}m")
    np.testing.assert_array_equal(array, expected.clip(min=0))


@pytest.mark.parametrize("name", PLACES)
def test_radar_is_the_nearest_source_pixel_within_half_a_step(built, name):
    source = nearest_pixels(source_of("S1RTC", name), grid_of(built, name), 10)
    assert np.abs(stored(built, name, "s1_grd_10m") / 100 - source).max() <= 0.005 + 1e-6


@pytest.mark.parametrize("name", PLACES)
def test_labels_are_the_nearest_source_pixels(built, name):
    source = nearest_pixels(source_of("DW", name), grid_of(built, name), 10)
    np.testing.assert_array_equal(stored(built, name, "dynamic_world_10m"), source[0])


def test_the_index_says_which_scenes_carried_the_offset(built):
    found = {name for name, row in rows_of(built).items() if row["offset_removed"] == [True]}
    assert found == OFFSET_PLACES


def test_the_same_archive_goes_through_without_telling_that_it_has_another_lattice(built, tmp_path):
    """`native_lattice` saves a request; leaving it out costs one and gives the same pixels."""
    other = Workflow(tmp_path)
    shutil.copytree(built.folder / "archive", tmp_path / "archive")
    shutil.copy2(built.folder / "places.csv", tmp_path / "places.csv")
    import yaml

    tree = yaml.safe_load((built.folder / "config.yaml").read_text())
    tree["source"].pop("native_lattice")
    tree["sandbox"]["catalogue"] = str(tmp_path / "archive" / "catalog.json")
    other.build(tree)
    for name in PLACES:
        for array in ("s2_l1c_20m", "s2_l2a_60m", "s1_grd_10m"):
            np.testing.assert_array_equal(stored(other, name, array), stored(built, name, array))
        assert rows_of(other)[name]["off_lattice"] == [True]
