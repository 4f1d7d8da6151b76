"""The build that `make build_noldo` makes: the size at which concurrency, memory and the plan of requests are real."""

import json

import numpy as np
import pytest
import zarr

from noldo.index import read_index
from sandbox.synthetic import SyntheticEarth
from tests.pipeline.expectation import expected_arrays
from tests.pipeline.workflow import Workflow

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("default_build")]


@pytest.fixture(scope="module")
def default_build(tmp_path_factory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("default"))
    status, said, usage = workflow.run_measured("build_noldo")
    assert status == 0, said[-6000:]
    (workflow.folder / "peak_kb").write_text(str(usage["peak_kb"]))
    return workflow


def test_it_asks_at_most_1_05_times_a_location(default_build):
    info = default_build.info("sandbox")
    requests = info["requests"]
    assert info["locations_tried"] == 64
    assert info["locations"] > 32
    assert requests["metadata"] + requests["pixels"] + requests["fallback"] <= 1.05 * 64
    assert requests["largest_bytes"] < 0.95 * 48 * 2**20
    log = (default_build.folder / "work" / "sandbox" / "sandbox.log.jsonl").read_text().splitlines()
    asked = [json.loads(line) for line in log]
    counted = [one for one in asked if one["endpoint"] in {"value:compute", "image:computePixels"}]
    assert len(counted) <= 1.05 * 64
    assert max(one["in_flight"] for one in asked) > 8  # several jobs at once
    assert max(one["in_flight"] for one in asked) <= 40


def test_no_job_needs_more_than_2_gb(default_build):
    assert int((default_build.folder / "peak_kb").read_text()) < 2_000_000


def test_all_nine_classes_are_there_and_none_is_everything(default_build):
    shares = default_build.info("sandbox")["class_shares"]
    assert min(shares.values()) > 0.001
    assert max(shares.values()) < 0.45


def test_pixels_are_the_earths_own_in_many_zones_and_both_hemispheres(default_build):
    results = default_build.folder / "results" / "sandbox"
    rows = [row for row in read_index(results / "nol.parquet").to_pylist() if row["status"] == "kept"]
    assert len({row["crs_epsg"] for row in rows}) > 12
    south = [row for row in rows if row["lat"] < 0]
    north = [row for row in rows if row["lat"] > 0]
    several_tiles = [row for row in rows if len(set(row["tile"])) > 1]
    assert several_tiles
    store = zarr.open_group(results / "nol.zarr", mode="r")
    earth = SyntheticEarth(seed=0)
    for row in (*south[:2], *north[:1], several_tiles[0]):
        for name, expected in expected_arrays(earth, row, patch_size_px=264).items():
            stored = store[name][row["row"]]
            steps = 1 if name == "s1_grd_10m" else 0
            assert np.abs(stored.astype(int) - expected.astype(int)).max() <= steps, (name, row["id"])
