"""Subsets beside each other in one folder: added later, lost in part, interrupted, and made of files that change."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio

from noldo.index import read_index
from tests.pipeline.test_bad_input import failure
from tests.pipeline.test_build import PLANNED
from tests.pipeline.test_kills import start, wait_for_orphans
from tests.pipeline.workflow import Workflow, tiny_config

pytestmark = pytest.mark.slow

NUM_TILES = 6


def alone(**changes: object) -> dict[str, object]:
    """@NoL with two places."""
    return tiny_config(locations={"count": 2, "seed": 3}, **changes)


def all_three(**changes: object) -> dict[str, object]:
    """The same with six tiles and OpenStreetMap on them."""
    return alone(dw={"count": NUM_TILES}, osm={}, **changes)


def planned(workflow: Workflow, tree: dict[str, object], *targets: str) -> dict[str, int]:
    """Rules that would run now, with their numbers of jobs."""
    config = workflow.write_config(tree)
    done = workflow.run(*targets, "--configfile", str(config), "-n")
    assert done.returncode == 0, done.stderr
    counts = {rule: int(number) for rule, number in PLANNED.findall(done.stdout + done.stderr)}
    return {rule: number for rule, number in counts.items() if rule not in {"total", *targets}}


@dataclass(frozen=True)
class Grown:
    """A folder of one subset that became one of three."""

    workflow: Workflow
    nol_before: dict[str, bytes]
    plan: dict[str, int]
    """Jobs that the two subsets took."""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    """@NoL built first, then the same folder with two sections more."""
    workflow = Workflow(tmp_path_factory.mktemp("three"))
    workflow.build(alone())
    before = tree_bytes(workflow.folder / "results/tiny/nol.zarr")
    plan = planned(workflow, all_three())
    workflow.build(all_three())
    return Grown(workflow, before, plan)


@pytest.fixture
def three(grown: Grown) -> Workflow:
    return grown.workflow


@pytest.fixture
def copy(three: Workflow, tmp_path: Path) -> Workflow:
    """The finished build, to be changed at will (times kept, so that nothing looks new)."""
    shutil.copytree(three.folder, tmp_path / "copy", symlinks=True)
    return Workflow(tmp_path / "copy")


def tree_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_subsets_may_be_added_and_what_was_built_is_left_alone(grown):
    three = grown.workflow
    assert not {"plan_locations", "pack_shard_nol", "create_store_nol"} & set(grown.plan)
    assert {"plan_tiles", "label_osm", "pack_shard_dw", "pack_shard_osm"} <= set(grown.plan)
    assert tree_bytes(three.folder / "results/tiny/nol.zarr") == grown.nol_before
    assert three.noldo("verify", "results/tiny").returncode == 0
    assert planned(three, all_three()) == {}
    assert three.info(subset="dw")["locations"] == three.info(subset="dw")["locations_tried"] - 1


def test_a_subset_that_was_built_may_not_be_dropped_or_changed(copy):
    assert "dw was a section, now left out" in failure(copy, alone())
    changed = all_three() | {"osm": {"min_agreement": 0.9}}
    assert "osm.min_agreement was 0.5, now 0.9" in failure(copy, changed)
    assert "dw.max_days was 15, now 20" in failure(
        copy, all_three() | {"dw": {"count": NUM_TILES, "max_days": 20}}
    )


LOST = {
    "osm.zarr/osm_10m/c/1/0/0/0": ({"pack_shard_osm"}, {"label_osm", "fetch_pixels", "pack_shard_dw"}),
    "dw.zarr/expert_10m/c/0/0/0/0": (
        {"fetch_pixels", "pack_shard_dw"},
        {"make_expert_tiles", "search_scenes"},
    ),
    "dw.json": ({"write_index"}, {"fetch_pixels", "label_osm"}),
}
"""File to the rules that bring it back, and others that it does not need."""


def test_lost_files_come_back_without_what_they_do_not_need(copy):
    """Each is missed on its own; all of them come back in one build."""
    before, results = copy.digest(), copy.folder / "results/tiny"
    aside = copy.folder / "aside"
    for file, (rules, not_rules) in LOST.items():
        (results / file).rename(aside)
        assert copy.noldo("verify", "results/tiny").returncode == 1
        plan = set(planned(copy, all_three()))
        assert rules <= plan, file
        assert not not_rules & plan, file
        aside.rename(results / file)
    for file in LOST:
        (results / file).unlink()
    copy.build(all_three())
    assert copy.digest() == before


def test_one_subset_alone_is_a_target_of_its_own(workflow):
    assert {"label_osm", "pack_shard_nol"} & set(planned(workflow, all_three(), "build_dw")) == set()
    assert "pack_shard_dw" in planned(workflow, all_three(), "build_osm")
    config = workflow.write_config(alone())
    done = workflow.run("build_dw", "--configfile", str(config), "-n")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "no section `dw`, so no subset @DW" in said
    assert "No rule to produce build_dw" in said


def own_tiles(copy: Workflow) -> dict[str, object]:
    """A config whose tiles are files of the user's: those of the sandbox, in another place."""
    shutil.copytree(copy.folder / "work/tiny/dw/experts", copy.folder / "mine")
    tiles = {
        "count": NUM_TILES,
        "tables": ["mine/tiles.csv", "mine/labels/dw_test/meta.csv"],
        "labels": ["mine/labels"],
    }
    return alone(name="own", dw=tiles, osm={})


def test_a_label_file_that_was_corrected_is_read_again_wherever_it_lies(copy):
    """Its tile is planned anew with all that follows: no store holds some labels of before and some of now."""
    tree = own_tiles(copy)
    copy.build(tree, "build_dw")
    assert planned(copy, tree, "build_dw") == {}
    label = next((copy.folder / "mine/labels/Experts").rglob("*.tif"))
    with rasterio.open(label, "r+") as image:
        values = image.read(1)
        corrected = np.where(values == 0, 1, values).astype(values.dtype)
        image.write(corrected, 1)
    assert "plan_tiles" in planned(copy, tree, "build_dw")
    copy.build(tree, "build_dw")
    assert copy.noldo("verify", "results/own").returncode == 0
    rows = {row["name"]: row for row in read_index(copy.folder / "results/own/dw.parquet").to_pylist()}
    counts = np.bincount(corrected.ravel(), minlength=11)[1:10]
    assert rows[label.stem]["expert_counts"] == counts.tolist()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {
                "dw": {"count": 3},
                "source": {"url": "http://127.0.0.1:9", "credentials": "anonymous"},
                "osm": {},
            },
            "osm.overpass_url `sandbox`",
        ),
        ({"osm": {}}, "there is no section `dw`"),
        ({"dw": {"count": 3, "tables": ["a.csv"]}}, "`tables` and `labels` go together"),
        ({"dw": {"count": 3, "size_px": 512}}, "multiple of 6"),
        (
            {"dw": {"count": 3}, "osm": {"source": "extracts"}},
            "`source: extracts` and `extracts` go together",
        ),
        (
            {"dw": {"count": 3}, "osm": {"source": "extracts", "extracts": ["a/x.osm.pbf", "b/x.osm.pbf"]}},
            "the same name",
        ),
        ({"split": {"by": "published"}}, "`published` is for @DW only"),
        ({"split": {"by": "lists"}}, "`by: lists` and `lists` go together"),
        ({"osm": {"tag": "x"}, "dw": {"count": 3}}, "osm.tag: unknown key"),
    ],
)
def test_a_bad_section_is_one_clear_line(workflow, change, words):
    said = failure(workflow, alone(**change))
    assert words in said
    assert not (workflow.folder / "work").exists()


def test_a_missing_table_is_named_by_snakemake_and_nothing_runs(workflow):
    tree = alone(dw={"count": 3, "tables": ["gone.csv"], "labels": ["gone"]})
    said = failure(workflow, tree)
    assert "Missing input files for rule plan_tiles" in said
    assert "gone.csv" in said


def killed_when(workflow: Workflow, reached: Callable[[], bool]) -> None:
    process = start(workflow, str(workflow.folder / "config.yaml"))
    give_up = time.monotonic() + 300
    while not reached():
        assert process.poll() is None, "the build ended before it was killed"
        assert time.monotonic() < give_up
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for_orphans(process)


def test_a_build_killed_while_it_asks_overpass_asks_only_for_the_rest(three, workflow):
    tree = all_three(jobs={"locations_per_shard": 6, "locations_per_job": 6, "locations_per_search": 6})
    workflow.write_config(tree)
    spool = workflow.folder / "work/tiny/osm/overpass"
    killed_when(workflow, lambda: len(list(spool.glob("*.areas"))) >= 2)
    workflow.build(tree)
    log = (workflow.folder / "work/tiny/sandbox.log.jsonl").read_text().splitlines()
    queries = sum(json.loads(line)["endpoint"] == "overpass:interpreter" for line in log)
    tiles = workflow.info(subset="dw")["locations"]
    assert tiles <= queries <= tiles + 1  # one was in flight
    for subset in ("dw", "osm"):
        digests = [w.noldo("digest", f"results/tiny/{subset}.zarr").stdout for w in (workflow, three)]
        assert digests[0] == digests[1] != ""
