"""All functions of the workflow: the validated config, the cut into jobs, what happens before and after."""

import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))

from builders import build, versions
from builders.layout import Layout
from builders.tiles_of_sandbox import LABEL_FOLDER, TABLE_FILE
from noldo.errors import NoldoError
from noldo.shard_paths import shard_file
from noldo.store_files import metadata_files, row_files
from snakemake.exceptions import WorkflowError

try:
    build_config = build.read_config(config)
    build.check_folder(build_config, Layout(build_config.name))
except NoldoError as error:
    raise WorkflowError(str(error)) from None

subsets = build_config.subsets
configs = {subset: build_config.of_subset(subset) for subset in subsets}
layouts = {subset: Layout(build_config.name, subset=subset) for subset in subsets}
cuts = {subset: build.cut_of(configs[subset]) for subset in subsets}
layout = layouts["nol"]
steps = layout.work / "{subset}"
osm = build_config.osm


wildcard_constraints:
    subset="nol|dw|osm",
    search=r"\d+",
    job=r"\d+",
    shard=r"\d+",
    extract=r"\d+",


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

# A public Overpass has two slots a user, and osmnx asks for one thing after another.
workflow.register_resource("overpass", 1)
workflow.register_resource("osm_extracts", 2)

running = None
"""Lock and sandbox of the build in progress; set by onstart."""

if workflow.is_main_process:
    print(build.greeting(build_config), file=sys.stderr)


def log_of(step):
    """Log file pattern of a step."""
    return f"logs/{build_config.name}/{step}"


def shard_files(subset, shard):
    """Every file of one shard, over all arrays; `shard` may be a wildcard in braces."""
    return in_store(
        subset,
        [
            shard_file(spec.name, 4 + bool(spec.bands), shard)
            for spec in configs[subset].specs
        ],
    )


def shards_of_job(wildcards):
    """Every shard file that holds pixels of a fetch job."""
    shards = cuts[wildcards.subset].shards_of_job(int(wildcards.job))
    return [file for shard in shards for file in shard_files(wildcards.subset, shard)]


def all_shards(subset):
    """Every shard file of a subset."""
    return [
        file for shard in cuts[subset].shards for file in shard_files(subset, shard)
    ]


def in_store(subset, names):
    """Files of a store by their names in it."""
    return [f"{layouts[subset].store}/{name}" for name in names]


def documents(subset):
    """Metadata of a store: every document, and the values of the axes."""
    return in_store(subset, metadata_files(configs[subset].specs))


def subset_files(subset):
    """Everything that users keep of a subset. Asked for by name: else a lost file would only be noticed by its reader."""
    files = [*all_shards(subset), *documents(subset), *in_store(subset, row_files())]
    return [*files, layouts[subset].index, layouts[subset].manifest]


def tile_inputs(_):
    """Tables and labels of the expert tiles."""
    tiles, made = build_config.dw, layouts["dw"].expert_files
    if not tiles.tables:
        return [made / TABLE_FILE, made / LABEL_FOLDER]
    # Every file by name: a folder's time does not change with that of a file deep in it.
    labels = [file for folder in tiles.labels for file in sorted(folder.rglob("*.tif"))]
    return [*tiles.tables, *tiles.labels, *labels]


def locations_of(wildcards):
    """The table of places of a subset."""
    return layouts[wildcards.subset].locations


def ready_for_shard(subset, wildcards):
    """The staged pixels a shard is packed from."""
    return str(layouts[subset].ready(cuts[subset].job_of_shard(int(wildcards.shard))))


def osm_labels_for_shard(wildcards):
    """The class maps a shard of @OSM is packed from."""
    return str(
        layouts["osm"].osm_labels(cuts["osm"].job_of_shard(int(wildcards.shard)))
    )


def scenes_for_job(wildcards):
    """The scene table a fetch job reads."""
    search = cuts[wildcards.subset].search_of_job(int(wildcards.job))
    return str(layouts[wildcards.subset].scenes(search))


def packed(wildcards):
    """What says that all shards of a subset are there."""
    subset = wildcards.subset
    if subset == "osm":
        return all_shards(subset)
    return [layouts[subset].swept(job) for job in cuts[subset].jobs]


def outcomes_of(wildcards):
    """What became of the locations of a subset."""
    subset = wildcards.subset
    return [layouts[subset].outcomes(job) for job in cuts[subset].jobs]


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
