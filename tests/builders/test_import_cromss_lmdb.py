"""The LMDBs of CromSS, from files as its scripts write them."""

import datetime as dt
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from builders.import_cromss_lmdb import CromssLmdb, import_cromss_lmdb
from builders.import_store import ImportSummary
from noldo.errors import InputError
from noldo.legend import DFC2020_8, DYNAMIC_WORLD, OSM_CODE_ORDER, OSM_LAND_USE
from noldo.manifest import read_manifest
from noldo.verify import verify
from tests.builders.imported import index_of, pixels_of, reasons_of, target
from tests.builders.published.cromss_lmdb import (
    LABELS,
    NAMES,
    NOL_IDS,
    S1,
    S2,
    SIDE_PX,
    PublishedLmdb,
    dfc2020_lmdbs,
    nol_lmdbs,
    record,
    tile_lmdbs,
)


def run_nol(published: PublishedLmdb, out: Path) -> ImportSummary:
    told = CromssLmdb(
        "nol",
        s1=published.path(S1),
        s2=published.path(S2),
        labels=published.path(LABELS),
        patch_size_px=SIDE_PX,
    )
    return import_cromss_lmdb(told, target(out))


def run_tiles(published: PublishedLmdb, out: Path, kind: str) -> ImportSummary:
    train, test = published.records
    told = CromssLmdb(kind, train=published.path(train), test=published.path(test), patch_size_px=SIDE_PX)
    return import_cromss_lmdb(told, target(out))


def test_bytes_of_pretraining_survive_in_the_order_of_their_keys(tmp_path):
    published = nol_lmdbs(tmp_path / "lmdb").write()
    run_nol(published, tmp_path / "out")
    assert verify(tmp_path / "out").problems == ()
    assert [row["id"] for row in index_of(tmp_path / "out")] == list(NOL_IDS)
    for row in range(len(NOL_IDS)):
        for file, array in (
            (S1, "s1_grd_uint8_10m"),
            (S2, "s2_l1c_uint8_10m"),
            (LABELS, "dynamic_world_10m"),
        ):
            np.testing.assert_array_equal(
                pixels_of(tmp_path / "out", array, row), published.arrays[file, str(row)]
            )
    manifest = read_manifest(tmp_path / "out/nol.json")
    assert {one.quantization for one in manifest.arrays} == {"ssl4eo_uint8", ""}
    assert (manifest.georeference, manifest.split_counts["train"]) == ("none", len(NOL_IDS))
    assert any("bicubic" in note for note in manifest.notes)


def test_the_source_is_not_touched(tmp_path):
    """LMDB would leave a lock file."""
    published = nol_lmdbs(tmp_path / "lmdb").write()
    for path in published.root.rglob("lock.mdb"):
        path.unlink()
    before = {path: path.read_bytes() for path in published.root.rglob("*") if path.is_file()}
    run_nol(published, tmp_path / "out")
    assert {path: path.read_bytes() for path in published.root.rglob("*") if path.is_file()} == before


def test_faults_of_pretraining_are_masked_rows_with_their_reasons(tmp_path):
    published = nol_lmdbs(tmp_path / "lmdb")
    records = published.records
    del records[S1]["1"]
    del records[LABELS]["2"]
    array = published.arrays[S2, "3"]
    records[S2]["3"] = record(array, 104)
    records[S2]["4"] = (array.tobytes()[:-5], array.shape, NOL_IDS[4])
    records[S2]["5"] = pickle.dumps(record(array, NOL_IDS[5]))[:-30]
    records[LABELS]["6"] = record(np.full((4, SIDE_PX, SIDE_PX), 9, np.uint8), NOL_IDS[6])
    records[S1]["7"] = record(np.zeros((4, 2, SIDE_PX, SIDE_PX - 1), np.uint8), NOL_IDS[7])
    records[S1]["8"] = record(np.zeros((3, 2, SIDE_PX, SIDE_PX), np.uint8), NOL_IDS[8])
    records[S2]["9"] = ["a list"]
    records[S1]["info"] = b"?"
    summary = run_nol_with_error(published, tmp_path)
    assert "opcode EMPTY_LIST" in str(summary)
    records[S2]["9"] = record(array[:, :12], NOL_IDS[9])
    for path in published.root.rglob("*.mdb"):
        path.unlink()
    summary = run_nol(published.write(), tmp_path / "out")
    assert verify(tmp_path / "out").problems == ()
    reasons = reasons_of(tmp_path / "out")
    assert reasons[5] == f"missing record: {S1}, key 1"
    assert reasons[77] == f"missing record: {LABELS}, key 2"
    assert reasons[103] == f"id mismatch: {S2}, key 3 is of 104, the label of 103"
    assert "bytes for shape (4, 13, 24, 24)" in reasons[1040]
    assert reasons[9].startswith(f"unreadable record: {S2}, key 5")
    assert reasons[2].startswith("unknown class: dynamic_world has 9")
    assert reasons[3].startswith("wrong size")
    assert reasons[4].startswith("wrong size")
    assert reasons[6].startswith("wrong size: s2_l1c of shape (4, 12, 24, 24)")
    assert set(reasons) == {5, 77, 103, 1040, 9, 2, 3, 4, 6}
    assert summary.plan.unmatched == ("info",)


def run_nol_with_error(published: PublishedLmdb, tmp_path: Path) -> InputError:
    with pytest.raises(InputError) as error:
        run_nol(published.write(), tmp_path / "refused")
    return error.value


@pytest.mark.parametrize(
    "number", [np.uint64(2**64 - 1), np.uint64(2**63), -1, "1" * 5_000, "9" * 19, "²", None]
)
def test_an_id_that_no_index_can_hold_is_an_unreadable_record(tmp_path, number):
    published = nol_lmdbs(tmp_path / "lmdb")
    published.records[S2]["3"] = record(published.arrays[S2, "3"], number)
    run_nol(published.write(), tmp_path / "out")
    reason = reasons_of(tmp_path / "out")[NOL_IDS[3]]
    assert reason.startswith(f"unreadable record: {S2}, key 3: id ")
    assert len(reason) < 200
    for file in (S1, LABELS):
        published.records[file]["3"] = record(published.arrays[file, "3"], number)
    for path in published.root.rglob("*.mdb"):
        path.unlink()
    assert "key 3: no id can be read in any" in str(run_nol_with_error(published, tmp_path))


def test_a_key_with_zeros_before_its_number_is_not_taken_for_another(tmp_path):
    published = dfc2020_lmdbs(tmp_path / "lmdb")
    published.records["train"]["s1_01"] = published.records["train"]["s1_0"]
    summary = run_tiles(published.write(), tmp_path / "out", "dfc2020")
    assert summary.plan.unmatched == ("train: s1_01",)
    assert reasons_of(tmp_path / "out", subset="dfc2020") == {}


class Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("file", [S1, S2, LABELS])
@pytest.mark.parametrize("nested", [False, True])
def test_a_record_that_runs_a_command_stops_the_import_by_its_key_and_runs_nothing(tmp_path, file, nested):
    published = nol_lmdbs(tmp_path / "lmdb")
    bad = Runs(f"touch {tmp_path}/trace")
    published.records[file]["3"] = (b"", (1, (2, bad)), 3) if nested else bad
    error = run_nol_with_error(published, tmp_path)
    assert f"{file}, key 3" in str(error)
    assert "STACK_GLOBAL" in str(error)
    assert not (tmp_path / "trace").exists()
    pickle.loads(pickle.dumps(bad))  # our own, to see that it would have run
    assert (tmp_path / "trace").exists(), "or the test shows nothing"


def test_expert_tiles_survive_with_their_splits_names_dates_and_places(tmp_path):
    published = tile_lmdbs(tmp_path / "lmdb").write()
    summary = run_tiles(published, tmp_path / "out", "dw")
    out = tmp_path / "out"
    assert verify(out / "dw.zarr").problems == ()
    rows = index_of(out, subset="dw")
    names = sorted((name, split) for split, names in NAMES.items() for name in names)
    assert [(row["name"], row["split"]) for row in rows] == names
    assert [row["id"] for row in rows] == [0, 1, 2, 3]
    row = next(row for row in rows if row["name"].startswith("10.5"))
    assert row["label_date"] == dt.date(2018, 3, 1)
    assert (row["lon"], row["lat"], row["georeference"]) == (10.5, 47.8, "approximate")
    assert row["window"] == [0, SIDE_PX - 2, 0, SIDE_PX - 2]
    for split, file in (("train", "dw_train_lmdb"), ("test", "dw_test_lmdb")):
        for number, name in enumerate(NAMES[split]):
            at = [row["name"] for row in rows].index(name)
            side = SIDE_PX - 2 if split == "train" else SIDE_PX
            stored = {
                one: pixels_of(out, one, at, subset="dw")[0, ..., :side, :side]
                for one in ("s2_l1c_resampled_10m", "s1_grd_10m", "expert_10m")
            }
            arrays = {kind: published.arrays[file, f"{kind}_{number}"] for kind in ("s1", "s2", "dw")}
            np.testing.assert_array_equal(stored["s2_l1c_resampled_10m"], arrays["s2"])
            np.testing.assert_allclose(stored["s1_grd_10m"] / 100, arrays["s1"], atol=0.0051)
            is_class = (arrays["dw"] >= 1) & (arrays["dw"] <= 9)
            np.testing.assert_array_equal(
                stored["expert_10m"], np.where(is_class, arrays["dw"].astype(int) - 1, 255)
            )
    clouds = sum(
        int((array == 10).sum()) for (_, key), array in published.arrays.items() if key.startswith("dw")
    )
    assert dict(summary.imported.counted) == {"Expert labels that say cloud, stored as 255": clouds}
    manifest = read_manifest(out / "dw.json")
    assert manifest.split_counts == {"train": 3, "val": 0, "test": 1}
    assert list(manifest.class_shares) == list(DYNAMIC_WORLD.classes)
    assert rows[0]["expert_counts"] is not None


def test_classes_of_openstreetmap_are_renumbered_by_name(tmp_path):
    published = tile_lmdbs(tmp_path / "lmdb", osm=True).write()
    run_tiles(published, tmp_path / "out", "osm")
    assert verify(tmp_path / "out/osm.zarr").problems == ()
    rows = index_of(tmp_path / "out", subset="osm")
    at = [row["name"] for row in rows].index(NAMES["train"][1])
    stored = pixels_of(tmp_path / "out", "osm_10m", at, subset="osm")[0, : SIDE_PX - 2, : SIDE_PX - 2]
    numbers = published.arrays["osm_train_lmdb", "osm_1"]
    for number, name in enumerate(OSM_CODE_ORDER, start=1):
        assert {OSM_LAND_USE.classes[one] for one in np.unique(stored[numbers == number])} == {name}
    assert set(stored[numbers == 0]) == {255}
    assert {"expert", "osm"} <= set(read_manifest(tmp_path / "out/osm.json").legends)
    assert list(read_manifest(tmp_path / "out/osm.json").class_shares) == list(OSM_LAND_USE.classes)


def test_faults_of_tiles_are_masked_rows_with_their_reasons(tmp_path):
    published = tile_lmdbs(tmp_path / "lmdb", osm=True)
    records = published.records["osm_train_lmdb"]
    records["s2_0"] = record(published.arrays["osm_train_lmdb", "s2_0"], f"s2_{NAMES['train'][1]}.tif")
    records["osm_1"] = record(
        np.full((SIDE_PX - 2, SIDE_PX - 2), 14, np.uint8), f"osm_{NAMES['train'][1]}.tif"
    )
    del records["dw_2"]
    run_tiles(published.write(), tmp_path / "out", "osm")
    by_name = {row["name"]: row["reason"] for row in index_of(tmp_path / "out", subset="osm")}
    assert by_name[NAMES["train"][0]].startswith("id mismatch: osm_train_lmdb, key s2_0")
    assert by_name[NAMES["train"][1]] == "unknown class: osm_1 has number 14"
    assert by_name[NAMES["train"][2]] == "missing record: osm_train_lmdb, key dw_2"
    assert by_name[NAMES["test"][0]] == ""


def test_patches_of_dfc2020_have_ids_by_split_and_number(tmp_path):
    published = dfc2020_lmdbs(tmp_path / "lmdb").write()
    summary = run_tiles(published, tmp_path / "out", "dfc2020")
    out = tmp_path / "out"
    assert verify(out / "dfc2020.zarr").problems == ()
    rows = index_of(out, subset="dfc2020")
    assert [row["id"] for row in rows] == [0, 1, 2, 100_000, 100_001, 100_002]
    assert [row["split"] for row in rows] == ["train"] * 3 + ["test"] * 3
    stored = pixels_of(out, "dfc2020_10m", 4, subset="dfc2020")[0]
    published_label = published.arrays["test", "lbl_1"]
    np.testing.assert_array_equal(stored, np.where(published_label == 8, 255, published_label))
    radar = pixels_of(out, "s1_grd_10m", 4, subset="dfc2020")[0] / 100
    np.testing.assert_allclose(radar, published.arrays["test", "s1_1"], atol=0.0051)
    without = sum(
        int((array == 8).sum()) for (_, key), array in published.arrays.items() if key.startswith("lbl")
    )
    assert list(summary.imported.counted.values()) == [without]
    assert list(read_manifest(out / "dfc2020.json").class_shares) == list(DFC2020_8.classes)


def test_options_that_are_missing_are_named(tmp_path):
    with pytest.raises(InputError, match="--s2, --labels: not given"):
        import_cromss_lmdb(CromssLmdb("nol", s1=tmp_path), target(tmp_path / "out"))
    with pytest.raises(InputError, match="--train, --test: not given"):
        import_cromss_lmdb(CromssLmdb("dw"), target(tmp_path / "out"))
    with pytest.raises(InputError, match="no LMDB here"):
        import_cromss_lmdb(CromssLmdb("dw", train=tmp_path), target(tmp_path / "out"))
    (tmp_path / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match="not a readable LMDB"):
        import_cromss_lmdb(CromssLmdb("dw", train=tmp_path), target(tmp_path / "out"))
