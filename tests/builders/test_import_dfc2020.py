"""DFC2020, from files in its published layout."""

import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from builders.import_dfc2020 import Dfc2020, import_dfc2020
from builders.import_store import ImportSummary
from noldo.dataset import NoldoS12
from noldo.errors import InputError
from noldo.legend import DFC2020_8
from noldo.manifest import read_manifest
from noldo.verify import verify
from tests.builders.imported import files_of, index_of, pixels_of, reasons_of, target
from tests.builders.published.geotiffs import write_tif
from tests.builders.published.tiles import SIDE_PX, write_dfc2020

NUMBERED = {
    2: "shrubland",
    1: "forest",
    4: "grassland",
    5: "wetlands",
    6: "croplands",
    7: "urban",
    9: "barren",
    10: "water",
}
"""Published numbers of the classes that are kept (paper of DFC2020; CromSS's writer)."""


def run(root: Path, out: Path) -> ImportSummary:
    return import_dfc2020(Dfc2020((root,), patch_size_px=SIDE_PX), target(out))


@pytest.mark.parametrize("flat", [False, True], ids=["official folders", "one folder"])
def test_every_number_survives(tmp_path, flat):
    published = write_dfc2020(tmp_path / "dfc", flat=flat)
    summary = run(published.root, tmp_path / "out")
    out = tmp_path / "out"
    assert verify(out / "dfc2020.zarr").problems == ()
    rows = index_of(out, subset="dfc2020")
    assert [row["id"] for row in rows] == [0, 2, 10, 100_000, 100_002, 100_010]
    assert [row["split"] for row in rows] == ["train"] * 3 + ["test"] * 3, "validation is the training split"
    assert rows[1]["name"] == "ROIs0000_validation_0_p2"
    assert (rows[1]["georeference"], rows[1]["crs_epsg"], rows[1]["x_ul"]) == ("exact", 32632, 620_000)
    savanna = snow = 0
    for row, (split, number) in enumerate(
        (split, number) for split in ("validation", "test") for number in (0, 2, 10)
    ):
        arrays = {kind: published.arrays[f"{split} {number}", kind] for kind in ("s1", "s2", "dfc")}
        stored = {
            name: pixels_of(out, name, row, subset="dfc2020")[0]
            for name in ("s2_l1c_resampled_10m", "s1_grd_10m", "dfc2020_10m")
        }
        np.testing.assert_array_equal(stored["s2_l1c_resampled_10m"], arrays["s2"])
        np.testing.assert_allclose(stored["s1_grd_10m"] / 100, arrays["s1"], atol=0.0051)
        for published_number in range(1, 11):
            names = {
                "none" if one == 255 else DFC2020_8.classes[one]
                for one in np.unique(stored["dfc2020_10m"][arrays["dfc"] == published_number])
            }
            assert names == {NUMBERED.get(published_number, "none")}
        savanna += int((arrays["dfc"] == 3).sum())
        snow += int((arrays["dfc"] == 8).sum())
    assert dict(summary.imported.counted) == {
        "DFC2020 labels that say savanna, stored as 255": savanna,
        "DFC2020 labels that say snow, stored as 255": snow,
    }
    manifest = read_manifest(out / "dfc2020.json")
    assert manifest.arrays[0].bands[10] == "B10"
    assert not manifest.arrays[0].is_native
    assert any(f"snow, stored as 255: {snow} pixels" in note for note in manifest.notes)
    assert NoldoS12(out, subset="dfc2020", split="test", labels=None)[0]["id"] == 100_000


def test_the_two_splits_may_lie_in_two_archives(tmp_path):
    published = write_dfc2020(tmp_path / "dfc")
    archives = []
    for split in ("validation", "test"):
        path = tmp_path / f"{split}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted((published.root / f"ROIs0000_{split}").rglob("*.tif")):
                archive.write(file, file.relative_to(published.root))
        archives.append(path)
    run(published.root, tmp_path / "out")
    import_dfc2020(Dfc2020(tuple(archives), patch_size_px=SIDE_PX), target(tmp_path / "zip"))
    plain, zipped = files_of(tmp_path / "out"), files_of(tmp_path / "zip")
    zipped["dfc2020.json"] = zipped["dfc2020.json"].replace(b'"zip"', b'"out"')
    assert plain == zipped
    with pytest.raises(InputError, match="of the same patch"):
        import_dfc2020(Dfc2020((archives[0], archives[0])), target(tmp_path / "twice"))


def test_faults_are_masked_rows_with_their_reasons(tmp_path):
    published = write_dfc2020(tmp_path / "dfc", numbers=range(4))
    paths = published.paths
    paths["validation 0", "s1"].unlink()
    write_tif(paths["validation 1", "s2"], np.zeros((12, SIDE_PX, SIDE_PX), np.uint16))
    paths["validation 2", "dfc"].write_bytes(paths["validation 2", "dfc"].read_bytes()[:100])
    write_tif(paths["validation 3", "dfc"], np.ones((SIDE_PX, SIDE_PX - 1), np.uint8))
    write_tif(paths["test 0", "dfc"], np.full((SIDE_PX, SIDE_PX), 17, np.uint8))
    (published.root / "ROIs0000_test/lc_0").mkdir()
    (published.root / "ROIs0000_test/lc_0/ROIs0000_test_lc_0_p0.tif").touch()
    summary = run(published.root, tmp_path / "out")
    assert verify(tmp_path / "out/dfc2020.zarr").problems == ()
    reasons = reasons_of(tmp_path / "out", subset="dfc2020")
    assert reasons[0] == "missing file: s1 of ROIs0000_validation_0_p0"
    assert reasons[1].startswith("missing band: s2_l1c of ROIs0000_validation_0_p1 has shape (12, 24, 24)")
    assert reasons[2].startswith("unreadable file: ROIs0000_validation/dfc_0")
    assert reasons[3].startswith("wrong size: ")
    assert set(reasons) == {0, 1, 2, 3}, "numbers that are no class are known to occur"
    assert (
        summary.imported.counted["DFC2020 labels with a number that is no class, stored as 255"] == SIDE_PX**2
    )
    assert summary.plan.unmatched == ("ROIs0000_test/lc_0/ROIs0000_test_lc_0_p0.tif",)


def test_a_killed_import_goes_on_and_ends_with_the_same_bytes(tmp_path):
    published = write_dfc2020(tmp_path / "dfc", numbers=range(60))
    run(published.root, tmp_path / "whole")
    command = [
        *(sys.executable, "-m", "builders", "import-dfc2020", "--root", str(published.root)),
        *("--out", str(tmp_path / "killed"), "--patch-size-px", str(SIDE_PX), "--locations-per-shard", "2"),
    ]
    begun = tmp_path / "killed/dfc2020.zarr/dfc2020_10m/c"
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (begun.is_dir() and len(list(begun.iterdir())) >= 3):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it was still running"
    assert not (tmp_path / "killed/dfc2020.json").exists()
    written = {
        path: path.stat().st_mtime_ns for path in begun.parent.parent.rglob("c/*/0/0/0*") if path.is_file()
    }
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "120 of 120 items of dfc2020 imported" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in written} == written, (
        "what is there is not written again"
    )
    whole, killed = files_of(tmp_path / "whole"), files_of(tmp_path / "killed")
    whole["dfc2020.json"] = whole["dfc2020.json"].replace(b'"whole"', b'"killed"')
    assert whole == killed
    assert verify(tmp_path / "killed/dfc2020.zarr").problems == ()
