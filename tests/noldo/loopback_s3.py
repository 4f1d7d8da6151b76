"""An S3 service in a process of its own, which writes down what it is asked for."""

import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_UP_S = 60.0

REQUEST = re.compile(r'"(?:\x1b\[\d+m)*(GET|HEAD|PUT) (\S+) HTTP')
"""A line of the log; those that are no plain success are coloured."""


@dataclass(frozen=True)
class Service:
    url: str
    log: Path

    def requests(self) -> list[tuple[str, str]]:
        """Method and path of all requests so far."""
        return REQUEST.findall(self.log.read_text())


@contextmanager
def loopback_s3(log: Path) -> Iterator[Service]:
    """A service without buckets."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, log)
        yield Service(url, log)
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_UP_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=1).close()
        except urllib.error.URLError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"no S3 service after {START_UP_S} s: {log.read_text()}")
