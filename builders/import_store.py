"""A published data set becomes a store: the writer that every importer shares.

Items are read once, one at a time, checked as a whole, and appended to raw files on disk; when all items of a shard are
there, its files are written, one array after the other. So memory is one item and one chunk, whatever the size of a shard.

An import that was killed goes on with the same command: a shard whose note and files exist is not read again, a file that
exists is not written again, and the bytes are those of an import that was never killed.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from builders.build_lock import take_ownership
from builders.import_index import Imported, finish_import, store_attributes
from builders.import_items import MAX_NAMED, ImportPlan, ReadItem, check_items
from builders.import_paths import ImportPaths
from builders.import_shards import ShardWriter
from noldo.atomic import write_if_changed
from noldo.codecs import CodecName
from noldo.errors import ConfigError, InputError, StoreError
from noldo.store import StoreLayout, create_store, read_layout

logger = logging.getLogger(__name__)

FINEST_M = 10
MAX_PATCH_PX = 4096


@dataclass(frozen=True)
class ImportTarget:
    """Where an import goes, and how its files are cut."""

    out: Path
    """Results folder; the only one that is written to."""
    locations_per_shard: int = 64
    """Locations in one shard file."""
    codec: CodecName = "small"
    """Compressor of images: `small`, or `fast` to read."""
    threads: int = 2
    """Shards read at once while statistics are computed."""


@dataclass(frozen=True)
class ImportSummary:
    """What became of a data set, for people."""

    plan: ImportPlan
    paths: ImportPaths
    imported: Imported

    def render(self) -> str:
        """Some lines of text: what was kept, what was skipped and why, what was changed, what was not used."""
        totals, unmatched = self.imported.totals, self.plan.unmatched
        lines = [
            f"{self.paths.store}: {totals.kept} of {totals.tried} items of {self.plan.importer} imported"
        ]
        lines += [f"  skipped, {what}: {number}" for what, number in self.imported.reasons.items()]
        lines += [f"  {text}: {number} pixels" for text, number in self.imported.counted.items()]
        if unmatched:
            more = ", ..." if len(unmatched) > MAX_NAMED else ""
            lines.append(f"  not used: {len(unmatched)} names ({', '.join(unmatched[:MAX_NAMED])}{more})")
        return "\n".join(lines)


def run_import(plan: ImportPlan, read: ReadItem, target: ImportTarget) -> ImportSummary:
    """Write store, index, manifest and run record of a published data set, or go on where a killed import ended.

    Parameters
    ----------
    read
        Called once an item, in the order of the rows.

    Raises
    ------
    ConfigError
        If a number in the target, or the size of a patch, makes no store.
    InputError
        If the plan is empty or the folder holds something else, or `read` says that the import must stop.
    BuildInUseError
        If another import writes to the folder.
    StoreError
        If the disk is full, or the folder can't be written to.
    """
    paths = ImportPaths(target.out, plan.subset)
    _check_options(plan, target)
    check_items(plan.items, where=plan.importer)
    layout = StoreLayout(
        specs=plan.specs,
        num_locations=len(plan.items),
        season_names=tuple(season.name for season in plan.seasons),
        patch_size_px=plan.patch_size_px,
        locations_per_shard=target.locations_per_shard,
        codec=target.codec,
    )
    _refuse_strangers(paths)
    with take_ownership(paths.work):
        _claim(plan, layout, paths)
        if not _is_created(paths.store, layout):
            create_store(paths.store, layout, attributes=store_attributes(plan))
        ShardWriter(plan, read, layout, paths).write_all()
        imported = finish_import(plan, layout, paths, threads=target.threads)
    summary = ImportSummary(plan, paths, imported)
    for line in summary.render().splitlines():
        logger.info("%s", line)
    return summary


def _check_options(plan: ImportPlan, target: ImportTarget) -> None:
    for name in ("locations_per_shard", "threads"):
        if getattr(target, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(target, name)}: expected at least 1")
    coarsest = max(spec.resolution_m for spec in plan.specs) // FINEST_M
    if not 0 < plan.patch_size_px <= MAX_PATCH_PX or plan.patch_size_px % coarsest:
        raise ConfigError(
            f"--patch-size-px {plan.patch_size_px}: expected a multiple of {coarsest} up to {MAX_PATCH_PX}"
        )


def _refuse_strangers(paths: ImportPaths) -> None:
    if paths.store.exists() and not paths.claim.is_file():
        raise InputError(
            f"{paths.store}: already there, and no import of this folder; give another --out, or delete it"
        )


def _claim(plan: ImportPlan, layout: StoreLayout, paths: ImportPaths) -> None:
    """Say once what this folder is for; go on only with the same."""
    cut = [layout.locations_per_shard, layout.codec]
    wanted = {"importer": plan.importer, "fingerprint": plan.fingerprint(), "cut": cut}
    if not paths.claim.is_file():
        write_if_changed(paths.claim, (json.dumps(wanted, indent=1) + "\n").encode())
        return
    try:
        found = json.loads(paths.claim.read_bytes())
    except ValueError:
        found = None
    if found != wanted:
        raise InputError(
            f"{paths.out}: holds an import with other options or of other files ({paths.claim} differs); give another "
            f"--out, or delete {paths.store} and {paths.work}"
        )


def _is_created(store: Path, layout: StoreLayout) -> bool:
    try:
        return read_layout(store) == layout
    except StoreError:
        return False
