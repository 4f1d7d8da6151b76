"""A few samples as a network sees them: images, labels, and what it predicts, a row a sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from noldo.atomic import atomic_file
from noldo.legend import Legend
from noldo.preview import label_colour
from noldo.products import S2_RGB_BANDS, UNLABELLED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_SHOWN = 4
"""Samples of one picture."""

_DISPUTED, _AGREED = np.array([0.84, 0.37, 0.0]), np.array([0.93, 0.93, 0.93])
"""Vermilion on light grey: told apart with any colour vision."""

_TITLES = {"s1_grd": "Sentinel-1", "s2_l1c": "Sentinel-2", "s2_l2a": "Sentinel-2"}


@dataclass(frozen=True)
class Shown:
    """Some samples of a batch, on any device."""

    images: Mapping[str, torch.Tensor]
    """Modality to (N, B, Y, X), 0..1, as networks take them."""
    labels: torch.Tensor
    """(N, Y, X), 255 unlabelled."""
    predictions: Mapping[str, torch.Tensor]
    """Modality to (N, Y, X) class ids."""
    disputed: torch.Tensor | None = None
    """(N, Y, X) bool, pixels whose label is in doubt; None: not asked."""
    names: Sequence[str] = ()
    """What each sample is called; empty: not told."""


def colours_of(image_BYX: np.ndarray, bands: Sequence[str]) -> np.ndarray:
    """An image as a screen shows it: (Y, X, 3), 0..1.

    Red, green and blue where these bands are there; of radar VV, VH, VV; else the first three bands, or the first one in grey.

    Parameters
    ----------
    image_BYX
        0..1.
    bands
        Names along the first axis.
    """
    if set(S2_RGB_BANDS) <= set(bands):
        chosen = [bands.index(band) for band in S2_RGB_BANDS]
    elif len(bands) == 2:
        chosen = [0, 1, 0]
    else:
        chosen = [0, 1, 2] if len(bands) > 2 else [0, 0, 0]
    shown: np.ndarray = np.clip(np.moveaxis(image_BYX[chosen], 0, -1), 0, 1)
    return shown


def sample_figure(
    shown: Shown, *, bands: Mapping[str, Sequence[str]], legend: Legend, limit: int = MAX_SHOWN
) -> "Figure":
    """The picture; predictions are drawn where there is no label, too.

    Parameters
    ----------
    bands
        Modality to the names of its bands.
    limit
        Samples that are drawn.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    labels = shown.labels[:limit].cpu().numpy()
    columns = [
        (
            _TITLES.get(name, name),
            [colours_of(one, bands[name]) for one in image[: len(labels)].float().cpu().numpy()],
        )
        for name, image in shown.images.items()
    ]
    columns.append(("labels", [label_colour(one, legend) for one in labels]))
    for name, predicted in shown.predictions.items():
        maps = predicted[: len(labels)].cpu().numpy().astype(np.uint8)
        columns.append((f"from {_TITLES.get(name, name)}", [label_colour(one, legend) for one in maps]))
    if shown.disputed is not None:
        marks = shown.disputed[: len(labels)].cpu().numpy()
        columns.append(("disputed", [np.where(one[..., None], _DISPUTED, _AGREED) for one in marks]))
    figure = Figure(figsize=(2.2 * len(columns) + 0.4, 2.2 * len(labels) + 1.1), layout="constrained")
    grid = figure.subplots(len(labels), len(columns), squeeze=False)
    for column, (title, pictures) in enumerate(columns):
        grid[0, column].set_title(title, fontsize=9)
        for row, picture in enumerate(pictures):
            grid[row, column].imshow(picture, interpolation="nearest")
            grid[row, column].set_axis_off()
    for row, name in enumerate(shown.names[: len(labels)]):
        axes = grid[row, 0]
        axes.text(
            -0.04, 0.5, name, fontsize=8, rotation=90, ha="right", va="center", transform=axes.transAxes
        )
    seen = np.unique(
        np.concatenate([labels.ravel(), *(one.cpu().numpy().ravel() for one in shown.predictions.values())])
    )
    patches = [
        Patch(facecolor=legend.colours[value], label=legend.classes[value].replace("_", " "))
        for value in seen.tolist()
        if value != UNLABELLED
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure


def write_sample_figure(path: Path, figure: "Figure") -> None:
    """Write a PNG; equal pictures have equal bytes.

    Raises
    ------
    StoreError
        If it can't be written.
    """
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
