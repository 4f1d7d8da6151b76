"""The LMDBs of CromSS as its scripts write them, small."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import lmdb
import numpy as np

SIDE_PX = 24
NAMES = {
    "train": (
        "-0.0520777954_32.9493499204-20190816",
        "10.5000000000_47.8000000000-20180301",
        "9.1_45.2-20190505",
    ),
    "test": ("-0p6481384406_6p8231873947-20190226",),
}


def write_lmdb(path: Path, records: Mapping[str, object]) -> None:
    """Write objects, pickled as the scripts do, or bytes as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), map_size=1 << 26) as file, file.begin(write=True) as transaction:
        for key, value in records.items():
            transaction.put(key.encode(), value if isinstance(value, bytes) else pickle.dumps(value))


def record(array: np.ndarray, number: object) -> tuple[object, ...]:
    """What the scripts pickle."""
    return (array.tobytes(), array.shape, number)


@dataclass(frozen=True)
class PublishedLmdb:
    """What was written."""

    root: Path
    records: dict[str, dict[str, object]] = field(default_factory=dict, repr=False)
    """File to key to what is pickled."""
    arrays: dict[tuple[str, str], np.ndarray] = field(default_factory=dict, repr=False)
    """(file, key) to the array."""

    def path(self, name: str) -> Path:
        """One LMDB."""
        return self.root / name

    def write(self) -> "PublishedLmdb":
        """Write all files."""
        for name, records in self.records.items():
            write_lmdb(self.path(name), records)
        return self


S1, S2, LABELS = "0k_251k_uint8_s1.lmdb", "0k_251k_uint8_s2c.lmdb", "dw_labels.lmdb"
NOL_IDS = (12, 5, 77, 103, 1040, 9, 2, 3, 4, 6, 7)
"""Eleven, so that key 10 sorts before key 2 as text."""


def nol_lmdbs(root: Path) -> PublishedLmdb:
    """Pretraining: images with plain ids, labels with the ids that pandas gives."""
    found = PublishedLmdb(root)
    generator = np.random.default_rng(0)
    for name, bands in ((S1, 2), (S2, 13), (LABELS, 0)):
        shape = (4, bands, SIDE_PX, SIDE_PX) if bands else (4, SIDE_PX, SIDE_PX)
        for position, number in enumerate(NOL_IDS):
            array = generator.integers(0, 9 if name == LABELS else 256, shape).astype(np.uint8)
            found.arrays[name, str(position)] = array
            told = np.int64(number) if name == LABELS else number
            found.records.setdefault(name, {})[str(position)] = record(array, told)
    return found


def tile_lmdbs(root: Path, *, osm: bool = False) -> PublishedLmdb:
    """Transfer: an LMDB a split; training tiles are two pixels smaller, as published."""
    found = PublishedLmdb(root)
    generator = np.random.default_rng(0)
    for split, names in NAMES.items():
        side = SIDE_PX if split == "test" else SIDE_PX - 2
        file = f"{'osm' if osm else 'dw'}_{split}_lmdb"
        for number, name in enumerate(names):
            arrays = {
                "s1": generator.uniform(-30, 5, (2, side, side)).astype(np.float32),
                "s2": generator.integers(0, 12_000, (13, side, side)).astype(np.uint16),
                "dw": generator.integers(0, 11, (side, side)).astype(np.uint8),
            }
            if osm:
                arrays["osm"] = generator.integers(0, 14, (side, side)).astype(np.uint8)
            for kind, array in arrays.items():
                found.arrays[file, f"{kind}_{number}"] = array
                found.records.setdefault(file, {})[f"{kind}_{number}"] = record(array, f"{kind}_{name}.tif")
    return found


def dfc2020_lmdbs(root: Path) -> PublishedLmdb:
    """DFC2020: no ids, radar in float64."""
    found = PublishedLmdb(root)
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in range(3):
            arrays = {
                "s1": generator.uniform(-30, 5, (2, SIDE_PX, SIDE_PX)),
                "s2": generator.integers(0, 12_000, (13, SIDE_PX, SIDE_PX)).astype(np.uint16),
                "lbl": generator.integers(0, 9, (SIDE_PX, SIDE_PX)).astype(np.uint8),
            }
            for kind, array in arrays.items():
                found.arrays[split, f"{kind}_{number}"] = array
                found.records.setdefault(split, {})[f"{kind}_{number}"] = (array.tobytes(), array.shape)
    return found
