"""Which images: one metadata request for some fifty places, then a pure choice."""


rule search_scenes:
    """Every scene the provider has for the locations of one search job."""
    input:
        [path for path in (build_config.sandbox.catalogue,) if path],
        locations=locations_of,
    output:
        str(steps / "candidates" / "{search}.parquet"),
    log:
        log_of("search_scenes/{subset}/{search}.log"),
    resources:
        ee_requests=min(4, quota),
    params:
        version=versions.SEARCH,
        config=layout.config,
    shell:
        "python -m builders search --config {params.config:q} --subset {wildcards.subset} --search {wildcards.search}"
        " --concurrency {resources.ee_requests} --out {output:q} > {log:q} 2>&1"


rule choose_scenes:
    """The images of each season, ranked, with the reason for each choice."""
    input:
        locations=locations_of,
        candidates=str(steps / "candidates" / "{search}.parquet"),
    output:
        str(steps / "scenes" / "{search}.parquet"),
    log:
        log_of("choose_scenes/{subset}/{search}.log"),
    params:
        version=versions.CHOICE,
        config=layout.config,
    shell:
        "python -m builders choose --config {params.config:q} --subset {wildcards.subset} --search {wildcards.search}"
        " --out {output:q} > {log:q} 2>&1"
