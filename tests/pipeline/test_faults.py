"""A provider that misbehaves costs time, never data: the build ends with the same digest, or stops and goes on."""

import json

import pytest

from tests.pipeline.workflow import Workflow, tiny_config

pytestmark = pytest.mark.slow

RANDOM = {"seed": 5, "rates": {"429": 0.03, "500": 0.02, "503": 0.02, "truncate": 0.02, "garble": 0.01}}


def test_random_faults_and_an_outage_do_not_change_a_byte(build_once, workflow):
    faults = RANDOM | {"outage": {"after_requests": 4, "seconds": 60}}
    workflow.build(tiny_config(sandbox={"faults": faults}), timeout=900)
    assert workflow.digest() == build_once().digest()
    assert workflow.info()["requests"]["retried"] > 0


def test_a_spent_daily_quota_stops_the_build_cleanly_and_it_goes_on(build_once, workflow):
    config = workflow.write_config(tiny_config(sandbox={"faults": {"daily_quota": 3}}))
    stopped = workflow.run("--configfile", str(config))
    said = stopped.stdout + stopped.stderr
    assert stopped.returncode != 0
    assert "daily quota of this project is spent" in said
    assert "UTC" in said
    assert "Traceback" not in said

    again = workflow.run("--configfile", str(config))
    assert again.returncode != 0
    assert "daily quota of this project is spent" in again.stdout + again.stderr

    clear = workflow.builders("clear-quota", "--config", "results/tiny/config.json")
    assert clear.returncode == 0, clear.stderr
    workflow.build(tiny_config())
    assert workflow.digest() == build_once().digest()
    planned = pixel_requests(build_once())
    requests = pixel_requests(workflow)
    # What was staged before the stop is not asked for again. One place takes two requests, and begins anew if the second was refused.
    assert requests.count(200) <= len(planned) + 1
    assert len(requests) - requests.count(200) <= len(planned)  # no place is refused twice


def pixel_requests(workflow: Workflow) -> list[int]:
    """HTTP status of each request for pixels that the sandbox saw, over all starts."""
    log = workflow.folder / "work" / "tiny" / "sandbox.log.jsonl"
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [record["status"] for record in records if record["endpoint"] == "image:computePixels"]


def test_refused_credentials_stop_every_job_with_one_line(workflow):
    config = workflow.write_config(tiny_config(sandbox={"faults": {"authentication": 403}}))
    done = workflow.run("--configfile", str(config))
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "earthengine authenticate" in said or "project" in said
    assert "Traceback" not in said
    workflow.build(tiny_config())  # the next start asks again
