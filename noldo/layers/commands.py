"""The verb `noldo layers`. Loaded when it is asked for, by `noldo.__main__`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from noldo.layers.parts import Part
from noldo.training.commands import require_training, shown_progress


def layers(
    *,
    noisy: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)],
    clean: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)],
    out: Path,
    store: str | None = None,
    subset: str | None = None,
    label_source: str | None = None,
    label_store: str | None = None,
    split: str = "val",
    crop_px: int | None = None,
    without: Annotated[tuple[Part, ...], Parameter(consume_multiple=True)] = (),
    epochs: int = 2,
) -> str:
    """Compare, layer by layer, networks that learnt noisy labels with those that learnt clean ones of the same images.

    Parameters
    ----------
    noisy
        Folders of pretraining runs with one modality; those that learnt the same labels are a group.
    clean
        Folders of two or more such runs on clean labels, of different seeds and otherwise the same recipe.
    out
        Folder of layers.csv, layers.md and layers.png.
    store
        A results folder to look at; default: the one that the clean runs learnt from.
    subset
        Which store of it.
    label_source
        Clean labels to judge by; default: those that the clean runs learnt.
    label_store
        Another results folder that holds them.
    split
        What is looked at; linear probes learn from train.
    crop_px
        Look at the middle of each patch only, so many pixels of 10 m (a multiple of 6); default: all of it.
    without
        What to leave out: similarity, probe, reset, transplant. The last one trains, and takes longest.
    epochs
        Of each training after a transplant.
    """
    require_training()
    from noldo.layers.comparing import Asked, compare_layers

    asked = Asked(store, subset, label_source, label_store, split, crop_px, without, epochs)
    with shown_progress("layers", unit="part") as progress:
        found = compare_layers(noisy, clean, asked=asked, out=out, progress=progress)
    return found.markdown.rstrip()
