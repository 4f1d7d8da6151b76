"""What people open: statistics, index, manifest, report."""


rule compute_statistics:
    """Band statistics and class counts, over the whole store of a subset."""
    input:
        packed,
    output:
        str(steps / "statistics.json"),
    log:
        log_of("compute_statistics/{subset}.log"),
    threads: workflow.cores or 1
    params:
        version=versions.STATISTICS,
        config=layout.config,
    shell:
        "python -m builders statistics --config {params.config:q} --subset {wildcards.subset} --threads {threads}"
        " > {log:q} 2>&1"


rule write_index:
    """The index, the small arrays of the store, the manifest and the record of the run."""
    input:
        str(steps / "statistics.json"),
        outcomes_of,
        lambda wildcards: list(configs[wildcards.subset].split.lists.values()),
        lambda wildcards: documents(wildcards.subset),
    output:
        [f"{layout.results}/{{subset}}.zarr/{name}" for name in row_files()],
        str(layout.results / "{subset}.parquet"),
        str(layout.results / "{subset}.json"),
        str(layout.results / "{subset}.run.json"),
    log:
        log_of("write_index/{subset}.log"),
    params:
        version=versions.INDEX,
        config=layout.config,
    shell:
        "python -m builders index --config {params.config:q} --subset {wildcards.subset} > {log:q} 2>&1"


rule write_report:
    """One self-contained page about the build, with all its subsets."""
    input:
        [layouts[subset].index for subset in subsets],
        [layouts[subset].manifest for subset in subsets],
        [layouts[subset].run for subset in subsets],
    output:
        layout.report,
    log:
        log_of("write_report.log"),
    params:
        version=versions.REPORT,
        config=layout.config,
    shell:
        "python -m builders report --config {params.config:q} > {log:q} 2>&1"
