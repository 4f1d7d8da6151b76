"""NoLDO-S12: load co-registered Sentinel-1/2 time series with noisy land-cover labels.

Importing this package imports neither torch nor zarr; names are resolved on first use.
"""
