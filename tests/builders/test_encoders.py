"""Processes that make GeoTIFFs: they end with the one that started them, whatever ends it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import multiprocessing
import sys

from builders.encoders import encoders
from tests.builders.test_geotiff import GRID, SPECS, pixels_of

if __name__ == "__main__":
    name = "s1_grd_10m"
    with encoders(2) as encode:
        encode(pixels_of(name), SPECS[name], grid=GRID)
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        sys.stdin.read(1)
        encode(pixels_of(name), SPECS[name], grid=GRID)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def started(script: Path) -> tuple[subprocess.Popen[str], list[int]]:
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    return process, [int(pid) for pid in process.stdout.readline().split()]


def is_there(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status


def test_no_process_is_left_behind_when_the_main_one_is_killed(script: Path) -> None:
    process, children = started(script)
    assert children
    assert all(map(is_there, children))
    process.kill()
    process.communicate()
    give_up_at = time.monotonic() + 10
    while any(map(is_there, children)) and time.monotonic() < give_up_at:
        time.sleep(0.05)
    assert not any(map(is_there, children))


def test_a_process_that_is_killed_is_one_clear_error(script: Path) -> None:
    process, children = started(script)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate("x", timeout=60)
    assert process.returncode == 1
    assert "NoldoError: a process that makes GeoTIFFs ended by itself" in errors.splitlines()[-1]
