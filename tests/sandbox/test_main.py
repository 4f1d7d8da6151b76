"""The sandbox as a process: it says what it is, and ends when it should."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.sandbox.loopback import call, constant_value

ROOT = Path(__file__).parents[2]
VALUE = "/v1/projects/test-project/value:compute"


def start(folder, *arguments):
    """A running sandbox; its process and its address."""
    ready = folder / "ready.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "serve", "--ready-file", str(ready), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    give_up = time.monotonic() + 30
    while not ready.exists() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    return process, json.loads(ready.read_text()) if ready.exists() else {}


def end(process):
    """Everything it printed."""
    printed, _ = process.communicate(timeout=10)
    return printed


def test_it_ends_when_its_parents_pipe_closes_even_while_a_request_hangs(tmp_path):
    log = tmp_path / "log.jsonl"
    faults = json.dumps({"next": [{"kind": "hang"}]})
    process, ready = start(tmp_path, "--exit-with-stdin", "--log", str(log), "--faults", faults)
    assert ready["pid"] == process.pid
    with pytest.raises(OSError, match="timed out"):
        call(ready["url"] + VALUE, constant_value(1), timeout=0.2)
    assert call(ready["url"] + VALUE, constant_value(2)).json() == {"result": 2}
    started = time.monotonic()
    printed = end(process)  # closes its standard input
    assert process.returncode == 0
    assert time.monotonic() - started < 3
    assert "Synthetic Earth" in printed.splitlines()[0]
    assert "127.0.0.1" in printed.splitlines()[0]
    assert "Traceback" not in printed
    assert len(log.read_text().splitlines()) == 2


def test_it_ends_with_a_signal_and_does_not_mind_a_closed_pipe_unless_told(tmp_path):
    process, ready = start(tmp_path)
    process.stdin.close()
    process.stdin = None
    assert call(ready["url"] + VALUE, constant_value(1)).status == 200
    process.send_signal(signal.SIGTERM)
    assert "Traceback" not in end(process)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--faults", "{"], "--faults: not valid JSON"),
        (["--faults", '{"surprise": 1}'], "surprise"),
        (["--catalogue", "nowhere.json"], "nowhere.json: can't be read"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, arguments, message):
    process, ready = start(tmp_path, *arguments)
    printed = end(process)
    assert ready == {}
    assert process.returncode == 1
    assert message in printed
    assert len(printed.splitlines()) == 1


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        timeout=30,
    )


def test_files_that_were_described_are_served(tmp_path):
    with rasterio.open(
        tmp_path / "dw.tif", "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8", crs="EPSG:32632",
        transform=rasterio.Affine(10, 0, 600_000, 0, -10, 5_300_040),
    ) as target:  # fmt: skip
        target.write(np.full((1, 8, 8), 3, "uint8"))
    described = run(
        tmp_path, "describe", "dw.tif", "--catalogue", "catalog.json", "--collection", "GOOGLE/DYNAMICWORLD/V1",
        "--index", "a", "--time", "2021-07-23T13:22:41", "--bands", "label",
    )  # fmt: skip
    assert described.returncode == 0, described.stderr
    process, ready = start(tmp_path, "--catalogue", "catalog.json", "--exit-with-stdin")
    listed = call(
        f"{ready['url']}/v1/projects/earthengine-public/assets/GOOGLE/DYNAMICWORLD/V1:listAssets"
    ).json()
    assert [one["id"] for one in listed["assets"]] == ["GOOGLE/DYNAMICWORLD/V1/a"]
    assert end(process).startswith("Archive of 1 scenes from catalog.json.")


def test_a_wrong_description_is_one_line(tmp_path):
    done = run(
        tmp_path, "describe", "gone.tif", "--catalogue", "catalog.json", "--collection", "COPERNICUS/S1_GRD",
        "--index", "a", "--time", "2021-07-23", "--bands", "VV",
    )  # fmt: skip
    assert done.returncode == 1
    assert "gone.tif" in done.stderr
    assert len(done.stderr.splitlines()) == 1
