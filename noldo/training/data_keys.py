"""Keys of a recipe that say what is learnt from: `data`, and what may be left out of its train split or put into its labels."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from noldo.frozen import Frozen

_FOLD = re.compile(r"(?P<one>\d+)/(?P<of>\d+)")


def fold_of(text: str) -> tuple[int, int]:
    """`2/3` as (2, 3): the second of three folds.

    Raises
    ------
    ValueError
        If it is none.
    """
    match = _FOLD.fullmatch(text)
    one, of = (int(match["one"]), int(match["of"])) if match else (0, 0)
    if not 1 <= one <= of or of < 2:
        raise ValueError(f"{text!r}: expected a fold and how many there are, e.g. 1/3")
    return one, of


def _checked(text: str) -> str:
    fold_of(text)
    return text


Fold = Annotated[str, AfterValidator(_checked)]


class DropWorst(Frozen):
    """The locations of train whose labels an audit found worst are not learnt from."""

    file: str = Field(
        min_length=1, description="The audit.csv of `noldo audit`; every location of train has to be in it."
    )
    share: float = Field(default=0.2, gt=0, lt=1, description="Of the locations of train, rounded down.")
    score: Literal["cross_entropy", "cross_entropy_by_class", "cleanlab"] = Field(
        default="cross_entropy", description="By which score of the file."
    )
    at_random: int | None = Field(
        default=None, ge=0, description="Seed: leave out as many at random instead, to compare with."
    )


class LabelNoise(Frozen):
    """Errors put into the labels of train (`noldo.training.label_noise`): for studies, where labels are right or nearly so."""

    kind: Literal["uniform", "pair", "blurred"] = Field(
        description="uniform: any other class, pixel by pixel; pair: the class is taken for the next one (class-dependent, as in "
        "Han et al. 2018, Co-teaching); blurred: any other class, in patches."
    )
    rate: float = Field(ge=0, le=1, description="Share of pixels that become wrong.")
    vary: bool = Field(
        default=False,
        description="Each location has a rate of its own, from 0 to twice this one (at most 0.5).",
    )
    width_px: float = Field(
        default=6.0, gt=0, description="blurred: standard deviation of the blur, in pixels of 10 m."
    )

    @model_validator(mode="after")
    def _no_location_has_more_errors_than_labels(self) -> Self:
        if self.vary and self.rate > 0.5:
            raise ValueError(f"rate {self.rate}: with `vary` it is at most 0.5")
        return self


class CacheKeys(Frozen):
    """Whole copies of the shards of train, which are read instead of the shards (`noldo.staging`)."""

    folder: str = Field(
        min_length=1,
        description="On a fast local disk; made if it is not there. Runs and ranks of one machine share it.",
    )
    max_gb: float = Field(
        gt=0,
        allow_inf_nan=False,
        description="All copies together, in 10^9 bytes; with `order: window`, two windows at least.",
    )


class Data(Frozen):
    """What is learnt from."""

    layout: Literal["noldo", "openearthmap", "dfc2025", "nyc"] = Field(
        default="noldo",
        description="noldo: a store of this project; others: tiles in the layout that they were published in (docs/published.md).",
    )
    store: str = Field(
        description="A results folder, or its URL (s3://, gs://); of other layouts, the folder of the tiles."
    )
    subset: str = Field(default="nol", description="Which store of the folder: nol, dw, osm, dfc2020.")
    label_source: str | None = Field(
        default=None,
        description="Product of the labels, e.g. dynamic_world; default: the cleanest that is stored.",
    )
    label_store: str | None = Field(
        default=None,
        description="Another results folder (or URL) whose subset of this name holds the labels of these locations; default: "
        "`store`.",
    )
    folders: dict[str, str] = Field(
        default={},
        description="Layouts of tiles: other names of folders, by modality or label source, e.g. {aerial: ortho}.",
    )
    class_numbers: dict[str, Annotated[int, Field(ge=0, le=254)]] = Field(
        default={},
        description="Layouts of tiles: other numbers of classes in label files, e.g. {unlabelled: 9}: what has 9 is not learnt.",
    )
    fold: str | None = Field(
        default=None,
        pattern=r"^[1-9]\d*/[1-9]\d*$",
        description="Layouts of tiles: 2/5: train and val are both of the tiles of train, val the second of five folds that share no "
        "region.",
    )
    region_distance_m: float = Field(
        default=5000,
        gt=0,
        description="For folds: tiles whose centres are closer are of one region, and so are chains of them; metres.",
    )
    ignore_classes: tuple[str, ...] = Field(
        default=(),
        description="Names of classes whose pixels count as unlabelled, in learning and in judging, e.g. [unknown].",
    )
    legend: str | None = Field(
        default=None,
        description="Read labels in this legend, e.g. cover_3 or cover_2 (noldo.legend), where a mapping is known; default: their "
        "own.",
    )
    bands: Literal[13, 12, 9, 3] = Field(default=13, description="Bands of Sentinel-2, as in CromSS.")
    inputs: Literal["scaled", "compat"] = Field(
        default="scaled",
        description="`scaled`: clipped to mean +- 2 standard deviations, 0..1; `compat`: the same, truncated to bytes first, "
        "as published weights expect.",
    )
    noise: LabelNoise | None = Field(
        default=None,
        description="Errors put into the labels of train, by seed; val and test stay as they are.",
    )
    hold_out: Fold | None = Field(
        default=None,
        description="A fold of train that is not learnt from, e.g. 1/3: whole squares of 50 km; of one store always the same.",
    )
    drop_worst: DropWorst | None = Field(
        default=None, description="Locations of train whose labels an audit found worst are not learnt from."
    )
    loader: Literal["workers", "ring"] = Field(
        default="workers",
        description="How train is read: by `num_workers` processes of torch a rank; or by one process with so many threads, through "
        "memory that is used again (noldo.ring_loader): faster, in the same order and to the same weights.",
    )
    cache: CacheKeys | None = Field(
        default=None,
        description="For object stores, and disks that are slow at random reads: shards of train are copied whole when they are first "
        "read, and removed when others need the room; null: they are read where they are.",
    )
    order: Literal["global", "window"] = Field(
        default="global",
        description="global: locations in any order; window: few shards at a time, for disks and object stores that are slow at random "
        "reads (docs/design/015).",
    )
    window_shards: int = Field(
        default=32,
        ge=1,
        description="order window: shards that a window has; more: better shuffled. A window should hold many batches.",
    )
    num_workers: int = Field(
        default=4,
        ge=0,
        description="Processes (ring: threads) a rank that read samples; 0: in the loop itself (ring: one thread).",
    )
    max_train: int | None = Field(
        default=None, ge=1, description="Only the first so many locations of train, in sample order."
    )
    max_val: int | None = Field(
        default=None, ge=1, description="Only the first so many locations of val, in sample order."
    )

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"{self.store}, {self.subset if self.layout == 'noldo' else self.layout}"

    @model_validator(mode="after")
    def _stores_have_no_folders_of_tiles(self) -> Self:
        keys, of_stores = ("folders", "class_numbers", "fold"), ("legend", "cache")
        if self.layout == "noldo" and (given := [key for key in keys if getattr(self, key)]):
            raise ValueError(
                f"{', '.join(given)}: of tiles, not of stores; leave it out, or name their layout"
            )
        if self.layout != "noldo" and (given := [key for key in of_stores if getattr(self, key) is not None]):
            raise ValueError(
                f"{', '.join(given)}: of stores, not of tiles, which have one legend a label source, and no shards; leave it out"
            )
        if self.layout != "noldo" and self.order == "window":
            raise ValueError("order window: of stores, not of tiles, which lie in no shards; write global")
        return self
