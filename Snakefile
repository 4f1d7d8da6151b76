"""NoLDO-S12: from one config to co-registered, multi-temporal Zarr shards.

    snakemake --cores 16 build_noldo
    snakemake --cores 16 build_noldo --configfile config/noldo_s12.yaml

The first builds a small set from the sandbox, the second the paper's set from Earth Engine.
A config given by `--configfile` replaces the default, key by key and as a whole.
"""

from snakemake.utils import min_version

min_version("9.6")


container: "docker://noldo-s12-builder:0.1.0"  # built from pipeline/Containerfile


if not workflow.overwrite_configfiles:

    configfile: workflow.source_path("config/sandbox.yaml")


include: "pipeline/rules/common.smk"
include: "pipeline/rules/places.smk"
include: "pipeline/rules/scenes.smk"
include: "pipeline/rules/pixels.smk"
include: "pipeline/rules/osm.smk"
include: "pipeline/rules/results.smk"


rule build_noldo:
    """Every subset that the config has a section for: stores, indexes, manifests and the report."""
    default_target: True
    input:
        [file for subset in subsets for file in subset_files(subset)],
        layout.report,


rule build_nol:
    """The pretraining subset SSL4EO-S12@NoL alone, without the report."""
    input:
        subset_files("nol"),


if "dw" in subsets:

    rule build_dw:
        """The subset SSL4EO-S12@DW alone: expert labels."""
        input:
            subset_files("dw"),


if "osm" in subsets:

    rule build_osm:
        """The subset SSL4EO-S12@OSM: OpenStreetMap labels on the tiles of @DW, which it needs."""
        input:
            subset_files("osm"),
