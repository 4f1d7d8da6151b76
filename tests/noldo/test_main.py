"""The command line, in a process of its own where that matters."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from noldo import __main__ as command
from tests.noldo.made_up_data_set import DataSet

ROOT = Path(__file__).parents[2]


Run = Callable[..., tuple[int, str, str]]
"""Arguments to exit code, stdout and stderr."""


@pytest.fixture
def noldo(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = 0
        try:
            command.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run


def test_info_as_json_has_the_promised_keys(data_set: DataSet, noldo: Run) -> None:
    code, out, err = noldo("info", data_set.root, "--json")
    assert (code, err) == (0, "")
    summary = json.loads(out)["nol"]
    assert summary["subset"] == "nol"
    assert summary["format_version"] == 1
    assert summary["synthetic"] is True
    assert (summary["locations"], summary["locations_tried"]) == (8, 10)
    assert summary["seasons"] == ["winter", "spring", "summer"]
    assert summary["patch_size_px"] == 12
    assert summary["bands"]["s1_grd"] == ["VV", "VH"]
    assert sum(summary["class_shares"].values()) == pytest.approx(1)
    assert summary["bytes"] == sum(
        path.stat().st_size for path in data_set.store.rglob("*") if path.is_file()
    )
    assert set(summary["requests"]) == {
        "metadata",
        "pixels",
        "fallback",
        "retried",
        "start_up",
        "largest_bytes",
    }


def test_info_for_people_says_that_it_is_synthetic(data_set: DataSet, noldo: Run) -> None:
    code, out, _ = noldo("info", data_set.store)
    assert code == 0
    assert "** synthetic" in out.splitlines()[0]
    assert "8 kept of 10 tried (1 no_scene, 1 no_labels)" in out


def test_info_without_the_run_record_has_zero_requests(own_data_set: DataSet, noldo: Run) -> None:
    (own_data_set.root / "nol.run.json").unlink()
    assert json.loads(noldo("info", own_data_set.root, "--json")[1])["nol"]["requests"]["pixels"] == 0


def test_info_of_an_unfinished_build_says_so(own_data_set: DataSet, noldo: Run) -> None:
    (own_data_set.root / "nol.json").unlink()
    code, out, err = noldo("info", own_data_set.root)
    assert (code, out) == (1, "")
    assert "not finished" in err


def test_verify_says_that_all_is_well(data_set: DataSet, noldo: Run) -> None:
    code, out, err = noldo("verify", data_set.root)
    assert (code, err) == (0, "")
    assert "all 27 shards" in out


def test_verify_exits_with_one_and_names_what_is_broken(own_data_set: DataSet, noldo: Run) -> None:
    (own_data_set.store / "s1_grd_10m/c/1/0/0/0/0").unlink()
    (own_data_set.store / "s1_grd_10m/c/2/0/0/0/0").unlink()
    code, out, err = noldo("verify", own_data_set.root)
    assert code == 1
    assert [line.split(":")[0] for line in out.splitlines()] == [
        str(own_data_set.store / f"s1_grd_10m/c/{shard}/0/0/0/0") for shard in (1, 2)
    ]
    assert err == f"noldo: {own_data_set.root}: 2 problems\n"


def test_digest_is_one_line_of_64_digits(data_set: DataSet, noldo: Run) -> None:
    code, out, err = noldo("digest", data_set.root)
    assert (code, err) == (0, "")
    assert len(out.strip()) == 64
    int(out, 16)


def test_preview_draws_where_it_is_told(data_set: DataSet, tmp_path: Path, noldo: Run) -> None:
    out = tmp_path / "new" / "picture.png"
    assert noldo("preview", data_set.root, 107, "-o", out)[:2] == (0, f"{out}\n")
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("location_id", "message"),
    [(1, "no location 1; ids are 100 .. 163"), (121, "location 121 was not kept (no_scene)")],
)
def test_preview_of_what_is_not_there_is_one_line(
    data_set: DataSet,
    tmp_path: Path,
    noldo: Run,
    location_id: int,
    message: str,
) -> None:
    code, out, err = noldo("preview", data_set.root, location_id, "--out", tmp_path / "picture.png")
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "picture.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["info", "/nowhere/at/all"], 1, "noldo: /nowhere/at/all/nol.zarr: no store here"),
        (["publish", "/nowhere", "s3://bucket"], 1, "noldo: /nowhere/nol.zarr: no store here"),
        (["info"], 2, "requires an argument"),
        (["info", "x", "--jso"], 2, "Unknown option"),
        (["destroy"], 2, "Unknown command"),
        (["preview", "x", "seven"], 2, "seven"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(
    noldo: Run, arguments: list[str], code: int, message: str
) -> None:
    found, out, err = noldo(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert err.startswith("noldo: ")
    assert err.count("\n") == 1


def test_publishing_elsewhere_than_to_an_object_store_is_refused(data_set: DataSet, noldo: Run) -> None:
    code, _, err = noldo("publish", data_set.root, "ftp://somewhere/else")
    assert code == 1
    assert "scheme 'ftp' is not supported" in err


def test_a_reader_that_stops_early_gets_no_traceback(own_data_set: DataSet) -> None:
    for path in own_data_set.store.glob("*/c/*/0/0/0/0"):
        path.unlink()
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        answer = subprocess.run(
            [sys.executable, "-m", "noldo", "verify", str(own_data_set.root)],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=False,
        )
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import atexit, sys\n"
        "from noldo.__main__ import main\n"
        "heavy = {'numpy', 'torch', 'zarr', 'pyarrow', 'matplotlib', 'pydantic'}\n"
        "atexit.register(lambda: print(heavy & set(sys.modules)))\n"
        "main(['--help'])\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert answer.stdout.splitlines()[-1] == "set()"
    for word in ("info", "verify", "digest", "preview", "publish"):
        assert word in answer.stdout
