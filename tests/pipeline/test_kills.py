"""A build that is killed at any moment and started again with the same command ends with the same bytes."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipeline.workflow import Workflow, tiny_config

pytestmark = pytest.mark.slow

NUM_KILLS = 20
IN_FLIGHT = 2
LONGEST_S = 30.0
"""Kills fall within it, so that a busy machine makes them earlier, not the test longer."""


def slow_config() -> dict[str, object]:
    """Two requests in flight and slow answers, so that a kill often meets one."""
    source = {"url": "sandbox", "credentials": "anonymous", "max_concurrent": IN_FLIGHT}
    return tiny_config(source=source, sandbox={"latency_s": 0.3})


def answered(workflow: Workflow) -> int:
    """Pixel requests that the sandbox answered, whoever asked and whatever became of the answer."""
    log = workflow.folder / "work" / "tiny" / "sandbox.log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return sum('"image:computePixels"' in line for line in lines)


def start(workflow: Workflow, config: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        workflow.command("--configfile", config),
        cwd=workflow.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ,
    )


def kill(process: subprocess.Popen[bytes], *, how: str) -> None:
    """SIGKILL to snakemake alone, to everything, or to one of its jobs."""
    jobs = [pid for pid in members(process.pid) if b"builders" in command_line(pid)]
    if how == "job" and jobs:
        kill_one(jobs[-1])
        try:
            process.wait(timeout=60)  # snakemake notices and stops by itself
            return
        except subprocess.TimeoutExpired:
            pass
    if how == "all":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        kill_one(process.pid)
    process.wait()


def kill_one(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for_orphans(process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + 30
    while left := [pid for pid in members(process.pid) if pid != process.pid]:
        assert time.monotonic() < give_up, f"still running: {left}"
        time.sleep(0.1)


@pytest.mark.timeout(1200)
def test_twenty_kills_at_random_moments_cost_only_what_was_in_flight(tmp_path, tmp_path_factory):
    undisturbed = Workflow(tmp_path_factory.mktemp("undisturbed"))
    began = time.monotonic()
    undisturbed.build(slow_config())
    seconds = min(time.monotonic() - began, LONGEST_S)
    digest = undisturbed.digest()
    planned = answered(undisturbed)

    killed = Workflow(tmp_path)
    config = str(killed.write_config(slow_config()))
    moments = random.Random(20)
    kills, finished, kills_of_this = 0, 0, 0
    while kills < NUM_KILLS or not finished:
        process = start(killed, config)
        patience = moments.uniform(0.1, 0.8) * seconds if kills < NUM_KILLS else 300
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            kill(process, how=moments.choice(["snakemake", "all", "job"]))
            wait_for_orphans(process)
            kills += 1
            kills_of_this += 1
            assert answered(killed) <= planned + IN_FLIGHT * kills_of_this
            continue
        assert process.returncode == 0
        assert killed.digest() == digest
        assert killed.noldo("verify", "results/tiny").returncode == 0
        assert answered(killed) <= planned + IN_FLIGHT * kills_of_this
        finished += 1
        kills_of_this = 0
        for folder in ("results", "work"):  # the next kills meet a new build
            shutil.rmtree(killed.folder / folder)
    assert kills == NUM_KILLS


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


def command_line(pid: int) -> bytes:
    """Arguments of a process; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def state(pid: int) -> str:
    """One letter of proc(5), or `gone`."""
    return (stat_fields(pid) or ["gone"])[0]


def stat_fields(pid: int) -> list[str]:
    """What /proc says of a process after its name; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
