"""Numbers computed with the authors' published code, from the folder named by `NOLDO_GOLDEN` or the project's own copy."""

import json
import os
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(os.environ.get("NOLDO_GOLDEN", Path(__file__).parent / "golden"))


@cache
def facts() -> dict[str, Any]:
    """`cases`, `metrics` and `state_dicts` of `cromss.json`."""
    return json.loads((FOLDER / "cromss.json").read_text())


@cache
def _arrays() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "cromss.npz", allow_pickle=False) as archive:
        return dict(archive)


def array(name: str) -> np.ndarray:
    """One array of `cromss.npz`."""
    return _arrays()[name].copy()


def keyed(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A network's tensor, filled by its own name (the rule of `golden/README.md`)."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    drawn = rng.standard_normal(int(np.prod(shape))).astype(np.float32).reshape(shape)
    if name.endswith("running_var"):
        return np.float32(0.5) + np.float32(0.5) * np.abs(drawn)
    if name.endswith("weight") and len(shape) == 4:
        return drawn * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if name.endswith("weight"):
        return 1 + np.float32(0.1) * drawn
    return np.float32(0.1) * drawn
