"""Starts and stops the sandbox that serves a build. Standard library only: snakemake's process calls this."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from builders.config import BuildConfig
from builders.layout import Layout
from noldo.atomic import write_errors
from noldo.errors import ConfigError, SourceError

START_WITHIN_S = 60.0
WATCH_EVERY_S = 1.0

logger = logging.getLogger(__name__)


def start_sandbox(
    config: BuildConfig, layout: Layout, *, basedir: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Start `python -m sandbox serve` on a free loopback port and wait until it listens.

    It reads from a pipe that only this process writes to, and ends when the pipe closes: so it never
    outlives the build, whichever way that ends.

    Raises
    ------
    SourceError
        If it does not come up; with the last line it printed.
    StoreError
        If the folder of the build can't be written to.
    """
    with write_errors(layout.sandbox):
        layout.sandbox.parent.mkdir(parents=True, exist_ok=True)
        layout.sandbox.unlink(missing_ok=True)
    with write_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("wb")
    with output:
        process = subprocess.Popen(
            _command(config, layout),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(basedir)},
        )
    give_up = time.monotonic() + START_WITHIN_S
    while not layout.sandbox.exists():
        if process.poll() is not None or time.monotonic() > give_up:
            stop_sandbox(process)
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise SourceError(f"the sandbox did not start: {said[-1] if said else 'no output'}; see {log}")
        time.sleep(0.05)
    return process


def _command(config: BuildConfig, layout: Layout) -> list[str]:
    sandbox = config.sandbox
    command = [
        sys.executable,
        *("-m", "sandbox", "serve", "--exit-with-stdin"),
        *("--ready-file", str(layout.sandbox)),
        *("--log", str(layout.work / "sandbox.log.jsonl")),
        *("--seed", str(sandbox.seed)),
        *("--latency", str(sandbox.latency_s)),
    ]
    if sandbox.faults:
        command += ["--faults", json.dumps(sandbox.faults)]
    if sandbox.catalogue is not None:
        command += ["--catalogue", str(sandbox.catalogue)]
    return command


def stop_sandbox(process: subprocess.Popen[bytes]) -> None:
    """Close its pipe and wait until it is gone."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_with_sandbox(config: BuildConfig, layout: Layout) -> None:
    """End this process when the sandbox it asks does: waiting for an answer would be waiting for nobody."""
    if not config.source.is_sandbox:
        return
    pid = int(json.loads(layout.sandbox.read_text(encoding="utf-8"))["pid"])

    def watch() -> None:
        while Path(f"/proc/{pid}").exists() or not Path("/proc").exists():
            time.sleep(WATCH_EVERY_S)
        logger.error(
            "the sandbox of this build ended; see logs/%s/sandbox.log; start the build again", layout.name
        )
        logging.shutdown()
        os._exit(1)  # threads may be waiting for answers that will not come

    threading.Thread(target=watch, daemon=True, name="sandbox-watch").start()


def overpass_url(layout: Layout) -> str:
    """Base URL of the Overpass of this build's sandbox.

    Raises
    ------
    ConfigError
        If no sandbox is running.
    """
    return str(_running(layout)["overpass_url"])


def _running(layout: Layout) -> dict[str, object]:
    try:
        tree: dict[str, object] = json.loads(layout.sandbox.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{layout.sandbox}: no sandbox is running for this build; start it through snakemake, or by hand "
            f"with `python -m sandbox serve --ready-file {layout.sandbox}`"
        ) from None
    return tree


def source_url(config: BuildConfig, layout: Layout) -> str:
    """Base URL of the imagery provider of this build.

    Raises
    ------
    ConfigError
        If the build uses the sandbox and none is running.
    """
    if not config.source.is_sandbox:
        return config.source.url
    return str(_running(layout)["url"])
