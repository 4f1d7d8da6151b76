"""The verbs of imports on the command line."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from builders.__main__ import IMPORTS, app
from builders.exit_codes import CONFIG
from tests.builders.published.tiles import SIDE_PX, write_dfc2020

ROOT = Path(__file__).parents[2]


def run(*words: str, module: str = "builders") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", list(IMPORTS))
def test_every_verb_says_what_it_takes(verb, capsys):
    app([verb, "--help"], result_action="return_value")
    told = capsys.readouterr().out
    assert "--out" in told
    assert "empty" not in told


def test_what_was_imported_is_printed_and_can_be_verified(tmp_path):
    published = write_dfc2020(tmp_path / "dfc")
    published.paths["test 0", "s1"].unlink()
    words = ["import-dfc2020", "--root", str(published.root), "--out", str(tmp_path / "out")]
    done = run(*words, "--patch-size-px", str(SIDE_PX))
    assert done.returncode == 0, done.stderr
    assert "5 of 6 items of dfc2020 imported" in done.stdout
    assert "skipped, missing file: 1" in done.stdout
    for verb in ("verify", "info", "digest"):
        done = run(verb, str(tmp_path / "out/dfc2020.zarr"), module="noldo")
        assert done.returncode == 0, done.stderr


def test_a_fault_is_one_line_and_an_exit_code(tmp_path):
    done = run("import-ssl4eo-v1", "--root", str(tmp_path / "none"), "--out", str(tmp_path / "out"))
    assert done.returncode == CONFIG
    assert done.stderr.count("\n") == 1
    assert "no such folder or archive" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_archive_is_unpacked_or_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b", b"content")
    done = run("extract-archive", "--archive", str(path), "--out", str(tmp_path / "out"))
    assert "1 files, 7 bytes" in done.stdout
    assert (tmp_path / "out/a/b").read_bytes() == b"content"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../c", b"")
    done = run("extract-archive", "--archive", str(path), "--out", str(tmp_path / "other"))
    assert done.returncode == CONFIG
    assert "'../c'" in done.stderr
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "c").exists()
