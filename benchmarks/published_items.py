"""Where the published step gets its items from: the authors' item path, or, where its packages are missing, a stand-in of the same cost.

The authors' path is `benchmarks.peers.cromss`; it needs lmdb and scipy. The stand-in reads the same bytes, all seasons of a location, from
memory maps, and computes the same prior by matrix products: two blurs of nine planes, which are most of an item's cost.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from noldo.method.smoothing import gaussian_taps
from noldo.products import NUM_DYNAMIC_WORLD_CLASSES, S2_L1C_BANDS
from noldo.quantization import SSL4EO_UINT8, band_ranges, quantize
from noldo.reader import StoreReader
from noldo.tensors import decibels, on_one_grid
from noldo.training.augment import apply_to_image, apply_to_labels, draw
from noldo.training.recipe import Augmentation


class Items(Protocol):
    """A data set that is opened by its first access, in each process."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]: ...

    def close(self) -> None: ...


def published_items(store: Path, folder: Path, *, crop_px: int) -> tuple[Items, str]:
    """Items of a store's locations, in files that are made in a folder, and what they are.

    An item: `s1` (2, Y, X), `s2` (13, Y, X) and `prior` (9, Y, X) float32, `label` (Y, X) int64; cropped, flipped and rotated.
    """
    augmentation = Augmentation(crop_px=crop_px)
    if all(map(_is_there, ("benchmarks.peers.cromss", "lmdb", "scipy"))):
        from benchmarks.peers.cromss import CromssItems, write_lmdbs
        from benchmarks.peers.locations import location_of

        reader = StoreReader.open(store)
        if not folder.exists():
            write_lmdbs(folder, (location_of(reader, row) for row in range(reader.layout.num_locations)))
        return CromssItems(folder, augmentation=augmentation), "the authors' item path, written anew"
    return StandIn(store, folder, augmentation=augmentation), "a stand-in, as lmdb or scipy is missing"


def _is_there(module: str) -> bool:
    parent = module.rpartition(".")[0]
    return (not parent or find_spec(parent) is not None) and find_spec(module) is not None


class StandIn(Dataset[dict[str, torch.Tensor]]):
    def __init__(self, store: Path, folder: Path, *, augmentation: Augmentation) -> None:
        self._folder, self._augmentation = folder, augmentation
        self._num = StoreReader.open(store).layout.num_locations
        self._arrays: dict[str, np.ndarray] = {}
        if not folder.exists():
            _write(store, folder)

    def __len__(self) -> int:
        return self._num

    def close(self) -> None:
        self._arrays = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_arrays": {}}

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not self._arrays:
            self._arrays = {
                name: np.load(self._folder / f"{name}.npy", mmap_mode="r") for name in ("s1", "s2", "labels")
            }
        # All seasons are read, as an LMDB record holds them.
        s1, s2, labels = (np.array(self._arrays[name][index]) for name in ("s1", "s2", "labels"))
        season = int(np.random.default_rng([index]).integers(len(labels)))
        joined = np.concatenate(
            [_prior(labels, season), s1[season].astype(np.float32) / 255, s2[season].astype(np.float32) / 255]
        )
        settings = self._augmentation
        placement = draw([index], side_px=labels.shape[-1], settings=settings, seed=0, epoch=0)
        images = apply_to_image(torch.from_numpy(joined)[None], placement, crop_px=settings.crop_px)[0]
        label = apply_to_labels(torch.from_numpy(labels[season])[None], placement, crop_px=settings.crop_px)[
            0
        ]
        prior, radar, optical = images.split([NUM_DYNAMIC_WORLD_CLASSES, len(s1[0]), len(s2[0])])
        return {"s1": radar, "s2": optical, "prior": prior, "label": label.to(torch.int64)}


def _write(store: Path, folder: Path) -> None:
    reader = StoreReader.open(store)
    layout = reader.layout
    seasons = range(len(layout.season_names))
    folder.mkdir(parents=True)
    ranges = {
        "s1": band_ranges(SSL4EO_UINT8, product="s1_grd", bands=("VV", "VH")),
        "s2": band_ranges(SSL4EO_UINT8, product="s2_l1c", bands=S2_L1C_BANDS),
    }
    shape = (layout.num_locations, len(seasons))
    side = (layout.patch_size_px, layout.patch_size_px)
    files = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=(*shape, *planes, *side)
        )
        for name, planes in (("s1", (2,)), ("s2", (13,)), ("labels", ()))
    }
    for row in range(layout.num_locations):
        stored = {
            spec.name: torch.from_numpy(reader.pixels(spec, row=row, seasons=seasons))
            for spec in layout.specs
        }
        files["labels"][row] = stored["dynamic_world_10m"]
        files["s1"][row] = quantize(decibels(stored["s1_grd_10m"]).numpy(), ranges["s1"])
        files["s2"][row] = quantize(on_one_grid(stored).numpy() * 1e4, ranges["s2"])
    for file in files.values():
        file.flush()


def _prior(labels: np.ndarray, season: int) -> np.ndarray:
    """(C, Y, X): the mean of two blurs, of what all seasons say and of what one says."""
    is_class = labels == np.arange(NUM_DYNAMIC_WORLD_CLASSES, dtype=np.uint8)[:, None, None, None]
    temporal, spatial = is_class.mean(axis=1, dtype=np.float32), is_class[:, season].astype(np.float32)
    found: np.ndarray = (_blurred(temporal) + _blurred(spatial)) / 2
    return found


def _blurred(planes: np.ndarray) -> np.ndarray:
    band = _band(planes.shape[-1])
    return (band @ torch.from_numpy(planes) @ band.T).numpy()  # of torch: one thread in a worker


@cache
def _band(side: int) -> torch.Tensor:
    """(Y, Y): one row a pixel of the result, borders mirrored."""
    taps = gaussian_taps()
    found = np.zeros((side, side), np.float32)
    for shift, weight in enumerate(taps):
        source = (np.arange(side) + shift - len(taps) // 2) % (2 * side)
        np.add.at(found, (np.arange(side), np.minimum(source, 2 * side - 1 - source)), np.float32(weight))
    return torch.from_numpy(found)
