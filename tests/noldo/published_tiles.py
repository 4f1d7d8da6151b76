"""Small data sets in the layouts that others published, with something to learn in them: bright is a building, dark is water."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

SIDE = 40
BRIGHT, DARK = 200, 40
OEM_BUILDING, OEM_WATER = 8, 6


def write_tif(
    path: Path, planes: np.ndarray, *, crs: str | None = "EPSG:32631", at: tuple[float, float] = (0, 0)
) -> None:
    """(B, Y, X), with pixels of half a metre whose upper-left corner is `at` metres east and north of a place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {}
    if crs is not None:
        options = {"crs": crs, "transform": Affine(0.5, 0, 500_000 + at[0], 0, -0.5, 5_000_000 + at[1])}
    count, height, width = planes.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", dtype=planes.dtype, count=count, height=height, width=width, **options
        ) as file:
            file.write(planes)


def picture(
    seed: int, *, num_bands: int, labels: tuple[int, int], size: tuple[int, int] = (SIDE, SIDE)
) -> tuple[np.ndarray, np.ndarray]:
    """An image (B, Y, X) and its labels (1, Y, X)."""
    rng = np.random.default_rng(seed)
    bright = np.kron(rng.integers(0, 2, (-(-size[0] // 8), -(-size[1] // 8))), np.ones((8, 8), int))
    bright = bright[: size[0], : size[1]].astype(bool)
    image = np.where(bright, BRIGHT, DARK) + rng.integers(-20, 20, (num_bands, *size))
    return image.astype(np.uint8), np.where(bright, *labels).astype(np.uint8)[None]


def write_oem(root: Path, *, sizes: dict[str, tuple[int, int]] | None = None) -> Path:
    """OpenEarthMap: two regions; palu's images are of xBD, and so not there; test has no labels."""
    lists = {
        "train": ["aachen_1.tif", "aachen_10.tif", "palu-tsunami_3.tif", "san_jose_2.tif"],
        "val": ["aachen_2.tif", "palu-tsunami_1.tif"],
        "test": ["san_jose_7.tif"],
    }
    root.mkdir(parents=True, exist_ok=True)
    for split, names in lists.items():
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
        for number, name in enumerate(names):
            region = name.rpartition("_")[0]
            size = (sizes or {}).get(name, (SIDE, SIDE))
            image, label = picture(number, num_bands=3, labels=(OEM_BUILDING, OEM_WATER), size=size)
            if region != "palu-tsunami":
                write_tif(root / region / "images" / name, image)
            if split != "test":
                write_tif(root / region / "labels" / name, label)
    return root


def write_dfc(
    root: Path, *, names: dict[str, tuple[float, float]] | None = None, val_labels: bool = True
) -> Path:
    """DFC2025 track 1: RGB for train alone, labels of val without a CRS, and none of test.

    Parameters
    ----------
    names
        Of train, with metres east and north.
    """
    names = names or {
        f"TrainArea_{number:03}": (50_000.0 * place, 0) for place, number in enumerate((1, 2, 999, 1000))
    }
    tiles = {
        "train": names,
        "val": {"ValArea_001": (0, 900_000.0), "ValArea_010": (0, 960_000.0)},
        "test": {"TestArea_087": (0, 990_000.0), "TestArea_1003": (0, 999_000.0)},
    }
    for split, found in tiles.items():
        for number, (name, at) in enumerate(found.items()):
            sar, label = picture(number, num_bands=1, labels=(OEM_BUILDING, OEM_WATER))
            write_tif(root / split / "sar_images" / f"{name}.tif", sar, at=at)
            if split == "train":
                rgb, _ = picture(number, num_bands=3, labels=(OEM_BUILDING, OEM_WATER))
                write_tif(root / split / "rgb_images" / f"{name}.tif", rgb, at=at)
            if split == "train" or (split == "val" and val_labels):
                write_tif(
                    root / split / "labels" / f"{name}.tif",
                    label,
                    crs="EPSG:32631" if split == "train" else None,
                    at=at,
                )
    return root


def write_nyc(root: Path) -> Path:
    """New York: four bands, land cover numbered from 1, and noisy labels with a background of 0."""
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for number in range(count):
            image, truth = picture(number, num_bands=4, labels=(5, 4))
            name, at = f"patch_{number}.tif", (300.0 * number, 0.0)
            write_tif(root / split / "images" / name, image, at=at)
            write_tif(root / split / "truth" / name, truth, at=at)
            write_tif(root / split / "noisy" / name, np.where(truth == 5, 2, 0).astype(np.uint8), at=at)
    return root
