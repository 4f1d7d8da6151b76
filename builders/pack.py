"""Staged pixels to shards: one whole file of one array at a time, whatever was there before.

A location that was kept copies its staged pixels into its row; every other row is no data. Which rows are
which is told by the outcome table of the job alone, so that a lost staged file is an error, not a hole.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from builders.build import cut_of
from builders.config import BuildConfig
from builders.layout import Layout
from builders.licences import source_records
from builders.location_table import read_locations
from builders.outcome_table import read_outcomes
from builders.records import Location
from builders.row_pixels import RowPixels, row_pixels
from noldo.errors import InputError
from noldo.products import ArraySpec
from noldo.status import Status
from noldo.store import StoreLayout, create_store, write_shard

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardRows:
    """Which location lies in which row of one shard."""

    shard: int
    job: int
    """The fetch job whose staged pixels fill it."""
    locations: tuple[Location, ...]
    """In id order: row 0, 1, ... of the shard."""
    kept: tuple[bool, ...]
    """Rows whose pixels are staged; the others are no data."""


def store_layout(config: BuildConfig) -> StoreLayout:
    """What the store of a build is made of: follows from its config alone."""
    return StoreLayout(
        specs=config.specs,
        num_locations=config.locations.count,
        season_names=tuple(season.name for season in config.seasons),
        patch_size_px=config.patch_size_px,
        locations_per_shard=config.jobs.locations_per_shard,
        codec=config.codec,
    )


def store_attributes(config: BuildConfig) -> dict[str, object]:
    """What the group says about its content, besides its format."""
    return {
        "subset": config.subset,
        "synthetic": config.synthetic,
        "config_digest": config.digest(),
        "license": "; ".join(dict.fromkeys(source.licence for source in source_records(config))),
    }


def run_create_store(config: BuildConfig, layout: Layout) -> None:
    """Write the metadata of all arrays; shards that exist stay.

    Raises
    ------
    StoreError
        If the folder can't be written to.
    """
    create_store(layout.store, store_layout(config), attributes=store_attributes(config))


def run_pack(config: BuildConfig, layout: Layout, *, shard: int) -> None:
    """Write one shard of every array.

    Memory is bounded by the largest raw shard of one array, plus one staged location.

    Raises
    ------
    InputError
        If the tables of locations and outcomes disagree.
    ShardMissingError
        If pixels of a kept location are not staged any more; says which job to fetch again.
    """
    store = store_layout(config)
    rows = shard_rows(config, layout, shard=shard)
    pixels = row_pixels(config, layout, job=rows.job)
    packed = 0
    for group in passes(store.specs, store):
        blocks = _filled(pixels, rows, group, store, may_be_smaller=config.subset != "nol")
        for spec in group:
            write_shard(layout.store, spec, shard=shard, items=blocks.pop(spec.name))
            packed += 1
            logger.info("shard %s: %s written (%s of %s arrays)", shard, spec.name, packed, len(store.specs))
    logger.info("shard %s: %s of %s rows hold pixels", shard, sum(rows.kept), len(rows.kept))


def shard_rows(config: BuildConfig, layout: Layout, *, shard: int) -> ShardRows:
    """Match the locations of a shard with what became of them.

    Raises
    ------
    InputError
        If the outcome table is not about the locations of the job.
    """
    cut = cut_of(config)
    job = cut.job_of_shard(shard)
    span = cut.rows_of_shard(shard)
    locations = tuple(read_locations(layout.locations, span.start, span.stop))
    ids = tuple(location.id for location in locations)
    path = layout.outcomes(job)
    first = span.start - cut.rows_of_job(job).start
    outcomes = read_outcomes(path)[first : first + len(span)]
    found = tuple(outcome.location_id for outcome in outcomes)
    if found != ids or len(ids) != len(span):
        raise InputError(
            f"{path}: its rows {first} to {first + len(span) - 1} are about locations {_ends(found)}, but "
            f"{layout.locations} has {_ends(ids)} there; delete {path} and run the build again: job {job} is redone"
        )
    kept = tuple(outcome.status == Status.KEPT for outcome in outcomes)
    return ShardRows(shard=shard, job=job, locations=locations, kept=kept)


def _ends(ids: Sequence[int]) -> str:
    return f"{ids[0]} to {ids[-1]} ({len(ids)})" if ids else "(none)"


def passes(specs: Sequence[ArraySpec], store: StoreLayout) -> Iterator[list[ArraySpec]]:
    """Arrays that are filled together, so that staged files are read few times and memory stays small.

    Yields
    ------
    Runs of neighbouring arrays that together need no more memory than the largest array does alone.
    """
    sizes = {spec.name: _item_bytes(spec, store) for spec in specs}
    limit = max(sizes.values())
    group: list[ArraySpec] = []
    for spec in specs:
        if group and sum(sizes[other.name] for other in group) + sizes[spec.name] > limit:
            yield group
            group = []
        group = [*group, spec]
    yield group


def _item_bytes(spec: ArraySpec, store: StoreLayout) -> int:
    shape = spec.item_shape(len(store.season_names), store.patch_size_px)
    return int(np.prod(shape)) * np.dtype(spec.dtype).itemsize


def _filled(
    pixels: RowPixels,
    rows: ShardRows,
    specs: Sequence[ArraySpec],
    store: StoreLayout,
    *,
    may_be_smaller: bool,
) -> dict[str, np.ndarray]:
    """Blocks (row, season, band?, y, x) by array name; tiles smaller than the store's patch are padded."""
    num_seasons = len(store.season_names)
    blocks = {
        spec.name: np.full(
            (len(rows.kept), *spec.item_shape(num_seasons, store.patch_size_px)), spec.no_data, spec.dtype
        )
        for spec in specs
    }
    for row in np.flatnonzero(rows.kept).tolist():
        location = rows.locations[row]
        arrays = pixels.read(location, specs)
        for spec in specs:
            array = arrays.get(spec.name)
            sizes = {store.patch_size_px, location.grid.size_px if may_be_smaller else store.patch_size_px}
            shapes = [spec.item_shape(num_seasons, size) for size in sizes]
            if array is None or array.shape not in shapes or array.dtype != np.dtype(spec.dtype):
                raise _unfit(rows, location, name=spec.name, found=array)
            height, width = array.shape[-2:]
            blocks[spec.name][row][..., :height, :width] = array
    return blocks


def _unfit(rows: ShardRows, location: Location, *, name: str, found: np.ndarray | None) -> InputError:
    what = "absent" if found is None else f"{found.dtype} {found.shape}"
    return InputError(
        f"{name} of location {location.id} is {what}, which the store of this config can't hold; delete the spool and "
        f"the outcomes of job {rows.job} and run the build again: the job is fetched again"
    )
