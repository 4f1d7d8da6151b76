"""SSL4EO-S12 v1.1, from files in its published layout."""

import json
import logging
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from builders.archive_members import ArchiveError
from builders.import_ssl4eo_v11 import Ssl4eoV11, import_ssl4eo_v11
from builders.import_store import ImportSummary
from noldo.dataset import NoldoS12
from noldo.errors import InputError
from noldo.manifest import read_manifest
from noldo.verify import verify
from tests.builders.imported import index_of, pixels_of, reasons_of, target
from tests.builders.published.ssl4eo_v11 import SIDE_PX, PublishedV11, write_ssl4eo_v11, write_zip

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")

ORDER = ["0000173", "0000012", "0080717", "0060573", "0179869", "0012333"]
"""That of the files."""


def run(root: Path, out: Path, **told: object) -> ImportSummary:
    return import_ssl4eo_v11(Ssl4eoV11(root, patch_size_px=SIDE_PX, **told), target(out))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[PublishedV11, Path]:
    root = tmp_path_factory.mktemp("whole")
    published = write_ssl4eo_v11(root / "v11")
    run(published.root, root / "out")
    return published, root / "out"


def assert_pixels_are_published(published: PublishedV11, out: Path) -> None:
    for row, name in enumerate(ORDER):
        values = published.values["s2_l1c", name]
        np.testing.assert_array_equal(pixels_of(out, "s2_l1c_10m", row), values[:, [1, 2, 3, 7]])
        np.testing.assert_array_equal(
            pixels_of(out, "s2_l1c_20m", row), values[:, [4, 5, 6, 8, 11, 12], ::2, ::2]
        )
        np.testing.assert_array_equal(pixels_of(out, "s2_l1c_60m", row), values[:, [0, 9, 10], ::6, ::6])


def test_every_number_survives_and_coarse_bands_are_stored_once(whole):
    published, out = whole
    assert verify(out).problems == ()
    assert_pixels_are_published(published, out)
    for row, name in enumerate(ORDER):
        level2 = published.values["s2_l2a", name]
        np.testing.assert_array_equal(pixels_of(out, "s2_l2a_60m", row), level2[:, [0, 9], ::6, ::6])
        radar = published.values["s1_grd", name].astype(float)
        np.testing.assert_allclose(pixels_of(out, "s1_grd_10m", row) / 100, radar, atol=0.0051)


def test_rows_follow_the_files_and_say_what_the_variables_say(whole):
    _, out = whole
    rows = index_of(out)
    assert [row["name"] for row in rows] == ORDER
    assert [row["id"] for row in rows] == [int(name) for name in ORDER]
    assert [row["split"] for row in rows] == ["train"] * 5 + ["val"]
    row = rows[2]
    assert row["tile"] == ["51TXG"] * 4
    assert row["scene_s1_grd"][0].startswith("S1B_IW_GRDH_1SDV_20200302T103629")
    assert [str(when) for when in row["time_s2"]][1] == "2020-06-12 10:36:29+00:00"
    assert [str(when) for when in row["time_s1"]][1] == "2020-06-12 10:36:29+00:00"
    assert (row["crs_epsg"], row["x_ul"], row["y_ul"]) == (32632, 600_000 + 807_170, 5_300_040)
    assert (row["georeference"], row["source_crs"]) == ("exact", "EPSG:32632")
    assert NoldoS12(out, split="val", season=0, labels=None)[0]["id"] == 12333


@pytest.mark.parametrize(
    "how",
    [
        {"chunk_samples": 3},
        {"zarr_format": 3},
        {"renamed": {"bands": "image", "time_": "when", "sample": "sample_id"}},
    ],
    ids=["chunks of several samples", "zarr v3", "other names"],
)
def test_other_ways_to_write_it_are_read_too(tmp_path, how):
    published = write_ssl4eo_v11(tmp_path / "v11", products=("s2_l1c",), **how)
    run(published.root, tmp_path / "out")
    assert_pixels_are_published(published, tmp_path / "out")
    assert str(index_of(tmp_path / "out")[0]["time_s2"][0]) == "2020-03-02 10:36:29+00:00"


def test_names_of_variables_can_be_given_and_what_was_found_is_told(tmp_path, caplog):
    renamed = {"bands": "reflectance", "sample": "patch"}
    published = write_ssl4eo_v11(tmp_path / "v11", products=("s2_l1c",), renamed=renamed)
    with pytest.raises(InputError, match=r"--variables\.sample"):
        run(published.root, tmp_path / "out")
    with pytest.raises(InputError, match=r"no variable mask; it has"):
        run(published.root, tmp_path / "out", variables={"bands": "mask"})
    with pytest.raises(InputError, match="--variables pixels"):
        run(published.root, tmp_path / "out", variables={"pixels": "mask"})
    with caplog.at_level(logging.INFO):
        run(published.root, tmp_path / "out", variables={"bands": "reflectance", "sample": "patch"})
    assert "bands is 'reflectance', sample is 'patch', time is 'time_'" in caplog.text
    assert_pixels_are_published(published, tmp_path / "out")


def test_resampled_bands_stop_the_import_unless_they_are_to_be_kept(tmp_path):
    published = write_ssl4eo_v11(tmp_path / "v11", products=("s2_l1c", "s1_grd"), resampled=True)
    with pytest.raises(InputError, match=r"000001\.zarr\.zip, 0000173: B5 was resampled.*--keep-upsampled"):
        run(published.root, tmp_path / "out")
    run(published.root, tmp_path / "kept", keep_upsampled=True)
    assert verify(tmp_path / "kept").problems == ()
    np.testing.assert_array_equal(
        pixels_of(tmp_path / "kept", "s2_l1c_resampled_10m", 3), published.values["s2_l1c", "0060573"]
    )
    assert not read_manifest(tmp_path / "kept/nol.json").arrays[0].is_native


@pytest.mark.parametrize("product", ["s2_l1c", "s2_l2a"])
def test_an_offset_is_asked_about_and_taken_off(tmp_path, product):
    published = write_ssl4eo_v11(tmp_path / "v11", products=(product,), offset=1000)
    with pytest.raises(InputError, match="--offset 1000 to take it off, or --offset 0"):
        run(published.root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    run(published.root, tmp_path / "off", offset=1000)
    run(published.root, tmp_path / "on", offset=0)
    off, on = (pixels_of(tmp_path / name, f"{product}_10m", 0) for name in ("off", "on"))
    np.testing.assert_array_equal(on, published.values[product, "0000173"][:, [1, 2, 3, 7]])
    np.testing.assert_array_equal(off, on - 1000)
    assert "1000 was taken off" in read_manifest(tmp_path / "off/nol.json").notes[1]
    with pytest.raises(InputError, match="expected 0 or 1000"):
        run(published.root, tmp_path / "out", offset=10)


def test_what_is_below_zero_becomes_zero_and_is_counted(tmp_path):
    published = write_ssl4eo_v11(tmp_path / "v11", products=("s2_l2a",))
    values = np.stack([published.values["s2_l2a", name].copy() for name in ("0000173", "0000012")])
    values[0, 0, 1, :2, 0] = -5
    write_zip(published.zip("s2_l2a"), "s2_l2a", ("0000173", "0000012"), values)
    summary = run(published.root, tmp_path / "out")
    assert pixels_of(tmp_path / "out", "s2_l2a_10m", 0)[0, 0, :2, 0].tolist() == [0, 0]
    assert dict(summary.imported.counted) == {"Reflectances below zero, stored as 0": 2}


def test_faults_are_masked_rows_with_their_reasons(tmp_path):
    published = write_ssl4eo_v11(tmp_path / "v11", products=("s2_l1c", "s1_grd"))
    names = ("0000173", "0000012")
    radar = np.stack([published.values["s1_grd", name] for name in names])
    write_zip(published.zip("s1_grd"), "s1_grd", ("0000173", "0099999"), radar)
    published.zip("s1_grd", "val").write_bytes(b"no zip")
    _without(published.zip("s2_l1c", number="000002"), "bands/1.2.0.0.0")
    _changed(published.zip("s2_l1c", number="000002"), "bands/2.0.0.0.0", lambda content: content[:-40])
    (published.root / "train/S2L1C/index.html").touch()
    summary = run(published.root, tmp_path / "out")
    assert verify(tmp_path / "out").problems == ()
    reasons = reasons_of(tmp_path / "out")
    assert (
        reasons[12]
        == "missing sample: train/S1GRD/ssl4eos12_train_seasonal_data_000001.zarr.zip has no 0000012"
    )
    assert reasons[99999].startswith("missing sample: train/S2L1C")
    assert reasons[60573].startswith("missing file: ")
    assert reasons[60573].endswith("chunk bands/1.2.0.0.0")
    assert reasons[179869].startswith("unreadable file: train/S2L1C")
    assert reasons[12333].startswith("unreadable file: val/S1GRD/") or "not a readable zip" in reasons[12333]
    assert set(reasons) == {12, 99999, 60573, 179869, 12333}
    assert summary.plan.unmatched == ("train/S2L1C/index.html",)
    assert str(tmp_path) not in str(reasons)


def test_a_file_that_nobody_can_list_stops_the_import(tmp_path):
    published = write_ssl4eo_v11(tmp_path / "v11", products=("s2_l1c",))
    published.zip("s2_l1c").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"000001 holds; remove it"):
        run(published.root, tmp_path / "out")


def _rewritten(path: Path, change) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _without(path: Path, name: str) -> None:
    _rewritten(path, lambda members: members.pop(name))


def _changed(path: Path, name: str, change) -> None:
    def apply(members: dict[str, bytes]) -> None:
        members[name] = change(members[name])

    _rewritten(path, apply)


def _metadata(**changes: object):
    def apply(content: bytes) -> bytes:
        return json.dumps(json.loads(content) | changes).encode()

    return apply


class Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize(
    ("array", "changes", "match"),
    [
        ("sample", {"dtype": "|O", "filters": [{"id": "pickle"}]}, "filters pickle"),
        ("sample", {"dtype": "|O", "filters": None}, "dtype"),
        ("bands", {"filters": [{"id": "delta", "dtype": "<i2"}]}, "filters delta"),
        ("bands", {"compressor": {"id": "gzip"}}, "compressor 'gzip'"),
        ("bands", {"dtype": [["a", "<i2"]]}, "several fields"),
        ("bands", {"chunks": [64, 4, 13, 4000, 4000]}, "chunks of"),
        ("bands", {"shape": [6, 4, 13, 24, -24]}, "shape"),
        ("sample", {"shape": [1 << 40]}, "shape"),
        ("sample", {"shape": [1 << 30], "chunks": [2]}, "at most"),
    ],
)
def test_metadata_that_could_run_code_or_fill_the_memory_are_refused(tmp_path, array, changes, match):
    published = write_ssl4eo_v11(tmp_path / "v11", products=("s2_l1c",))
    trace = tmp_path / "trace"
    path = published.zip("s2_l1c")
    _changed(path, f"{array}/.zarray", _metadata(**changes))
    if array == "sample":
        _changed(path, "sample/0", lambda _: pickle.dumps(Runs(f"touch {trace}")))
    with pytest.raises(InputError, match=match):
        run(published.root, tmp_path / "out")
    assert not trace.exists()


@pytest.mark.parametrize("dtype", ["<M8[s]", "<U1", "|b1"])
def test_bands_that_are_no_numbers_make_their_items_bad(tmp_path, dtype):
    """They are looked at before the first item is read, to see whether they carry an offset."""
    published = write_ssl4eo_v11(tmp_path / "v11", products=("s2_l1c",))
    for path in sorted(published.root.rglob("*.zip")):
        _changed(path, "bands/.zarray", _metadata(dtype=dtype, fill_value=None))
    run(published.root, tmp_path / "out")
    reasons = set(reasons_of(tmp_path / "out").values())
    assert all(re.fullmatch(r"wrong type: .*: bands holds .*, expected numbers", one) for one in reasons)
    assert len(reasons_of(tmp_path / "out")) == len(index_of(tmp_path / "out"))


def test_a_chunk_that_would_unpack_to_more_than_a_chunk_is_refused(tmp_path):
    published = write_ssl4eo_v11(tmp_path / "v11", products=("s2_l1c",))

    def enlarge(content: bytes) -> bytes:
        return content[:4] + (1 << 30).to_bytes(4, "little") + content[8:]

    _changed(published.zip("s2_l1c"), "bands/0.0.0.0.0", enlarge)
    run(published.root, tmp_path / "out")
    assert "unpacks to 1073741824 bytes" in reasons_of(tmp_path / "out")[173]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_a_document_that_was_written_twice_the_last_one_counts(tmp_path):
    """zarr-python leaves such zips."""
    published = write_ssl4eo_v11(tmp_path / "v11", products=("s2_l1c",))
    path = published.zip("s2_l1c")
    with zipfile.ZipFile(path) as archive:
        good = archive.read("bands/.zarray")
    _changed(path, "bands/.zarray", _metadata(chunks=[9, 9, 9, 9, 9]))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("bands/.zarray", good)
    run(published.root, tmp_path / "out")
    assert_pixels_are_published(published, tmp_path / "out")


def test_an_unsafe_zip_is_refused(tmp_path):
    published = write_ssl4eo_v11(tmp_path / "v11", products=("s2_l1c",))
    _rewritten(published.zip("s2_l1c"), lambda members: members.update({"../escape": b"x"}))
    with pytest.raises((ArchiveError, InputError), match="escape"):
        run(published.root, tmp_path / "out")


def test_without_coordinates_of_pixels_the_centre_gives_an_estimate(tmp_path):
    published = write_ssl4eo_v11(tmp_path / "v11", products=("s2_l1c",))
    values = np.stack([published.values["s2_l1c", name] for name in ("0000173", "0000012")])
    write_zip(
        published.zip("s2_l1c"),
        "s2_l1c",
        ("0000173", "0000012"),
        values,
        left_out=("x_", "y_", "time_", "band", "cloud_mask"),
    )
    run(published.root, tmp_path / "out")
    row = index_of(tmp_path / "out")[0]
    assert (row["georeference"], row["lon"], row["crs_epsg"]) == ("approximate", 10.5, 32632)
    assert str(row["time_s2"][3]) == "2020-12-05 10:36:29+00:00", "told by the names of the scenes"
    np.testing.assert_array_equal(pixels_of(tmp_path / "out", "s2_l1c_10m", 0), values[0][:, [1, 2, 3, 7]])


def test_a_folder_that_holds_something_else_is_said(tmp_path):
    with pytest.raises(InputError, match="no folders like train/S2L1C"):
        run(tmp_path, tmp_path / "out")
