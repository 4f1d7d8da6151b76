"""NoLDO-S12: load co-registered Sentinel-1/2 time series with noisy land-cover labels.

Importing this package imports neither torch nor zarr; names are resolved on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noldo.dataset import NoldoS12
    from noldo.errors import NoldoError
    from noldo.legend import DYNAMIC_WORLD, Legend
    from noldo.store import open_store
    from noldo.tensors import on_one_grid, torchgeo_sample

_HOMES = {
    "DYNAMIC_WORLD": "noldo.legend",
    "Legend": "noldo.legend",
    "NoldoError": "noldo.errors",
    "NoldoS12": "noldo.dataset",
    "on_one_grid": "noldo.tensors",
    "open_store": "noldo.store",
    "torchgeo_sample": "noldo.tensors",
}

__all__ = [
    "DYNAMIC_WORLD",
    "Legend",
    "NoldoError",
    "NoldoS12",
    "on_one_grid",
    "open_store",
    "torchgeo_sample",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'noldo' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        from noldo.errors import MissingExtraError

        raise MissingExtraError(f"noldo.{name} needs torch; run `pip install 'noldo-s12[train]'`") from None


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
