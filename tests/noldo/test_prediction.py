"""`noldo predict`, as users call it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import Affine

from noldo import on_one_grid
from noldo.__main__ import main
from noldo.dataset import NoldoS12
from noldo.legend import DYNAMIC_WORLD
from noldo.prediction import commands
from noldo.prediction.mapper import MapFiles, Sweep, load_mapper
from noldo.prediction.scene_map import map_geotiff
from noldo.prediction.store_maps import map_store
from noldo.prediction.windows import Tiling
from noldo.training.evaluating import load_run
from noldo.training.recipe import resolved
from noldo.training.runs import run_recipe
from tests.noldo.training_set import pretrain_recipe, transfer_recipe, write_training_set

torch.set_num_threads(1)

COARSE = Affine(20, 0, 6e5, 0, -20, 5e6)
ROOT = Path(__file__).parents[2]
TEST_ID, SHORT_ID, PLACELESS_ID = 142, 114, 156
"""Of the test split; and of val: one with a tile of 60 px, one without a CRS."""


def holes(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
    """Bands that differ; no data in all of them, and in one; a tile that is smaller than its patch; unknown places."""
    pixels["s2_l1c_10m"][6, :, 0] //= 2
    pixels["s2_l1c_10m"][6, :, 2] *= 2
    pixels["s1_grd_10m"][6, :, 1] -= 600
    pixels["s2_l1c_10m"][6, :, :, :5, :7] = 65535
    pixels["s2_l1c_10m"][6, :, 1, 50:60, 50:60] = 65535
    pixels["s1_grd_10m"][6, :, :, :5, :7] = -32768
    rows["window"][2] = (0, 60, 0, 60)
    rows["crs_epsg"][[0, 1, 8]] = 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, a run of each modality, a pretraining run, and GeoTIFFs of the test location."""
    root = tmp_path_factory.mktemp("place")
    store = write_training_set(root / "store", then=holes).root
    run_recipe(transfer_recipe(store, epochs=4), out=root / "optical")
    run_recipe(transfer_recipe(store, epochs=1, modality="s1_grd"), out=root / "radar")
    for name, recipe in (("pretrained", pretrain_recipe(store)), ("unfinished", transfer_recipe(store))):
        (root / name).mkdir()
        (root / name / "recipe.json").write_text(resolved(recipe))
    scene, backscatter = location(store, "s2_l1c"), location(store, "s1_grd")
    write_scene(root / "scene.tif", scene["s2_l1c_10m"].numpy()[:3], nodata=65535)
    write_scene(root / "s1.tif", backscatter["s1_grd_10m"].numpy(), names=("VV", "VH"), nodata=-32768)
    decibels = on_one_grid(backscatter, "s1_grd").numpy()
    write_scene(root / "s1_db.tif", decibels, names=("vv", "vh"), nodata=np.nan)
    (root / "text.tif").write_text("no image")
    return root


def location(store: Path, modality: str, **options: Any) -> dict[str, Any]:
    """The test location as loaded; B2, B3, B4 in the order in which they are stored."""
    bands = ("B2", "B3", "B4") if modality == "s2_l1c" else None
    return NoldoS12(
        store, modalities=(modality,), bands=bands, split="test", season=0, labels=None, **options
    )[0]


def write_scene(path: Path, pixels: np.ndarray, *, names=("B2", "B3", "B4"), **changes: Any) -> Path:
    """A GeoTIFF of (band, y, x)."""
    profile = {
        "driver": "GTiff",
        "count": len(pixels),
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype.name,
        "crs": "EPSG:32632",
        "transform": Affine(10, 0, 600_360, 0, -10, 4_999_680),
    }
    with rasterio.open(path, "w", **(profile | changes)) as file:
        file.write(pixels)
        file.descriptions = names
    return path


def mosaic(path: Path, place: Path, *, times: int = 3, **changes: Any) -> Path:
    """The scene, several times beside and below itself."""
    with rasterio.open(place / "scene.tif") as file:
        return write_scene(path, np.tile(file.read(), (1, times, times)), nodata=65535, **changes)


def read_map(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def predict(*arguments: object) -> None:
    main(["predict", *map(str, arguments)])


def test_a_geotiff_of_a_location_is_mapped_as_the_location_of_the_store_and_as_the_network_says(
    place, tmp_path, capsys
):
    predict(place / "optical", place / "scene.tif", "--out", tmp_path / "map.tif")
    assert "4356 pixels, " in capsys.readouterr().out
    predict(place / "optical", place / "store", "--out", tmp_path / "maps")
    labels = read_map(tmp_path / "map.tif")
    assert np.array_equal(labels, read_map(tmp_path / f"maps/{TEST_ID}.tif"))
    sample = location(place / "store", "s2_l1c")
    _, network, inputs = load_run(place / "optical", num_classes=9)
    with torch.no_grad():
        logits = network(inputs({"s2_l1c_10m": sample["s2_l1c_10m"][None]})["s2_l1c"])
    expected = logits.argmax(1)[0].numpy()
    expected[:5, :7] = 255
    assert np.array_equal(labels, expected)
    assert len(np.unique(expected)) > 2


def test_a_map_lies_where_its_image_does_and_has_the_colours_and_names_of_its_classes(place, tmp_path):
    out = tmp_path / "map.tif"
    predict(place / "optical", place / "scene.tif", "--out", out)
    with rasterio.open(place / "scene.tif") as image, rasterio.open(out) as found:
        assert (found.crs, found.transform, found.shape) == (image.crs, image.transform, image.shape)
        assert (found.count, found.dtypes[0], found.nodata) == (1, "uint8", 255)
        assert (found.profile["tiled"], found.profile["compress"]) == (True, "deflate")
        colours = found.colormap(1)
        assert [colours[value][:3] for value in range(9)] == list(DYNAMIC_WORLD.rgb())
        assert found.tags(1)["class_4"] == "crops"
        tags = found.tags()
        result = json.loads((place / "optical/result.json").read_text())
        assert (tags["run"], tags["input"]) == ("optical", "scene.tif")
        assert tags["weights_of_epoch"] == str(result["weights_of_epoch"])
        assert len(tags["recipe_sha256"]) == 64
        assert tags["noldo_version"]
        assert not [value for value in tags.values() if str(place) in value or "/" in value]
    names = ElementTree.parse(tmp_path / "map.tif.aux.xml").iter("Category")
    assert tuple(name.text for name in names) == DYNAMIC_WORLD.classes
    assert "flooded vegetation" in (tmp_path / "map.qml").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.qml", "map.tif", "map.tif.aux.xml"]


def test_probabilities_are_a_band_a_class_and_agree_with_the_labels(place, tmp_path):
    mosaic(tmp_path / "scene.tif", place)
    options = ("--window", 64, "--overlap", 16, "--batch-size", 3)
    files = ("--out", tmp_path / "map.tif", "--probabilities", tmp_path / "p.tif")
    predict(place / "optical", tmp_path / "scene.tif", *files, *options)
    with rasterio.open(tmp_path / "p.tif") as found:
        assert (found.descriptions, found.dtypes[0], found.nodata) == (DYNAMIC_WORLD.classes, "uint8", 255)
        assert found.scales[0] == pytest.approx(1 / 254)
        steps = found.read().astype(int)
    labels = read_map(tmp_path / "map.tif")
    seen = labels != 255
    assert (steps[:, ~seen] == 255).all()
    assert (np.abs(steps[:, seen].sum(axis=0) - 254) <= 5).all()
    assert (steps[labels[seen], *np.nonzero(seen)] == steps[:, seen].max(axis=0)).all()
    assert (~seen).sum() == 9 * 5 * 7


def test_decibels_and_hundredths_of_them_give_the_map_of_the_store(place, tmp_path):
    predict(place / "radar", place / "store", "--out", tmp_path)
    expected = read_map(tmp_path / f"{TEST_ID}.tif")
    assert (expected[:5, :7] == 255).all()
    for name in ("s1", "s1_db"):
        predict(place / "radar", place / f"{name}.tif", "--out", tmp_path / "map.tif")
        assert np.array_equal(read_map(tmp_path / "map.tif"), expected)


def test_the_network_computes_in_the_precision_of_its_run(place, tmp_path):
    shutil.copytree(place / "radar", tmp_path / "run")
    recipe = json.loads((tmp_path / "run/recipe.json").read_text())
    (tmp_path / "run/recipe.json").write_text(json.dumps(recipe | {"precision": "bf16-mixed"}))
    image = {"s1_grd": torch.zeros(1, 2, 32, 32)}
    with torch.no_grad():
        assert load_mapper(tmp_path / "run").network(image).dtype == torch.bfloat16
        assert load_mapper(place / "radar").network(image).dtype == torch.float32


def test_bands_may_be_named_in_the_order_of_the_file_among_others(place, tmp_path):
    with rasterio.open(place / "scene.tif") as file:
        blue, green, red = file.read()
    mixed = np.stack([green, blue * 0, red, blue])
    write_scene(tmp_path / "mixed.tif", mixed, names=("", "", "", ""), nodata=65535)
    for image, options in ((place / "scene.tif", ()), (tmp_path / "mixed.tif", ("--bands", "B3,odd,b04,B2"))):
        predict(place / "optical", image, "--out", tmp_path / f"{image.stem}_map.tif", *options)
    assert np.array_equal(read_map(tmp_path / "mixed_map.tif"), read_map(tmp_path / "scene_map.tif"))


def test_a_mask_in_the_file_counts_like_a_no_data_value(place, tmp_path):
    with rasterio.open(place / "scene.tif") as file:
        pixels = np.where(file.read() == 65535, 400, file.read()).astype(np.uint16)
    image = write_scene(tmp_path / "masked.tif", pixels)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(image, "r+") as file:
        mask = np.full(file.shape, 255, np.uint8)
        mask[10:20, 30:] = 0
        file.write_mask(mask)
    predict(place / "optical", image, "--out", tmp_path / "map.tif")
    assert np.array_equal(read_map(tmp_path / "map.tif") == 255, mask == 0)


def test_a_store_is_mapped_a_location_a_file_and_only_its_valid_imagery(place, tmp_path, capsys):
    predict(place / "optical", place / "store", "--out", tmp_path, "--split", "val", "--season", "summer")
    assert "2 maps, 2 made now" in capsys.readouterr().out
    with rasterio.open(tmp_path / f"{SHORT_ID}.tif") as found:
        assert found.shape == (60, 60)
        assert found.crs.to_epsg() == 32632
        assert tuple(found.transform)[:6] == (10, 0, 600_120, 0, -10, 4_999_920)
        assert found.tags()["season"] == "summer"
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        assert rasterio.open(tmp_path / f"{PLACELESS_ID}.tif").crs is None


def test_maps_that_are_there_are_not_made_again_and_those_of_another_run_are_not_taken_for_them(
    place, tmp_path, caplog, capsys
):
    arguments = (place / "optical", place / "store/nol.zarr", "--out", tmp_path, "--split", "train")
    predict(*arguments)
    told = [one.getMessage() for one in caplog.records if "without a CRS" in one.getMessage()]
    assert len(told) == 1, "there are two of them"
    num_maps = len(list(tmp_path.glob("*.tif")))
    (lost, *kept) = sorted(tmp_path.glob("*.tif"))
    before = {path: path.stat().st_mtime_ns for path in kept}
    content = lost.read_bytes()
    lost.unlink()
    capsys.readouterr()
    predict(*arguments)
    assert f"{num_maps} maps, 1 made now" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert lost.read_bytes() == content
    with pytest.raises(SystemExit):
        predict(place / "radar", *arguments[1:])
    assert "run is optical, radar here; give another --out" in capsys.readouterr().err


def test_a_killed_run_leaves_no_map_and_none_of_its_parts(place, tmp_path):
    mosaic(tmp_path / "scene.tif", place)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_geotiff(
            load_mapper(place / "optical"),
            tmp_path / "scene.tif",
            files=MapFiles(tmp_path / "map.tif", tmp_path / "p.tif"),
            sweep=Sweep(Tiling(64, 16)),
            progress=interrupt,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_an_odd_grid_is_mapped_with_one_line_of_warning(place, tmp_path, caplog):
    mosaic(tmp_path / "coarse.tif", place, times=1, transform=COARSE)
    predict(place / "optical", tmp_path / "coarse.tif", "--out", tmp_path / "map.tif")
    (told,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "its pixels are 20 x 20 m; the network learnt from 10 m pixels in UTM" in told
    with rasterio.open(tmp_path / "map.tif") as found:
        assert found.transform == COARSE


def test_progress_is_lines_in_a_log(place, tmp_path, caplog):
    mosaic(tmp_path / "scene.tif", place)
    options = ("--window", 64, "--overlap", 16)
    predict(place / "optical", tmp_path / "scene.tif", "--out", tmp_path / "map.tif", *options)
    told = [one.getMessage() for one in caplog.records if one.levelname == "INFO"]
    assert told[0] == "predict: row 1 of 4, 48 lines"
    assert told[-1] == "predict: row 4 of 4, 198 lines"


def test_a_damaged_image_is_one_line_and_leaves_no_map(place, tmp_path, capsys):
    content = bytearray(mosaic(tmp_path / "scene.tif", place, compress="deflate").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    (tmp_path / "scene.tif").write_bytes(content)
    with pytest.raises(SystemExit):
        predict(place / "optical", tmp_path / "scene.tif", "--out", tmp_path / "map.tif")
    assert "can't be read" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["optical", "lost.tif", "--out", "x.tif"], "lost.tif: no such file; give a GeoTIFF, or the folder"),
        (["optical", "text.tif", "--out", "x.tif"], "text.tif: not a GeoTIFF that can be read"),
        (["optical", "s1.tif", "--out", "x.tif"], "no band B2, B3, B4; the network takes B2, B3, B4, the file has VV, VH"),
        (["radar", "scene.tif", "--out", "x.tif"], "no band VV, VH"),
        (["optical", "s1.tif", "--out", "x.tif", "--bands", "B2,B3"], "no band B4"),
        (["optical", "scene.tif", "--out", "x.tif", "--bands", "B2"], "3 bands, but --bands names 1 (B2)"),
        (["radar", "scene.tif", "--out", "x.tif", "--bands", "VV,VH,no"], "numbers of type uint16, expected dB"),
        (["store", "scene.tif", "--out", "x.tif"], "recipe.json: can't be read"),
        (["pretrained", "scene.tif", "--out", "x.tif"], "a run of kind pretrain; only transfer runs and self_train runs"),
        (["unfinished", "scene.tif", "--out", "x.tif"], "not finished; run it to its end"),
        (["optical", "scene.tif", "--out", "store"], "a folder, but the map of a GeoTIFF is a file"),
        (["optical", "scene.tif", "--out", "x.png"], "expected a name that ends in .tif"),
        (["optical", "scene.tif", "--out", "scene.tif"], "would replace the image; give another name"),
        (["optical", "scene.tif", "--out", "x.tif", "--probabilities", "x.tif"], "would replace the map"),
        (["optical", "scene.tif", "--out", "text.tif/x.tif"], "text.tif/x.tif: can't be written"),
        (["optical", "scene.tif", "--out", "x.tif", "--window", "64", "--overlap", "64"], "overlap 64 px: expected 0 or more"),
        (["optical", "scene.tif", "--out", "x.tif", "--window", "0"], "window 0 px: expected 1 or more"),
        (["optical", "scene.tif", "--out", "x.tif", "--batch-size", "0"], "batch size 0: expected 1 or more"),
        (["optical", "scene.tif", "--out", "x.tif", "--split", "val"], "no store, for which --split means nothing"),
        (["optical", "store", "--out", "x", "--bands", "B2"], "a store, for which --bands means nothing"),
        (["optical", "store", "--out", "text.tif"], "a file, but the maps of a store need a folder"),
        (["optical", "store", "--out", "x", "--split", "all"], "split 'all': expected one of train, val, test"),
        (["optical", "store", "--out", "x", "--season", "autumn"], "season 'autumn': expected"),
        (["optical", "store", "--out", "x", "--subset", "dw"], "dw.zarr: no store here"),
        (["optical", "lost.zarr", "--out", "x"], "lost.zarr: no store here"),
        (["optical", "optical", "--out", "x"], "nol.zarr: no store here"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(place, capsys, arguments, words):
    paths = {"optical", "radar", "store", "pretrained", "unfinished"}
    filled = [
        str(place / one) if one in paths or one.endswith((".tif", ".zarr", ".png", "x")) else one
        for one in arguments
    ]
    before = sorted(place.iterdir())
    with pytest.raises(SystemExit) as ended:
        predict(*filled)
    assert ended.value.code == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert words in told[-1]
    assert told[-1].startswith("noldo: ")
    assert sorted(place.iterdir()) == before


def test_a_folder_with_something_else_under_a_maps_name_is_refused(place, tmp_path):
    (tmp_path / f"{TEST_ID}.tif").write_text("a note")
    with pytest.raises(ValueError, match=f"{TEST_ID}.tif: is there, but run is not told, optical here"):
        map_store(load_mapper(place / "optical"), str(place / "store"), out=tmp_path)


def test_a_missing_rasterio_is_one_clear_line(monkeypatch, capsys):
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        predict("run", "scene.tif", "--out", "map.tif")
    assert "maps need rasterio; run `pip install" in capsys.readouterr().err


def test_nothing_but_a_map_loads_rasterio():
    code = "import sys, noldo.__main__, noldo.reader, noldo.prediction.commands; print('rasterio' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert answer.stdout == "False\n"
