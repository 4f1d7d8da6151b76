"""SSL4EO-S12 v1.0, from files in its published layout."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from builders.import_ssl4eo_v1 import Ssl4eoV1, import_ssl4eo_v1
from builders.import_store import ImportSummary
from noldo.dataset import NoldoS12
from noldo.errors import InputError
from noldo.manifest import read_manifest
from noldo.products import S1_BANDS, S2_L1C_BANDS, S2_L2A_BANDS
from noldo.reader import StoreReader
from noldo.verify import verify
from tests.builders.imported import files_of, index_of, pixels_of, reasons_of, target
from tests.builders.published.geotiffs import write_tif
from tests.builders.published.ssl4eo_v1 import SIDE_PX, PublishedV1, scene_names, write_ssl4eo_v1

TEN, TWENTY, SIXTY = ("B2", "B3", "B4", "B8"), ("B5", "B6", "B7", "B8A", "B11", "B12"), ("B1", "B9", "B10")


def run(root: Path, out: Path, **told: object) -> ImportSummary:
    return import_ssl4eo_v1(Ssl4eoV1(root, patch_size_px=SIDE_PX, **told), target(out))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[PublishedV1, Path]:
    """All modalities of three locations, and their import; nobody changes them."""
    root = tmp_path_factory.mktemp("whole")
    published = write_ssl4eo_v1(root / "ssl4eo", ids=(3, 17, 24))
    before = {path: path.stat().st_mtime_ns for path in published.root.rglob("*")}
    run(published.root, root / "out")
    assert {path: path.stat().st_mtime_ns for path in published.root.rglob("*")} == before, (
        "the source is left alone"
    )
    return published, root / "out"


def test_every_number_survives_at_its_native_resolution(whole):
    published, out = whole
    assert verify(out).problems == ()
    assert read_manifest(out / "nol.json").locations_kept == 3
    for row, location in enumerate(published.ids):
        for modality, product in (("s2c", "s2_l1c"), ("s2a", "s2_l2a")):
            for group, resolution_m in ((TEN, 10), (TWENTY, 20), (SIXTY, 60)):
                names = [name for name in group if name != "B10" or product == "s2_l1c"]
                np.testing.assert_array_equal(
                    pixels_of(out, f"{product}_{resolution_m}m", row),
                    published.bands(modality, location, names),
                )
        stored = pixels_of(out, "s1_grd_10m", row) / 100
        np.testing.assert_allclose(stored, published.bands("s1", location, S1_BANDS), atol=0.0051)


def test_times_scenes_and_place_come_from_names_and_headers(whole):
    _, out = whole
    row = index_of(out)[1]
    assert (row["id"], row["name"], row["split"]) == (17, "0000017", "train")
    assert row["scene_s2_l1c"] == scene_names("s2c")
    assert row["scene_s1_grd"] == scene_names("s1")
    assert [str(when) for when in row["time_s2"]][1] == "2020-06-12 10:36:29+00:00"
    assert [str(when) for when in row["time_s1"]][3] == "2020-12-05 05:34:06+00:00"
    assert row["tile"] == ["32TPT"] * 4
    assert (row["georeference"], row["source_crs"]) == ("approximate", "EPSG:4326")
    assert row["source_bounds"] == pytest.approx([10.49832, 47.7988, 10.50168, 47.8012])
    assert row["crs_epsg"] == 32632
    assert (row["lon"], row["lat"]) == pytest.approx((10.5, 47.8))
    reader = StoreReader.open(out / "nol.zarr")
    assert reader.row_values("x_ul")[1] == row["x_ul"] == pytest.approx(612_220, abs=300)
    assert read_manifest(out / "nol.json").georeference == "approximate"


def test_what_was_imported_can_be_loaded(whole):
    _, out = whole
    sample = NoldoS12(out, season="second", labels=None)[2]
    assert sample["id"] == 24
    assert sample["s2_l1c_20m"].shape == (6, SIDE_PX // 2, SIDE_PX // 2)


def test_bands_that_were_published_at_10_m_but_are_copies_are_stored_once(tmp_path):
    published = write_ssl4eo_v1(tmp_path / "fine", ids=(3, 24), upsampled=True, modalities=("s2c",))
    run(published.root, tmp_path / "out")
    np.testing.assert_array_equal(
        pixels_of(tmp_path / "out", "s2_l1c_60m", 1), published.bands("s2c", 24, SIXTY)
    )
    assert files_of(tmp_path / "out")


def test_a_band_that_is_no_copy_stops_the_import_and_names_the_place(tmp_path):
    published = write_ssl4eo_v1(tmp_path / "fine", ids=(3, 24), upsampled=True, modalities=("s2c",))
    changed = published.tif("s2c", 24, 2, "B9")
    fine = np.arange(SIDE_PX**2, dtype=np.uint16).reshape(SIDE_PX, SIDE_PX)
    write_tif(changed, fine)
    with pytest.raises(InputError, match=r"s2c/0000024: B9 was resampled.*--keep-upsampled"):
        run(published.root, tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    run(published.root, tmp_path / "out", keep_upsampled=True)
    assert verify(tmp_path / "out").problems == ()
    array = next(one for one in read_manifest(tmp_path / "out/nol.json").arrays if one.product == "s2_l1c")
    assert (array.name, array.is_native, array.bands) == ("s2_l1c_resampled_10m", False, S2_L1C_BANDS)
    np.testing.assert_array_equal(
        pixels_of(tmp_path / "out", "s2_l1c_resampled_10m", 1)[2, S2_L1C_BANDS.index("B9")], fine
    )


def test_bytes_stay_bytes_and_say_by_which_rule(tmp_path):
    published = write_ssl4eo_v1(tmp_path / "bytes", ids=(3, 17), as_bytes=True)
    run(published.root, tmp_path / "out")
    assert verify(tmp_path / "out").problems == ()
    arrays = {one.name: one for one in read_manifest(tmp_path / "out/nol.json").arrays}
    assert list(arrays) == ["s2_l1c_uint8_10m", "s2_l2a_uint8_10m", "s1_grd_uint8_10m"]
    assert {one.quantization for one in arrays.values()} == {"ssl4eo_uint8"}
    stored = pixels_of(tmp_path / "out", "s2_l2a_uint8_10m", 1)
    for position, band in enumerate(S2_L2A_BANDS):
        published_band = published.bands("s2a", 17, [band])[:, 0]
        factor = SIDE_PX // published_band.shape[-1]
        np.testing.assert_array_equal(stored[:, position, ::factor, ::factor], published_band)
        np.testing.assert_array_equal(
            stored[:, position, factor - 1 :: factor, factor - 1 :: factor], published_band
        )
    assert any("each pixel repeated" in note for note in read_manifest(tmp_path / "out/nol.json").notes)


def test_faults_are_masked_rows_with_their_reasons(tmp_path):
    published = write_ssl4eo_v1(tmp_path / "ssl4eo", ids=range(1, 10), modalities=("s1", "s2c"))
    published.tif("s2c", 1, 0, "B4").unlink()
    published.tif("s2c", 2, 1, "B4").write_bytes(b"II*\0 no tif")
    write_tif(published.tif("s2c", 3, 1, "B4"), np.zeros((SIDE_PX - 1, SIDE_PX - 1), np.uint16))
    shutil.rmtree(published.tif("s1", 4, 2, "VV").parent)
    shutil.rmtree(published.root / "s1/0000005")
    for season in range(4):
        write_tif(published.tif("s2c", 6, season, "B11"), np.zeros((SIDE_PX, SIDE_PX // 2), np.uint16))
    write_tif(published.tif("s1", 7, 0, "VV"), np.full((SIDE_PX, SIDE_PX), 400, np.float32))
    write_tif(published.tif("s2c", 8, 0, "B2"), np.zeros((SIDE_PX, SIDE_PX), np.float32))
    (published.root / "s2c/README").touch()
    summary = run(published.root, tmp_path / "out")
    assert verify(tmp_path / "out").problems == ()
    reasons = reasons_of(tmp_path / "out")
    assert set(reasons) == set(range(1, 9))
    assert reasons[1].startswith("missing file: s2c/0000001/20200302T103629")
    assert reasons[1].endswith("B4.tif")
    assert reasons[2].startswith("unreadable file: s2c/0000002")
    assert "vsimem" not in reasons[2]
    assert "expected one band of one size" in reasons[3]
    assert reasons[4] == "missing scene: s1/0000004 has 3 scenes, expected 4"
    assert reasons[5] == "missing scene: s1/0000005 has 0 scenes, expected 4"
    assert "wrong size: B11 has 24 x 12 px" in reasons[6]
    assert "no decibels" in reasons[7]
    assert "wrong type" in reasons[8]
    assert dict(summary.imported.reasons)["missing scene"] == 2
    assert summary.plan.unmatched == ("README",)
    assert "not used: 1 names (README)" in summary.render()
    assert str(tmp_path) not in str(reasons), "reasons do not depend on where the data set lies"


def test_no_data_of_radar_is_no_data_here(tmp_path):
    published = write_ssl4eo_v1(tmp_path / "ssl4eo", modalities=("s1",))
    values = np.full((SIDE_PX, SIDE_PX), -12.344, np.float32)
    values[0, :2] = np.nan, -np.inf
    write_tif(published.tif("s1", 3, 0, "VV"), values)
    run(published.root, tmp_path / "out")
    assert pixels_of(tmp_path / "out", "s1_grd_10m", 0)[0, 0, 0, :3].tolist() == [-32768, -32768, -1234]


def test_the_noisy_labels_of_noldo_go_with_the_images(tmp_path):
    published = write_ssl4eo_v1(tmp_path / "ssl4eo", modalities=("s2c",), labels=True)
    folder = tmp_path / "ssl4eo_s12_nol"
    odd = folder / "dw_noisy_labels/0000017" / scene_names("s2c")[1] / "label.tif"
    odd.unlink()
    negative = published.labels[24, 0].copy()
    negative[0, :5] = -1
    write_tif(folder / "dw_noisy_labels/0000024" / scene_names("s2c")[0] / "label.tif", negative)
    strange = published.labels[31, 0].copy()
    strange[0, 0] = 9
    write_tif(folder / "dw_noisy_labels/0000031" / scene_names("s2c")[0] / "label.tif", strange)
    shutil.rmtree(folder / "dw_noisy_labels/0000040")
    (folder / "dw_complete_ids.csv").touch()
    with zipfile.ZipFile(tmp_path / "ssl4eo_s12_nol.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(tmp_path))
    for name, labels in (("folder", folder), ("zip", tmp_path / "ssl4eo_s12_nol.zip")):
        summary = run(published.root, tmp_path / name, labels=labels)
        assert verify(tmp_path / name).problems == ()
        assert [row["id"] for row in index_of(tmp_path / name)] == [3, 17, 24, 31], "only what has labels"
        assert reasons_of(tmp_path / name)[17].startswith("missing file: label of 0000017")
        assert reasons_of(tmp_path / name)[31].startswith("unknown class: ")
        np.testing.assert_array_equal(
            pixels_of(tmp_path / name, "dynamic_world_10m", 0),
            np.stack([published.labels[3, season] for season in range(4)]),
        )
        assert pixels_of(tmp_path / name, "dynamic_world_10m", 2)[0, 0, :5].tolist() == [255] * 5
        assert list(summary.imported.counted.values()) == [5]
        assert any(one.endswith("dw_complete_ids.csv") for one in summary.plan.unmatched)
    assert NoldoS12(tmp_path / "zip", season="first").ids.tolist() == [3, 24]
    folders, zips = files_of(tmp_path / "folder"), files_of(tmp_path / "zip")
    zips["nol.json"] = zips["nol.json"].replace(b'"zip"', b'"folder"')
    folders.pop("nol.parquet"), zips.pop("nol.parquet")  # reasons name files as they lie in either
    assert folders == zips


def test_a_folder_that_holds_something_else_is_said(tmp_path):
    with pytest.raises(InputError, match=r"none of the folders s2c, s2a, s1"):
        run(tmp_path, tmp_path / "out")
    (tmp_path / "s2c/0000001").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no scene with a readable B2\.tif"):
        run(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
