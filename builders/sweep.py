"""Peak disk stays small: what a job staged is deleted once all its shards exist."""

import json
import logging
import shutil

from builders.build import cut_of
from builders.config import BuildConfig
from builders.layout import Layout
from noldo.atomic import write_if_changed
from noldo.errors import ShardMissingError
from noldo.store import shard_path

logger = logging.getLogger(__name__)


def run_sweep(config: BuildConfig, layout: Layout, *, job: int) -> None:
    """Delete the staged pixels of a job, and write its receipt. Doing it twice changes nothing.

    Raises
    ------
    ShardMissingError
        If a shard of the job does not exist or is empty; nothing is deleted then.
    """
    cut = cut_of(config)
    shards = cut.shards_of_job(job)
    check_shards(config, layout, shards=shards)
    # Snakemake deletes it too, unless it is killed at that moment; alone, it would promise pixels that are gone.
    layout.ready(job).unlink(missing_ok=True)
    spool = layout.spool(job)
    if spool.exists():
        freed = sum(path.stat().st_size for path in spool.iterdir() if path.is_file())
        shutil.rmtree(spool)
        logger.info("job %s: %.1f MB of staged pixels deleted", job, freed / 1e6)
    rows = cut.rows_of_job(job)
    receipt = {"job": job, "shards": list(shards), "first_row": rows.start, "last_row": rows.stop - 1}
    write_if_changed(layout.swept(job), (json.dumps(receipt) + "\n").encode())


def check_shards(config: BuildConfig, layout: Layout, *, shards: range) -> None:
    """Make sure that shards of every array exist: a lost one would read as no data.

    Raises
    ------
    ShardMissingError
        Names the first that is missing or empty, how many there are, and how to get them back.
    """
    paths = [shard_path(layout.store, spec, shard) for shard in shards for spec in config.specs]
    missing = [path for path in paths if not path.is_file() or path.stat().st_size == 0]
    if missing:
        raise ShardMissingError(
            f"{missing[0]}: missing or empty, as are {len(missing) - 1} more of {len(paths)} shard files; "
            "run the build again: it packs them, and fetches the job's pixels if they are not staged any more"
        )
