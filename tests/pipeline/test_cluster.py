"""The Kubernetes profile, with a stand-in for kubectl that runs each pod's command on this machine."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.workflow import Workflow, copy_checkout, tiny_config

KUBECTL = """#!{python}
import json, os, subprocess, sys
from pathlib import Path
import yaml
state = Path({state!r})
verb = sys.argv[1]
if verb == "create":
    job = yaml.safe_load(sys.stdin)
    (state / "jobs.jsonl").open("a").write(json.dumps(job) + "\\n")
    pod = job["spec"]["template"]["spec"]["containers"][0]
    mark = state / job["metadata"]["name"]
    command = f"({{' '.join(pod['command'])}}) > {{mark}}.log 2>&1 && echo 1/ > {{mark}} || echo /1 > {{mark}}"
    environment = {{k: v for k, v in os.environ.items() if k != "NOLDO_BUILD_OWNER"}}  # a pod has its own
    subprocess.Popen(["bash", "-c", command], cwd=pod["workingDir"], env=environment, start_new_session=True,
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
elif verb == "get":
    mark = state / sys.argv[3]
    print(mark.read_text().strip() if mark.exists() else "/")
"""


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A shared volume that holds a checkout."""
    return copy_checkout(tmp_path / "volume")


@pytest.fixture
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for the path, with the stand-in and what it was asked for."""
    folder = tmp_path_factory.mktemp("kubectl")
    script = folder / "kubectl"
    script.write_text(KUBECTL.format(python=sys.executable, state=str(folder)))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return folder


def environment(volume: Path, kubectl: Path) -> dict[str, str]:
    return {
        "PATH": f"{kubectl}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "NOLDO_IMAGE": "noldo-s12-builder:0.1.0",
        "NOLDO_VOLUME_CLAIM": "noldo-data",
        "NOLDO_VOLUME_MOUNT": str(volume),
    }


@pytest.mark.slow
def test_a_build_through_the_kubernetes_profile_runs_a_job_a_pod(volume, kubectl):
    workflow = Workflow(volume, snakefile=volume / "Snakefile")
    config = workflow.write_config(tiny_config(locations={"count": 2}))
    arguments = ("--profile", "profiles/kubernetes", "--latency-wait", "2", "--configfile", str(config))
    done = workflow.run(*arguments, **environment(volume, kubectl))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    jobs = [json.loads(line) for line in (kubectl / "jobs.jsonl").read_text().splitlines()]
    pods = [job["spec"]["template"]["spec"] for job in jobs]
    assert len(pods) >= 8
    assert {pod["volumes"][0]["persistentVolumeClaim"]["claimName"] for pod in pods} == {"noldo-data"}
    assert all(pod["containers"][0]["resources"]["requests"]["memory"].endswith("Mi") for pod in pods)
    assert (volume / "results" / "tiny" / "report.html").exists()


def test_a_working_directory_that_pods_cannot_see_is_refused(volume, kubectl, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(
        [str(volume / "profiles" / "kubernetes" / "submit.sh"), "3000", "1", "job.sh"],
        cwd=elsewhere,
        env=os.environ | environment(volume, kubectl),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert "pods can't see it" in done.stderr
