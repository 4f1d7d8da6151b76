"""Data sets of other papers, read in the layout that they were published in: folders of GeoTIFFs of bytes.

| layout | what | source |
|---|---|---|
| `openearthmap` | optical images of 97 regions, 8 classes and `unknown` | github.com/bao18/open_earth_map, zenodo.org/record/7223446 |
| `dfc2025` | OpenEarthMap-SAR, the data of DFC2025 track 1: SAR and (train) RGB, the same classes | arXiv 2501.10891, zenodo.org/records/14622048 and 14950559 |
| `nyc` | aerial images of New York, labels from LiDAR and land cover | Liu et al., IGARSS 2024, arXiv 2402.16164 |

`noldo.published.opening.open_tiles` opens one split of one of them.
"""
