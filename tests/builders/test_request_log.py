import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from builders.request_log import RequestLog, RequestRecord, summarise
from noldo.errors import StoreError

ROOT = Path(__file__).parents[2]


def record(**changes: object) -> RequestRecord:
    tree: dict[str, object] = {
        "kind": "pixels",
        "attempt": 1,
        "outcome": "ok",
        "status": 200,
        "bytes_counted": 1000,
        "bytes_received": 10,
        "seconds": 0.5,
    }
    return RequestRecord(**{**tree, **changes})  # type: ignore[arg-type]  # built from a dict


def test_planned_requests_are_counted_apart_from_retries_and_start_ups(tmp_path: Path):
    log = RequestLog(tmp_path, stage="fetch", job="7")
    for attempt in (1, 2, 3):
        log.append(record(kind="start_up", attempt=attempt, bytes_counted=0))
    log.append(record(kind="metadata", bytes_counted=0))
    log.append(record(attempt=1, outcome="back_off", status=503, bytes_received=0))
    log.append(record(attempt=2, bytes_counted=2000))
    log.append(record(kind="fallback"))
    assert summarise(tmp_path) == {
        "metadata": 1,
        "pixels": 1,
        "fallback": 1,
        "retried": 1,
        "start_up": 3,
        "failed": 1,
        "largest_bytes": 2000,
        "received_bytes": 60,
        "seconds": 3.5,
    }


def test_a_folder_without_logs_counts_nothing(tmp_path: Path):
    assert set(summarise(tmp_path / "none").values()) == {0}


def test_each_line_says_when_in_utc(tmp_path: Path):
    log = RequestLog(tmp_path, stage="fetch", job="7")
    log.append(record(message="slow down"))
    line = json.loads(log.path.read_text())
    assert line["at"].endswith("+00:00")
    assert line["message"] == "slow down"
    assert log.path.name.startswith("fetch-7-")


def test_lines_of_many_threads_stay_whole(tmp_path: Path):
    log = RequestLog(tmp_path, stage="fetch", job="7")
    threads = [
        threading.Thread(target=lambda: [log.append(record(message="x" * 400)) for _ in range(20)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert summarise(tmp_path)["pixels"] == 160


def test_processes_write_files_of_their_own(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from builders.request_log import *; "
        "RequestLog(Path(sys.argv[1]), stage='s', job='1').append(RequestRecord('pixels', 1, 'ok', 200, 1, 1, 0.1))"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=ROOT)
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert summarise(tmp_path)["pixels"] == 2


def test_a_torn_last_line_is_skipped_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    log = RequestLog(tmp_path, stage="fetch", job="7")
    log.append(record())
    log.append(record())
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-40])
    assert summarise(tmp_path)["pixels"] == 1
    assert "1 torn lines" in caplog.text
    for cut in range(len(whole)):
        log.path.write_bytes(whole[:cut])
        assert summarise(tmp_path)["pixels"] <= 2


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path):
    log = RequestLog(tmp_path, stage="fetch", job="7")
    log.path = Path("/dev/full")
    with pytest.raises(
        StoreError, match=r"^/dev/full: can't be written \(No space left on device\); free space"
    ):
        log.append(record())


def test_a_folder_that_is_a_file_is_one_line_too(tmp_path: Path):
    (tmp_path / "file").touch()
    log = RequestLog(tmp_path / "file" / "requests", stage="fetch", job="7")
    with pytest.raises(StoreError, match=r"file/requests/fetch-7-.*can't be written"):
        log.append(record())


def test_lines_that_found_no_room_are_written_once_there_is_some(tmp_path: Path):
    log = RequestLog(tmp_path, stage="fetch", job="7")
    log.catch_up()
    assert not log.path.exists()
    good, log.path = log.path, Path("/dev/full")
    for _ in range(2):
        with pytest.raises(StoreError):
            log.append(record())
    with pytest.raises(StoreError):
        log.catch_up()
    log.path = good
    log.catch_up()
    log.append(record())
    assert summarise(tmp_path)["pixels"] == 3
