"""What snakemake plans, and what it refuses before anything runs. Nothing here asks a server."""

import subprocess
import sys

import pytest
import yaml

from tests.pipeline.workflow import ROOT, Workflow, tiny_config


def refusal(workflow: Workflow, tree: dict[str, object]) -> str:
    """The one line a bad config gets; nothing may have been written."""
    config = workflow.write_config(tree)
    done = workflow.run("--configfile", str(config))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert not (workflow.folder / "results").exists()
    assert not (workflow.folder / "work").exists()
    return done.stderr


def test_the_default_is_the_sandbox_and_says_so_first(workflow):
    said = workflow.run("-n").stderr
    assert "SANDBOX: a synthetic Earth" in "\n".join(said.splitlines()[:3])
    assert "config/noldo_s12.yaml" in said


def test_a_config_of_the_user_replaces_the_default_whole(workflow):
    tree = tiny_config(name="mine")
    del tree["source"], tree["jobs"]
    config = workflow.write_config(tree)
    done = workflow.run("--configfile", str(config), "-n", "-q", "host")
    assert done.returncode == 0, done.stderr
    # The default's jobs of 16 locations would give four fetch jobs for 64 locations, and another split.
    assert "results/mine/report.html" in done.stdout + done.stderr
    assert "sandbox" not in (done.stdout + done.stderr).replace("SANDBOX", "").replace(
        str(workflow.folder), ""
    ).replace("sandbox.yaml", "")


def test_no_key_of_the_default_config_survives_in_the_users_build(workflow):
    probe = workflow.folder / "Snakefile"
    probe.write_text(
        f'include: "{ROOT / "Snakefile"}"\n'
        "import sys\nprint('KEYS', sorted(config), build_config.jobs.locations_per_shard, build_config.split.val,"
        " file=sys.stderr)\n"
    )
    config = workflow.write_config({"name": "mine", "seasons": [{"name": "a", "date": "2021-06-21"}]})
    done = Workflow(workflow.folder, snakefile=probe).run("--configfile", str(config), "-n")
    assert "KEYS ['name', 'seasons'] 64 0.01" in done.stderr


def test_a_single_key_may_be_changed_on_the_command_line(workflow):
    done = workflow.run("-n", "-q", "host", "--config", "name=other", "--", "build_noldo")
    assert done.returncode == 0, done.stderr
    assert "results/other/" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sesons": []}, "sesons: unknown key"),
        ({"patch_size_px": 100}, "multiple of 6"),
        ({"seasons": [{"name": "a", "date": "2021-02-30"}]}, "seasons.0.date"),
        ({"source": {"url": "https://earthengine.example", "credentials": "user"}}, "no `project`"),
        (
            {"source": {"url": "https://earthengine.example", "credentials": "anonymous", "project": "p"}},
            "loopback only",
        ),
    ],
    ids=["unknown key", "patch size", "impossible date", "no project", "anonymous abroad"],
)
def test_a_bad_config_gets_one_clear_line_and_nothing_runs(workflow, change, words):
    assert words in refusal(workflow, tiny_config(**change))


def test_the_placeholder_project_stops_the_build_but_not_the_plan(workflow):
    tree = yaml.safe_load((ROOT / "config" / "noldo_s12.yaml").read_text())
    tree["locations"]["count"] = 100
    config = workflow.write_config(tree)
    assert workflow.run("build_nol", "--configfile", str(config), "-n").returncode == 0
    done = workflow.run("build_nol", "--configfile", str(config))
    assert done.returncode != 0
    assert "your own Google Cloud project" in done.stdout + done.stderr
    assert not (workflow.folder / "results").exists()


def test_a_folder_that_cannot_be_written_is_one_line(workflow):
    (workflow.folder / "work").write_text("a file where a folder should be")
    config = workflow.write_config(tiny_config())
    done = workflow.run("--configfile", str(config))
    assert done.returncode != 0
    assert "can't be written" in done.stdout + done.stderr


@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_the_cluster_profiles_plan_the_same_jobs(workflow, profile):
    pytest.importorskip(
        {
            "slurm": "snakemake_executor_plugin_slurm",
            "kubernetes": "snakemake_executor_plugin_cluster_generic",
        }[profile]
    )
    config = workflow.write_config(tiny_config())
    done = workflow.run("--configfile", str(config), "-n", "--profile", str(ROOT / "profiles" / profile))
    assert done.returncode == 0, done.stderr
    assert "fetch_pixels" in done.stdout + done.stderr


def test_every_entry_of_the_cluster_profiles_is_commented():
    for profile in ("slurm", "kubernetes"):
        blocks = (ROOT / "profiles" / profile / "config.yaml").read_text().split("\n\n")
        assert all(block.lstrip().startswith("#") or not block.strip() for block in blocks), profile


@pytest.mark.slow
def test_the_papers_build_is_planned_in_under_a_minute_and_a_gigabyte(workflow):
    paper = str(ROOT / "config" / "noldo_s12.yaml")
    for file in ("dw_test/meta.csv", "v1_dw_tile_metadata_for_public_release.xlsx", "Experts_tiles/a.tif"):
        path = workflow.folder / "data/dynamic_world" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (workflow.folder / "data/osm").mkdir()
    (workflow.folder / "data/osm/planet-latest.osm.pbf").touch()
    status, said, usage = workflow.run_measured("-n", "-q", "all", "--configfile", paper, cores=16)
    assert status == 0, said[-3000:]
    assert usage["cpu_s"] < 60  # of the CPU: other tests share the cores
    assert usage["peak_kb"] < 1_000_000
    assert {"fetch_pixels", "pack_shard_dw", "label_osm"} <= set(said.split())


def test_what_the_workflow_imports_while_planning_is_light():
    code = (
        "import sys\nfrom builders import build, versions\nimport noldo.products, noldo.shard_paths\n"
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'torch', 'zarr', 'ee', 'dask'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
