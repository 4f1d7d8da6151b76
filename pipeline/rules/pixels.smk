"""The pixels: fetched a job at a time, packed into shards, and swept away once packed."""


rule fetch_pixels:
    """All seasons and products for the locations of one job.

    What was fetched lies in a spool that is no declared output, so a kill costs only what was in flight.
    """
    input:
        scenes=scenes_for_job,
    output:
        outcomes=str(steps / "outcomes" / "{job}.parquet"),
        ready=temp(str(steps / "pixels" / "{job}.ready")),
    log:
        log_of("fetch_pixels/{subset}/{job}.log"),
    wildcard_constraints:
        subset="nol|dw",
    resources:
        ee_requests=min(8, quota),  # claimed here, used below, limited in profiles/default
    params:
        version=versions.PIXELS,
        config=layout.config,
    shell:
        "python -m builders fetch --config {params.config:q} --subset {wildcards.subset} --job {wildcards.job}"
        " --concurrency {resources.ee_requests} > {log:q} 2>&1"


for subset in subsets:
    if subset == "osm":
        continue

    rule:
        name:
            f"pack_shard_{subset}"
        input:
            ready=partial(ready_for_shard, subset),
            store=ancient(layouts[subset].created),
        output:
            ensure(shard_files(subset, "{shard}"), non_empty=True),
        log:
            log_of(f"pack_shard/{subset}/{{shard}}.log"),
        priority: 10
        params:
            version=versions.PACK,
            config=layout.config,
            subset=subset,
        shell:
            "python -m builders pack --config {params.config:q} --subset {params.subset} --shard {wildcards.shard}"
            " > {log:q} 2>&1"


rule sweep_spool:
    """Delete the staged pixels of a job whose shards are all packed: peak disk stays bounded."""
    input:
        shards_of_job,
    output:
        str(steps / "swept" / "{job}.json"),
    log:
        log_of("sweep_spool/{subset}/{job}.log"),
    wildcard_constraints:
        subset="nol|dw",
    priority: 20
    params:
        config=layout.config,
    shell:
        "python -m builders sweep --config {params.config:q} --subset {wildcards.subset} --job {wildcards.job}"
        " > {log:q} 2>&1"
