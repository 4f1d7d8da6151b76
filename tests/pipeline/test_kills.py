"""A build that is killed at any moment and started again with the same command ends with the same bytes."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipeline.workflow import Workflow, tiny_config

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kills")]

NUM_KILLS = 20


def pixel_requests(workflow: Workflow) -> list[dict[str, object]]:
    """Every pixel and metadata request that left any job, killed or not."""
    lines = [
        json.loads(line)
        for path in (workflow.folder / "work" / "tiny" / "requests").glob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.endswith("}")
    ]
    return [line for line in lines if line["kind"] in {"metadata", "pixels", "fallback"}]


def start(workflow: Workflow, config: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        workflow.command("--configfile", config),
        cwd=workflow.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ,
    )


def test_twenty_kills_at_random_moments_cost_only_what_was_in_flight(tmp_path, tmp_path_factory):
    undisturbed = Workflow(tmp_path_factory.mktemp("undisturbed"))
    began = time.monotonic()
    undisturbed.build(tiny_config())
    seconds = time.monotonic() - began

    killed = Workflow(tmp_path)
    config = str(killed.write_config(tiny_config()))
    moments = random.Random(20)
    kills = 0
    while kills < NUM_KILLS:
        process = start(killed, config)
        try:
            # Later and later on average, so that every phase of the build is met.
            process.wait(timeout=moments.uniform(0.02, 0.5 + seconds * (kills + 1) / NUM_KILLS))
        except subprocess.TimeoutExpired:
            kills += 1
            # Only snakemake itself: its jobs and the sandbox must notice on their own.
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        else:
            assert process.returncode == 0
            kills += 1  # it ended before its moment came; the next start has nothing to do
    done = killed.run("--configfile", config)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]

    assert killed.digest() == undisturbed.digest()
    assert killed.noldo("verify", "results/tiny").returncode == 0
    planned = len(pixel_requests(undisturbed))
    in_flight = 4 + 2 * 8  # what the search and two fetch jobs claim, at the most, at each kill
    assert len(pixel_requests(killed)) <= planned + NUM_KILLS * in_flight


def test_a_killed_build_leaves_no_sandbox_and_no_job_behind(workflow):
    config = str(workflow.write_config(tiny_config(sandbox={"latency_s": 0.5})))
    process = start(workflow, config)
    ready = workflow.folder / "work" / "tiny" / "sandbox.json"
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.05)
    sandbox = json.loads(ready.read_text())["pid"]
    time.sleep(2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    give_up = time.monotonic() + 10
    while left := [pid for pid in members(process.pid) if pid != process.pid]:
        assert time.monotonic() < give_up, f"still running: {left}"
        time.sleep(0.2)
    assert state(sandbox) in {"gone", "Z"}


def members(session: int) -> list[int]:
    """Living processes of a session (the build started one of its own)."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [pid for pid in pids if stat_fields(pid)[3:4] == [str(session)] and state(pid) != "Z"]


def state(pid: int) -> str:
    """One letter of proc(5), or `gone`."""
    return (stat_fields(pid) or ["gone"])[0]


def stat_fields(pid: int) -> list[str]:
    """What /proc says of a process after its name; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
