"""GeoTIFFs of strangers."""

import struct
import tracemalloc

import numpy as np
import pytest
import rasterio

from builders.import_items import BadItemError
from builders.import_places import raster_placement
from builders.published_geotiff import read_geotiff
from tests.builders.published.geotiffs import UTM, write_tif


def tif(tmp_path, values, **options):
    write_tif(tmp_path / "x.tif", values, **options)
    return (tmp_path / "x.tif").read_bytes()


def placement_of(raster):
    return raster_placement(
        crs=raster.crs, transform=raster.transform, bounds=raster.bounds, side_px=raster.values.shape[-1]
    )


def test_values_place_and_names_of_bands_are_read(tmp_path):
    values = np.arange(2 * 6 * 6, dtype=np.uint16).reshape(2, 6, 6)
    raster = read_geotiff(tif(tmp_path, values, bands=("label", "lulc"), no_data=3), where="x.tif")
    np.testing.assert_array_equal(raster.values, values)
    assert (raster.crs, raster.bands, raster.no_data) == ("EPSG:32632", ("label", "lulc"), 3)
    assert raster.bounds == (600_000, 5_299_980, 600_060, 5_300_040)
    place = placement_of(raster)
    assert (place.grid.x_ul, place.grid.y_ul, place.georeference) == (600_000, 5_300_040, "exact")


def test_a_corner_between_metres_is_approximate(tmp_path):
    transform = (10.0, 0.0, 600_000.4, 0.0, -10.0, 5_300_040.0)
    place = placement_of(read_geotiff(tif(tmp_path, np.zeros((6, 6), "u1"), transform=transform), where="x"))
    assert (place.grid.x_ul, place.georeference) == (600_000, "approximate")
    assert place.source_bounds[0] == 600_000.4


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (None, (1, 0, 0, 0, 1, 0)),
        ("EPSG:3035", UTM[1]),
        ("EPSG:32632", (20.0, 0.0, 0.0, 0.0, -20.0, 0.0)),
        ("EPSG:32632", (10.0, 0.5, 0.0, 0.5, -10.0, 0.0)),
        ("EPSG:4326", (0.001, 0.0, 10.0, 0.0, -0.001, 89.0)),
    ],
)
def test_what_lies_on_no_grid_of_ours_has_no_place(tmp_path, crs, transform):
    place = placement_of(
        read_geotiff(tif(tmp_path, np.zeros((6, 6), "u1"), crs=crs, transform=transform), where="x")
    )
    assert (place.grid, place.georeference, place.source_crs) == (None, "none", crs or "")


def with_tag(content: bytes, tag: int, value: int) -> bytes:
    """A TIFF whose header says another number."""
    start = struct.unpack("<I", content[4:8])[0]
    count = struct.unpack("<H", content[start : start + 2])[0]
    changed = bytearray(content)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack("<H", content[at : at + 2])[0] == tag:
            changed[at + 2 : at + 12] = struct.pack("<HII", 4, 1, value)
            return bytes(changed)
    raise AssertionError(f"no tag {tag}")


WIDTH, HEIGHT, ROWS_PER_STRIP = 256, 257, 278


@pytest.mark.parametrize(
    ("tag", "value"), [(WIDTH, 2_000_000_000), (HEIGHT, 2_000_000_000), (WIDTH, 5_000), (HEIGHT, 0)]
)
def test_an_absurd_size_is_refused_before_it_is_read(tmp_path, tag, value):
    content = with_tag(tif(tmp_path, np.zeros((6, 6), "u2"), compress="deflate"), tag, value)
    with pytest.raises(BadItemError, match=r"unreadable file: a/x\.tif"):
        read_geotiff(content, where="a/x.tif")


def test_blocks_that_are_larger_than_any_image_are_refused(tmp_path):
    values = np.zeros((16, 16), "u1")
    content = tif(
        tmp_path, values, tiled=True, blockxsize=16_384, blockysize=16_384, compress="deflate", sparse_ok=True
    )
    with pytest.raises(BadItemError, match="larger than any that is published"):
        read_geotiff(content, where="x.tif")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_small_file_may_not_claim_gigabytes_of_pixels(tmp_path):
    """4096 x 4096 px of 32 bands of 8 bytes: each number is allowed, together they are 4 GiB."""
    with rasterio.open(
        tmp_path / "x.tif",
        "w",
        driver="GTiff",
        count=32,
        height=4096,
        width=4096,
        dtype="float64",
        tiled=True,
        blockxsize=16,
        blockysize=16,
        sparse_ok=True,
        interleave="pixel",
    ):
        pass
    content = (tmp_path / "x.tif").read_bytes()
    assert len(content) < 2 << 20
    words = r"x\.tif \(4096 x 4096 px, 32 bands of 8 bytes, .*: larger than any"
    tracemalloc.start()
    try:
        with pytest.raises(BadItemError, match=words):
            read_geotiff(content, where="x.tif")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_pixels_that_numpy_has_no_word_for_are_refused(tmp_path):
    with rasterio.open(
        tmp_path / "x.tif", "w", driver="GTiff", count=1, height=6, width=6, dtype="complex_int16", crs=UTM[0]
    ):
        pass
    with pytest.raises(BadItemError, match="pixels of complex_int16, expected whole or real numbers"):
        read_geotiff((tmp_path / "x.tif").read_bytes(), where="x.tif")


def test_names_of_bands_stay_one_short_line(tmp_path):
    content = tif(tmp_path, np.zeros((2, 6, 6), "u1"), bands=("lulc\n\x1b[2J", "a" * 10_000))
    first, second = read_geotiff(content, where="x.tif").bands
    assert first == "lulc [2J"
    assert second == "a" * 80


def test_too_many_bands_are_refused(tmp_path):
    with pytest.raises(BadItemError, match="33 bands"):
        read_geotiff(tif(tmp_path, np.zeros((33, 6, 6), "u1")), where="x.tif")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_only_geotiffs_are_opened_whatever_a_file_is_called(tmp_path):
    """A VRT would make GDAL open other files, or addresses."""
    write_tif(tmp_path / "secret.tif", np.zeros((6, 6), "u1"))
    vrt = f"""<VRTDataset rasterXSize="6" rasterYSize="6"><VRTRasterBand dataType="Byte" band="1">
        <SimpleSource><SourceFilename>{tmp_path}/secret.tif</SourceFilename></SimpleSource>
        </VRTRasterBand></VRTDataset>"""
    (tmp_path / "x.vrt").write_text(vrt)
    with rasterio.open(tmp_path / "x.vrt") as image:
        assert image.count == 1, "or the test shows nothing"
    for content in (vrt.encode(), b"", b"II*\0", b"\x89PNG\r\n\x1a\n" + bytes(100)):
        with pytest.raises(BadItemError, match=r"unreadable file: x\.tif"):
            read_geotiff(content, where="x.tif")


def test_a_cut_file_is_unreadable_and_the_reason_is_the_same_each_time(tmp_path):
    content = tif(
        tmp_path, np.random.default_rng(0).integers(0, 255, (60, 60)).astype("u1"), compress="deflate"
    )
    messages = set()
    for _ in range(3):
        with pytest.raises(BadItemError) as error:
            read_geotiff(content[:-2_000], where="x.tif")
        messages.add(str(error.value))
    assert len(messages) == 1
