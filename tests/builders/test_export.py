"""A store as GeoTIFFs and STAC catalogue, and back: what other programs see, and that nothing is lost."""

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import rasterio.shutil
import shapely
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension

from builders import encoders, export, export_table
from builders.export import ExportSummary, run_export
from builders.export_item import bbox_of
from builders.export_plan import planned_files
from builders.export_rows import read_rows_table
from builders.export_stac import Coverage, extent_of
from builders.geotiff import quiet_without_place
from builders.import_export import run_import_export
from builders.outlines import outlines
from noldo.digest import digest
from noldo.errors import ConfigError, InputError, StoreError
from noldo.grids import Grid
from noldo.legend import DYNAMIC_WORLD
from noldo.products import S2_L1C_BANDS, S2_WAVELENGTH_NM, array_specs
from noldo.reader import StoreReader
from noldo.store import read_layout
from noldo.verify import verify
from tests.builders.padded_data_set import LAYOUT, NOWHERE_ROW, SIDES, Padded, write_padded_data_set
from tests.noldo.made_up_data_set import DataSet, small_layout, write_data_set

KEPT_IDS = [100, 107, 114, 128, 135, 142, 149, 156]


SMALL = small_layout(
    specs=array_specs(
        {"s2_l1c": S2_L1C_BANDS, "s2_scl": ("SCL",), "s1_grd": ("VV", "VH"), "dynamic_world": ("label",)}
    ),
    season_names=("winter", "spring"),
)
"""Six arrays of two seasons: twelve files a location."""


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return write_data_set(tmp_path_factory.mktemp("results"), layout=SMALL)


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Padded:
    return write_padded_data_set(tmp_path_factory.mktemp("padded"))


@pytest.fixture(scope="module")
def exported(data_set: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export")
    run_export(data_set.root, out)
    return out


@pytest.fixture(scope="module")
def exported_padded(padded: Padded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export_padded")
    run_export(padded.store, out)
    return out


@pytest.fixture
def own_export(exported: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "export"))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def changed_times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# Round trip


def test_what_comes_back_is_the_store_to_the_last_byte(
    data_set: DataSet, exported: Path, tmp_path: Path
) -> None:
    run_import_export(exported, tmp_path / "back")
    assert digest(tmp_path / "back") == digest(data_set.root)
    assert contents(tmp_path / "back") == contents(data_set.root)
    assert verify(tmp_path / "back").problems == ()


def test_padded_tiles_and_tiles_without_a_place_come_back_too(
    padded: Padded, exported_padded: Path, tmp_path: Path
) -> None:
    paths = run_import_export(exported_padded, tmp_path / "back", subset="dw")
    assert digest(paths.store) == digest(padded.store)
    assert contents(tmp_path / "back") == contents(padded.root)


def test_two_subsets_share_a_folder_and_come_back_by_name(
    data_set: DataSet, padded: Padded, tmp_path: Path
) -> None:
    for source in (data_set.store, padded.store):
        run_export(source, tmp_path / "out", products=["dynamic_world"])
    catalog = pystac.Catalog.from_file(str(tmp_path / "out" / "catalog.json"))
    assert [child.id for child in catalog.get_children()] == ["dw", "nol"]
    with pytest.raises(InputError, match="several exports; it holds dw, nol; choose one with --subset"):
        run_import_export(tmp_path / "out", tmp_path / "back")


def test_the_small_arrays_come_back_as_they_were(padded: Padded, exported_padded: Path) -> None:
    rows = read_rows_table(exported_padded / "dw" / "dw.rows.parquet", read_layout(padded.store))
    for name, values in padded.rows.items():
        assert np.array_equal(rows[name], values), name


# What GDAL sees


def test_each_file_has_the_pixels_and_the_place_of_its_season(data_set: DataSet, exported: Path) -> None:
    reader = StoreReader.open(data_set.store)
    row = 4
    for file in planned_files(data_set.layout):
        path = exported / "nol" / "128" / f"{file.key}.tif"
        with rasterio.open(path) as source:
            pixels = reader.pixels(file.spec, row=row, seasons=[file.season])[0]
            assert np.array_equal(source.read(), pixels if file.spec.bands else pixels[None])
            assert source.crs.to_epsg() == data_set.rows["crs_epsg"][row]
            step = file.spec.resolution_m
            corner = float(data_set.rows["x_ul"][row]), float(data_set.rows["y_ul"][row])
            assert source.transform[:6] == (step, 0, corner[0], 0, -step, corner[1])
            assert source.descriptions == (file.spec.bands or (file.spec.product,))
            assert source.nodata == file.spec.no_data


def test_rows_that_were_not_kept_have_no_files_but_stay_in_the_index(exported: Path) -> None:
    folders = sorted(int(path.name) for path in (exported / "nol").iterdir() if path.is_dir())
    assert folders == KEPT_IDS
    index = geopandas.read_parquet(exported / "nol" / "nol.parquet")
    assert len(index) == 10
    assert sorted(set(index["status"])) == ["kept", "no_labels", "no_scene"]


def test_class_names_are_gdals_categories(exported: Path, tmp_path: Path) -> None:
    source = exported / "nol" / "100" / "winter_dynamic_world_10m.tif"
    rasterio.shutil.copy(source, tmp_path / "labels.vrt", driver="VRT")
    text = (tmp_path / "labels.vrt").read_text()
    for name in DYNAMIC_WORLD.classes:
        assert f"<Category>{name}</Category>" in text


def test_qgis_finds_a_style_with_the_classes_and_no_other_colours(exported: Path) -> None:
    text = (exported / "nol" / "100" / "winter_dynamic_world_10m.qml").read_text()
    assert text.count("<paletteEntry") == 9
    assert '<paletteEntry value="6" color="#c4281b" alpha="255" label="built"/>' in text


def test_padding_is_left_out(padded: Padded, exported_padded: Path) -> None:
    ids = padded.rows["id"]
    for row, side in enumerate(SIDES):
        if not side:
            assert not (exported_padded / "dw" / str(ids[row])).exists()
            continue
        for spec in LAYOUT.specs:
            path = exported_padded / "dw" / str(ids[row]) / f"label_date_{spec.name}.tif"
            with quiet_without_place(), rasterio.open(path) as source:
                assert source.shape == (spec.side_px(side),) * 2
                pixels = padded.pixels[spec.name][row, 0][..., : source.height, : source.width]
                assert np.array_equal(source.read(), pixels if spec.bands else pixels[None])
                assert (source.crs is None) == (row == NOWHERE_ROW)


def test_data_beyond_the_valid_square_is_never_lost_in_silence(padded: Padded, tmp_path: Path) -> None:
    shutil.copytree(padded.root, tmp_path / "results")
    from noldo.store import write_rows

    window = padded.rows["window"].copy()
    window[0] = 0, 6, 0, 6
    write_rows(tmp_path / "results" / "dw.zarr", {"window": window})
    with pytest.raises(StoreError, match="s2_l1c_10m of location 100 holds data beyond its valid square"):
        run_export(tmp_path / "results" / "dw.zarr", tmp_path / "out")


# What STAC sees


def items_of(folder: Path) -> Iterator[pystac.Item]:
    yield from pystac.Catalog.from_file(str(folder / "catalog.json")).get_items(recursive=True)


def test_catalogue_collection_and_items_are_valid_stac(exported: Path, exported_padded: Path) -> None:
    for folder in (exported, exported_padded):
        catalog = pystac.Catalog.from_file(str(folder / "catalog.json"))
        catalog.validate()
        collection = next(iter(catalog.get_children()))
        for thing in (collection, *collection.get_items()):
            alone = thing.clone()
            alone.stac_extensions = []  # their schemas are not at hand without network
            alone.validate()


def test_links_are_relative_and_lead_somewhere(exported: Path) -> None:
    for path in [*exported.rglob("[0-9]*.json"), exported / "catalog.json", exported / "nol/collection.json"]:
        document = json.loads(path.read_text())
        hrefs = [link["href"] for link in document["links"]]
        hrefs += [asset["href"] for asset in document.get("assets", {}).values()]
        assert hrefs
        for href in hrefs:
            assert href.startswith(".")
            assert (path.parent / href).is_file(), (path, href)


def test_an_item_tells_place_time_bands_classes_and_checksums(data_set: DataSet, exported: Path) -> None:
    item = {one.id: one for one in items_of(exported)}["128"]
    row = 4
    assert item.common_metadata.start_datetime.timestamp() == data_set.rows["time_s2"][row].min()
    assert item.common_metadata.end_datetime.timestamp() == data_set.rows["time_s1"][row].max()
    assert ProjectionExtension.ext(item).epsg == data_set.rows["crs_epsg"][row]
    assert item.properties["noldo:split"] == "train"
    assert item.properties["noldo:status"] == "kept"
    image = item.assets["spring_s2_l1c_20m"]
    assert ProjectionExtension.ext(image).shape == [6, 6]
    assert [band["name"] for band in image.extra_fields["bands"]] == ["B5", "B6", "B7", "B8A", "B11", "B12"]
    wavelengths = [band["eo:center_wavelength"] for band in image.extra_fields["bands"]]
    assert wavelengths[0] == pytest.approx(S2_WAVELENGTH_NM["B5"] / 1000)
    classes = ClassificationExtension.ext(item.assets["spring_dynamic_world_10m"]).classes
    assert [one.name for one in classes] == [*DYNAMIC_WORLD.classes, "no_data"]
    assert classes[0].color_hint == "419BDF"
    path = exported / "nol/128/spring_s2_l1c_20m.tif"
    assert FileExtension.ext(image).size == path.stat().st_size
    assert image.extra_fields["datetime"] == "2020-12-16T12:26:40Z"
    assert image.extra_fields["noldo:scene"] == "L1C"


def test_the_outline_is_that_of_the_valid_square(padded: Padded, exported_padded: Path) -> None:
    items = {one.id: one for one in items_of(exported_padded)}
    ids = padded.rows["id"].tolist()
    epsg, x, y = (int(padded.rows[name][0]) for name in ("crs_epsg", "x_ul", "y_ul"))
    shape = shapely.geometry.shape(items[str(ids[0])].geometry)
    assert shape.equals(outlines([Grid(epsg, x, y, SIDES[0])])[0])
    nowhere = items[str(ids[NOWHERE_ROW])]
    assert (nowhere.geometry, nowhere.bbox) == (None, None)
    assert "proj:code" not in nowhere.properties


def test_the_table_of_items_opens_with_geopandas(
    padded: Padded, exported: Path, exported_padded: Path
) -> None:
    table = geopandas.read_parquet(exported / "nol" / "items.parquet")
    assert table["id"].tolist() == [str(one) for one in KEPT_IDS]
    assert table.crs.to_epsg() == 4326
    by_id = {item.id: item for item in items_of(exported)}
    for one in table.itertuples():
        assert one.geometry.equals(shapely.geometry.shape(by_id[one.id].geometry))
    with_place = geopandas.read_parquet(exported_padded / "dw" / "items.parquet")
    assert str(padded.rows["id"][NOWHERE_ROW]) not in with_place["id"].tolist()
    assert len(with_place) == 3


def test_a_table_of_many_chunks_is_the_same(
    padded: Padded, exported_padded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_table, "ITEMS_PER_CHUNK", 1)
    run_export(padded.store, tmp_path)
    one, two = (
        geopandas.read_parquet(folder / "dw" / "items.parquet") for folder in (exported_padded, tmp_path)
    )
    # Chunks differ in what their items have: only two of these have a name of their place.
    assert sorted(one.columns) == sorted(two.columns)
    assert one.drop(columns="assets").equals(two[one.columns].drop(columns="assets"))
    assert one["noldo:place"].fillna("").tolist() == ["Place 0", "", "Place 4"]


def test_an_antimeridian_is_crossed_eastwards() -> None:
    shape = shapely.MultiPolygon([shapely.box(179.9, 10, 180, 11), shapely.box(-180, 10, -179.8, 11)])
    assert bbox_of(shape) == (179.9, 10, -179.8, 11)
    here = Coverage(bbox_of(shape), "2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z")
    there = Coverage((5.0, 50.0, 6.0, 51.0), "2019-01-01T00:00:00Z", "2019-02-01T00:00:00Z")
    assert extent_of([here, there]) == Coverage(
        (-180.0, 10.0, 180.0, 51.0), "2019-01-01T00:00:00Z", "2020-02-01T00:00:00Z"
    )
    assert extent_of([Coverage(None, "a", "b")]).bbox == (-180.0, -90.0, 180.0, 90.0)


# Summary, choice of products and locations


def test_locations_without_a_place_are_counted_and_named(padded: Padded, tmp_path: Path) -> None:
    summary = run_export(padded.store, tmp_path)
    assert summary.nowhere == (int(padded.rows["id"][NOWHERE_ROW]),)
    assert (
        "without a known place, so without CRS, geometry and a row of items.parquet: 1 (114)"
        in summary.render()
    )


def test_one_patch_and_some_products_may_be_exported_alone(data_set: DataSet, tmp_path: Path) -> None:
    summary = run_export(data_set.root, tmp_path, ids=[128], products=["dynamic_world"])
    assert (summary.num_locations, summary.num_files, summary.num_written) == (1, 2, 2)
    tiffs = sorted(path.name for path in tmp_path.rglob("*.tif"))
    assert tiffs == [f"{season}_dynamic_world_10m.tif" for season in ("spring", "winter")]
    (item,) = items_of(tmp_path)
    assert item.id == "128"
    # The schema of `eo` refuses items without any of its fields.
    assert not any("/eo/" in url for url in item.stac_extensions)
    assert any("/classification/" in url for url in item.stac_extensions)


def test_parts_that_are_exported_one_by_one_make_the_same_whole(
    data_set: DataSet, exported: Path, tmp_path: Path
) -> None:
    run_export(data_set.root, tmp_path, ids=[128, 100], products=["s1_grd"])
    run_export(data_set.root, tmp_path, ids=[128], products=["dynamic_world"])
    run_export(data_set.root, tmp_path)
    assert contents(tmp_path) == contents(exported)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"ids": [17]},
            StoreError,
            "ids 17: no such location; kept ones are 100, 107, 114, 128, 135 and 3 more",
        ),
        ({"ids": [100, 121]}, StoreError, "ids 121: not kept, so without pixels"),
        ({"products": ["osm"]}, ConfigError, "no product osm in the store; it has s2_l1c, s2_scl"),
        ({"subset": "dw"}, StoreError, "no store here"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    data_set: DataSet, tmp_path: Path, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as found:
        run_export(data_set.root, tmp_path, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(found.value)
    assert not list(tmp_path.rglob("*.tif"))


# Going on


def test_equal_stores_give_equal_bytes_with_any_number_of_processes(
    data_set: DataSet, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "FILES_WORTH_A_PROCESS", 1)
    run_export(data_set.root, tmp_path, processes=2)
    assert contents(tmp_path) == contents(exported)


def test_a_finished_export_is_not_written_again(data_set: DataSet, own_export: Path) -> None:
    before = changed_times(own_export)
    summary = run_export(data_set.root, own_export)
    assert summary.num_written == 0
    assert changed_times(own_export) == before


def test_an_interrupted_export_goes_on(
    data_set: DataSet, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = encoders.encode, []

    def dies(*arguments: object, **named: object) -> bytes:
        calls.append(1)
        if len(calls) > 40:
            raise KeyboardInterrupt
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(encoders, "encode", dies)
    with pytest.raises(KeyboardInterrupt):
        run_export(data_set.root, tmp_path)
    monkeypatch.setattr(encoders, "encode", real)
    before = changed_times(tmp_path)
    assert len([path for path in before if path.suffix == ".tif"]) == 40
    summary = run_export(data_set.root, tmp_path)
    assert summary.num_written == 96 - 40
    after = changed_times(tmp_path)
    assert all(after[path] == time for path, time in before.items())
    assert contents(tmp_path) == contents(exported)


def test_a_lost_or_shortened_file_is_written_again(
    data_set: DataSet, exported: Path, own_export: Path
) -> None:
    folder = own_export / "nol" / "128"
    (folder / "winter_s1_grd_10m.tif").unlink()
    (folder / "spring_dynamic_world_10m.tif.aux.xml").unlink()
    short = folder / "winter_s2_l1c_10m.tif"
    short.write_bytes(short.read_bytes()[:-10])
    summary = run_export(data_set.root, own_export)
    assert summary.num_written == 2
    assert contents(own_export) == contents(exported)


def test_a_folder_with_an_export_of_another_store_is_refused(exported: Path, tmp_path: Path) -> None:
    other = write_data_set(tmp_path / "other", layout=small_layout(locations_per_shard=3))
    before = contents(exported)
    with pytest.raises(StoreError, match="holds an export of another store"):
        run_export(other.root, exported)
    assert contents(exported) == before


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Files end at 3,000 bytes, as on a disk that is full then."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_one_line(data_set: DataSet, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"can't be written \(File too large\); free space") as found:
        run_export(data_set.root, tmp_path)
    assert "\n" not in str(found.value)
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".partial")]


def test_a_lost_shard_is_an_error_and_no_picture(data_set: DataSet, tmp_path: Path) -> None:
    shutil.copytree(data_set.root, tmp_path / "results")
    (tmp_path / "results/nol.zarr/s1_grd_10m/c/1/0/0/0/0").unlink()
    with pytest.raises(StoreError, match="shard 1 of s1_grd_10m is missing"):
        run_export(tmp_path / "results", tmp_path / "out", ids=[128])
    assert not (tmp_path / "out/nol/128/128.json").exists()


# Coming back from a damaged export


def test_a_missing_or_edited_file_is_named(own_export: Path, tmp_path: Path) -> None:
    path = own_export / "nol" / "128" / "winter_s1_grd_10m.tif"
    good = path.read_bytes()

    def message() -> str:
        with pytest.raises(StoreError) as found:
            run_import_export(own_export, tmp_path / "back")
        text = str(found.value)
        assert text.startswith(f"{path}: ")
        assert "\n" not in text
        return text

    path.unlink()
    assert "missing; export it again" in message()
    shutil.copy(own_export / "nol/100/winter_s1_grd_10m.tif", path)
    assert "transform is" in message()
    shutil.copy(own_export / "nol/107/winter_s1_grd_10m.tif", path)
    assert "CRS is EPSG:32733, expected EPSG:32632" in message()
    shutil.copy(own_export / "nol/128/winter_dynamic_world_10m.tif", path)
    assert "shape (band, y, x) is (1, 12, 12), expected (2, 12, 12)" in message()
    path.write_bytes(good)
    with rasterio.open(path, "r+") as file:
        file.write(np.zeros((2, 12, 12), np.int16))
    assert "SHA-256 is" in message()
    path.write_bytes(good)
    run_import_export(own_export, tmp_path / "back")


@pytest.mark.parametrize("name", ["nol.parquet", "nol.json", "nol.rows.parquet", "nol.zarr.json"])
def test_lost_or_edited_documents_are_named(own_export: Path, tmp_path: Path, name: str) -> None:
    path = own_export / "nol" / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(StoreError, match=f"{name}: SHA-256 is"):
        run_import_export(own_export, tmp_path / "back")
    path.unlink()
    with pytest.raises(StoreError, match=f"{name}: missing"):
        run_import_export(own_export, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_part_of_a_store_is_no_store(data_set: DataSet, tmp_path: Path) -> None:
    run_export(data_set.root, tmp_path / "out", ids=[100])
    with pytest.raises(StoreError, match=r"107\.json: missing; export location 107 again"):
        run_import_export(tmp_path / "out", tmp_path / "back")
    run_export(data_set.root, tmp_path / "out", products=["s1_grd"])
    with pytest.raises(StoreError, match=r"not in the item of location \d+; export it with all products"):
        run_import_export(tmp_path / "out", tmp_path / "back")


def test_an_item_that_is_no_json_is_named(data_set: DataSet, own_export: Path, tmp_path: Path) -> None:
    item = own_export / "nol/128/128.json"
    item.write_text("{}")
    with pytest.raises(StoreError, match=r"128\.json: lacks 'assets'; delete it and export it again"):
        run_import_export(own_export, tmp_path / "back")
    item.write_text("no json")
    with pytest.raises(StoreError, match=r"128\.json: is no JSON object"):
        run_export(data_set.root, own_export)


def test_an_interrupted_import_goes_on(data_set: DataSet, exported: Path, tmp_path: Path) -> None:
    run_import_export(exported, tmp_path)
    (tmp_path / "nol.json").unlink()
    lost = tmp_path / "nol.zarr/s2_l1c_20m/c/1/0/0/0/0"
    lost.unlink()
    before = changed_times(tmp_path)
    run_import_export(exported, tmp_path)
    after = changed_times(tmp_path)
    assert all(after[path] == time for path, time in before.items())
    assert contents(tmp_path) == contents(data_set.root)


def test_another_store_is_never_written_over(exported: Path, padded: Padded, tmp_path: Path) -> None:
    other = write_data_set(tmp_path / "other", layout=small_layout(locations_per_shard=3))
    before = contents(other.root)
    with pytest.raises(StoreError, match="belongs to another store; choose another --out"):
        run_import_export(exported, other.root)
    assert contents(other.root) == before


def test_a_folder_without_exports_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"holds nothing; give the folder that `python -m builders export` wrote to"
    ):
        run_import_export(tmp_path, tmp_path / "back")


def test_the_summary_counts_what_was_written(exported: Path, data_set: DataSet) -> None:
    summary = run_export(data_set.root, exported)
    assert isinstance(summary, ExportSummary)
    assert summary.render().startswith(f"{exported / 'nol'}: 8 locations, 96 GeoTIFFs, 0 of them written now")


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "builders", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )


def test_the_commands_write_an_export_and_read_it_back(data_set: DataSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = command("export", data_set.root, out, "--ids", 100, 128, "--products", "s1_grd", "s2_scl")
    assert answer.returncode == 0, answer.stderr
    assert (
        answer.stdout
        == f"{out / 'nol'}: 2 locations, 8 GeoTIFFs, 8 of them written now ({_megabytes(out)} MB)\n"
    )
    assert "RSS" not in answer.stderr
    refused = command("import-export", out, "--out", tmp_path / "back")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].endswith("export location 107 again")


def _megabytes(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*.tif')) / 1e6:.1f}"
