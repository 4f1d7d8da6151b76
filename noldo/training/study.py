"""Many runs that belong together, as one file: what is pretrained first, the rows of a table, seeds.

```yaml
name: DW
before:                       # pretrained first; rows name them as {cromss}
  cromss: {kind: pretrain, ...}
base: {kind: transfer, ...}   # of every row
columns:                      # every row is run with each of these
  frozen: {mode: frozen}
  finetuned: {mode: finetuned}
rows:
  - name: CromSS middle, 13 bands
    set: {weights: "{cromss}"}
    published: {dataset: DW, input: S2, weights: CromSS-midF, s2_bands: "13"}
seeds: [42, 43, 44]
```

A study is planned by pure functions; `noldo.training.reproduce` runs what is missing and prints the table.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from noldo.errors import ConfigError
from noldo.frozen import Frozen
from noldo.training.recipe import OneModality, Recipe, recipe_of

_NAMED = re.compile(r"\{(?P<name>[\w-]+)\}")


class Row(Frozen):
    """One row of the table."""

    name: str = Field(min_length=1, description="As printed.")
    set: dict[str, Any] = Field(default={}, description="Keys of the recipe, in place of those of `base`.")
    published: dict[str, str] = Field(
        default={},
        description="Columns of the published results that pick its row; empty: nothing is published.",
    )


class CurvesFigure(Frozen):
    """How columns are drawn as curves: a panel each, a curve a row."""

    x: str = Field(min_length=1, description="What the columns differ in, with its unit.")
    panels: dict[str, Annotated[dict[float, str], Field(min_length=1)]] = Field(
        min_length=1, description="Title of a panel to the columns along its axis, by their value of x."
    )


class Study(Frozen):
    """Runs that belong together."""

    name: str = Field(min_length=1, description="Title of the table.")
    note: str = Field(default="", description="Printed below the table.")
    before: dict[str, dict[str, Any]] = Field(
        default={}, description="Recipes of pretraining, by the name that rows use in braces."
    )
    base: dict[str, Any] = Field(description="Recipe that every row begins with.")
    columns: dict[str, dict[str, Any]] = Field(
        default={"result": {}}, min_length=1, description="Keys of the recipe, for each column of the table."
    )
    rows: tuple[Row, ...] = Field(min_length=1, description="In the order in which they are printed.")
    seeds: tuple[int, ...] = Field(default=(42, 43, 44), min_length=1, description="Of the runs of each row.")
    results: str | None = Field(
        default=None, description="CSV of published results, relative to the study's file."
    )
    published_only: tuple[dict[str, str], ...] = Field(
        default=(),
        description="Rows of the published results that this project can't run: printed as published.",
    )
    curves: CurvesFigure | None = Field(
        default=None, description="Draw mIoU of the columns as curves; null: no figure."
    )

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> Self:
        names = [slug(row.name) for row in self.rows]
        twins = {name for name in names if names.count(name) > 1}
        if twins:
            raise ValueError(f"rows: {', '.join(sorted(twins))} twice; give each a name of its own")
        return self

    @model_validator(mode="after")
    def _curves_are_of_columns(self) -> Self:
        panels = {} if self.curves is None else self.curves.panels
        drawn = {column for columns in panels.values() for column in columns.values()}
        if unknown := drawn - set(self.columns):
            raise ValueError(f"curves: no column {', '.join(sorted(unknown))}")
        return self


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study."""

    folder: str
    """Relative to the study's folder."""
    recipe: Recipe
    row: str
    """Name of its row; empty for pretraining."""
    column: str
    seed: int
    needs: tuple[str, ...] = ()
    """Folders of the runs that come first."""


def load_study(path: Path) -> Study:
    """Read a study.

    Raises
    ------
    ConfigError
        If it can't be read, or a key is wrong.
    """
    import yaml

    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Study.model_validate(tree)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}); give the path of a study") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in one['loc']) or 'study'}: {one['msg']}"
            for one in error.errors(include_url=False, include_context=False)
        ]
        raise ConfigError(f"{path}: {'; '.join(faults)}") from None


@dataclass(frozen=True)
class Share:
    """A part of a study's runs: every `of`-th, so that several processes run one study together."""

    number: int
    """1 .. of."""
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1/2`.

        Raises
        ------
        ConfigError
            If it is no such share.
        """
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise ConfigError(f"--share {text}: expected number/of, e.g. 1/2 and 2/2")
        return cls(int(number), int(of))

    def of_runs(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """The runs of this share; what other runs need is part of the first one."""
        rows = [run for run in runs if run.row]
        before = [run for run in runs if not run.row] if self.number == 1 else []
        return before + rows[self.number - 1 :: self.of]


WHOLE = Share(1, 1)
"""All runs."""


def plan(
    study: Study, *, seeds: Sequence[int], where: str, changes: Mapping[str, Any] | None = None
) -> list[PlannedRun]:
    """All runs, those first that others need.

    Parameters
    ----------
    changes
        Keys of every recipe, in place of those of the study, nested as in a recipe.

    Raises
    ------
    ConfigError
        If a recipe is wrong, or a name in braces is none of `before`.
    """
    runs: list[PlannedRun] = []
    for name, tree in study.before.items():
        recipe = recipe_of(_merged(tree, changes or {}), where=f"{where}, before.{name}")
        runs.append(PlannedRun(f"before/{slug(name)}", recipe, row="", column="", seed=recipe.seed))
    for row in study.rows:
        for column, settings in study.columns.items():
            for seed in seeds:
                place = f"{where}, row {row.name!r}, column {column!r}"
                tree = _merged(study.base, row.set, settings, changes or {}, {"seed": seed})
                needs = _resolve(tree, study, where=place)
                recipe = recipe_of(tree, where=place)
                folder = f"{slug(row.name)}/{slug(column)}/seed-{seed}"
                runs.append(PlannedRun(folder, recipe, row.name, column, seed, needs))
    return runs


def _resolve(tree: dict[str, Any], study: Study, *, where: str) -> tuple[str, ...]:
    """Names in braces in `weights` to folders of runs; they stay relative to the study's folder."""
    weights = tree.get("weights")
    match = _NAMED.fullmatch(weights) if isinstance(weights, str) else None
    if match is None:
        return ()
    if match["name"] not in study.before:
        known = ", ".join(study.before) or "nothing"
        raise ConfigError(f"{where}: weights {weights}: `before` has {known}")
    return (f"before/{slug(match['name'])}",)


def located(run: PlannedRun, *, folder: Path) -> Recipe:
    """The recipe with the path of the run that it takes its weights from."""
    if not run.needs or not isinstance(run.recipe, OneModality):
        return run.recipe
    return run.recipe.model_copy(update={"weights": str(folder / run.needs[0])})


def _merged(*trees: Mapping[str, Any]) -> dict[str, Any]:
    """Later ones win, key by key; sections with a `name` of their own replace one with another name."""
    found: dict[str, Any] = {}
    for tree in trees:
        for key, value in deepcopy(dict(tree)).items():
            old = found.get(key)
            if isinstance(old, dict) and isinstance(value, dict) and _same_section(old, value):
                found[key] = _merged(old, value)
            else:
                found[key] = value
    return found


def _same_section(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return bool(new.get("name", old.get("name")) == old.get("name"))


def slug(name: str) -> str:
    """A name as a folder: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"
