"""Where `python -m sandbox experts` puts what it writes, in its folder. The Snakefile imports this while planning."""

TABLE_FILE = "tiles.csv"
"""Table of the training tiles."""

META_FILE = "labels/dw_test/meta.csv"
"""Table of the validation tiles, among their labels."""

LABEL_FOLDER = "labels"
"""Folder of all label GeoTIFFs."""
