"""The config's sections of the subsets with clean labels: @DW and @OSM."""

import datetime as dt
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from builders.config_sections import Split, multiple_of_six
from noldo.frozen import Frozen

TAG_TABLES = Path(__file__).parent / "tag_tables"
"""Folder of the tables of tags that come with the project."""


def spool_name(extract: Path) -> str:
    """Name of an extract in a build: that of the file without its suffix."""
    return extract.name.removesuffix(".pbf").removesuffix(".osm")


class ExpertTiles(Frozen):
    """The subset @DW: places, dates and labels of Dynamic World's expert annotations."""

    count: int = Field(
        ge=1,
        description="Number of tiles in `tables`, which must agree, because the plan of jobs follows from it.",
    )
    tables: tuple[Path, ...] = Field(
        default=(),
        description="Tables of tiles: Dynamic World's public tile metadata (xlsx, or the same columns as CSV), and "
        "meta.csv of the validation tiles. Empty: the tiles of the sandbox.",
    )
    labels: tuple[Path, ...] = Field(
        default=(),
        description="Folders with the label GeoTIFFs, searched with all folders in them.",
    )
    size_px: int = Field(
        default=522,
        ge=6,
        le=2046,
        description="Side of the stored square in pixels of 10 m, a multiple of 6. A tile of 512 px anywhere on the "
        "10 m lattice fits into 522.",
    )
    max_days: int = Field(
        default=15,
        ge=0,
        le=400,
        description="Largest time from a tile's date to its Sentinel-2 scene, in days.",
    )
    max_scene_percent: float = Field(
        default=20.0,
        gt=0,
        le=100,
        description="Highest CLOUDY_PIXEL_PERCENTAGE of a scene, in percent; the labelled scene itself may have more.",
    )
    max_candidates: int = Field(
        default=5,
        ge=1,
        le=10,
        description="Scenes tried for a tile, when the pixels of the first turn out bad.",
    )
    min_coverage: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Least share of a tile's square that L1C and Sentinel-1 observed (0..1).",
    )
    min_marked_share: float = Field(
        default=0.01, ge=0, le=1, description="Least share of a tile's pixels that the experts marked (0..1)."
    )
    split: Split = Split(val=0.1, test=0.2)

    @field_validator("size_px")
    @classmethod
    def _whole_pixels(cls, size: int) -> int:
        return multiple_of_six(size)

    @model_validator(mode="after")
    def _tables_and_labels(self) -> Self:
        if bool(self.tables) != bool(self.labels):
            raise ValueError("`tables` and `labels` go together: give both, or none for the sandbox's tiles")
        return self


class OpenStreetMap(Frozen):
    """The subset @OSM: land use of OpenStreetMap on the tiles of @DW, screened against the experts."""

    source: Literal["overpass", "extracts"] = Field(
        default="overpass",
        description="`overpass`: a service, for a few places. `extracts`: .osm.pbf files, for any number.",
    )
    overpass_url: str = Field(
        default="sandbox",
        description="`sandbox`, or the base URL of an Overpass service, e.g. https://overpass-api.de/api.",
    )
    as_of: dt.date | None = Field(
        default=None, description="Past state to ask Overpass for; default: the present one."
    )
    margin_m: float = Field(
        default=1000.0,
        ge=0,
        description="Overpass finds areas whose outline is near the patch: how far around it is searched, in metres.",
    )
    extracts: tuple[Path, ...] = Field(default=(), description="The .osm.pbf files; they may overlap.")
    node_index: Literal["auto", "memory", "sparse_file", "dense_file"] = Field(
        default="auto",
        description="Where places of nodes are kept while an extract is read; `auto` decides by the size of the file.",
    )
    tags: str = Field(
        default="ohsome-1",
        description="Which tags make which class: `ohsome-1`, `osmlanduser-1`, or the path of a CSV like those in "
        "builders/tag_tables.",
    )
    overlaps: Literal["smaller", "priority"] = Field(
        default="smaller",
        description="Which of two overlapping polygons is seen: the smaller one, or the one whose class has priority "
        "in the table of tags.",
    )
    min_labelled_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Screening: least share of a tile's pixels with a class of OpenStreetMap (0..1).",
    )
    min_common_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Screening: least share of a tile's pixels that both sources label and that can be compared (0..1).",
    )
    min_agreement: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Screening: least share of those pixels in which both sources say the same (0..1).",
    )

    @property
    def tag_files(self) -> list[Path]:
        """The table of tags, if it is the user's own."""
        bundled = {path.stem for path in TAG_TABLES.glob("*.csv")}
        return [] if self.tags in bundled else [Path(self.tags)]

    @property
    def asks_sandbox(self) -> bool:
        """Areas come from the sandbox's own Overpass."""
        return self.source == "overpass" and self.overpass_url == "sandbox"

    @model_validator(mode="after")
    def _has_extracts(self) -> Self:
        if bool(self.extracts) != (self.source == "extracts"):
            raise ValueError("`source: extracts` and `extracts` go together: give both or none")
        names = [spool_name(path) for path in self.extracts]
        if len(set(names)) != len(names):
            raise ValueError(f"extracts: two files have the same name among {', '.join(names)}; rename one")
        return self
