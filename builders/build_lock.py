"""One writer a results folder, even after a SIGKILL.

Two files, both locked with flock, which the kernel releases when a process ends however it ends:

* `owner.lock` is held by the build (the snakemake process) for as long as it runs;
* `jobs.lock` is held, shared, by every job that writes.

A new build takes `owner.lock` at once or says who has it, then waits until no job of a dead build is left.
A job whose build is gone notices within a second that `owner.lock` is free, or somebody else's, and ends. So the same command
may be given again right after a kill: nothing has to be unlocked by hand, and there is never a second writer.
"""

import contextlib
import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from noldo.atomic import write_errors
from noldo.errors import BuildInUseError

logger = logging.getLogger(__name__)

OWNER_VARIABLE = "NOLDO_BUILD_OWNER"
"""Tells a job which `owner.lock` it belongs to, and what its owner wrote into it. Not set: started by hand."""

WATCH_EVERY_S = 0.5
ORPHANS_END_WITHIN_S = 60.0
OWNER_ANSWERS_WITHIN_S = 2.0
"""A dying job holds `owner.lock` for a moment; only what holds it longer is a build."""
ORPHANED_EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h: the build above this job is gone."""


def take_ownership(folder: Path, *, patience_s: float = ORPHANS_END_WITHIN_S) -> IO[str]:
    """Become the one build that writes to `folder`; closing the returned file gives it up.

    Raises
    ------
    BuildInUseError
        If another build runs there, or a job of a dead one does not end within `patience_s` seconds.
    StoreError
        If the disk is full, or the folder can't be written to.
    """
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        owner = (folder / "owner.lock").open("a+", encoding="utf-8")
    if not _lock_within(owner, OWNER_ANSWERS_WITHIN_S):
        owner.seek(0)
        who = owner.read().strip() or "an unknown process"
        owner.close()
        raise BuildInUseError(
            f"{folder}: another build is writing here ({who}); wait for it, or stop it and start again"
        )
    # Written before waiting: orphans tell by it that this is not their build.
    with write_errors(folder):
        owner.seek(0)
        owner.truncate()
        owner.write(f"process {os.getpid()} on {socket.gethostname()}, started at {time.time_ns()}")
        owner.flush()
    _wait_for_orphans(folder, owner, patience_s)
    return owner


def _wait_for_orphans(folder: Path, owner: IO[str], patience_s: float) -> None:
    with (folder / "jobs.lock").open("a", encoding="utf-8") as jobs:
        if not _lock_within(jobs, patience_s):
            owner.close()
            raise BuildInUseError(
                f"{folder}: a job of an earlier build still runs after {patience_s:.0f} s; stop it "
                f"(`fuser {folder / 'jobs.lock'}` names it) and start again"
            )


def _lock_within(file: IO[str], patience_s: float) -> bool:
    give_up = time.monotonic() + patience_s
    while not _try_lock(file, fcntl.LOCK_EX):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.1)
    return True


def owner_value(folder: Path) -> str:
    """Value of `OWNER_VARIABLE` for jobs of the build that owns `folder`."""
    path = (folder / "owner.lock").resolve()
    return json.dumps([socket.gethostname(), str(path), path.read_text(encoding="utf-8")])


@contextlib.contextmanager
def as_job(folder: Path) -> Iterator[None]:
    """Write to `folder` as one job of a build: no new build starts meanwhile, and this one ends with its own.

    Raises
    ------
    StoreError
        If the folder can't be written to or locked.
    """
    host, path, owner = json.loads(os.environ.get(OWNER_VARIABLE) or '["", "", ""]')
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        jobs = (folder / "jobs.lock").open("a", encoding="utf-8")
    with jobs:
        with write_errors(folder):
            fcntl.flock(jobs, fcntl.LOCK_SH)
        # On another machine of a cluster the file system may not carry locks; the scheduler ends jobs there.
        if owner and host == socket.gethostname():
            _exit_if_orphaned(Path(path), owner)
            threading.Thread(target=_watch, args=(Path(path), owner), daemon=True).start()
        yield


def _watch(path: Path, owner: str) -> None:
    while True:
        time.sleep(WATCH_EVERY_S)
        _exit_if_orphaned(path, owner)


def _exit_if_orphaned(path: Path, owner: str) -> None:
    with path.open("r", encoding="utf-8") as file:
        if _try_lock(file, fcntl.LOCK_SH) or file.read() != owner:
            logger.error("%s: the build that started this job is gone; stopping", path)
            logging.shutdown()
            os._exit(ORPHANED_EXIT_CODE)  # threads may be waiting for answers that nobody needs


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
