"""A small store to train on: labels follow from the pixels, so that there is something to learn."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from noldo.products import array_specs
from noldo.training.recipe import Recipe, recipe_of
from noldo.training.run_folder import RunFolder
from tests.noldo.made_up_data_set import LAYOUT, PRODUCTS, DataSet, write_data_set

SIDE = 66
TRAIN, VAL, TEST = (0, 1, 4, 5, 7), (2, 8), (6,)
"""Kept rows of each split."""

Change = Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], None]

ENCODER = "tu-mobilenetv3_small_050"
"""The smallest there is: a run takes a second."""

WANTED = ("s2_l1c", "s1_grd", "dynamic_world")


def write_training_set(root: Path, *, then: Change | None = None, num_locations: int = 10) -> DataSet:
    """Locations of 66 px, three seasons; water is dark, crops are bright."""
    specs = array_specs({name: PRODUCTS[name] for name in WANTED})
    layout = replace(LAYOUT, specs=specs, patch_size_px=SIDE, num_locations=num_locations)

    def change(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        coarse = np.random.default_rng(1).integers(0, 2, (*pixels["dynamic_world_10m"].shape[:2], 6, 6))
        bright = np.kron(coarse, np.ones((11, 11), int)).astype(bool)
        pixels["dynamic_world_10m"][:] = np.where(bright, 4, 0)
        pixels["s2_l1c_10m"][:] = np.where(bright[:, :, None], 4_000, 400)
        pixels["s1_grd_10m"][:] = np.where(bright[:, :, None], -500, -2_200)
        if then is not None:
            then(pixels, rows)

    return write_data_set(root, layout=layout, change=change)


def pretrain_recipe(store: Path, **changes: Any) -> Recipe:
    """Two epochs of two steps."""
    tree: dict[str, Any] = {
        "kind": "pretrain",
        "data": {"store": str(store), "num_workers": 0, "bands": 3},
        "encoder": ENCODER,
        "epochs": 2,
        "batch_size": 2,
        "precision": "32-true",
        "augmentation": {"crop_px": 64},
        "optimiser": {"lr": 1e-3},
        "log_steps": 1,
        "checkpoint_epochs": 1,
    }
    return recipe_of(tree | changes, where="test")


def transfer_recipe(store: Path, **changes: Any) -> Recipe:
    """The same with one modality and a new decoder."""
    tree: dict[str, Any] = {
        "kind": "transfer",
        "data": {"store": str(store), "num_workers": 0, "bands": 3},
        "encoder": ENCODER,
        "framework": "unet",
        "epochs": 2,
        "batch_size": 2,
        "precision": "32-true",
        "augmentation": {"crop_px": 64},
        "optimiser": {"lr": 1e-3},
        "log_steps": 1,
    }
    return recipe_of(tree | changes, where="test")


def self_train_recipe(store: Path, **changes: Any) -> Recipe:
    """A labelled and an unlabelled part of the same store: two epochs of two steps."""
    tree: dict[str, Any] = {
        "kind": "self_train",
        "data": {"store": str(store), "num_workers": 0, "bands": 3},
        "target": {"store": str(store), "num_workers": 0, "bands": 3},
        "encoder": ENCODER,
        "framework": "unet",
        "epochs": 2,
        "batch_size": 2,
        "precision": "32-true",
        "augmentation": {"crop_px": 60},
        "optimiser": {"lr": 1e-3},
        "log_steps": 1,
    }
    return recipe_of(tree | changes, where="test")


def metrics_of(out: Path) -> list[dict[str, Any]]:
    """What two runs of one recipe have in common: all lines of metrics, without the time that was waited for data."""
    return [
        {name: value for name, value in one.items() if name != "waited"} for one in RunFolder(out).metrics()
    ]
