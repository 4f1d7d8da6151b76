"""The network of a finished run, and the map that it makes of an image."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from noldo.bands import BandChoice
from noldo.errors import CheckpointError, ConfigError
from noldo.legend import LEGENDS, Legend
from noldo.models.input_step import InputStep
from noldo.prediction.class_maps import Planes, bytes_of, in_blocks, labels_of
from noldo.prediction.geotiff import BLOCK_PX, Place, label_file, probability_file
from noldo.prediction.strips import Network, ReadPatch, Strip, probability_strips
from noldo.prediction.windows import Tiling, plan_windows
from noldo.training.evaluating import finished_recipe, load_run, weights_file
from noldo.training.recipe import OneModality, resolved
from noldo.training.runs import read_result
from noldo.training.task import Progress


@dataclass(frozen=True)
class Sweep:
    """How an image goes through a network."""

    tiling: Tiling = field(default_factory=Tiling)
    batch_size: int = 8
    """Windows that the network takes at once."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch size {self.batch_size}: expected 1 or more")


@dataclass(frozen=True)
class Mapper:
    """A finished run, ready to map."""

    recipe: OneModality
    network: Network
    """On the run's device, in the precision of the run."""
    inputs: InputStep
    """On the host."""
    legend: Legend
    """Of the labels that it learnt."""
    tags: Mapping[str, str]
    """Which run it is, for the files that it makes."""

    @property
    def modality(self) -> str:
        """What the network sees."""
        return self.recipe.modality

    @property
    def bands(self) -> BandChoice:
        """Bands of it, as in `NoldoS12`."""
        return None if self.modality == "s1_grd" else self.recipe.data.bands


@dataclass(frozen=True)
class MapFiles:
    """Where a map goes."""

    labels: Path
    probabilities: Path | None = None
    """None: not asked for."""


def load_mapper(run: Path) -> Mapper:
    """The network of a finished transfer or self_train run.

    Raises
    ------
    CheckpointError
        If it is none, not finished, or learnt classes that this noldo does not know.
    """
    finished_recipe(run)
    result = read_result(run)
    legend = _legend_of(tuple(result["per_class"]), where=str(run))
    recipe, network, inputs = load_run(run, num_classes=len(legend.classes))
    fabric = Fabric(accelerator="auto", devices=1, precision=recipe.precision)
    network.to(fabric.device)

    def logits(images: Mapping[str, torch.Tensor]) -> torch.Tensor:
        with fabric.autocast():
            found: torch.Tensor = network(images[recipe.modality].to(fabric.device))
        return found

    weights = weights_file(run, recipe)
    with weights.open("rb") as file:
        weights_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    tags = {
        "run": run.resolve().name,
        "recipe_sha256": hashlib.sha256(resolved(recipe).encode()).hexdigest(),
        "weights_of_epoch": str(result["weights_of_epoch"]),
        "weights_sha256": weights_sha256,
        "legend": legend.name,
    }
    return Mapper(recipe, logits, inputs, legend, tags)


def tags_of_map(mapper: Mapper, sweep: Sweep, **more: str) -> dict[str, str]:
    """What decides a map: run, windows, and where its pixels came from. No paths."""
    tiling = sweep.tiling
    windows = {"window_px": str(tiling.window_px), "overlap_px": str(tiling.overlap_px)}
    return {**mapper.tags, **windows, **more}


def write_map(
    mapper: Mapper,
    read: ReadPatch,
    *,
    place: Place,
    files: MapFiles,
    tags: Mapping[str, str],
    sweep: Sweep,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """Map one image, strip by strip.

    Parameters
    ----------
    read
        Reads a window of the image.
    place
        Of the image, and so of the map.
    tags
        Written into the files, with the version of noldo.
    progress
        Told of each row of windows.

    Returns
    -------
    (256,) pixels of each class id; those of 255 were not observed.

    Raises
    ------
    StoreError
        If a file can't be written.
    """
    rows = plan_windows(place.height, place.width, tiling=sweep.tiling)
    strips = probability_strips(
        mapper.network,
        read,
        rows=rows,
        num_classes=len(mapper.legend.classes),
        batch_size=sweep.batch_size,
    )
    planes = _encoded(strips, files, num_strips=len(rows), progress=progress)
    return write_planes(planes, place=place, files=files, legend=mapper.legend, tags=tags)


def write_planes(
    strips: Iterable[Planes], *, place: Place, files: MapFiles, legend: Legend, tags: Mapping[str, str]
) -> NDArray[np.int64]:
    """Write labels, and below them the probabilities that are asked for, strip by strip. The labels appear last.

    Parameters
    ----------
    strips
        From the top, without a gap: class ids, then a plane of each class if `files` asks for them.

    Returns
    -------
    (256,) pixels of each number of the labels.

    Raises
    ------
    StoreError
        If a file can't be written.
    """
    counts = np.zeros(256, np.int64)
    told = {**tags, "noldo_version": _noldo_version()}
    with ExitStack() as opened:
        write_labels = opened.enter_context(label_file(files.labels, place=place, legend=legend, tags=told))
        write_probabilities = None
        if files.probabilities is not None:
            write_probabilities = opened.enter_context(
                probability_file(files.probabilities, place=place, legend=legend, tags=told)
            )
        for top, planes in in_blocks(strips, block_px=BLOCK_PX):
            counts += np.bincount(planes[0].ravel(), minlength=256)
            write_labels(top, planes[:1])
            if write_probabilities is not None:
                write_probabilities(top, planes[1:])
    return counts


def _encoded(
    strips: Iterator[Strip], files: MapFiles, *, num_strips: int, progress: Progress | None
) -> Iterator[Planes]:
    """Labels of each strip, and below them the probabilities that are asked for."""
    for done, strip in enumerate(strips, start=1):
        planes = [labels_of(strip.probabilities)]
        if files.probabilities is not None:
            planes.append(bytes_of(strip.probabilities))
        if progress is not None:
            progress(done, num_strips, f"{strip.top + strip.probabilities.shape[1]} lines")
        yield np.concatenate(planes)


def _legend_of(classes: tuple[str, ...], *, where: str) -> Legend:
    """The legend with these classes."""
    for legend in LEGENDS.values():
        if legend.classes == classes:
            return legend
    raise CheckpointError(
        f"{where}: learnt classes that this noldo has no legend of ({', '.join(classes)}); upgrade noldo"
    )


def _noldo_version() -> str:
    try:
        return version("noldo-s12")
    except PackageNotFoundError:
        return "not installed"
