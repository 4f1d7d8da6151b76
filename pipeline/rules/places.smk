"""Where the patches and tiles are, and the empty stores that wait for them."""


rule plan_locations:
    """@NoL: draw or read all places, and fix the grid of each."""
    input:
        build_config.place_files,
    output:
        layout.locations,
    log:
        log_of("plan_locations.log"),
    params:
        version=versions.LOCATIONS,
        config=layout.config,
    shell:
        "python -m builders locations --config {params.config:q} --out {output:q} > {log:q} 2>&1"


if "dw" in subsets:

    if not build_config.dw.tables:

        rule make_expert_tiles:
            """Expert tiles of the synthetic Earth, in the published layout."""
            output:
                layouts["dw"].expert_files / TABLE_FILE,
                directory(layouts["dw"].expert_files / LABEL_FOLDER),
            log:
                log_of("make_expert_tiles.log"),
            params:
                version=versions.TILES,
                num_tiles=build_config.dw.count,
                seed=build_config.sandbox.seed,
                folder=layouts["dw"].expert_files,
            shell:
                "python -m sandbox experts --count {params.num_tiles} --seed {params.seed} --out {params.folder:q}"
                " > {log:q} 2>&1"

    rule plan_tiles:
        """@DW: read every expert tile, check its label, and fix its grid."""
        input:
            tile_inputs,
        output:
            layouts["dw"].tiles,
            layouts["dw"].locations,
        log:
            log_of("plan_tiles.log"),
        params:
            version=versions.TILES,
            config=layout.config,
        shell:
            "python -m builders tiles --config {params.config:q} > {log:q} 2>&1"


for subset in subsets:

    rule:
        name:
            f"create_store_{subset}"
        output:
            documents(subset),
            # What packing waits for: a lost document comes back without packing anything again.
            receipt=touch(layouts[subset].created),
        log:
            log_of(f"create_store/{subset}.log"),
        localrule: True  # a second's work: the submit node does it
        params:
            version=versions.PACK,
            config=layout.config,
            subset=subset,
        shell:
            "python -m builders create-store --config {params.config:q} --subset {params.subset} > {log:q} 2>&1"
