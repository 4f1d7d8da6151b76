import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builders import build_lock
from noldo.errors import BuildInUseError, StoreError

ROOT = Path(__file__).parents[2]

OWNER = """
import sys, time
from pathlib import Path
from builders import build_lock
lock = build_lock.take_ownership(Path(sys.argv[1]))
print("owned", flush=True)
time.sleep(60)
"""

JOB = """
import sys, time
from pathlib import Path
from builders import build_lock
with build_lock.as_job(Path(sys.argv[1])):
    print("working", flush=True)
    time.sleep(60)
"""


def start(code: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline()
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_build_is_refused_and_told_who_is_first(tmp_path):
    owner = start(OWNER, tmp_path)
    try:
        with pytest.raises(BuildInUseError, match=f"process {owner.pid}"):
            build_lock.take_ownership(tmp_path)
    finally:
        end(owner)


def test_the_lock_of_a_killed_build_is_free_at_once(tmp_path):
    owner = start(OWNER, tmp_path)
    owner.send_signal(signal.SIGKILL)
    end(owner)
    build_lock.take_ownership(tmp_path).close()


def test_a_job_whose_build_was_killed_ends_and_the_next_build_waits_for_that(tmp_path):
    owner = start(OWNER, tmp_path)
    job = start(JOB, tmp_path, **{build_lock.OWNER_VARIABLE: build_lock.owner_value(tmp_path)})
    try:
        end(owner)
        build_lock.take_ownership(tmp_path, patience_s=20).close()
        assert job.wait(timeout=5) == build_lock.ORPHANED_EXIT_CODE
    finally:
        end(job)


def test_a_job_started_by_hand_holds_off_a_build(tmp_path):
    job = start(JOB, tmp_path, **{build_lock.OWNER_VARIABLE: ""})
    try:
        with pytest.raises(BuildInUseError, match="still runs"):
            build_lock.take_ownership(tmp_path, patience_s=0.3)
    finally:
        end(job)
    build_lock.take_ownership(tmp_path, patience_s=5).close()


def test_a_job_of_a_living_build_goes_on(tmp_path):
    with build_lock.take_ownership(tmp_path):
        job = start(JOB, tmp_path, **{build_lock.OWNER_VARIABLE: build_lock.owner_value(tmp_path)})
        time.sleep(4 * build_lock.WATCH_EVERY_S)
        assert job.poll() is None
        end(job)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/work: can't be written .*choose a writable folder"):
        build_lock.take_ownership(tmp_path / "file" / "work")
    with (
        pytest.raises(StoreError, match=r"file/work: can't be written"),
        build_lock.as_job(tmp_path / "file/work"),
    ):
        pytest.fail("no job may start")
