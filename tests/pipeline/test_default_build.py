"""The build that `make build_noldo` makes: the size at which concurrency, memory and the plan of requests are real.

All three subsets are held against the truth of the synthetic Earth.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr

from builders.config import parse_config
from noldo import NoldoS12
from noldo.compare_labels import compare_labels
from noldo.grids import Grid
from noldo.index import read_index
from noldo.legend import DYNAMIC_WORLD, OSM_LAND_USE
from noldo.verify import verify
from sandbox.experts import expected_labels, expert_tiles
from sandbox.planet.osm import expected_osm
from sandbox.synthetic import SyntheticEarth
from sandbox.true_labels import write_truth
from tests.pipeline.expectation import expected_arrays
from tests.pipeline.workflow import ROOT, Workflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def default_build(tmp_path_factory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("default"))
    status, said, usage = workflow.run_measured("build_noldo")
    assert status == 0, said[-6000:]
    (workflow.folder / "peak_kb").write_text(str(usage["peak_kb"]))
    return workflow


@pytest.fixture(scope="module")
def results(default_build) -> Path:
    return default_build.folder / "results" / "sandbox"


@pytest.fixture(scope="module")
def expected(default_build) -> dict[str, dict[str, object]]:
    """What the sandbox says must become of each of its tiles."""
    path = default_build.folder / "work" / "sandbox" / "dw" / "experts" / "expected.json"
    return json.loads(path.read_text())["tiles"]


def rows_of(results: Path, subset: str) -> list[dict[str, object]]:
    return read_index(results / f"{subset}.parquet").to_pylist()


def kept_of(results: Path, subset: str) -> list[dict[str, object]]:
    return [row for row in rows_of(results, subset) if row["status"] == "kept"]


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
    assert len(counted) <= 1.05 * (64 + 40)
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


# @DW and @OSM


def window_of(row: dict[str, object]) -> tuple[slice, slice]:
    top, bottom, left, right = row["window"]
    return slice(top, bottom), slice(left, right)


def grid_of(row: dict[str, object]) -> Grid:
    """The imagery grid: the smallest square of the 60 m lattice that contains the tile."""
    _, bottom, _, right = row["window"]
    return Grid(row["crs_epsg"], row["x_ul"], row["y_ul"], 6 * -(-max(bottom, right) // 6))


def test_every_subset_is_whole_and_the_page_covers_them(default_build, results):
    done = default_build.noldo("verify", "results/sandbox")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (results / "report.html").read_text()
    for identifier in ("where", "dw", "dw-labels", "dw-splits", "osm", "osm-screening", "osm-refused"):
        assert f'id="{identifier}"' in page
    words = default_build.noldo("info", "results/sandbox").stdout
    assert all(f"sandbox ({subset})" in words for subset in ("nol", "dw", "osm"))


def test_each_planted_failure_is_refused_for_its_reason_and_nothing_else_is(results, expected):
    reasons = {
        "missing_file": ("bad_labels", "no label file of this tile"),
        "unmarked": ("bad_labels", "experts marked 0.0 % of the tile"),
        "unknown_class": ("bad_labels", "expected 0 (unmarked), 1 .. 9, or 10 (cloud)"),
        "not_utm": ("bad_labels", "expected a UTM zone on WGS84"),
        "no_scene": ("no_scene", "no usable scene in label (no scene in the window)"),
    }
    rows = rows_of(results, "dw")
    assert len(rows) == len(expected) == 40
    assert {one["outcome"] for one in expected.values()} == {"kept", *reasons}
    for row in rows:
        outcome = expected[row["name"]]["outcome"]
        status, words = reasons.get(outcome, ("kept", ""))
        assert row["status"] == status, (row["name"], row["reason"])
        assert words in row["reason"]
        assert bool(row["reason"]) == (outcome != "kept")


def test_flags_say_what_is_odd_about_kept_tiles(results, expected):
    for row in kept_of(results, "dw"):
        one = expected[row["name"]]
        flags = set(one["flags"])
        assert row["label_resampled"] == ("off_lattice" in flags)
        assert row["own_scene"] == ("other_scene" not in flags), row["choice_reason"]
        if "no_l2a" in flags:
            assert row["scene_s2_l2a"] == [None]
        if one["scene"]:
            assert row["scene_s2_l1c"][0].endswith(one["scene"])
        assert (row["time_s1"][0] - row["time_s2"][0]).__abs__().days <= 15
    planted = {flag for one in expected.values() for flag in one["flags"]}
    assert planted >= {"off_lattice", "other_scene", "cloudy_own_scene", "no_l2a"}


def test_expert_labels_are_the_published_ones_and_the_truth_wherever_marked(results):
    store = zarr.open_group(results / "dw.zarr", mode="r")
    tiles = {tile.id: tile for tile in expert_tiles(0, 40)}
    earth = SyntheticEarth(0)
    for row in kept_of(results, "dw"):
        stored = store["expert_10m"][row["row"], 0]
        inside = stored[window_of(row)]
        assert (inside != 255).sum() == (stored != 255).sum() > 0
        tile = tiles[row["name"]]
        if not row["label_resampled"]:
            np.testing.assert_array_equal(inside, expected_labels(tile))
            truth = earth.truth(grid_of(row))[window_of(row)]
            marked = inside != 255
            np.testing.assert_array_equal(inside[marked], truth[marked])
        counts = np.bincount(stored.ravel(), minlength=256)[: len(DYNAMIC_WORLD.classes)]
        assert row["expert_counts"] == counts.tolist()


def test_a_resampled_tile_is_the_truth_to_within_a_pixel(results):
    """Off the lattice by less than a pixel, a label can only differ from the truth at a border of classes."""
    store = zarr.open_group(results / "dw.zarr", mode="r")
    earth = SyntheticEarth(0)
    resampled = [row for row in kept_of(results, "dw") if row["label_resampled"]]
    assert resampled
    for row in resampled:
        labels = store["expert_10m"][row["row"], 0][window_of(row)]
        truth = earth.truth(grid_of(row))[window_of(row)]
        marked = labels != 255
        assert (labels == truth)[marked].mean() > 0.97


def test_images_of_tiles_are_the_earths_own_and_padding_is_no_data(results):
    store = zarr.open_group(results / "dw.zarr", mode="r")
    earth = SyntheticEarth(0)
    kept = kept_of(results, "dw")
    assert len({grid_of(row).size_px for row in kept}) > 1
    south, smallest = (
        next(row for row in kept if row["lat"] < 0 and row["scene_s2_l2a"][0]),
        min((row for row in kept if row["scene_s2_l2a"][0]), key=lambda row: grid_of(row).size_px),
    )
    for row in (south, smallest):
        size = grid_of(row).size_px
        for name, pixels in expected_arrays(earth, row, patch_size_px=size).items():
            stored = store[name][row["row"]]
            side = pixels.shape[-1]
            steps = 1 if name == "s1_grd_10m" else 0
            inside = stored[..., :side, :side]
            assert np.abs(inside.astype(int) - pixels.astype(int)).max() <= steps, (name, row["id"])
            no_data = store[name].attrs["no_data"]
            assert (stored[..., side:, :] == no_data).all()
            assert (stored[..., :, side:] == no_data).all()


def test_osm_labels_are_the_truth_wherever_a_polygon_was_not_omitted(results):
    store = zarr.open_group(results / "osm.zarr", mode="r")
    images = zarr.open_group(results / "dw.zarr", mode="r")
    kept = kept_of(results, "osm")
    assert len(kept) > 20
    for row in kept:
        stored = store["osm_10m"][row["row"], 0]
        inside = stored[window_of(row)]
        np.testing.assert_array_equal(inside, expected_osm(grid_of(row), seed=0)[window_of(row)])
        assert (inside != 255).sum() == (stored != 255).sum()
        counts = np.bincount(stored.ravel(), minlength=256)[: len(OSM_LAND_USE.classes)]
        assert row["osm_counts"] == counts.tolist()
    for name in ("s2_l1c_20m", "s1_grd_10m", "expert_10m"):
        np.testing.assert_array_equal(store[name][kept[0]["row"]], images[name][kept[0]["row"]])


def test_tiles_are_screened_for_what_was_planted_and_every_decision_is_in_the_index(results, expected):
    decided = Counter()
    for row in rows_of(results, "osm"):
        one = expected[row["name"]]
        if one["outcome"] != "kept":
            assert row["osm_polygons"] is None
            assert row["osm_decision"] == row["reason"]
            continue
        wanted = {"kept": "kept", "sparse": "kept", "outdated": "disagrees", "unmapped": "no_labels"}[
            one["osm"]
        ]
        if one["osm"] == "sparse" and row["osm_share"] < 0.1:
            wanted = "no_labels"
        assert row["status"] == wanted, (row["name"], one["osm"], row["osm_decision"])
        assert row["osm_decision"]
        decided[one["osm"]] += 1
    assert set(decided) == {"kept", "sparse", "outdated", "unmapped"}


def test_extracts_give_the_same_labels_as_overpass(default_build, tmp_path):
    """The same tiles, their areas read from a .osm.pbf instead of asked for."""
    from builders.config import load_config
    from builders.layout import Layout
    from builders.osm_label_table import read_osm_labels
    from builders.osm_labels import run_collect, run_osm_labels

    work = default_build.folder / "work" / "sandbox"
    extract = tmp_path / "earth.osm.pbf"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "sandbox",
            "osm-extract",
            "--out",
            str(extract),
            "--near",
            str(work / "dw/experts"),
        ],
        check=True,
        cwd=ROOT,
        timeout=300,
    )
    tree = load_config(default_build.folder / "results/sandbox/config.json").model_dump(mode="json")
    tree["osm"] |= {"source": "extracts", "extracts": [str(extract)]}
    config = parse_config(tree, where="test").of_subset("osm")
    shutil.copytree(work / "dw", tmp_path / "work/sandbox/dw")
    layout = Layout("sandbox", tmp_path, subset="osm")
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        run_collect(config, layout, extract=0)
        run_osm_labels(config, layout, job=0)
    finally:
        os.chdir(before)
    asked = read_osm_labels(work / "osm/labels/0.parquet")
    read = read_osm_labels(layout.osm_labels(0))
    for one, other in zip(asked, read, strict=True):
        assert (one.classes, one.counts, one.decision) == (other.classes, other.counts, other.decision)


def test_crops_of_clean_labels_load(results):
    for subset, num_classes in (("dw", 9), ("osm", 13)):
        data = NoldoS12(results, subset=subset, split=None, crop_px=480, modalities=("s2_l1c", "s1_grd"))
        sample = data[0]
        assert sample["s2_l1c_10m"].shape == (4, 480, 480)
        labelled = sample["mask"][sample["mask"] != 255]
        assert len(labelled)
        assert int(labelled.max()) < num_classes


def test_the_noise_of_dynamic_world_against_the_experts_is_measured(default_build):
    done = default_build.noldo(
        "compare-labels",
        "results/sandbox",
        "--subset",
        "dw",
        "--of",
        "expert",
        "--against",
        "dynamic_world",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{")


def test_the_manifest_says_what_clean_labels_were_made_of(results):
    made_of = {
        subset: json.loads((results / f"{subset}.json").read_text())["label_provenance"]
        for subset in ("nol", "dw", "osm")
    }
    assert made_of["nol"] == {}
    assert [table["name"] for table in made_of["dw"]["expert"]["tables"]] == ["tiles.csv", "meta.csv"]
    tags = made_of["osm"]["osm"]["tags"]
    assert (tags["name"], len(tags["digest"])) == ("ohsome-1", 64)
    assert "ohsome" in tags["source"]


def test_tiles_go_out_as_geotiff_and_come_back_as_the_same_store(default_build, tmp_path):
    """Also those that were off the lattice."""
    done = default_build.builders("export", "results/sandbox", str(tmp_path / "out"), "--subset", "osm")
    assert done.returncode == 0, done.stderr
    done = default_build.builders("import-export", str(tmp_path / "out"), "--out", str(tmp_path / "again"))
    assert done.returncode == 0, done.stderr
    before = default_build.noldo("digest", "results/sandbox/osm.zarr").stdout
    assert before == default_build.noldo("digest", str(tmp_path / "again" / "osm.zarr")).stdout != ""


# The trainer


def test_pretraining_and_both_transfers_run_on_what_was_built(default_build, results, tmp_path):
    """recipes/sandbox/quick.yaml at a smaller size: it shows that the way holds, not what it is worth."""
    smaller = (
        f"data.store={results}",
        *("data.num_workers=0", "data.max_train=8", "data.max_val=2", "augmentation.crop_px=96"),
        *("epochs=2", "batch_size=4", "checkpoint_epochs=2"),
    )
    command = ("reproduce", str(ROOT / "recipes/sandbox/quick.yaml"), "--out", str(tmp_path / "quick"))
    done = default_build.noldo(*command, "--set", *smaller)
    assert done.returncode == 0, done.stderr
    assert "was not run" not in done.stdout
    with (tmp_path / "quick" / "runs.csv").open() as file:
        raw = {row["column"]: row for row in csv.DictReader(file)}
    assert set(raw) == {"@DW, finetuned", "@OSM, finetuned"}
    for subset, column in (("dw", "@DW, finetuned"), ("osm", "@OSM, finetuned")):
        test = NoldoS12(results, subset=subset, split="test")
        assert int(raw[column]["locations"]) == len(test)
        assert int(raw[column]["pixels"]) == sum(int((sample["mask"] != 255).sum()) for sample in test)
        run = json.loads(
            (tmp_path / "quick/cromss-middle-s2" / f"{subset}-finetuned/seed-1/recipe.json").read_text()
        )
        assert run["weights"] == str(tmp_path / "quick/before/cromss")
    again = default_build.noldo(*command, "--set", *smaller)
    assert again.stdout == done.stdout
    maps = tmp_path / "maps"
    run = tmp_path / "quick/cromss-middle-s2/dw-finetuned/seed-1"
    done = default_build.noldo("predict", str(run), str(results), "--out", str(maps), "--batch-size", "2")
    assert done.returncode == 0, done.stderr
    ids = NoldoS12(results, subset="dw", split="test").ids.tolist()
    assert sorted(path.name for path in maps.glob("*.tif")) == sorted(f"{one}.tif" for one in ids)
    with rasterio.open(maps / f"{ids[0]}.tif") as dataset:
        assert dataset.colormap(1)[1][:3] == DYNAMIC_WORLD.rgb()[1]
        assert dataset.crs.is_projected


def test_the_truth_of_the_build_is_written_beside_it_and_tells_how_noisy_its_labels_are(
    default_build, results, tmp_path
):
    truth = tmp_path / "truth"
    write_truth(results, out=truth)
    assert verify(truth).problems == ()
    found = compare_labels(results, of="truth", against="dynamic_world", label_store=truth)
    share = 1 - np.trace(found.counts) / np.sum(found.counts)
    assert 0.1 < share < 0.4
