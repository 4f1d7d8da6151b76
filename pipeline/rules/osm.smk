"""@OSM: land use of OpenStreetMap on the tiles of @DW. Images are those of @DW, copied shard by shard."""

if osm is not None:

    rule collect_areas:
        """One pass over one extract: the areas that meet a tile."""
        input:
            locations=layouts["osm"].locations,
            extract=lambda wildcards: osm.extracts[int(wildcards.extract)],
            tags=osm.tag_files,
        output:
            str(layouts["osm"].steps / "extracts" / "{extract}.json"),
        log:
            log_of("collect_areas/{extract}.log"),
        resources:
            osm_extracts=1,  # each may hold the nodes of its extract in memory
        params:
            version=versions.OSM_SPOOL,
            config=layout.config,
        shell:
            "python -m builders collect-areas --config {params.config:q} --extract {wildcards.extract} > {log:q} 2>&1"

    rule label_osm:
        """Class maps for the tiles of one job, screened against the experts."""
        input:
            [
                layouts["osm"].extract_report(number)
                for number in range(len(osm.extracts))
            ],
            osm.tag_files,
            tiles=layouts["dw"].tiles,
            outcomes=str(layouts["dw"].steps / "outcomes" / "{job}.parquet"),
        output:
            str(layouts["osm"].steps / "labels" / "{job}.parquet"),
            str(layouts["osm"].steps / "outcomes" / "{job}.parquet"),
        log:
            log_of("label_osm/{job}.log"),
        resources:
            overpass=1 if osm.source == "overpass" else 0,
        params:
            version=versions.OSM_LABELS,
            config=layout.config,
        shell:
            "python -m builders label-osm --config {params.config:q} --job {wildcards.job} > {log:q} 2>&1"

    rule pack_shard_osm:
        """Images of @DW and the class maps of OpenStreetMap, for the tiles that passed."""
        input:
            shard_files("dw", "{shard}"),
            documents("dw"),
            in_store("dw", row_files()),
            labels=osm_labels_for_shard,
            store=ancient(layouts["osm"].created),
        output:
            ensure(shard_files("osm", "{shard}"), non_empty=True),
        log:
            log_of("pack_shard/osm/{shard}.log"),
        priority: 10
        params:
            version=versions.PACK,
            config=layout.config,
        shell:
            "python -m builders pack --config {params.config:q} --subset osm --shard {wildcards.shard} > {log:q} 2>&1"
