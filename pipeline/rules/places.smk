"""Where the patches are, and the empty store that waits for them."""


rule plan_locations:
    """Draw or read all places, and fix the grid of each."""
    input:
        [
            path
            for path in (build_config.locations.points, build_config.locations.cities)
            if path
        ],
    output:
        layout.locations,
    log:
        log_of("plan_locations.log"),
    params:
        version=versions.LOCATIONS,
        config=layout.config,
    shell:
        "python -m builders locations --config {params.config:q} --out {output:q} > {log:q} 2>&1"


rule create_store:
    """The metadata of every array: written once, so that packing is only ever adding files."""
    output:
        in_store(metadata_files(arrays)),
        # What packing waits for: a lost document comes back without packing anything again.
        receipt=touch(layout.created),
    log:
        log_of("create_store.log"),
    params:
        version=versions.PACK,
        config=layout.config,
    shell:
        "python -m builders create-store --config {params.config:q} > {log:q} 2>&1"
