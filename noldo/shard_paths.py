"""Names of the shard files of a store.

Standard library only: the Snakefile imports it while planning.
"""


def shard_file(array_name: str, num_axes: int, shard: int) -> str:
    """Path of a shard relative to the store, e.g. `s2_l1c_10m/c/3/0/0/0/0`.

    Parameters
    ----------
    array_name
        Name in the Zarr group.
    num_axes
        Axes of the array, location included: 5 for images with bands, 4 for labels.
    shard
        Position along the location axis. A shard spans all other axes whole.
    """
    return "/".join([array_name, "c", str(shard), *["0"] * (num_axes - 1)])
