"""A confusion matrix as a picture: each row is a true class, and where its pixels went."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from noldo.atomic import atomic_file


def write_confusion_figure(path: Path, counts: np.ndarray, *, classes: Sequence[str], title: str) -> None:
    """Draw a PNG.

    Parameters
    ----------
    counts
        (truth, prediction) pixels.
    """
    from matplotlib.figure import Figure

    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side = 2.2 + 0.55 * len(classes)
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    for row, column in np.argwhere(shares >= 0.005):
        share = shares[row, column]
        colour = "white" if share > 0.6 else "black"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, ax=axes, label="share of the true class")
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=150)
