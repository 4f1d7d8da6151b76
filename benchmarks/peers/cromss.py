"""The item path of CromSS (Liu et al., IEEE TGRS 2025), written anew from a description of its repository.

Known, and done so: three LMDBs, keys are positions as text, values pickled tuples (bytes, shape, id); a record is uint8 and holds all
four seasons; an access reads all of them, takes one at random, divides by 255 to float32, computes the prior of label smoothing from
hard labels on the whole patch (two Gaussian blurs of nine planes, sigma 3, in float32), and joins prior, Sentinel-1 and Sentinel-2 into
one array of 24 planes, which is then cropped, flipped and rotated.

Not known, and decided in the peer's favour: LMDB lends its memory instead of copying it; classes are compared and counted in bytes; planes
are contiguous when they are blurred; images are written as float32 straight into the joined array. The authors' own item takes longer
(25 - 32 ms were measured, 15 - 20 of them the blurs). How the LMDBs read ahead is not known: `readahead` gives both ways.

Augmentation is not theirs: it takes this project's crop, flips and rotation of one sample, which are the same operations.
"""

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.utils.data import Dataset

from benchmarks.peers.locations import Location
from noldo.products import NUM_DYNAMIC_WORLD_CLASSES, S1_BANDS
from noldo.quantization import SSL4EO_UINT8, band_ranges, quantize
from noldo.training.augment import apply_to_image, apply_to_labels, draw
from noldo.training.recipe import Augmentation

S1, S2, LABELS = "0k_251k_uint8_s1.lmdb", "0k_251k_uint8_s2c.lmdb", "dw_labels.lmdb"
MAP_BYTES = 1 << 40
"""Address space, not disk: as published."""
PER_TRANSACTION = 16
"""Locations; the authors take 100, which changes nothing but memory."""


def write_lmdbs(folder: Path, locations: Iterable[Location]) -> None:
    """The three LMDBs of some locations; the id of a location is its position. Without labels there is no LMDB of them.

    Pixels become bytes by the published rule (`noldo.quantization`), which loses what is finer than a step or beyond two standard deviations.
    """
    import lmdb

    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Any] = {}
    pending: list[tuple[str, bytes, bytes]] = []
    for position, location in enumerate(locations):
        for name, array in _records(location):
            if name not in files:
                files[name] = lmdb.open(str(folder / name), map_size=MAP_BYTES)
            content = pickle.dumps((array.tobytes(), array.shape, position))
            pending.append((name, str(position).encode(), content))
        if (position + 1) % PER_TRANSACTION == 0:
            _put(files, pending)
            pending = []
    _put(files, pending)
    for file in files.values():
        file.close()


def _records(location: Location) -> list[tuple[str, np.ndarray]]:
    ranges = band_ranges(SSL4EO_UINT8, product=location.product, bands=location.bands)
    radar_ranges = band_ranges(SSL4EO_UINT8, product="s1_grd", bands=S1_BANDS)
    found = [(S2, quantize(location.optical, ranges)), (S1, quantize(location.radar_db, radar_ranges))]
    if location.labels is None:
        return found
    assert location.labels.max() < NUM_DYNAMIC_WORLD_CLASSES, "the authors' labels have no unlabelled pixels"
    return [*found, (LABELS, location.labels)]


def _put(files: dict[str, Any], records: Iterable[tuple[str, bytes, bytes]]) -> None:
    for name, file in files.items():
        with file.begin(write=True) as transaction:
            for of, key, content in records:
                if of == name:
                    transaction.put(key, content)


class CromssItems(Dataset[dict[str, torch.Tensor]]):
    """A map-style data set over the LMDBs of `write_lmdbs`, and only over those: records are unpickled, as the authors do it.

    An item: `s1` (2, Y, X) and `s2` (band, Y, X) float32 from 0 to 1, `label` (Y, X) int64, and with smoothing `prior` (class, Y, X)
    float32. The LMDBs are opened by the first access, in each process; threads that share the data set call `open` before.

    Parameters
    ----------
    smoothing
        Compute the prior; the smoothed target itself is one weighted sum, and is the training step's.
    augmentation
        None: whole patches.
    readahead
        Let the system read on beyond what was asked for.
    """

    def __init__(
        self,
        folder: Path,
        *,
        smoothing: bool = True,
        augmentation: Augmentation | None = None,
        readahead: bool = False,
        seed: int = 0,
    ) -> None:
        self._folder = folder
        self._smoothing = smoothing
        self._augmentation = augmentation
        self._readahead = readahead
        self._seed = seed
        self._random = np.random.default_rng(seed)
        self._files: dict[str, Any] = {}
        self._num = _facts(folder / LABELS)["entries"]
        self.epoch = 0

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.item(index, season=int(self._random.integers(4)))

    def item(self, index: int, *, season: int) -> dict[str, torch.Tensor]:
        if not self._files:
            self.open()
        radar, radar_id = self._record(S1, index)
        optical, optical_id = self._record(S2, index)
        labels, label_id = self._record(LABELS, index)
        assert radar_id == optical_id == label_id, f"key {index}: ids {radar_id}, {optical_id}, {label_id}"
        num_prior = NUM_DYNAMIC_WORLD_CLASSES if self._smoothing else 0
        num_radar, num_optical = radar.shape[1], optical.shape[1]
        joined = np.empty((num_prior + num_radar + num_optical, *labels.shape[1:]), np.float32)
        if self._smoothing:
            joined[:num_prior] = prior(labels, season=season)
        _to_unit(radar[season], joined[num_prior : num_prior + num_radar])
        _to_unit(optical[season], joined[num_prior + num_radar :])
        images, label = self._augmented(
            torch.from_numpy(joined), torch.from_numpy(labels[season].astype(np.float32)), index
        )
        of_prior, s1, s2 = images.split([num_prior, num_radar, num_optical])
        found = {"s1": s1, "s2": s2, "label": label.to(torch.int64)}
        return found | {"prior": of_prior} if self._smoothing else found

    def open(self) -> None:
        import lmdb

        self._files = {
            name: lmdb.open(
                str(self._folder / name),
                readonly=True,
                lock=False,
                max_readers=1,
                meminit=False,
                readahead=self._readahead,
            )
            for name in (S1, S2, LABELS)
        }

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}  # handles don't outlive a process

    def _record(self, name: str, index: int) -> tuple[np.ndarray, int]:
        with self._files[name].begin(buffers=True) as transaction:
            # Written by `write_lmdbs`. Unpickling is part of what the published path costs: a restricted reader would make it another one.
            content, shape, number = pickle.loads(transaction.get(str(index).encode()))  # noqa: S301
        return np.frombuffer(content, np.uint8).reshape(shape), number

    def _augmented(
        self, images: torch.Tensor, label: torch.Tensor, index: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        settings = self._augmentation
        if settings is None:
            return images, label
        placed = draw([index], side_px=label.shape[-1], settings=settings, seed=self._seed, epoch=self.epoch)
        images = apply_to_image(images[None], placed, crop_px=settings.crop_px)
        return images[0], apply_to_labels(label[None], placed, crop_px=settings.crop_px)[0]


def prior(labels: np.ndarray, *, season: int) -> np.ndarray:
    """(class, Y, X) float32: the mean of two blurs, of what all seasons say and of what one says; adds to 1 over classes.

    Parameters
    ----------
    labels
        (season, Y, X) uint8, all seasons, classes 0 to 8; there is no unlabelled pixel in the authors' data.
    """
    classes = np.arange(NUM_DYNAMIC_WORLD_CLASSES, dtype=np.uint8)
    is_class = labels == classes[:, None, None, None]
    temporal = is_class.sum(axis=1, dtype=np.uint8).astype(np.float32) / len(labels)
    spatial = is_class[:, season].astype(np.float32)
    found: np.ndarray = (_blurred(temporal) + _blurred(spatial)) / 2
    return found


def _blurred(planes: np.ndarray) -> np.ndarray:
    blurred = np.empty_like(planes)
    for plane, out in zip(planes, blurred, strict=True):
        gaussian_filter(plane, sigma=3, truncate=4, mode="reflect", output=out)
    return blurred / blurred.sum(axis=0)


def _to_unit(values: np.ndarray, out: np.ndarray) -> None:
    np.divide(values, np.float32(255), out=out, dtype=np.float32)


def record_bytes(folder: Path) -> int:
    """Bytes of the pages that hold records; the few pages of an empty LMDB would weigh on a small one only."""
    facts = [_facts(path) for path in sorted(folder.iterdir())]
    return sum(one["overflow_pages"] * one["psize"] for one in facts)


def _facts(path: Path) -> dict[str, int]:
    import lmdb

    with lmdb.open(str(path), readonly=True, lock=False) as file:
        return dict(file.stat())
