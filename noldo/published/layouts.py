"""How each published data set names its folders, and numbers its classes. Pure: names in, names and tables out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from noldo.errors import ConfigError
from noldo.legend import NYC_LAND_COVER, NYC_LIDAR, OPEN_EARTH_MAP, Legend
from noldo.products import UNLABELLED

UNLABELLED_NAME = "unlabelled"
"""What stands for no class where numbers are given to classes."""

NOT_A_NUMBER = -1
"""In a table of numbers: the files can't hold it."""

Numbers = NDArray[np.int16]
"""(256,): number in a file to class id, `UNLABELLED`, or `NOT_A_NUMBER`."""


@dataclass(frozen=True)
class Labels:
    """One source of labels of a data set."""

    folder: str
    legend: Legend
    numbers: Mapping[str, int]
    """Class name to its number in the files; 255 is no label in all of them."""

    def table(self, changes: Mapping[str, int] | None = None) -> Numbers:
        """What each number of a file means.

        Parameters
        ----------
        changes
            Class name (or `unlabelled`) to number. Where both give a meaning to a number, these count.

        Raises
        ------
        ConfigError
            If a class is none of the legend, or a number is not 0 .. 255.
        """
        told = dict(changes or {})
        ids = {name: position for position, name in enumerate(self.legend.classes)}
        ids[UNLABELLED_NAME] = UNLABELLED
        if unknown := [name for name in told if name not in ids]:
            raise ConfigError(
                f"data.class_numbers: {', '.join(unknown)} is no class of {self.legend.name}; expected "
                f"{', '.join(ids)}"
            )
        if odd := [f"{name}: {number}" for name, number in told.items() if not 0 <= number < UNLABELLED]:
            raise ConfigError(f"data.class_numbers: {', '.join(odd)}; expected 0 .. {UNLABELLED - 1}")
        table = np.full(256, NOT_A_NUMBER, np.int16)
        kept = {name: number for name, number in self.numbers.items() if name not in told}
        for name, number in (*kept.items(), *told.items()):
            table[number] = ids[name]
        table[UNLABELLED] = UNLABELLED
        return table

    def by_id(self) -> Numbers:
        """The table of maps that networks of this legend made: numbers are class ids."""
        table = np.full(256, NOT_A_NUMBER, np.int16)
        table[: len(self.legend.classes)] = np.arange(len(self.legend.classes))
        table[UNLABELLED] = UNLABELLED
        return table


@dataclass(frozen=True)
class Layout:
    """Folders of one data set."""

    name: str
    images: Mapping[str, str]
    """Modality to the folder of its images."""
    labels: Mapping[str, Labels]
    """Label source, cleanest first."""
    by_region: bool = False
    """`<region>/<folder>/<name>`, with split.txt listing names; otherwise `<split>/<folder>/<name>`."""

    def renamed(self, folders: Mapping[str, str]) -> Self:
        """The same with other names of folders.

        Parameters
        ----------
        folders
            Modality or label source to folder.

        Raises
        ------
        ConfigError
            If a key is neither.
        """
        known = (*self.images, *self.labels)
        if unknown := [key for key in folders if key not in known]:
            raise ConfigError(
                f"data.folders: {', '.join(unknown)} is nothing that {self.name} has; expected {', '.join(known)}"
            )
        return replace(
            self,
            images={name: folders.get(name, folder) for name, folder in self.images.items()},
            labels={
                name: replace(one, folder=folders.get(name, one.folder)) for name, one in self.labels.items()
            },
        )

    def label_source(self, name: str | None) -> Labels:
        """Labels by name; None: the cleanest.

        Raises
        ------
        ConfigError
            If there is none of this name.
        """
        if name is None:
            return next(iter(self.labels.values()))
        if name not in self.labels:
            raise ConfigError(
                f"data.label_source {name}: {self.name} has {', '.join(self.labels)}; leave it out for the first"
            )
        return self.labels[name]

    def labels_in(self, legend: Legend) -> Labels:
        """The label source that has these classes.

        Raises
        ------
        ConfigError
            If none has.
        """
        for one in self.labels.values():
            if one.legend == legend:
                return one
        raise ConfigError(
            f"runs of legend {legend.name}: labels of {self.name} are in "
            f"{', '.join(dict.fromkeys(one.legend.name for one in self.labels.values()))}; give runs that learnt those"
        )

    def require_modality(self, modality: str) -> None:
        """Refuse images that the data set does not have.

        Raises
        ------
        ConfigError
            With those that it has.
        """
        if modality not in self.images:
            raise ConfigError(
                f"data.layout {self.name}: no modality {modality}; it has {', '.join(self.images)}"
            )


def _in_order(legend: Legend, *, first: int) -> Mapping[str, int]:
    return {name: first + position for position, name in enumerate(legend.classes)}


_OEM_LABELS = Labels("labels", OPEN_EARTH_MAP, _in_order(OPEN_EARTH_MAP, first=0))

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "openearthmap": Layout("openearthmap", {"rgb": "images"}, {"labels": _OEM_LABELS}, by_region=True),
        "dfc2025": Layout(
            "dfc2025", {"rgb": "rgb_images", "sar_amplitude": "sar_images"}, {"labels": _OEM_LABELS}
        ),
        # Neither names of folders nor numbers of classes of this one are published: these are the project's own.
        "nyc": Layout(
            "nyc",
            {"aerial": "images"},
            {
                "truth": Labels(
                    "truth",
                    NYC_LAND_COVER,
                    {**_in_order(NYC_LAND_COVER, first=1), UNLABELLED_NAME: 0},
                ),
                "noisy": Labels("noisy", NYC_LIDAR, _in_order(NYC_LIDAR, first=0)),
            },
        ),
    }
)
"""By name."""


def layout_of(name: str, *, root: str | Path) -> Layout:
    """A layout by name.

    Raises
    ------
    ConfigError
        If there is none, or the place is no folder of this machine.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"layout {name!r}: expected one of {', '.join(LAYOUTS)}")
    if "://" in str(root):
        raise ConfigError(f"{root}: layout {name} is read from a folder, not from a URL; copy it first")
    return LAYOUTS[name]
