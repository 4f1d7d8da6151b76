"""NoLDO-S12, from files in the layout that the published code reads."""

import datetime as dt
import logging
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from builders.archive_members import ArchiveError
from builders.import_noldo_archive import NoldoArchive, import_noldo_archive
from builders.import_store import ImportSummary
from noldo.dataset import NoldoS12
from noldo.errors import ConfigError, InputError
from noldo.legend import OSM_CODE_ORDER, OSM_LAND_USE
from noldo.manifest import read_manifest
from noldo.verify import verify
from tests.builders.imported import files_of, index_of, pixels_of, reasons_of, target
from tests.builders.published.geotiffs import write_tif
from tests.builders.published.ssl4eo_v1 import SIDE_PX as NOL_SIDE_PX
from tests.builders.published.ssl4eo_v1 import scene_names, write_ssl4eo_v1
from tests.builders.published.tiles import NAMES, SIDE_PX, PublishedTiles, write_noldo_tiles


def run(root: Path, out: Path, subset: str = "dw", **told: object) -> ImportSummary:
    return import_noldo_archive(NoldoArchive(root, subset, patch_size_px=SIDE_PX, **told), target(out))


def assert_tiles_are_published(published: PublishedTiles, out: Path, subset: str) -> None:
    rows = index_of(out, subset=subset)
    order = sorted((name, split) for split, names in NAMES.items() for name in names)
    assert [(row["id"], row["name"], row["split"]) for row in rows] == [
        (rank, *pair) for rank, pair in enumerate(order)
    ]
    for row, (name, split) in enumerate(order):
        side = SIDE_PX - 2 if split == "train" else SIDE_PX
        number = NAMES[split].index(name)
        stored = {
            one: pixels_of(out, one, row, subset=subset)[0, ..., :side, :side]
            for one in ("s2_l1c_resampled_10m", "s1_grd_10m", "expert_10m")
        }
        np.testing.assert_array_equal(stored["s2_l1c_resampled_10m"], published.arrays[name, "s2"])
        np.testing.assert_allclose(stored["s1_grd_10m"] / 100, published.arrays[name, "s1"], atol=0.0051)
        expert = published.arrays[name, "dw"].astype(int)
        np.testing.assert_array_equal(
            stored["expert_10m"], np.where((expert > 0) & (expert < 10), expert - 1, 255)
        )
        assert (rows[row]["x_ul"], rows[row]["georeference"]) == (600_000 + 10_000 * number, "exact")
        assert rows[row]["window"] == [0, side, 0, side]


def packed(published: PublishedTiles, path: Path, *, above: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(published.root.rglob("*.tif")):
            archive.write(file, above + file.relative_to(published.root).as_posix())
    return path


def test_expert_tiles_are_read_from_folder_zip_and_tar(tmp_path):
    published = write_noldo_tiles(tmp_path / "dw")
    with tarfile.open(tmp_path / "dw.tar", "w") as archive:
        archive.add(published.root, "some/where")
    sources = {
        "folder": published.root,
        "inner": published.root / "data_s12",
        "zip": packed(published, tmp_path / "dw.zip", above="ssl4eo_s12_dw/"),
        "tar": tmp_path / "dw.tar",
    }
    found = {}
    for name, source in sources.items():
        run(source, tmp_path / "out" / name / "dw")
        found[name] = files_of(tmp_path / "out" / name / "dw")
    assert found["folder"] == found["inner"] == found["zip"] == found["tar"]
    out = tmp_path / "out/zip/dw"
    assert verify(out / "dw.zarr").problems == ()
    assert_tiles_are_published(published, out, "dw")
    assert index_of(out, subset="dw")[1]["label_date"] == dt.date(2019, 2, 26)
    assert NoldoS12(out, subset="dw", labels=None)[0]["s1_grd_10m"].shape[0] == 2


def test_labels_of_openstreetmap_take_the_place_of_the_image_and_their_classes_by_name(tmp_path):
    published = write_noldo_tiles(tmp_path / "osm", osm=True)
    run(published.root, tmp_path / "out", "osm")
    assert verify(tmp_path / "out/osm.zarr").problems == ()
    assert_tiles_are_published(published, tmp_path / "out", "osm")
    names = [row["name"] for row in index_of(tmp_path / "out", subset="osm")]
    name = NAMES["test"][0]
    stored = pixels_of(tmp_path / "out", "osm_10m", names.index(name), subset="osm")[0]
    numbers = published.arrays[name, "osm"]
    for number, class_name in enumerate(OSM_CODE_ORDER, start=1):
        assert {OSM_LAND_USE.classes[one] for one in np.unique(stored[numbers == number])} == {class_name}
    assert set(stored[numbers == 0]) == {255}
    assert any(
        "place of the OpenStreetMap labels is wrong" in note
        for note in read_manifest(tmp_path / "out/osm.json").notes
    )


def test_faults_are_masked_rows_with_their_reasons(tmp_path):
    published = write_noldo_tiles(tmp_path / "dw")
    first, second, third = NAMES["train"]
    published.paths[first, "s1"].unlink()
    write_tif(published.paths[second, "dw"], np.full((SIDE_PX - 2, SIDE_PX - 2), 11, np.uint8))
    write_tif(published.paths[third, "s2"], published.arrays[third, "s2"][:, :-1])
    test = NAMES["test"][0]
    write_tif(published.paths[test, "dw"], np.zeros((3, SIDE_PX, SIDE_PX), np.uint8), bands=("a", "b", "c"))
    run(published.root, tmp_path / "out")
    assert verify(tmp_path / "out/dw.zarr").problems == ()
    reasons = {row["name"]: row["reason"] for row in index_of(tmp_path / "out", subset="dw")}
    assert reasons[first] == f"missing file: s1 of {first}"
    assert reasons[second] == f"unknown class: data_s12/dw_train/label_dw/dw_{second}.tif has number 11"
    assert reasons[third].startswith("wrong size")
    assert reasons[test].endswith("has 3 bands (a, b, c), expected one, or one named lulc")


def test_of_two_bands_without_names_the_second_is_the_experts(tmp_path):
    published = write_noldo_tiles(tmp_path / "dw")
    name = NAMES["test"][0]
    expert = published.arrays[name, "dw"]
    write_tif(published.paths[name, "dw"], np.stack([np.zeros_like(expert) + 5, expert]))
    run(published.root, tmp_path / "out")
    assert_tiles_are_published(published, tmp_path / "out", "dw")


def test_other_paths_can_be_given_and_what_was_found_is_told(tmp_path, caplog):
    published = write_noldo_tiles(tmp_path / "dw")
    for path in list(published.root.rglob("s2_*.tif")):
        path.rename(path.with_name(path.name.replace("s2_", "S2-")))
    (published.root / "README.md").touch()
    with caplog.at_level(logging.INFO):
        summary = run(published.root, tmp_path / "lost")
    assert summary.imported.totals.kept == 0
    assert "0 files like {set}/image_s2/s2_{name}.tif" in caplog.text
    assert "5 files like none of them" in caplog.text
    assert "not used: 5 names (README.md, data_s12/dw_test/image_s2/S2--0p64" in summary.render()
    run(published.root, tmp_path / "out", s2_pattern="{set}/image_s2/S2-{name}.tif")
    assert_tiles_are_published(published, tmp_path / "out", "dw")
    with pytest.raises(ConfigError, match=r"expected each of \{set\}, \{name\} once"):
        run(published.root, tmp_path / "bad", s2_pattern="{name}.tif")
    with pytest.raises(InputError, match="none of its 13 files is like"):
        run(published.root, tmp_path / "none", "osm")


def test_noisy_labels_alone_make_a_store_of_labels(tmp_path):
    published = write_ssl4eo_v1(tmp_path / "ssl4eo", ids=(3, 17, 24), modalities=(), labels=True)
    folder = tmp_path / "ssl4eo_s12_nol"
    (folder / "dw_noisy_labels/0000017" / scene_names("s2c")[2] / "label.tif").unlink()
    summary = run(folder, tmp_path / "out", "nol")
    assert NOL_SIDE_PX == SIDE_PX
    assert verify(tmp_path / "out").problems == ()
    assert reasons_of(tmp_path / "out") == {17: "missing scene: 0000017 has 3 labels, expected 4"}
    np.testing.assert_array_equal(
        pixels_of(tmp_path / "out", "dynamic_world_10m", 2),
        np.stack([published.labels[24, season] for season in range(4)]),
    )
    row = index_of(tmp_path / "out")[2]
    assert row["scene_dynamic_world"] == scene_names("s2c")
    assert str(row["time_s2"][0]) == "2020-03-02 10:36:29+00:00"
    assert summary.imported.georeference == "approximate"
    with pytest.raises(InputError, match="--nol-pattern"):
        run(folder, tmp_path / "none", "nol", nol_pattern="labels/{id}/{scene}.tif")


def test_an_unsafe_archive_is_refused_and_nothing_is_written(tmp_path):
    path = packed(write_noldo_tiles(tmp_path / "dw"), tmp_path / "dw.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data_s12/../../escape", b"x")
    with pytest.raises(ArchiveError, match="escape"):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
