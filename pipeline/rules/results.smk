"""What people open: statistics, index, manifest, report."""


rule compute_statistics:
    """Band statistics and class counts, over the whole store."""
    input:
        [layout.swept(job) for job in cut.jobs],
    output:
        layout.statistics,
    log:
        log_of("compute_statistics.log"),
    threads: workflow.cores or 1
    params:
        version=versions.STATISTICS,
        config=layout.config,
    shell:
        "python -m builders statistics --config {params.config:q} --threads {threads} > {log:q} 2>&1"


rule write_index:
    """The index, the small arrays of the store, the manifest and the record of the run."""
    input:
        layout.statistics,
        [layout.outcomes(job) for job in cut.jobs],
        in_store(metadata_files(arrays)),
    output:
        in_store(row_files()),
        layout.index,
        layout.manifest,
        layout.run,
    log:
        log_of("write_index.log"),
    params:
        version=versions.INDEX,
        config=layout.config,
    shell:
        "python -m builders index --config {params.config:q} > {log:q} 2>&1"


rule write_report:
    """One self-contained page about the build."""
    input:
        layout.index,
        layout.manifest,
        layout.run,
    output:
        layout.report,
    log:
        log_of("write_report.log"),
    params:
        version=versions.REPORT,
        config=layout.config,
    shell:
        "python -m builders report --config {params.config:q} > {log:q} 2>&1"
