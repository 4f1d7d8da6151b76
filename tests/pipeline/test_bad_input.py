"""Bad input and bad luck: one clear line each, and nothing that was fetched is lost."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.workflow import Workflow, tiny_config

pytestmark = pytest.mark.slow


def failure(workflow: Workflow, tree: dict[str, object]) -> str:
    """What a build that can't go on says."""
    config = workflow.write_config(tree)
    done = workflow.run("--configfile", str(config), timeout=300)
    said = done.stdout + done.stderr
    assert done.returncode != 0, said[-3000:]
    assert "Traceback" not in said, said[-6000:]
    return said


def with_points(workflow: Workflow, text: str, count: int) -> dict[str, object]:
    (workflow.folder / "places.csv").write_text(text)
    return tiny_config(locations={"points": "places.csv", "count": count})


@pytest.mark.parametrize(
    ("text", "count", "words"),
    [
        ("id,lon,lat\n1,9.0,48.0\n1,9.5,48.0\n", 2, "places.csv"),
        ("lon,lat\n9.0,48.0\n-30.0,30.0\n", 2, "at sea"),
        ("lon,lat\n9.0,48.0\n20.0,85.0\n", 2, "84"),
        ("lon,lat\n9.0,48.0\n", 2, "locations.count is 2"),
        ("lon,lat\n9.0,north\n", 1, "line 2"),
    ],
    ids=["duplicate ids", "at sea", "beyond 84 N", "another count", "no number"],
)
def test_places_that_cannot_be_used_are_one_line(workflow, text, count, words):
    assert words in failure(workflow, with_points(workflow, text, count))


def test_a_users_own_places_keep_their_ids(workflow):
    tree = with_points(workflow, "id,lon,lat,name\n70,9.19,48.78,here\n30,2.35,48.85,there\n", 2)
    workflow.build(tree)
    from noldo.index import read_index

    rows = read_index(workflow.folder / "results" / "tiny" / "nol.parquet").to_pylist()
    assert [(row["id"], row["place"]) for row in rows] == [(30, "there"), (70, "here")]


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small disk of its own at `folder`; not every machine lets tests mount one, and then they say so."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mounting a small disk needs root: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(workflow):
    """`work/` on a disk of its own that can be filled and enlarged."""
    with mounted(workflow.folder / "work", "size=600k") as folder:
        yield folder


def test_a_full_disk_is_one_line_and_the_build_goes_on_once_there_is_room(
    build_once, workflow, small_disk: Path
):
    said = failure(workflow, tiny_config())
    assert "can't be written (No space left on device)" in said
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    workflow.build(tiny_config())
    assert workflow.digest() == build_once().digest()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_output_is_one_line(workflow):
    (workflow.folder / "results").mkdir(mode=0o555)
    assert "can't be written" in failure(workflow, tiny_config())


def test_an_output_on_a_read_only_disk_is_one_line(workflow):
    with mounted(workflow.folder / "results", "size=1m,ro"):
        assert "can't be written (Read-only file system)" in failure(workflow, tiny_config())
