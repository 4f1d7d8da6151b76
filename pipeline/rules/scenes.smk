"""Which images: one metadata request for some fifty places, then a pure choice."""


rule search_scenes:
    """Every scene the provider has for the locations of one search job."""
    input:
        [path for path in (build_config.sandbox.catalogue,) if path],
        locations=layout.locations,
    output:
        str(layout.work / "candidates" / "{search}.parquet"),
    log:
        log_of("search_scenes/{search}.log"),
    resources:
        ee_requests=min(4, quota),
    params:
        version=versions.SEARCH,
        config=layout.config,
    shell:
        "python -m builders search --config {params.config:q} --search {wildcards.search}"
        " --concurrency {resources.ee_requests} --out {output:q} > {log:q} 2>&1"


rule choose_scenes:
    """The images of each season, ranked, with the reason for each choice."""
    input:
        locations=layout.locations,
        candidates=str(layout.work / "candidates" / "{search}.parquet"),
    output:
        str(layout.work / "scenes" / "{search}.parquet"),
    log:
        log_of("choose_scenes/{search}.log"),
    params:
        version=versions.CHOICE,
        config=layout.config,
    shell:
        "python -m builders choose --config {params.config:q} --search {wildcards.search}"
        " --out {output:q} > {log:q} 2>&1"
