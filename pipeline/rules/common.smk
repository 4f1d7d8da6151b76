"""All functions of the workflow: the validated config, the cut into jobs, what happens before and after."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))

from builders import build, versions
from builders.layout import Layout
from noldo.errors import NoldoError
from noldo.products import array_specs
from noldo.shard_paths import shard_file
from noldo.store_files import metadata_files, row_files
from snakemake.exceptions import WorkflowError

try:
    build_config = build.read_config(config)
    build.check_folder(build_config, Layout(build_config.name))
except NoldoError as error:
    raise WorkflowError(str(error)) from None

layout = Layout(build_config.name)
cut = build.cut_of(build_config)
arrays = array_specs(build_config.products.selected())

# Jobs run our own interpreter with the checkout on its path, wherever snakemake was started from.
shell.prefix(
    f"set -euo pipefail; export PATH='{Path(sys.executable).parent}':\"$PATH\""
    f" PYTHONPATH='{workflow.basedir}'; "
)

# A job claims a part of the project's quota; config and profile both limit the sum.
quota = build_config.source.max_concurrent
if "ee_requests" in workflow.global_resources:
    quota = min(quota, workflow.global_resources["ee_requests"].value)
workflow.register_resource("ee_requests", quota)

running = None
"""Lock and sandbox of the build in progress; set by onstart."""

if workflow.is_main_process:
    print(build.greeting(build_config), file=sys.stderr)


def log_of(step):
    """Log file pattern of a step."""
    return f"logs/{build_config.name}/{step}"


def shards_of_job(wildcards):
    """Every shard file that holds pixels of a fetch job."""
    return [
        file
        for shard in cut.shards_of_job(int(wildcards.job))
        for file in shard_files(shard)
    ]


def shard_files(shard):
    """Every file of one shard, over all arrays; `shard` may be a wildcard in braces."""
    return [
        f"{layout.store}/{shard_file(spec.name, 4 + bool(spec.bands), shard)}"
        for spec in arrays
    ]


def store_files():
    """Every file of the store: shards, metadata, small arrays."""
    shards = [file for shard in cut.shards for file in shard_files(shard)]
    return [*shards, *in_store(metadata_files(arrays)), *in_store(row_files())]


def in_store(names):
    """Files of the store by their names in it."""
    return [f"{layout.store}/{name}" for name in names]


def ready_for_shard(wildcards):
    """The staged pixels a shard is packed from."""
    return str(layout.ready(cut.job_of_shard(int(wildcards.shard))))


def scenes_for_job(wildcards):
    """The scene table a fetch job reads."""
    return str(layout.scenes(cut.search_of_job(int(wildcards.job))))


onstart:
    global running
    try:
        running = build.start(build_config, layout, basedir=Path(workflow.basedir))
    except NoldoError as error:
        raise WorkflowError(str(error)) from None


onsuccess:
    build.finish(running)
    print(build.farewell(layout), file=sys.stderr)


onerror:
    build.finish(running)
    print(build.advice(layout, running), file=sys.stderr)
