"""What a build is made of: one frozen, validated tree, read from one YAML file.

The Snakefile imports this module while planning, so it stays light: pydantic and the constants of
noldo, nothing else.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

from pydantic import Field, ValidationError, field_validator, model_validator

from builders.config_labels import ExpertTiles, OpenStreetMap
from builders.config_sections import (
    Clouds,
    Jobs,
    Locations,
    Pairing,
    Products,
    Sandbox,
    Season,
    Source,
    Split,
    Subset,
    multiple_of_six,
)
from noldo.errors import ConfigError
from noldo.frozen import Frozen
from noldo.products import SUBSETS, ArraySpec, array_specs


class BuildConfig(Frozen):
    """One build of NoLDO-S12; its own keys are about the subset @NoL."""

    subset: ClassVar[Subset] = "nol"
    """Which subset this is the config of."""
    labels: ClassVar[tuple[str, ...]] = ()
    """Clean labels that the subset stores."""
    primary_label: ClassVar[str] = "dynamic_world"
    """The labels that the subset is made for."""
    twins_are_optional: ClassVar[bool] = False
    """A location is kept without L2A and without Dynamic World."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        description="Name of the build and of its folder under results/.",
    )
    source: Source = Source()
    sandbox: Sandbox = Sandbox()
    locations: Locations = Locations()
    patch_size_px: int = Field(
        default=264, ge=6, le=2046, description="Side of a patch in pixels of 10 m; a multiple of 6."
    )
    seasons: tuple[Season, ...] = Field(
        min_length=1, max_length=12, description="The points in time, in the order of the season axis."
    )
    products: Products = Products()
    clouds: Clouds = Clouds()
    pairing: Pairing = Pairing()
    jobs: Jobs = Jobs()
    split: Split = Split()
    codec: Literal["small", "fast"] = Field(
        default="small",
        description="`small`: blosc zstd; `fast`: blosc lz4, 1.5x the decode speed and about 20 % larger.",
    )
    dw: ExpertTiles | None = Field(
        default=None, description="The subset @DW (expert labels); left out: it is not built."
    )
    osm: OpenStreetMap | None = Field(
        default=None,
        description="The subset @OSM (OpenStreetMap), on the tiles of `dw`; left out: not built.",
    )

    @field_validator("patch_size_px")
    @classmethod
    def _whole_pixels(cls, size: int) -> int:
        return multiple_of_six(size)

    @field_validator("seasons")
    @classmethod
    def _distinct(cls, seasons: tuple[Season, ...]) -> tuple[Season, ...]:
        names = [season.name for season in seasons]
        if len(set(names)) != len(names):
            raise ValueError(f"two seasons have the same name: {names}")
        if undated := [season.name for season in seasons if season.date is None]:
            raise ValueError(f"{', '.join(undated)}: date required, but not given")
        return seasons

    @model_validator(mode="after")
    def _subsets_fit(self) -> Self:
        if self.split.by == "published":
            raise ValueError("split.by `published` is for @DW only: choose `blocks` or `lists`")
        if self.osm is not None and self.dw is None:
            raise ValueError("osm: the subset @OSM is on the tiles of @DW, but there is no section `dw`")
        if self.dw is not None and not self.dw.tables and not self.synthetic:
            raise ValueError(
                "dw: no `tables`; the sandbox's tiles fit only its own synthetic Earth, so name the table of tiles "
                "and the folders of labels"
            )
        if self.osm is not None and self.osm.asks_sandbox and not (self.source.is_sandbox and self.synthetic):
            raise ValueError(
                "osm.overpass_url `sandbox`: the sandbox serves only the OpenStreetMap of its own synthetic Earth; name "
                "an Overpass server, or use extracts"
            )
        return self

    @property
    def subsets(self) -> tuple[Subset, ...]:
        """What this config builds."""
        found = (name for name in SUBSETS if name == "nol" or getattr(self, name) is not None)
        return tuple(cast(Subset, name) for name in found)

    def of_subset(self, subset: Subset) -> "BuildConfig":
        """The config as the steps of one subset see it: places, sizes, seasons and limits are that subset's.

        Raises
        ------
        ConfigError
            If this config does not build it.
        """
        if subset not in self.subsets:
            raise ConfigError(f"{self.name}: no section `{subset}`, so there is no such subset; add one")
        if subset == "nol":
            return self
        assert self.dw is not None  # checked above
        return _tile_config(self, self.dw, TileConfig if subset == "dw" else OsmConfig)

    @property
    def specs(self) -> tuple[ArraySpec, ...]:
        """Arrays of the subset's store."""
        return array_specs(self.products.selected(self.labels))

    @property
    def place_files(self) -> list[Path]:
        """Files of the user's that decide where the locations of @NoL are."""
        return [path for path in (self.locations.points, self.locations.cities) if path is not None]

    @property
    def min_spacing_m(self) -> float:
        """Least distance between patch centres in metres."""
        if self.locations.min_spacing_m is not None:
            return self.locations.min_spacing_m
        return self.patch_size_px * 10 * math.sqrt(2)

    @property
    def synthetic(self) -> bool:
        """The pixels come from the synthetic Earth: whatever this machine serves, unless it serves a catalogue."""
        return self.source.is_loopback and self.sandbox.catalogue is None

    def identity(self) -> dict[str, object]:
        """The part that decides pixels, index and files: what must agree to go on with a folder.

        Who asks, how fast and from which address may change between two runs of one build. Of the subsets,
        only the own one counts: another may be added later.
        """
        others = set(SUBSETS) - {self.subset, *(("dw",) if self.subset == "osm" else ())}
        tree: dict[str, object] = self.model_dump(mode="json", exclude=others)
        source, sandbox = self.source, self.sandbox
        # A server on this machine is never the real Earth Engine: their pixels must not meet in one folder.
        tree["source"] = {
            "imagery": "loopback" if source.is_loopback else "earth_engine",
            "native_lattice": source.native_lattice,
        }
        if isinstance(osm := tree.get("osm"), dict):
            del osm["node_index"]  # how an extract is read decides nothing
        tree["jobs"] = self.jobs.model_dump(mode="json", exclude={"dask_scheduler"})
        tree["sandbox"] = (
            {"seed": sandbox.seed, "catalogue": str(sandbox.catalogue or "")} if source.is_loopback else {}
        )
        return tree

    def digest(self) -> str:
        """SHA-256 of `identity()`, as 64 hex digits."""
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class TileConfig(BuildConfig):
    """The config of @DW: each location is a tile with a date of its own."""

    subset: ClassVar[Subset] = "dw"
    labels: ClassVar[tuple[str, ...]] = ("expert",)
    primary_label: ClassVar[str] = "expert"
    twins_are_optional: ClassVar[bool] = True


class OsmConfig(TileConfig):
    """The config of @OSM: the tiles of @DW, with two label sources."""

    subset: ClassVar[Subset] = "osm"
    labels: ClassVar[tuple[str, ...]] = ("expert", "osm")
    primary_label: ClassVar[str] = "osm"


TILE_SEASON = "label"
"""Name of the one season of @DW and @OSM: the time of the labels."""


def _tile_config(config: BuildConfig, tiles: ExpertTiles, kind: type[TileConfig]) -> TileConfig:
    # Every part was validated with the whole; a season without a date would not be.
    own: dict[str, Any] = {
        "locations": Locations(count=tiles.count),
        "patch_size_px": tiles.size_px,
        "seasons": (Season(name=TILE_SEASON, window_days=tiles.max_days),),
        "clouds": Clouds(
            max_scene_percent=tiles.max_scene_percent, min_label_share=0.0, min_coverage=tiles.min_coverage
        ),
        "pairing": config.pairing.model_copy(update={"max_candidates": tiles.max_candidates}),
        "split": tiles.split,
    }
    kept: dict[str, Any] = {
        name: getattr(config, name) for name in BuildConfig.model_fields if name not in own
    }
    return kind.model_construct(**kept, **own)


def parse_config(tree: object, *, where: str) -> BuildConfig:
    """Validate a config that was read from `where` (used in messages).

    Raises
    ------
    ConfigError
        With every wrong key, in one line.
    """
    try:
        return BuildConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "config"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "unknown key; see schemas/build.schema.json for the known ones"
        elif item["type"] == "missing":
            message = "required, but not given"
        elif "input" in item and isinstance(item["input"], str | int | float):
            message += f" (found {item['input']!r})"
        parts.append(f"{key}: {message}")
    return "; ".join(parts)


def load_config(path: Path) -> BuildConfig:
    """Read and validate a YAML or JSON config.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, or does not describe a build.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}); give an existing config") from None
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise ConfigError(f"{path}{line}: not valid YAML") from None
    return parse_config(tree, where=str(path))
