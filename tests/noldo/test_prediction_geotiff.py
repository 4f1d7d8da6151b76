"""GeoTIFFs as they are written. No torch here: one test starts processes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from noldo.errors import StoreError
from noldo.legend import DYNAMIC_WORLD, OSM_LAND_USE
from noldo.prediction.geotiff import Place, label_file, probability_file

ROOT = Path(__file__).parents[2]
HERE = Place(300, 300, "EPSG:32632", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0))


def test_a_disk_that_is_full_when_the_file_is_closed_is_an_error_and_not_half_a_map(tmp_path):
    """Not one byte fewer than the file has: GDAL says nothing of it."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from tests.noldo.test_prediction_geotiff import noise\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "noise(Path(sys.argv[1]))"
    )
    noise(tmp_path / "whole.tif")
    size = (tmp_path / "whole.tif").stat().st_size
    for limit, name in ((size, "again.tif"), (size - 1, "cut.tif"), (size // 2, "cut.tif")):
        answer = subprocess.run(
            [sys.executable, "-c", code, tmp_path / name, str(limit)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert (tmp_path / name).is_file() == (limit == size)
        assert ("StoreError" in answer.stderr) == (limit < size)
    assert not list(tmp_path.glob(".*"))


def noise(path: Path) -> None:
    """A map that hardly compresses."""
    pixels = np.random.default_rng(0).integers(0, 9, (1, 300, 300), dtype=np.uint8)
    with label_file(path, place=HERE, legend=DYNAMIC_WORLD, tags={}) as write:
        write(0, pixels[:, :256])
        write(256, pixels[:, 256:])


def test_rows_are_where_they_were_written(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (13, 300, 300), dtype=np.uint8)
    with probability_file(tmp_path / "p.tif", place=HERE, legend=OSM_LAND_USE, tags={"a": "b"}) as write:
        write(0, pixels[:, :256])
        write(256, pixels[:, 256:])
    with rasterio.open(tmp_path / "p.tif") as found:
        assert np.array_equal(found.read(), pixels)
        assert found.descriptions == OSM_LAND_USE.classes
        assert found.tags()["a"] == "b"


def test_the_same_pixels_give_the_same_bytes(tmp_path):
    noise(tmp_path / "a.tif")
    noise(tmp_path / "b.tif")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_an_error_on_the_way_leaves_what_was_there(tmp_path):
    (tmp_path / "map.tif").write_text("before")
    files = label_file(tmp_path / "map.tif", place=HERE, legend=DYNAMIC_WORLD, tags={})
    files.__enter__()(0, np.zeros((1, 256, 300), np.uint8))
    error = RuntimeError()
    assert not files.__exit__(RuntimeError, error, None)
    assert (tmp_path / "map.tif").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_can_not_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match=r"file/map\.tif: can't be written"),
        label_file(tmp_path / "file/map.tif", place=HERE, legend=DYNAMIC_WORLD, tags={}),
    ):
        pass
