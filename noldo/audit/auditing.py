"""An audit: networks judge the labels of patches that they did not learn from, patch by patch.

A patch is judged by the mean probability of the runs that are blind to it. Memory is that of one patch.

Axes: S season, C class, Y row, X column; P pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from noldo.audit.scores import SCORES, Pixels, require, worst_first
from noldo.audit.table import Row
from noldo.dataset import NoldoS12
from noldo.errors import ConfigError
from noldo.legend import Legend
from noldo.prediction.mapper import Mapper
from noldo.prediction.views import Views, averaged
from noldo.products import UNLABELLED
from noldo.tensors import on_one_grid
from noldo.training.data_keys import Data
from noldo.training.recipe import OneModality, PretrainRecipe, Run, recipe_of
from noldo.training.run_folder import read_json
from noldo.training.splits import first_of, open_split, require_samples
from noldo.training.task import Progress

_SHARED = ("store", "subset", "label_source", "label_store", "noise")
"""Keys of data in which runs agree whose own labels are audited."""


@dataclass(frozen=True)
class Labels:
    """What is audited."""

    split: str = "train"
    store: str | None = None
    """None: the one that the first run learnt from, and its labels, with the errors that its recipe puts into them."""
    subset: str | None = None
    label_source: str | None = None
    label_store: str | None = None
    season: str | None = None
    """None: all of a location together."""
    clean_source: str | None = None
    """Labels that are known to be right; None: not known."""
    clean_store: str | None = None


@dataclass(frozen=True)
class How:
    """How labels are judged."""

    scores: tuple[str, ...] = tuple(SCORES)
    views: Views = field(default_factory=Views)
    in_sample: bool = False
    """Judge patches that all runs learnt from, too."""

    def __post_init__(self) -> None:
        require(self.scores)


@dataclass(frozen=True)
class Judged:
    """Labels of one location beside what is predicted for it."""

    labels: NDArray[np.uint8]
    """(S, Y, X); 255 where there is none, or a network saw nothing."""
    probabilities: NDArray[np.float32]
    """(S, C, Y, X)."""

    @property
    def predicted(self) -> NDArray[np.uint8]:
        """(S, Y, X) class ids."""
        found: NDArray[np.uint8] = self.probabilities.argmax(axis=1).astype(np.uint8)
        return found

    @property
    def disputed(self) -> NDArray[np.bool_]:
        """(S, Y, X) labelled pixels whose predicted class is another one."""
        found: NDArray[np.bool_] = (self.labels != UNLABELLED) & (self.predicted != self.labels)
        return found

    def pixels(self) -> Pixels:
        """The labelled ones."""
        known = self.labels != UNLABELLED
        return Pixels(self.labels[known].astype(np.int64), np.moveaxis(self.probabilities, 1, -1)[known])


class Jury:
    """Some runs, and the locations whose labels they judge."""

    def __init__(self, mappers: Sequence[Mapper], *, what: Labels, how: How) -> None:
        """Open the locations, and find out which run is blind to which of them.

        Raises
        ------
        ConfigError
            If runs and labels do not fit together, or all runs learnt from some of the locations.
        """
        self._mappers = tuple(mappers)
        self._how = how
        recipes = [one.recipe for one in self._mappers]
        self.data = _audited_data(recipes, what=what)
        self._open = partial(open_store, split=what.split, seed=recipes[0].seed, season=what.season or "all")
        self._data_sets = [
            self._open(
                self.data.model_copy(update={"bands": one.recipe.data.bands}), modalities=(one.modality,)
            )
            for one in self._mappers
        ]
        self.where = f"{self.data.store}, {self.data.subset}, split {what.split}"
        require_samples(self._data_sets[0], where=self.where)
        self._require_legend()
        self._clean = self._clean_labels(what)
        self.blind = blindness([learnt_places(one) for one in recipes], self._data_sets[0])
        if not how.in_sample:
            _require_blind(self.blind, ids=self.ids, where=self.where)

    @property
    def ids(self) -> list[int]:
        """Of the locations, in sample order."""
        return [int(one) for one in self._data_sets[0].ids]

    @property
    def legend(self) -> Legend:
        """Of the labels."""
        return self._data_sets[0].legend

    @property
    def bands(self) -> dict[str, tuple[str, ...]]:
        """Modality to bands, as `images` has them."""
        return {one.modality: one.inputs.bands(one.modality) for one in reversed(self._mappers)}

    def rows(self, *, progress: Progress | None = None) -> list[Row]:
        """A row a location, in sample order."""
        ids = self.ids
        facts: list[Row] = []
        for position, one in enumerate(ids):
            facts.append(self._row(position))
            if progress is not None:
                progress(position + 1, len(ids), f"location {one}")
        ranks = {
            name: worst_first(np.array([row.scores[name] for row in facts]), score=name)
            for name in self._how.scores
        }
        return [
            replace(row, ranks={name: int(each[position]) for name, each in ranks.items()})
            for position, row in enumerate(facts)
        ]

    def judged(self, position: int) -> Judged:
        """Labels and predictions of one location."""
        blind = self.blind[:, position]
        labels: torch.Tensor | None = None
        found: list[torch.Tensor] = []
        for index in np.flatnonzero(blind if blind.any() else ~blind).tolist():
            mapper, sample = self._mappers[index], self._sample(index, position)
            seen = ~on_one_grid(sample, mapper.modality, bands=mapper.bands).isnan().all(dim=-3)
            known = sample["mask"] if labels is None else labels
            labels = torch.where(seen, known, UNLABELLED)
            found.append(averaged(mapper.network, mapper.inputs(sample), views=self._how.views).cpu())
        assert labels is not None, "there is a run"
        return Judged(labels.numpy(), torch.stack(found).mean(dim=0).numpy())

    def images(self, position: int) -> dict[str, torch.Tensor]:
        """Modality to (S, B, Y, X), 0..1, as networks take them."""
        found: dict[str, torch.Tensor] = {}
        for index, mapper in enumerate(self._mappers):
            if mapper.modality not in found:
                found |= mapper.inputs(self._sample(index, position))
        return found

    def _sample(self, index: int, position: int) -> dict[str, torch.Tensor]:
        """Tensors with the season axis first."""
        sample = self._data_sets[index][position]
        tensors = {name: one for name, one in sample.items() if isinstance(one, torch.Tensor)}
        return tensors if sample["season"] < 0 else {name: one[None] for name, one in tensors.items()}

    def _row(self, position: int) -> Row:
        judged, blind = self.judged(position), self.blind[:, position]
        num_labelled = int((judged.labels != UNLABELLED).sum())
        disputed = judged.disputed
        return Row(
            id=self.ids[position],
            num_runs=int(blind.sum()) or len(blind),
            in_sample=not blind.any(),
            labelled_px=num_labelled,
            disputed=float(disputed.sum()) / num_labelled if num_labelled else np.nan,
            worst_pair=_worst_pair(judged, disputed, legend=self.legend),
            scores={
                name: SCORES[name].of(judged.pixels()) if num_labelled else np.nan
                for name in self._how.scores
            },
            ranks={},
            wrong=self._wrong(position, judged.labels),
        )

    def _wrong(self, position: int, labels: NDArray[np.uint8]) -> float | None:
        """Share of the labelled pixels that clean labels contradict; None: not known."""
        if self._clean is None:
            return None
        mask: torch.Tensor = self._clean[position]["mask"]
        clean = mask.numpy().reshape(labels.shape)
        both = (labels != UNLABELLED) & (clean != UNLABELLED)
        return float((labels != clean)[both].mean()) if both.any() else np.nan

    def _clean_labels(self, what: Labels) -> NoldoS12 | None:
        if what.clean_source is None:
            return None
        changes = {"label_source": what.clean_source, "label_store": what.clean_store, "noise": None}
        data = self.data.model_copy(update=changes)
        clean = self._open(data, modalities=(self._mappers[0].modality,))
        if clean.legend != self.legend:
            raise ConfigError(
                f"clean labels of legend {clean.legend.name}, but those that are audited have {self.legend.name}; give a source of the "
                "same classes"
            )
        return clean

    def _require_legend(self) -> None:
        for one in self._mappers:
            if one.legend.classes != self.legend.classes:
                raise ConfigError(
                    f"{self.where}: labels of legend {self.legend.name}, but run {one.tags['run']} learnt {one.legend.name}; give "
                    "--label-source of its classes"
                )


def open_store(data: Data, **options: Any) -> NoldoS12:
    """A split as a recipe has it.

    Raises
    ------
    ConfigError
        If it is of published tiles.
    """
    found = open_split(data, **options)
    if not isinstance(found, NoldoS12):
        raise ConfigError(f"{data.where}: published tiles, but an audit takes a store")
    return found


Place = tuple[int, int, int]
"""EPSG code, easting and northing of a patch's upper left corner in m; without a CRS 0, its id, and 0."""


def learnt_places(recipe: Run) -> frozenset[Place]:
    """Where a run learnt: patches of its train split, and of the pretraining run that its weights come from.

    Raises
    ------
    StoreError, ConfigError
        If its store can't be read any more: nobody knows then what it learnt.
    """
    modalities = (
        (recipe.modality,) if isinstance(recipe, OneModality) else cast(PretrainRecipe, recipe).modalities
    )
    train = open_store(recipe.data, split="train", modalities=modalities, seed=recipe.seed)
    count = len(first_of(train, recipe.data.max_train))
    places = frozenset(_places(train)[:count])
    if isinstance(recipe, OneModality) and recipe.weights is not None:
        before = Path(recipe.weights) / "recipe.json"
        if before.is_file():
            places |= learnt_places(recipe_of(read_json(before), where=str(before)))
    return places


def blindness(learnt: Sequence[frozenset[Place]], data_set: NoldoS12) -> NDArray[np.bool_]:
    """(run, location): whether a run has never learnt from a location."""
    places = _places(data_set)
    return np.array([[place not in one for place in places] for one in learnt], bool)


def _places(data_set: NoldoS12) -> list[Place]:
    return [
        (crs, x, y) if crs else (0, one, 0)
        for one, (crs, x, y) in zip(data_set.ids.tolist(), data_set.places.tolist(), strict=True)
    ]


def _require_blind(blind: NDArray[np.bool_], *, ids: Sequence[int], where: str) -> None:
    anyone: NDArray[np.bool_] = np.any(blind, axis=0)
    if seen := [one for one, is_blind in zip(ids, anyone.tolist(), strict=True) if not is_blind]:
        raise ConfigError(
            f"{where}: {len(seen)} of {len(ids)} locations were learnt from by every run, e.g. {seen[0]}, and a network that remembers a "
            "wrong label calls it right; give runs with data.hold_out, another --split, or --in-sample to judge them all the same"
        )


def _audited_data(recipes: Sequence[Run], *, what: Labels) -> Data:
    """Where the labels are, with nothing left out."""
    whole = {"hold_out": None, "drop_worst": None, "max_train": None}
    data = recipes[0].data.model_copy(update=whole)
    if what.store is None and what.label_source is None and what.label_store is None:
        for one in recipes[1:]:
            _require_same_labels(recipes[0], one)
        return data.model_copy(update={"subset": what.subset or data.subset})
    changes = {
        "store": what.store or data.store,
        "subset": what.subset or data.subset,
        "label_source": what.label_source,
        "label_store": what.label_store,
        "noise": None,
    }
    return data.model_copy(update=changes)


def _require_same_labels(first: Run, other: Run) -> None:
    facts = [{key: getattr(one.data, key) for key in _SHARED} for one in (first, other)]
    if first.data.noise is not None:
        facts[0]["seed"], facts[1]["seed"] = first.seed, other.seed
    if differ := [key for key, value in facts[0].items() if facts[1][key] != value]:
        raise ConfigError(
            f"runs of other labels ({', '.join(differ)}: {facts[0][differ[0]]} and {facts[1][differ[0]]}); say which are audited, with "
            "--store, --label-source and --label-store"
        )


def _worst_pair(judged: Judged, disputed: NDArray[np.bool_], *, legend: Legend) -> str:
    """Labelled and predicted class of most disputed pixels."""
    if not disputed.any():
        return ""
    num_classes = len(legend.classes)
    pairs = judged.labels[disputed].astype(int) * num_classes + judged.predicted[disputed]
    label, predicted = divmod(int(np.bincount(pairs).argmax()), num_classes)
    return f"{legend.classes[label]} > {legend.classes[predicted]}"
