"""`nol.json` says what the data are, `nol.run.json` what the build did.

The manifest is part of the data set; the run report is not: counters, times and versions differ between
two builds of equal data, and are in no digest. Readers ignore keys they do not know, so keys may be added
within a format version.
"""

import datetime as dt
import json
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from noldo.atomic import write_if_changed
from noldo.errors import StoreError, StoreFormatError
from noldo.legend import Legend
from noldo.metadata import dimensions_of
from noldo.products import FORMAT_VERSION, ArraySpec
from noldo.store import StoreLayout


class Record(BaseModel):
    """Base of all records: frozen, tolerant of newer keys."""

    model_config = ConfigDict(frozen=True, extra="ignore")


R = TypeVar("R", bound=Record)


class SeasonRecord(Record):
    """One position of the season axis."""

    name: str = Field(description="Short name, e.g. `spring`.")
    date: dt.date | None = Field(
        default=None, description="Reference date; null: each location has a date of its own."
    )
    window_days: int = Field(description="Scenes up to this many days before or after were considered.")


class ArrayRecord(Record):
    """One array of the Zarr group."""

    name: str = Field(description="Name in the group.")
    product: str = Field(description="What it was cut from, e.g. `s2_l1c`.")
    dtype: str = Field(description="NumPy name of the dtype as stored.")
    no_data: int = Field(description="Stored number of a pixel that was not observed or not labelled.")
    dimensions: tuple[str, ...] = Field(description="Names of the axes.")
    shape: tuple[int, ...] = Field(description="Lengths of the axes.")
    resolution_m: int = Field(description="Pixel size in metres.")
    bands: tuple[str, ...] = Field(description="Names along the band axis; empty: no such axis.")
    is_label: bool = Field(description="Class ids rather than measured values.")
    unit: str = Field(description="Unit of stored number x scale.")
    scale: float = Field(description="Stored number x scale = value in `unit`.")
    quantization: str = Field(
        default="",
        description="Rule of `noldo.quantization` by which the numbers were made; empty: as delivered.",
    )
    is_native: bool = Field(
        default=True, description="False: bands were published on a finer grid than they were measured on."
    )

    @classmethod
    def of(cls, spec: ArraySpec, layout: StoreLayout) -> Self:
        """The record of an array in a store of this layout."""
        shape = (
            layout.num_locations,
            *spec.item_shape(len(layout.season_names), layout.patch_size_px),
        )
        return cls(
            name=spec.name,
            product=spec.product,
            dtype=spec.dtype,
            no_data=spec.no_data,
            dimensions=dimensions_of(spec),
            shape=shape,
            resolution_m=spec.resolution_m,
            bands=spec.bands,
            is_label=spec.is_label,
            unit=spec.unit,
            scale=spec.scale,
            quantization=spec.quantization,
            is_native=spec.is_native,
        )


class LegendRecord(Record):
    """Classes 0..n-1 of a label source."""

    name: str
    classes: tuple[str, ...] = Field(description="Class names; the position is the class id.")
    colours: tuple[str, ...] = Field(description="One #rrggbb a class.")

    @classmethod
    def of(cls, legend: Legend) -> Self:
        """The record of a legend."""
        return cls(name=legend.name, classes=legend.classes, colours=legend.colours)


class BandStatistics(Record):
    """One band over all kept locations and seasons, in stored numbers (multiply by `scale`)."""

    band: str
    count: int = Field(description="Pixels that hold data.")
    no_data_share: float = Field(description="Pixels without data / all pixels of kept locations (0..1).")
    mean: float | None = Field(description="Mean; null, as what follows, where no pixel holds data.")
    std: float | None = Field(description="Standard deviation of the population.")
    minimum: int | None
    maximum: int | None
    percentiles: dict[int, int] = Field(
        default_factory=dict, description="Percent to the least stored number that so many pixels reach."
    )


class SourceRecord(Record):
    """Where a product comes from, and on which terms."""

    product: str
    collection: str = Field(description="Identifier at the provider, e.g. COPERNICUS/S2_HARMONIZED.")
    licence: str
    attribution: str = Field(description="The sentence to print beside the data.")
    url: str = Field(default="", description="Page of the terms.")


class Manifest(Record):
    """What a subset of NoLDO-S12 holds."""

    format_version: Literal[1] = Field(description="Version of the store format.")
    subset: str = Field(
        description="`nol`: noisy labels of Dynamic World; `dw`: its expert labels; `osm`: OpenStreetMap."
    )
    name: str = Field(description="Name of the build.")
    synthetic: bool = Field(description="The pixels come from a synthetic Earth, not from satellites.")
    config: dict[str, Any] = Field(description="The build's config with all defaults filled in.")
    config_digest: str = Field(description="SHA-256 of the part of the config that decides the data.")
    patch_size_px: int = Field(description="Side of a patch in pixels of 10 m.")
    seasons: tuple[SeasonRecord, ...] = Field(description="In the order of the season axis.")
    products: dict[str, tuple[str, ...]] = Field(description="Product to its stored bands, in stored order.")
    arrays: tuple[ArrayRecord, ...]
    legends: dict[str, LegendRecord] = Field(description="Label product to its classes.")
    statistics: dict[str, tuple[BandStatistics, ...]] = Field(
        description="Image array to one record a band, in the order of its band axis."
    )
    class_counts: dict[str, dict[str, tuple[int, ...]]] = Field(
        description="Label array to season to labelled pixels of each class, over kept locations."
    )
    class_shares: dict[str, float] = Field(
        description="Class to its share of all labelled pixels (0..1), of the subset's own labels."
    )
    locations_kept: int = Field(description="Rows with all seasons, products and enough labels.")
    locations_tried: int = Field(description="Rows of the store.")
    status_counts: dict[str, int] = Field(description="Status (lower case) to rows.")
    split_counts: dict[str, int] = Field(default_factory=dict, description="Split to kept rows.")
    sources: tuple[SourceRecord, ...]
    locations_per_shard: int
    codec: Literal["small", "fast"]
    files: dict[str, str] = Field(
        default_factory=dict, description="`store`, `index`, `run`: names beside this file."
    )
    label_provenance: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Clean label product to what it was made of: files by name and SHA-256, table of tags.",
    )
    georeference: Literal["exact", "approximate", "none"] = Field(
        default="exact",
        description="Imported data may lie up to 10 px off (`approximate`), or have no known place (`none`).",
    )
    notes: tuple[str, ...] = Field(
        default=(), description="What a user of imported data should know, a sentence each."
    )


class RequestCounts(Record):
    """Requests to the imagery provider, as sent."""

    metadata: int = Field(default=0, description="Searches for scenes that were answered.")
    pixels: int = Field(default=0, description="Pixel requests of first choices that were answered.")
    fallback: int = Field(default=0, description="Pixel requests of later candidates.")
    retried: int = Field(default=0, description="Requests sent again after a transient fault.")
    start_up: int = Field(default=0, description="Requests of the client's own start-up.")
    largest_bytes: int = Field(
        default=0, description="Largest pixel request by the provider's own accounting, in bytes."
    )


class RunReport(Record):
    """What the build did."""

    synthetic: bool = Field(default=False, description="The provider was the synthetic Earth.")
    requests: RequestCounts = RequestCounts()
    received_bytes: int = Field(default=0, description="Bytes of all answers.")
    started: dt.datetime | None = Field(default=None, description="First start, UTC.")
    finished: dt.datetime | None = Field(default=None, description="End, UTC.")
    areas: dict[str, int] = Field(
        default_factory=dict, description="@OSM: what became of OpenStreetMap's areas, in words, to how many."
    )
    seconds: dict[str, float] = Field(default_factory=dict, description="Step to its wall time in seconds.")
    num_cores: int = Field(default=0, description="CPU cores of the machine that wrote the index.")
    versions: dict[str, str] = Field(default_factory=dict, description="Package or step to its version.")


def to_json(record: Record) -> bytes:
    """Bytes of a manifest or run report: keys in the order of the model."""
    return (record.model_dump_json(indent=1) + "\n").encode()


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write `nol.json`; an unchanged file is not touched."""
    write_if_changed(path, to_json(manifest))


def write_run_report(path: Path, report: RunReport) -> None:
    """Write `nol.run.json`."""
    write_if_changed(path, to_json(report))


def parse_manifest(content: bytes, *, where: str) -> Manifest:
    """Check and read the bytes of `nol.json`; `where` names it in messages.

    Raises
    ------
    StoreFormatError
        If it is of another format, or not a manifest.
    """
    tree = _json(content, where=where)
    version = tree.get("format_version")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        raise StoreFormatError(
            f"{where}: format {version}, but this noldo reads format {FORMAT_VERSION}; "
            f"{'upgrade noldo' if newer else 'rebuild the data set'}"
        )
    return _validate(Manifest, tree, where=where)


def read_manifest(path: Path) -> Manifest:
    """Read `nol.json`.

    Raises
    ------
    StoreError
        If there is none.
    StoreFormatError
        If it is of another format, or not a manifest.
    """
    return parse_manifest(_read(path), where=str(path))


def parse_run_report(content: bytes, *, where: str) -> RunReport:
    """Read the bytes of `nol.run.json`; `where` names it in messages."""
    return _validate(RunReport, _json(content, where=where), where=where)


def read_run_report(path: Path) -> RunReport:
    """Read `nol.run.json`.

    Raises
    ------
    StoreError
        If there is none.
    StoreFormatError
        If it is not a run report.
    """
    return parse_run_report(_read(path), where=str(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path}: can't be read ({error.strerror}); give a folder that a finished build made"
        ) from None


def _json(content: bytes, *, where: str) -> dict[str, Any]:
    try:
        tree = json.loads(content)
    except ValueError:
        tree = None
    if not isinstance(tree, dict):
        raise StoreFormatError(f"{where}: not a JSON object; delete it and run the build again")
    return tree


def _validate(model: type[R], tree: dict[str, Any], *, where: str) -> R:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise StoreFormatError(
            f"{where}: {key}: {first['msg']} ({error.error_count()} in all); rebuild the data set"
        ) from None
