import os

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from builders.expert_labels import label_files, place_label, read_label
from noldo.errors import InputError
from tests.builders.tile_files import marked, write_label

SMALL = marked(13, seed=5)


def placed(published=SMALL, *, x=600_000.0, y=5_300_000.0, epsg=32632, max_side_px=522):
    return place_label(published, epsg=epsg, transform=(10, 0, x, 0, -10, y), max_side_px=max_side_px)


def inside(label) -> np.ndarray:
    top, bottom, left, right = label.window
    return label.classes[top:bottom, left:right]


def published_as_classes(published):
    return np.where((published == 0) | (published == 10), 255, published.astype(int) - 1)


@given(
    st.sampled_from([32632, 32733]),
    st.integers(0, 59).map(lambda steps: 500_000 + 10 * steps),
    st.integers(0, 59).map(lambda steps: 5_000_000 + 10 * steps),
    st.sampled_from([510, 512]),
)
def test_a_tile_on_the_10_m_lattice_is_copied_into_the_smallest_square_of_the_60_m_lattice(epsg, x, y, side):
    published = marked(side)
    label = placed(published, x=float(x), y=float(y), epsg=epsg)
    grid = label.grid
    south = 40 if epsg == 32733 else 0
    assert (grid.x_ul % 60, (grid.y_ul - south) % 60, grid.size_px % 6) == (0, 0, 0)
    assert grid.size_px <= 522
    top, bottom, left, right = label.window
    assert (bottom - top, right - left) == (side, side)
    assert (grid.x_ul + 10 * left, grid.y_ul - 10 * top) == (x, y)
    assert max(top, left) < 6
    assert grid.size_px - max(bottom, right) < 6
    assert not label.resampled
    np.testing.assert_array_equal(inside(label), published_as_classes(published))


def test_nothing_is_labelled_around_the_tile():
    label = placed(x=600_030.0, y=5_299_980.0)
    outside = label.classes.copy()
    top, bottom, left, right = label.window
    outside[top:bottom, left:right] = 255
    assert (outside == 255).all()
    assert sum(label.counts) == ((published_as_classes(SMALL)) != 255).sum()


@given(st.floats(0.02, 9.98), st.floats(0.02, 9.98))
def test_a_tile_off_the_lattice_takes_the_class_at_each_pixels_centre_and_is_flagged(east, south):
    x, y = 600_000.0 + east, 5_300_000.0 - south
    label = placed(x=x, y=y)
    assert label.resampled
    classes = published_as_classes(SMALL)
    rows, columns = np.nonzero(np.ones(label.classes.shape))
    centre_x, centre_y = label.grid.x_ul + 10 * columns + 5, label.grid.y_ul - 10 * rows - 5
    row, column = np.floor((y - centre_y) / 10).astype(int), np.floor((centre_x - x) / 10).astype(int)
    there = (row >= 0) & (row < 13) & (column >= 0) & (column < 13)
    expected = np.full(label.classes.size, 255)
    expected[there] = classes[row[there], column[there]]
    np.testing.assert_array_equal(label.classes.ravel(), expected)


def test_a_corner_that_rounding_moved_by_a_millimetre_is_on_the_lattice():
    label = placed(x=600_000.001, y=5_299_999.999)
    assert not label.resampled
    np.testing.assert_array_equal(inside(label), published_as_classes(SMALL))


def test_the_training_layout_is_one_band(tmp_path):
    path = write_label(tmp_path / "dw_1.0_2.0-20190306.tif", marked())
    label = read_label(path, max_side_px=522)
    np.testing.assert_array_equal(inside(label), published_as_classes(marked()))
    assert label.side_px == 510


def test_the_validation_layout_is_read_by_the_bands_name_whatever_its_place(tmp_path):
    published, model = marked(512, seed=1), marked(512, seed=2) % 9
    for number, (bands, names) in enumerate(
        [((model, published), ("label", "lulc")), ((published, model), ("lulc", "label"))]
    ):
        path = write_label(tmp_path / f"{number}.tif", np.stack(bands), descriptions=names)
        label = read_label(path, max_side_px=522)
        np.testing.assert_array_equal(inside(label), published_as_classes(published))


@pytest.mark.parametrize(
    ("published", "options", "words"),
    [
        (marked(12) * 0 + 13, {}, "class 13, expected 0 (unmarked), 1 .. 9, or 10 (cloud)"),
        (marked(12), {"crs": "EPSG:4326"}, "EPSG:4326, expected a UTM zone"),
        (marked(12), {"crs": None}, "no coordinate system"),
        (marked(12), {"pixel_m": 20.0}, "pixels (20, 0, 0, -20), expected 10 m"),
        (marked(12).astype(np.float32), {}, "float32, expected whole numbers"),
        (
            np.stack([marked(12)] * 2),
            {"descriptions": ("a", "b")},
            "2 bands (a, b), expected one, or one named lulc",
        ),
        (marked(520), {"x": 600_030.0}, "needs 528 px of imagery, but dw.size_px is 522"),
        (marked(12).astype(np.int16) - 300, {}, "expected 0 .. 10"),
    ],
    ids=["class", "degrees", "no crs", "pixels", "floats", "bands", "large", "negative"],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_is_no_label_is_refused_in_words(tmp_path, published, options, words):
    path = write_label(tmp_path / "tile.tif", published, **options)
    with pytest.raises(InputError) as error:
        read_label(path, max_side_px=522)
    assert words in str(error.value)


def test_a_file_that_is_no_tiff_is_refused_in_words(tmp_path):
    path = tmp_path / "tile.tif"
    path.write_bytes(b"no tiff")
    with pytest.raises(InputError, match="label can't be read"):
        read_label(path, max_side_px=522)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_label_that_points_at_another_file_is_refused(tmp_path):
    """GDAL would follow it anywhere, whatever the file is called."""
    write_label(tmp_path / "secret/other.tif", marked(12))
    path = tmp_path / "tile.tif"
    path.write_text(
        f"""<VRTDataset rasterXSize="12" rasterYSize="12"><VRTRasterBand dataType="Byte" band="1">
        <SimpleSource><SourceFilename>{tmp_path}/secret/other.tif</SourceFilename></SimpleSource>
        </VRTRasterBand></VRTDataset>"""
    )
    with rasterio.open(path) as image:
        assert image.driver == "VRT", "or the test shows nothing"
    with pytest.raises(InputError, match=r"^label can't be read \(.*not recognized.*\)$"):
        read_label(path, max_side_px=522)


def test_what_is_no_file_is_refused_in_words(tmp_path):
    os.mkfifo(tmp_path / "tile.tif")
    for name, words in (("tile.tif", "not a regular file"), ("lost.tif", "No such file or directory")):
        with pytest.raises(InputError, match=rf"label can't be read \({words}\)"):
            read_label(tmp_path / name, max_side_px=522)


@pytest.mark.parametrize("corner", [float("nan"), float("inf"), -1e300])
def test_a_corner_that_is_in_no_zone_is_refused_in_words(tmp_path, corner):
    path = write_label(tmp_path / "tile.tif", marked(12), x=corner)
    with pytest.raises(InputError, match="expected metres of a UTM zone"):
        read_label(path, max_side_px=522)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_label_of_any_size_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "tile.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        height=4097,
        width=12,
        dtype="uint8",
        crs="EPSG:32632",
        sparse_ok=True,
    ):
        pass
    with pytest.raises(InputError, match=r"label can't be read \(12 x 4097 px, .*larger than any"):
        read_label(path, max_side_px=522)


def test_the_digest_tells_other_classes_and_another_place():
    digests = {
        placed().digest(),
        placed(x=600_010.0).digest(),
        placed(np.flipud(SMALL)).digest(),
        placed(epsg=32633).digest(),
    }
    assert len(digests) == 4
    assert placed().digest() == placed().digest()


def test_files_are_found_by_tile_in_all_folders(tmp_path):
    one = write_label(tmp_path / "Experts/north/3/dw_1.0_2.0-20190306.tif", marked(12))
    two = write_label(tmp_path / "test/label_dw_1p0_3p0-20190307.tif", marked(12))
    assert label_files([tmp_path]) == {"dw_1.0_2.0-20190306": one, "dw_1p0_3p0-20190307": two}
    write_label(tmp_path / "again/dw_1.0_2.0-20190306.tif", marked(12))
    with pytest.raises(InputError, match="of the same tile"):
        label_files([tmp_path])
    with pytest.raises(InputError, match="no such folder"):
        label_files([tmp_path / "nowhere"])
